from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.callcount import RoleCalls, most_candidates
from harness.clean import Item
from harness.dryrun import assumed_tokens, read_source, rehearse, stand_ins
from harness.errors import DataError
from harness.filters.gate import gate_calls
from harness.forecast import Forecast, Limit, forecast, tables
from harness.generate.feedback import first_plan
from harness.llm.wire import prompt_estimate
from harness.records import Role
from harness.spec import Spec

LABELS = {"A": "about animals", "B": "about bridges", "C": "about clouds"}
PAID = {"base_url": "https://llm.example/v1", "model": "big", "price": {"input": 2.0, "output": 8.0}}
SENTENCE = "which of them was built first ?"


def make(**changes: Any) -> Spec:
    content: dict[str, Any] = {
        "name": "plan-test",
        "task": {"noun": "question", "labels": LABELS},
        "data": {"source": {"kind": "file", "path": "items.csv"}, "split": {"seeds": 30, "dev": 20, "test": 40}},
        "matrix": {
            "dimensions": [{"name": "tone", "values": {"calm": 3, "cross": 1}}],
            "forbid": [{"label": "A", "tone": "cross"}],
        },
        "generate": {"accepted_per_round": 20, "over_generation": 2, "samples_per_call": 4, "max_waves": 3},
        "evaluate": {"arms": ["base", "seeds", "synthetic", "mixed"], "probe": {"enabled": False}},
        "feedback": {"policies": ["quotas", "contrast", "critic"]},
    }
    return Spec.model_validate(content | changes)


def items(count: int = 200, text: str = SENTENCE) -> list[Item]:
    names = list(LABELS)
    return [Item(f"real-{i:04}", f"{i} {text}", f"{i} {text}", names[i % 3], {}, None) for i in range(count)]


def of(plan: Forecast, role: str) -> list[RoleCalls]:
    return [one for one in plan.calls if one.role == role]


def test_cells_and_quotas_are_those_of_the_first_plan():
    spec = make()
    result = forecast(spec)
    assert (result.cells, result.exact) == (5, True)
    assert result.plan.quotas == first_plan(spec, []).quotas
    assert sum(result.drawn["label"].values()) == result.plan.candidates == 40
    assert sum(result.drawn["tone"].values()) == 40
    assert result.drawn["tone"]["calm"] > result.drawn["tone"]["cross"] > 0


def test_calls_of_the_generator_are_first_waves_times_rounds():
    one, two, three = (forecast(make(stop={"max_rounds": rounds})) for rounds in (1, 2, 3))
    assert [sum(row.expected.calls for row in of(each, "generator")) for each in (one, two, three)] == [10, 20, 30]


def test_the_frozen_probe_is_asked_in_every_round():
    probe = {"items": 60, "batches": 8}
    result = forecast(make(stop={"max_rounds": 3}, evaluate={"arms": ["seeds", "mixed"], "probe": probe}))
    [row] = [one for one in of(result, "generator") if one.purpose == "frozen probe"]
    assert row.expected.calls == row.most.calls == 60 * (8 + 2)
    # One answer a call, whatever generation does.
    assert row.most.completion_tokens == 600 * make().generate.sampling.max_tokens


def test_at_most_all_refill_waves_are_drawn_at_the_lowest_yield():
    spec = make(stop={"max_rounds": 2})
    # The loop takes no yield below 5 %: 20 rows need 400 candidates a refill, in round 2 (40 rows in all) 800.
    assert most_candidates(spec, first_plan(spec, [])) == [40 + 2 * 400, 40 + 2 * 800]
    rows = of(forecast(spec), "generator")
    assert [row.most.calls for row in rows] == [210, 410]


def test_the_cap_on_candidates_bounds_the_refill_waves():
    spec = make(generate={"accepted_per_round": 20, "samples_per_call": 4, "max_candidates": 100})
    assert most_candidates(spec, first_plan(spec, [])) == [100, 100]


def test_the_gate_asks_as_often_as_the_judge_says():
    spec = make()
    gate = of(forecast(spec), "judge")[0]
    assert gate.expected.calls == gate.most.calls == gate_calls(30, spec)


def test_an_embedded_judge_is_expected_to_audit_and_another_to_grade_the_rows():
    embedded = forecast(make())
    paid = forecast(make(llm={"judge": PAID}))
    assert of(embedded, "judge")[1].expected.calls == 2 * 16
    assert of(paid, "judge")[1].expected.calls == 2 * 20
    bound = sum(most_candidates(make(), embedded.plan)[:1]) + sum(most_candidates(make(), embedded.plan))
    assert of(paid, "judge")[1].most.calls == bound


def test_roles_that_are_off_make_no_calls():
    off = forecast(make(filters={"judge": {"enabled": False}}, feedback={"policies": ["quotas", "contrast"]}))
    assert {one.role for one in off.calls} == {"generator"}
    assert not of(forecast(make(stop={"max_rounds": 1})), "critic")
    assert not of(forecast(make(feedback={"policies": []})), "critic")


