"""Accuracy per slice and what changed between two models."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from eval_items import LABELS, answers, items, right_or_not
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.intervals import benjamini_hochberg, wilson
from eval.slices import is_rest, slice_changes, slice_members, slice_pairs, slice_scores
from harness.records import Example, Prediction, Status


def test_names_and_order() -> None:
    examples = items(
        ["HUM", "LOC", "HUM"],
        [
            {"length": "short (≤ 8 words)", "first_word": "what"},
            {"length": "long", "first_word": "where", "fine": "LOC:city"},
            {"length": "long", "first_word": "who", "fine": "HUM:ind"},
        ],
    )
    assert {name: list(rows) for name, rows in slice_members(examples, ["NUM", "LOC"]).items()} == {
        "label=NUM": [],
        "label=LOC": [1],
        "label=HUM": [0, 2],
        "length=long": [1, 2],
        "length=short (≤ 8 words)": [0],
        "first_word=what": [0],
        "first_word=where": [1],
        "first_word=who": [2],
        "fine=HUM:ind": [2],
        "fine=LOC:city": [1],
    }
    assert list(slice_members(examples, ["NUM", "LOC"]))[:5] == [
        "label=NUM",
        "label=LOC",
        "label=HUM",
        "length=long",
        "length=short (≤ 8 words)",
    ]


def test_a_column_called_label_and_an_empty_value() -> None:
    examples = items(["HUM", "LOC"], [{"label": "x", "domain": ""}, {"domain": "news"}])
    assert list(slice_members(examples)) == ["label=HUM", "label=LOC", "domain=(empty)", "domain=news"]


def test_two_thousand_values_keep_fifty_and_say_how_many_are_left() -> None:
    values = [f"v{number % 2000:04d}" for number in range(2100)]
    examples = items(["HUM"] * 2100, [{"source": value} for value in values])
    scores = slice_scores(examples, right_or_not(examples, [True] * 2100))
    assert len(scores) == 1 + 50 + 1
    assert [one.slice for one in scores[1:4]] == ["source=v0000", "source=v0001", "source=v0002"]
    assert scores[1].n == 2
    assert (scores[-1].slice, scores[-1].n) == ("source=… 1950 more values", 2000)
    assert sum(one.n for one in scores[1:]) == 2100
    assert [one.slice for one in scores if is_rest(one.slice)] == ["source=… 1950 more values"]


def test_exactly_as_many_values_as_allowed_and_one_more() -> None:
    examples = items(["HUM"] * 5, [{"c": value} for value in "aabcc"])
    assert list(slice_members(examples, max_values=3))[1:] == ["c=a", "c=c", "c=b"]
    assert list(slice_members(examples, max_values=2))[1:] == ["c=a", "c=c", "c=… 1 more value"]
    with pytest.raises(ValueError, match="must be at least 1"):
        slice_members(examples, max_values=0)


def test_scores_carry_their_denominators() -> None:
    examples = items(["HUM"] * 4)
    predictions = [
        Prediction("e0", Status.OK, "HUM", 0.9),
        Prediction("e1", Status.OK, "LOC", 0.9),
        Prediction("e2", Status.UNPARSABLE, None, None),
    ]
    (score,) = slice_scores(examples, predictions)
    expected = wilson(1, 4)
    assert astuple(score) == ("label=HUM", 4, 2, 1, 1, 0.25, expected.low, expected.high)


def test_a_label_without_items_is_there_and_empty() -> None:
    examples = items(["HUM"])
    empty = slice_scores(examples, answers(examples, ["HUM"]), LABELS)[0]
    assert astuple(empty) == ("label=ABBR", 0, 0, 0, 0, None, None, None)


def test_changes_tell_improved_regressed_unclear_and_insufficient() -> None:
    examples = items(["HUM"] * 60 + ["LOC"] * 60 + ["NUM"] * 60 + ["DESC"] * 9)
    before = [False] * 60 + [True] * 60 + [True, False] * 30 + [False] * 9
    after = [True] * 60 + [False] * 60 + [False, True] * 30 + [True] * 9
    changes = {
        one.slice: one
        for one in slice_changes(examples, right_or_not(examples, before), right_or_not(examples, after), labels=LABELS)
    }
    assert {name: one.change for name, one in changes.items()} == {
        "label=ABBR": "insufficient",
        "label=DESC": "insufficient",
        "label=ENTY": "insufficient",
        "label=HUM": "improved",
        "label=LOC": "regressed",
        "label=NUM": "unclear",
    }
    assert changes["label=HUM"].difference.value == 1.0
    assert (changes["label=HUM"].before, changes["label=HUM"].after) == (0.0, 1.0)
    assert (changes["label=DESC"].p_value, changes["label=DESC"].q_value) == (None, None)
    assert changes["label=DESC"].difference.note == "insufficient: 9 items; a slice needs at least 10"
    assert astuple(changes["label=ABBR"].difference)[:4] == (None, None, None, 0)
    assert [changes[f"label={label}"].held for label in ("HUM", "LOC", "NUM", "DESC")] == [True, False, False, None]


def test_q_values_are_over_the_slices_that_are_large_enough() -> None:
    rng = np.random.default_rng(0)
    examples = items(["HUM"] * 300, [{"c": f"{number % 20}", "tiny": f"{number % 100}"} for number in range(300)])
    before, after = (right_or_not(examples, list(rng.random(300) < rate)) for rate in (0.5, 0.8))
    changes = slice_changes(examples, before, after)
    tested = [one for one in changes if one.q_value is not None]
    assert [one.slice for one in tested] == [one.slice for one in changes if one.n >= 10]
    assert len(tested) == 22
    assert [one.q_value for one in tested] == pytest.approx(benjamini_hochberg([one.p_value for one in tested]))
    assert any(one.change == "insufficient" for one in changes)


def test_equal_models_rarely_show_any_changed_slice() -> None:
    """A/A: with 20 slices at .05 each, 64 of 100 runs would show one without the correction."""
    rng = np.random.default_rng(1)
    examples = items(["HUM"] * 600, [{"c": f"{number % 20:02d}"} for number in range(600)])
    alarms = 0
    for _ in range(100):
        hardness = rng.random(600)
        before, after = (
            right_or_not(examples, list(np.where(rng.random(600) < 0.5, hardness, rng.random(600)) < 0.7))
            for _ in range(2)
        )
        alarms += any(one.change in ("improved", "regressed") for one in slice_changes(examples, before, after))
    assert alarms <= 12


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=40))
@settings(max_examples=40, deadline=None)
def test_every_item_is_in_one_slice_of_each_column_and_nothing_is_nan(rows: list[tuple[str, str, bool, bool]]) -> None:
    examples = items([row[0] for row in rows], [{"c": row[1]} for row in rows])
    before, after = (right_or_not(examples, [row[place] for row in rows]) for place in (2, 3))
    for column in ("label", "c"):
        names = [one for one in slice_scores(examples, before, LABELS) if one.slice.startswith(f"{column}=")]
        assert sum(one.n for one in names) == len(rows)
    for one in slice_changes(examples, before, after, LABELS):
        numbers = (one.before, one.after, one.p_value, one.q_value, *astuple(one.difference)[:3])
        assert not any(number is not None and math.isnan(number) for number in numbers)
        assert (one.change == "insufficient") == (one.n < 10)


def grid(n: int = 120) -> list[Example]:
    """`a` and `b` cross; `fine` splits the label, so a pair of both is its fine half."""
    return items(
        ["HUM" if number % 3 else "LOC" for number in range(n)],
        [
            {
                "a": str(number % 2),
                "b": str(number // 2 % 2),
                "fine": ("HUM:ind" if number % 3 == 1 else "HUM:gr") if number % 3 else "LOC:city",
            }
            for number in range(n)
        ],
    )


def test_pairs_are_of_two_columns_and_hold_the_items_of_both() -> None:
    members = slice_members(grid())
    pairs = slice_pairs(members)
    assert pairs["a=0 & b=1"].tolist() == [number for number in range(120) if number % 4 == 2]
    assert "label=HUM & a=1" in pairs
    assert all(name.count(" & ") == 1 for name in pairs)
    for name, positions in pairs.items():
        one, other = name.split(" & ")
        assert one.partition("=")[0] != other.partition("=")[0]
        assert positions.tolist() == sorted(set(members[one]) & set(members[other]))
        assert len(positions) >= 20


def test_a_pair_that_is_one_of_its_parents_is_left_out() -> None:
    pairs = slice_pairs(slice_members(grid()), min_items=1)
    assert not any("label=" in name and "fine=" in name for name in pairs)
    members = {"a=x": np.arange(30), "b=y": np.arange(10, 50), "c=z": np.arange(10, 30)}
    assert list(slice_pairs(members)) == []
    members = {"a=x": np.arange(30), "b=y": np.arange(10, 50), "c=z": np.arange(10, 31)}
    assert list(slice_pairs(members)) == ["a=x & b=y"]


def test_a_pair_needs_its_minimum_of_items() -> None:
    members = {"a=x": np.arange(30), "b=y": np.arange(10, 50)}
    assert list(slice_pairs(members, min_items=20)) == ["a=x & b=y"]
    assert slice_pairs(members, min_items=21) == {}
    with pytest.raises(ValueError, match="min_items 0 must be at least 1"):
        slice_pairs(members, min_items=0)


def test_columns_with_thousands_of_values_do_not_explode() -> None:
    rng = np.random.default_rng(0)
    examples = items(
        [LABELS[number % 6] for number in range(4000)],
        [{"id": f"{number % 2000}", **{c: str(rng.integers(40)) for c in "abcde"}} for number in range(4000)],
    )
    members = slice_members(examples)
    pairs = slice_pairs(members, min_items=2)
    sizes = [len(one) for one in pairs.values()]
    assert len(pairs) == 200
    assert sizes == sorted(sizes, reverse=True)
    assert len(slice_pairs(members, min_items=2, max_pairs=7)) == 7
    assert not any("…" in name for name in pairs)
    assert len({part for name in pairs for part in name.split(" & ")}) <= 100


def test_changes_of_pairs_share_the_correction() -> None:
    examples = grid(400)
    rng = np.random.default_rng(3)
    hit = [one.slices["a"] == "1" and one.slices["b"] == "0" for one in examples]
    before = right_or_not(examples, list(rng.random(400) < 0.5))
    after = right_or_not(examples, [h or b.label == e.label for e, b, h in zip(examples, before, hit, strict=True)])
    alone, paired = slice_changes(examples, before, after), slice_changes(examples, before, after, pairs=True)
    assert [one.slice for one in paired[: len(alone)]] == [one.slice for one in alone]
    changes = {one.slice: one for one in paired}
    assert changes["a=1 & b=0"].change == "improved"
    assert changes["a=0 & b=1"].change == "unclear"
    tested = [one for one in paired if one.q_value is not None]
    assert len(tested) > len(alone)
    assert [one.q_value for one in tested] == pytest.approx(benjamini_hochberg([one.p_value for one in tested]))
