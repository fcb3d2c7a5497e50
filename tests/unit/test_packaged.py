import re
from collections import Counter

import pytest

from harness.packaged import polarity, read_disfl_qa, read_packaged
from harness.texts import normalise


def test_trec_has_every_line_but_those_of_the_question_with_two_labels() -> None:
    table = read_packaged("trec")
    assert len(table.rows) == 15_446
    assert table.dropped == {"two labels for one text": 6}
    assert table.rows[0] == {
        "text": "How did serfdom develop in and then leave Russia ?",
        "label": "DESC",
        "fine": "DESC:manner",
    }
    assert len({row["text"] for row in table.rows}) == 5380
    assert len({row["fine"] for row in table.rows}) == 50
    assert {row["label"] for row in table.rows} == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert not any("elephant" in str(row["text"]) and "chromosome" in str(row["text"]) for row in table.rows)


def test_sentiment_has_four_domains_three_labels_and_the_raters_disagreement() -> None:
    table = read_packaged("sentiment")
    assert len(table.rows) == 23_703
    assert Counter(row["domain"] for row in table.rows) == {"amazon": 3708, "movie": 10_605, "nyt": 5190, "tweet": 4200}
    assert Counter(row["label"] for row in table.rows) == {"negative": 9181, "neutral": 4244, "positive": 10_278}
    assert Counter(row["disagreement"] for row in table.rows) == {
        "low": 7835,
        "medium": 7876,
        "high": 7793,
        "unknown": 199,
    }
    assert not any("&amp;" in str(row["text"]) for row in table.rows)
    assert all(normalise(str(row["text"])) for row in table.rows)


def test_disfl_qa_has_passages_questions_and_answers_of_which_a_quarter_are_unknown() -> None:
    table = read_disfl_qa()
    assert len(table.rows) == 1000
    assert len({row["passage"] for row in table.rows}) == 713
    assert len({(row["passage"], row["question"]) for row in table.rows}) == 1000
    assert sum(row["answer"] == "unknown" for row in table.rows) == 245
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert all(str(value) == str(value).strip() != "" for row in table.rows for value in row.values())
    shares = Counter(row["passage_length"] for row in table.rows)
    assert set(shares) == {"short", "medium", "long"}
    assert min(shares.values()) > 300
    known = [row for row in table.rows if row["answer"] != "unknown"]
    assert sum(str(row["answer"]) in str(row["passage"]) for row in known) == 598
    bare = [{name: re.sub(r"\W", "", str(value)).lower() for name, value in row.items()} for row in known]
    assert all(row["answer"] in row["passage"] for row in bare)


@pytest.mark.parametrize(
    ("mean", "label"),
    [
        (-4.0, "negative"),
        (-0.5, "negative"),
        (-0.49, "neutral"),
        (0.0, "neutral"),
        (0.49, "neutral"),
        (0.5, "positive"),
    ],
)
def test_a_mean_that_rounds_to_the_neutral_answer_is_neutral(mean: float, label: str) -> None:
    assert polarity(mean) == label
