"""All slices in one bootstrap: items are drawn once a resample, for every slice and both models together.

Gives what needs the slices' joint distribution: the lowest slice accuracy, and the difference between two models'
lowest. A minimum of noisy shares is a biased estimate: with 20 slices of 150 items that all have accuracy .80 the
lowest observed one is near .74, its bootstrap distribution near .70, and a percentile interval never covers (our
simulation). So the resamples give the noise that two models share, and the ends allow for the choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.intervals import LEVEL, MIN_ITEMS, Z, insufficient, paired_shares, score_bounds
from eval.outcomes import BoolArray, FloatArray, IntArray, rights
from eval.slices import is_rest
from harness.records import Estimate, Example, Prediction, WorstSlice

MIN_WORST = 20
"""Items a slice needs to be called the worst."""
BLOCK = 1_500_000
"""Draws held in memory at once (8 bytes each, three times over)."""


@dataclass(frozen=True, slots=True)
class JointSlices:
    """`differences`: accuracy after − before by slice. `before`, `after`: each model's worst slice."""

    differences: Mapping[str, Estimate]
    before: WorstSlice
    after: WorstSlice


def joint_slices(
    examples: Sequence[Example],
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    members: Mapping[str, IntArray],
    *,
    resamples: int,
    seed: int,
    min_items: int = MIN_WORST,
) -> JointSlices:
    """Two models on the same items, slice by slice, `members` as from `eval.slices.slice_members` or `slice_pairs`.

    Differences have the percentile interval (Agresti and Min's where every resample gives the same value; that is the
    one to test a single slice with, `eval.slices.slice_changes`), or say "insufficient" below 10 items.
    Worst slices are looked for among those with `min_items` items, a column's remainder apart. Raises ValueError as
    `eval.outcomes.align` does, for fewer than 100 resamples and unless min_items ≥ 1.
    """
    old, new = rights(examples, before), rights(examples, after)
    drawn = draw_slices(old, new, members, resamples=resamples, seed=seed)
    place = {name: position for position, name in enumerate(members)}
    differences = {
        name: _difference(old[positions], new[positions], drawn[:, place[name], 1] - drawn[:, place[name], 0])
        for name, positions in members.items()
    }
    large = _large(members, min_items)
    if not large:
        nothing = _no_slice(min_items, len(examples))
        return JointSlices(differences, nothing, replace(nothing, difference=nothing.value))
    was, now = _lowest(old, large), _lowest(new, large)
    minima = drawn[:, [place[name] for name in large]].min(axis=1)
    change = _minima_difference(was, now, _correlation(minima))
    return JointSlices(differences, _as_record(was, None), _as_record(now, change))


def worst_slice(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    members: Mapping[str, IntArray],
    min_items: int = MIN_WORST,
) -> WorstSlice:
    """One model's worst slice among those with at least `min_items` items; no resampling is needed for one.

    The interval is for the lowest *true* accuracy of the S slices: the lower end is the lowest of the plain 95 %
    Wilson ends, the upper one the lowest of Wilson ends at 1 − .025/S (Bonferroni, as in the intersection bounds of
    Chernozhukov, Lee & Rosen 2013, Econometrica 81:667), because the slice was chosen for being low. Raises
    ValueError as `eval.outcomes.align` does and unless min_items ≥ 1.
    """
    right = rights(examples, predictions)
    large = _large(members, min_items)
    return _as_record(_lowest(right, large), None) if large else _no_slice(min_items, len(examples))


