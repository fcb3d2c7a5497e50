"""Runs of a comparison side by side: funnels, slices, rows that only one of two variants accepted, prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.comparison import Comparison, Finished
from harness.figures import funnel_totals, last_funnel
from harness.records import Example, SliceScore
from harness.reports import RunReport
from harness.roundwords import PromptDiff, diffs_between
from harness.store import Store, read_lines
from harness.suitespec import BASE

MOST_SLICES = 40
FEWEST_ITEMS = 10
"""A slice with fewer items on dev says next to nothing."""
CLUSTER = "cluster="
MOST_ROWS = 6
"""Sample rows of each kind and variant."""


@dataclass(frozen=True, slots=True)
class SliceRow:
    """Accuracy on a slice of dev by variant, over the seeds that all have: (value, n), value None where no item is."""

    slice: str
    values: Mapping[str, tuple[float | None, int]]

    @property
    def spread(self) -> float:
        known = [value for value, _ in self.values.values() if value is not None]
        return max(known) - min(known) if known else 0.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """Rows of one seed that a variant accepted and the base did not (`gained`), and the other way round (`lost`), and
    those that both did under different labels (`other`: the base's row, the variant's). Counts, then some of them."""

    variant: str
    gained_count: int
    lost_count: int
    other_count: int
    both: int
    gained: tuple[Example, ...]
    lost: tuple[Example, ...]
    other: tuple[tuple[Example, Example], ...]


@dataclass(frozen=True, slots=True)
class Detail:
    """`funnels[variant][stage]` are candidates left, over all seeds; `prompts[variant]` differ from the base's in the
    last round of seed `seed`, which `accepted` is of too."""

    seed: int | None
    funnels: Mapping[str, Mapping[str, int]]
    stages: tuple[str, ...]
    slices: tuple[SliceRow, ...]
    slices_left_out: int
    accepted: tuple[Accepted, ...]
    prompts: Mapping[str, tuple[PromptDiff, ...]]


def detail_of(found: Comparison, finished: Finished, store: Store) -> Detail:
    """Raises `StoreError` where the rows of a run are gone."""
    names = [line.variant for line in found.lines]
    funnels = {name: _funnel(list(finished[name].values())) for name in names}
    stages = tuple(dict.fromkeys(stage for funnel in funnels.values() for stage in funnel))
    rows = sorted(_slices(names, finished), key=lambda row: (-row.spread, row.slice))
    base = finished.get(BASE, {})
    seed = next((one for one in found.seeds if one in base), None)
    others = [name for name in names if name != BASE and seed is not None and seed in finished[name]]
    pairs = {name: (base[seed], finished[name][seed]) for name in others if seed is not None}
    return Detail(
        seed=seed,
        funnels=funnels,
        stages=stages,
        slices=tuple(rows[:MOST_SLICES]),
        slices_left_out=max(0, len(rows) - MOST_SLICES),
        accepted=tuple(_accepted(name, *pair, store) for name, pair in pairs.items()),
        prompts={name: prompts for name, pair in pairs.items() if (prompts := _prompts(*pair))},
    )


def _funnel(reports: Sequence[RunReport]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for report in reports:
        for stage, count in funnel_totals(last_funnel(report)).items():
            totals[stage] = totals.get(stage, 0) + count
    return totals


def _slices(names: Sequence[str], finished: Finished) -> list[SliceRow]:
    """Slices of dev in each variant's best rounds that have enough items, over the seeds that all variants have. An
    item that several seeds scored counts once a seed."""
    seeds = set.intersection(*(set(finished[name]) for name in names)) if names else set[int]()
    # Clusters are found anew in each split, so that one name stands for other texts in each.
    one_split = len({finished[name][seed].data.id for name in names for seed in seeds}) == 1
    counts: dict[str, dict[str, tuple[float, int]]] = {}
    for name in names:
        for one in (one for seed in sorted(seeds) for one in _best_dev(finished[name][seed])):
            if one_split or not one.slice.startswith(CLUSTER):
                right, n = counts.setdefault(one.slice, {}).get(name, (0.0, 0))
                counts[one.slice][name] = (right + (one.value or 0.0) * one.n, n + one.n)
    return [
        SliceRow(name, {variant: _mean(values.get(variant, (0.0, 0))) for variant in names})
        for name, values in counts.items()
        if max(n for _, n in values.values()) >= FEWEST_ITEMS
    ]


def _mean(of: tuple[float, int]) -> tuple[float | None, int]:
    right, n = of
    return (right / n if n else None), n


def _best_dev(report: RunReport) -> tuple[SliceScore, ...]:
    best = next((each for each in report.rounds if each.round == report.best_round), None)
    mixed = None if best is None else best.dev.get("mixed")
    return () if mixed is None else mixed.slices


def _accepted(variant: str, base: RunReport, other: RunReport, store: Store) -> Accepted:
    before, after = _rows(base, store), _rows(other, store)
    gained = [row for ident, row in after.items() if ident not in before]
    lost = [row for ident, row in before.items() if ident not in after]
    both = [(row, after[ident]) for ident, row in before.items() if ident in after]
    changed = [(old, new) for old, new in both if (old.label, old.answer) != (new.label, new.answer)]
    return Accepted(
        variant,
        len(gained),
        len(lost),
        len(changed),
        len(both),
        tuple(gained[:MOST_ROWS]),
        tuple(lost[:MOST_ROWS]),
        tuple(changed[:MOST_ROWS]),
    )


def _rows(report: RunReport, store: Store) -> dict[str, Example]:
    """The rows that the delivered model was trained on, by id."""
    verdicts = store.manifest(report.artefacts["dataset"]).parents["verdicts"]
    return {row.id: row for row in read_lines(store.find(verdicts) / "accepted.jsonl", Example)}


def _prompts(base: RunReport, other: RunReport) -> tuple[PromptDiff, ...]:
    if not base.rounds or not other.rounds:
        return ()
    return tuple(diffs_between(base.rounds[-1].prompts, other.rounds[-1].prompts))
