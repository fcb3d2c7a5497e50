"""Prediction-powered means: coverage and width by simulation, closed forms, and what is no estimate."""

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from eval.powered import MIN_EACH, Powered, powered_mean

SETS = 600


def draw(
    rng: np.random.Generator, n: int, more: int, share: float, phi: float, psi: float
) -> tuple[list[float], list[float | None]]:
    """Ratings of n + more answers by a judge that accepts a right one with `phi` and a wrong one with `psi`; the first
    n are labelled."""
    right = rng.random(n + more) < share
    said = np.where(right, rng.random(n + more) < phi, rng.random(n + more) < psi)
    return said.astype(float).tolist(), [float(one) if place < n else None for place, one in enumerate(right)]


def width(found: Powered) -> tuple[float, float]:
    ends = [one for each in (found.score, found.labels_alone) for one in (each.low, each.high)]
    low, high, alone_low, alone_high = (one for one in ends if one is not None)
    return high - low, alone_high - alone_low


@pytest.mark.parametrize(
    ("n", "more", "share", "phi", "psi"),
    [
        (100, 200, 0.5, 0.95, 0.05),
        (100, 200, 0.8, 0.99, 0.01),
        (100, 1400, 0.3, 0.9, 0.1),
        (50, 250, 0.6, 0.9, 0.3),
        (100, 200, 0.5, 0.5, 0.5),
        (100, 400, 0.4, 0.2, 0.8),
        (50, 250, 0.8, 0.95, 0.05),
    ],
)
def test_intervals_cover_the_truth_whatever_the_judge(n: int, more: int, share: float, phi: float, psi: float) -> None:
    rng = np.random.default_rng(n + more)
    found = [powered_mean(*draw(rng, n, more, share, phi, psi)).score for _ in range(SETS)]
    held = sum(one.low is not None and one.high is not None and one.low <= share <= one.high for one in found)
    # 600 sets with a true coverage of .95 fall below .93 in 1 of 70 cases.
    assert held / SETS >= 0.93


def test_a_good_judge_narrows_the_interval_and_a_useless_one_hardly_widens_it() -> None:
    rng = np.random.default_rng(5)
    good = [width(powered_mean(*draw(rng, 100, 400, 0.5, 0.95, 0.05))) for _ in range(200)]
    useless = [width(powered_mean(*draw(rng, 100, 400, 0.5, 0.5, 0.5))) for _ in range(200)]
    assert all(ours < 0.9 * alone for ours, alone in good)
    assert np.mean([ours / alone for ours, alone in good]) < 0.7
    assert all(ours < 1.05 * alone for ours, alone in useless)


def test_untuned_a_bad_judge_does_widen_it() -> None:
    """So that the test above can fail: λ = 1, the estimator of 2023."""
    rng = np.random.default_rng(5)
    widths = [width(powered_mean(*draw(rng, 100, 400, 0.5, 0.5, 0.5), weight=1.0)) for _ in range(50)]
    assert all(ours > 1.2 * alone for ours, alone in widths)


def test_by_hand() -> None:
    """40 labelled (20 yes rated yes, 10 yes rated no, 10 no rated no), 60 more of which 45 are rated yes; λ = 1."""
    ratings = [1.0] * 20 + [0.0] * 20 + [1.0] * 45 + [0.0] * 15
    labels = [1.0] * 30 + [0.0] * 10 + [None] * 60
    found = powered_mean(ratings, labels, weight=1.0)
    assert found.score.value == pytest.approx(0.75 + 0.75 - 0.5)
    assert (found.rated, found.rectifier, found.labelled) == (0.65, 0.25, 40)
    # label − rating: 0 in 30 + 2·½ cases, 1 in 10.5, −1 in ½, of 42.
    spread = (10.5 + 0.5) / 42 - (10 / 42) ** 2
    variance = spread / 39 + 0.75 * 0.25 / 59
    assert found.score.low == pytest.approx(1 - stdtrit(38, 0.975) * math.sqrt(variance))
    assert found.score.high == 1.0


def test_the_tuned_weight_gives_the_variance_of_theory() -> None:
    """With graded values and λ tuned: σ²/n · (1 − ρ²·N/(n + N)), the variance of the best control variate."""
    rng = np.random.default_rng(2)
    n, more = 4000, 8000
    truth = rng.uniform(0.2, 0.8, n + more)
    ratings = np.clip(truth + rng.normal(0, 0.08, n + more), 0, 1)
    found = powered_mean(ratings.tolist(), [float(one) if place < n else None for place, one in enumerate(truth)])
    rho = float(np.corrcoef(truth[:n], ratings[:n])[0, 1])
    expected = math.sqrt(float(truth[:n].var()) / n * (1 - rho**2 * more / (n + more)))
    assert width(found)[0] / 2 / stdtrit(n - 2, 0.975) == pytest.approx(expected, rel=0.01)
    cov, var = np.cov(truth[:n], ratings[:n])[0, 1], ratings.var(ddof=1)
    assert found.weight == pytest.approx(cov / var / (1 + n / more))


def test_the_value_is_unbiased_where_the_judge_is_not() -> None:
    rng = np.random.default_rng(3)
    found = [powered_mean(*draw(rng, 100, 400, 0.4, 1.0, 0.4)) for _ in range(300)]
    assert np.mean([one.rated for one in found]) == pytest.approx(0.64, abs=0.01)
    assert np.mean([one.score.value for one in found if one.score.value is not None]) == pytest.approx(0.4, abs=0.01)


def test_a_judge_that_says_the_same_of_all_is_left_out() -> None:
    found = powered_mean([1.0] * 60, [1.0] * 12 + [0.0] * 8 + [None] * 40)
    assert found.weight == 0
    assert (found.score.low, found.score.high) == (found.labels_alone.low, found.labels_alone.high)
    assert found.score.note == "the judge tells nothing"


def test_nearly_all_right_is_left_to_the_labels() -> None:
    labels = [0.0] * (MIN_EACH - 1) + [1.0] * 40 + [None] * 40
    found = powered_mean([0.0, 1.0] * ((len(labels)) // 2), labels)
    assert found.score.method == "Wilson"
    assert "fewer than 5 labels of one kind" in found.score.note


def test_without_unlabelled_items_there_is_nothing_to_power() -> None:
    found = powered_mean([1.0, 0.0] * 10, [1.0, 0.0] * 10, weight=1.0)
    assert (found.weight, found.score.value, found.score.note) == (0, 0.5, "every item is labelled")


def test_few_labels_are_insufficient_and_no_items_too() -> None:
    assert powered_mean([1.0] * 30, [1.0] * 9 + [None] * 21).score.note.startswith("insufficient: 9 labelled items")
    assert powered_mean([], []).score.value is None


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="2 ratings against 1 labels"):
        powered_mean([1.0, 0.0], [1.0])
    with pytest.raises(ValueError, match="ratings must lie from 0 to 1"):
        powered_mean([3.0] * 20, [1.0] * 20)
    with pytest.raises(ValueError, match="labels must lie from 0 to 1"):
        powered_mean([1.0] * 20, [float("nan")] * 20)
    with pytest.raises(ValueError, match="weight 2"):
        powered_mean([1.0] * 20, [1.0] * 20, weight=2.0)
