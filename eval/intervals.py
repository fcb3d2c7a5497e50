"""Intervals and tests, on plain arrays. All intervals are two-sided at 95 %.

Nothing here returns NaN: where a number or an interval cannot be had, the `Estimate` has None in its place
and a note that starts with "insufficient".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eval.outcomes import BoolArray, FloatArray
from harness.records import Estimate

LEVEL = 0.95
Z = 1.959963984540054
MIN_ITEMS = 10
"""Below so many items a bootstrap shows next to nothing of what other items would do."""
CHUNK = 2_000_000
"""Resampling weights held in memory at once (8 bytes each)."""

Statistic = Callable[[FloatArray], FloatArray]
"""Sums over items, shape (…, m) → one number each, shape (…). Works on many resamples at a time."""


def insufficient(why: str, n: int, value: float | None = None) -> Estimate:
    """A number without an interval, or no number at all: `insufficient("no items", 0)`."""
    return Estimate(value, None, None, n, "none", f"insufficient: {why}")


def wilson(successes: int, n: int) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927): `wilson(8, 10)` is .80, .49 to .94.

    Raises ValueError unless 0 ≤ successes ≤ n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"wilson: {successes!r} successes of {n!r} items; allowed is 0 <= successes <= n")
    if n == 0:
        return insufficient("no items", 0)
    low, high = score_bounds(np.array([successes], dtype=np.float64), np.array([n], dtype=np.float64), Z)
    return Estimate(successes / n, float(low[0]), float(high[0]), n, "Wilson")


def score_bounds(successes: FloatArray, n: FloatArray, z: float) -> tuple[FloatArray, FloatArray]:
    """Lower and upper end of Wilson's score interval for many proportions at once, at z standard errors; n ≥ 1."""
    share, spread = successes / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * np.sqrt(share * (1 - share) / n + spread / (4 * n))
    return np.where(successes == 0, 0.0, centre - half), np.where(successes == n, 1.0, centre + half)


def paired_shares(only_a: int, only_b: int, n: int) -> Estimate:
    """Accuracy of a − accuracy of b on the same n items, from the items that only one of them has right.

    The interval of Agresti & Min (2005, Statistics in Medicine 24:729): half an item is added to each cell of
    the 2×2 table. As wide as the BCa bootstrap, but it keeps its coverage where few items are discordant (with
    4 of 1,000: .98 against .91 in our simulation) and never shrinks to a point: `paired_shares(0, 0, 500)` is
    0, −.004 to .004. Raises ValueError for impossible counts.
    """
    if min(only_a, only_b) < 0 or only_a + only_b > n:
        raise ValueError(f"paired_shares: {only_a!r} + {only_b!r} discordant items of {n!r}")
    if n == 0:
        return insufficient("no items", 0)
    net = only_a - only_b
    centre = net / (n + 2)
    half = Z * math.sqrt(only_a + only_b + 1 - net * net / (n + 2)) / (n + 2)
    value = net / n
    return Estimate(value, max(-1.0, min(value, centre - half)), min(1.0, max(value, centre + half)), n, "Agresti-Min")


def independent_shares(successes_a: int, n_a: int, successes_b: int, n_b: int) -> Estimate:
    """Share a − share b of two different sets of items, with Newcombe's score interval (1998, method 10).

    `n` of the result is the smaller of the two. Raises ValueError for impossible counts.
    """
    a, b = wilson(successes_a, n_a), wilson(successes_b, n_b)
    if a.value is None or b.value is None or a.low is None or b.low is None or a.high is None or b.high is None:
        return insufficient("no items", 0)
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, low, high, min(n_a, n_b), "Newcombe")


