"""What can confirm a collapse verdict: the loss on real anchors, their entropy, recall on rare groups of anchors.

None of them changes the verdict. They say whether they agree with it and how much later they would have spoken, by the
same rule: beyond chance in two generations in succession.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.intervals import MIN_ITEMS, Z, benjamini_hochberg, score_bounds
from eval.outcomes import BoolArray, FloatArray
from eval.readings import MIN_BATCHES, Baseline, Batch, Readings
from eval.sequential import second_in_succession, upper_p
from eval.vectors import unit_rows
from harness.records import Estimate

DIRECTION = {"real NLL": 1.0, "anchor entropy": -1.0}
"""Which way collapse moves each of them."""
FALSE_SLICES = 0.05
"""Share of slices said to be lost that may be lost by chance."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One more witness. `means` by generation, `changes` paired to generation 0 (none for generation 0).

    `agrees`: whether it moved the way of collapse in two generations in succession; None where it cannot be told.
    `first` is the second of these generations, `lead` how many generations the detector's alarm (or first warning)
    was earlier.
    """

    name: str
    agrees: bool | None
    first: int | None
    lead: int | None
    means: tuple[float | None, ...]
    changes: tuple[Estimate, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RareSlices:
    """Rare groups of anchors, named before the run: positions of each one's anchors, and the distance within which an
    item counts as being about an anchor (by anchor; `matched_radii` gives usual ones)."""

    members: Mapping[str, tuple[int, ...]]
    radius: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SliceRecall:
    """Share of a group's anchors with an item nearby, in generation 0 and in the last one, with Wilson's interval, and
    in every generation, 0 first (None: not judged). `q`: Benjamini-Hochberg over the groups of one generation; None
    where it is too small to be judged."""

    name: str
    before: Estimate
    now: Estimate
    q: float | None
    lost: bool
    course: tuple[float | None, ...] = ()


def matched_radii(
    anchors: NDArray[np.floating], real: NDArray[np.floating], size: int, recall: float = 0.95
) -> tuple[float, ...]:
    """By anchor, the distance within which `size` items drawn from `real` have one in a share `recall` of the draws.

    Unit rows (a, d) and (r, d), real ones that are no anchors. The radius is the distance to the j-th nearest of them
    with (1 − size/r)^j ≤ 1 − recall, so that it fits both how densely real items lie there and how many items are
    compared. The distance to the fifth nearest other anchor, as in k-nearest-neighbour recall, is wider than a group
    that has few anchors, and then does not see it go: on toys of 40 modes with 3 or 4 anchors each (8 batches of 150
    items, 6 generations, 200 runs) a mode lost from generation 2 on was found in .01 of the runs, in .43 with these
    radii, in .25 at a recall of .98 and .24 at .8; where nothing changed .02 called a slice lost. Chosen there, it held
    on other toys (25 modes, 400 runs): .83 against .59 for the fifth anchor, .05 where nothing changed. Where `real`
    has no more than `size` rows, the nearest of them. Raises ValueError for rows that are not unit rows of one width,
    without real rows, for a size below 1 and a recall that is not between 0 and 1.
    """
    ours, theirs = unit_rows(anchors=anchors, real=real)
    if not len(theirs) or size < 1 or not 0 < recall < 1:
        raise ValueError(f"matched_radii: {len(theirs)} real rows, size {size!r}, recall {recall!r}")
    share = size / len(theirs)
    j = 1 if share >= 1 else max(1, math.ceil(math.log(1 - recall) / math.log1p(-share)))
    near = np.sort(ours @ theirs.T, axis=1)[:, -min(j, len(theirs))]
    return tuple(np.sqrt(np.maximum(2.0 - 2.0 * near, 0.0)).tolist())


def confirm_paired(
    name: str, values: NDArray[np.floating], columns: int, detected: int | None, level: float
) -> Confirmation:
    """Per-item figures of real anchors, shape (items, generations), against generation 0's (column 0), item by item.

    One-sided paired t. An item without a finite value in every generation is left out. The interval is about other
    anchors; the noise of training is not in it. Raises ValueError for another number of columns than generations and
    for an unknown name.
    """
    if name not in DIRECTION:
        raise ValueError(f"confirm_paired: {name!r} is not known; allowed are {sorted(DIRECTION)}")
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != columns:
        raise ValueError(f"{name}: shape {table.shape}; needed is (items, {columns}), a column per generation, 0 first")
    table = table[np.isfinite(table).all(axis=1)]
    missing = len(values) - len(table)
    if len(table) < MIN_ITEMS or columns < 2:
        why = f"{len(table)} anchors with a value in all of {columns} generations; {MIN_ITEMS} in 2 are needed"
        return Confirmation(name, None, None, None, (), (), f"{name} cannot be told: {why}.")
    differences = table[:, 1:] - table[:, :1]
    changes = tuple(_paired(column) for column in differences.T)
    flags = [_one_sided(DIRECTION[name] * column) <= level for column in differences.T]
    means = tuple(float(one) for one in table.mean(axis=0))
    left_out = f" {missing} of {len(values)} anchors lack a value and are left out." if missing else ""
    place = second_in_succession(flags)
    first = None if place is None else place + 1
    return _concluded(name, first, detected, means, changes, _moved(name, changes[-1], means) + left_out)


def confirm_slices(
    slices: RareSlices,
    baseline: Baseline,
    generations: Sequence[Readings],
    left_out: Sequence[int],
    detected: int | None,
) -> tuple[Confirmation, tuple[SliceRecall, ...]]:
    """Recall of rare groups of anchors, each against its recall in generation 0's batches.

    A group is lost where its recall lies below the t prediction limit of the batches, whose spread is taken to be at
    least the binomial one (in all batches the same recall is no proof of no noise; of fewer than 4 batches it is the
    binomial one), after Benjamini & Hochberg over the groups. `left_out` are anchors that do not count. Raises
    ValueError for a position that is no anchor.
    """
    judged = [(place, one) for place, one in enumerate(generations, start=1) if one.batches]
    if not judged or not baseline.batches or not baseline.batches[0].nearest:
        why = "rare slices cannot be told: there are no anchors, no baseline or no generation to judge."
        return Confirmation("rare slices", None, None, None, (), (), why), ()
    anchors = len(baseline.batches[0].nearest)
    if len(slices.radius) != anchors or any(not 0 <= one < anchors for each in slices.members.values() for one in each):
        raise ValueError(
            f"rare slices: {len(slices.radius)} radii, positions must be 0 to {anchors - 1}, one radius each"
        )
    skipped = set(left_out)
    members = {name: [one for one in each if one not in skipped] for name, each in slices.members.items()}
    members = {name: each for name, each in members.items() if each}
    if not members:
        return Confirmation(
            "rare slices", None, None, None, (), (), "rare slices cannot be told: no anchors in them."
        ), ()
    radius = np.array(slices.radius)
    before = _recalled(baseline.batches, radius)
    by_generation = [_recalled(one.batches, radius) for _, one in judged]
    q_values = [
        benjamini_hochberg([_lost_p(before[:, each], now[:, each]) for each in members.values()])
        for now in by_generation
    ]
    recalls = tuple(
        SliceRecall(
            name,
            _share(before[:, each]),
            _share(by_generation[-1][:, each]),
            q,
            q <= FALSE_SLICES,
            _course(each, before, [place for place, _ in judged], by_generation, len(generations)),
        )
        for (name, each), q in zip(members.items(), q_values[-1], strict=True)
    )
    by_slice = [second_in_succession([q <= FALSE_SLICES for q in qs]) for qs in zip(*q_values, strict=True)]
    first = min((judged[place][0] for place in by_slice if place is not None), default=None)
    lost = [one.name for one in recalls if one.lost]
    words = f"recall of {len(lost)} of {len(recalls)} rare slices is lost" + (f": {', '.join(lost)}." if lost else ".")
    everything = sorted({position for each in members.values() for position in each})
    means = tuple(float(one[:, everything].mean()) for one in (before, *by_generation))
    return _concluded("rare slices", first, detected, means, (), words), recalls


def _concluded(
    name: str,
    first: int | None,
    detected: int | None,
    means: tuple[float, ...],
    changes: tuple[Estimate, ...],
    words: str,
) -> Confirmation:
    if first is None:
        return Confirmation(name, False, None, None, means, changes, f"{words} It does not speak of collapse.")
    lead = None if detected is None else first - detected
    how = "" if lead is None else ", in the same generation as the detector"
    if lead:
        how = f", {abs(lead)} {'after' if lead > 0 else 'before'} the detector"
    said = f"{words} It speaks of collapse from generation {first} on{how}."
    return Confirmation(name, True, first, lead, means, changes, said)


def _paired(differences: FloatArray) -> Estimate:
    from scipy.special import stdtrit

    n, value = len(differences), float(differences.mean())
    half = float(stdtrit(n - 1, 0.975)) * float(differences.std(ddof=1)) / math.sqrt(n)
    return Estimate(value, value - half, value + half, n, "paired t")


def _one_sided(differences: FloatArray) -> float:
    """p of a mean above 0."""
    spread = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    if spread <= 1e-12:
        return 0.0 if float(differences.mean()) > 1e-12 else 1.0
    return upper_p(float(differences.mean()) / spread, len(differences) - 1)


def _moved(name: str, last: Estimate, means: Sequence[float]) -> str:
    change = means[-1] - means[0]
    share = f" ({100 * change / means[0]:+.1f} %)" if means[0] > 0 else ""
    return f"{name} changed by {change:+.3f} [{last.low:+.3f}, {last.high:+.3f}]{share} since generation 0."


def _recalled(batches: Sequence[Batch], radius: FloatArray) -> BoolArray:
    """Which anchors have an item within their radius, shape (batches, anchors)."""
    return np.array([batch.nearest for batch in batches]) <= radius


def _lost_p(before: BoolArray, now: BoolArray) -> float:
    """One-sided p that a group's recall is no lower than in generation 0; both of shape (batches, members)."""
    batches, members = before.shape
    shares = before.mean(axis=1)
    # Agresti-Coull's two successes and failures keep the spread above 0 at a recall of 0 or 1.
    centre = (before.sum() + 2) / (before.size + 4)
    sd, df = math.sqrt(centre * (1 - centre) / members), math.inf
    if batches >= MIN_BATCHES:
        sd, df = max(sd, float(shares.std(ddof=1))), batches - 1
    t = (float(shares.mean()) - float(now.mean())) / (sd * math.sqrt(1 / len(now) + 1 / batches))
    return upper_p(t, df)


def _course(
    members: Sequence[int], before: BoolArray, places: Sequence[int], now: Sequence[BoolArray], generations: int
) -> tuple[float | None, ...]:
    """A group's recall by generation, from 0 to `generations`; `now` are those of the generations `places`."""
    known = {0: before} | dict(zip(places, now, strict=True))
    return tuple(float(known[place][:, members].mean()) if place in known else None for place in range(generations + 1))


def _share(recalled: BoolArray) -> Estimate:
    """Mean recall over batches; Wilson's interval with the anchors as n, since batches share them."""
    members, value = recalled.shape[1], float(recalled.mean())
    low, high = score_bounds(np.array([value * members]), np.array([float(members)]), Z)
    return Estimate(value, float(low[0]), float(high[0]), members, "Wilson")
