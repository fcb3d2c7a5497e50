"""What is refused about the judge in a YAML file, with its line; and what of it stands in artefacts' keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factories import make_spec
from spec_cases import SMALL, only, refused, write

from harness.filterspec import Filters, keyed
from harness.loop import run_id
from harness.specfile import load, resolved

BEFORE = {"audit": 16, "enabled": True, "gate_items": 100, "gate_kappa": 0.6, "gate_retest": 0.8, "min_score": 3}
"""The judge's section in the keys of artefacts that were made before rubrics could be written."""
TONE = "{name: tone, about: it is friendly, scale: {low: 1, high: 5}}"


def judge(text: str) -> str:
    """A spec whose judge stands in line 8 on."""
    return f"{SMALL}filters:\n  judge:\n    {text}\n"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        (
            "rubric: [{name: tone, about: it is friendly}]",
            "rubric[0].scale",
            "is missing; say which grades 'tone' has, e.g. `scale: {low: 1, high: 5}`",
        ),
        (
            "rubric: [{name: tone, scale: {low: 1, high: 5}}]",
            "rubric[0].about",
            "is missing; say in a few words what 'tone' asks (only relevance, correctness, adherence may do without)",
        ),
        ("rubric: [{name: relevence, about: x}]", "rubric[0].scale", "did you mean 'relevance'?"),
        (
            "rubric: [{name: tone, about: x, scale: {low: 5, high: 1}}]",
            "rubric[0].scale.low",
            "5 (bad) has to be below",
        ),
        (
            "rubric: [{name: tone, about: x, scale: {low: 1}}]",
            "rubric[0].scale.high",
            "is missing; write a whole number",
        ),
        (
            "rubric: [{name: tone, about: x, scale: 5}]",
            "rubric[0].scale",
            "5 is not a mapping with the keys 'low', 'high'",
        ),
        ("rubric: [{name: tone, about: ' ', scale: {low: 1, high: 5}}]", "rubric[0].about", "is blank"),
        ("rubric: [{name: Tone, about: x, scale: {low: 1, high: 5}}]", "rubric[0].name", "small letters"),
        ("rubric: [{name: reason, about: x, scale: {low: 1, high: 5}}]", "rubric[0].name", "no grade"),
        ("rubric: [{name: relevance}, {name: relevance}]", "rubric[1].name", "names are unique"),
        ("rubric: []", "rubric", "a list (at least 1 and at most 12)"),
        ("rubric: [{name: relevance, weight: 0}]", "rubric[0].weight", "a number above 0"),
        ("min_score: 0.5", "min_score", "0.5 would drop nothing: scores go from 1 to 5"),
        ("min_score: 6", "min_score", "a number from 0 to 5"),
        ("judges: 0", "judges", "a whole number from 1 to 15"),
        ("combine: median", "combine", "one of 'mean', 'majority'"),
        ("pairwise: 3", "min_score", "3 is a grade; with filters.judge.pairwise scores are shares of comparisons won"),
        ("{pairwise: 60, min_score: 0.5}", "pairwise", "120 seeds for 2 labels; allowed: 1 to 59"),
        (f"{{pairwise: 1, min_score: 0.5, rubric: [{TONE[:-1]}, weight: 2}}]}}", "rubric[0]", "take them off"),
        ("human_labels: nowhere.csv", "human_labels", "no file "),
    ],
)
def test_what_the_judge_cannot_be_told(tmp_path: Path, text: str, where: str, words: str) -> None:
    problem = only(tmp_path, judge(text))
    assert (problem.where, problem.line) == (
        f"filters.judge.{where}",
        7 if where == "min_score" and "pair" in text else 8,
    )
    assert words in problem.message


def test_a_rubric_without_words_and_scale_has_both_problems_at_once(tmp_path: Path) -> None:
    found = refused(tmp_path, judge("rubric:\n      - {name: relevance}\n      - {name: tone}"))
    assert [(one.where, one.line) for one in found] == [
        ("filters.judge.rubric[1].about", 10),
        ("filters.judge.rubric[1].scale", 10),
    ]


def test_comparisons_give_no_grades_of_students_answers(tmp_path: Path) -> None:
    text = judge("{pairwise: 3, min_score: 0.5}").replace("labels:", "answer: {about: one word}\n  labels:")
    assert only(tmp_path, f"{text}evaluate: {{judge: {{enabled: true}}}}\n").where == "evaluate.judge.enabled"
    assert load(write(tmp_path, text)).filters.judge.pairwise == 3


@pytest.mark.parametrize(
    "text",
    [
        f"rubric: [{{name: correctness, veto: true}}, {TONE}]",
        "rubric: [{name: tone, about: x, scale: {low: -1, high: 0}, weight: 0.5}]",
        "{pairwise: 59, min_score: 1}",
        "{judges: 15, combine: majority, reasons: true, min_score: 4.5}",
    ],
)
def test_what_it_can_be_told(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, judge(text))).name == "small"


def test_a_file_of_labels_lies_beside_the_spec_and_near_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("id,text,label,decision\n")
    assert load(write(tmp_path, judge("human_labels: reviews.csv"))).filters.judge.human_labels == Path("reviews.csv")
    assert "Beside it: reviews.csv." in only(tmp_path, judge("human_labels: review.csv")).message


def told(**rule: Any) -> dict[str, Any]:
    return keyed(Filters.model_validate({"judge": rule}))["judge"]


def test_a_judge_that_is_asked_as_ever_keeps_the_keys_of_its_artefacts() -> None:
    assert told() == BEFORE
    assert told(judges=1, reasons=False, combine="mean", pairwise=None) == BEFORE
    assert repr(told(min_score=3)["min_score"]) == repr(told(min_score=3.0)["min_score"]) == "3"
    assert told(min_score=3.5)["min_score"] == 3.5


@pytest.mark.parametrize(
    "rule",
    [
        {"rubric": [{"name": "relevance"}]},
        {"rubric": [{"name": "relevance"}, {"name": "correctness"}, {"name": "adherence"}]},
        {"judges": 2},
        {"combine": "majority"},
        {"reasons": True},
        {"pairwise": 1},
        {"min_score": 2},
    ],
)
def test_what_it_is_told_otherwise_is_in_the_keys(rule: dict[str, Any], tmp_path: Path) -> None:
    assert told(**rule) != BEFORE
    assert run_id(make_spec(filters={"judge": rule}), tmp_path) != run_id(make_spec(), tmp_path)


def test_the_resolved_spec_shows_all_of_it_and_no_folder(tmp_path: Path) -> None:
    of = make_spec(filters={"judge": {"human_labels": str(tmp_path / "reviews.csv")}})
    shown = resolved(of)["filters"]["judge"]
    assert shown["human_labels"] == "reviews.csv"
    assert [one["name"] for one in shown["rubric"]] == ["relevance", "correctness", "adherence"]
