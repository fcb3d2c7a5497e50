"""A suite of two variants against an endpoint on a real socket, as a person starts it: what is shared is paid once, two
processes give what one gives, the test is opened once for all, and MLflow shows it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import pytest
from endpoint import ScriptedEndpoint
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from trial_cases import ABOUT, SUITE, Case, answer
from typer.testing import CliRunner

from harness import compare, load, run
from harness.cli import app
from harness.comparison import Comparison
from harness.loop import read_run
from harness.mlflowstore import default_uri
from harness.records import Role
from harness.registry import in_words
from harness.replicates import scored_run
from harness.reports import RunReport
from harness.seal import openings
from harness.store import read_json

pytestmark = pytest.mark.timeout(600)

T = TypeVar("T")

DRAWN = 2 * 16 // 2
"""Calls of the generator: two rounds of 16 candidates, two a call. The judge's gate and record come on top."""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("suite")
    handler = signal.getsignal(signal.SIGINT)
    with ScriptedEndpoint(otherwise=answer) as endpoint:
        one = Case(folder, endpoint)
        (folder / "one").mkdir()
        (folder / "one" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
        one.compare("one", "--jobs", "1")
        yield one
    signal.signal(signal.SIGINT, handler)


def found(case: Case, store: str, role: Role = Role.DEV) -> Comparison:
    [one] = [
        each
        for path in (case.folder / store / "reports").glob("suite-*/compare.json")
        if (each := read_json(path, Comparison)).role is role
    ]
    return one


def in_a_cell(work: Callable[[], T]) -> T:
    """Call it as a notebook's cell does: inside an event loop that is running."""

    async def cell() -> T:
        return work()

    return asyncio.run(cell())


def test_variants_that_differ_in_a_filter_share_every_call_and_candidate(case: Case) -> None:
    asked = len(case.endpoint.calls)
    assert sum("response_format" not in call.body for call in case.endpoint.calls) == DRAWN < asked
    comparison = found(case, "one")
    assert {line.variant: line.used.calls for line in comparison.lines} == {"base": asked, "no_consistency": asked}
    assert {line.variant: line.paid.calls for line in comparison.lines} == {"base": asked, "no_consistency": 0}
    store = case.store("one")
    assert len(list(store.ids("run"))) == 2
    assert len(list(store.ids("split"))) == len(list(store.ids("gate"))) == 1
    # The first round's plan and candidates are one; the second plan descends from a dev report of each variant's own.
    assert len(list(store.ids("candidates"))) == 3
    reports = [read_run(store, ident) for ident in store.ids("run")]
    assert len({report.artefacts["adapter/seeds"] for report in reports}) == 1
    assert len({report.artefacts["dataset"] for report in reports}) == 2
    assert not openings(store)


def test_the_same_again_runs_nothing(case: Case) -> None:
    before = len(case.endpoint.calls)
    said = case.compare("one", "--jobs", "1")
    assert "2 runs, 2 finished, 0 to make" in said
    assert len(case.endpoint.calls) == before


def test_a_notebook_gets_a_suite_as_frames(case: Case) -> None:
    before = len(case.endpoint.calls)
    variants = in_a_cell(lambda: compare(case.folder / "suite.yaml", case.settings("one"), jobs=1))
    assert len(case.endpoint.calls) == before
    table = variants.table()
    assert {line.variant: line.score.items.value for line in found(case, "one").lines} == dict(table["score"])
    assert set(variants.runs) == {("base", 0), ("no_consistency", 0)}
    assert variants.figure("differences").png
    assert variants.page == next((case.folder / "one" / "reports").glob("suite-*/compare.html"))
    base = variants.runs["base", 0]
    assert base.page.exists()
    rows = base.rows()
    assert list(base.rounds()["accepted_total"])[-1] >= len(rows) > 0
    assert set(rows["label"]) <= set(ABOUT)
    items = base.predictions("mixed")
    assert items["right"].mean() == pytest.approx(base.scores().loc["mixed", "accuracy"])


def test_a_notebook_runs_an_experiment_inside_its_own_loop(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    overrides = {**case.settings("cell"), "stop.max_rounds": 1, "runtime.tracking.enabled": False}
    experiment = load(case.folder / "trial.yaml", overrides, seed=4)
    made = in_a_cell(lambda: run(experiment))
    assert "train mixed" in capsys.readouterr().out
    assert made.report.seed == 4
    assert list(made.gaps().index) == [1, "final"]
    assert signal.getsignal(signal.SIGINT) is handler
    before = len(case.endpoint.calls)
    assert in_a_cell(lambda: run(experiment)).id == made.id
    assert len(case.endpoint.calls) == before


def test_two_processes_give_the_ids_that_one_gives_and_pay_nothing_twice(case: Case) -> None:
    before = len(case.endpoint.calls)
    case.compare("two", "--jobs", "2", "--set", "runtime.tracking.enabled=false")
    asked = found(case, "one").paid.calls
    assert len(case.endpoint.calls) - before == asked
    assert list(case.store("two").ids()) == list(case.store("one").ids())
    assert found(case, "two").paid.calls == asked
    scores = [{line.variant: line.score for line in found(case, name).lines} for name in ("one", "two")]
    assert scores[0] == scores[1]


def test_two_suites_at_once_on_one_store_pay_nothing_twice(case: Case, mlflow_template: Path) -> None:
    other = case.folder / "other.yaml"
    other.write_text("base: trial.yaml\nvariants:\n  no_duplicates: {filters.duplicates.enabled: false}\n")
    (case.folder / "both").mkdir()
    (case.folder / "both" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    before = len(case.endpoint.calls)
    options = [part for key, value in case.settings("both").items() for part in ("--set", f"{key}={json.dumps(value)}")]
    going = [
        subprocess.Popen(
            [sys.executable, "-m", "harness.cli", "compare", str(suite), "--jobs", "1", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for suite in (case.folder / "suite.yaml", other)
    ]
    said = [process.communicate(timeout=300)[0] for process in going]
    assert [process.returncode for process in going] == [0, 0], said
    assert "note: not in MLflow" not in "".join(said)
    assert len(case.endpoint.calls) - before == found(case, "one").paid.calls
    store = case.store("both")
    assert len(list(store.ids("run"))) == 3
    assert set(case.store("one").ids()) < set(store.ids())
    assert len(list((store.root / "reports").glob("suite-*/compare.html"))) == 2
    with sqlite3.connect(store.root / "mlflow.db") as database:
        runs = database.execute("SELECT value FROM tags WHERE key = 'harness.run'").fetchall()
        shown = database.execute("SELECT run_uuid FROM tags WHERE key = 'kind' AND value = 'comparison'").fetchall()
    assert {ident for (ident,) in runs} == set(store.ids("run"))
    assert len(shown) == 2


def test_the_test_is_opened_once_for_all_variants_and_not_again_for_others(case: Case) -> None:
    case.compare("one", "--jobs", "1", "--open-test")
    [look] = openings(case.store("one"))
    assert look.run.startswith("suite-")
    assert look.count == 1
    comparison = found(case, "one", Role.TEST)
    assert {line.score.items.n for line in comparison.lines} == {40}
    case.compare("one", "--jobs", "1", "--open-test")
    assert len(openings(case.store("one"))) == 1
    said = case.compare("one", "--jobs", "1", "--open-test", "--only", "base", expect=2)
    assert "were looked at before" in said
    case.compare("one", "--jobs", "1", "--only", "base", "--reopen-test", "what would the base alone say")
    assert [one.reopened for one in openings(case.store("one"))] == ["", "what would the base alone say"]


def test_mlflow_knows_suite_and_variant_of_every_run(case: Case) -> None:
    with sqlite3.connect(case.folder / "one" / "mlflow.db") as database:
        tags = database.execute("SELECT run_uuid, key, value FROM tags").fetchall()
        artefacts = list((case.folder / "one" / "mlartifacts").rglob("comparison/compare.html"))
    by_run: dict[str, dict[str, str]] = {}
    for ident, key, value in tags:
        by_run.setdefault(ident, {})[key] = value
    parents = [one for one in by_run.values() if "harness.run" in one and "mlflow.parentRunId" not in one]
    assert sorted((one["suite"], one["variant"], one["mlflow.runName"]) for one in parents) == [
        ("suite", "base", "base-seed0"),
        ("suite", "no_consistency", "no_consistency-seed0"),
    ]
    assert sum(one.get("kind") == "comparison" for one in by_run.values()) >= 1
    assert artefacts


def test_a_variant_that_fails_costs_no_other_one(case: Case) -> None:
    (case.folder / "suite.yaml").write_text(
        "base: trial.yaml\nvariants:\n"
        "  broken: {llm.generator.base_url: 'http://127.0.0.1:9/v1'}\n"
        "  no_consistency: {filters.consistency.enabled: false}\n"
    )
    try:
        said = case.compare("one", "--jobs", "1", expect=1)
    finally:
        (case.folder / "suite.yaml").write_text(SUITE)
    assert "3 runs, 2 finished, 1 to make" in said
    assert "failed: broken, seed 0: " in said
    assert "127.0.0.1:9" in said
    assert "no_consistency: no measurable difference" in said
    assert "the same command runs only what is missing" in said


PLAIN = """\
import importlib.metadata as meta, json, re, socket, sys

def closure(names):
    found = set()
    while names:
        name = re.split(r"[^\\w.-]", names.pop())[0].lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        try:
            names += [one for one in meta.requires(name) or () if "extra ==" not in one]
        except meta.PackageNotFoundError:
            pass
    return found

def refuse(*_):
    raise OSError("no network here")

asked = json.load(sys.stdin)
allowed = closure(asked["requirements"])
socket.socket.connect = socket.getaddrinfo = refuse
import mlflow
model = mlflow.pyfunc.load_model(asked["model"])
said = model.predict([{"text": text} for text in asked["texts"]])
import harness
plain = [one for one in meta.requires("synthetic-data-harness") if "extra ==" not in one]
ours = [re.split(r"[^\\w.-]", one)[0].lower() for one in plain]
lacking = [one for one in ours if one not in allowed and one.replace("-", "_") in sys.modules]
answers = {"label": list(said["label"]), "score": list(said["score"])}
print(json.dumps({**answers, "code": harness.__file__, "lacking": lacking}))
"""
"""What a person does with a registered model, without a network; `lacking` are packages of ours that its requirements
do not give and that it loaded all the same."""


def versions(case: Case, name: str) -> list[ModelVersion]:
    client = MlflowClient(tracking_uri=default_uri(case.folder / "one"), registry_uri=default_uri(case.folder / "one"))
    return list(client.search_model_versions(f"name = '{name}'"))


def best_run(case: Case) -> RunReport:
    return read_run(case.store("one"), found(case, "one").lines[0].runs[0])


def test_the_best_variant_is_registered_and_predicts_what_the_store_holds(case: Case) -> None:
    said = case.compare("one", "--jobs", "1", "--register-as", "best")
    report = best_run(case)
    assert f"chosen: mixed of {found(case, 'one').lines[0].variant}, best of 2 variants on dev" in said
    assert "registered: best, version 1: mixed of trial, seed 0: accuracy on dev" in said
    [version] = versions(case, "best")
    folder = Path(unquote(urlsplit(version.source).path))
    scored = scored_run(report, case.store("one"))
    asked = {
        "model": "models:/best/1",
        "texts": [one.text for one in scored.examples],
        "requirements": (folder / "requirements.txt").read_text().split(),
    }
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTHON"))}
    uri = default_uri(case.folder / "one")
    done = subprocess.run(
        [sys.executable, "-c", PLAIN],
        input=json.dumps(asked),
        cwd=case.folder,
        env={**variables, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    kept = scored.predictions["mixed"]
    assert answers["label"] == [one.label for one in kept]
    assert answers["score"] == [one.score for one in kept]
    assert answers["lacking"] == []
    assert Path(answers["code"]).is_relative_to(folder)


def test_a_version_carries_its_lineage(case: Case) -> None:
    case.compare("one", "--jobs", "1", "--register-as", "lineage")
    report, store = best_run(case), case.store("one")
    [version] = versions(case, "lineage")
    adapter = store.manifest(report.artefacts["adapter/mixed"])
    tags = version.tags
    assert tags["harness.run"] == report.id
    assert tags["harness.adapter"] == adapter.id
    assert tags["parent.dataset"] == report.artefacts["dataset"]
    assert tags["training_rows.sha256"] == adapter.inputs["rows"]
    assert tags["base.sha256"] == adapter.inputs["base"]
    assert tags["adapter.sha256"] == adapter.files["adapter_model.safetensors"]
    assert (tags["arm"], tags["suite"], tags["variant"], tags["seed"]) == (
        "mixed",
        "suite",
        found(case, "one").lines[0].variant,
        "0",
    )
    score = report.rounds[report.best_round - 1].dev["mixed"].accuracy
    assert tags["dev.accuracy"] == in_words(score)
    client = MlflowClient(tracking_uri=default_uri(case.folder / "one"))
    source = client.get_run(version.run_id)
    assert source.data.tags["harness.run"] == report.id
    assert source.data.params["spec.sha256"] == tags["spec.sha256"]
    made = [each.dataset for each in source.inputs.dataset_inputs if each.tags[0].value == "synthetic"]
    assert tags["dataset.sha256"][:32] in {each.digest for each in made}
    assert version.source.split("/")[-2] in {one.model_id for one in source.outputs.model_outputs}


def test_the_same_adapter_is_one_version_whoever_asks(case: Case) -> None:
    case.compare("one", "--jobs", "1", "--register-as", "once")
    said = case.compare("one", "--jobs", "1", "--register-as", "once")
    assert "registered before, so no second version was made: once, version 1" in said
    arguments = ["register", best_run(case).id, "--name", "once", "--store", str(case.folder / "one")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "registered before, so no second version was made: once, version 1" in done.output
    other = CliRunner().invoke(app, [*arguments, "--arm", "seeds"])
    assert "registered: once, version 2: seeds of trial, seed 0" in other.output
    assert len(versions(case, "once")) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run-00"], "no artefact 'run-00'"),
        (["{run}", "--arm", "base"], "has no trained student of an arm 'base'; there are mixed, seeds"),
        (["{run}", "--name", "a/b"], "'a/b' is no name for a registered model"),
        (["{run}", "--uri", "http://127.0.0.1:9"], "nothing answers there (connection refused)"),
    ],
)
def test_what_cannot_be_registered_is_said(case: Case, arguments: list[str], words: str) -> None:
    given = [one.format(run=best_run(case).id) for one in arguments]
    done = CliRunner().invoke(app, ["register", *given, "--store", str(case.folder / "one")])
    assert done.exit_code == 2
    assert words in done.output


def test_a_suite_without_tracking_is_not_registered_and_nothing_is_run(case: Case) -> None:
    said = case.compare("none", "--register", "--set", "runtime.tracking.enabled=false", expect=2)
    assert "has runtime.tracking.enabled: false. Leave --register out" in said
    assert "to make" not in said
