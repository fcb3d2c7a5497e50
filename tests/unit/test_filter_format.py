import pytest
from filter_cases import candidates, context, said, verdicts

from harness.filters.format import FormatFilter


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("two words", "drop: too short"),
        ("", "drop: too short"),
        ("now three words", "keep"),
        ("one two three four five six", "keep"),
        ("one two three four five six seven", "drop: too long"),
        ("no no no more", "drop: repeats itself"),
        ("no no yes no", "keep"),
    ],
)
def test_length_and_loops(text: str, verdict: str) -> None:
    rows = candidates(text)
    assert said(verdicts(FormatFilter(), context(rows, filters={"format": {"max_words": 6}}))) == [verdict]


def test_the_pattern_may_stand_anywhere() -> None:
    rows = candidates("Who wrote Emma ?", "Who wrote Emma")
    given = context(rows, filters={"format": {"must_match": r"\?"}})
    assert said(verdicts(FormatFilter(), given)) == ["keep", "drop: pattern missing"]


def test_no_candidates_no_verdicts_and_form_says_nothing_of_correctness() -> None:
    assert verdicts(FormatFilter(), context([])) == []
    assert FormatFilter().worth(context([])) is None
