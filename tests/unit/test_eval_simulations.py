"""Nominal rates, checked where the truth is known: coverage of intervals, and how often equal arms are told apart.

How the bounds are chosen: a simulation of `runs` repeats of an event with probability p counts Binomial(runs, p), so
`at_least(runs, p)` and `at_most(runs, p)` are the .001 and .999 quantiles of that. A method that keeps its nominal rate
falls outside once in a thousand seeds, and the seeds are fixed. Where a rate itself is promised (false better ≤ .05)
that is asserted as it stands, over so many runs that a method at its nominal .025 breaks it in 1 or 2 of 1,000 seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from eval_items import LABELS, SHARES, items, right_or_not, simulated
from scipy.stats import binom, norm

from eval.gap import gap_recovered, pooled_recovered, transfer_gap
from eval.intervals import benjamini_hochberg, holm, independent_shares, non_inferior, paired_shares, wilson
from eval.leak import dev_test_difference
from eval.outcomes import METRICS, Metric, ScoredRun
from eval.score import compare, paired_difference, pooled_paired_difference
from eval.slices import slice_changes
from harness.records import Estimate


def at_least(runs: int, rate: float = 0.95) -> int:
    return int(binom.ppf(0.001, runs, rate))


def at_most(runs: int, rate: float) -> int:
    return int(binom.ppf(0.999, runs, rate))


def covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def true_score(metric: Metric, accuracy: float) -> float:
    """Of an arm of `eval_items.simulated` on endless items; its errors fall on the other labels alike."""
    if metric == "accuracy":
        return accuracy
    shares = np.array(SHARES) / sum(SHARES)
    answered = shares * accuracy + (1 - accuracy) / (len(shares) - 1) * (1 - shares)
    return float(np.mean(2 * shares * accuracy / (shares + answered)))


@pytest.mark.parametrize(("n", "worst"), [(20, 0.88), (50, 0.91), (200, 0.93), (500, 0.935)])
def test_wilson_covers_every_share(n: int, worst: float) -> None:
    """Exact, not simulated: the coverage at a share is a sum over all possible counts. It wavers around .95."""
    shares = np.linspace(0.05, 0.95, 181)
    ends = [wilson(count, n) for count in range(n + 1)]
    inside = np.array([[covers(one, share) for one in ends] for share in shares])
    coverage = (inside * binom.pmf(np.arange(n + 1)[None, :], n, shares[:, None])).sum(axis=1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.01)
    assert coverage.min() >= worst


@pytest.mark.parametrize(("a", "n_a", "b", "n_b"), [(0.8, 200, 0.7, 500), (0.9, 60, 0.5, 1000), (0.98, 100, 0.98, 100)])
def test_newcombe_covers_the_difference_of_two_sets(a: float, n_a: int, b: float, n_b: int) -> None:
    rng, runs = np.random.default_rng(1), 1000
    draws = zip(rng.binomial(n_a, a, size=runs), rng.binomial(n_b, b, size=runs), strict=True)
    hits = sum(covers(independent_shares(int(one), n_a, int(other), n_b), a - b) for one, other in draws)
    assert hits >= at_least(runs)


@pytest.mark.parametrize(("metric", "n"), [("accuracy", 150), ("macro_f1", 150), ("macro_f1", 600)])
def test_paired_differences_cover_the_truth(metric: Metric, n: int) -> None:
    """At 150 items one label has about three of them, at 600 about twelve: percentile and BCa both occur."""
    rng, runs, hits, methods = np.random.default_rng(2), 150, 0, set()
    truth = true_score(metric, 0.85) - true_score(metric, 0.75)
    for run in range(runs):
        examples, (a, b) = simulated(rng, n, [0.85, 0.75])
        ours = paired_difference(metric, examples, a, b, 300, run)
        hits += covers(ours, truth)
        methods.add(ours.method)
    assert hits >= at_least(runs)
    assert metric == "accuracy" or n == 150 or "BCa bootstrap" in methods


@pytest.mark.parametrize("metric", METRICS)
def test_transfer_gaps_and_dev_test_differences_cover_the_truth(metric: Metric) -> None:
    rng, runs, hits = np.random.default_rng(3), 150, np.zeros(2)
    truth = true_score(metric, 0.9) - true_score(metric, 0.75)
    for run in range(runs):
        made, (on_made,) = simulated(rng, 200, [0.9], prefix="s")
        real, (on_real,) = simulated(rng, 300, [0.75])
        transfer = transfer_gap(metric, made, on_made, real, on_real, resamples=300, seed=run)
        apart = dev_test_difference(metric, made, on_made, real, on_real, resamples=300, seed=run)
        hits += [covers(transfer, truth), covers(apart, truth)]
    assert hits.min() >= at_least(runs)


@pytest.mark.parametrize("metric", METRICS)
def test_gap_recovered_covers_the_truth(metric: Metric) -> None:
    rng, runs, hits = np.random.default_rng(4), 150, 0
    loop, seeds, all_real = (true_score(metric, accuracy) for accuracy in (0.80, 0.70, 0.92))
    for run in range(runs):
        examples, arms = simulated(rng, 300, [0.80, 0.70, 0.92])
        ours = gap_recovered(metric, examples, *arms, resamples=300, seed=run)
        hits += covers(ours, (loop - seeds) / (all_real - seeds))
    assert hits >= at_least(runs)


def runs_of(rng: np.random.Generator, n: int, arms: dict[str, float], seed_sd: float) -> list[ScoredRun]:
    """Three training seeds on one test split; a seed moves an arm's true accuracy by `seed_sd`."""
    accuracies = [accuracy + seed_sd * rng.normal() for accuracy in arms.values() for _ in range(3)]
    examples, answers = simulated(rng, n, accuracies)
    return [
        ScoredRun(examples, {arm: answers[3 * place + number] for place, arm in enumerate(arms)}) for number in range(3)
    ]


