"""Runs, suites, generations and registered students in a real `mlflow server`, which goes away and comes back."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from factories import make_spec
from mlflow import MlflowClient
from mlflow.entities import Run
from pictures.server import MlflowServer
from run_cases import finish
from suite_cases import finish_suite, make_suite

from eval.collapse import Verdict
from harness import mlflowstore, suitetracking, tracking
from harness.collapsecheck import CollapseCheck
from harness.comparison import compare_suite
from harness.deliver import deliver, deliver_generations, delivery_lines, report_folder
from harness.generations import ArmReport, GenerationsReport
from harness.mlflowstore import Form, add_version, connected, version_with, write_model
from harness.reports import RunReport
from harness.spec import Spec
from harness.store import Store
from harness.suiterun import SuiteState, show_in_mlflow

SOON_S = 20.0
"""Three attempts at a server that is gone, on a busy machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(mlflow_template, folder / "mlflow.db")
    with MlflowServer(folder) as one:
        yield one


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def spec_of(server: MlflowServer, store: Store, experiment: str) -> Spec:
    return make_spec(runtime={"store": store.root, "tracking": {"uri": server.url, "experiment": experiment}})


def runs(server: MlflowServer, experiment: str) -> list[Run]:
    """Read from the database itself, so that it may be asked while the server is down."""
    client = MlflowClient(tracking_uri=server.database)
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, number: int, happens: Callable[[], None]) -> None:
    """Let something happen before the function is called for the `number`-th time."""
    real, calls = getattr(module, name), []

    def first(*arguments: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == number:
            happens()
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, first)


def whole(found: list[Run], report: RunReport) -> bool:
    """The run and its rounds, each once and to its end."""
    names = [run.data.tags.get("round", "") for run in found]
    return sorted(names) == ["", *(str(each.round) for each in report.rounds)] and all(
        run.info.status == "FINISHED" for run in found
    )


def test_a_server_that_is_killed_midway_costs_nothing(
    server: MlflowServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = finish(store, 0, {"seeds": 60, "mixed": 70})
    spec = spec_of(server, store, "killed")
    before(monkeypatch, tracking, "_log_round", 2, server.kill)
    began = time.monotonic()
    page, uri, fault = deliver(report, spec, store)
    assert time.monotonic() - began < SOON_S
    monkeypatch.undo()
    assert (page.exists(), uri) == (True, "")
    assert fault == (
        f"MLflow at '{server.url}' cannot be used: nothing answers there (connection refused). Start the tracking "
        "server again, or name another one (`runtime.tracking.uri`, `--uri`). Nothing is lost: what was finished is in "
        f"the store. `harness track {report.id}` repeats only this step."
    )
    assert not whole(runs(server, "killed"), report)
    server.start()
    for _ in range(2):
        assert deliver(report, spec, store)[1:] == (server.url, "")
        assert whole(runs(server, "killed"), report)
    assert delivery_lines(page, server.url, "")[1] == f"compare: {server.url}"
    parent = next(run for run in runs(server, "killed") if "round" not in run.data.tags)
    client = MlflowClient(tracking_uri=server.url)
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} >= {"report", "spec.yaml", "slices.json"}
    [points] = [client.get_metric_history(parent.info.run_id, "gap/transfer")]
    assert [point.step for point in points] == [1, 2]


