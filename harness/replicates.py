"""The same spec under several seeds, pooled: item noise and seed noise kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from eval.gap import pooled_recovered
from eval.intervals import Pooled
from eval.outcomes import Metric, ScoredRun
from eval.score import pooled_paired_difference
from harness.controls import LOOP
from harness.deliver import adapters_of
from harness.errors import StoreError
from harness.real import read_split
from harness.records import Role
from harness.reports import RunReport
from harness.scoring import REFERENCE, decision_of, predictions_of
from harness.store import Store


@dataclass(frozen=True, slots=True)
class Replicates:
    """Means over runs. `differences` are arm − seeds on the test items, by arm; `controls` are closed − control at
    equal calls and rows."""

    runs: tuple[RunReport, ...]
    metric: Metric
    differences: dict[str, Pooled]
    recovered: Pooled
    controls: dict[str, Pooled]


def pool(reports: Sequence[RunReport], store: Store, metric: Metric, resamples: int) -> Replicates:
    """Pool finished runs of one spec. Raises `StoreError` for a run whose evaluation is gone or damaged."""
    runs = [scored_run(report, store) for report in reports]
    shared = set.intersection(*(set(run.predictions) for run in runs)) - {REFERENCE}
    sides = [side.name for side in reports[0].controls]
    order = reports[0].test or runs[0].predictions
    arms = [arm for arm in order if arm in shared and arm not in sides]
    differences = {arm: pooled_paired_difference(runs, arm, REFERENCE, metric, resamples, 0) for arm in arms}
    controls = {
        name: pooled_paired_difference(runs, LOOP, name, metric, resamples, 0)
        for name in sides
        if name != LOOP and {LOOP, name} <= shared
    }
    return Replicates(tuple(reports), metric, differences, pooled_recovered(runs, metric, resamples, 0), controls)


def scored_run(report: RunReport, store: Store) -> ScoredRun:
    """The test items of a finished run (it opened them; reading again is no new look) and every arm's predictions; the
    dev items where the run left the test sealed."""
    ident = report.artefacts["evaluation"]
    try:
        predictions = predictions_of(store.find(ident).path)
    except (StoreError, OSError, ValidationError) as error:
        raise StoreError(
            f"the test predictions of {report.id} cannot be read: {error}. Delete the folders of {report.id} and "
            f"{ident} below {str(store.root / 'artefacts')!r}, then run the same command again: they are made anew "
            "from the models that are there."
        ) from error
    split = read_split(store.find(report.artefacts["split"]))
    if not report.test:
        return ScoredRun(split.examples[Role.DEV], predictions)
    seal = split.test
    examples = seal.open(store, report.id, decision_of(adapters_of(report))).examples
    return ScoredRun(examples, predictions)
