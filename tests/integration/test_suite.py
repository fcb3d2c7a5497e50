"""A suite of two variants against an endpoint on a real socket, as a person starts it: what is shared is paid once, two
processes give what one gives, the test is opened once for all, and MLflow shows it."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from endpoint import ScriptedEndpoint
from trial_cases import ABOUT, SUITE, Case, answer

from harness import compare, load, run
from harness.comparison import Comparison
from harness.loop import read_run
from harness.records import Role
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
