"""What a filter and a judge are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from eval.intervals import wilson
from eval.worth import filter_worth, kappa


@pytest.mark.parametrize(
    ("counts", "worth"),
    [
        ((90, 100, 30, 100), (0.9, 0.3, 0.75)),
        ((50, 100, 50, 100), (0.5, 0.5, 0.5)),
        ((50, 50, 0, 50), (1.0, 0.0, 1.0)),
        ((0, 50, 10, 50), (0.0, 0.2, 0.0)),
        ((0, 50, 0, 50), (0.0, 0.0, 0.0)),
        ((0, 0, 5, 10), (None, 0.5, None)),
        ((5, 10, 0, 0), (0.5, None, None)),
    ],
)
def test_filter_worth(counts: tuple[int, int, int, int], worth: tuple[float | None, ...]) -> None:
    assert filter_worth(*counts) == pytest.approx(worth)


def test_p_star_is_where_the_kept_rows_are_half_wrong() -> None:
    phi, psi, p_star = filter_worth(80, 100, 25, 100)
    assert p_star == pytest.approx(1 / (1 + psi / phi))
    assert p_star * psi == pytest.approx((1 - p_star) * phi)


@pytest.mark.parametrize("counts", [(3, 2, 0, 5), (-1, 2, 0, 5), (1, 2, 6, 5)])
def test_filter_worth_refuses_impossible_counts(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="kept of"):
        filter_worth(*counts)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=50))
@settings(max_examples=60, deadline=None)
def test_kappa_is_that_of_scikit_learn_and_never_nan(pairs: list[tuple[str, str]]) -> None:
    a, b = (list(column) for column in zip(*pairs, strict=True))
    ours = kappa(a, b, resamples=100)
    if len({*a, *b}) == 1:
        assert ours.value is None
        return
    assert ours.value == pytest.approx(cohen_kappa_score(a, b))
    ends = (ours.low, ours.high)
    assert ends == (None, None) or -1 <= ours.low <= ours.value <= ours.high <= 1


def test_kappa_interval_is_close_to_the_analytic_one() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, size=400)
    b = np.where(rng.random(400) < 0.75, a, rng.integers(0, 3, size=400))
    ours = kappa([int(one) for one in a], [int(one) for one in b], resamples=4000)
    table = np.zeros((3, 3))
    np.add.at(table, (a, b), 1)
    theirs = cohens_kappa(table)
    assert (ours.low, ours.high) == pytest.approx((theirs.kappa_low, theirs.kappa_upp), abs=0.01)


def test_kappa_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    runs, hits = 300, 0
    for run in range(runs):
        truth = rng.random(100) < 0.5
        other = np.where(rng.random(100) < 0.85, truth, ~truth)
        ours = kappa(truth.tolist(), other.tolist(), resamples=300, seed=run)
        hits += ours.low <= 0.7 <= ours.high
    assert hits >= binom.ppf(0.001, runs, 0.95)


def test_kappa_of_raters_who_never_differ() -> None:
    ours = kappa(["a", "b"] * 50, ["a", "b"] * 50, resamples=300)
    assert (ours.value, ours.high) == (1.0, 1.0)
    assert ours.low == pytest.approx(2 * wilson(100, 100).low - 1)
    assert "Wilson's for the agreement" in ours.note


def test_kappa_of_constant_ratings() -> None:
    both = kappa(["a"] * 40, ["a"] * 40)
    assert (both.value, both.low, both.note.startswith("insufficient: both raters")) == (None, None, True)
    one = kappa(["a"] * 40, ["a", "b"] * 20)
    assert (one.value, one.low, one.note.startswith("insufficient: one rater")) == (0.0, None, True)
    apart = kappa(["a"] * 40, ["b"] * 40)
    assert (apart.value, apart.low) == (0.0, None)


def test_kappa_of_nine_and_of_no_items() -> None:
    nine = kappa([True, False, True] * 3, [True, False, False] * 3)
    assert (nine.low, nine.n) == (None, 9)
    assert math.isfinite(nine.value)
    assert kappa([], []).note == "insufficient: no items"
    with pytest.raises(ValueError, match="2 ratings against 1"):
        kappa(["a", "b"], ["a"])