def test_the_critic_is_asked_once_per_pair_between_rounds():
    (critic,) = of(
        forecast(make(stop={"max_rounds": 4}, feedback={"policies": ["critic"], "contrast_pairs": 2})), "critic"
    )
    assert critic.expected.calls == critic.most.calls == 3 * 2


def test_prompts_are_counted_as_rendered_with_texts_of_the_source():
    short, long = forecast(make(), items()), forecast(make(), items(text=SENTENCE * 10))
    rendered = rehearse(make(), items())
    assert all(SENTENCE in str(request.prompt) for request in rendered.first)
    mean = sum(map(prompt_estimate, rendered.first)) / len(rendered.first)
    assert of(short, "generator")[0].prompt == pytest.approx(mean)
    assert of(long, "generator")[0].prompt > 5 * mean
    assert short.expected.completion_tokens < long.expected.completion_tokens


def test_steered_rounds_have_longer_prompts():
    first, later = of(forecast(make(), items()), "generator")
    assert later.prompt > first.prompt


def test_an_answer_is_never_expected_to_be_longer_than_it_may_be():
    rows = of(forecast(make(), items(text=SENTENCE * 100)), "generator")
    assert rows[0].expected.completion_tokens == 10 * 4 * 40
    assert rows[0].most.completion_tokens == 210 * 4 * 40


def test_without_the_source_a_length_is_assumed_and_said():
    result = forecast(make())
    assert assumed_tokens(make()) == 20
    assert result.items is None
    assert "texts of 20 tokens" in result.notes[0]
    assert "mean text of the source" in forecast(make(), items()).notes[0]


def test_money_follows_from_the_prices():
    (row, *_) = forecast(make(llm={"generator": PAID}), items()).calls
    for cost in (row.expected, row.most):
        assert cost.usd == pytest.approx((2 * cost.prompt_tokens + 8 * cost.completion_tokens) / 1e6)
    assert 0 < row.expected.usd < row.most.usd
    assert forecast(make(), items()).most.usd == 0


def test_an_endpoint_without_a_price_is_named():
    free = {key: value for key, value in PAID.items() if key != "price"}
    notes = "\n".join(forecast(make(llm={"generator": free})).notes)
    assert "llm.generator.price is 0" in notes
    assert "llm.judge.price" not in notes
    assert "price" not in "\n".join(forecast(make(llm={"generator": PAID})).notes)


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (None, "no limit"),
        (10**6, "enough, even at most"),
        (1000, "enough as expected; a hard stop if"),
        (50, "too little: a hard stop"),
    ],
)
def test_the_budget_is_compared_with_both_ends(limit: int | None, says: str):
    calls = forecast(make(budget={"calls": limit})).limits[0]
    assert (calls.name, calls.limit) == ("calls", limit)
    assert calls.verdict.startswith(says)


def test_a_limit_that_is_just_reached_is_enough():
    assert Limit("usd", 2.0, 1.0, 2.0).verdict == "enough, even at most"
    assert Limit("usd", 1.0, 1.0, 2.0).verdict.startswith("enough as expected")


def test_trainings_are_counted_once_or_per_round():
    arms = ["base", "seeds", "synthetic", "mixed", "real", "all_real"]
    split = {"seeds": 30, "pool": 25}
    data = {"source": {"kind": "file", "path": "x.csv"}, "split": split}
    result = forecast(make(data=data, evaluate={"arms": arms}, stop={"max_rounds": 3}))
    assert dict(result.trainings) == {
        "labellers, on folds of the seeds": 5,
        "self-training, each round": 3 * 3,
        "seeds, once": 1,
        "all_real, once": 1,
        "synthetic, each round": 3,
        "mixed, each round": 3,
        "real, each round": 3,
        # 18 of 20 accepted rows a round are trained on: more than the pool's 25 from round 2 on.
        "synthetic cut to the pool's size": 2,
        "closed at equal rows": 1,
        "raw at equal rows": 1,
    }
    assert sum(forecast(make(filters={"consistency": {"enabled": False}})).trainings.values()) == 7


def test_controls_with_calls_of_their_own_are_counted():
    alone, beside = (
        forecast(make(stop={"max_rounds": 3}, evaluate={"controls": controls}))
        for controls in ([], ["static", "naive", "raw"])
    )
    first = alone.plan.candidates // 4
    added = {one.purpose: one for one in beside.calls if one.purpose.startswith("control ")}
    # Round 1 of the static control is the loop's own; the naive one has prompts of its own from the start.
    assert {name: one.expected.calls for name, one in added.items()} == {
        "control static": 2 * first,
        "control naive": 3 * first,
    }
    assert all(one.most.calls >= one.expected.calls for one in added.values())
    assert beside.expected.calls - alone.expected.calls == 5 * first
    extra = {name: count for name, count in beside.trainings.items() if name not in alone.trainings}
    assert extra == {
        "control static, each round": 3 * (1 + 3),
        "control naive, each round": 3 * (1 + 3),
        "closed at equal rows": 1,
        "static at equal rows": 1,
        "naive at equal rows": 1,
        "raw at equal rows": 1,
    }


