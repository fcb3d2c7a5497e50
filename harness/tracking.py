"""Finished reports as MLflow runs.

MLflow is a view of the store, so everything here can be made again: `track` does nothing where the same report is
already there, and replaces what an interrupted or older attempt left behind.

One parent run per run of the harness (variant × seed) carries the series with `step` = round; one child per round, one
level deep, holds that round's detail and repeats the parent's params and tags, because MLflow's filters look at
a run's own tags only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.generations import GenerationsReport
from harness.mlflowstore import (
    clear,
    connected,
    dataset_input,
    experiment_id,
    finish,
    log_points,
    retag_experiment,
    runs_with,
    shown,
)
from harness.mlflowviews import experiment_tags
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
    metric_of,
    milliseconds,
    params,
    parent_metrics,
    source_of,
    spec_params,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

LAYOUT = 6
"""Version of what is logged; a higher one makes `track` log finished runs again."""
SLICES_TABLE = "slices.json"


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
    with connected(uri, f"`harness track {report.id}` repeats only this step.") as client:
        place = experiment_id(client, uri, experiment)
        points = parent_metrics(report)
        retag_experiment(client, place, experiment_tags(metric_of(report.spec), {key for key, _, _ in points}))
        done = _sweep(client, place, view)
        if done is not None:
            return done
        parent = _start(client, place, view, view.tags, f"{report.name}-seed{report.seed}")
        _log_batch(client, parent, points, view)
        client.log_inputs(parent, _inputs(report, datasets))
        _log_artifacts(client, parent, view, report_folder, adapters, prompts)
        for each in report.rounds:
            _log_round(client, place, parent, view, each)
        finish(client, parent, view.digest, view.end)
        # A request that was answered too late was sent again, and may have made one run more.
        _sweep(client, place, view)
    return parent


def track_generations(report: GenerationsReport, *, uri: str, experiment: str, report_folder: Path) -> None:
    """Show a finished `harness collapse run` in MLflow: a run per arm, its series with `step` = generation, so that a
    chart draws one line an arm. Does nothing for an arm that is there; raises `StoreError` as `track` does.
    """
    stamp = digest({"layout": LAYOUT, "report": adapter(GenerationsReport).dump_python(report, mode="json")})
    start = milliseconds(report.started)
    end = start + round(1000 * sum(report.seconds.values()))
    with connected(uri, "The same command shows it there.") as client:
        place = experiment_id(client, uri, experiment)
        for arm in report.arms:
            if _sweep_arm(client, place, report.id, arm.arm, stamp):
                continue
            tags = {"harness.run": report.id, "kind": "generations", "variant": arm.arm, "seed": str(report.seed)}
            name = f"{report.name}-{arm.arm}-seed{report.seed}"
            run = client.create_run(place, start_time=start, tags=tags, run_name=name).info.run_id
            log_points(client, run, arm_metrics(arm), spec_params(report.spec), lambda _: end)
            client.log_artifacts(run, str(report_folder), "report")
            finish(client, run, stamp, end)
            _sweep_arm(client, place, report.id, arm.arm, stamp)


def _sweep_arm(client: MlflowClient, place: str, ident: str, arm: str, stamp: str) -> bool:
    """Whether the arm of these generations is there; all other runs of it are deleted."""
    runs = [run for run in runs_with(client, place, "harness.run", ident) if run.data.tags.get("variant") == arm]
    done = [run for run in runs if shown(run, stamp)][:1]
    clear(client, [run for run in runs if run not in done])
    return bool(done)


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
            # By this a filter tells runs from their rounds.
            "kind": "run",
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
    tags = {
        **view.tags,
        "kind": "round",
        "round": str(each.round),
        "best": str(each.is_best).lower(),
        "mlflow.parentRunId": parent,
    }
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
    name = source.rsplit("/", 1)[-1]
    found = [
        dataset_input(f"{name} {role.value}", source, report.data.hashes.get(role, ""), role.value, size)
        for role, size in report.data.sizes.items()
    ]
    for each in report.rounds:
        folder = datasets.get(each.dataset)
        sha = folder_digest(folder) if folder else each.dataset.rsplit("-", 1)[-1]
        place = str(folder) if folder else each.dataset
        found.append(dataset_input(f"{report.name} round {each.round}", place, sha, "synthetic", each.accepted_total))
    return found


def _sweep(client: MlflowClient, place: str, view: _View) -> str | None:
    """The parent of a finished earlier `track` of the same report, or None.

    Whatever else this run left in the experiment is ended as KILLED where it still says RUNNING, and deleted.
    """
    runs = runs_with(client, place, "harness.run", view.report.id)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    done = next((run.info.run_id for run in parents if shown(run, view.digest)), None)
    kept = [
        run
        for run in runs
        if done in (run.info.run_id, run.data.tags.get("mlflow.parentRunId")) and run.info.status == "FINISHED"
    ]
    clear(client, [run for run in runs if done is None or run not in kept])
    return done


def _start(client: MlflowClient, place: str, view: _View, tags: Mapping[str, str], name: str) -> str:
    return client.create_run(place, start_time=view.start, tags=dict(tags), run_name=name).info.run_id


def _log_batch(client: MlflowClient, run: str, points: Sequence[Point], view: _View) -> None:
    log_points(client, run, points, view.params, view.when)
