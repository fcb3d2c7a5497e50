"""Reports in a real MLflow on sqlite."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from factories import make_round, make_run_report, make_slice, make_spec
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from harness import tracking
from harness.errors import StoreError
from harness.mlflowstore import init_store, ui_line
from harness.records import Role
from harness.report import write_report
from harness.reports import Opening, RunReport
from harness.store import file_digest
from harness.tracking import track

PROMPTS = {"generator": "Write a test item about {{ label }}."}


@dataclass(frozen=True)
class Place:
    """One test's MLflow and the folders that `track` wants."""

    uri: str
    folder: Path
    report: Path
    adapters: Mapping[str, Path]
    datasets: Mapping[str, Path]

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)

    def track(self, report: RunReport, experiment: str = "tests") -> str:
        return track(
            report,
            uri=self.uri,
            experiment=experiment,
            report_folder=self.report,
            adapters=self.adapters,
            datasets=self.datasets,
            prompts=PROMPTS,
        )

    def runs(self, view: int = ViewType.ACTIVE_ONLY, experiment: str = "tests") -> list[Run]:
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        return list(self.client.search_runs([found.experiment_id], run_view_type=view))

    def children(self, parent: str) -> list[Run]:
        found = [run for run in self.runs() if run.data.tags.get("mlflow.parentRunId") == parent]
        return sorted(found, key=lambda run: run.data.tags["round"])

    def paths(self, run: str, folder: str = "") -> set[str]:
        return {item.path for item in self.client.list_artifacts(run, folder)}