def test_a_server_that_hangs_is_told_in_time_and_shows_the_run_once(
    server: MlflowServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    report = finish(store, 1, {"seeds": 60, "mixed": 70})
    spec = spec_of(server, store, "hangs")
    before(monkeypatch, tracking, "_start", 2, lambda: server.send(signal.SIGSTOP))
    try:
        began = time.monotonic()
        fault = deliver(report, spec, store)[2]
        assert time.monotonic() - began < SOON_S
    finally:
        server.send(signal.SIGCONT)
    monkeypatch.undo()
    assert "cannot be used: it does not answer in time. Start the tracking server again" in fault
    # What was asked for while it was frozen comes in now, and is as much left behind as the rest.
    assert deliver(report, spec, store)[1:] == (server.url, "")
    assert deliver(report, spec, store)[1:] == (server.url, "")
    assert whole(runs(server, "hangs"), report)


def test_a_suite_that_could_not_be_shown_is_shown_by_the_same_command(
    server: MlflowServer, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {"base": {0: 70}, "better": {0: 90}}
    made = finish_suite(store, right)
    suite = make_suite(right, tmp_path, (0,))
    for variant in suite.variants:
        for seed, spec in variant.specs.items():
            runtime = spec_of(server, store, "suite").runtime
            variant.specs[seed] = spec.model_copy(update={"runtime": runtime})  # type: ignore[index]
    state = SuiteState(suite, store, made)
    found = compare_suite(suite, made, {}, store)
    page = report_folder(store, found.id)
    page.mkdir(parents=True)
    (page / "compare.html").write_text("page")
    before(monkeypatch, suitetracking, "retag", 3, lambda: server.send(signal.SIGSTOP))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    try:
        uri, fault = show_in_mlflow(state, found)
    finally:
        server.send(signal.SIGCONT)
    monkeypatch.undo()
    assert uri == ""
    assert "it does not answer in time" in fault
    assert fault.endswith("The same command shows the suite there.")
    for _ in range(2):
        assert show_in_mlflow(state, found) == (server.url, "")
        shown = runs(server, "suite")
        parents = [one.data.tags for one in shown if "round" not in one.data.tags and "harness.run" in one.data.tags]
        assert sorted((one["suite"], one["variant"]) for one in parents) == [("trial", "base"), ("trial", "better")]
        assert [one.data.tags["kind"] for one in shown if "harness.suite" in one.data.tags] == ["comparison"]
        assert {one.info.status for one in shown} == {"FINISHED"}


def generations() -> GenerationsReport:
    check = CollapseCheck("e@1", "anchors", (), Verdict("ok", "nnR is so."), (), ())
    arms = tuple(
        ArmReport(name, (), check, check, (2.0, 2.5), (1.0, 0.9), (("a",), ("b",))) for name in ("replace", "anchored")
    )
    return GenerationsReport("generations-1", "tiny", 0, {}, 100, 40, arms, "2026-01-02T03:04:05Z", {}, {}, ())


def test_generations_that_could_not_be_shown_are_shown_once(
    server: MlflowServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, report = spec_of(server, store, "generations"), generations()
    before(monkeypatch, tracking, "log_points", 2, lambda: server.send(signal.SIGSTOP))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    try:
        page, uri, fault = deliver_generations(report, spec, store)
    finally:
        server.send(signal.SIGCONT)
    monkeypatch.undo()
    assert (page.exists(), uri) == (True, "")
    assert fault.endswith("Nothing is lost: what was finished is in the store. The same command shows it there.")
    for _ in range(2):
        assert deliver_generations(report, spec, store)[1:] == (server.url, "")
        shown = [(run.data.tags["variant"], run.info.status) for run in runs(server, "generations")]
        assert sorted(shown) == [("anchored", "FINISHED"), ("replace", "FINISHED")]


def test_a_model_is_registered_on_a_server(server: MlflowServer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "student.json").write_text("{}")
    form = Form("harness.served", [data], ["mlflow"], {"text": "string"}, {"label": "string"}, {"text": "a"}, {})
    write_model(tmp_path / "model", data, form)
    with connected(server.url, "Again.") as client:
        place = mlflowstore.experiment_id(client, server.url, "models")
        run = client.create_run(place).info.run_id
        made = add_version(client, "trec", run, tmp_path / "model", {"harness.adapter": "adapter-1"}, "mixed of trec")
        assert made == version_with(client, "trec", "harness.adapter", "adapter-1") == "1"
        assert version_with(client, "trec", "harness.adapter", "adapter-2") is None
        found = client.get_model_version("trec", "1")
        assert (found.run_id, found.description) == (run, "mixed of trec")
        place = client.get_model_version_download_uri("trec", "1")
    kept = mlflow.artifacts.download_artifacts(
        artifact_uri=place, tracking_uri=server.url, dst_path=str(tmp_path / "d")
    )
    assert (Path(kept) / "data" / "data" / "student.json").read_text() == "{}"