def mcnemar_exact(a_right: BoolArray, b_right: BoolArray) -> float:
    """Two-sided exact p of McNemar's test (1947): are the items that one arm alone has right split evenly?

    Both arrays have shape (n,), same items in the same order. No such item: 1.0. Raises ValueError when the
    shapes differ.
    """
    a, b = np.asarray(a_right, dtype=np.bool_), np.asarray(b_right, dtype=np.bool_)
    if a.shape != b.shape:
        raise ValueError(f"mcnemar_exact: shapes {a.shape} and {b.shape}; both arms must have answered the same items")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def minimum_detectable_difference(discordant: float, n: int) -> float:
    """The smallest accuracy difference that n paired items show with 80 % power at two-sided .05.

    2.80·√(d/n), d = share of items on which exactly one arm is right: `(.10, 500)` gives .040. Where no
    discordant item was seen, one is assumed; never above 1, and 1 without items. Raises ValueError unless
    0 ≤ d ≤ 1.
    """
    if not 0 <= discordant <= 1:
        raise ValueError(f"minimum_detectable_difference: discordant share {discordant!r} is outside 0 to 1")
    if n <= 0:
        return 1.0
    return min(1.0, 2.80 * math.sqrt(max(discordant, 1 / n) / n))


def detectable_by_interval(difference: Estimate) -> float | None:
    """The smallest difference that such items show with 80 % power at two-sided .05, from a difference's interval.

    2.80 standard errors, the interval taken to be 2·1.96 of them wide; never above 1. None without an interval.
    """
    if difference.low is None or difference.high is None:
        return None
    return min(1.0, 2.80 * (difference.high - difference.low) / (2 * Z))


