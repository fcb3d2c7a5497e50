"""What of the matrix was planned, and what came of it: by value, by pair of values, by cell.

A combination is starved if it was planned and nothing of it passed the filters; what passed and was beyond the target
(the filter `quota`) is not missed. Everything is counted from a finished run's
report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from harness.filters.difficulty import TOO_EASY, TOO_HARD, DifficultyFilter
from harness.filters.quota import BEYOND_TARGET, QuotaFilter
from harness.generate.covering import Combination, all_combinations, axes_of, combinations_of
from harness.generate.matrix import possible
from harness.reports import FunnelRow, RunReport
from harness.spec import Matrix

PAIRS = 2
ENOUGH = 16
"""Candidates from which on a cell's own ratio is worth printing."""
BEYOND = f"{QuotaFilter.name}: {BEYOND_TARGET}"


@dataclass(frozen=True, slots=True)
class Counted:
    """A combination of values: candidates planned, answers generated, rows that passed the filters that judge a row,
    rows accepted, over all rounds."""

    values: Combination
    planned: int
    generated: int
    passed: int
    accepted: int

    @property
    def name(self) -> str:
        """`label=HUM|length=short`, as cells are called."""
        return "|".join(f"{dimension}={value}" for dimension, value in self.values)

    @property
    def starved(self) -> bool:
        return self.planned > 0 and not self.passed

    @property
    def ratio(self) -> float | None:
        """Candidates drawn for each row that passed: the over-generation that this combination needs."""
        return self.generated / self.passed if self.passed else None


@dataclass(frozen=True, slots=True)
class ValueShare:
    """A value's share of the plan, of the accepted rows and of the seeds; None for a dimension that is no slice of the
    real data."""

    dimension: str
    value: str
    planned: float
    accepted: float
    seeds: float | None


@dataclass(frozen=True, slots=True)
class MatrixCoverage:
    """`strength` is the design's (`matrix.cover`). `pairs` are all that the rules allow, planned or not."""

    strength: int
    values: tuple[ValueShare, ...]
    pairs: tuple[Counted, ...]
    cells: tuple[Counted, ...]

    @property
    def unplanned(self) -> list[Counted]:
        return [one for one in self.pairs if not one.planned]

    @property
    def starved(self) -> list[Counted]:
        """Starved pairs, those with most candidates first; then starved cells that lie in none of them."""
        pairs = sorted((one for one in self.pairs if one.starved), key=lambda one: -one.planned)
        known = {one.values for one in pairs}
        cells = [
            one for one in self.cells if one.starved and known.isdisjoint(combinations_of(dict(one.values), PAIRS))
        ]
        return [*pairs, *sorted(cells, key=lambda one: -one.planned)]


def coverage_of(report: RunReport) -> MatrixCoverage | None:
    """None where nothing was generated, or where another version wrote the spec."""
    rows = report.rounds[-1].funnel if report.rounds else ()
    try:
        matrix = Matrix.model_validate(report.spec.get("matrix", {}))
    except ValidationError:
        return None
    if not rows:
        return None
    labels = list(next(iter(report.rounds[-1].dev.values())).confusion) if report.rounds[-1].dev else []
    axes = axes_of(_labels(report) or labels, matrix)
    return MatrixCoverage(
        matrix.cover,
        tuple(_values(axes, rows, report.seed_values)),
        tuple(_counted(_allowed(axes, matrix), rows)),
        tuple(_counted((tuple(row.values.items()) for row in rows), rows)),
    )


def _labels(report: RunReport) -> list[str]:
    task = report.spec.get("task")
    labels = task.get("labels") if isinstance(task, Mapping) else None
    return list(labels) if isinstance(labels, Mapping) else []


def _allowed(axes: Mapping[str, Sequence[str]], matrix: Matrix) -> Iterable[Combination]:
    return (pair for pair in all_combinations(axes, PAIRS) if possible(dict(pair), list(axes["label"]), matrix))


