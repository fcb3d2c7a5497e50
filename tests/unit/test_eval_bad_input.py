"""Awkward data through all of `eval/`: an explicit status, never NaN, never a crash."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import pytest
from eval_items import answers, items, right_or_not

from eval.gap import gap, pooled_recovered
from eval.joint import joint_slices, worst_slice
from eval.leak import dev_test_difference
from eval.outcomes import METRICS, Metric, ScoredRun
from eval.score import compare, evaluate, pooled_paired_difference
from eval.shift import label_noise
from eval.slices import slice_changes, slice_members, slice_pairs, slice_scores
from harness.records import Example, Prediction, Role

LABELS = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


@dataclass(frozen=True)
class Case:
    """Two models on dev and on test."""

    dev: Sequence[Example]
    test: Sequence[Example]
    before: Callable[[Sequence[Example]], list[Prediction]]
    after: Callable[[Sequence[Example]], list[Prediction]]


def some(rate: int) -> Callable[[Sequence[Example]], list[Prediction]]:
    """All but every `rate`-th right."""
    return lambda examples: right_or_not(examples, [number % rate != 0 for number in range(len(examples))])


def all_right(examples: Sequence[Example]) -> list[Prediction]:
    return right_or_not(examples, [True] * len(examples))


def all_wrong(examples: Sequence[Example]) -> list[Prediction]:
    return right_or_not(examples, [False] * len(examples))


def all_failed(examples: Sequence[Example]) -> list[Prediction]:
    return answers(examples, [None] * len(examples))


def one_label(examples: Sequence[Example]) -> list[Prediction]:
    return answers(examples, ["HUM"] * len(examples))


def none_given(examples: Sequence[Example]) -> list[Prediction]:
    return []


def split(n: int, labels: Sequence[str] = LABELS, prefix: str = "e", values: int = 4) -> list[Example]:
    return items(
        [labels[number % len(labels)] for number in range(n)],
        [{"source": f"v{number % values}", "length": "short" if number % 2 else ""} for number in range(n)],
        prefix,
    )


TEST = split(240, prefix="t")
CASES: Mapping[str, Case] = {
    "2,000 values in a column": Case(split(2400, values=2000), split(2100, prefix="t", values=2000), some(3), some(5)),
    "9 dev items": Case(split(9), TEST, some(3), some(4)),
    "1 dev item": Case(split(1), TEST, some(2), all_right),
    "no dev items": Case([], TEST, some(2), some(3)),
    "no items at all": Case([], [], some(2), some(3)),
    "a label absent from test": Case(split(240), split(240, LABELS[1:], "t"), some(3), some(4)),
    "one label in test": Case(split(240), split(240, ["HUM"], "t"), some(3), some(4)),
    "no label in common": Case(split(60, LABELS[:3]), split(60, LABELS[3:], "t"), some(3), some(4)),
    "one item of a label": Case([*split(60, ["HUM"]), *items(["NUM"], prefix="n")], TEST, some(3), some(4)),
    "all right": Case(split(240), TEST, all_right, all_right),
    "all wrong": Case(split(240), TEST, all_wrong, all_wrong),
    "wrong, then right": Case(split(240), TEST, all_wrong, all_right),
    "right, then wrong": Case(split(240), TEST, all_right, all_wrong),
    "all wrong on 9": Case(split(9), split(9, prefix="t"), all_wrong, all_wrong),
    "all right on 10": Case(split(10), split(10, prefix="t"), all_right, all_right),
    "the model always failed": Case(split(240), TEST, some(3), all_failed),
    "no predictions": Case(split(240), TEST, some(3), none_given),
    "always the same label": Case(split(240), TEST, one_label, some(3)),
    "the same model twice": Case(split(240), TEST, some(3), some(3)),
}


def sound(value: object) -> None:
    """No NaN or infinity in the JSON; every estimate has an interval around its value, or says why not."""
    json.dumps(value, allow_nan=False)
    if isinstance(value, dict):
        if {"value", "low", "high", "method", "note"} <= set(value):
            if value["low"] is None or value["high"] is None:
                assert value["low"] is value["high"] is None
                assert value["note"], value
            else:
                assert value["low"] <= value["value"] <= value["high"], value
        for one in value.values():
            sound(one)
    elif isinstance(value, list | tuple):
        for one in value:
            sound(one)


def scored(case: Case) -> list[ScoredRun]:
    return [
        ScoredRun(
            case.test,
            {"seeds": case.before(case.test), "mixed": case.after(case.test), "all_real": all_right(case.test)},
        )
    ] * 2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", CASES)
def test_scores_comparisons_and_gaps(name: str, metric: Metric) -> None:
    case = CASES[name]
    before, after = case.before(case.test), case.after(case.test)
    for examples, role in ((case.dev, Role.DEV), (case.test, Role.TEST)):
        for model in (case.before, case.after):
            report = evaluate("a", role, "hash", "model", examples, model(examples), LABELS, 100, 0)
            sound(asdict(report))
            assert report.n == report.n_ok + report.n_unparsable + report.n_error == len(examples)
            assert (report.accuracy.value is None) == (not examples)
    sound(asdict(compare("after", "before", case.test, after, before, metric, 100, 0)))
    sound(
        asdict(
            gap(
                metric,
                100,
                0,
                examples=case.test,
                loop=after,
                seeds=before,
                synthetic=before,
                real=after,
                all_real=all_right(case.test),
                synthetic_examples=case.dev,
                synthetic_on_synthetic=case.before(case.dev),
            )
        )
    )
    for pooled in (
        pooled_paired_difference(scored(case), "mixed", "seeds", metric, 100, 0),
        pooled_recovered(scored(case), metric, 100, 0),
    ):
        sound(asdict(pooled))
    drift = dev_test_difference(metric, case.dev, case.after(case.dev), case.test, after, resamples=100, seed=0)
    sound(asdict(drift))
    assert drift.n == min(len(case.dev), len(case.test))


@pytest.mark.parametrize("name", CASES)
def test_slices_pairs_and_the_worst_of_them(name: str) -> None:
    case = CASES[name]
    for examples in (case.dev, case.test):
        before, after = case.before(examples), case.after(examples)
        members = slice_members(examples, LABELS)
        members |= slice_pairs(members)
        assert len(members) <= 6 + 51 + 2 + 200
        sound([asdict(one) for one in slice_scores(examples, after, LABELS)])
        changes = slice_changes(examples, before, after, LABELS, pairs=True)
        sound([asdict(one) for one in changes])
        assert [one.slice for one in changes] == list(members)
        for one in changes:
            assert (one.change == "insufficient") == (one.n < 10) == (one.q_value is None) == (one.held is None)
        joint = joint_slices(examples, before, after, members, resamples=100, seed=0)
        sound(asdict(joint))
        assert joint.after.slice == worst_slice(examples, after, members).slice
        assert (joint.after.of > 0) == any(len(rows) >= 20 for rows in members.values())


@pytest.mark.parametrize("name", CASES)
def test_label_noise(name: str) -> None:
    case = CASES[name]
    sides = [
        side
        for examples in (case.dev, case.test)
        for side in (
            [one.label for one in examples],
            [by_id.get(one.id) for by_id in [{p.example: p.label for p in case.before(examples)}] for one in examples],
        )
    ]
    sound(asdict(label_noise(*sides, len(LABELS))))


@pytest.mark.parametrize(
    ("name", "metric", "status"),
    [
        ("9 dev items", "macro_f1", "insufficient: 9 items; an interval needs at least 10"),
        ("no dev items", "accuracy", "insufficient: no items"),
        ("no items at all", "macro_f1", "insufficient: no items"),
        ("a label absent from test", "macro_f1", "mean over the labels on both sides; one side lacks ABBR"),
        ("no label in common", "macro_f1", "insufficient: the figure is not defined on these items"),
        ("all right", "macro_f1", "every resample gives the same value; the interval is from Newcombe"),
        ("all wrong", "macro_f1", "every resample gives the same value; the interval is from Newcombe"),
    ],
)
def test_the_status_says_what_was_wrong(name: str, metric: Metric, status: str) -> None:
    case = CASES[name]
    drift = dev_test_difference(
        metric, case.dev, case.after(case.dev), case.test, case.after(case.test), resamples=100, seed=0
    )
    assert drift.note.startswith(status)


def test_what_is_not_sound_is_found() -> None:
    for bad in (
        {"x": float("nan")},
        [float("inf")],
        {"value": 0.5, "low": None, "high": None, "method": "none", "note": ""},
        {"value": 0.5, "low": 0.6, "high": 0.7, "method": "x", "note": ""},
        {"value": 0.5, "low": None, "high": 0.7, "method": "x", "note": "half"},
    ):
        with pytest.raises((AssertionError, ValueError)):
            sound(bad)
