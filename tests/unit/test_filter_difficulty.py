import numpy as np
from filter_cases import candidates, context, said, verdicts

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