def paired_permutation(stat: Statistic, rows: FloatArray, swapped: FloatArray, *, draws: int, seed: int) -> float:
    """Two-sided p of a difference between two arms on the same items: how often is it as large if on every item
    chance says which arm gave which answer (Fisher 1935; for F-scores Yeh 2000, COLING)?

    `rows` and `swapped` have shape (n, m): the items as they are, and with the arms' answers exchanged. Each draw swaps
    every item with probability 1/2, as binomial counts over the distinct changes. (1 + draws that reach the difference)
    / (1 + draws), so that p is never 0 (Phipson & Smyth 2010). 1.0 where no swap changes anything.
    """
    total = rows.sum(axis=0)
    changes, counts = _distinct((swapped - rows)[(swapped != rows).any(axis=1)])
    if not len(changes):
        return 1.0
    rng, reached = np.random.default_rng(seed), 0
    # Sums of floats in another order differ by rounding; a draw that equals the difference has to count.
    observed = abs(float(stat(total))) - 1e-12
    step = max(1, CHUNK // len(counts))
    for start in range(0, draws, step):
        swaps = rng.binomial(counts, 0.5, size=(min(step, draws - start), len(counts)))
        reached += int(np.sum(np.abs(stat(total + swaps @ changes)) >= observed))
    return (1 + reached) / (1 + draws)


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """q-values (Benjamini & Hochberg 1995), in the order given: `(.01, .04)` → `(.02, .04)`."""
    if not _checked(p_values):
        return ()
    from scipy.stats import false_discovery_control

    return tuple(float(q) for q in false_discovery_control(list(p_values)))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for the number of claims (Holm 1979), in the order given: `(.01, .04)` → `(.02, .04)`."""
    if not _checked(p_values):
        return ()
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return tuple(float(p) for p in adjusted)


def _checked(p_values: Sequence[float]) -> Sequence[float]:
    for p in p_values:
        if not 0 <= p <= 1:
            raise ValueError(f"p-value {p!r} is outside 0 to 1")
    return p_values


def non_inferior(difference: Estimate, margin: float) -> bool | None:
    """Whether a difference (new − old) is shown to be no worse than −margin: its lower end lies above that.

    None when there is no interval. An interval that merely contains 0 proves nothing. Raises ValueError
    unless margin > 0.
    """
    if margin <= 0:
        raise ValueError(f"non_inferior: margin {margin!r} must be above 0")
    return None if difference.low is None else difference.low > -margin


def paired_bootstrap(
    stat: Statistic,
    rows: FloatArray,
    *,
    resamples: int,
    seed: int,
    stand_in: Estimate | None = None,
    corrected: bool = True,
) -> Estimate:
    """`bootstrap` of one sample of items, rows of shape (n, m); the arms in a row stay paired."""
    return bootstrap(stat, [rows], resamples=resamples, seed=seed, stand_in=stand_in, corrected=corrected)


def bootstrap(
    stat: Statistic,
    samples: Sequence[FloatArray],
    *,
    resamples: int,
    seed: int,
    stand_in: Estimate | None = None,
    corrected: bool = True,
) -> Estimate:
    """A function of sums over items with its BCa interval (Efron 1987; Efron & Tibshirani 1993, section 14.3).

    `samples` are independent sets of items, arrays of shape (n_i, m_i); `stat` gets their sums side by side,
    shape (…, m_1 + m_2 + …). Items are drawn with replacement within their sample, as multinomial weights
    over the distinct rows, which is the same bootstrap and much less work.

    Where BCa is not defined (bias or acceleration out of range) or `corrected` is false, the percentile interval
    is used; where every resample gives the same value, the interval of `stand_in`. Where there is none, or a
    sample has fewer than 10 items, the interval is None and the note says so. The interval is widened to hold the
    value if need be. `n` is the size of the smallest sample. Raises ValueError for fewer than 100 resamples.
    """
    if resamples < 100:
        raise ValueError(f"bootstrap: {resamples!r} resamples; the ends of an interval need at least 100")
    n = min((len(sample) for sample in samples), default=0)
    if n == 0:
        return insufficient("no items", 0)
    value = float(stat(np.concatenate([sample.sum(axis=0) for sample in samples])))
    if not math.isfinite(value):
        return insufficient("the figure is not defined on these items", n)
    distinct = [_distinct(sample) for sample in samples]
    drawn = _draw(stat, distinct, resamples, seed)
    undefined = int(np.isnan(drawn).sum())
    drawn = np.sort(drawn[~np.isnan(drawn)])
    if len(drawn) < 0.95 * resamples:
        return insufficient(f"undefined in {undefined} of {resamples} resamples", n, value)
    if drawn[-1] - drawn[0] <= 1e-12:
        return _constant(value, n, stand_in)
    if n < MIN_ITEMS:
        return insufficient(f"{n} items; an interval needs at least {MIN_ITEMS}", n, value)
    ends, method = _bca_ends(value, drawn, _acceleration(stat, distinct) if corrected else math.nan)
    low, high = (float(end) for end in np.quantile(drawn, ends, method="inverted_cdf"))
    if not (math.isfinite(low) and math.isfinite(high)):
        return insufficient("the interval has no end on one side", n, value)
    note = f"undefined in {undefined} of {resamples} resamples, left out" if undefined else ""
    return Estimate(value, min(low, value), max(high, value), n, method, note)


Distinct = tuple[FloatArray, NDArray[np.int64]]
"""Distinct rows, shape (c, m), and how many items have each, shape (c,)."""


def _distinct(sample: FloatArray) -> Distinct:
    rows, counts = np.unique(sample, axis=0, return_counts=True)
    return rows, counts.astype(np.int64)


def _draw(stat: Statistic, samples: Sequence[Distinct], resamples: int, seed: int) -> FloatArray:
    """The statistic in every resample, shape (resamples,)."""
    rng = np.random.default_rng(seed)
    sums: list[FloatArray] = []
    for rows, counts in samples:
        total = int(counts.sum())
        step = max(1, CHUNK // len(counts))
        sums.append(
            np.concatenate(
                [
                    rng.multinomial(total, counts / total, size=min(step, resamples - start)) @ rows
                    for start in range(0, resamples, step)
                ]
            )
        )
    return stat(np.concatenate(sums, axis=1))


def _acceleration(stat: Statistic, samples: Sequence[Distinct]) -> float:
    """Skewness of the jackknife values over 6; NaN where leaving an item out leaves the statistic undefined."""
    whole = [counts @ rows for rows, counts in samples]
    cubes = squares = 0.0
    for which, (rows, counts) in enumerate(samples):
        n = int(counts.sum())
        parts = [np.broadcast_to(total, (len(rows), len(total))) for total in whole]
        parts[which] = whole[which] - rows
        left_out = stat(np.concatenate(parts, axis=1))
        if not np.isfinite(left_out).all():
            return math.nan
        pull = (n - 1) * (np.average(left_out, weights=counts) - left_out)
        cubes += float(np.sum(counts * pull**3)) / n**3
        squares += float(np.sum(counts * pull**2)) / n**2
    return cubes / (6 * squares**1.5) if squares > 0 else math.nan


def _bca_ends(value: float, drawn: FloatArray, acceleration: float) -> tuple[tuple[float, float], str]:
    """The two quantile levels to read off the sorted resamples, and the method's name."""
    from scipy.special import ndtr, ndtri

    tail = (1 - LEVEL) / 2
    percentile = (tail, 1 - tail), "percentile bootstrap"
    below = (np.sum(drawn < value) + np.sum(drawn <= value)) / (2 * len(drawn))
    if not 0 < below < 1 or not math.isfinite(acceleration):
        return percentile
    bias = float(ndtri(below))
    shifted = [bias - Z, bias + Z]
    if any(1 - acceleration * one <= 0 for one in shifted):
        return percentile
    low, high = (float(ndtr(bias + one / (1 - acceleration * one))) for one in shifted)
    return ((low, high), "BCa bootstrap")


def _constant(value: float, n: int, stand_in: Estimate | None) -> Estimate:
    same = "every resample gives the same value"
    if stand_in is None or stand_in.low is None or stand_in.high is None:
        return insufficient(same, n, value)
    low, high = min(stand_in.low, value), max(stand_in.high, value)
    note = f"{same}; {stand_in.note or f'the interval is from {stand_in.method}'}"
    return replace(stand_in, value=value, low=low, high=high, n=n, note=note)


@dataclass(frozen=True, slots=True)
class Pooled:
    """A figure over several runs (training seeds), with the two kinds of noise kept apart.

    `items`: the mean over runs; its interval says how it would move with other test items, these runs given.
    `total`: the same value; its interval also lets the training seed vary. `per_run` are the runs' own values
    (None where undefined), `seed_sd` their standard deviation, None for fewer than 2 runs.
    """

    items: Estimate
    total: Estimate
    per_run: tuple[float | None, ...]
    seed_sd: float | None


def with_seed_noise(items: Estimate, per_run: Sequence[float | None], deviations: Sequence[float]) -> Pooled:
    """Widen an items-only interval by the noise between runs.

    `deviations` holds one value per run whose spread is the seed noise. The two parts add in squares on each
    side (MOVER, Zou & Donner 2008, Statistics in Medicine 27:1693), the seed part with Student's t on
    runs − 1 degrees of freedom: with 3 runs it is wide, as it should be. Where the runs were scored on
    different items the spread between them holds item noise too, and `total` is then on the safe side.
    """
    runs = len(deviations)
    if runs < 2 or items.value is None or items.low is None or items.high is None:
        why = "seed noise needs at least 2 runs" if runs < 2 else "no items-only interval to widen"
        return Pooled(items, insufficient(why, items.n, items.value), tuple(per_run), None)
    from scipy.special import stdtrit

    sd = float(np.std(deviations, ddof=1))
    half = float(stdtrit(runs - 1, (1 + LEVEL) / 2)) * sd / math.sqrt(runs)
    total = replace(
        items,
        low=items.value - math.hypot(items.value - items.low, half),
        high=items.value + math.hypot(items.high - items.value, half),
        method=f"{items.method} + t over {runs} runs",
    )
    return Pooled(items, total, tuple(per_run), sd)
