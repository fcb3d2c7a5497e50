"""Run what of a suite is missing, and lay the results side by side. Every variant × seed is an ordinary run in one
store, so whatever variants have in common is found there by what it was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from harness.comparedetail import detail_of
from harness.comparepage import write_comparison
from harness.comparison import Comparison, compare_suite
from harness.deliver import deliver_report, report_folder, track_report, tracking_alone, tracking_uri
from harness.engine import Ended, Job, OnEnd, Plan, Work, plan_jobs, run_apart, run_here, shared_limits
from harness.errors import HarnessError
from harness.loop import finished
from harness.place import Place
from harness.progress import Progress
from harness.real import real_texts
from harness.reports import RunReport
from harness.running import make_run
from harness.spec import Spec, Tracking
from harness.store import Store
from harness.suitefile import LoadedSuite
from harness.suiteopening import open_together

LOGS = "logs"
Known = dict[str, dict[int, RunReport]]


@dataclass
class SuiteState:
    """What of a suite is finished, and what failed; grows while it runs."""

    suite: LoadedSuite
    store: Store
    finished: Known = field(default_factory=Known)
    faults: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])

    @property
    def tracking(self) -> Tracking:
        """The base's, as all runs have it."""
        return self._spec.runtime.tracking

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.tracking.experiment or self._spec.name

    @property
    def _spec(self) -> Spec:
        return next(iter(self.suite.base.specs.values()))

    def ended(self, job: Job, name: str, seed: int, fault: str) -> RunReport | None:
        """Take down how a run ended; its report where it went well."""
        report = None if fault else finished(job.spec, job.base)
        if report is None:
            self.faults[name, seed] = fault or "it ended without a report"
            return None
        self.finished.setdefault(name, {})[seed] = report
        return report


def state_of(suite: LoadedSuite) -> SuiteState:
    """The suite with those of its runs that are in the store."""
    state = SuiteState(suite, Store(next(iter(suite.base.specs.values())).runtime.store))
    for variant in suite.variants:
        for seed, spec in variant.specs.items():
            report = finished(spec, suite.folder)
            if report is not None:
                state.finished.setdefault(variant.name, {})[seed] = report
    return state


def missing(state: SuiteState, *, at_once: bool) -> dict[str, tuple[Job, str, int]]:
    """Name of the job → job, variant, seed of every run that is still to be made.

    One after another: seed by seed, so that a suite that is stopped has whole seeds to compare. Several at once:
    variant by variant, since seeds have nothing in common for which they would wait for each other.
    """
    suite = state.suite
    pairs = [(variant, seed) for seed in suite.seeds for variant in suite.variants]
    if at_once:
        pairs = [(variant, seed) for variant in suite.variants for seed in suite.seeds]
    return {
        f"{variant.name}-seed{seed}": (
            Job(f"{variant.name}-seed{seed}", variant.specs[seed], suite.folder),
            variant.name,
            seed,
        )
        for variant, seed in pairs
        if seed not in state.finished.get(variant.name, {})
    }


def make_missing(
    state: SuiteState,
    jobs: int | None,
    *,
    say: Callable[[str], None],
    fail_fast: bool = False,
    place: Place = Place(),  # noqa: B008 - frozen
) -> None:
    """Make the runs that are not in the store, `jobs` at a time (by what is free if None), at `place`; how each ended
    goes into `state`. `say` gets a line about each, whose page and view in MLflow are then there to be looked at.

    Raises `ClusterError` and `MissingPackageError` where `place` cannot be used.
    """
    specs = [spec for one in state.suite.variants for spec in one.specs.values()]
    left = len(missing(state, at_once=False))
    say(f"suite {state.suite.name}: {len(specs)} runs, {len(specs) - left} finished, {left} to make")
    if not left:
        return
    store = state.store.root
    if place.engine == "ray":
        from harness.raycluster import cluster_of
        from harness.rayengine import embed_on_ray, run_on_ray

        with cluster_of(specs, jobs, place.address, store) as cluster:
            # The data are the same for all variants and seeds.
            embed_on_ray(real_texts(specs[0], state.suite.folder), specs[0].runtime.device, cluster=cluster, say=say)
            make = partial(run_on_ray, cluster=cluster, fail_fast=fail_fast)
            _make(state, cluster.plan, make, say, logged=True)
        return
    plan = plan_jobs(specs, jobs)
    if plan.jobs > 1 and left > 1:
        make = partial(run_apart, at_a_time=plan.jobs, log=store / LOGS, fail_fast=fail_fast)
        _make(state, plan, make, say, logged=True)
    else:
        _make(state, plan, partial(run_here, fail_fast=fail_fast), say, logged=False)


