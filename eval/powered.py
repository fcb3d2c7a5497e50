"""What a judge's ratings of many items are worth beside the truth of a few: prediction-powered inference of a mean.

The judge rates all items, a person (or a gold answer) some of them. Angelopoulos et al. (2023, Science 382:669) take
the judge's mean and correct it by what it is wrong by on the labelled items (the rectifier), so that the interval holds
however bad the judge is; PPI++ (arXiv 2311.01453) weighs the judge by λ, tuned so that the interval is hardly ever
wider than that of the labels alone. Takes arrays; asks no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eval.intervals import MIN_ITEMS, insufficient, wilson
from eval.outcomes import FloatArray
from harness.records import Estimate

MIN_EACH = 5
"""Fewest labelled items on either side of a yes/no label: with fewer the mean is not near enough to normal."""
METHOD = "prediction-powered"


@dataclass(frozen=True, slots=True)
class Powered:
    """`score`: the mean truth over all items, estimated. `labels_alone`: the same from the labelled items only.

    `rated` is the judge's own mean over all items, `rectifier` the mean of label − rating over the labelled ones (what
    the judge is too strict by), `weight` the λ in use: 0 leaves the judge out, 1 is the estimator of 2023.
    """

    score: Estimate
    labels_alone: Estimate
    rated: float
    rectifier: float
    weight: float
    labelled: int


def powered_mean(ratings: Sequence[float], labels: Sequence[float | None], weight: float | None = None) -> Powered:
    """The mean truth of N + n items with `ratings` (0 to 1) of which n have `labels` (0 to 1; None: not labelled).

    score = mean(label) + λ·(mean rating of the N unlabelled − mean rating of the n labelled), which is the judge's mean
    plus rectifier for λ = 1; taking the judge's mean over all items instead is the same with λ·N/(n + N). Its variance
    is var(label − λ·rating)/n + λ²·var(rating)/N (PPI++, section 3). λ = cov(label, rating) / ((1 + n/N)·var(rating)),
    cut to 0 … 1, unless `weight` gives it.

    Two departures from the paper keep the coverage at n = 30 to 100: Student's t on n − 2 degrees of freedom, since λ
    comes from n items too, and, where labels and ratings are yes/no, half an item more in each cell of their table when
    the spread is worked out: a judge with one error in 100 may have shown none yet (without it .90 to .93 of 95 %
    intervals held the truth there, with it .925 or more; our simulation). Ends are cut to 0 and 1.

    It holds where the labelled items are a random sample of all of them. Where λ is 0, and with yes/no labels of which
    fewer than 5 are yes or fewer than 5 are no, the judge is left out: `labels_alone`, with a note. Fewer than 10
    labels: insufficient. Raises ValueError for other lengths, values beyond 0 … 1, and a weight beyond 0 … 1.
    """
    rated, known, truth = _checked(ratings, labels)
    if weight is not None and not 0 <= weight <= 1:
        raise ValueError(f"powered_mean: weight {weight!r} must lie from 0 to 1")
    n, more = len(truth), len(rated) - len(truth)
    mean = float(rated.mean()) if len(rated) else 0.0
    if n < MIN_ITEMS:
        nothing = insufficient(f"{n} labelled items; at least {MIN_ITEMS} are needed", n)
        return Powered(nothing, nothing, mean, 0.0, 0.0, n)
    near, far = rated[known], rated[~known]
    rectifier = float((truth - near).mean())
    alone = _by_labels(truth)
    if _too_even(truth):
        note = f"fewer than {MIN_EACH} labels of one kind, so the judge is left out"
        return Powered(replace(alone, note=note), alone, mean, rectifier, 0.0, n)
    chosen = tuned_weight(truth, near, rated, more) if weight is None else weight * bool(more)
    if not chosen:
        note = "the judge tells nothing" if more else "every item is labelled"
        return Powered(replace(alone, note=note), alone, mean, rectifier, 0.0, n)
    shift = chosen * (float(far.mean()) - float(near.mean()))
    spread = _variance(truth, near, chosen) / n
    if more > 1:
        spread += chosen**2 * float(far.var(ddof=1)) / more
    score = _interval(float(truth.mean()) + shift, spread, n, len(rated), METHOD)
    return Powered(score, alone, mean, rectifier, chosen, n)


def tuned_weight(truth: FloatArray, near: FloatArray, rated: FloatArray, more: int) -> float:
    """λ that makes the interval narrowest (PPI++, section 6): `truth` and `near` of the n labelled items, `rated` of
    all, `more` = N of them unlabelled. 0 where the judge rates everything the same."""
    spread = float(rated.var(ddof=1))
    if more < 2 or spread <= 1e-12:
        return 0.0
    together = float(np.cov(truth, near, ddof=1)[0, 1])
    return min(1.0, max(0.0, together / ((1 + len(truth) / more) * spread)))


def _checked(
    ratings: Sequence[float], labels: Sequence[float | None]
) -> tuple[FloatArray, NDArray[np.bool_], FloatArray]:
    """Ratings of all items, which are labelled, and the labels there are."""
    if len(ratings) != len(labels):
        raise ValueError(f"powered_mean: {len(ratings)} ratings against {len(labels)} labels; give None for no label")
    rated = np.array(ratings, dtype=np.float64)
    known = np.array([one is not None for one in labels], dtype=np.bool_)
    truth = np.array([one for one in labels if one is not None], dtype=np.float64)
    for values, what in ((rated, "ratings"), (truth, "labels")):
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(
                f"powered_mean: {what} must lie from 0 to 1, there are {values.min()!r} to {values.max()!r}"
            )
    return rated, known, truth


def _variance(truth: FloatArray, near: FloatArray, weight: float) -> float:
    """Variance of label − λ·rating over the labelled items."""
    if not (_yes_or_no(truth) and _yes_or_no(near)):
        return float((truth - weight * near).var(ddof=1))
    counts = np.array([np.sum((truth == label) & (near == rating)) for label in (0, 1) for rating in (0, 1)]) + 0.5
    values = np.array([label - weight * rating for label in (0, 1) for rating in (0, 1)])
    mean = np.average(values, weights=counts)
    return float(np.average((values - mean) ** 2, weights=counts)) * len(truth) / (len(truth) - 1)


def _yes_or_no(values: FloatArray) -> bool:
    return bool(np.all((values == 0) | (values == 1)))


def _too_even(truth: FloatArray) -> bool:
    if _yes_or_no(truth):
        return min(int(truth.sum()), len(truth) - int(truth.sum())) < MIN_EACH
    return float(truth.var()) <= 1e-12


def _by_labels(truth: FloatArray) -> Estimate:
    n = len(truth)
    if _yes_or_no(truth):
        return wilson(int(truth.sum()), n)
    return _interval(float(truth.mean()), float(truth.var(ddof=1)) / n, n, n, "Student's t")


def _interval(value: float, variance: float, labelled: int, n: int, method: str) -> Estimate:
    from scipy.special import stdtrit

    half = float(stdtrit(labelled - 2, 0.975)) * math.sqrt(variance)
    ends = [min(1.0, max(0.0, one)) for one in (value, value - half, value + half)]
    return Estimate(ends[0], ends[1], ends[2], n, method)