def _counted(combinations: Iterable[Combination], rows: Sequence[FunnelRow]) -> Iterable[Counted]:
    sums: dict[str, Counter[Combination]] = {name: Counter() for name in ("planned", "generated", "passed", "accepted")}
    for row in rows:
        own = [*combinations_of(row.values, PAIRS), tuple(row.values.items())]
        for name, counter in sums.items():
            for one in dict.fromkeys(own):
                counter[one] += _passed(row) if name == "passed" else row.counts.get(name, 0)
    for one in dict.fromkeys(combinations):
        yield Counted(one, *(counter[one] for counter in sums.values()))


def _passed(row: FunnelRow) -> int:
    return row.counts.get("accepted", 0) + row.reasons.get(BEYOND, 0)


def _values(
    axes: Mapping[str, Sequence[str]], rows: Sequence[FunnelRow], seeds: Mapping[str, Mapping[str, int]]
) -> Iterable[ValueShare]:
    totals = {name: sum(row.counts.get(name, 0) for row in rows) for name in ("planned", "accepted")}
    for dimension, values in axes.items():
        placed = seeds.get(dimension, {})
        for value in values:
            own = [row for row in rows if row.values.get(dimension) == value]
            planned, accepted = (
                sum(row.counts.get(name, 0) for row in own) / max(1, total) for name, total in totals.items()
            )
            share = placed.get(value, 0) / sum(placed.values()) if sum(placed.values()) else None
            yield ValueShare(dimension, value, planned, accepted, share)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard the candidates of a cell are for the current student: counts of those that reached the filter."""

    name: str
    too_hard: int
    in_band: int
    too_easy: int


def difficulty_by_cell(rows: Sequence[FunnelRow]) -> list[Difficulty]:
    """Cells in which the band of `filters.difficulty` dropped anything, those with most drops first."""
    found = [
        Difficulty(
            row.cell,
            row.reasons.get(f"{DifficultyFilter.name}: {TOO_HARD}", 0),
            row.counts.get(DifficultyFilter.name, 0),
            row.reasons.get(f"{DifficultyFilter.name}: {TOO_EASY}", 0),
        )
        for row in rows
    ]
    dropping = [one for one in found if one.too_hard or one.too_easy]
    return sorted(dropping, key=lambda one: (-one.too_hard - one.too_easy, one.name))


def coverage_lines(found: MatrixCoverage) -> list[str]:
    """Two or three sentences."""
    possible_pairs, planned = len(found.pairs), len(found.pairs) - len(found.unplanned)
    met = sum(one.passed > 0 for one in found.pairs)
    design = (
        f"The design has strength {found.strength}" if found.strength > 1 else "Values are drawn by their weights alone"
    )
    lines = [
        f"{planned:,} of {possible_pairs:,} possible pairs of values were planned, {met:,} have a row that passed. "
        f"{design}{'' if found.strength > 1 else ' (matrix.cover: 2 plans every pair)'}."
    ]
    if found.starved:
        worst = "; ".join(f"{one.name} ({one.planned:,} planned)" for one in found.starved[:5])
        lines.append(f"Starved, planned and nothing passed: {len(found.starved):,}, such as {worst}.")
    if (ratios := _ratio_line(found.cells)) is not None:
        lines.append(ratios)
    return lines


def _ratio_line(cells: Sequence[Counted]) -> str | None:
    """How much was drawn for each row, overall and in the cells at either end that had candidates enough to tell."""
    drawn, passed, accepted = (
        sum(counts) for counts in zip(*((one.generated, one.passed, one.accepted) for one in cells), strict=True)
    )
    if not accepted:
        return None
    line = f"{drawn / accepted:.1f} candidates were drawn for each row kept, {drawn / passed:.1f} for each that passed"
    told = sorted((one.ratio, one.name) for one in cells if one.ratio is not None and one.generated >= ENOUGH)
    if len(told) > 1:
        (low, easiest), (high, hardest) = told[0], told[-1]
        line += f" ({low:.1f} in {easiest} to {high:.1f} in {hardest}, of cells with {ENOUGH} candidates or more)"
    return f"{line}. Refills draw by this ratio, cell by cell."
