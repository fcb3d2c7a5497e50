"""Rules that a loop could be watched by, each as: which generations of a sequence does it call collapsed?

Ours, its two companions, and three that people use: a fixed drop of the Vendi score, and two permutation tests of a
generation against a batch of generation 0, at .05 over all generations of a run (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.sequences import Drawn, Vectors
from eval.collapse import Baseline, Verdict, judge, measure
from eval.diversity import neighbour_radii, vendi

PERMUTATIONS = 199
LEVEL = 0.05
DROP = 0.10
NEIGHBOURS = 5

Rule = Callable[[Drawn, np.random.Generator], "int | None"]
"""The generation of the first alarm, counted from 1; None where there is none."""


@lru_cache(maxsize=1)
def verdict_of(drawn: Drawn) -> Verdict:
    """Our verdict, from separate batches of generation 0."""
    baseline = Baseline.of(drawn.baseline, drawn.anchors)
    return judge(baseline, [measure(one, drawn.anchors, baseline.size) for one in drawn.generations])


def verdict_of_one_set(drawn: Drawn) -> Verdict:
    """Our verdict where generation 0 is one set of the later generations' size."""
    baseline = Baseline.of(drawn.baseline[:1], drawn.anchors)
    return judge(baseline, [measure(one, drawn.anchors, baseline.size) for one in drawn.generations])


def ours(drawn: Drawn, _: np.random.Generator) -> int | None:
    return verdict_of(drawn).first_alarm


def once(drawn: Drawn, _: np.random.Generator) -> int | None:
    return verdict_of(drawn).first_warning


def one_set(drawn: Drawn, _: np.random.Generator) -> int | None:
    return verdict_of_one_set(drawn).first_alarm


def cusum(drawn: Drawn, _: np.random.Generator) -> int | None:
    return _earliest([one.first_cusum for one in verdict_of(drawn).courses])


def trend(drawn: Drawn, _: np.random.Generator) -> int | None:
    return verdict_of(drawn).courses[0].first_trend


def vendi_drop(drawn: Drawn, _: np.random.Generator) -> int | None:
    before = float(np.mean([vendi(one) for one in drawn.baseline]))
    return _first([vendi(one) < (1 - DROP) * before for one in drawn.generations])


def energy(drawn: Drawn, rng: np.random.Generator) -> int | None:
    """Energy distance to a batch of generation 0; its permutation distribution comes from one matrix product."""
    level, flags = LEVEL / len(drawn.generations), list[bool]()
    for items in drawn.generations:
        both = np.concatenate([drawn.baseline[0], items])
        distances = np.sqrt(np.maximum(2 - 2 * both @ both.T, 0))
        # With +1/n on one side and −1/m on the other, −sᵀDs is the energy distance.
        signs = _labels(rng, len(drawn.baseline[0]), len(items))
        flags.append(_p(-np.einsum("pi,ij,pj->p", signs, distances, signs, optimize=True)) <= level)
    return _first(flags)


def coverage(drawn: Drawn, rng: np.random.Generator) -> int | None:
    """Anchors with an item in their 5-nearest-neighbour ball: fewer than with a batch of generation 0?"""
    level, flags = LEVEL / len(drawn.generations), list[bool]()
    radius = neighbour_radii(drawn.anchors, NEIGHBOURS)
    for items in drawn.generations:
        both = np.concatenate([drawn.baseline[0], items])
        inside = (np.sqrt(np.maximum(2 - 2 * drawn.anchors @ both.T, 0)) < radius[:, None]).astype(np.float64)
        signs = _labels(rng, len(drawn.baseline[0]), len(items))
        covered = [((inside @ side.T) > 0).mean(axis=0) for side in (signs > 0, signs < 0)]
        flags.append(_p(covered[0] - covered[1]) <= level)
    return _first(flags)


RULES: Mapping[str, Rule] = {
    "Vendi score fell by 10 %": vendi_drop,
    "energy distance": energy,
    "coverage": coverage,
    "nnR or log RKE twice": ours,
    "the same, one set": one_set,
    "nnR or log RKE once": once,
    "CUSUM of either": cusum,
    "Mann-Kendall on nnR": trend,
}


def _labels(rng: np.random.Generator, n: int, m: int) -> NDArray[np.float64]:
    """+1/n for the first side and −1/m for the other, as it was and permuted, shape (1 + permutations, n + m)."""
    labels = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    return np.stack([labels, *(rng.permutation(labels) for _ in range(PERMUTATIONS))])


def _p(values: Vectors) -> float:
    """Permutation p of the first value being as large as it is."""
    return float((values >= values[0] - 1e-12).mean())


def _first(flags: list[bool]) -> int | None:
    return flags.index(True) + 1 if True in flags else None


def _earliest(generations: list[int | None]) -> int | None:
    return min((one for one in generations if one is not None), default=None)
