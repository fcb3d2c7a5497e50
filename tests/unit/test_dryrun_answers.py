"""What a run on answers would ask and train, without asking it."""

from __future__ import annotations

from answer_cases import EMMA, spec

from harness.clean import Item
from harness.dryrun import rehearse
from harness.forecast import forecast


def test_prompts_are_rehearsed_with_answers_and_contexts() -> None:
    items = [
        Item(f"real-{i}", f"k{i}", f"question {i} ?", ("answerable", "unknown")[i % 2], {}, None, f"said {i}", EMMA)
        for i in range(40)
    ]
    of = spec(generate={"shots": 2, "accepted_per_round": 10}, filters={"judge": {"gate_items": 10}})
    found = rehearse(of, items)
    prompts = [str(request.prompt) for request in (*found.first, *found.later)]
    assert prompts
    assert all(EMMA in prompt and "Answer: said " in prompt for prompt in prompts)
    assert any("Answer: <item>said " in str(request.prompt) for request in found.gate)


def test_a_source_that_is_not_read_has_stand_ins() -> None:
    found = rehearse(spec(generate={"shots": 2, "accepted_per_round": 10}))
    assert all("Answer: " in str(request.prompt) for request in found.first)


def test_trainings_are_those_of_the_causal_student() -> None:
    assert forecast(spec(causal={"epochs": 2.0, "batch_size": 10}, stop={"max_rounds": 1})).steps == 2 * 36
    assert forecast(spec(causal={"steps": 7})).steps == 7


def test_judged_answers_are_counted() -> None:
    off = forecast(spec(filters={"judge": {"enabled": False}}))
    assert all(one.role != "judge" for one in off.calls)
    rule = {"judge": {"enabled": True, "labelled": 50}, "arms": ["seeds", "mixed"]}
    changes = {"filters": {"judge": {"enabled": False}}, "data": {"source": {"kind": "packaged", "name": "trec"}}}
    (one,) = [each for each in forecast(spec(evaluate=rule, **changes)).calls if each.role == "judge"]
    assert one.purpose == "students' answers, at the end"
    # Two arms, 300 dev and 500 test items, 15 of 50 labelled ones twice on each.
    assert one.expected.calls == one.most.calls == 2 * (300 + 15 + 500 + 15)
    (sealed,) = [
        each for each in forecast(spec(evaluate={**rule, "test": False}, **changes)).calls if each.role == "judge"
    ]
    assert sealed.expected.calls == 2 * (300 + 15)


def test_judged_answers_are_counted_once_for_each_asking() -> None:
    rule = {"judge": {"enabled": True, "labelled": 50}, "arms": ["seeds", "mixed"]}
    changes = {"evaluate": rule, "data": {"source": {"kind": "packaged", "name": "trec"}}}
    (row,) = [
        each
        for each in forecast(spec(filters={"judge": {"enabled": False, "judges": 3}}, **changes)).calls
        if each.role == "judge"
    ]
    assert row.expected.calls == row.most.calls == 3 * 2 * (300 + 15 + 500 + 15)
