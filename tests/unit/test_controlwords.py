from dataclasses import replace

import pytest
from factories import make_comparison, make_run_report, make_side

from harness.controlwords import control_lines, control_verdict, nothing_gained
from harness.records import Estimate, Role
from harness.reports import ControlReport

ADJUSTED = "adjusted for the number of claims it could be chance"
P_ABOVE = "the interval leaves out 0, but with a p of .062 it could be chance"


def side(
    name: str, difference: float, half: float = 0.021, p_holm: float | None = 0.01, p: float = 0.0025
) -> ControlReport:
    return make_side(name, replace(make_comparison("closed", name, difference, half), p_value=p, p_holm=p_holm))


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (side("static", 0.05), "Feedback helps: closed − static +5.0 points [+2.9, +7.1]."),
        (
            side("static", 0.025, 0.024, 0.164, 0.041),
            f"Feedback may help; {ADJUSTED}: closed − static +2.5 points [+0.1, +4.9].",
        ),
        (
            side("static", -0.025, 0.024, 0.164, 0.041),
            f"Feedback may do harm here; {ADJUSTED}: closed − static −2.5 points [−4.9, −0.1].",
        ),
        (side("raw", 0.025, 0.024, 0.062, 0.062), f"Filtering may help; {P_ABOVE}: closed − raw +2.5 points"),
        (side("raw", -0.025, 0.024, 0.062, 0.062), f"Filtering may do harm here; {P_ABOVE}: closed − raw −2.5 points"),
        (side("raw", 0.025, 0.024, 0.248, 0.062), f"Filtering may help; {P_ABOVE}: closed − raw +2.5 points"),
        (side("naive", -0.05), "Steering by matrix and feedback does harm here: closed − naive −5.0 points"),
        (side("shuffled", 0.01), "No measurable effect of the content of the feedback: closed − shuffled +1.0 points"),
        (make_side("static", None), "Not known: there is no comparison of closed with static."),
        (make_side("closed", None), ""),
    ],
)
def test_a_control_is_put_into_words_whichever_way_it_falls(one: ControlReport, says: str) -> None:
    assert control_verdict(one).startswith(says)
    assert bool(control_verdict(one)) == bool(says)


def test_a_difference_without_a_number_is_not_known() -> None:
    none = replace(make_comparison("closed", "static", 0.0), difference=Estimate(None, None, None, 0, "none", "why"))
    assert control_verdict(make_side("static", none)).startswith("Not known")
    few = Estimate(0.1, None, None, 9, "none", "insufficient: 9 items; an interval needs at least 10")
    found = replace(none, difference=few, mdd=None)
    assert control_verdict(make_side("static", found)) == f"Not known: closed − static +10.0 points, {few.note}."


def test_the_terminal_has_a_line_per_control_and_none_for_the_loop() -> None:
    lines = control_lines(make_run_report())
    assert [line.partition(":")[0] for line in lines] == ["static", "raw"]
    assert control_lines(make_run_report(controls=())) == []


@pytest.mark.parametrize(("difference", "says"), [(0.07, ""), (0.01, "bought nothing"), (-0.07, "did harm")])
def test_no_gain_is_said_plainly(difference: float, says: str) -> None:
    main = make_comparison("mixed", "seeds", difference)
    assert says in nothing_gained(make_run_report(), main)
    assert bool(nothing_gained(make_run_report(), main)) == bool(says)
    assert nothing_gained(make_run_report(), None) == ""


@pytest.mark.parametrize(
    ("p", "p_holm", "doubt"), [(0.041, 0.164, ADJUSTED), (0.062, 0.062, P_ABOVE), (0.062, None, P_ABOVE)]
)
def test_neither_gain_nor_harm_of_the_rows_is_said_for_sure_where_it_could_be_chance(
    p: float, p_holm: float | None, doubt: str
) -> None:
    better, worse = (
        replace(make_comparison("mixed", "seeds", value, 0.024), p_value=p, p_holm=p_holm) for value in (0.025, -0.025)
    )
    assert nothing_gained(make_run_report(), better) == f"The synthetic rows may have helped; {doubt}."
    assert nothing_gained(make_run_report(), worse) == (
        f"The synthetic rows may have done harm; {doubt}. Look at filters and samples before you train on them."
    )


def test_with_many_seeds_no_gain_is_what_to_expect() -> None:
    report = make_run_report()
    main = make_comparison("mixed", "seeds", 0.01)
    assert "Kazdan" not in nothing_gained(report, main)
    many = replace(report, data=replace(report.data, sizes={**report.data.sizes, Role.SEEDS: 1000}))
    assert "With 1,000 real seeds that is what to expect" in nothing_gained(many, main)
