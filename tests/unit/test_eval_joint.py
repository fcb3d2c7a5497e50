"""All slices in one bootstrap, and the worst of them."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from eval_items import LABELS, items, right_or_not, simulated
from scipy.stats import binom

from eval.intervals import paired_shares, wilson
from eval.joint import draw_slices, joint_slices, worst_slice
from eval.slices import slice_members, slice_pairs
from harness.records import Example, Prediction


def two_models(seed: int, n: int = 600) -> tuple[list[Example], list[Prediction], list[Prediction]]:
    examples, (before, after) = simulated(np.random.default_rng(seed), n, [0.75, 0.8])
    return examples, before, after


def test_draws_are_those_of_a_plain_bootstrap() -> None:
    """Every resample, done by hand from the same random numbers."""
    rng = np.random.default_rng(0)
    before, after = rng.random(40) < 0.6, rng.random(40) < 0.7
    members = {"one": np.arange(0, 25), "two": np.arange(15, 40), "none": np.array([], dtype=np.int64)}
    ours = draw_slices(before, after, members, resamples=200, seed=7)
    drawn = np.random.default_rng(7).integers(0, 40, size=(200, 40), dtype=np.int32)
    for column, positions in enumerate(members.values()):
        for row in range(200):
            inside = drawn[row][np.isin(drawn[row], positions)]
            expected = [before[inside].mean(), after[inside].mean()] if len(inside) else [math.nan, math.nan]
            assert ours[row, column].tolist() == pytest.approx(expected, nan_ok=True)


def test_drawing_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, before, after = two_models(1, 100)
    members = slice_members(examples, LABELS)
    whole = joint_slices(examples, before, after, members, resamples=300, seed=3)
    monkeypatch.setattr("eval.joint.BLOCK", 700)
    assert joint_slices(examples, before, after, members, resamples=300, seed=3) == whole
    assert joint_slices(examples, before, after, members, resamples=300, seed=4) != whole


def test_differences_are_near_the_analytic_ones() -> None:
    examples, before, after = two_models(2, 3000)
    members = slice_members(examples, LABELS)
    joint = joint_slices(examples, before, after, members, resamples=3000, seed=0)
    assert list(joint.differences) == list(members)
    right = [np.array([p.label == e.label for e, p in zip(examples, arm, strict=True)]) for arm in (before, after)]
    for name, rows in members.items():
        was, now = right[0][rows], right[1][rows]
        theirs = paired_shares(int(np.sum(now & ~was)), int(np.sum(was & ~now)), len(rows))
        ours = joint.differences[name]
        assert (ours.value, ours.n, ours.method) == (theirs.value, len(rows), "percentile bootstrap")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.12 * (theirs.high - theirs.low))


def test_a_slice_that_never_changes_keeps_an_interval_and_a_small_one_says_insufficient() -> None:
    examples = items(["HUM"] * 200 + ["LOC"] * 9)
    flat = right_or_not(examples, [True] * 209)
    joint = joint_slices(examples, flat, flat, slice_members(examples, LABELS), resamples=300, seed=0)
    assert joint.differences["label=HUM"] == paired_shares(0, 0, 200)
    assert joint.differences["label=LOC"].note == "insufficient: 9 items; a slice needs at least 10"
    assert joint.differences["label=NUM"].value is None


def test_the_worst_slice_is_named_and_its_upper_end_allows_for_the_choice() -> None:
    examples = items(["HUM"] * 100 + ["LOC"] * 100 + ["NUM"] * 19)
    right = [True] * 90 + [False] * 10 + [True] * 60 + [False] * 40 + [False] * 19
    worst = worst_slice(examples, right_or_not(examples, right), slice_members(examples, LABELS))
    assert (worst.slice, worst.n, worst.of, worst.value.value) == ("label=LOC", 100, 2, 0.6)
    plain = wilson(60, 100)
    assert worst.value.low == pytest.approx(plain.low)
    assert worst.value.high > plain.high
    assert worst.value.note == "lowest of 2 slices; the upper end allows for the choice"
    alone = worst_slice(examples[:100], right_or_not(examples[:100], right[:100]), slice_members(examples[:100]))
    assert alone.value == wilson(90, 100)


def test_the_worst_slice_of_two_models() -> None:
    examples = items(["HUM"] * 200 + ["LOC"] * 200)
    before = right_or_not(examples, ([True] * 19 + [False]) * 10 + [True, False] * 100)
    after = right_or_not(examples, [True, True, True, False] * 50 + ([True] * 9 + [False]) * 20)
    joint = joint_slices(examples, before, after, slice_members(examples), resamples=1000, seed=0)
    assert (joint.before.slice, joint.after.slice) == ("label=LOC", "label=HUM")
    assert (joint.before.value.value, joint.after.value.value) == (0.5, 0.75)
    assert joint.before.difference is None
    change = joint.after.difference
    assert change.value == 0.25
    assert 0.1 < change.low < 0.25 < change.high < 0.42
    assert change.note == "the worst slice was label=LOC and is label=HUM"


def test_a_remainder_and_small_slices_are_never_the_worst() -> None:
    values = [f"v{number % 60:02d}" for number in range(1000)]
    examples = items(["HUM"] * 1000, [{"source": value} for value in values])
    members = slice_members(examples, max_values=5)
    right = [number % 60 < 5 for number in range(1000)]
    worst = worst_slice(examples, right_or_not(examples, right), members, min_items=10)
    assert worst.slice == "label=HUM"
    nothing = joint_slices(examples, [], [], members, resamples=100, seed=0, min_items=5000)
    for one in (nothing.before, nothing.after, worst_slice(examples, [], members, min_items=5000)):
        assert (one.slice, one.n, one.of) == ("", 0, 0)
        assert one.value.note == "insufficient: no slice has 5000 items"
    assert nothing.after.difference.note == "insufficient: no slice has 5000 items"


def test_pairs_of_slices_come_in_like_slices() -> None:
    rng = np.random.default_rng(5)
    examples = items(["HUM"] * 400, [{"a": str(rng.integers(2)), "b": str(rng.integers(2))} for _ in range(400)])
    bad = [example.slices == {"a": "0", "b": "1"} for example in examples]
    right = np.where(bad, rng.random(400) < 0.3, rng.random(400) < 0.9)
    members = slice_members(examples)
    worst = worst_slice(examples, right_or_not(examples, list(right)), {**members, **slice_pairs(members)})
    assert worst.slice == "a=0 & b=1"


def test_bad_arguments() -> None:
    examples, before, after = two_models(1, 30)
    members = slice_members(examples)
    with pytest.raises(ValueError, match="99 resamples"):
        joint_slices(examples, before, after, members, resamples=99, seed=0)
    with pytest.raises(ValueError, match="min_items 0 must be at least 1"):
        joint_slices(examples, before, after, members, resamples=100, seed=0, min_items=0)


PLANTED = {
    "flat": ([0.8] * 12, [0.8] * 12, 60),
    "flat, then one clear": ([0.8] * 12, [0.55, *[0.85] * 11], 60),
    "one clear, then flat": ([0.55, *[0.85] * 11], [0.8] * 12, 60),
    "clear, another": ([0.5, *[0.85] * 5], [*[0.85] * 5, 0.6], 60),
    "graded": (np.linspace(0.6, 0.95, 12), np.linspace(0.65, 0.95, 12), 60),
}


@pytest.mark.parametrize("case", PLANTED)
def test_worst_slices_and_their_difference_cover_the_truth(case: str) -> None:
    """Disjoint slices; the two models' answers agree more often than by chance. Percentile and basic intervals of the
    same minima cover 0 to .9 here. The bound is what a process that covers .95 falls short of once in 1,000 times."""
    before, after, n = (np.asarray(PLANTED[case][0]), np.asarray(PLANTED[case][1]), PLANTED[case][2])
    size = len(before) * n
    examples = items(["HUM"] * size, [{"s": f"{number // n:02d}"} for number in range(size)])
    members = {name: rows for name, rows in slice_members(examples).items() if name != "label=HUM"}
    rng, runs, hits = np.random.default_rng(17), 100, np.zeros(3)
    for run in range(runs):
        hardness = rng.random(size)
        draws = [np.where(rng.random(size) < 0.6, hardness, rng.random(size)) for _ in range(2)]
        arms = [
            right_or_not(examples, list(one < np.repeat(r, n))) for one, r in zip(draws, (before, after), strict=True)
        ]
        joint = joint_slices(examples, *arms, members, resamples=100, seed=run)
        truths = (before.min(), after.min(), after.min() - before.min())
        for place, one in enumerate((joint.before.value, joint.after.value, joint.after.difference)):
            hits[place] += one.low <= truths[place] <= one.high
    assert hits.min() >= binom.ppf(0.001, runs, 0.95)


def test_nothing_is_nan() -> None:
    for right in (True, False):
        examples = items(["HUM", "LOC"] * 30)
        flat = right_or_not(examples, [right] * 60)
        joint = joint_slices(examples, flat, flat, slice_members(examples, LABELS), resamples=100, seed=0)
        assert "nan" not in str(asdict(joint))
        assert (joint.after.value.value, joint.after.difference.value) == (float(right), 0.0)
        assert joint.after.difference.low < 0 < joint.after.difference.high