def test_a_budget_of_minutes_is_named_though_it_is_not_forecast():
    assert any("budget.minutes is 30: " in note for note in forecast(make(budget={"minutes": 30})).notes)
    assert not any("budget.minutes" in note for note in forecast(make()).notes)


def test_stand_ins_have_the_number_of_the_seeds_and_every_label():
    seeds = stand_ins(make(), items(7))
    assert len(seeds) == 30
    assert {seed.label for seed in seeds} == set(LABELS)


def test_a_large_plan_is_sampled_and_still_counted_whole():
    big = make(generate={"accepted_per_round": 5000, "samples_per_call": 4})
    result = forecast(big)
    assert len(rehearse(big).first) <= 200
    assert of(result, "generator")[0].expected.calls == 5000 * 3 / 4


def test_rows_are_read_from_a_file_and_their_mistakes_reported(tmp_path: Path):
    (tmp_path / "items.csv").write_text("text,label\n" + "".join(f"{SENTENCE} {i},{'ABC'[i % 3]}\n" for i in range(9)))
    assert len(read_source(make(), tmp_path).items) == 9
    (tmp_path / "items.csv").write_text("text,labl\nwho ?,A\n")
    with pytest.raises(DataError, match="no column 'label'"):
        read_source(make(), tmp_path)
    assert read_source(make(data={"source": {"kind": "hub", "name": "nobody/nothing"}}), tmp_path).items == ()


def test_tables_are_complete_and_show_the_totals():
    result = forecast(make(llm={"generator": PAID}, budget={"usd": 0.5}), items())
    shown = {table.title.split(":")[0]: table for table in tables(result)}
    assert all(len(row) == len(table.columns) for table in shown.values() for row in table.rows)
    assert ("asked for", f"{sum(result.sizes[role] for role in Role):,}") in shown["Real items"].rows
    assert "of 5 allowed cells" in next(table.title for table in shown.values() if table.title.startswith("Round 1"))
    calls = next(table for title, table in shown.items() if title.startswith("Calls"))
    assert calls.rows[-1][:4] == ("together", "", "", f"{result.expected.calls:,}")
    assert f"{result.most.calls:,}" in calls.rows[-1]
    usd = shown["Budget"].rows[2]
    assert usd[:2] == ("usd", "0.5000")
    assert usd[4] == result.limits[2].verdict
    assert [row[0] for row in shown["What these numbers rest on"].rows] == list(result.notes)


def test_the_same_spec_gives_the_same_forecast():
    assert forecast(make(), items()) == forecast(make(), items())


def test_planning_loads_no_model_and_no_client():
    code = (
        "import sys, harness.forecast\n"
        "from tests.unit.test_forecast import make, items\n"
        "harness.forecast.tables(harness.forecast.forecast(make(), items()))\n"
        "print([name for name in ('torch', 'mlflow', 'openai', 'peft') if name in sys.modules])"
    )
    root = Path(harness.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


def test_tags_by_a_judge_of_ones_own_are_counted_once_per_seed():
    assert len(of(forecast(make()), "judge")) == 2
    tags = of(forecast(make(llm={"judge": PAID})), "judge")[2]
    assert (tags.purpose, tags.expected.calls, tags.most.calls) == ("tags of seeds, once per run", 30, 30)
    assert 0 < tags.expected.usd < tags.most.usd
    free = {key: value for key, value in PAID.items() if key != "price"}
    unjudged = forecast(make(llm={"judge": free}, filters={"judge": {"enabled": False}}))
    assert [one.purpose for one in of(unjudged, "judge")] == ["tags of seeds, once per run"]
    assert "llm.judge.price is 0" in "\n".join(unjudged.notes)


def test_each_grade_of_a_row_counts_all_of_its_askings():
    once = of(forecast(make(llm={"judge": PAID})), "judge")
    thrice = of(forecast(make(llm={"judge": PAID}, filters={"judge": {"judges": 3}})), "judge")
    for one, three in zip(once[:2], thrice[:2], strict=True):
        assert three.expected.calls == 3 * one.expected.calls
        assert three.most.calls == 3 * one.most.calls
    compared = of(
        forecast(make(llm={"judge": PAID}, filters={"judge": {"pairwise": 2, "min_score": 0.5, "judges": 3}})), "judge"
    )
    assert compared[0].expected.calls == 12 * once[0].expected.calls
    assert compared[1].expected.calls == 12 * once[1].expected.calls
    # Tags are no grades.
    assert compared[2].expected.calls == thrice[2].expected.calls == once[2].expected.calls


def test_reasons_and_longer_rubrics_are_longer_answers():
    plain, told = (
        of(forecast(make(llm={"judge": PAID}, filters={"judge": judge})), "judge")[0]
        for judge in ({}, {"reasons": True})
    )
    assert told.expected.completion_tokens > 2 * plain.expected.completion_tokens
    assert told.most.completion_tokens > 2 * plain.most.completion_tokens
