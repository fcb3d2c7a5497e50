from dataclasses import replace
from typing import Any

import pytest
from factories import make_estimate, make_gap

from harness.reading import ADVICE, readings
from harness.records import Coverage, Estimate, LabelNoise
from harness.reports import Diagnosis

NOTHING = Estimate(None, None, None, 0, "none", "insufficient: 9 items")
CHANCE = make_estimate(0.5, 0.06)


def diagnosis(auc: Estimate = CHANCE, missed: float = 0.03, wrong: Estimate | None = None) -> Diagnosis:
    """Nothing to see, but for what is given."""
    shares = Coverage(
        make_estimate(missed, 0.02), make_estimate(0.03, 0.02), make_estimate(missed - 0.03, 0.02), 5, 150
    )
    noise = LabelNoise(wrong or make_estimate(0.01, 0.02), make_estimate(0.1), make_estimate(0.09))
    return Diagnosis(auc, CHANCE, shares, noise, None, None)


def cause(found: Diagnosis | None, **gap: Any) -> dict[str, str]:
    return {one.gap: one.cause for one in readings(replace(make_gap(), **gap), found)}


def test_without_a_detector_that_speaks_no_cause_is_named() -> None:
    for found in (diagnosis(), None):
        assert cause(found) == dict.fromkeys(("transfer", "source", "recovered"), "unknown")
    assert readings(make_gap(), diagnosis())[0].advice == ADVICE["unknown"]


@pytest.mark.parametrize(
    ("found", "name", "says"),
    [
        (diagnosis(make_estimate(0.9, 0.04)), "dialect", "AUC of 0.90 [0.86, 0.94] (.5 is chance)"),
        (
            diagnosis(missed=0.3),
            "coverage",
            "30 % of the real anchors have no synthetic row near",
        ),
        (diagnosis(wrong=make_estimate(0.2, 0.05)), "label noise", "an estimated share of 0.20 [0.15, 0.25]"),
    ],
)
def test_the_detector_that_speaks_names_the_cause_and_what_to_try(found: Diagnosis, name: str, says: str) -> None:
    assert set(cause(found).values()) == {name}
    first = readings(make_gap(), found)[0]
    assert says in first.evidence
    assert first.advice == ADVICE[name]


def test_of_several_causes_the_largest_effect_comes_first_and_the_others_are_said() -> None:
    found = diagnosis(make_estimate(0.8, 0.04), missed=0.2, wrong=make_estimate(0.1, 0.05))
    first = readings(make_gap(), found)[0]
    assert first.cause == "dialect"
    assert first.evidence.index("AUC") < first.evidence.index("anchors have") < first.evidence.index("labels is wrong")


@pytest.mark.parametrize(
    "found",
    [
        diagnosis(make_estimate(0.68, 0.05)),  # told apart, but the interval reaches below .65
        diagnosis(missed=0.06),  # a difference of 3 points
        diagnosis(wrong=make_estimate(0.2, 0.25)),
        diagnosis(NOTHING, wrong=NOTHING),
    ],
)
def test_what_an_interval_does_not_show_is_no_cause(found: Diagnosis) -> None:
    assert set(cause(found).values()) == {"unknown"}


def test_a_gap_that_is_closed_needs_no_cause() -> None:
    found = diagnosis(make_estimate(0.9, 0.04))
    shut = make_estimate(0.01, 0.03)
    assert cause(found, transfer=shut, source=shut) == {"transfer": "none", "source": "none", "recovered": "dialect"}
    assert cause(found, recovered=make_estimate(1.1, 0.05))["recovered"] == "none"


def test_every_gap_is_one_sentence() -> None:
    texts = {one.gap: one.sentence for one in readings(make_gap(), None)}
    assert "11.0 points better on synthetic items that it never saw than on real ones" in texts["transfer"]
    assert "taught the model 12.0 points more" in texts["source"]
    assert "37 % of the way from the seeds to all real data; 63 % is left" in texts["recovered"]
    none = {one.gap: one.sentence for one in readings(make_gap(None), None)}
    assert (
        none["source"] == none["recovered"] == "Not measured: insufficient: the test set-up has no pool of real data."
    )
    nothing = readings(replace(make_gap(), recovered=make_estimate(0.05, 0.1)), None)[2]
    assert "no gain over the real seeds alone" in nothing.sentence
    assert nothing.cause == "unknown"
