"""Free answers against gold ones, and the scores, intervals and comparisons that rest on them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.answers import SCORES, clusters, json_fields, json_object, leaves, rouge_l, same, token_f1, tokens
from eval.outcomes import ANSWER_METRICS, item_counts, rights
from eval.score import compare, evaluate
from harness.records import Example, Origin, Prediction, Role, Status

TEXT = st.text(max_size=30)
KINDS = ("answerable", "unknown")


def asked(gold: Sequence[str]) -> list[Example]:
    return [
        Example(f"e{place}", f"question {place}", KINDS[one == "unknown"], {}, Origin.REAL, one, "a passage")
        for place, one in enumerate(gold)
    ]


def said(answers: Sequence[str | None]) -> list[Prediction]:
    return [
        Prediction(f"e{place}", Status.UNPARSABLE, None, None, "")
        if one is None
        else Prediction(f"e{place}", Status.OK, KINDS[one == "unknown"], None, one)
        for place, one in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("the Earth ' s crust", "Earth's crust", True),
        ("1 , 500", "1,500", True),
        ("UNKNOWN", "unknown.", True),
        ("ﬁve", "five", True),
        ("Emma", "Emma Woodhouse", False),
        ("the", "a", False),
        ("?", "!", False),
        ("", "unknown", False),
        ('{"type": "HUM"}', "HUM", False),
        ("पिता", "पीता", False),
        ("की", "का", False),
        ("ไม่", "ไม้", False),
        ("পা", "পি", False),
        ("क\u094d\u200dष", "क\u094dष", True),
        ("पिता।", "पिता", True),
        ("क\u094d\u200cष", "क\u094dष", True),
        ("e\u0301t\u00e9", "\u00c9T\u00c9", True),
        ("ΐ", "\u03aa\u0301", True),
        ("Yes ❤\ufe0f", "yes ❤", True),
        ("-5", "5", False),
        ("\u22125 °C", "-5 ° c", True),
        ("(-.5)", ".5", False),
        ("2020-21", "2020 21", True),
        ("2020-21", "2020–21", True),
        ("well-known", "well known", True),
        ("F-16", "f 16", True),
        ("a--5", "a 5", True),
        ('{"a": 1, "b": "The X"}', '{"b": "x", "a": 1}', True),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": 1}', '{"a": 1, "b": 2}', False),
    ],
)
def test_what_counts_as_the_same_answer(gold: str, answer: str, equal: bool) -> None:
    assert same(gold, answer) is equal


@given(TEXT)
def test_every_answer_is_the_same_as_itself_and_scores_one(text: str) -> None:
    assert same(text, text)
    assert token_f1(text, text) == rouge_l(text, text) == 1.0


@given(TEXT, TEXT)
def test_scores_lie_between_zero_and_one_and_one_means_the_same_words(gold: str, answer: str) -> None:
    for score in (token_f1, rouge_l):
        assert 0.0 <= score(gold, answer) <= 1.0
        assert score(gold, answer) == pytest.approx(score(answer, gold))
    assert rouge_l(gold, answer) <= token_f1(gold, answer) + 1e-12
    if json_object(gold) is None:
        assert (rouge_l(gold, answer) == 1.0) == same(gold, answer)


def test_rouge_l_minds_the_order_and_token_f1_does_not() -> None:
    assert token_f1("free market ideas", "ideas market free") == 1.0
    assert rouge_l("free market ideas", "ideas market free") == pytest.approx(1 / 3)


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_the_common_subsequence_is_the_longest_one(a: list[str], b: list[str]) -> None:
    def longest(x: Sequence[str], y: Sequence[str]) -> int:
        if not x or not y:
            return 0
        if x[0] == y[0]:
            return 1 + longest(x[1:], y[1:])
        return max(longest(x[1:], y), longest(x, y[1:]))

    words = [[f"w{letter}" for letter in side] for side in (a, b)]
    if any(words):
        expected = 2 * longest(*words) / (len(a) + len(b))
        assert rouge_l(*(" ".join(side) for side in words)) == pytest.approx(expected)


def test_fields_of_a_structured_answer() -> None:
    gold = '{"type": "HUM", "entity": {"name": "Jane Austen", "born": 1775}, "tags": ["a writer", "english"]}'
    assert leaves(json_object(gold) or {}) == {
        "type": ("hum",),
        "entity.name": ("jane", "austen"),
        "entity.born": 1775,
        "tags.0": ("writer",),
        "tags.1": ("english",),
    }
    assert json_fields(gold, gold) == 1.0
    assert json_fields(gold, '{"type": "HUM", "entity": {"name": "Jane", "born": 1775}}') == pytest.approx(2 / 5)
    assert json_fields(gold, "Jane Austen") == 0.0
    with pytest.raises(ValueError, match="'Jane' is no JSON object"):
        json_fields("Jane", gold)


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"a": }', "{" * 10_000, "null", "", '{"a":' * 5000, '{"a":' * 65 + "1" + "}" * 65]
)
def test_what_is_no_object(text: str) -> None:
    assert json_object(text) is None


def test_the_deepest_object_that_is_taken() -> None:
    text = '{"a":' * 64 + "1" + "}" * 64
    assert leaves(json_object(text) or {}) == {".".join("a" * 64): 1}


def test_equal_answers_are_grouped_the_largest_group_first() -> None:
    assert clusters(["x", "Emma", "emma.", "y", "EMMA"]) == [[1, 2, 4], [0], [3]]
    assert clusters([]) == []


def test_tokens_of_text_in_other_scripts() -> None:
    assert tokens("Чехов, 1860") == ["чехов", "1860"]
    assert tokens("पिता की बात") == ["पिता", "की", "बात"]
    assert tokens("from -5 to +5, in 2020-21") == ["from", "-5", "to", "5", "in", "2020", "21"]


def test_an_item_with_a_gold_answer_is_right_by_it_and_not_by_its_kind() -> None:
    examples = asked(["Emma", "Emma", "unknown", "unknown"])
    assert rights(examples, said(["emma .", "Anna", "unknown", None])).tolist() == [True, False, True, False]


def test_the_report_has_the_scores_of_answers_beside_exact_match() -> None:
    examples = asked(["free market", "free market", "unknown", "Emma"] * 10)
    report = evaluate("mixed", Role.DEV, "h", "m", examples, said(["a market", "x", None, "Emma"] * 10), KINDS, 300, 0)
    assert report.accuracy.value == 0.25
    assert list(report.scores) == ["accuracy", "token_f1", "rouge_l", "macro_f1"]
    assert report.score("token_f1").value == pytest.approx((2 / 3 + 0 + 0 + 1) / 4)
    assert report.n_unparsable == 10
    for estimate in report.answers.values():
        assert estimate.low is not None
        assert estimate.high is not None
        assert 0 <= estimate.low < (estimate.value or 0) < estimate.high <= 1
    assert report.confusion["unknown"] == {"answerable": 0, "unknown": 0, "": 10}
    with pytest.raises(KeyError, match="no score 'json_fields'"):
        report.score("json_fields")


def test_structured_answers_have_a_score_of_fields() -> None:
    examples = asked(['{"type": "HUM", "entity": "Emma"}'] * 12)
    predictions = said(['{"type": "HUM", "entity": "Anna"}'] * 12)
    report = evaluate("mixed", Role.DEV, "h", "m", examples, predictions, KINDS, 300, 0)
    assert report.accuracy.value == 0.0
    assert report.score("json_fields").value == 0.5


@pytest.mark.parametrize("metric", ANSWER_METRICS)
def test_scores_of_answers_are_means_over_items(metric: str) -> None:
    gold = ['{"a": "x y", "b": 2}', '{"a": "z", "b": 3}']
    counts = item_counts(metric, asked(gold), [said([gold[0], '{"a": "z", "b": 4}'])])  # type: ignore[arg-type]
    second = 0.0 if metric == "accuracy" else SCORES[metric](gold[1], '{"a": "z", "b": 4}')  # type: ignore[index]
    assert counts.scores(counts.rows.sum(axis=0))[0] == pytest.approx((1 + second) / 2)


def test_the_interval_of_a_difference_in_token_f1_covers_the_truth() -> None:
    """Two arms whose answers hold 2 of 3 and 1 of 3 gold words on average; 200 sets of 80 items."""
    rng = random.Random(7)
    hit = 0
    truth = None
    for _ in range(200):
        gold = ["red green blue"] * 80
        arms = [
            said([" ".join(word if rng.random() < share else "x" for word in one.split()) for one in gold])
            for share in (2 / 3, 1 / 3)
        ]
        found = compare("a", "b", asked(gold), *arms, "token_f1", 400, 0).difference
        truth = 1 / 3
        assert found.low is not None
        assert found.high is not None
        hit += found.low <= truth <= found.high
    assert 0.90 <= hit / 200 <= 0.985


def test_the_p_of_token_f1_sees_what_exact_matches_cannot() -> None:
    """No answer is exactly right, so McNemar's p is 1; one arm has a word more of every second gold answer."""
    gold = ["red green blue"] * 40
    better, worse = ["red green x", "red x x"] * 20, ["red x x"] * 40
    arms = said(better), said(worse)
    assert compare("a", "b", asked(gold), *arms, "accuracy", 400, 0).p_value == 1.0
    found = compare("a", "b", asked(gold), *arms, "token_f1", 400, 0)
    assert found.p_value == 1 / 401
    assert found.difference.low is not None
    assert found.difference.high is not None
    assert found.mdd == pytest.approx(2.8 * (found.difference.high - found.difference.low) / (2 * 1.96), rel=1e-3)


def test_no_items_is_insufficient_and_no_crash() -> None:
    report = evaluate("mixed", Role.DEV, "h", "m", [], [], KINDS, 300, 0)
    assert report.answers == {}
    assert np.isnan(item_counts("token_f1", [], [[]]).scores(np.zeros(2))).all()
