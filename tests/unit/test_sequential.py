"""Prediction limits and their false-alarm rate over a run; CUSUM and Mann-Kendall against known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm
from scipy.stats import t as student

from eval.sequential import (
    Rule,
    cusum,
    prediction_error,
    rising_trend,
    run_level,
    run_rate,
    second_in_succession,
    upper_limit,
    upper_p,
    varies,
)


def alarms(rng: np.random.Generator, runs: int, level: float, batches: int, parts: list[int], known: bool) -> int:
    """Runs of normal values without a change in which two in succession lie beyond the limit."""
    count = 0
    df = math.inf if known else batches - 1
    for _ in range(runs):
        baseline = rng.normal(size=batches)
        flags = [
            upper_p((rng.normal() / math.sqrt(part) - baseline.mean()) / error, df) <= level
            for part in parts
            for error in [math.sqrt(1 / part + 1 / batches) if known else prediction_error(part, baseline.tolist())]
        ]
        count += second_in_succession(flags) is not None
    return count


@pytest.mark.parametrize(
    ("batches", "parts", "known"),
    [(8, [1] * 8, False), (4, [1] * 10, False), (8, [8] * 8, False), (8, [1, 4, 1, 4, 4], False), (1, [1] * 8, True)],
)
def test_the_computed_rate_is_the_simulated_one(batches: int, parts: list[int], known: bool) -> None:
    rng, runs = np.random.default_rng(0), 1500
    rate = run_rate(0.1, batches, parts, math.inf if known else batches - 1)
    assert 0.05 < rate < 0.35
    count = alarms(rng, runs, 0.1, batches, parts, known)
    assert binom.ppf(0.001, runs, rate) <= count <= binom.ppf(0.999, runs, rate)


def test_limits_and_p_are_those_of_scipy() -> None:
    assert upper_p(2.1, 7) == pytest.approx(student.sf(2.1, 7))
    assert upper_p(2.1, math.inf) == pytest.approx(norm.sf(2.1))
    for df in (7.0, math.inf):
        assert upper_p(upper_limit(0.025, df), df) == pytest.approx(0.025)
    assert prediction_error(1, [1.0, 2.0, 3.0]) == pytest.approx(math.sqrt(4 / 3))
    assert prediction_error(3, [1.0, 2.0, 3.0]) == pytest.approx(math.sqrt(2 / 3))


def test_a_spread_of_rounding_errors_is_none() -> None:
    assert varies([1.0, 1.001])
    assert not varies([1.0, 1.0 + 1e-12])
    assert not varies([1.0])
    assert not varies([])


def test_the_level_gets_stricter_where_a_run_would_alarm_too_often() -> None:
    rule = Rule()
    usual, bound = run_level(rule, 8, (1,) * 8, 7, 2)
    assert (usual, bound) == (0.025, pytest.approx(0.0277, abs=0.0003))
    for batches, parts, df in ((8, (1,) * 30, 7), (4, (1,) * 8, 3), (1, (1,) * 8, math.inf), (8, (8,) * 8, 7)):
        level, bound = run_level(rule, batches, parts, df, 2)
        assert 0 < level < 0.025
        assert rule.run_rate - 1e-3 < bound <= rule.run_rate
    assert run_level(rule, 8, (1,) * 30, 7, 1)[0] > run_level(rule, 8, (1,) * 30, 7, 2)[0]
    assert run_level(rule, 8, (1,) * 2, 7, 2) == run_level(rule, 8, (1,) * 8, 7, 2)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"level": 0.0}, "level 0.0 must lie between 0 and .5"),
        ({"run_rate": 0.5}, "run_rate 0.5"),
        ({"planned": 0}, "planned >= 1"),
        ({"cusum_h": 0.0}, "cusum_h > 0"),
    ],
)
def test_rules_that_cannot_be(rule: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rule(**rule)
    with pytest.raises(ValueError, match="at least 1 of each"):
        run_rate(0.025, 0, [1], 7)


def test_cusum_and_succession_by_hand() -> None:
    assert cusum([1.0, -3.0, 2.0, 2.0], 0.5) == (0.5, 0.0, 1.5, 3.0)
    assert cusum([], 0.5) == ()
    assert second_in_succession([True, False, True]) is None
    assert second_in_succession([True, True, True]) == 1
    assert second_in_succession([]) is None


def test_trends_have_the_exact_p_of_the_permutations() -> None:
    assert rising_trend([1, 2, 3, 4]) is None
    assert rising_trend([1, 2, 3, 4, 5]) == pytest.approx(1 / 120)
    assert rising_trend([1, 2, 3, 5, 4]) == pytest.approx(5 / 120)
    assert rising_trend([5, 4, 3, 2, 1]) == pytest.approx(1.0)
    assert rising_trend([2, 2, 2, 2, 2]) == 1.0
    tied = rising_trend([1, 2, 2, 3, 4, 5])
    assert tied is not None
    assert 0 < tied < 0.05
