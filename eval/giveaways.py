"""Where synthetic items differ from real ones: telling words, the strangest items, real clusters that are left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.intervals import MIN_ITEMS, holm, mcnemar_exact, wilson
from eval.outcomes import BoolArray, IntArray
from eval.shift import missed_by
from eval.templates import content
from eval.vectors import unit_rows
from harness.records import Estimate

LEAST_Z = 3.0
"""Standard errors from which on a word is named; by chance one word in 370 gets there."""
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class TellingWord:
    """A content word with the share of synthetic and of real texts that hold it."""

    word: str
    made: float
    real: float


def telling_words(
    made: Sequence[str], real: Sequence[str], shown: Collection[str], most: int = 8
) -> tuple[TellingWord, ...]:
    """Content words that one side's texts hold far more often than the other's, the surest first.

    Only words of the texts `shown` are named, so that a word of held-out texts alone never is. By the z of two
    proportions, at least 3.
    """
    counts = [Counter(word for text in side for word in set(content(text))) for side in (made, real)]
    n, m = len(made), len(real)
    known = {word for text in shown for word in content(text)}
    scored = [(_z(counts[0][word], n, counts[1][word], m), word) for word in known]
    best = sorted((-abs(z), word) for z, word in scored if abs(z) >= LEAST_Z)[:most]
    return tuple(TellingWord(word, counts[0][word] / n, counts[1][word] / m) for _, word in best)


def _z(a: int, n: int, b: int, m: int) -> float:
    share = (a + b) / (n + m) if n and m else 0.0
    spread = share * (1 - share) * (1 / n + 1 / m) if n and m else 0.0
    return (a / n - b / m) / math.sqrt(spread) if spread else 0.0


def farthest(items: NDArray[np.floating], others: NDArray[np.floating], most: int = 3) -> list[int]:
    """Positions of the items whose nearest of `others` is farthest, the farthest first; unit rows (n, d) and (m, d)."""
    rows, against = unit_rows(items=items, others=others)
    if not len(rows) or not len(against):
        return []
    order: IntArray = np.argsort((rows @ against.T).max(axis=1), kind="stable")
    return order[:most].tolist()


@dataclass(frozen=True, slots=True)
class MissedCluster:
    """A cluster of real anchors: how many of its `anchors` have no synthetic item near them, and how many no real one
    among as many; `q` is McNemar's exact p after Holm over the clusters."""

    name: str
    anchors: int
    missed: Estimate
    reference: Estimate
    q: float


def missed_clusters(
    anchors: NDArray[np.floating],
    clusters: Sequence[str],
    synthetic: NDArray[np.floating],
    held_out: NDArray[np.floating],
    *,
    seed: int,
    k: int = 5,
) -> tuple[MissedCluster, ...]:
    """Clusters of anchors that synthetic items come near less often than real ones do, most missed first.

    "Near" is as in `eval.shift.coverage`, with `clusters` the name of each anchor's cluster. Both sides are cut to the
    size of the smaller. Clusters of fewer than 10 anchors are left out, and nothing is said with too few items.
    """
    real, made, other = unit_rows(anchors=anchors, synthetic=synthetic, held_out=held_out)
    size = min(len(made), len(other))
    if min(size, len(real)) < max(MIN_ITEMS, k + 1):
        return ()
    missed, reference = missed_by(real, made, other, size, k, seed)
    places = {name: np.flatnonzero(np.array([one == name for one in clusters])) for name in sorted({*clusters})}
    large = {name: own for name, own in places.items() if len(own) >= MIN_ITEMS}
    adjusted = holm([mcnemar_exact(missed[own], reference[own]) for own in large.values()])
    found = [
        MissedCluster(name, len(own), _share(missed[own]), _share(reference[own]), q)
        for (name, own), q in zip(large.items(), adjusted, strict=True)
        if q <= SIGNIFICANT and missed[own].sum() > reference[own].sum()
    ]
    return tuple(sorted(found, key=lambda one: -(one.missed.value or 0.0)))


def _share(flags: BoolArray) -> Estimate:
    return wilson(int(flags.sum()), len(flags))
