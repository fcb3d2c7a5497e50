import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from factories import LABELS, make_eval, make_spec
from fakes import ScriptedLlm, nobody

from harness.decisions import steer
from harness.generate.feedback import first_plan
from harness.records import Plan, Role, SliceScore


def planned(weak: frozenset[str] | None, *, wrong_names: bool = False) -> Plan:
    """The plan after a dev report on which short items fail; `weak` names the slices that rest on guesses."""
    tagger = None if weak is None else SimpleNamespace(weak=weak)
    spec = make_spec(feedback={"policies": ["quotas", "shots"], "exploration": 0})
    bench: Any = SimpleNamespace(spec=spec, llm=ScriptedLlm(nobody), data=SimpleNamespace(tagger=tagger))
    scores = [
        SliceScore(f"length={value}", 100, 100, 0, 0, right / 100, None, None)
        for value, right in (("short", 10), ("medium", 90), ("long", 90))
    ]
    report = replace(make_eval("mixed", Role.DEV, 0.7), slices=tuple(scores))
    return asyncio.run(steer(bench, bench.llm, report, [first_plan(spec, [])], ["plan-1"], wrong_names=wrong_names))


def share(plan: Plan, length: str) -> float:
    return sum(one.candidates for one in plan.quotas if one.cell.values["length"] == length) / plan.candidates


def test_slices_whose_tags_are_guesses_do_not_steer() -> None:
    for firm in (None, frozenset[str]()):
        assert share(planned(firm), "short") > 0.6
        assert planned(firm).shots["length=short"] > 1.5
    guessed = planned(frozenset({"length"}))
    assert 0.3 < share(guessed, "short") < 0.37
    assert guessed.shots == {}
    assert set(LABELS) == {one.cell.label for one in guessed.quotas}


def test_the_shuffled_control_steers_by_the_wrong_value() -> None:
    wrong = planned(None, wrong_names=True)
    assert share(wrong, "short") < 0.3
    assert max(share(wrong, "medium"), share(wrong, "long")) > 0.6