@pytest.fixture(scope="module")
def report_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written report; drawing its pictures takes a while, so all tests log this one."""
    return write_report(make_run_report(), tmp_path_factory.mktemp("report")).parent


@pytest.fixture
def place(mlflow_uri: str, tmp_path: Path, report_folder: Path) -> Place:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "test-base"}))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights of a test")
    data = tmp_path / "dataset"
    data.mkdir()
    (data / "train.parquet").write_bytes(b"rows of a test")
    return Place(mlflow_uri, tmp_path, report_folder, {"mixed": adapter}, {make_round(1).dataset: data})


def values(place: Place, run: str, key: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in place.client.get_metric_history(run, key))


def test_parent_carries_the_series_with_the_round_as_step(place: Place) -> None:
    report = make_run_report()
    parent = place.track(report)
    for key, expected in {
        "gap/transfer": [each.gap.transfer.value for each in report.rounds],
        "gap/source": [each.gap.source.value for each in report.rounds],
        "gap/recovered": [each.gap.recovered.value for each in report.rounds],
        "dev/accuracy": [each.dev["mixed"].accuracy.value for each in report.rounds],
        "dev/macro_f1": [each.dev["mixed"].macro_f1.value for each in report.rounds],
        "cost/usd": [0.0125, 0.025],
        "cost/calls": [70, 140],
        "accepted/share": [each.accepted / each.generated for each in report.rounds],
    }.items():
        assert values(place, parent, key) == [(1, expected[0]), (2, expected[1])], key


def test_final_values_have_no_step(place: Place) -> None:
    report = make_run_report()
    parent = place.track(report)
    metrics = place.client.get_run(parent).data.metrics
    assert metrics["final/gap/recovered"] == report.gap.recovered.value
    assert metrics["final/gap/recovered_low"] == report.gap.recovered.low
    assert metrics["final/gap/recovered_high"] == report.gap.recovered.high
    assert metrics["final/mixed/accuracy"] == 0.798
    assert metrics["final/mixed_minus_seeds/accuracy_low"] == pytest.approx(0.049)
    assert metrics["final/cost/usd"] == 0.025
    assert metrics["final/accepted_share"] == pytest.approx(760 / 1272)
    assert values(place, parent, "final/gap/transfer") == [(0, report.gap.transfer.value)]


def test_controls_have_a_series_and_final_values(place: Place) -> None:
    report = make_run_report()
    parent = place.track(report)
    metrics = place.client.get_run(parent).data.metrics
    assert values(place, parent, "control/static/accuracy") == [(1, 0.74), (2, 0.75)]
    assert "control/raw/accuracy" not in metrics
    assert metrics["final/closed_minus_static/accuracy"] == pytest.approx(0.005)
    assert metrics["final/closed_minus_static/accuracy_low"] == pytest.approx(-0.016)
    assert metrics["final/closed_minus_static/accuracy_high"] == pytest.approx(0.026)
    assert (metrics["final/controls/static/calls"], metrics["final/controls/static/rows"]) == (140, 580)
    assert metrics["final/controls/static/test"] == 0.79


def test_controls_of_a_run_that_left_its_test_sealed_are_logged_as_dev(place: Place) -> None:
    sides = tuple(replace(one, role=Role.DEV) for one in make_run_report().controls)
    metrics = place.client.get_run(place.track(make_run_report(test={}, comparisons=(), controls=sides))).data.metrics
    assert metrics["final/dev/closed_minus_static/accuracy"] == pytest.approx(0.005)
    assert metrics["final/controls/static/dev"] == 0.79
    assert "final/closed_minus_static/accuracy" not in metrics
    assert "final/controls/static/test" not in metrics


def test_children_are_one_level_deep_and_repeat_params_and_tags(place: Place) -> None:
    parent = place.track(make_run_report())
    run = place.client.get_run(parent)
    children = place.children(parent)
    assert len(place.runs()) == 3
    assert [child.data.tags["round"] for child in children] == ["1", "2"]
    assert [child.data.tags["best"] for child in children] == ["false", "true"]
    for child in children:
        assert child.data.params == run.data.params
        assert child.info.status == run.info.status == "FINISHED"
        for tag in ("variant", "seed", "harness.run"):
            assert child.data.tags[tag] == run.data.tags[tag]
    assert run.data.tags["variant"] == "factory-test"
    assert run.data.tags["seed"] == "7"
    assert run.data.tags["test_openings"] == "0"
    detail = children[1].data.metrics
    assert detail["funnel/planned"] == 648
    assert detail["filter/consistency/psi"] == 0.18
    assert detail["dev/slice/label/ALPHA"] == pytest.approx(0.83)
    assert values(place, children[0].info.run_id, "gap/transfer") == [(1, 0.11)]


def test_how_often_the_test_items_were_looked_at_is_a_tag(place: Place) -> None:
    looks = tuple(Opening(f"run-{count}", "split-1", "t", "d", count, "now") for count in (1, 2))
    tags = place.client.get_run(place.track(make_run_report(openings=looks))).data.tags
    assert tags["test_openings"] == "2"


def test_a_filter_on_params_or_tags_finds_the_children(place: Place) -> None:
    parent = place.track(make_run_report())
    found = place.client.search_runs(
        [place.client.get_run(parent).info.experiment_id],
        "params.`generate.shots` = '5' and tags.variant = 'factory-test' and tags.round = '2'",
    )
    assert [run.data.tags["mlflow.parentRunId"] for run in found] == [parent]


def test_params_are_the_dotted_spec_with_hashes_and_without_runtime(place: Place) -> None:
    params = place.client.get_run(place.track(make_run_report())).data.params
    assert params["seed"] == "7"
    assert params["data.source.name"] == "trec"
    assert params["filters.duplicates.threshold"] == "0.92"
    assert params["task.labels.ALPHA"] == "things of the first kind"
    assert params["generate.max_candidates"] == "null"
    assert len(params["spec.sha256"]) == len(params["prompts.generator.sha256"]) == 64
    assert params["split.id"] == "split-00000000000000aa"
    assert not [key for key in params if key.startswith("runtime")]


def test_long_and_odd_params_are_cut_and_renamed(place: Place) -> None:
    labels = {"a=b": "x" * 7000, "a?b": "first", "a*b": "second", "../up": "third"}
    report = make_run_report(spec=make_spec(task={"labels": labels}).model_dump(mode="json"))
    parent = place.track(report)
    params = place.client.get_run(parent).data.params
    assert len(params["task.labels.a/b"]) == 6000
    odd = {value for key, value in params.items() if key.startswith("task.labels.a_b-")}
    assert odd == {"first", "second"}
    assert "third" in params.values()
    spec = place.client.download_artifacts(parent, "spec.yaml")
    assert "x" * 7000 in Path(spec).read_text()


def test_data_sets_are_inputs_with_our_digest_and_their_role(place: Place) -> None:
    report = make_run_report()
    inputs = place.client.get_run(place.track(report)).inputs.dataset_inputs
    found = {each.tags[0].value: each.dataset for each in inputs if each.tags[0].value != "synthetic"}
    assert set(found) == {"seeds", "dev", "anchor", "test", "pool"}
    for role, sha in report.data.hashes.items():
        assert found[role].digest == sha[:32]
        assert json.loads(found[role].profile) == {"num_rows": report.data.sizes[role], "sha256": sha}
    made = {each.dataset.name: each.dataset.digest for each in inputs if each.tags[0].value == "synthetic"}
    assert set(made) == {"factory-test round 1", "factory-test round 2"}


def test_a_changed_byte_in_a_data_set_changes_its_digest(place: Place) -> None:
    def digest_of_round_1(experiment: str) -> str:
        inputs = place.client.get_run(place.track(make_run_report(), experiment)).inputs.dataset_inputs
        return next(each.dataset.digest for each in inputs if each.dataset.name == "factory-test round 1")

    before = digest_of_round_1("before")
    assert digest_of_round_1("same") == before
    next(iter(place.datasets.values())).joinpath("train.parquet").write_bytes(b"rows of A test")
    assert digest_of_round_1("after") != before


def test_artifacts_lie_at_the_same_paths_and_inside_the_store(place: Place) -> None:
    parent = place.track(make_run_report())
    assert place.paths(parent) == {"spec.yaml", "prompts", "report", "adapters", "slices.json"}
    assert place.paths(parent, "report") == {"report/report.html", "report/report.json", "report/figures"}
    assert "report/figures/gap.png" in place.paths(parent, "report/figures")
    assert place.paths(parent, "prompts") == {"prompts/generator.txt"}
    assert "adapters/mixed/adapter_config.json" in place.paths(parent, "adapters/mixed")
    tags = place.client.get_run(parent).data.tags
    assert tags["adapter.mixed.base"] == "test-base"
    assert tags["adapter.mixed.sha256"] == file_digest(place.adapters["mixed"] / "adapter_model.safetensors")
    for child in place.children(parent):
        assert place.paths(child.info.run_id) == {"round.json", "slices.json"}
    stored = place.folder / "store" / "mlartifacts"
    assert len(list(stored.rglob("report.html"))) == 1


def test_slices_table_holds_every_arm_and_slice(place: Place) -> None:
    report = make_run_report()
    parent = place.track(report)
    table = json.loads(Path(place.client.download_artifacts(parent, "slices.json")).read_text())
    assert table["columns"][:3] == ["arm", "split", "slice"]
    assert len(table["data"]) == sum(len(scored.slices) for scored in report.test.values())


@pytest.mark.parametrize(("count", "logged"), [(20, 20), (21, 0)])
def test_slices_are_metrics_only_when_they_are_few(place: Place, count: int, logged: int) -> None:
    report = make_run_report()
    mixed = replace(report.test["mixed"], slices=tuple(make_slice(f"fine=kind {i}", 30, 0.5) for i in range(count)))
    parent = place.track(replace(report, test={**report.test, "mixed": mixed}))
    metrics = place.client.get_run(parent).data.metrics
    assert len([key for key in metrics if key.startswith("final/slice/fine/")]) == logged


def test_numbers_that_do_not_exist_are_not_logged(place: Place) -> None:
    report = make_run_report()
    none = replace(report.gap.recovered, value=None, low=None, high=None, note="insufficient")
    gap = replace(report.gap, recovered=none)
    report = replace(report, gap=gap, rounds=tuple(replace(each, gap=gap) for each in report.rounds))
    metrics = place.client.get_run(place.track(report)).data.metrics
    assert "gap/transfer" in metrics
    assert not [key for key in metrics if "recovered" in key]


def test_tracking_twice_changes_nothing(place: Place) -> None:
    parent = place.track(make_run_report())
    before = [run.to_dictionary() for run in place.runs(ViewType.ALL)]
    assert place.track(make_run_report()) == parent
    assert [run.to_dictionary() for run in place.runs(ViewType.ALL)] == before


def test_an_interrupted_attempt_is_killed_and_replaced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking, "_log_round", stop)
    with pytest.raises(KeyboardInterrupt):
        place.track(make_run_report())
    monkeypatch.undo()
    (half,) = place.runs()
    assert half.info.status == "RUNNING"
    parent = place.track(make_run_report())
    assert parent != half.info.run_id
    assert {run.info.status for run in place.runs()} == {"FINISHED"}
    assert len(place.runs()) == 3
    gone = place.client.get_run(half.info.run_id).info
    assert (gone.status, gone.lifecycle_stage) == ("KILLED", "deleted")


def test_a_changed_report_replaces_the_old_one_and_leaves_other_runs_alone(place: Place) -> None:
    other = place.track(make_run_report(id="run-0000000000000001", seed=8))
    first = place.track(make_run_report())
    second = place.track(make_run_report(stop="the target is reached"))
    parents = {run.info.run_id for run in place.runs() if "mlflow.parentRunId" not in run.data.tags}
    assert parents == {other, second}
    assert first != second
    assert len(place.runs()) == 6


def test_secrets_are_not_logged(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "hunter2-hunter2")
    llm = {"generator": {"base_url": "https://me:pass-word@host/v1", "model": "m", "api_key_env": "TEST_KEY"}}
    report = make_run_report(
        spec=make_spec(llm=llm).model_dump(mode="json"), warnings=("the endpoint said: hunter2-hunter2 is wrong",)
    )
    place = replace(place, report=write_report(report, tmp_path / "own report").parent)
    parent = place.track(report)
    assert place.client.get_run(parent).data.params["llm.generator.base_url"] == "https://[redacted]@host/v1"
    assert place.client.get_run(parent).data.params["llm.generator.api_key_env"] == "TEST_KEY"
    for path in (place.folder / "store").rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path
            assert b"pass-word" not in path.read_bytes(), path


def test_a_deleted_experiment_comes_back(place: Place) -> None:
    place.track(make_run_report())
    found = place.client.get_experiment_by_name("tests")
    assert found is not None
    place.client.delete_experiment(found.experiment_id)
    place.track(make_run_report(seed=9))
    again = place.client.get_experiment_by_name("tests")
    assert again is not None
    assert (again.experiment_id, again.lifecycle_stage) == (found.experiment_id, "active")


def test_names_with_blanks_and_signs_work(place: Place) -> None:
    parent = place.track(make_run_report(), "TREC / 6 labels: 100 %")
    assert "report/report.html" in place.paths(parent, "report")


def test_a_damaged_database_is_one_clear_error(place: Place) -> None:
    Path(place.uri.removeprefix("sqlite:///")).write_bytes(b"this is no database at all, only a test" * 99)
    with pytest.raises(StoreError, match=r"not a database.*`harness track run-00000000000000ff`"):
        place.track(make_run_report())


def test_a_locked_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be used"):
        init_store(f"sqlite:///{tmp_path}/file/mlflow.db")


def test_a_server_that_is_down_is_one_clear_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    down = replace(place, uri=f"http://me:pass-word@127.0.0.1:{port}")
    with pytest.raises(StoreError, match=rf"\[redacted\]@127.0.0.1:{port}.*harness track") as caught:
        down.track(make_run_report())
    assert "pass-word" not in str(caught.value)


def test_init_store_makes_a_usable_database_once(mlflow_template: Path) -> None:
    with sqlite3.connect(mlflow_template) as connection:
        tables = {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}
    assert {"experiments", "runs", "metrics", "params", "tags", "inputs"} <= tables
    before = file_digest(mlflow_template)
    init_store(f"sqlite:///{mlflow_template}")
    assert file_digest(mlflow_template) == before


def test_ui_line_is_a_command_bound_to_this_machine() -> None:
    assert ui_line("sqlite:////srv/my runs/mlflow.db") == (
        "mlflow ui --backend-store-uri 'sqlite:////srv/my runs/mlflow.db' --host 127.0.0.1"
    )
    assert ui_line("https://mlflow.example.org") == "https://mlflow.example.org"
