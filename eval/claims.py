"""What a pooled difference can claim: a p-value with seed noise, adjusted for the number of claims, and its power.

Both are read off the parts of `eval.intervals.Pooled`, so that p ≤ .05 says the same as its 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from eval.intervals import Pooled, Z, holm

POWER = 0.80
SMALLEST = 1e-15


def pooled_p_value(pooled: Pooled) -> float | None:
    """Two-sided p of "the difference is 0" over items and training seeds: the level at which `total` touches 0.

    Inverts the interval of `with_seed_noise` (MOVER, Zou & Donner 2008): on the side towards 0, z·(items' standard
    error) and t·(seeds' standard error, runs − 1 degrees of freedom) add in squares. The items' half is taken to be
    1.96 standard errors. None where `total` has no interval, e.g. for one run, or no noise was seen at all.
    """
    value, low, high = pooled.items.value, pooled.items.low, pooled.items.high
    if value is None or low is None or high is None or pooled.seed_sd is None or pooled.total.low is None:
        return None
    if value == 0:
        return 1.0
    items = (value - low if value > 0 else high - value) / Z
    seeds, freedom = _seed_error(pooled)
    if items <= 0 and seeds <= 0:
        return None
    from scipy.optimize import bisect
    from scipy.special import ndtri, stdtrit

    def beyond(level: float) -> float:
        return math.hypot(ndtri(level / 2) * items, stdtrit(freedom, level / 2) * seeds) - abs(value)

    if beyond(SMALLEST) <= 0:
        return SMALLEST
    return cast("float", bisect(beyond, SMALLEST, 1.0, xtol=1e-14))


def pooled_detectable(pooled: Pooled) -> float | None:
    """The smallest pooled difference that these items and seeds show with 80 % power at two-sided .05.

    2.80 standard errors over items and (t.975 + t.80) over seeds, in squares; never above 1.
    None where there is no interval with seed noise.
    """
    low, high = pooled.items.low, pooled.items.high
    if low is None or high is None or pooled.seed_sd is None or pooled.total.low is None:
        return None
    from scipy.special import ndtri, stdtrit

    items = (high - low) / (2 * Z)
    seeds, freedom = _seed_error(pooled)
    wide = (float(stdtrit(freedom, 0.975)) + float(stdtrit(freedom, POWER))) * seeds
    return min(1.0, math.hypot((Z + float(ndtri(POWER))) * items, wide))


def holm_where_known(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's adjustment for the number of claims, in the order given.

    A claim without a p-value counts as one that failed (p = 1), so it is no gift to the others, and stays None.
    """
    adjusted = holm([1.0 if p is None else p for p in p_values])
    return tuple(None if p is None else one for p, one in zip(p_values, adjusted, strict=True))


def _seed_error(pooled: Pooled) -> tuple[float, int]:
    """(standard error of the mean over runs, degrees of freedom)"""
    runs = sum(one is not None for one in pooled.per_run)
    return (pooled.seed_sd or 0.0) / math.sqrt(runs), runs - 1
