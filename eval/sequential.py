"""A figure watched from one generation to the next: prediction limits, their false-alarm rate over a run, and the two
classical companions, CUSUM and Mann-Kendall. Nothing here knows what the figure is.

The alarm rule is two values in succession beyond a one-sided t prediction limit. How often a run without any change
sets it off is computed, not simulated: given what the baseline happened to show, values are independent, so the chance
of two in succession follows from the chance of one, and the baseline's mean and spread are integrated out. It
supposes independent, normal values; `tests/unit/test_collapse_rates.py` checks it on sequences that are neither
by construction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from eval.outcomes import FloatArray

NODES = 200
"""Quantiles of the baseline's mean, and of its spread, that the rate is averaged over."""
TINY = 1e-9
MIN_POINTS = 5
"""Below so many points not even a perfect trend has p < .02."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a figure warns and alarms. `level`: one-sided p at which one value warns and two in succession alarm.
    `run_rate`: the share of unchanged runs that may alarm by the computation here; where `level` would exceed it over
    `planned` generations (or as many as there are) a stricter level is used. It lies below .05 because real
    statistics are not quite normal. A run of more generations should say so from the start, so that its level does not
    tighten on the way. `cusum_k`, `cusum_h`: allowance and limit in standard deviations."""

    level: float = 0.025
    run_rate: float = 0.03
    planned: int = 8
    cusum_k: float = 0.5
    cusum_h: float = 7.0

    def __post_init__(self) -> None:
        for name, value in (("level", self.level), ("run_rate", self.run_rate)):
            if not 0 < value < 0.5:
                raise ValueError(f"Rule: {name} {value!r} must lie between 0 and .5")
        if self.planned < 1 or self.cusum_k < 0 or self.cusum_h <= 0:
            raise ValueError(f"Rule: planned >= 1, cusum_k >= 0 and cusum_h > 0 are needed, not {self!r}")


def varies(baseline: Sequence[float]) -> bool:
    """Whether there is a spread to compare with: copies of one batch differ by rounding alone."""
    return len(baseline) > 1 and float(np.std(baseline)) > TINY * max(1.0, abs(float(np.mean(baseline))))


def prediction_error(parts: int, baseline: Sequence[float]) -> float:
    """sd·√(1/parts + 1/M): the standard error of a mean of `parts` batches less that of the M in `baseline`."""
    return float(np.std(baseline, ddof=1)) * math.sqrt(1 / parts + 1 / len(baseline))


def upper_p(t: float, df: float) -> float:
    """P(T ≥ t) of Student's t; of the normal distribution where df is infinite."""
    from scipy.special import ndtr, stdtr

    return float(ndtr(-t) if math.isinf(df) else stdtr(df, -t))


def upper_limit(level: float, df: float) -> float:
    """The t with `upper_p(t, df) == level`."""
    from scipy.special import ndtri, stdtrit

    return float(-ndtri(level) if math.isinf(df) else stdtrit(df, 1 - level))


def run_rate(level: float, batches: int, parts: Sequence[int], df: float) -> float:
    """Chance that one unchanged figure alarms at least once over a run.

    `batches` is M of the baseline, `parts` how many batches the value of each generation is a mean of, `df` M − 1 where
    the spread comes from the M batches and infinite where it is known: `run_rate(.025, 8, [1] * 8, 7)` is .014. Two
    figures alarm at most twice as often. Raises ValueError for no batches or df below 1.
    """
    if batches < 1 or df < 1:
        raise ValueError(
            f"run_rate: {batches!r} baseline batches, {df!r} degrees of freedom; at least 1 of each is needed"
        )
    from scipy.special import chdtri, ndtr, ndtri

    quantiles = (np.arange(NODES) + 0.5) / NODES
    mean = ndtri(quantiles)[:, None] / math.sqrt(batches)
    sd = np.ones((1, 1)) if math.isinf(df) else np.sqrt(chdtri(df, 1 - quantiles)[None, :] / df)
    limit = upper_limit(level, df) * sd
    quiet: FloatArray = np.ones(np.broadcast_shapes(mean.shape, sd.shape))
    beyond: FloatArray = np.zeros_like(quiet)
    for part in parts:
        one = ndtr(-(mean + limit * math.sqrt(1 / part + 1 / batches)) * math.sqrt(part))
        quiet, beyond = (quiet + beyond) * (1 - one), quiet * one
    return float(1 - (quiet + beyond).mean())


@cache
def run_level(rule: Rule, batches: int, parts: tuple[int, ...], df: float, figures: int) -> tuple[float, float]:
    """(level, bound on the run's false-alarm rate): the rule's level, or the highest one that keeps its run rate.

    The bound adds up over `figures`. Generations that are planned and not there yet count like the last one.
    """
    horizon = parts + parts[-1:] * (rule.planned - len(parts))

    def bound(level: float) -> float:
        return figures * run_rate(level, batches, horizon, df)

    if bound(rule.level) <= rule.run_rate:
        return rule.level, bound(rule.level)
    low, high = 0.0, rule.level
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if bound(middle) <= rule.run_rate else (low, middle)
    return low, bound(low)


def cusum(t_values: Sequence[float], k: float) -> tuple[float, ...]:
    """Upper CUSUM (Page 1954): S ← max(0, S + t − k), one value per t.

    >>> cusum([1.5, 0.0, 2.0], 0.5)
    (1.0, 0.5, 2.0)
    """
    total, sums = 0.0, list[float]()
    for t in t_values:
        total = max(0.0, total + t - k)
        sums.append(total)
    return tuple(sums)


def rising_trend(values: Sequence[float]) -> float | None:
    """One-sided p of Mann & Kendall's test for a rising trend; None for fewer than 5 values.

    Exact unless values are tied: `[1, 2, 3, 4, 5]` has 1/120. Of values that are all the same it is 1.
    """
    if len(values) < MIN_POINTS:
        return None
    if len(set(values)) == 1:
        return 1.0
    from scipy.stats import kendalltau

    tied = len(set(values)) < len(values)
    found: Any = kendalltau(range(len(values)), values, alternative="greater", method="asymptotic" if tied else "exact")
    return float(found.pvalue)


def second_in_succession(flags: Sequence[bool]) -> int | None:
    """Position of the second of the first two flags in a row.

    >>> second_in_succession([False, True, False, True, True])
    4
    """
    return next((place for place in range(1, len(flags)) if flags[place - 1] and flags[place]), None)
