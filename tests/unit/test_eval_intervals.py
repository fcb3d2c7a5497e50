"""Intervals and tests against scipy and statsmodels, and against simulations with a known truth."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
import scipy.stats
from eval_items import simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from eval.intervals import (
    LEVEL,
    benjamini_hochberg,
    bootstrap,
    detectable_by_interval,
    holm,
    independent_shares,
    mcnemar_exact,
    minimum_detectable_difference,
    non_inferior,
    paired_bootstrap,
    paired_permutation,
    paired_shares,
    wilson,
    with_seed_noise,
)
from eval.outcomes import item_counts
from harness.records import Estimate


def at_least(runs: int, rate: float = LEVEL) -> int:
    """Successes that a process with this rate falls short of once in a thousand times."""
    return int(scipy.stats.binom.ppf(0.001, runs, rate))


def at_most(runs: int, rate: float) -> int:
    return int(scipy.stats.binom.ppf(0.999, runs, rate))


def mean(sums: np.ndarray) -> np.ndarray:
    """Rows are (1, x)."""
    return sums[..., 1] / sums[..., 0]


def with_ones(values: np.ndarray) -> np.ndarray:
    return np.stack([np.ones(len(values)), values], axis=1)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=100, deadline=None)
def test_wilson_is_that_of_statsmodels(counts: tuple[int, int]) -> None:
    ours = wilson(*counts)
    assert (ours.low, ours.high) == pytest.approx(proportion_confint(*counts, method="wilson"), abs=1e-12)
    assert ours.low <= ours.value <= ours.high
    assert ours.n == counts[1]


def test_wilson_without_items_is_insufficient() -> None:
    assert wilson(0, 0) == Estimate(None, None, None, 0, "none", "insufficient: no items")


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="allowed is 0 <= successes <= n"):
        wilson(successes, n)


@pytest.mark.parametrize("counts", [(30, 100, 20, 90), (0, 10, 10, 10), (5, 5, 3, 8)])
def test_independent_shares_is_newcombe_of_statsmodels(counts: tuple[int, int, int, int]) -> None:
    ours = independent_shares(*counts)
    theirs = confint_proportions_2indep(*counts, compare="diff", method="newcomb")
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-9)


def test_independent_shares_without_items_is_insufficient() -> None:
    assert independent_shares(0, 0, 3, 4).note == "insufficient: no items"


def test_paired_shares_is_wald_with_half_an_item_in_each_cell() -> None:
    only_a, only_b, n = 12, 5, 100
    b, c, total = only_a + 0.5, only_b + 0.5, n + 2
    centre = (b - c) / total
    half = scipy.stats.norm.ppf(0.975) * math.sqrt((b + c) / total - centre**2) / math.sqrt(total)
    ours = paired_shares(only_a, only_b, n)
    assert (ours.value, ours.low, ours.high) == pytest.approx((0.07, centre - half, centre + half))


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
@settings(max_examples=100, deadline=None)
def test_paired_shares_is_antisymmetric_and_never_a_point(counts: tuple[int, int, int]) -> None:
    only_a, only_b, n = counts
    only_b = min(only_b, n - only_a)
    ours, swapped = paired_shares(only_a, only_b, n), paired_shares(only_b, only_a, n)
    assert -1 <= ours.low <= ours.value <= ours.high <= 1
    assert ours.high > ours.low
    assert (ours.low, ours.value, ours.high) == pytest.approx((-swapped.high, -swapped.value, -swapped.low))


def test_paired_shares_bad_counts() -> None:
    assert paired_shares(0, 0, 0).value is None
    with pytest.raises(ValueError, match="3 \\+ 2 discordant items of 4"):
        paired_shares(3, 2, 4)


@pytest.mark.parametrize(
    ("n", "only_a", "only_b"), [(1000, 0.002, 0.002), (500, 0.03, 0.01), (200, 0.1, 0.05), (30, 0.2, 0.1)]
)
def test_paired_shares_cover_the_true_difference(n: int, only_a: float, only_b: float) -> None:
    rng = np.random.default_rng(11)
    draws = rng.multinomial(n, [only_a, only_b, 1 - only_a - only_b], size=2000)
    ends = [paired_shares(int(a), int(b), n) for a, b, _ in draws]
    assert sum(one.low <= only_a - only_b <= one.high for one in ends) >= at_least(2000, 0.94)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_that_of_statsmodels(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs).T
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    theirs = mcnemar(table, exact=True).pvalue if (a != b).any() else 1.0
    assert mcnemar_exact(a, b) == pytest.approx(min(1.0, theirs))
    assert mcnemar_exact(b, a) == pytest.approx(mcnemar_exact(a, b))


def test_mcnemar_needs_the_same_items() -> None:
    assert mcnemar_exact(np.array([], dtype=bool), np.array([], dtype=bool)) == 1.0
    with pytest.raises(ValueError, match="must have answered the same items"):
        mcnemar_exact(np.array([True]), np.array([True, False]))


def apart(sums: np.ndarray) -> np.ndarray:
    """Rows are (1, a, b)."""
    return (sums[..., 1] - sums[..., 2]) / sums[..., 0]


def permuted(a: np.ndarray, b: np.ndarray, draws: int, seed: int = 0) -> float:
    ones = np.ones(len(a))
    return paired_permutation(apart, np.stack([ones, a, b], 1), np.stack([ones, b, a], 1), draws=draws, seed=seed)


def test_the_paired_permutation_test_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.05, 0.1):
        a, b = rng.random(10) + shift, rng.random(10)
        theirs = scipy.stats.permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples")
        assert permuted(a, b, 40_000) == pytest.approx(theirs.pvalue, abs=0.01)


def test_the_paired_permutation_test_of_rights_is_mcnemars() -> None:
    a, b = np.array([True] * 15 + [False] * 5 + [True] * 80), np.array([False] * 15 + [True] * 5 + [True] * 80)
    assert permuted(a.astype(float), b.astype(float), 40_000) == pytest.approx(mcnemar_exact(a, b), abs=0.004)


def test_a_permutation_p_is_never_0_and_1_where_nothing_can_change() -> None:
    a = np.ones(40)
    assert permuted(a, 0 * a, 500) == 1 / 501
    assert permuted(a, a, 500) == permuted(a[:0], a[:0], 500) == 1.0
    # Every draw is as far from 0 as what was observed, give or take rounding.
    assert permuted(np.array([0.1]), np.array([0.7]), 500) == 1.0


def test_what_an_interval_could_have_detected() -> None:
    half = 1.96 * 0.02
    assert detectable_by_interval(Estimate(0.1, 0.1 - half, 0.1 + half, 300, "x")) == pytest.approx(0.056, abs=1e-5)
    assert detectable_by_interval(Estimate(0.0, -0.9, 0.9, 10, "x")) == 1.0
    assert detectable_by_interval(Estimate(0.1, None, None, 9, "none")) is None


@pytest.mark.parametrize(("n", "points"), [(200, 0.063), (500, 0.040), (1000, 0.028)])
def test_minimum_detectable_difference_at_ten_percent_discordant(n: int, points: float) -> None:
    assert minimum_detectable_difference(0.10, n) == pytest.approx(points, abs=5e-4)


def test_minimum_detectable_difference_has_80_percent_power() -> None:
    n, discordant = 1000, 0.2
    difference = minimum_detectable_difference(discordant, n)
    only_a = (discordant + difference) / 2
    draws = np.random.default_rng(5).multinomial(n, [only_a, discordant - only_a, 1 - discordant], size=3000)
    shown = np.mean([paired_shares(int(a), int(b), n).low > 0 for a, b, _ in draws])
    assert shown == pytest.approx(0.80, abs=0.03)


def test_minimum_detectable_difference_at_the_edges() -> None:
    assert minimum_detectable_difference(0.0, 0) == 1.0
    assert minimum_detectable_difference(0.0, 100) == pytest.approx(0.028)
    assert minimum_detectable_difference(1.0, 2) == 1.0
    with pytest.raises(ValueError, match=r"1\.2 is outside 0 to 1"):
        minimum_detectable_difference(1.2, 10)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=15, deadline=None)
def test_adjusted_p_values(p_values: list[float]) -> None:
    q, strict = benjamini_hochberg(p_values), holm(p_values)
    assert q == pytest.approx(multipletests(p_values, method="fdr_bh")[1])
    assert strict == pytest.approx(multipletests(p_values, method="holm")[1])
    assert all(p - 1e-12 <= fdr <= family + 1e-12 for p, fdr, family in zip(p_values, q, strict, strict=True))


def test_adjusted_p_values_keep_their_order() -> None:
    assert benjamini_hochberg([0.04, 0.01]) == pytest.approx((0.04, 0.02))
    assert holm([0.03, 0.01, 0.5]) == pytest.approx((0.06, 0.03, 0.5))


def test_no_p_values_and_bad_ones() -> None:
    assert benjamini_hochberg([]) == holm([]) == ()
    for adjust in (benjamini_hochberg, holm):
        with pytest.raises(ValueError, match="p-value nan is outside 0 to 1"):
            adjust([0.1, math.nan])


def test_non_inferiority_is_about_the_lower_end() -> None:
    assert non_inferior(Estimate(0.0, -0.01, 0.01, 900, "x"), margin=0.02) is True
    assert non_inferior(Estimate(0.0, -0.05, 0.05, 90, "x"), margin=0.02) is False
    assert non_inferior(Estimate(0.0, None, None, 9, "none"), margin=0.02) is None
    with pytest.raises(ValueError, match="must be above 0"):
        non_inferior(Estimate(0.0, -0.01, 0.01, 900, "x"), margin=0.0)


@pytest.mark.parametrize("size", [25, 200])
def test_bca_of_a_skewed_mean_is_that_of_scipy(size: int) -> None:
    values = np.random.default_rng(3).lognormal(size=size).round(1)
    ours = paired_bootstrap(mean, with_ones(values), resamples=20_000, seed=1)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=2).confidence_interval
    plain = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    width = theirs.high - theirs.low
    assert ours.method == "BCa bootstrap"
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.03 * width)
    assert abs(plain.confidence_interval.high - theirs.high) > 0.03 * width, (
        "the problem cannot tell BCa from percentile"
    )


def test_bca_of_two_samples_is_that_of_scipy() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.lognormal(size=40), rng.normal(size=90)

    def difference(sums: np.ndarray) -> np.ndarray:
        return mean(sums[..., :2]) - mean(sums[..., 2:])

    ours = bootstrap(difference, [with_ones(x), with_ones(y)], resamples=20_000, seed=1)
    theirs = scipy.stats.bootstrap(
        (x, y), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), n_resamples=20_000, method="BCa", rng=2
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.03 * (theirs.high - theirs.low))
    assert ours.n == 40


def test_paired_bca_of_macro_f1_is_that_of_scipy() -> None:
    examples, arms = simulated(np.random.default_rng(8), 150, [0.85, 0.7])
    counts = item_counts("macro_f1", examples, arms)

    def difference(sums: np.ndarray) -> np.ndarray:
        scores = counts.scores(sums)
        return scores[..., 0] - scores[..., 1]

    ours = paired_bootstrap(difference, counts.rows, resamples=10_000, seed=1)
    theirs = scipy.stats.bootstrap(
        (np.arange(len(examples)),),
        lambda drawn: difference(counts.rows[drawn].sum(axis=0)),
        n_resamples=3000,
        method="BCa",
        vectorized=False,
        rng=2,
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.06 * (theirs.high - theirs.low))


def test_same_seed_same_interval_and_row_order_does_not_matter() -> None:
    rows = with_ones(np.random.default_rng(0).integers(0, 5, size=300).astype(float))
    first = paired_bootstrap(mean, rows, resamples=500, seed=9)
    assert paired_bootstrap(mean, rows[::-1], resamples=500, seed=9) == first
    assert paired_bootstrap(mean, rows, resamples=500, seed=10) != first


def test_drawing_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = with_ones(np.random.default_rng(0).normal(size=50))
    whole = paired_bootstrap(mean, rows, resamples=500, seed=9)
    monkeypatch.setattr("eval.intervals.CHUNK", 700)
    in_chunks = paired_bootstrap(mean, rows, resamples=500, seed=9)
    assert [in_chunks.low, in_chunks.high] == pytest.approx([whole.low, whole.high])


def test_bootstrap_covers_macro_f1() -> None:
    rng = np.random.default_rng(21)
    hits, runs, accuracy = 0, 250, 0.8
    shares = np.array([0.02, 0.2, 0.23, 0.22, 0.16, 0.17])
    spread = (1 - accuracy) / 5 * (1 - shares)
    truth = np.mean(2 * shares * accuracy / (shares + shares * accuracy + spread))
    for run in range(runs):
        examples, arms = simulated(rng, 300, [accuracy])
        counts = item_counts("macro_f1", examples, arms)
        ours = paired_bootstrap(lambda sums, c=counts: c.scores(sums)[..., 0], counts.rows, resamples=400, seed=run)
        hits += ours.low <= truth <= ours.high
    assert hits >= at_least(runs)


def test_bootstrap_is_not_needlessly_wide() -> None:
    rng = np.random.default_rng(22)
    misses = 0
    for run in range(400):
        ours = paired_bootstrap(mean, with_ones(rng.normal(size=60)), resamples=400, seed=run)
        misses += not ours.low <= 0 <= ours.high
    assert 400 - at_least(400) >= misses >= scipy.stats.binom.ppf(0.001, 400, 0.05)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_data_take_the_stand_in(value: float) -> None:
    rows = with_ones(np.full(50, value))
    alone = paired_bootstrap(mean, rows, resamples=300, seed=0)
    assert astuple(alone)[:3] == (value, None, None)
    assert alone.note == "insufficient: every resample gives the same value"
    helped = paired_bootstrap(mean, rows, resamples=300, seed=0, stand_in=wilson(int(50 * value), 50))
    assert (helped.low, helped.high) == proportion_bounds(int(50 * value), 50)
    assert helped.method == "Wilson"
    assert helped.note == "every resample gives the same value; the interval is from Wilson"


def proportion_bounds(successes: int, n: int) -> tuple[float, float]:
    return pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)


def test_nine_items_have_a_value_and_no_interval() -> None:
    ours = paired_bootstrap(mean, with_ones(np.arange(9.0)), resamples=300, seed=0)
    assert ours == Estimate(4.0, None, None, 9, "none", "insufficient: 9 items; an interval needs at least 10")
    assert paired_bootstrap(mean, with_ones(np.arange(10.0)), resamples=300, seed=0).low is not None


def test_no_items_and_undefined_figures_are_insufficient() -> None:
    assert paired_bootstrap(mean, with_ones(np.array([])), resamples=300, seed=0).note == "insufficient: no items"
    assert bootstrap(mean, [], resamples=300, seed=0).value is None
    undefined = paired_bootstrap(lambda sums: sums[..., 1] * np.nan, with_ones(np.arange(20.0)), resamples=300, seed=0)
    assert undefined.value is None
    assert undefined.note == "insufficient: the figure is not defined on these items"


def test_undefined_resamples_are_counted() -> None:
    """1 / (number of rare items): undefined where a resample misses them all."""

    def inverse(sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)

    few = paired_bootstrap(inverse, with_ones(np.repeat([1.0, 0.0], [1, 99])), resamples=500, seed=0)
    assert (few.value, few.low) == (100.0, None)
    assert "resamples" in few.note
    some = paired_bootstrap(inverse, with_ones(np.repeat([1.0, 0.0], [4, 96])), resamples=500, seed=0)
    assert some.low < 25 < some.high
    assert some.method == "percentile bootstrap" or "left out" in some.note


def test_an_endless_interval_is_insufficient() -> None:
    def ratio(sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.inf)

    ours = paired_bootstrap(ratio, with_ones(np.repeat([1.0, -1.0], [30, 28])), resamples=500, seed=0)
    assert (ours.low, ours.high) == (None, None)
    assert ours.note == "insufficient: the interval has no end on one side"


def test_uncorrected_is_the_percentile_interval() -> None:
    values = np.random.default_rng(3).lognormal(size=60)
    ours = paired_bootstrap(mean, with_ones(values), resamples=20_000, seed=1, corrected=False)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    assert ours.method == "percentile bootstrap"
    width = ours.high - ours.low
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.02 * width)


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="99 resamples"):
        paired_bootstrap(mean, with_ones(np.arange(20.0)), resamples=99, seed=0)


@given(st.lists(st.integers(0, 1), min_size=0, max_size=40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_its_value_or_says_insufficient(values: list[int], seed: int) -> None:
    ours = paired_bootstrap(mean, with_ones(np.array(values, dtype=float)), resamples=100, seed=seed)
    if ours.low is None or ours.high is None:
        assert ours.low is ours.high is None
        assert ours.note.startswith("insufficient: ")
    else:
        assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_seed_noise_widens_by_student_t() -> None:
    items = Estimate(0.10, 0.08, 0.13, 1000, "BCa bootstrap")
    pooled = with_seed_noise(items, [0.08, 0.10, 0.12], [0.08, 0.10, 0.12])
    half = scipy.stats.t.ppf(0.975, 2) * 0.02 / math.sqrt(3)
    assert pooled.items is items
    assert pooled.seed_sd == pytest.approx(0.02)
    assert pooled.total.low == pytest.approx(0.10 - math.hypot(0.02, half))
    assert pooled.total.high == pytest.approx(0.10 + math.hypot(0.03, half))


def test_one_run_says_nothing_about_seed_noise() -> None:
    pooled = with_seed_noise(Estimate(0.1, 0.0, 0.2, 50, "x"), [0.1], [0.1])
    assert pooled.seed_sd is None
    assert astuple(pooled.total)[:3] == (0.1, None, None)
    assert pooled.total.note == "insufficient: seed noise needs at least 2 runs"


def test_total_interval_covers_when_seeds_vary_and_items_alone_does_not() -> None:
    """Value = truth + noise of the items (shared) + mean of three seeds' noise."""
    rng = np.random.default_rng(6)
    runs, covered, items_only = 2000, 0, 0
    for _ in range(runs):
        per_run = rng.normal(0, 0.02, size=3) + rng.normal(0, 0.01)
        value = float(per_run.mean())
        pooled = with_seed_noise(Estimate(value, value - 0.0196, value + 0.0196, 500, "x"), per_run, per_run)
        covered += pooled.total.low <= 0 <= pooled.total.high
        items_only += pooled.items.low <= 0 <= pooled.items.high
    assert covered >= at_least(runs)
    assert items_only < at_least(runs)


def test_nothing_here_needs_a_model_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, eval.gap, eval.joint, eval.leak, eval.score, eval.shift, eval.slices, eval.worth\n"
        "heavy = {'torch', 'openai', 'peft', 'mlflow', 'scipy', 'statsmodels', 'sklearn', 'pandas'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
