"""Words, repetition, compression, de-duplication and language of texts."""

from __future__ import annotations

import pytest

from eval.wording import (
    compression_ratio,
    dedup_survival,
    distinct_n,
    english_share,
    language,
    median_words,
    self_repetition,
    token_matched,
    words,
)
from harness.packaged import read_trec

SPEECH = {
    "Latin, English": "Which of the rivers in the north is the longest, and what did they call it in that time?",
    "Latin, German": "Welcher der Flüsse ist der längste und wie nannte man ihn zu dieser Zeit auf dem Land?",
    "Latin, French": "Quel est le plus long des fleuves du nord et comment il était appelé dans le pays?",
    "Latin, Spanish": "¿Cuál es el río más largo del norte y cómo se llamaba en los tiempos de la guerra?",
    "Cyrillic": "Какая река самая длинная на севере?",
    "Cjk": "北で一番長い川はどれですか",
    "Arabic": "ما هو أطول نهر في الشمال؟",
    "Latin": "xqzt brrf klmp wvvt",
    "": "12 + 30 = ?",
}


def test_words_of_several_scripts() -> None:
    assert words("Don't STOP_me: x2, Straße 東京") == ["don", "t", "stop", "me", "x2", "strasse", "東", "京"]
    assert words("की और का") == ["की", "और", "का"]
    assert words("ไม่") == ["ไ", "ม่"]
    assert words("… —") == []
    assert median_words(["one", "one two three"]) == 2.0
    assert median_words([]) is None


def test_distinct_n_by_hand() -> None:
    assert distinct_n(["a b c", "a b d"], 2) == 3 / 4
    assert distinct_n(["a b c", "a b d"], 1) == 4 / 6
    assert distinct_n(["a", ""], 2) is None


def test_distinct_2_depends_on_how_much_is_read_so_that_sizes_must_match() -> None:
    texts = [str(row["text"]) for row in read_trec().rows[:1600]]
    few, many = distinct_n(texts[:50]), distinct_n(texts)
    assert few is not None
    assert many is not None
    assert few > many + 0.2


def test_self_repetition_counts_texts_with_a_shared_sequence() -> None:
    assert self_repetition(["one two three four", "say one two three four", "a b c d", "x"]) == 2 / 3
    assert self_repetition(["one two three", "x"]) is None


def test_repeated_texts_compress_better_and_survive_less() -> None:
    texts = [f"{word} {number * 7919} of it" for number, word in enumerate("abcdefgh")]
    assert compression_ratio([texts[0]] * 8) > compression_ratio(texts)
    assert dedup_survival([texts[0], texts[0].upper(), f"  {texts[0]} ", texts[1]]) == 0.5
    assert compression_ratio([]) is None
    assert compression_ratio([""]) is None
    assert dedup_survival([]) is None


def test_token_matched_sets_have_as_many_words_each() -> None:
    short, long = [f"a{number} b" for number in range(10)], [f"c{number} d e f g" for number in range(10)]
    first, second = token_matched([short, long], seed=3)
    assert sum(len(words(text)) for text in first) == sum(len(words(text)) for text in second) == 20
    assert set(first) == set(short)
    assert len(second) == 4
    assert token_matched([short, long], seed=3) == (first, second)
    assert token_matched([short, ["…"]]) == ((), ("…",))
    (odd,) = token_matched([["one, two"]])
    assert odd == ("one, two",)
    assert {len(words(" ".join(one))) for one in token_matched([["a b c"], ["a b", "c d e"]])} == {3}


@pytest.mark.parametrize(("expected", "text"), SPEECH.items())
def test_scripts_and_languages(expected: str, text: str) -> None:
    assert language([text]) == expected


def test_questions_are_english_and_no_texts_are_nothing() -> None:
    texts = [str(row["text"]) for row in read_trec().rows[:300]]
    assert all(english_share(texts[start : start + 20]) > 0.1 for start in range(0, 300, 20))
    assert all(language(texts[start : start + 50]) == "Latin, English" for start in range(0, 300, 50))
    assert language([]) == ""