@pytest.mark.parametrize("metric", METRICS)
def test_pooled_differences_cover_when_seeds_vary_and_items_alone_do_not(metric: Metric) -> None:
    rng, runs, total, items_only = np.random.default_rng(5), 100, 0, 0
    truth = true_score(metric, 0.8) - true_score(metric, 0.75)
    for run in range(runs):
        pooled = pooled_paired_difference(runs_of(rng, 150, {"a": 0.8, "b": 0.75}, 0.05), "a", "b", metric, 200, run)
        total += covers(pooled.total, truth)
        items_only += covers(pooled.items, truth)
    assert total >= at_least(runs)
    assert items_only < at_least(runs)


def test_pooled_gap_recovered_covers_when_seeds_vary() -> None:
    rng, runs, hits = np.random.default_rng(6), 100, 0
    for run in range(runs):
        scored = runs_of(rng, 200, {"mixed": 0.80, "seeds": 0.70, "all_real": 0.90}, 0.01)
        hits += covers(pooled_recovered(scored, "accuracy", 200, run).total, 0.5)
    assert hits >= at_least(runs)


@pytest.mark.parametrize("metric", METRICS)
def test_an_equal_arm_is_called_better_in_at_most_one_of_twenty(metric: Metric) -> None:
    rng, runs, better, small_p = np.random.default_rng(7), 400, 0, 0
    for run in range(runs):
        examples, (a, b) = simulated(rng, 120, [0.8, 0.8])
        ours = compare("a", "b", examples, a, b, metric, 100, run)
        better += ours.difference.low > 0
        small_p += ours.p_value <= 0.05
    assert better / runs <= 0.05
    assert small_p <= at_most(runs, 0.05)


@pytest.mark.parametrize("seed_sd", [0.0, 0.03])
def test_an_equal_arm_over_three_seeds_is_called_better_in_at_most_one_of_twenty(seed_sd: float) -> None:
    """Judged as reports judge it: by the total interval where seeds vary, which also holds where they do not."""
    rng, runs, better = np.random.default_rng(8), 400, 0
    for run in range(runs):
        scored = runs_of(rng, 100, {"a": 0.8, "b": 0.8}, seed_sd)
        better += pooled_paired_difference(scored, "a", "b", "accuracy", 100, run).total.low > 0
    assert better / runs <= 0.05


def p_values(rng: np.random.Generator, effects: Sequence[float], shared: float) -> list[float]:
    """Two-sided p of normal tests that share a part of their noise."""
    z = effects + np.sqrt(1 - shared) * rng.normal(size=len(effects)) + np.sqrt(shared) * rng.normal()
    return [float(one) for one in 2 * norm.sf(np.abs(z))]


@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("real_effects", [0, 5])
def test_holm_keeps_the_family_and_benjamini_hochberg_the_false_share(real_effects: int, shared: float) -> None:
    rng, runs, tests = np.random.default_rng(9), 800, 20
    effects = np.array([4.0] * real_effects + [0.0] * (tests - real_effects))
    family, shares, unadjusted, found = 0, [], 0, 0
    for _ in range(runs):
        p = p_values(rng, effects, shared)
        family += min(holm(p)[real_effects:]) <= 0.05
        unadjusted += min(p[real_effects:]) <= 0.05
        hits = np.array(benjamini_hochberg(p)) <= 0.05
        found += int(hits[:real_effects].sum())
        shares.append(hits[real_effects:].sum() / max(1, hits.sum()))
    assert family <= at_most(runs, 0.05)
    assert np.mean(shares) <= 0.05 + 3.1 * np.std(shares) / np.sqrt(runs)
    assert unadjusted > at_most(runs, 0.15), (
        "the simulation could not have told an uncorrected test from a corrected one"
    )
    assert real_effects == 0 or found > 0.8 * real_effects * runs


def test_equal_models_rarely_show_a_changed_slice_or_pair() -> None:
    """Overlapping columns and their pairs, one correction: under the null any change at all is a false discovery."""
    rng, runs, n, alarms = np.random.default_rng(10), 200, 300, 0
    examples = items(
        [LABELS[number % 6] for number in range(n)],
        [{"a": str(number % 5), "b": str(number // 5 % 3)} for number in range(n)],
    )
    for _ in range(runs):
        hardness = rng.random(n)
        before, after = (
            right_or_not(examples, list(np.where(rng.random(n) < 0.5, hardness, rng.random(n)) < 0.7)) for _ in range(2)
        )
        changes = slice_changes(examples, before, after, pairs=True)
        alarms += any(one.change in ("improved", "regressed") for one in changes)
    assert len(changes) > 14
    assert alarms <= at_most(runs, 0.05)


def test_a_slice_that_lost_the_margin_is_rarely_said_to_have_held() -> None:
    rng, runs, n, margin = np.random.default_rng(11), 2000, 300, 0.05
    draws = rng.multinomial(n, [0.05, 0.05 + margin, 0.9 - margin], size=runs)
    held = sum(bool(non_inferior(paired_shares(int(a), int(b), n), margin)) for a, b, _ in draws)
    assert held <= at_most(runs, 0.025)
    unchanged = rng.multinomial(n, [0.05, 0.05, 0.9], size=runs)
    assert sum(bool(non_inferior(paired_shares(int(a), int(b), n), margin)) for a, b, _ in unchanged) > 0.5 * runs
