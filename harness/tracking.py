"""Finished reports as MLflow runs: the only module that imports mlflow.

MLflow is a view of the store, so everything here can be made again: `track` does nothing where the same report is
already there, and replaces what an interrupted or older attempt left behind.

One parent run per run of the harness (variant × seed) carries the series with `step` = round; one child per round, one
level deep, holds that round's detail and repeats the parent's params and tags, because MLflow's filters look at
a run's own tags only. The client is used without an active run, so nothing global changes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from harness.errors import HarnessError, StoreError
from harness.generations import GenerationsReport
from harness.records import EvalReport, SliceScore
from harness.redact import key_values, redact, redacted
from harness.reports import RoundReport, RunReport
from harness.store import adapter, digest
from harness.tracked import (
    LONGEST_PARAM,
    Point,
    adapter_tags,
    arm_metrics,
    child_metrics,
    folder_digest,
    key_of,
    milliseconds,
    params,
    parent_metrics,
    source_of,
    spec_params,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

LAYOUT = 4
"""Version of what is logged; a higher one makes `track` log finished runs again."""
SLICES_TABLE = "slices.json"
_SETTINGS = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def default_uri(store_root: Path) -> str:
    """`sqlite:////srv/runs/mlflow.db` for the store `/srv/runs`; artifacts go to `mlartifacts` beside it."""
    return f"sqlite:///{(store_root.resolve() / 'mlflow.db').as_posix()}"


def ui_line(uri: str) -> str:
    """The command that shows the runs: `mlflow ui --backend-store-uri sqlite:////srv/runs/mlflow.db --host 127.0.0.1`.

    A tracking server has its own page: then the address.
    """
    if _is_server(uri):
        return uri
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)} --host 127.0.0.1"


def init_store(uri: str) -> None:
    """Create the database's tables if need be (7 s for a new one). Raises `StoreError`."""
    with _reachable(uri, "the run"):
        _prepare(uri)
        _client(uri).search_experiments(max_results=1)


@contextmanager
def connected(uri: str, what: str) -> Generator[MlflowClient]:
    """A client of the tracking store. Raises `StoreError` for whatever goes wrong with MLflow inside; `what` is what
    `harness track` would be told to repeat it."""
    with _reachable(uri, what):
        _prepare(uri)
        yield _client(uri)


def track(
    report: RunReport,
    *,
    uri: str,
    experiment: str,
    report_folder: Path,
    adapters: Mapping[str, Path],
    datasets: Mapping[str, Path],
    prompts: Mapping[str, str],
) -> str:
    """Show a finished run in MLflow; return the id of its parent run.

    `report_folder` is what `write_report` filled. `adapters` maps a name (`mixed`) to a PEFT folder, `datasets` the ids
    in `RoundReport.dataset` to their folders, `prompts` a name (`generator`) to its text. Raises `StoreError`
    where MLflow cannot be reached; the run itself is not affected, and tracking can be repeated.
    """
    report = redacted(report)
    content = adapter(RunReport).dump_python(report, mode="json")
    stamp = digest({"layout": LAYOUT, "report": content, "prompts": dict(prompts)})
    view = _View(report, stamp, params(report, prompts))
    with connected(uri, report.id) as client:
        place = experiment_id(client, uri, experiment)
        done = _sweep(client, place, view)
        if done is not None:
            return done
        parent = _start(client, place, view, view.tags, f"{report.name}-seed{report.seed}")
        _log_batch(client, parent, parent_metrics(report), view)
        client.log_inputs(parent, _inputs(report, datasets))
        _log_artifacts(client, parent, view, report_folder, adapters, prompts)
        for each in report.rounds:
            _log_round(client, place, parent, view, each)
        client.set_tag(parent, "harness.report", view.digest)
        client.set_terminated(parent, "FINISHED", end_time=view.end)
    return parent


