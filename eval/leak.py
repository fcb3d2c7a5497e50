"""Has held-out text crossed into the synthetic items? Two alarms: a score on dev that test does not confirm, and
synthetic items that lie nearer to dev than to test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval.intervals import MIN_ITEMS, Z, insufficient
from eval.outcomes import FloatArray, Metric
from eval.score import independent_difference
from eval.vectors import unit_rows
from harness.records import Estimate, Example, LeakCheck, Prediction

BLOCK = 4_000_000
"""Cosines held in memory at once (8 bytes each, a few times over)."""


def dev_test_difference(
    metric: Metric,
    dev_examples: Sequence[Example],
    on_dev: Sequence[Prediction],
    test_examples: Sequence[Example],
    on_test: Sequence[Prediction],
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """Score on dev − score on test of one model: two independent sets of items, `n` the smaller.

    Newcombe's interval for accuracy, a bootstrap of both sets for macro-F1 over the labels that both sets have (a note
    names the others). Rounds are chosen on dev, so a small positive difference is to be expected; a lower end above
    0 means that dev flatters. Raises ValueError as `eval.outcomes.align` does, and for an unknown metric.
    """
    return independent_difference(
        metric, dev_examples, on_dev, test_examples, on_test, resamples=resamples, seed=seed, common_labels=True
    )


def nearest_distance_asymmetry(
    synthetic: NDArray[np.floating], dev: NDArray[np.floating], test: NDArray[np.floating]
) -> LeakCheck:
    """Are synthetic items nearer to dev than to test? Unit rows, shapes (n, d), (n_dev, d), (n_test, d).

    The nearest of many items is nearer than the nearest of few, so both sides are compared at one size: m = half of the
    smaller set. For each synthetic item the expected cosine to the nearest of a random m-subset has a closed
    form, Σ_k s_(k)·C(N−k, m−1)/C(N, m) over the cosines in falling order; nothing is drawn. `difference` is its mean
    on dev − its mean on test. Its variance is the sum of three: the synthetic items', and the delete-one jackknife's
    over dev and over test items (Efron & Stein 1981, Annals of Statistics 9:586: not too small on average).

    The alarm sounds when the 95 % interval lies above 0. It supposes that dev and test are random halves of one pool;
    steering by dev's *rates* may move synthetic items towards labels in which dev and test differ, a small effect
    where the split is stratified. Fewer than 10 items on a side: insufficient. Raises ValueError for rows of different
    widths or of a length other than 1.
    """
    sides = unit_rows(synthetic=synthetic, dev=dev, test=test)
    smallest = min(len(one) for one in sides)
    if smallest < MIN_ITEMS:
        why = insufficient(f"{smallest} items on one side; a comparison needs at least {MIN_ITEMS}", smallest)
        return LeakCheck(why, None, None, 0, None)
    made, *held_out = sides
    size = min(len(one) for one in held_out) // 2
    (near_dev, noise_dev), (near_test, noise_test) = (_nearest(made, one, size) for one in held_out)
    gaps = near_dev - near_test
    value = float(gaps.mean())
    half = Z * math.sqrt(float(gaps.var(ddof=1)) / len(gaps) + noise_dev + noise_test)
    difference = Estimate(value, value - half, value + half, len(gaps), "jackknife over both sides")
    return LeakCheck(difference, float(near_dev.mean()), float(near_test.mean()), size, value - half > 0)


def _nearest(made: FloatArray, held_out: FloatArray, size: int) -> tuple[FloatArray, float]:
    """Expected cosine of each synthetic item to the nearest of `size` of the held-out items, shape (n,); and the
    jackknife variance of its mean over the held-out items."""
    total = len(held_out)
    weights, fewer = subset_weights(total, size), subset_weights(total - 1, size)
    near: list[FloatArray] = []
    without = np.zeros(total)
    step = max(1, BLOCK // total)
    for start in range(0, len(made), step):
        cosines = made[start : start + step] @ held_out.T
        order = np.argsort(-cosines, axis=1, kind="stable")
        ranked = np.take_along_axis(cosines, order, axis=1)
        near.append(ranked @ weights)
        above = np.cumsum(ranked[:, :-1] * fewer, axis=1)
        below = np.cumsum((ranked[:, 1:] * fewer)[:, ::-1], axis=1)[:, ::-1]
        left_out = np.zeros_like(ranked)
        left_out[:, 1:] += above
        left_out[:, :-1] += below
        np.add.at(without, order.ravel(), left_out.ravel())
    without /= len(made)
    return np.concatenate(near), (total - 1) / total * float(np.sum((without - without.mean()) ** 2))


def subset_weights(total: int, size: int) -> FloatArray:
    """P(the k-th nearest of `total` items is the nearest in a random subset of `size`), k = 1 … total.

    `subset_weights(4, 2)` is (1/2, 1/3, 1/6, 0).
    """
    weights = np.zeros(total)
    weight = size / total
    for place in range(total - size + 1):
        weights[place] = weight
        weight *= (total - size - place) / (total - 1 - place) if place < total - 1 else 0.0
    return weights
