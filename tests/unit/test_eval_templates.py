"""Skeletons, what a label classifier sees of them, and how often forms recur."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from eval.templates import (
    content,
    form,
    hits_difference,
    label_hits,
    matched,
    opening,
    opening_concentration,
    recurrence,
    skeleton,
    skeleton_concentration,
    tokens,
)

NOUNS = ["river", "violin", "copper", "garden", "window", "planet", "silver", "bridge", "engine", "harbour"]
OPEN = ["what is", "who has", "where did", "how would", "why does", "when was", "which of", "is there"]


def drawn(rng: random.Random, count: int, openings: list[str] = OPEN) -> list[str]:
    return [
        f"{rng.choice(openings)} {rng.choice(['the', 'a', 'his', 'no'])} {rng.choice(NOUNS)} "
        f"{rng.choice(['of', 'in', 'by', 'with'])} {rng.choice(NOUNS)} ?"
        for _ in range(count)
    ]


def test_content_and_skeleton_share_the_tokens() -> None:
    text = "In 1815 , who wrote “Emma” — wasn't it Jane's ?"
    assert skeleton(text) == ["in", "0", ",", "who", "_", '"', "_", '"', "-", "wasn't", "it", "_", "?"]
    assert content(text) == ["1815", "wrote", "emma", "jane's"]
    assert len(skeleton(text)) == len(tokens(text))
    assert form("Who wrote that very long novel Emma ?") == "who _ that very _ ?"
    assert (skeleton(""), content("?!"), form("")) == ([], [], "")
    assert skeleton("_ x_y") == ["0", "_", "0", "_"]
    assert content("पिता की बात?") == ["पिता", "की", "बात"]


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("What's up?", 1, "what"),
        ("What 's up ?", 2, "what up"),
        ("“Yes”", 3, "yes"),
        ("", 2, ""),
        ("?", 1, ""),
        ("की बात", 1, "की"),
    ],
)
def test_openings(text: str, count: int, expected: str) -> None:
    assert opening(text, count) == expected


def test_matched_sides_have_the_labels_of_the_smaller_one() -> None:
    real, made = list("aaaabbc"), list("abbbbbdd")
    here, there = matched(real, made, 3)
    assert [real[place] for place in here] == [made[place] for place in there] == list("abb")
    assert [one.tolist() for one in matched(real, made, 3)] == [here.tolist(), there.tolist()]
    assert [len(one) for one in matched(["a"], ["b"], 0)] == [0, 0]


def test_a_label_in_the_template_is_found_and_one_in_the_content_is_not() -> None:
    rng = random.Random(0)
    labels = ["x", "y"] * 60
    framed = drawn(rng, 120)
    framed = [f"{'so' if label == 'x' else 'but'} {text}" for label, text in zip(labels, framed, strict=True)]
    named = [
        f"{text} {'alpha' if label == 'x' else 'beta'}" for label, text in zip(labels, drawn(rng, 120), strict=True)
    ]
    shares = {
        (kind, what): label_hits([of(text) for text in texts], labels, 0).mean()
        for kind, texts in (("framed", framed), ("named", named))
        for what, of in (("skeleton", skeleton), ("content", content))
    }
    assert shares["framed", "skeleton"] > 0.95
    assert shares["named", "content"] > 0.95
    assert abs(shares["framed", "content"] - 0.5) < 0.2
    assert abs(shares["named", "skeleton"] - 0.5) < 0.2


@pytest.mark.parametrize("labels", [["x"] * 10, ["x"] * 10 + ["y"] * 4])
def test_too_few_labels_are_refused(labels: list[str]) -> None:
    with pytest.raises(ValueError, match="at least two with 5 items"):
        label_hits([["a"]] * len(labels), labels, 0)


def test_the_difference_of_hits_is_wider_than_newcombes() -> None:
    made, real = np.repeat([True, False], [90, 10]), np.repeat([True, False], [50, 50])
    found = hits_difference(made, real)
    assert found.value == pytest.approx(0.4)
    assert found.low is not None
    assert found.high is not None
    # Newcombe, method 10: .28 to .51
    assert 0.18 < found.low < 0.24
    assert 0.53 < found.high < 0.60


def test_recurrence_is_the_chance_that_two_have_one_form() -> None:
    rng = random.Random(3)
    texts = drawn(rng, 60)
    forms = [form(text) for text in texts]
    same = sum(a == b for i, a in enumerate(forms) for b in forms[:i])
    assert recurrence(texts).value == pytest.approx(same / (60 * 59 / 2))
    assert recurrence(texts[:1]).value is None


def test_equal_sources_are_rarely_more_concentrated() -> None:
    rng, opened, formed, runs = random.Random(4), 0, 0, 60
    for run in range(runs):
        real, made = drawn(rng, 40), drawn(rng, 40)
        opened += (opening_concentration(real, made, run).difference.low or 0) > 0
        formed += (skeleton_concentration(real, made, run).difference.low or 0) > 0
    for count in (opened, formed):
        assert count <= binom.ppf(0.999, runs, 0.025)


def test_few_openings_and_few_skeletons_are_seen_each_by_its_own() -> None:
    rng = random.Random(5)
    real = drawn(rng, 100)
    alike = opening_concentration(real, drawn(rng, 100, OPEN[:1]), 0)
    assert alike.difference.low is not None
    assert alike.difference.low > 0.5
    assert alike.commonest[1][0] == "what is"
    assert alike.made.value == 1.0
    one = [f"what is the {rng.choice(NOUNS)} of {rng.choice(NOUNS)} ?" for _ in range(100)]
    found = skeleton_concentration(real, one, 0)
    assert found.made.value == 1.0
    assert found.difference.low is not None
    assert found.difference.low > 0.7
    assert found.difference.high == 1.0
    assert found.commonest[0][:2] == ("what is the _ of _ ?", 1.0)
    assert Counter(map(form, one)) == {"what is the _ of _ ?": 100}