def track_generations(report: GenerationsReport, *, uri: str, experiment: str, report_folder: Path) -> None:
    """Show a finished `harness collapse run` in MLflow: a run per arm, its series with `step` = generation, so that a
    chart draws one line an arm. Does nothing for an arm that is there; raises `StoreError` as `track` does.
    """
    stamp = digest({"layout": LAYOUT, "report": adapter(GenerationsReport).dump_python(report, mode="json")})
    start = milliseconds(report.started)
    end = start + round(1000 * sum(report.seconds.values()))
    with connected(uri, report.id) as client:
        place = experiment_id(client, uri, experiment)
        known = {run.data.tags.get("variant"): run for run in runs_with(client, place, "harness.run", report.id)}
        for arm in report.arms:
            old = known.get(arm.arm)
            if old is not None and (old.info.status, old.data.tags.get("harness.report")) == ("FINISHED", stamp):
                continue
            if old is not None:
                client.delete_run(old.info.run_id)
            tags = {"harness.run": report.id, "variant": arm.arm, "seed": str(report.seed)}
            name = f"{report.name}-{arm.arm}-seed{report.seed}"
            run = client.create_run(place, start_time=start, tags=tags, run_name=name).info.run_id
            log_points(client, run, arm_metrics(arm), spec_params(report.spec), lambda _: end)
            client.log_artifacts(run, str(report_folder), "report")
            client.set_tag(run, "harness.report", stamp)
            client.set_terminated(run, "FINISHED", end_time=end)


@dataclass(frozen=True, slots=True)
class _View:
    """A report with what all of its MLflow runs share. Times are in ms since 1970 and come from the report,
    so that logging twice gives the same points."""

    report: RunReport
    digest: str
    params: Mapping[str, str]

    @property
    def start(self) -> int:
        return milliseconds(self.report.started)

    @property
    def end(self) -> int:
        return self.start + round(1000 * sum(self.report.seconds.values()))

    @property
    def tags(self) -> dict[str, str]:
        return {
            "harness.run": self.report.id,
            "variant": self.report.name,
            "seed": str(self.report.seed),
            "stop": self.report.stop[:LONGEST_PARAM],
            # Of this run and earlier ones: 1 is a first look, more is weaker evidence, 0 left the items sealed.
            "test_openings": str(len(self.report.openings)),
        }

    def when(self, step: int) -> int:
        """End of round `step`; of the run for step 0."""
        done = [sum(each.seconds.values()) for each in self.report.rounds if each.round <= step]
        return self.start + round(1000 * sum(done)) if step else self.end


def _log_round(client: MlflowClient, place: str, parent: str, view: _View, each: RoundReport) -> None:
    tags = {**view.tags, "round": str(each.round), "best": str(each.is_best).lower(), "mlflow.parentRunId": parent}
    name = f"{view.report.name}-seed{view.report.seed}-round{each.round}"
    child = _start(client, place, view, tags, name)
    _log_batch(client, child, child_metrics(view.report, each), view)
    content = cast("dict[str, Any]", adapter(RoundReport).dump_python(each, mode="json"))
    client.log_dict(child, content, "round.json")
    _log_slices(client, child, each.dev)
    client.set_terminated(child, "FINISHED", end_time=view.end)


def _log_artifacts(
    client: MlflowClient,
    run: str,
    view: _View,
    report_folder: Path,
    adapters: Mapping[str, Path],
    prompts: Mapping[str, str],
) -> None:
    """Same paths in every run, so that MLflow can show them side by side."""
    secrets = key_values(view.report.spec)
    client.log_dict(run, dict(view.report.spec), "spec.yaml")
    for name, text in prompts.items():
        client.log_text(run, redact(text, secrets), f"prompts/{key_of(name)}.txt")
    for path in sorted(report_folder.glob("report.*")):
        client.log_artifact(run, str(path), "report")
    for path in sorted((report_folder / "figures").glob("*.png")):
        client.log_artifact(run, str(path), "report/figures")
    _log_slices(client, run, view.report.test)
    for name, folder in adapters.items():
        client.log_artifacts(run, str(folder), f"adapters/{key_of(name)}")
        for key, value in adapter_tags(folder).items():
            client.set_tag(run, f"adapter.{key_of(name)}.{key}", value)


def _log_slices(client: MlflowClient, run: str, evaluations: Mapping[str, EvalReport]) -> None:
    """Every slice of every arm, under one name in every run: MLflow lays tables of one name side by side."""
    rows = [(evaluation, score) for evaluation in evaluations.values() for score in evaluation.slices]
    if not rows:
        return
    table: dict[str, list[Any]] = {
        "arm": [evaluation.arm for evaluation, _ in rows],
        "split": [evaluation.role.value for evaluation, _ in rows],
    }
    for column in SliceScore.__dataclass_fields__:
        table[column] = [getattr(score, column) for _, score in rows]
    client.log_table(run, table, SLICES_TABLE)


