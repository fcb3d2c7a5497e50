"""The frozen probe: the same prompts in every round, judged against round 1, and what a run does about it."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_cases import Place, asked_label, make_data, unique
from factories import make_estimate, make_run_report, make_spec
from fakes import ScriptedLlm

from eval.collapse import SliceRecall
from harness.bench import Bench, Harvest
from harness.callcount import probe_calls
from harness.generate.feedback import first_plan
from harness.llm.client import Request
from harness.probe import ask_probe, probe_report, probe_verdict
from harness.real import RealData
from harness.report import write_report
from harness.reports import ProbeReport
from harness.rounds import harvest
from harness.spec import Spec
from harness.tracked import parent_metrics

SIZES = {"seeds": 12, "dev": 12, "anchor": 24, "test": 18, "pool": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RealData:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def place(data: RealData, tmp_path: Path) -> Place:
    return Place(data, tmp_path / "store")


def spec(**probe: Any) -> Spec:
    return make_spec(
        data={"source": {"kind": "file", "path": "items.csv"}, "split": SIZES},
        generate={"accepted_per_round": 6, "over_generation": 2, "samples_per_call": 4},
        filters={"judge": {"enabled": False}},
        evaluate={"probe": {"items": 60, **probe}},
    )


def varied(request: Request) -> list[str]:
    return [f"{asked_label(request)} {unique(request.seed, i)} ?" for i in range(request.n)]


def ask(bench: Bench, *rounds: int) -> list[tuple[tuple[str, ...], ...]]:
    return [asyncio.run(ask_probe(bench, number)) for number in rounds]


def test_every_round_is_asked_the_same_prompts_under_other_sampling_seeds(place: Place) -> None:
    llm = ScriptedLlm(varied)
    probes = ask(place.bench(llm, spec()), 1, 2, 3)
    assert [len(batches) for batches in probes] == [1, 1, 1]
    assert [len(batches[0]) for batches in probes] == [60, 60, 60]
    rounds = [llm.requests[start : start + 60] for start in (0, 60, 120)]
    assert all(request.n == 1 for request in llm.requests)
    prompts = [[request.prompt for request in asked] for asked in rounds]
    assert prompts[0] == prompts[1] == prompts[2]
    assert len({request.seed for request in llm.requests}) == 180
    # The labels come as the spec weighs them, not as any plan does.
    assert set(Counter(asked_label(request) for request in rounds[0]).values()) == {20}


def test_feedback_cannot_reach_the_probe(place: Place) -> None:
    """Another policy, another number of rows: the same prompts."""
    one, other = ScriptedLlm(varied), ScriptedLlm(varied)
    ask(place.bench(one, spec()), 2)
    steered = spec().model_copy(update={"generate": spec().generate.model_copy(update={"accepted_per_round": 40})})
    ask(Place(place.data, place.root / "other").bench(other, steered), 2)
    assert [request.prompt for request in one.requests] == [request.prompt for request in other.requests]


def test_round_1_has_as_many_batches_as_were_asked_for(place: Place) -> None:
    llm = ScriptedLlm(varied)
    first, second = ask(place.bench(llm, spec(batches=4)), 1, 2)
    assert (len(first), len(second)) == (4, 1)
    assert len(set(first)) == 4
    two_rounds = spec(batches=4)
    assert two_rounds.stop.max_rounds == 2
    assert len(llm.requests) == 5 * 60 == probe_calls(two_rounds)


def test_a_second_process_asks_nothing(place: Place) -> None:
    told = ask(place.bench(ScriptedLlm(varied), spec()), 1, 2)
    silent = ScriptedLlm(lambda _: None)
    assert ask(place.bench(silent, spec()), 1, 2) == told
    assert silent.requests == []


def test_a_probe_that_is_off_costs_nothing_and_says_nothing(place: Place) -> None:
    off = spec(enabled=False)
    bench = place.bench(ScriptedLlm(lambda _: None), off)
    assert ask(bench, 1) == [()]
    assert probe_verdict(bench, [()]) is None
    assert probe_report(bench, [()], Harvest()) is None
    assert probe_calls(off) == 0


def test_a_budget_that_ends_in_the_probe_leaves_it_short_and_the_run_whole(place: Place) -> None:
    bench = place.bench(ScriptedLlm(varied, calls=70), spec())
    first, second = ask(bench, 1, 2)
    assert (len(first[0]), len(second[0])) == (60, 10)
    verdict = probe_verdict(bench, [first, second])
    assert verdict is not None
    assert verdict.status == "insufficient"


def test_one_round_is_not_enough_and_an_unchanged_generator_is_ok(place: Place) -> None:
    bench = place.bench(ScriptedLlm(varied), spec())
    probes = ask(bench, 1, 2, 3)
    statuses = [found.status for end in (1, 2, 3) if (found := probe_verdict(bench, probes[:end]))]
    assert statuses == ["insufficient", "ok", "ok"]


def test_a_generator_that_repeats_itself_alarms_in_its_second_round(place: Place) -> None:
    def stuck(request: Request) -> list[str]:
        """Four texts in all from the 61st call on."""
        asked = len(llm.requests)
        return varied(request) if asked < 60 else [f"{asked_label(request)} {unique(asked % 4)} ?"]

    llm = ScriptedLlm(stuck)
    bench = place.bench(llm, spec())
    probes = ask(bench, 1, 2, 3)
    statuses = [found.status for end in (2, 3) if (found := probe_verdict(bench, probes[:end]))]
    assert statuses == ["warn", "alarm"]


def collapsed(place: Place) -> ProbeReport:
    """What the report gets after three rounds of a generator that sticks from the second on."""
    llm = ScriptedLlm(
        lambda request: (
            varied(request)
            if request.n > 1 or len(llm.requests) < 80
            else [f"{asked_label(request)} <b>stuck</b> {unique(len(llm.requests) % 4)} ?"]
        )
    )
    bench = place.bench(llm, spec())
    plan = first_plan(bench.spec, [])
    now = asyncio.run(harvest(bench, plan, "plan-1", Harvest()))
    found = probe_report(bench, ask(bench, 1, 2, 3), now)
    assert found is not None
    return found


def test_the_report_shows_verdict_limits_texts_and_advice(place: Place, tmp_path: Path) -> None:
    found = collapsed(place)
    assert found.probe.verdict.status == "alarm"
    assert found.calls == 180
    assert [len(texts) for texts in found.examples] == [6, 6, 6]
    assert found.kept.verdict.status == "insufficient"
    gone = SliceRecall("cluster=c1", make_estimate(0.8), make_estimate(0.1), 0.01, lost=True)
    verdict = replace(found.probe.verdict, slices=(gone,))
    found = replace(found, probe=replace(found.probe, verdict=verdict), slices={"cluster=c1": "8 seeds like 'Why ?'"})
    report = replace(make_run_report(), collapse=found)
    page = write_report(report, tmp_path / "page").read_text(encoding="utf-8")
    for words in (
        "Is the generator collapsing?",
        "verdict: ALARM since generation 2",
        "Keep real data",
        "vanished",
        "8 seeds like",
    ):
        assert words in page
    assert "&lt;b&gt;stuck&lt;/b&gt;" in page
    assert "<b>stuck</b>" not in page
    assert (tmp_path / "page" / "figures" / "collapse.png").exists()


def test_mlflow_gets_the_series_by_round(place: Place) -> None:
    points = parent_metrics(replace(make_run_report(), collapse=collapsed(place)))
    steps = [(name, step) for name, _, step in points if name.startswith("collapse/probe")]
    assert [step for name, step in steps if name == "collapse/probe/log_rke"] == [1, 2, 3]
    assert [value for name, value, _ in points if name == "collapse/probe/alarm"] == [0.0, 0.0, 1.0]
