from dataclasses import replace
from typing import Any

import pytest
from factories import make_comparison, make_eval, make_gap, make_round, make_spec

from eval.collapse import Verdict
from harness.bench import Harvest, Wave
from harness.generate.matrix import make_cell
from harness.records import Cost, Estimate, Quota, Role
from harness.scoring import Scored
from harness.spec import Spec
from harness.stopping import Round, best_round, evidence_of, judged, stop_reason


def round_(number: int, dev: float, gain: float | None = None, *, out_of_budget: bool = False) -> Round:
    """Round `number` with this dev score and this paired gain over the best round before it."""
    compared = None if gain is None else replace(make_comparison(f"round {number}", "round 1", gain), mdd=0.03)
    quota = Quota(make_cell({"label": "ALPHA"}), 8)
    wave = Wave("candidates-1", number, (quota, quota), (), (), out_of_budget)
    scored = Scored("evaluation-1", {"mixed": make_eval("mixed", Role.DEV, dev)}, (), make_gap(), {}, {})
    return Round(make_round(number, gain=compared), Harvest((wave,)), scored, {})


def spec(**stop: Any) -> Spec:
    return make_spec(stop={"max_rounds": 9, "patience": 2, "min_gain": 0.01, **stop})


def test_a_round_counts_only_if_its_paired_gain_is_above_the_step() -> None:
    done = [round_(1, 0.70)]
    assert best_round(done, 0, spec()) == 0
    # The plain scores say +3 points; what counts is the paired gain over the best round.
    done.append(round_(2, 0.73, 0.01))
    assert best_round(done, 0, spec()) == 0
    done.append(round_(3, 0.71, 0.011))
    assert best_round(done, 0, spec()) == 2


def test_a_round_that_reaches_the_target_is_taken_whatever_it_gained() -> None:
    done = [round_(1, 0.79), round_(2, 0.80, 0.001)]
    assert best_round(done, 0, spec(target=0.8)) == 1
    assert stop_reason(done, 1, spec(target=0.8)) == "target reached: dev accuracy 0.800 ≥ 0.800"
    assert stop_reason(done, 0, spec(target=0.81)) == ""


@pytest.mark.parametrize(
    ("rounds", "best", "changes", "reason"),
    [
        (1, 0, {}, ""),
        (2, 0, {}, ""),
        (3, 0, {}, "no gain above 0.01 on dev for 2 round(s)"),
        (3, 1, {}, ""),
        (3, 2, {"max_rounds": 3}, "round limit of 3"),
    ],
)
def test_why_a_run_ends(rounds: int, best: int, changes: dict[str, Any], reason: str) -> None:
    done = [round_(1 + index, 0.7, None if not index else 0.0) for index in range(rounds)]
    assert stop_reason(done, best, spec(**changes)) == reason


@pytest.mark.parametrize(("heeded", "reason"), [(True, "the frozen probe alarms: modes crowd."), (False, "")])
def test_an_alarm_of_the_frozen_probe_ends_the_run_unless_it_is_told_not_to(heeded: bool, reason: str) -> None:
    done = [round_(1, 0.70), round_(2, 0.75, 0.05)]
    told = [replace(one, report=replace(one.report, collapse=Verdict("warn", "near."))) for one in done]
    assert stop_reason(told, 1, spec()) == ""
    last = replace(done[1], report=replace(done[1].report, collapse=Verdict("alarm", "modes crowd.")))
    assert stop_reason([done[0], last], 1, spec(collapse=heeded)) == reason
    assert "Frozen probe: alarm. modes crowd." in evidence_of([done[0], last], 1, spec(), Cost())


def test_a_spent_budget_ends_the_run() -> None:
    assert stop_reason([round_(1, 0.7, out_of_budget=True)], 0, spec()) == "the budget ended"


def test_the_evidence_names_gain_interval_and_what_was_asked_for() -> None:
    of = spec(target=0.9).model_copy(update={"budget": make_spec(budget={"calls": 500, "usd": 2}).budget})
    done = [round_(1, 0.70), round_(2, 0.72, 0.02)]
    assert evidence_of(done, 1, of, Cost(calls=120, usd=0.25)) == (
        "Round 2 − round 1 on the same 1,000 dev items: +2.0 points [−0.1, +4.1], which counts as better (more than "
        "+1.0 is asked for; so many items usually show 3.0).",
        "Rounds: 2 of at most 9; the best so far is round 2.",
        "Target: dev accuracy 0.720 of 0.900.",
        "Budget: 120 of 500 calls, $0.25 of $2.00.",
    )
    assert "does not count as better" in evidence_of([done[0], round_(2, 0.7, -0.02)], 0, of, Cost())[0]
    assert evidence_of(done[:1], 0, spec(), Cost()) == ("Rounds: 1 of at most 9; the best so far is round 1.",)


def test_a_gain_without_an_interval_says_nothing_of_what_would_show() -> None:
    last = round_(2, 0.72, 0.02)
    gain = replace(make_comparison("round 2", "round 1", 0.02), difference=Estimate(0.02, None, None, 9, "none"))
    last = replace(last, report=replace(last.report, gain=replace(gain, mdd=None)))
    assert evidence_of([round_(1, 0.7), last], 1, spec(), Cost())[0] == (
        "Round 2 − round 1 on the same 9 dev items: +2.0 points, which counts as better (more than +1.0 is asked for)."
    )


def test_what_a_round_drew_and_which_counts() -> None:
    done = [round_(1, 0.7), round_(2, 0.7, 0.0)]
    assert done[0].sizes == (16,)
    marked = judged(done, 0, "round limit of 2")
    assert [(one.report.is_best, one.report.stop) for one in marked] == [(True, ""), (False, "round limit of 2")]