def _inputs(report: RunReport, datasets: Mapping[str, Path]) -> list[DatasetInput]:
    """The real roles and each round's synthetic rows, with our digests: MLflow's own ones hash only a few rows."""
    source = source_of(report.spec)
    found = [
        _input(f"{source.rsplit('/', 1)[-1]} {role.value}", source, report.data.hashes.get(role, ""), role.value, size)
        for role, size in report.data.sizes.items()
    ]
    for each in report.rounds:
        folder = datasets.get(each.dataset)
        sha = folder_digest(folder) if folder else each.dataset.rsplit("-", 1)[-1]
        place = str(folder) if folder else each.dataset
        found.append(_input(f"{report.name} round {each.round}", place, sha, "synthetic", each.accepted_total))
    return found


def _input(name: str, source: str, sha: str, role: str, rows: int) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    # MLflow's column holds 36 characters of a digest; the profile has all 64.
    data = Dataset(
        name=name,
        digest=sha[:32],
        source_type="local",
        source=json.dumps({"uri": source}),
        profile=json.dumps({"num_rows": rows, "sha256": sha}),
    )
    return DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, role)])


def _sweep(client: MlflowClient, place: str, view: _View) -> str | None:
    """The parent of a finished earlier `track` of the same report, or None.

    Whatever else this run left in the experiment is ended as KILLED where it still says RUNNING, and deleted.
    """
    runs = runs_with(client, place, "harness.run", view.report.id)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    done = next((run.info.run_id for run in parents if _is_done(run, view)), None)
    for run in runs:
        if done is not None and done in (run.info.run_id, run.data.tags.get("mlflow.parentRunId")):
            continue
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
        client.delete_run(run.info.run_id)
    return done


def _is_done(run: Run, view: _View) -> bool:
    return run.info.status == "FINISHED" and run.data.tags.get("harness.report") == view.digest


def runs_with(client: MlflowClient, place: str, tag: str, value: str) -> list[Run]:
    """All runs of an experiment that carry this tag."""
    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([place], f"tags.`{tag}` = '{value}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _start(client: MlflowClient, place: str, view: _View, tags: Mapping[str, str], name: str) -> str:
    return client.create_run(place, start_time=view.start, tags=dict(tags), run_name=name).info.run_id


def _log_batch(client: MlflowClient, run: str, points: Sequence[Point], view: _View) -> None:
    log_points(client, run, points, view.params, view.when)


def log_points(
    client: MlflowClient, run: str, points: Sequence[Point], named: Mapping[str, str], when: Callable[[int], int]
) -> None:
    """Metrics and params in one go; `when` gives a step's time in ms since 1970."""
    from mlflow.entities import Metric, Param

    metrics = [Metric(key, value, when(step), step) for key, value, step in points]
    client.log_batch(run, metrics, [Param(key, value) for key, value in named.items()])


def retag(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> None:
    """Set those of the tags that the run does not have like this yet."""
    for key, value in tags.items():
        if run.data.tags.get(key) != value:
            client.set_tag(run.info.run_id, key, value)


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """Id of the experiment of this name; a deleted one comes back."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, artifact_location=_artifact_location(uri, name))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _artifact_location(uri: str, experiment: str) -> str | None:
    """`mlartifacts/<experiment>` beside an sqlite file; elsewhere the server decides."""
    database = _sqlite_file(uri)
    if database is None:
        return None
    folder = re.sub(r"[^A-Za-z0-9._-]", "_", experiment)[:64]
    return (database.parent / "mlartifacts" / f"{folder}-{digest(experiment)[:8]}").as_uri()


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _prepare(uri: str) -> None:
    """Settings that MLflow reads from the environment at import, unless the user has set them; then a quick look
    at an sqlite file, because MLflow itself would retry for minutes on one that cannot be opened."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    database = _sqlite_file(uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
            connection.execute("BEGIN IMMEDIATE")


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@contextmanager
def _reachable(uri: str, run: str) -> Generator[None]:
    """Turns whatever MLflow, its database or the network raise into one `StoreError`."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        if not _is_mlflows(error):
            raise
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise StoreError(
            f"MLflow at {redact(uri)!r} cannot be used: {redact(reason)[:300]}. The run is finished and safe in the "
            f"store; `harness track {run}` repeats only this step."
        ) from error


def _is_mlflows(error: Exception) -> bool:
    kinds: tuple[type[Exception], ...] = (OSError, sqlite3.Error)
    if isinstance(error, kinds):
        return True
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, MlflowException | SQLAlchemyError)
