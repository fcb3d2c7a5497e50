"""Dialect, coverage and label noise, on planted and on null cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from eval.intervals import paired_shares, wilson
from eval.shift import _auc, answer_noise, coverage, label_noise, two_sample_auc


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def source(rng: np.random.Generator, centres: np.ndarray, n: int, accent: float = 0.0) -> np.ndarray:
    noise = rng.normal(size=(n, centres.shape[1]))
    return unit(centres[rng.integers(len(centres), size=n)] + noise + accent)


def test_auc_is_that_of_scikit_learn_and_its_variance_delongs() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(80) < 0.4
    scores = np.round(rng.normal(size=80) + positive, 1)
    value, variance = _auc(scores, positive)
    assert value == pytest.approx(roc_auc_score(positive, scores))
    drawn = []
    for _ in range(600):
        one, other = (rng.choice(np.flatnonzero(side), side.sum()) for side in (positive, ~positive))
        both = np.concatenate([one, other])
        drawn.append(roc_auc_score(positive[both], scores[both]))
    assert math.sqrt(variance) == pytest.approx(np.std(drawn), rel=0.1)


@pytest.mark.parametrize(("n", "width", "runs"), [(30, 16, 200), (60, 128, 100)])
def test_equal_sources_are_rarely_told_apart(n: int, width: int, runs: int) -> None:
    rng, above, below = np.random.default_rng(1), 0, 0
    for run in range(runs):
        centres = rng.normal(size=(8, width))
        ours = two_sample_auc(source(rng, centres, n), source(rng, centres, n), run)
        above += ours.low > 0.5
        below += ours.high < 0.5
    assert above <= binom.ppf(0.999, runs, 0.025)
    assert above + below <= binom.ppf(0.999, runs, 0.05)


def test_an_accent_is_heard_and_more_of_it_louder() -> None:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(8, 64))
    real = source(rng, centres, 120)
    some, much = (two_sample_auc(real, source(rng, centres, 300, accent), 0) for accent in (0.2, 2.0))
    assert 0.5 < some.low < some.value < some.high < 1
    assert some.value < much.value
    assert some.n == much.n == 240
    assert two_sample_auc(real, source(rng, centres, 300), 0).n == 240


def test_sources_told_apart_always_keep_an_interval() -> None:
    rng = np.random.default_rng(3)
    ours = two_sample_auc(source(rng, np.full((1, 8), 9.0), 40), source(rng, np.full((1, 8), -9.0), 50), 0)
    expected = wilson(40, 40)
    assert (ours.value, ours.low, ours.high, ours.n) == (1.0, expected.low, 1.0, 80)


def test_auc_of_few_or_identical_items() -> None:
    rng = np.random.default_rng(4)
    rows = unit(rng.normal(size=(40, 8)))
    assert two_sample_auc(rows[:29], rows, 0).note == "insufficient: 29 items on one side; the AUC needs at least 30"
    assert two_sample_auc(rows, np.zeros((0, 8)), 0).value is None
    flat = np.tile([1.0, 0.0], (40, 1))
    same = two_sample_auc(flat, flat, 0)
    assert same.low <= same.value == 0.5 <= same.high
    assert same.high - same.low > 0.1
    assert two_sample_auc(rows, rows[::-1], 5) == two_sample_auc(rows, rows[::-1], 5)


def test_real_items_miss_as_many_anchors_as_theory_says() -> None:
    """Naeem et al. (2020), section 3.2: 1 − (m·…)/… ; with n anchors and n items about 2⁻ᵏ."""
    rng = np.random.default_rng(5)
    for k, n in ((1, 60), (3, 60)):
        missed = [
            coverage(*(unit(rng.normal(size=(n, 8))) for _ in range(3)), seed=run, k=k).reference.value
            for run in range(60)
        ]
        expected = math.prod((n - 1 - place) / (2 * n - 1 - place) for place in range(k))
        assert np.mean(missed) == pytest.approx(expected, abs=4 * np.std(missed) / math.sqrt(60))


def test_the_same_source_rarely_misses_more_than_real_items() -> None:
    rng, runs, alarms = np.random.default_rng(6), 200, 0
    for run in range(runs):
        centres = rng.normal(size=(10, 16))
        sides = (source(rng, centres, n) for n in (80, 200, 120))
        alarms += coverage(*sides, seed=run).difference.low > 0
    assert alarms <= binom.ppf(0.999, runs, 0.05)


def test_missing_topics_are_seen() -> None:
    rng = np.random.default_rng(7)
    centres = 2 * rng.normal(size=(10, 16))
    anchors, held_out = source(rng, centres, 150), source(rng, centres, 200)
    ours = coverage(anchors, source(rng, centres[:6], 500), held_out, seed=0)
    assert (ours.size, ours.k, ours.missed.n) == (200, 5, 150)
    assert ours.missed.value > 0.25
    assert ours.reference.value < 0.1
    assert ours.difference.low > 0.15
    assert ours.difference.value == pytest.approx(ours.missed.value - ours.reference.value)
    nothing = coverage(anchors, held_out, held_out, seed=0)
    assert nothing.difference == paired_shares(0, 0, 150)


def test_coverage_of_few_items_and_of_no_neighbour() -> None:
    rows = unit(np.random.default_rng(8).normal(size=(40, 4)))
    for sides in ((rows[:9], rows, rows), (rows, rows[:9], rows), (rows, rows, np.zeros(0))):
        ours = coverage(*sides, seed=0)
        assert (ours.missed.value, ours.reference.value, ours.difference.value, ours.size) == (None, None, None, 0)
        assert "coverage needs at least 10 of each" in ours.missed.note
    assert "at least 31" in coverage(rows[:30], rows, rows, seed=0, k=30).missed.note
    with pytest.raises(ValueError, match="k 0 must be at least 1"):
        coverage(rows, rows, rows, seed=0, k=0)


def guesses(rng: np.random.Generator, truth: np.ndarray, error: float, classes: int) -> np.ndarray:
    """Each with this chance another class than the truth."""
    other = (truth + rng.integers(1, classes, size=len(truth))) % classes
    return np.where(rng.random(len(truth)) < error, other, truth)


def noise_run(rng: np.random.Generator, classes: int, wrong: float, error: float, made: int, real: int):
    truth, gold = rng.integers(classes, size=made), rng.integers(classes, size=real)
    asked = guesses(rng, truth, wrong, classes)
    sides = (asked, guesses(rng, truth, error, classes), gold, guesses(rng, gold, error, classes))
    return label_noise(*[[str(code) for code in side] for side in sides], classes)


@pytest.mark.parametrize(
    ("classes", "wrong", "error", "made", "real"),
    [(6, 0.2, 0.15, 400, 300), (2, 0.3, 0.1, 200, 100), (6, 0.0, 0.2, 400, 150), (6, 0.1, 0.05, 100, 60)],
)
def test_label_noise_covers_the_truth(classes: int, wrong: float, error: float, made: int, real: int) -> None:
    rng, runs = np.random.default_rng(9), 400
    estimates = [noise_run(rng, classes, wrong, error, made, real).wrong for _ in range(runs)]
    hits = sum(one.low <= wrong <= one.high for one in estimates)
    assert hits >= binom.ppf(0.001, runs, 0.95)
    if wrong:
        assert np.mean([one.value for one in estimates]) == pytest.approx(wrong, abs=0.02)


def test_label_noise_by_hand() -> None:
    ours = label_noise(["a"] * 100, ["b"] * 34 + ["a"] * 66, ["a"] * 100, ["b"] * 10 + ["a"] * 90, 5)
    assert (ours.contradicted, ours.model_error) == (wilson(34, 100), wilson(10, 100))
    assert ours.wrong.value == pytest.approx(0.24 / 0.875)
    assert 0 < ours.wrong.low < ours.wrong.value < ours.wrong.high < 0.45


def test_label_noise_is_cut_and_says_so() -> None:
    less = label_noise(["a"] * 50, ["a"] * 50, ["a"] * 50, ["b"] * 10 + ["a"] * 40, 3).wrong
    assert (less.value, less.low) == (0.0, 0.0)
    assert less.note.startswith("cut from -0.286: the model contradicts these labels less than real ones")
    more = label_noise(["a"] * 50, [None] * 50, ["a"] * 50, ["b"] * 10 + ["a"] * 40, 3).wrong
    assert (more.value, more.high) == (1.0, 1.0)
    assert "more than wrong labels alone would explain" in more.note


def test_label_noise_that_cannot_be_told() -> None:
    few = label_noise(["a"] * 9, ["a"] * 9, ["a"] * 50, ["a"] * 50, 2)
    assert few.wrong.note == "insufficient: 9 synthetic and 50 real rows; at least 10 of each are needed"
    assert label_noise([], [], [], [], 2).contradicted.note == "insufficient: no items"
    guessing = label_noise(["a"] * 50, ["b"] * 50, ["a", "b"] * 25, ["a"] * 50, 2).wrong
    assert guessing.value is None
    assert guessing.note.startswith("insufficient: the model's error on real rows may be that of guessing (0.50")
    with pytest.raises(ValueError, match="1 classes; at least 2"):
        label_noise([], [], [], [], 1)
    with pytest.raises(ValueError, match="1 real labels against 0 predictions"):
        label_noise([], [], ["a"], [], 2)


def answer_run(rng: np.random.Generator, wrong: float, error: float, made: int, real: int, shared: float = 0.0):
    """Contradictions of a model whose errors are its own, but for a share of the wrong answers, which it repeats."""
    bad, errs = rng.random(made) < wrong, rng.random(made) < error
    repeated = bad & (rng.random(made) < shared)
    return answer_noise(((bad | errs) & ~repeated).tolist(), (rng.random(real) < error).tolist())


@pytest.mark.parametrize(
    ("wrong", "error", "made", "real"), [(0.2, 0.15, 400, 300), (0.3, 0.3, 200, 300), (0.0, 0.2, 400, 150)]
)
def test_answer_noise_covers_the_truth(wrong: float, error: float, made: int, real: int) -> None:
    rng, runs = np.random.default_rng(11), 400
    estimates = [answer_run(rng, wrong, error, made, real).wrong for _ in range(runs)]
    assert sum(one.low <= wrong <= one.high for one in estimates) >= binom.ppf(0.001, runs, 0.95)
    if wrong:
        assert np.mean([one.value for one in estimates]) == pytest.approx(wrong, abs=0.02)


def test_errors_that_model_and_generator_share_are_not_seen() -> None:
    rng = np.random.default_rng(12)
    values = [answer_run(rng, 0.3, 0.1, 400, 300, shared=0.5).wrong.value for _ in range(100)]
    assert np.mean([one for one in values if one is not None]) < 0.2


def test_answer_noise_is_the_limit_of_label_noise_for_many_classes() -> None:
    made, real = [True] * 34 + [False] * 66, [True] * 10 + [False] * 90
    many = label_noise(["a"] * 100, ["b"] * 34 + ["a"] * 66, ["a"] * 100, ["b"] * 10 + ["a"] * 90, 10**6).wrong
    ours = answer_noise(made, real).wrong
    assert ours.value == pytest.approx(0.24 / 0.9)
    for end in ("value", "low", "high"):
        assert getattr(ours, end) == pytest.approx(getattr(many, end), abs=1e-5)


def test_a_model_that_is_often_wrong_is_no_witness_against_answers() -> None:
    found = answer_noise([True] * 60 + [False] * 40, [True] * 45 + [False] * 55)
    assert found.wrong.value is None
    assert found.wrong.note.startswith("insufficient: the model is wrong on as many as half of the real rows")
    assert (found.contradicted.value, found.model_error.value) == (0.6, 0.45)
