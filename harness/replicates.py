"""The same spec under several seeds, pooled: item noise and seed noise kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from eval.claims import holm_where_known, pooled_detectable, pooled_p_value
from eval.gap import pooled_recovered
from eval.intervals import Pooled
from eval.outcomes import Metric, ScoredRun
from eval.score import pooled_paired_difference
from harness.controls import LOOP
from harness.deliver import adapters_of, report_folder
from harness.errors import DataError, StoreError
from harness.real import read_split
from harness.records import Role
from harness.redact import redact
from harness.reports import ControlReport, RunReport
from harness.scoring import REFERENCE, decision_of, predictions_of
from harness.store import Store, digest, write_json

LAYOUT = 1
"""Version of `pooled.json`."""
FILE = "pooled.json"
Pairs = tuple[tuple[int | None, int | None], ...]
"""By run: the number of `a` and that of `b`, None where a report does not tell."""
HOW = (
    "Means over runs. `items`: interval over test items, these models given. `total`: with the noise between training "
    "seeds as well (MOVER, Student's t on runs − 1). `p_value` inverts `total`; `p_holm` is adjusted for the number of "
    "claims (Holm 1979), null where the comparison is no claim. `detectable`: what 80 % of such poolings would show."
)


@dataclass(frozen=True, slots=True)
class PooledDifference:
    """a − b over all runs. `p_holm` is None where it is no claim; `rows` are the synthetic ones for a control,
    all training rows elsewhere; `calls` are the generator's."""

    a: str
    b: str
    pooled: Pooled
    p_value: float | None
    p_holm: float | None
    detectable: float | None
    rows: Pairs = ()
    calls: Pairs = ()


@dataclass(frozen=True, slots=True)
class Replicates:
    """Means over runs. `differences` are arm − seeds on the items of `role`, by arm; `controls` are closed − control
    at equal calls and rows. Claims are mixed − seeds and the controls."""

    runs: tuple[RunReport, ...]
    metric: Metric
    role: Role
    differences: dict[str, PooledDifference]
    recovered: Pooled
    controls: dict[str, PooledDifference]

    @property
    def claims(self) -> int:
        return len(_claims(self.differences)) + len(self.controls)


@dataclass(frozen=True, slots=True)
class PooledRun:
    id: str
    seed: int


@dataclass(frozen=True, slots=True)
class PooledFile:
    """What `pooled.json` holds: enough to quote it without the runs."""

    layout: int
    id: str
    name: str
    how: str
    metric: str
    role: Role
    resamples: int
    runs: tuple[PooledRun, ...]
    claims: int
    differences: tuple[PooledDifference, ...]
    controls: tuple[PooledDifference, ...]
    recovered: Pooled


def pool(reports: Sequence[RunReport], store: Store, metric: Metric, resamples: int) -> Replicates:
    """Pool finished runs of one spec. Raises `StoreError` for a run whose evaluation is gone or damaged, `DataError`
    where only some of the runs opened their test."""
    role = _role(reports)
    runs = [scored_run(report, store) for report in reports]
    shared = set.intersection(*(set(run.predictions) for run in runs)) - {REFERENCE}
    sides = [side.name for side in reports[0].controls]
    order = reports[0].test or runs[0].predictions

    def difference(a: str, b: str) -> PooledDifference:
        found = pooled_paired_difference(runs, a, b, metric, resamples, 0)
        return PooledDifference(a, b, found, pooled_p_value(found), None, pooled_detectable(found))

    differences = {
        arm: replace(difference(arm, REFERENCE), rows=_training_rows(reports, arm))
        for arm in order
        if arm in shared and arm not in sides
    }
    controls = {
        name: replace(difference(LOOP, name), rows=_of_sides(reports, name, "rows"), calls=_of_sides(reports, name))
        for name in sides
        if name != LOOP and {LOOP, name} <= shared
    }
    claims = [*_claims(differences).values(), *controls.values()]
    adjusted = holm_where_known([one.p_value for one in claims])
    known = {(one.a, one.b): p for one, p in zip(claims, adjusted, strict=True)}
    differences, controls = (
        {name: replace(one, p_holm=known.get((one.a, one.b))) for name, one in group.items()}
        for group in (differences, controls)
    )
    recovered = pooled_recovered(runs, metric, resamples, 0)
    return Replicates(tuple(reports), metric, role, differences, recovered, controls)


def write_pooled(pooled: Replicates, store: Store, resamples: int) -> Path:
    """Write `<store>/reports/pooled-<digest>/pooled.json`; the same runs and rule give the same bytes in the same
    place. Raises `StoreError` where it cannot be written."""
    runs = tuple(PooledRun(report.id, report.seed) for report in pooled.runs)
    ident = f"pooled-{digest([LAYOUT, [one.id for one in runs], pooled.metric, resamples])[:16]}"
    content = PooledFile(
        layout=LAYOUT,
        id=ident,
        name=redact(pooled.runs[0].name),
        how=HOW,
        metric=pooled.metric,
        role=pooled.role,
        resamples=resamples,
        runs=runs,
        claims=pooled.claims,
        differences=tuple(pooled.differences.values()),
        controls=tuple(pooled.controls.values()),
        recovered=pooled.recovered,
    )
    folder = report_folder(store, ident)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, PooledFile, content)
    except OSError as error:
        raise StoreError(
            f"cannot write the pooled figures to {str(folder)!r}: {error.strerror or error}. The runs themselves are "
            "safe; free some space, then run the same command again."
        ) from error
    return folder / FILE


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


def _role(reports: Sequence[RunReport]) -> Role:
    sealed = [report.id for report in reports if not report.test]
    if sealed and len(sealed) < len(reports):
        raise DataError(
            f"{', '.join(sealed)} left the test sealed and the other runs opened it: scores on dev and on test cannot "
            "be pooled. Pool runs with the same `evaluate.test`."
        )
    return Role.DEV if sealed else Role.TEST


def _claims(differences: dict[str, PooledDifference]) -> dict[str, PooledDifference]:
    """Of the arms against seeds only the loop's result is a claim; the others are shown beside it."""
    return {arm: one for arm, one in differences.items() if arm == "mixed"}


def _training_rows(reports: Sequence[RunReport], arm: str) -> Pairs:
    return tuple((one.training_rows.get(arm), one.training_rows.get(REFERENCE)) for one in reports)


def _of_sides(reports: Sequence[RunReport], name: str, field: str = "calls") -> Pairs:
    """(the loop's, the control's) number by run."""

    def number(report: RunReport, side: str) -> int | None:
        found: ControlReport | None = next((one for one in report.controls if one.name == side), None)
        return None if found is None else (found.rows if field == "rows" else found.calls)

    return tuple((number(one, LOOP), number(one, name)) for one in reports)