def _make(
    state: SuiteState,
    plan: Plan,
    make: Callable[[Sequence[Job], Work, OnEnd], None],
    say: Callable[[str], None],
    *,
    logged: bool,
) -> None:
    """`logged`: runs are made elsewhere, and what they say is in files."""
    left = missing(state, at_once=plan.jobs > 1)
    say(f"{plan.jobs} at a time: {plan.why}")
    later: list[str] = []

    def on_end(ended: Ended) -> None:
        job, name, seed = left[ended.job.name]
        report = state.ended(job, name, seed, ended.fault)
        if report is None:
            say(f"failed: {job.name}: {state.faults[name, seed]}")
        else:
            _deliver(state, name, report, say, later)

    ordered = [job for job, _, _ in left.values()]
    if logged:
        say(f"what they say: {state.store.root / LOGS}")
        ordered = [replace(job, spec=shared_limits(job.spec, min(plan.jobs, len(ordered)))) for job in ordered]
    make(ordered, make_run, on_end)


def _deliver(state: SuiteState, name: str, report: RunReport, say: Callable[[str], None], later: list[str]) -> None:
    """The page and the view in MLflow. Where MLflow has failed once, it goes into `later` and is asked at the end only:
    each try may take half a minute."""
    page = deliver_report(report, state.store)
    say(f"done: {name}-seed{report.seed} ({report.id}), {report.cost.calls:,} calls paid: {page}")
    if later or not state.tracking.enabled:
        return
    try:
        _show_runs(state, {name: [report]})
    except HarnessError as error:
        later.append(str(error))
        say(f"note: not in MLflow yet: {error} It is asked again when all runs are made.")


def _show_runs(state: SuiteState, reports: Mapping[str, Iterable[RunReport]]) -> None:
    """Show those of the variants' runs in MLflow that are not there, under their variants' names. Raises `StoreError`
    where it is out of reach."""
    from harness.suitetracking import label_runs

    variants = {report.id: (name, report) for name, runs in reports.items() for report in runs}
    for _, report in variants.values():
        deliver_report(report, state.store)
        track_report(report, state.store, state.tracking)
    names = {ident: name for ident, (name, _) in variants.items()}
    with tracking_alone(state.store):
        label_runs(tracking_uri(state.tracking, state.store), state.experiment, state.suite.name, names)


def conclude(state: SuiteState, progress: Progress, *, open_test: bool, reopen: str) -> tuple[Comparison, Path]:
    """The comparison of what is finished, and its page. With `open_test` the sealed test is opened for all variants
    together. Raises `DataError`, `LeakageError`, `StoreError`."""
    opened = None
    if open_test:
        opened = open_together(state.suite, state.finished, state.store, progress, reopen)
    found = compare_suite(state.suite, state.finished, state.faults, state.store, opened)
    detail = detail_of(found, state.finished, state.store)
    return found, write_comparison(found, detail, state.suite, state.store)


def show_in_mlflow(state: SuiteState, found: Comparison) -> tuple[str, str]:
    """(MLflow's URI or "", what went wrong or ""): the runs that it lacks, tags on them, and a run of its own for the
    comparison."""
    from harness.suitetracking import track_suite

    if not state.tracking.enabled:
        return "", ""
    uri = tracking_uri(state.tracking, state.store)
    try:
        _show_runs(state, {name: runs.values() for name, runs in state.finished.items()})
        with tracking_alone(state.store):
            track_suite(found, uri, state.experiment, report_folder(state.store, found.id))
    except HarnessError as error:
        return "", str(error)
    return uri, ""
