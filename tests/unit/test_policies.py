import asyncio
from dataclasses import replace
from typing import Any

import pytest
from factories import LABELS, make_eval, make_spec
from fakes import ScriptedLlm, nobody
from hypothesis import given
from hypothesis import strategies as st

from harness.generate.policies import POLICIES, Evidence, Steering
from harness.generate.rates import derangement, shrunk_rates, shuffled
from harness.records import DevReport, Estimate, Role, SliceScore
from harness.spec import PolicyName, Spec

CONFUSION = {
    "ALPHA": {"ALPHA": 40, "BETA": 50, "GAMMA": 10, "": 0},
    "BETA": {"ALPHA": 4, "BETA": 95, "GAMMA": 0, "": 1},
    "GAMMA": {"ALPHA": 5, "BETA": 0, "GAMMA": 90, "": 5},
}
SLICES = {
    "length=short": (20, 100),
    "length=long": (90, 200),
    "first_word=what": (60, 100),
    "first_word=who": (70, 100),
    "first_word=… 3 more values": (1, 100),
    "empty=nobody": (0, 0),
}


def score(name: str, right: int, n: int) -> SliceScore:
    return SliceScore(name, n, n, 0, 0, right / n if n else None, None, None)


def report(**changes: Any) -> DevReport:
    labels = {f"label={gold}": (row[gold], 100) for gold, row in CONFUSION.items()}
    scores = tuple(score(name, *counts) for name, counts in (labels | SLICES).items())
    accuracy = Estimate(0.75, None, None, 300, "made up")
    base = make_eval("mixed", Role.DEV, 0.5)
    return DevReport(replace(base, n=300, accuracy=accuracy, slices=scores, confusion=CONFUSION, **changes))


def steer(name: PolicyName, of: DevReport | None = None, spec: Spec | None = None) -> Steering:
    spec = spec or make_spec()
    start = Steering(dict.fromkeys(LABELS, 1.0), spec.matrix)
    evidence = Evidence(of or report(), spec, ScriptedLlm(nobody), lambda _: "")
    return asyncio.run(POLICIES[name](evidence, start))


def test_every_policy_changes_its_own_part_and_says_so() -> None:
    parts = {
        "quotas": {"labels", "matrix"},
        "contrast": {"guidance"},
        "shots": {"shots"},
        "relabel": {"channel"},
        "surplus": {"labels", "surplus"},
    }
    start = Steering(dict.fromkeys(LABELS, 1.0), make_spec().matrix)
    for name in POLICIES:
        if name == "critic":
            continue  # asks the LLM; test_feedback.py has it
        after = steer(name)
        changed = {part for part in start.__dataclass_fields__ if getattr(after, part) != getattr(start, part)}
        assert changed == parts[name] | {"changes"}
        assert after.changes


def test_the_table_holds_what_a_spec_may_name() -> None:
    spec = make_spec(feedback={"policies": list(POLICIES)})
    assert spec.feedback.policies == list(POLICIES)


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "critic"])
def test_a_report_without_errors_changes_nothing_but_words_of_it(name: PolicyName) -> None:
    perfect = {gold: {said: 100 * (said == gold) for said in [*LABELS, ""]} for gold in LABELS}
    scores = tuple(score(f"label={gold}", 100, 100) for gold in LABELS)
    clean = DevReport(
        replace(report(), accuracy=Estimate(1.0, None, None, 300, "made up"), slices=scores, confusion=perfect)
    )
    after = steer(name, clean)
    mass = sum(after.labels.values())
    assert {label: weight / mass for label, weight in after.labels.items()} == pytest.approx(
        dict.fromkeys(LABELS, 1 / 3)
    )
    assert (after.guidance, after.shots, after.channel, after.surplus) == ((), {}, {}, {})


def test_few_shot_seeds_lean_towards_the_slices_that_fail() -> None:
    after = steer("shots", spec=make_spec(feedback={"exploration": 0.5, "shrinkage": 1e-9}))
    # Error rates .8 and .55, mean .675; a remainder and labels are no slices of seeds.
    assert after.shots == pytest.approx(
        {
            "length=short": 0.5 + 0.5 * 0.8 / 0.675,
            "length=long": 0.5 + 0.5 * 0.55 / 0.675,
            "first_word=what": 0.5 + 0.5 * 0.4 / 0.35,
            "first_word=who": 0.5 + 0.5 * 0.3 / 0.35,
        }
    )
    assert after.changes[0] == (
        "Few-shot seeds of length=short are drawn 1.1 times as often, because 80 of 100 dev items of it fail."
    )


def test_the_channel_moves_belief_from_what_is_said_to_what_it_was() -> None:
    after = steer("relabel", spec=make_spec(feedback={"contrast_pairs": 2, "shrinkage": 10}))
    # 145 dev items were taken for BETA, 50 of them ALPHA; 100 for GAMMA, 10 of them ALPHA.
    assert after.channel == {"BETA": {"ALPHA": 50 / 155}, "GAMMA": {"ALPHA": 10 / 110}}
    assert "50 of 145 dev items taken for BETA were ALPHA" in after.changes[0]


def test_a_surplus_is_bounded_and_only_for_labels_worse_than_the_mean() -> None:
    after = steer("surplus", spec=make_spec(feedback={"shrinkage": 1e-9}))
    # Rates .6, .05, .1: mean .25, so ALPHA would be drawn 2.4 times.
    assert after.surplus == {"ALPHA": 2.0}
    assert after.labels == {"ALPHA": 2.0, "BETA": 1.0, "GAMMA": 1.0}
    assert after.changes == ("ALPHA: 2.0 times its share is drawn and the hardest 50% of its rows are kept.",)


def test_the_shuffled_report_ties_the_same_figures_to_other_names() -> None:
    given_ = report()
    wrong = shuffled(given_, "7")
    for name in ("label", "length", "first_word"):
        right_rates, wrong_rates = (shrunk_rates(one, name, 10) for one in (given_, wrong))
        assert sorted(right_rates.values(), key=str) == sorted(wrong_rates.values(), key=str)
        assert all(right_rates[value] != wrong_rates[value] for value in right_rates)
    assert [one.slice for one in wrong.slices] == [one.slice for one in given_.slices]
    cells = sorted(count for row in given_.confusion.values() for count in row.values())
    assert sorted(count for row in wrong.confusion.values() for count in row.values()) == cells
    # What a label's slice says and what its row says stay one story.
    for gold, row in wrong.confusion.items():
        scored = next(one for one in wrong.slices if one.slice == f"label={gold}")
        assert scored.value == row[gold] / sum(row.values())
    assert shuffled(given_, "7") == wrong


@given(st.lists(st.text(max_size=3), min_size=1, max_size=12, unique=True), st.text(max_size=5))
def test_a_derangement_leaves_nothing_in_its_place(values: list[str], seed: str) -> None:
    found = derangement(values, seed)
    assert sorted(found) == sorted(found.values()) == sorted(values)
    assert len(values) == 1 or all(one != other for one, other in found.items())
