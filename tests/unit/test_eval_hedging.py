"""Phrases, their rates and what is left without them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.stats import binom

from eval.hedging import (
    PHRASES,
    length_inflation,
    marker_difference,
    marker_rate,
    markers,
    mean_words,
    stripped,
)

PLAIN = [f"who wrote the novel number {n} of that long series ?" for n in range(60)]
HOW = {"resamples": 500, "seed": 0}


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("Perhaps it is, I THINK.", "hedging", ["perhaps", "i think"]),
        ("I’m not sure it might be", "hedging", ["i'm not sure", "might"]),
        ("the mighty almighty", "hedging", []),
        ("What kind of animal is it ?", "hedging", []),
        ("You are absolutely right", "position-taking", ["you are absolutely right"]),
        ("Thank you very much, please", "politeness", ["thank you very much", "please"]),
        ("a pleased crowd, thankful", "politeness", []),
        ("", "hedging", []),
    ],
)
def test_phrases_are_found_as_whole_words_the_longest_first(text: str, kind: str, found: list[str]) -> None:
    assert markers(text, kind) == found  # type: ignore[arg-type]


def test_no_phrase_is_of_two_kinds() -> None:
    every = [one for phrases in PHRASES.values() for one in phrases]
    assert len(every) == len(set(every))
    for kind, phrases in PHRASES.items():
        for one in phrases:
            assert markers(f"so {one} so", kind) == [one]


@pytest.mark.parametrize("template", ["Please , {}", "{} Thank you .", "Perhaps {} , I guess", "{} , of course"])
def test_what_is_stripped_leaves_the_text(template: str) -> None:
    left = stripped(template.format("who wrote Emma"))
    assert left.rstrip(" .") == "who wrote Emma"
    assert stripped(left) == left


def test_a_rate_is_per_hundred_words() -> None:
    texts = [*PLAIN[:30], *(f"perhaps {text}" for text in PLAIN[30:])]
    words = 60 * 10 + 30
    found = marker_rate(texts, "hedging", **HOW)  # type: ignore[arg-type]
    assert found.value == pytest.approx(100 * 30 / words)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    difference = marker_difference(texts, PLAIN, "hedging", **HOW)  # type: ignore[arg-type]
    assert difference.value == pytest.approx(found.value)
    assert difference.low is not None
    assert difference.low > 2


def test_no_phrase_on_either_side_still_has_an_interval() -> None:
    found = marker_difference(PLAIN, PLAIN, "politeness", **HOW)  # type: ignore[arg-type]
    assert found.value == 0
    assert found.low is not None
    assert found.high is not None
    # Newcombe for 0 of 60 against 0 of 60, in phrases per 100 words of texts of ten words.
    assert -found.low == pytest.approx(found.high) == pytest.approx(10 * 0.0602, rel=0.01)


def test_texts_without_words_are_insufficient() -> None:
    for texts in ([], ["", "..."]):
        assert marker_difference(texts, PLAIN[:2], "hedging", **HOW).low is None  # type: ignore[arg-type]
        assert length_inflation(PLAIN, texts, **HOW).note.startswith("insufficient")  # type: ignore[arg-type]


def test_length_inflation_is_relative() -> None:
    rng = random.Random(0)
    real = ["word " * rng.randint(5, 15) for _ in range(200)]
    made = [text * 2 for text in real]
    found = length_inflation(made, real, **HOW)  # type: ignore[arg-type]
    assert found.value == pytest.approx(1.0)
    assert found.low is not None
    assert found.low > 0.8
    assert mean_words(made, **HOW).value == pytest.approx(2 * np.mean([len(one.split()) for one in real]))  # type: ignore[arg-type]
    same = length_inflation(PLAIN, PLAIN, **HOW)  # type: ignore[arg-type]
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_equal_sources_differ_as_often_as_the_interval_says() -> None:
    rng, above, runs = random.Random(1), 0, 200

    def drawn() -> list[str]:
        return [f"{'perhaps ' if rng.random() < 0.3 else ''}{'word ' * rng.randint(5, 15)}" for _ in range(80)]

    for run in range(runs):
        low = marker_difference(drawn(), drawn(), "hedging", resamples=400, seed=run).low
        assert low is not None
        above += low > 0
    assert above <= binom.ppf(0.999, runs, 0.03)
