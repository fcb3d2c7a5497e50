"""Distribution shift: are synthetic rows about the same things as real ones? By label and slice, and where not.

Rows are embedded without hedges, polite phrases, function words and punctuation, so that style alone does not count;
`dialect` in `harness/diagnosis.py` hears style too. Of anchors and dev items only vectors and word counts are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eval.giveaways import farthest, missed_clusters, telling_words
from eval.hedging import stripped
from eval.intervals import Z
from eval.shift import FOLDS, MIN_EACH, coverage, two_sample_auc
from eval.slices import is_rest, slice_members
from eval.templates import content, matched
from harness.clusters import Clusters
from harness.embed import Embedder
from harness.modekinds import KINDS, judged
from harness.plaintext import one_line
from harness.records import Estimate, Example
from harness.reports import FailureMode

MOST_ROWS = 1000
"""Synthetic rows that are embedded anew; more would not sharpen a comparison with a few hundred anchors."""
MOST_SLICES = 12
SHOWN = 80
"""Characters of a text that is shown."""

Vectors = NDArray[np.floating]


def shift_modes(
    seeds: Sequence[Example],
    anchors: Sequence[Example],
    dev: Sequence[Example],
    accepted: Sequence[Example],
    embed: Embedder,
    *,
    clusters: Clusters,
    seed: int,
) -> tuple[FailureMode, ...]:
    """`content shift` and `missed content`."""
    made = _some(accepted, seed)
    ours, real, held_out, theirs = (_embedded(side, embed) for side in (seeds, anchors, dev, made))
    here, there = matched([one.label for one in anchors], [one.label for one in made], seed)
    auc = two_sample_auc(real[here], theirs[there], seed)
    slices = _by_slice(anchors, made, real, theirs, seed)
    evidence = [_slice_line(name, found) for name, found in slices]
    alone = [name for name, found in slices if _beyond(found, len(slices))]
    shift = judged(
        KINDS["content shift"],
        two_sample_auc(real, ours, seed),
        Estimate(0.5, None, None, len(here), "by definition"),
        auc,
        _above_chance(auc),
        elsewhere=", ".join(alone),
    )
    if shift.fired:
        evidence += _telling(seeds, [anchors[place] for place in here], [made[place] for place in there])
        evidence += _strangest(made, theirs, real, "synthetic rows farthest from any real anchor")
        evidence += _strangest(seeds, ours, theirs, "seeds farthest from any synthetic row")
    covered = coverage(real, theirs[there], held_out, seed=seed)
    names = clusters.assign(embed([one.text for one in anchors])) if clusters.found and anchors else []
    left_out = missed_clusters(real, names, theirs[there], held_out, seed=seed) if names else ()
    described = clusters.described(SHOWN) if clusters.found else {}
    missed = judged(
        KINDS["missed content"],
        coverage(real, ours, held_out, seed=seed).missed,
        covered.reference,
        covered.missed,
        covered.difference,
        [
            f"cluster {one.name} ({described[one.name]}): {one.missed.value or 0:.0%} of its {one.anchors} anchors "
            f"missed, {one.reference.value or 0:.0%} by as many real items"
            for one in left_out
        ],
    )
    return replace(shift, evidence=tuple(evidence)), missed


def _some(accepted: Sequence[Example], seed: int) -> list[Example]:
    order = np.sort(np.random.default_rng(seed).permutation(len(accepted))[:MOST_ROWS])
    return [accepted[place] for place in order]


def substance(text: str) -> str:
    """What is embedded of a text: its content words. One of function words alone gets the vector of a blank."""
    return " ".join(content(stripped(text))) or "_"


def _embedded(side: Sequence[Example], embed: Embedder) -> Vectors:
    texts = [substance(one.text) for one in side]
    return np.asarray(embed(texts)) if texts else np.zeros((0, 0))


def _above_chance(auc: Estimate) -> Estimate:
    if auc.value is None or auc.low is None or auc.high is None:
        return auc
    return replace(auc, value=auc.value - 0.5, low=auc.low - 0.5, high=auc.high - 0.5)


def _by_slice(
    anchors: Sequence[Example], made: Sequence[Example], real: Vectors, theirs: Vectors, seed: int
) -> list[tuple[str, Estimate]]:
    """AUC within the largest slices that both sides have enough rows of, rows matched by label."""
    ours, others = slice_members(anchors), slice_members(made)
    found: list[tuple[str, Estimate]] = []
    for name in ours:
        if name not in others or is_rest(name):
            continue
        here, there = ours[name], others[name]
        a, b = matched([anchors[place].label for place in here], [made[place].label for place in there], seed)
        if MIN_EACH <= len(a) < len(anchors):
            found.append((name, two_sample_auc(real[here[a]], theirs[there[b]], seed)))
    return sorted(found, key=lambda one: -one[1].n)[:MOST_SLICES]


def _beyond(found: Estimate, looks: int) -> bool:
    """Whether a slice alone is reason enough: as for the whole, but among so many looks (Bonferroni) and, since a
    slice's variance comes from few rows a fold, with Student's t on folds − 1 degrees of freedom."""
    if found.value is None or found.low is None:
        return False
    from scipy.special import stdtrit

    wider = -float(stdtrit(FOLDS - 1, 0.025 / looks)) / Z
    return found.value - 0.5 >= KINDS["content shift"].least and found.value - wider * (found.value - found.low) > 0.5


def _slice_line(name: str, found: Estimate) -> str:
    ends = "" if found.low is None or found.high is None else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{name}: AUC {found.value:.2f}{ends}, n = {found.n}" if found.value is not None else f"{name}: {found.note}"


def _telling(seeds: Sequence[Example], anchors: Sequence[Example], made: Sequence[Example]) -> list[str]:
    texts = [one.text for one in made]
    found = telling_words(texts, [one.text for one in anchors], [*texts, *(one.text for one in seeds)])
    told = ", ".join(f"“{one.word}” {one.made:.0%} against {one.real:.0%}" for one in found)
    return [f"words that give them away (share of synthetic against real rows): {told}"] if told else []


def _strangest(items: Sequence[Example], own: Vectors, others: Vectors, what: str) -> list[str]:
    shown = "; ".join(f"“{one_line(items[place].text, SHOWN)}”" for place in farthest(own, others))
    return [f"{what}: {shown}"] if shown else []
