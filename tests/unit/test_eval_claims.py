"""What a pooled difference can claim."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, norm, t

from eval.claims import SMALLEST, holm_where_known, pooled_detectable, pooled_p_value
from eval.intervals import Pooled, insufficient, minimum_detectable_difference, with_seed_noise
from harness.records import Estimate


def pooled(value: float, low: float, high: float, per_run: tuple[float, ...]) -> Pooled:
    return with_seed_noise(Estimate(value, low, high, 300, "BCa bootstrap"), per_run, per_run)


@pytest.mark.parametrize("value", [0.004, 0.03, 0.08, -0.03])
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.04])
@pytest.mark.parametrize("skew", [0.7, 1.0, 1.4])
def test_p_is_small_exactly_where_the_interval_with_seed_noise_leaves_zero_out(
    value: float, spread: float, skew: float
) -> None:
    one = pooled(value, value - 0.02 * skew, value + 0.02 / skew, (value - spread, value, value + spread))
    p = pooled_p_value(one)
    assert p is not None
    assert one.total.low is not None
    assert one.total.high is not None
    assert (p <= 0.05) == (one.total.low > 0 or one.total.high < 0)


def test_without_seed_noise_p_is_the_normal_one_and_without_item_noise_students() -> None:
    flat = pooled(0.03, 0.03 - 1.959963984540054 * 0.02, 0.03 + 1.959963984540054 * 0.02, (0.03, 0.03, 0.03))
    assert pooled_p_value(flat) == pytest.approx(2 * norm.sf(1.5))
    runs = (0.01, 0.03, 0.05)
    exact = pooled(0.03, 0.03, 0.03, runs)
    assert pooled_p_value(exact) == pytest.approx(2 * t.sf(0.03 / (0.02 / math.sqrt(3)), 2))


def test_the_sign_does_not_matter_and_zero_is_no_difference() -> None:
    up, down = pooled(0.03, 0.01, 0.06, (0.02, 0.04)), pooled(-0.03, -0.06, -0.01, (-0.02, -0.04))
    assert pooled_p_value(up) == pytest.approx(pooled_p_value(down))
    assert pooled_p_value(pooled(0.0, -0.01, 0.01, (0.01, -0.01))) == 1.0
    assert pooled_p_value(pooled(0.9, 0.899, 0.901, (0.9, 0.9, 0.9))) == SMALLEST


def test_equal_arms_are_told_apart_in_about_one_of_twenty() -> None:
    """Seeds and items both vary, no difference in truth: normal draws with the errors that `Pooled` is told."""
    rng, trials, found = np.random.default_rng(0), 1000, 0
    for _ in range(trials):
        runs = rng.normal(rng.normal(0, 0.01), 0.02, size=3)
        value = float(runs.mean())
        p = pooled_p_value(pooled(value, value - 1.96 * 0.01, value + 1.96 * 0.01, tuple(runs)))
        assert p is not None
        found += p <= 0.05
    assert found <= binom.ppf(0.999, trials, 0.05)


def test_detectable_is_that_of_a_single_comparison_where_seeds_agree() -> None:
    half = 1.959963984540054 * math.sqrt(0.1 / 500)
    one = pooled(0.02, 0.02 - half, 0.02 + half, (0.02, 0.02, 0.02))
    assert pooled_detectable(one) == pytest.approx(minimum_detectable_difference(0.1, 500), rel=1e-3)


def test_detectable_shrinks_with_more_seeds_and_never_exceeds_one() -> None:
    def at(runs: tuple[float, ...]) -> float:
        found = pooled_detectable(pooled(0.02, 0.01, 0.03, runs))
        assert found is not None
        return found

    assert at((0.0, 0.04)) > at((0.0, 0.04, 0.0, 0.04)) > at((0.0, 0.04) * 6) > at((0.02, 0.02, 0.02))
    assert at((-0.9, 0.94)) == 1.0


def test_what_cannot_be_told_is_none() -> None:
    nothing = insufficient("no runs", 0)
    for one in (
        Pooled(nothing, nothing, (), None),
        pooled(0.02, 0.01, 0.03, (0.02,)),
        replace(pooled(0.02, 0.01, 0.03, (0.01, 0.03)), total=nothing),
    ):
        assert pooled_p_value(one) is None
        assert pooled_detectable(one) is None
    assert pooled_p_value(pooled(0.02, 0.02, 0.02, (0.02, 0.02))) is None


def test_a_claim_that_cannot_be_tested_is_no_gift_to_the_others() -> None:
    assert holm_where_known([0.01, None, 0.04]) == (pytest.approx(0.03), None, pytest.approx(0.08))
    assert holm_where_known([]) == ()
