"""The three synthetic-vs-real figures."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from eval_items import answers, items, right_or_not, simulated
from scipy.stats import binom

from eval.gap import _share_of_gap, gap, gap_recovered, pooled_recovered, source_gap, transfer_gap
from eval.intervals import independent_shares, paired_shares
from eval.outcomes import ScoredRun

ARMS = ("loop", "seeds", "all_real", "real", "synthetic")


def test_all_three_figures() -> None:
    rng = np.random.default_rng(0)
    examples, predictions = simulated(rng, 2000, [0.80, 0.73, 0.92, 0.85, 0.55])
    held_out, (on_synthetic,) = simulated(rng, 300, [0.75], prefix="syn")
    arms = dict(zip(ARMS, predictions, strict=True))
    for metric in ("accuracy", "macro_f1"):
        ours = gap(
            metric, 500, 0, examples=examples, synthetic_examples=held_out, synthetic_on_synthetic=on_synthetic, **arms
        )
        for estimate, truth in ((ours.transfer, 0.20), (ours.source, 0.30), (ours.recovered, 7 / 19)):
            assert estimate.low < truth < estimate.high
            assert estimate.low > 0
        assert (ours.transfer.n, ours.source.n, ours.recovered.n) == (300, 2000, 2000)
    assert ours.recovered.high - ours.recovered.low < 0.25


def test_recovered_by_hand() -> None:
    examples = items(["HUM", "LOC"] * 50)
    seeds = right_or_not(examples, [True] * 50 + [False] * 50)
    loop = right_or_not(examples, [True] * 60 + [False] * 40)
    all_real = right_or_not(examples, [True] * 90 + [False] * 10)
    ours = gap_recovered("accuracy", examples, loop, seeds, all_real, resamples=500, seed=0)
    assert ours.value == pytest.approx(0.25)
    assert 0.1 < ours.low < 0.25 < ours.high < 0.45


def test_source_gap_is_paired_and_transfer_gap_is_not() -> None:
    examples = items(["HUM"] * 200)
    real, synthetic = right_or_not(examples, [True] * 200), right_or_not(examples, [True] * 180 + [False] * 20)
    assert source_gap("accuracy", examples, real, synthetic, resamples=300, seed=0) == paired_shares(20, 0, 200)
    held_out = items(["HUM"] * 100, prefix="syn")
    on_synthetic = right_or_not(held_out, [True] * 70 + [False] * 30)
    transfer = transfer_gap("accuracy", held_out, on_synthetic, examples, synthetic, resamples=2000, seed=0)
    assert transfer == independent_shares(70, 100, 180, 200)
    assert transfer.value == pytest.approx(-0.2)


@pytest.mark.parametrize("n", [15, 30])
def test_the_transfer_gap_covers_the_truth_where_few_synthetic_rows_are_all_right(n: int) -> None:
    """Of these sets .46 and .21 are all right. A bootstrap sees no noise in such a one: it covers .54 and .81."""
    rng, runs, hits = np.random.default_rng(9), 200, 0
    for run in range(runs):
        made, (on_made,) = simulated(rng, n, [0.95], prefix="syn")
        real, (on_real,) = simulated(rng, 500, [0.80])
        ours = transfer_gap("accuracy", made, on_made, real, on_real, resamples=300, seed=run)
        hits += ours.low <= 0.15 <= ours.high
    assert hits >= binom.ppf(0.001, runs, 0.95)


def test_a_label_that_no_synthetic_row_has_is_no_part_of_the_transfer_gap_in_macro_f1() -> None:
    real, held_out = items(["HUM", "LOC"] * 40 + ["ABBR"] * 20), items(["HUM", "LOC"] * 15, prefix="syn")
    on_real = right_or_not(real, [True] * 80 + [False] * 20)
    on_synthetic = right_or_not(held_out, [True] * 30)
    ours = transfer_gap("macro_f1", held_out, on_synthetic, real, on_real, resamples=300, seed=0)
    assert ours.value == pytest.approx(0.0)
    assert ours.note.endswith("mean over the labels on both sides; one side lacks ABBR")


def test_missing_arms_are_explained() -> None:
    examples, (a, b, c) = simulated(np.random.default_rng(1), 100, [0.6, 0.7, 0.9])
    nothing = gap("accuracy", 300, 0, examples=examples)
    assert nothing.source.note.startswith("no arm 'real': ")
    assert nothing.recovered.note.startswith("no arm 'all_real': ")
    assert "arm 'synthetic'" in nothing.transfer.note
    for one in (nothing.transfer, nothing.source, nothing.recovered):
        assert (one.value, one.low, one.high) == (None, None, None)
    some = gap("accuracy", 300, 0, examples=examples, synthetic=a, seeds=b, all_real=c)
    assert "no synthetic rows were held back" in some.transfer.note
    assert "arm 'mixed'" in some.recovered.note
    assert "arm 'seeds'" in gap("accuracy", 300, 0, examples=examples, all_real=c).recovered.note
    assert "arm 'synthetic'" in gap("accuracy", 300, 0, examples=examples, real=c).source.note


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_nothing_is_recovered_of_a_gap_that_may_be_none(metric: str) -> None:
    examples, (loop, seeds, all_real) = simulated(np.random.default_rng(2), 200, [0.8, 0.8, 0.81])
    ours = gap_recovered(metric, examples, loop, seeds, all_real, resamples=300, seed=0)
    assert (ours.value, ours.low, ours.high, ours.n) == (None, None, None, 200)
    assert ours.note.startswith("insufficient: on these 200 items the model trained on all real rows is not clearly")
    worse = gap_recovered(metric, examples, all_real, all_real, seeds, resamples=300, seed=0)
    assert worse.value is None


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize("n", [0, 9, 60])
@pytest.mark.parametrize("right", [True, False])
def test_edge_cases_are_plain_json(metric: str, n: int, right: bool) -> None:
    examples, held_out = items(["HUM", "LOC", "NUM"] * (n // 3)), items(["HUM"] * n, prefix="syn")
    flat, other = right_or_not(examples, [right] * n), right_or_not(examples, [not right] * n)
    ours = gap(
        metric,
        300,
        0,
        examples=examples,
        loop=flat,
        seeds=flat,
        all_real=other,
        real=other,
        synthetic=flat,
        synthetic_examples=held_out,
        synthetic_on_synthetic=right_or_not(held_out, [right] * n),
    )
    json.dumps(asdict(ours), allow_nan=False)
    if n == 60:
        assert ours.transfer.value == 0.0
        assert ours.transfer.low < 0 < ours.transfer.high or ours.transfer.high - ours.transfer.low > 0.05
        assert ours.recovered.value == (None if right else 0.0)
        assert ours.source.value == (-1.0 if right else 1.0)


def test_an_unanswered_held_out_set_is_scored_not_skipped() -> None:
    examples, held_out = items(["HUM"] * 40), items(["HUM"] * 40, prefix="syn")
    ours = transfer_gap(
        "accuracy",
        held_out,
        answers(held_out, [None] * 40),
        examples,
        right_or_not(examples, [True] * 40),
        resamples=300,
        seed=0,
    )
    assert ours.value == -1.0
    assert ours.low == -1.0 < ours.high < -0.8


def test_a_resample_without_a_gap_lies_at_the_end_where_the_gain_points() -> None:
    loop_seeds_all_real = np.array([[0.8, 0.7, 0.9], [0.8, 0.7, 0.7], [0.6, 0.7, 0.6], [0.7, 0.7, 0.6]])
    expected = pytest.approx([0.5, math.inf, -math.inf, math.nan], nan_ok=True)
    assert _share_of_gap(loop_seeds_all_real).tolist() == expected


def test_recovered_covers_the_truth() -> None:
    rng = np.random.default_rng(51)
    runs, hits = 250, 0
    for run in range(runs):
        examples, arms = simulated(rng, 400, [0.80, 0.73, 0.92])
        ours = gap_recovered("accuracy", examples, *arms, resamples=300, seed=run)
        hits += ours.low <= 7 / 19 <= ours.high
    assert hits >= binom.ppf(0.001, runs, 0.95)


def three_runs(seed: int, accuracies: tuple[float, float, float]) -> list[ScoredRun]:
    rng = np.random.default_rng(seed)
    runs: list[ScoredRun] = []
    for number in range(3):
        examples, arms = simulated(rng, 500, accuracies, prefix=f"run{number}-")
        runs.append(ScoredRun(examples, dict(zip(("mixed", "seeds", "all_real"), arms, strict=True))))
    return runs


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_pooled_recovered_is_a_ratio_of_means(metric: str) -> None:
    runs = three_runs(0, (0.80, 0.73, 0.92))
    pooled = pooled_recovered(runs, metric, 1000, 0)
    one = [gap_recovered(metric, run.examples, *run.predictions.values(), resamples=300, seed=0) for run in runs]
    assert pooled.per_run == pytest.approx([single.value for single in one])
    assert min(pooled.per_run) < pooled.items.value < max(pooled.per_run)
    assert pooled.items.low < 7 / 19 < pooled.items.high
    assert pooled.items.high - pooled.items.low < min(single.high - single.low for single in one)
    assert pooled.total.low < pooled.items.low < pooled.items.high < pooled.total.high
    assert pooled.seed_sd == pytest.approx(np.std(pooled.per_run, ddof=1), rel=0.4)
    if metric == "accuracy":
        right = [
            [np.mean([p.label == e.label for e, p in zip(r.examples, r.arm(a), strict=True)]) for a in r.predictions]
            for r in runs
        ]
        loop, seeds, all_real = np.mean(right, axis=0)
        assert pooled.items.value == pytest.approx((loop - seeds) / (all_real - seeds))


def test_pooled_recovered_says_why_not() -> None:
    assert pooled_recovered([], "accuracy", 300, 0).items.note == "insufficient: no runs"
    runs = three_runs(1, (0.80, 0.80, 0.80))
    flat = pooled_recovered(runs, "accuracy", 300, 0)
    assert flat.items.value is flat.total.value is flat.seed_sd is None
    assert len(flat.per_run) == 3
    assert all(one is None or math.isfinite(one) for one in flat.per_run)
    assert flat.items.note.startswith("insufficient: on these 1500 items")
    without = [ScoredRun(run.examples, {"mixed": run.arm("mixed"), "seeds": run.arm("seeds")}) for run in runs]
    assert pooled_recovered(without, "accuracy", 300, 0).items.note.startswith("no arm 'all_real': ")