def draw_slices(
    before: BoolArray, after: BoolArray, members: Mapping[str, IntArray], *, resamples: int, seed: int
) -> FloatArray:
    """Accuracies in every resample, shape (resamples, slices, 2), NaN where a resample misses a slice.

    `before` and `after`, shape (n,), say which items are right. Items in the same slices with the same answers are
    counted together, so a resample is one row of counts and all slices one matrix product; float32 counts are exact.
    Raises ValueError for fewer than 100 resamples.
    """
    if resamples < 100:
        raise ValueError(f"draw_slices: {resamples!r} resamples; the ends of an interval need at least 100")
    n, width = len(before), len(members)
    out = np.full((resamples, width, 2), np.nan)
    if n == 0 or width == 0:
        return out
    inside = np.zeros((n, width), dtype=np.bool_)
    for column, positions in enumerate(members.values()):
        inside[positions, column] = True
    packed = np.packbits(np.column_stack([inside, before, after]), axis=1)
    _, first, kind = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    kinds = inside[first].astype(np.float32)
    table = np.concatenate([kinds, kinds * before[first, None], kinds * after[first, None]], axis=1)
    kind, rng, step = kind.reshape(-1), np.random.default_rng(seed), max(1, BLOCK // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        cells = kind[rng.integers(0, n, size=(size, n), dtype=np.int32)]
        cells += np.arange(0, size * len(first), len(first))[:, None]
        counts = np.bincount(cells.ravel(), minlength=size * len(first)).reshape(size, len(first))
        sums = (counts.astype(np.float32) @ table).reshape(size, 3, width)
        with np.errstate(invalid="ignore"):
            out[start : start + size] = (sums[:, 1:] / sums[:, :1]).swapaxes(1, 2)
    return out


def _large(members: Mapping[str, IntArray], min_items: int) -> dict[str, IntArray]:
    """Slices that may be called the worst. Raises ValueError unless min_items ≥ 1."""
    if min_items < 1:
        raise ValueError(f"worst slice: min_items {min_items!r} must be at least 1")
    return {name: rows for name, rows in members.items() if len(rows) >= min_items and not is_rest(name)}


def _no_slice(min_items: int, n: int) -> WorstSlice:
    return WorstSlice("", 0, 0, insufficient(f"no slice has {min_items} items", n), None)


def _as_record(lowest: _Lowest, difference: Estimate | None) -> WorstSlice:
    return WorstSlice(lowest.slice, lowest.n, lowest.of, lowest.estimate(), difference)


def _difference(was: BoolArray, now: BoolArray, drawn: FloatArray) -> Estimate:
    n = len(was)
    if n < MIN_ITEMS:
        gain = float(now.mean() - was.mean()) if n else None
        return insufficient(f"{n} items; a slice needs at least {MIN_ITEMS}", n, gain)
    shares = paired_shares(int(np.sum(now & ~was)), int(np.sum(was & ~now)), n)
    tail = (1 - LEVEL) / 2
    ordered = drawn[~np.isnan(drawn)]
    low, high = (float(end) for end in np.quantile(ordered, (tail, 1 - tail), method="inverted_cdf"))
    if shares.value is None or high - low <= 1e-12:
        return shares
    return Estimate(shares.value, min(low, shares.value), max(high, shares.value), n, "percentile bootstrap")


@dataclass(frozen=True, slots=True)
class _Lowest:
    """`middle` is the half-median-unbiased estimate (Chernozhukov et al.): `value` plus at most what choosing among
    the slices costs. Ends as `worst_slice` says."""

    slice: str
    n: int
    of: int
    value: float
    low: float
    middle: float
    high: float

    def estimate(self) -> Estimate:
        if self.of == 1:
            return Estimate(self.value, self.low, self.high, self.n, "Wilson")
        note = f"lowest of {self.of} slices; the upper end allows for the choice"
        return Estimate(self.value, self.low, self.high, self.n, "Wilson, Bonferroni above", note)


def _lowest(right: BoolArray, slices: Mapping[str, IntArray]) -> _Lowest:
    from scipy.special import ndtri

    names, of = list(slices), len(slices)
    hits = np.array([right[slices[name]].sum() for name in names], dtype=np.float64)
    sizes = np.array([len(slices[name]) for name in names], dtype=np.float64)
    worst = int(np.argmin(hits / sizes))
    value = float(hits[worst] / sizes[worst])

    def upper(level: float) -> float:
        return max(value, float(np.min(score_bounds(hits, sizes, float(ndtri(level)))[1])))

    low = min(value, float(score_bounds(hits, sizes, Z)[0].min()))
    middle = value if of == 1 else upper(0.5 ** (1 / of))
    return _Lowest(names[worst], int(sizes[worst]), of, value, low, middle, upper(1 - (1 - LEVEL) / 2 / of))


def _correlation(minima: FloatArray) -> float:
    """Between two models' lowest accuracies over the resamples, shape (resamples, 2); a negative one counts as 0."""
    both = minima[~np.isnan(minima).any(axis=1)]
    if len(both) < 2 or (both.std(axis=0) <= 1e-12).any():
        return 0.0
    scaled = (both - both.mean(axis=0)) / both.std(axis=0)
    return max(0.0, float(np.mean(scaled[:, 0] * scaled[:, 1])))


def _minima_difference(before: _Lowest, after: _Lowest, correlation: float) -> Estimate:
    """Lowest after − lowest before. The two models' noise is added in squares at each end (MOVER with correlation, Zou
    2007, Psychological Methods 12:399), the bias of each minimum plainly, as it may be anything from none to all."""

    def side(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one + other * other - 2 * correlation * one * other))

    value = after.value - before.value
    low = after.value - before.middle - side(after.value - after.low, before.high - before.middle)
    high = after.middle - before.value + side(after.high - after.middle, before.value - before.low)
    note = "" if before.slice == after.slice else f"the worst slice was {before.slice} and is {after.slice}"
    return Estimate(
        value, max(-1.0, min(low, value)), min(1.0, max(high, value)), min(before.n, after.n), "MOVER", note
    )
