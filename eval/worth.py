"""What a filter or a judge is worth, measured on items whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.intervals import insufficient, paired_bootstrap, wilson
from eval.outcomes import FloatArray
from harness.records import Estimate


def filter_worth(
    kept_right: int, n_right: int, kept_wrong: int, n_wrong: int
) -> tuple[float | None, float | None, float | None]:
    """φ = P(keep | right), ψ = P(keep | wrong) and p* = 1/(1 + ψ/φ) (Feng et al., arXiv 2406.07515).

    Training on what the filter keeps survives while the share of wrong labels before the filter is below p*:
    1 for a filter that keeps nothing wrong, .5 for one that cannot tell, 0 for one that keeps nothing right.
    `filter_worth(90, 100, 30, 100)` is (.9, .3, .75). A rate without items, and p* with it, is None. Raises
    ValueError for impossible counts.
    """
    for kept, n, what in ((kept_right, n_right, "right"), (kept_wrong, n_wrong, "wrong")):
        if not 0 <= kept <= n:
            raise ValueError(f"filter_worth: {kept!r} kept of {n!r} {what} items")
    phi = kept_right / n_right if n_right else None
    psi = kept_wrong / n_wrong if n_wrong else None
    if phi is None or psi is None:
        return phi, psi, None
    return phi, psi, phi / (phi + psi) if phi > 0 else 0.0


def kappa(
    a: Sequence[str | int | bool], b: Sequence[str | int | bool], resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Cohen's κ (1960) of two ratings of the same items, with a BCa bootstrap interval.

    Ratings are compared for equality; 1 is full agreement, 0 what chance gives. Where all items agree, the
    interval is Wilson's for the agreement, with chance agreement as observed. Where a rater gave one rating to
    every item κ cannot show agreement: value 0 (None if both raters did) without an interval. Raises ValueError when
    the lengths differ.
    """
    if len(a) != len(b):
        raise ValueError(f"kappa: {len(a)} ratings against {len(b)}; both must rate the same items")
    index = {rating: code for code, rating in enumerate(dict.fromkeys([*a, *b]))}
    n, k = len(a), len(index)
    if n == 0:
        return insufficient("no items", 0)
    if k == 1:
        return insufficient("both raters gave every item the same rating, so agreement cannot be told from chance", n)
    if len(set(a)) == 1 or len(set(b)) == 1:
        return insufficient("one rater gave every item the same rating, so kappa can only be 0", n, 0.0)
    rows = np.zeros((n, k * k))
    rows[np.arange(n), [index[one] * k + index[other] for one, other in zip(a, b, strict=True)]] = 1.0

    def statistic(sums: FloatArray) -> FloatArray:
        observed, chance = _agreement(sums, k)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (observed - chance) / (1 - chance)

    observed, chance = (float(one) for one in _agreement(rows.sum(axis=0), k))
    agreement = wilson(round(observed * n), n)
    low = (agreement.low - chance) / (1 - chance) if agreement.low is not None else None
    stand_in = Estimate(1.0, low, 1.0, n, "Wilson", "the interval is Wilson's for the agreement, chance as observed")
    return paired_bootstrap(statistic, rows, resamples=resamples, seed=seed, stand_in=stand_in)


def _agreement(sums: FloatArray, k: int) -> tuple[FloatArray, FloatArray]:
    """Flattened k×k tables, shape (…, k²) → share that agrees and share that would by chance, shape (…)."""
    table = sums.reshape(*sums.shape[:-1], k, k)
    n = table.sum(axis=(-2, -1))
    chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / n**2
    return np.trace(table, axis1=-2, axis2=-1) / n, chance
