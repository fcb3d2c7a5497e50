"""What a round gained, changed in the prompts and steered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from factories import make_comparison, make_eval, make_round, make_run_report, make_slice, make_spec

from harness.records import Estimate, Plan, Role
from harness.reports import RunReport
from harness.roundwords import effects, gains, least_gain, prompt_diffs


def with_plan(**changes: Any) -> RunReport:
    """Two rounds whose plans draw alike; the second's has these changes."""
    one, two = make_round(1), make_round(2)
    plan: dict[str, Any] = {"guidance": (), "shots": {}, "channel": {}, "surplus": {}, "quotas": one.plan.quotas}
    return make_run_report(rounds=(one, replace(two, plan=replace(two.plan, **{**plan, **changes}))))


def how(report: RunReport) -> dict[str, tuple[str, ...]]:
    return {one.slice: one.how for one in effects(report)[2]}


def test_gains_are_those_of_the_rounds_with_what_the_rule_made_of_them() -> None:
    (gain,) = gains(make_run_report())
    assert gain.comparison == make_round(2).gain
    assert gain.counts is True
    small = make_round(2, gain=make_comparison("round 2", "round 1", 0.004))
    assert [one.counts for one in gains(make_run_report(rounds=(make_round(1), small)))] == [False]
    assert least_gain(make_run_report()) == 0.005


def test_without_a_rule_or_a_number_a_gain_is_not_taken_for_better() -> None:
    assert [one.counts for one in gains(make_run_report(spec={}))] == [None]
    none = replace(make_comparison("round 2", "round 1", 0.0), difference=Estimate(None, None, None, 0, "none", "why"))
    assert [one.counts for one in gains(make_run_report(rounds=(make_round(1), make_round(2, gain=none))))] == [False]
    assert gains(make_run_report(rounds=(make_round(1),))) == []
    exact = make_spec(stop={"min_gain": 0.02}).model_dump(mode="json")
    assert [one.counts for one in gains(make_run_report(spec=exact))] == [False]


def test_prompts_are_compared_line_by_line_with_the_round_before() -> None:
    (found,) = prompt_diffs(make_run_report()).values()
    assert [one.label for one in found] == ["ALPHA", "BETA", "GAMMA"]
    assert found[0].lines == ((" ", "Prompt for ALPHA"), ("+", "<i>steered</i>"), (" ", "end"))
    same: dict[str, Any] = {"prompts": make_round(1).prompts}
    assert prompt_diffs(make_run_report(rounds=(make_round(1), make_round(2, **same)))) == {2: []}


def test_a_line_that_went_is_marked_as_gone() -> None:
    prompts = {"ALPHA": "end"}
    ((one,),) = prompt_diffs(make_run_report(rounds=(make_round(1), make_round(2, prompts=prompts)))).values()
    assert one.lines == (("-", "Prompt for ALPHA"), (" ", "end"))


def test_only_what_was_steered_is_shown() -> None:
    assert effects(with_plan()) == {2: []}
    assert how(with_plan(surplus={"GAMMA": 1.5})) == {"label=GAMMA": ("1.5 times its share drawn, the hardest kept",)}
    assert how(with_plan(channel={"BETA": {"GAMMA": 0.2}})) == {"label=BETA": ("doubted in favour of GAMMA",)}
    assert how(with_plan(shots={"length=short": 1.4, "length=long": 0.8, "fine=unknown": 2.0})) == {
        "length=short": ("its seeds shown 1.4 times as often",)
    }
    assert how(with_plan(guidance=make_round(2).plan.guidance)) == {
        "label=GAMMA": ("shown beside BETA", "a hint in its prompts")
    }


def test_a_share_that_moved_is_steering_of_the_label_and_of_the_real_slice_that_bears_its_name() -> None:
    quotas = tuple(
        replace(one, candidates=one.candidates * (3 if one.cell.values["length"] == "short" else 1))
        for one in make_round(1).plan.quotas
    )
    report = with_plan(quotas=quotas)
    mixed = make_eval("mixed", Role.DEV, 0.8)
    named = (make_slice("length=short (≤ 8 words)", 50, 0.6), make_slice("length=shortish", 50, 0.6))
    last = replace(report.rounds[1], dev={"mixed": replace(mixed, slices=named)})
    found = how(replace(report, rounds=(report.rounds[0], last)))
    assert found == {"length=short (≤ 8 words)": ("33 % → 60 % of the candidates",)}


def test_what_changed_most_comes_first_with_its_size_and_interval() -> None:
    found = effects(make_run_report())[2]
    assert {one.slice for one in found} == {"label=ALPHA", "label=BETA", "label=GAMMA", "length=short"}
    moves = [abs((one.after.value or 0) - (one.before or 0)) for one in found]
    assert moves == sorted(moves, reverse=True)
    (gamma,) = (one for one in found if one.slice == "label=GAMMA")
    assert gamma.after in make_round(2).dev["mixed"].slices
    assert gamma.before in {one.value for one in make_round(1).dev["mixed"].slices}


def test_slices_and_rounds_without_scores_break_nothing() -> None:
    bare = make_round(1, dev={})
    assert {one.before for one in effects(make_run_report(rounds=(bare, make_round(2))))[2]} == {None}
    assert effects(make_run_report(rounds=(make_round(1), make_round(2, dev={})))) == {2: []}
    nothing = Plan(2, (), (), (), ())
    assert effects(make_run_report(rounds=(make_round(1, plan=nothing), make_round(2, plan=nothing)))) == {2: []}
    mixed = make_eval("mixed", Role.DEV, 0.8)
    empty = replace(mixed, slices=(replace(make_slice("label=GAMMA", 0, 0.0), value=None, low=None, high=None),))
    (one,) = effects(make_run_report(rounds=(make_round(1), make_round(2, dev={"mixed": empty}))))[2]
    assert one.after.value is None
