import numpy as np
from filter_cases import candidate, candidates, context, said, verdicts

from harness.filters.difficulty import DifficultyFilter


def test_a_band_of_the_current_students_probability() -> None:
    rows = candidates("a", "b", "c", ("d", "BETA"), "e")
    answers = np.array([[0.05, 0.9, 0.05], [0.2, 0.4, 0.4], [0.9, 0.1, 0], [0.1, 0.9, 0], [0.95, 0.05, 0]])
    given = context(rows, difficulty=answers, filters={"difficulty": {"low": 0.2, "high": 0.9}})
    found = verdicts(DifficultyFilter(), given)
    assert said(found) == ["drop: too hard", "keep", "keep", "keep", "drop: too easy"]
    assert [one.score for one in found] == [0.05, 0.2, 0.9, 0.9, 0.95]


def test_without_a_student_it_abstains() -> None:
    assert said(verdicts(DifficultyFilter(), context(candidates("a", "b")))) == ["abstain: no student yet"] * 2
    assert DifficultyFilter().worth(context([])) is None


def test_of_a_label_drawn_beyond_its_share_the_hardest_rows_stay() -> None:
    rows = [*candidates("a", "b", "c", "d", ("e", "BETA")), candidate(9, "f", round_=2)]
    pairs = list(zip([0.9, 0.3, 0.6, 0.8, 0.95, 0.99], rows, strict=True))
    answers = np.array([[0.05, p, 0] if one.example.label == "BETA" else [p, 0.05, 0] for p, one in pairs])
    found = verdicts(DifficultyFilter(), context(rows, difficulty=answers, surplus={1: {"ALPHA": 2.0}}))
    # Of the four ALPHA rows of round 1 the two hardest; no other label and no other round pays.
    easy = "drop: easier than the rest of its label"
    assert said(found) == [easy, "keep", "keep", easy, "keep", "keep"]
