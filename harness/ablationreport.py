"""What `harness ablate` found, as it stands in the store."""

from __future__ import annotations

from dataclasses import dataclass

from harness.filters import TABLE
from harness.records import Comparison, Estimate
from harness.store import Store, read_json

VERSION = 2
"""Raise when the same run would give another ablation."""
ALL = "all filters"
RESULT = "ablation.json"


@dataclass(frozen=True, slots=True)
class FilterAblation:
    """A filter of a run. `dropped` and `relabelled` count what it did among all filters; `rows` are the synthetic
    training rows without it, `comparison` all filters − without it on dev. `calls` were asked for its verdicts in the
    last round, `trainings` are the students that it needs. `note` says why something is missing."""

    filter: str
    dropped: int
    relabelled: int
    rows: int
    score: Estimate | None
    comparison: Comparison | None
    calls: int
    trainings: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ablation:
    """The filters of a run, one off at a time; `rows` and `score` are the side with all of them on."""

    run: str
    metric: str
    candidates: int
    rows: int
    score: Estimate
    filters: tuple[FilterAblation, ...]


def ablation_of(store: Store, run: str, seed: int) -> Ablation | None:
    """What `harness ablate` found of this run, if it was asked."""
    ident, _ = store.id_of("ablation", VERSION, inputs_of(), {"run": run}, seed)
    return read_json(store.find(ident) / RESULT, Ablation) if ident in store else None


def inputs_of() -> dict[str, object]:
    return {"versions": {item.name: item.version for item in TABLE}}
