"""A suite in a real MLflow on sqlite."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from suite_cases import finish_suite, make_suite

from harness.comparison import Comparison, compare_suite
from harness.deliver import deliver_report, report_folder, track_report
from harness.errors import StoreError
from harness.reports import RunReport
from harness.spec import Tracking
from harness.store import Store
from harness.suiterun import SuiteState, _deliver
from harness.suitetracking import label_runs, track_suite

RIGHT = {"base": {0: 70}, "better": {0: 90}}


@pytest.fixture
def store(mlflow_uri: str, tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def runs(uri: str) -> list[Run]:
    client = MlflowClient(tracking_uri=uri)
    return list(client.search_runs([one.experiment_id for one in client.search_experiments()]))


def compared(store: Store, folder: Path, right: dict[str, dict[int, int]] = RIGHT) -> Comparison:
    found = compare_suite(make_suite(right, folder, (0,)), finish_suite(store, right), {}, store)
    page = folder / found.id
    page.mkdir(exist_ok=True)
    (page / "compare.html").write_text(f"<p>{found.id}</p>")
    return found


def test_runs_and_their_rounds_carry_suite_and_variant(store: Store, mlflow_uri: str, tmp_path: Path) -> None:
    report: RunReport = finish_suite(store, {"base": {0: 70}})["base"][0]
    deliver_report(report, store)
    track_report(report, store, Tracking(uri=mlflow_uri, experiment="e"))
    for _ in range(2):
        label_runs(mlflow_uri, "e", "trial", {report.id: "better"})
    tags = [run.data.tags for run in runs(mlflow_uri)]
    assert len(tags) == 1 + len(report.rounds)
    assert {(one["suite"], one["variant"]) for one in tags} == {("trial", "better")}
    names = sorted(one["mlflow.runName"] for one in tags)
    assert names == [f"better-seed{report.seed}", *(f"better-seed{report.seed}-round{n}" for n in (1, 2))][: len(names)]


def test_the_comparison_is_a_run_of_its_own_and_the_newest_one_stays(
    store: Store, mlflow_uri: str, tmp_path: Path
) -> None:
    found = compared(store, tmp_path)
    first = track_suite(found, mlflow_uri, "e", tmp_path / found.id)
    assert track_suite(found, mlflow_uri, "e", tmp_path / found.id) == first
    [run] = runs(mlflow_uri)
    assert (run.data.tags["suite"], run.data.tags["kind"], run.data.tags["role"]) == ("trial", "comparison", "dev")
    assert run.data.metrics["minus_base/better"] == pytest.approx(0.20)
    assert run.data.metrics["score/base"] == pytest.approx(0.70)
    assert run.data.metrics["cost/paid_calls"] == 105
    client = MlflowClient(tracking_uri=mlflow_uri)
    assert [item.path for item in client.list_artifacts(first, "comparison")] == ["comparison/compare.html"]
    more = compared(store, tmp_path, RIGHT | {"third": {0: 60}})
    second = track_suite(more, mlflow_uri, "e", tmp_path / more.id)
    assert [one.info.run_id for one in runs(mlflow_uri)] == [second] != [first]


def test_a_tracking_server_that_is_gone_is_one_clear_error(store: Store, tmp_path: Path) -> None:
    found = compared(store, tmp_path)
    gone = "http://127.0.0.1:9"
    with pytest.raises(StoreError, match=r"MLflow at 'http://127\.0\.0\.1:9' cannot be used"):
        track_suite(replace(found, name="x"), gone, "e", tmp_path / found.id)


def test_a_run_has_its_variants_name_as_soon_as_it_is_there(store: Store, mlflow_uri: str, tmp_path: Path) -> None:
    """Not only when the whole suite is finished."""
    made = finish_suite(store, RIGHT)
    suite = make_suite(RIGHT, tmp_path, (0,))
    state = SuiteState(suite, store, {"better": made["better"]})
    said: list[str] = []
    _deliver(state, "better", made["better"][0], said.append, [])
    [run] = [one for one in runs(mlflow_uri) if one.data.tags["kind"] == "run"]
    assert (run.data.tags["suite"], run.data.tags["variant"], run.info.run_name) == ("trial", "better", "better-seed0")
    assert [line.partition(":")[0] for line in said] == ["done"]


def one_liners() -> list[ast.stmt]:
    """The statements of README's block that starts with `import mlflow`."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    [block] = [one for one in blocks if one.startswith("import mlflow\n")]
    return ast.parse(block).body


def test_the_readmes_one_liners_say_what_they_promise(
    store: Store, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {"base": {0: 70, 1: 70}, "no_consistency": {0: 90, 1: 60}}
    made = finish_suite(store, right)
    for name, by_seed in made.items():
        for report in by_seed.values():
            folder = report_folder(store, report.id)
            folder.mkdir(parents=True)
            (folder / "report.html").write_text("page")
            track_report(report, store, Tracking(experiment="trec"))
            label_runs(mlflow_uri, "trec", "filters", {report.id: name})
    found = replace(compare_suite(make_suite(right, tmp_path), made, {}, store), name="filters")
    (tmp_path / "page").mkdir()
    track_suite(found, mlflow_uri, "trec", tmp_path / "page")
    (tmp_path / "runs").symlink_to(store.root)
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    names: dict[str, Any] = {}
    shown: list[Any] = []
    try:
        for line in one_liners():
            if isinstance(line, ast.Expr):
                shown.append(eval(ast.unparse(line), names))  # noqa: S307
            else:
                exec(ast.unparse(line), names)  # noqa: S102
    finally:
        mlflow.set_tracking_uri(before)
    _, best, calls, seeds, differences, dropped, series = shown
    assert len(names["runs"]) == 4
    rounds = made["base"][0].rounds
    gap, gain = rounds[-1].gap.recovered.value, rounds[-1].comparisons[0]
    assert dict(best) == pytest.approx(dict.fromkeys(right, gap))
    assert (gain.a, gain.b) == ("mixed", "seeds")
    assert dict(calls) == pytest.approx(dict.fromkeys(right, 1 / gain.difference.value))
    assert set(seeds["tags.seed"]) == {"0", "1"}
    assert seeds.notna().all(axis=None)
    [column] = differences.columns
    assert differences[column]["metrics.minus_base/no_consistency"] == pytest.approx(0.05)
    shares = [one.accepted / one.generated for one in rounds]
    assert list(dropped["metrics.accepted/share"]) == pytest.approx(sorted(4 * shares)[:5])
    assert [(one.step, one.value) for one in series] == [(one.round, one.gap.transfer.value) for one in rounds]
