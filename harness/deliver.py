"""What happens after a run: the report page, and its view in MLflow. Both are made from the store, again and again."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness.errors import HarnessError
from harness.generations import GenerationsReport
from harness.locks import held
from harness.reports import RunReport
from harness.spec import Spec, Tracking
from harness.store import LOCKS, Store, digest

TRACKED = "tracked"
ADAPTER = "adapter/"


def adapters_of(report: RunReport) -> dict[str, str]:
    """Artefact id of the adapter that stands for each arm on the test."""
    return {name.removeprefix(ADAPTER): ident for name, ident in report.artefacts.items() if name.startswith(ADAPTER)}


def report_folder(store: Store, run: str) -> Path:
    return store.root / "reports" / run


def deliver_report(report: RunReport, store: Store, *, again: bool = False) -> Path:
    """Write the report page unless it is there; `again` writes it in any case. Returns the page's path."""
    folder = report_folder(store, report.id)
    page = folder / "report.html"
    if again or not page.exists():
        from harness.ablationreport import ablation_of
        from harness.report import write_report

        return write_report(report, folder, ablation_of(store, report.id, report.seed))
    return page


def tracking_uri(tracking: Tracking, store: Store) -> str:
    from harness.mlflowstore import default_uri

    return tracking.uri or default_uri(store.root)


def track_report(report: RunReport, store: Store, tracking: Tracking, *, again: bool = False) -> str:
    """Show a run in MLflow unless a marker beside the page says that it was; `again` asks MLflow itself. Returns the
    URI, raises `StoreError` if MLflow is out of reach."""
    from harness.tracking import LAYOUT

    uri = tracking_uri(tracking, store)
    marker = report_folder(store, report.id) / TRACKED
    stamp = digest([uri, tracking.experiment, LAYOUT]).encode()
    if not again and marker.exists() and marker.read_bytes() == stamp:
        return uri
    shown_run(report, store, tracking)
    # Without the marker the next run only asks MLflow once more.
    with suppress(OSError):
        marker.write_bytes(stamp)
    return uri


def shown_run(report: RunReport, store: Store, tracking: Tracking) -> str:
    """Id of the MLflow run that shows this report, made if it is not there. Raises `StoreError`."""
    from harness.tracking import track

    adapters = {arm: store.find(ident).path for arm, ident in adapters_of(report).items()}
    with tracking_alone(store):
        return track(
            report,
            uri=tracking_uri(tracking, store),
            experiment=tracking.experiment or report.name,
            report_folder=report_folder(store, report.id),
            adapters=adapters,
            datasets={each.dataset: store.find(each.dataset).path for each in report.rounds},
            prompts=prompt_texts(),
        )


@contextmanager
def tracking_alone(store: Store) -> Generator[None]:
    """One process of a store at a time shows things in MLflow: another one would take a run that is being logged for
    one that was interrupted."""
    with ExitStack() as stack:
        # A store that cannot be written to any more may be looked at all the same.
        with suppress(OSError):
            stack.enter_context(held(store.root / LOCKS / "mlflow.lock"))
        yield


def prompt_texts() -> dict[str, str]:
    """The templates by name, as they go to MLflow."""
    from harness.filters import pairs, rubric
    from harness.generate import critic, prompts

    return {
        "generator_completion": prompts.COMPLETION,
        "generator_system": prompts.SYSTEM,
        "generator_user": prompts.USER,
        "judge_system": rubric.SYSTEM,
        "judge_user": rubric.USER,
        "judge_pair_system": pairs.SYSTEM_PAIR,
        "judge_pair_user": pairs.USER_PAIR,
        "critic": critic.CRITIC,
    }


def deliver_generations(report: GenerationsReport, spec: Spec, store: Store) -> tuple[Path, str, str]:
    """What `deliver` does, for a `harness collapse run`."""
    from harness.generationspage import write_generations

    folder = report_folder(store, report.id)
    page = write_generations(report, folder)
    tracking = spec.runtime.tracking
    if not tracking.enabled:
        return page, "", ""
    try:
        from harness.tracking import track_generations

        uri = tracking_uri(tracking, store)
        with tracking_alone(store):
            track_generations(report, uri=uri, experiment=tracking.experiment or report.name, report_folder=folder)
    except HarnessError as error:
        return page, "", str(error)
    return page, uri, ""


def deliver(report: RunReport, spec: Spec, store: Store) -> tuple[Path, str, str]:
    """(page, MLflow's URI or "", what went wrong with MLflow or ""): a tracking server that is down costs no run."""
    page = deliver_report(report, store)
    tracking = spec.runtime.tracking
    if not tracking.enabled:
        return page, "", ""
    try:
        return page, track_report(report, store, tracking), ""
    except HarnessError as error:
        return page, "", str(error)


def delivery_lines(page: Path, uri: str, fault: str) -> list[str]:
    """Where the page and the MLflow view are, for a terminal."""
    if fault:
        return [f"report: {page}", f"note: not in MLflow yet: {fault}"]
    if not uri:
        return [f"report: {page}"]
    from harness.mlflowstore import ui_line

    return [f"report: {page}", f"compare: {ui_line(uri)}"]
