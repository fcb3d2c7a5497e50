"""The two alarms for held-out text that crossed, on planted and on null cases."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict

import numpy as np
import pytest
from eval_items import LABELS, answers, items, right_or_not, simulated
from scipy.stats import binom
from sklearn.metrics import f1_score

from eval.intervals import independent_shares
from eval.leak import dev_test_difference, nearest_distance_asymmetry, subset_weights


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clouds(rng: np.random.Generator, centres: np.ndarray, n: int, spread: float = 1.2) -> np.ndarray:
    """Rows around randomly chosen centres."""
    width = centres.shape[1]
    return unit(centres[rng.integers(len(centres), size=n)] + spread * rng.normal(size=(n, width)) / math.sqrt(width))


def test_accuracy_on_dev_and_test_is_newcombe() -> None:
    dev, test = items(["HUM"] * 60), items(["LOC"] * 90, prefix="t")
    on_dev, on_test = right_or_not(dev, [True] * 50 + [False] * 10), right_or_not(test, [True] * 60 + [False] * 30)
    ours = dev_test_difference("accuracy", dev, on_dev, test, on_test, resamples=300, seed=0)
    assert ours == independent_shares(50, 60, 60, 90)
    assert ours.low > 0


def test_macro_f1_is_over_the_labels_that_both_have() -> None:
    dev, (on_dev,) = simulated(np.random.default_rng(0), 200, [0.8])
    test, (on_test,) = simulated(np.random.default_rng(1), 300, [0.7], prefix="t")
    keep = [one.label != "ABBR" for one in dev]
    dev, on_dev = list(itertools.compress(dev, keep)), list(itertools.compress(on_dev, keep))
    ours = dev_test_difference("macro_f1", dev, on_dev, test, on_test, resamples=500, seed=0)
    scores = [
        f1_score([e.label for e in some], [p.label for p in preds], labels=LABELS[1:], average="macro")
        for some, preds in ((dev, on_dev), (test, on_test))
    ]
    assert ours.value == pytest.approx(scores[0] - scores[1])
    assert ours.low < 0.1 < ours.high
    assert ours.n == len(dev)
    assert ours.note == "mean over the labels on both sides; one side lacks ABBR"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_dev_and_test_without_items_or_a_common_label(metric: str) -> None:
    dev, test = items(["HUM"] * 20), items(["LOC"] * 20, prefix="t")
    on_dev, on_test = answers(dev, ["HUM"] * 20), answers(test, ["HUM"] * 20)
    assert dev_test_difference(metric, [], [], test, on_test, resamples=300, seed=0).note == "insufficient: no items"
    ours = dev_test_difference(metric, dev, on_dev, test, on_test, resamples=300, seed=0)
    if metric == "macro_f1":
        assert ours.value is None
        assert ours.note.startswith("insufficient: the figure is not defined on these items")
        assert "one side lacks HUM, LOC" in ours.note
    else:
        assert ours.value == 1.0


@pytest.mark.parametrize(("total", "size"), [(4, 2), (5, 5), (6, 1), (7, 3)])
def test_weights_are_shares_of_all_subsets(total: int, size: int) -> None:
    subsets = list(itertools.combinations(range(total), size))
    expected = [sum(min(one) == place for one in subsets) / len(subsets) for place in range(total)]
    assert subset_weights(total, size).tolist() == pytest.approx(expected)


def test_the_expected_nearest_cosine_and_its_jackknife_by_hand() -> None:
    rng = np.random.default_rng(2)
    made, dev, test = (unit(rng.normal(size=(n, 4))) for n in (12, 10, 11))

    def nearest(held_out: np.ndarray) -> np.ndarray:
        """Mean over all subsets of 5, shape (synthetic,)."""
        cosines = made @ held_out.T
        subsets = itertools.combinations(range(len(held_out)), 5)
        return np.mean([cosines[:, list(one)].max(axis=1) for one in subsets], axis=0)

    def noise(held_out: np.ndarray) -> float:
        without = [nearest(np.delete(held_out, one, axis=0)).mean() for one in range(len(held_out))]
        return (len(held_out) - 1) * float(np.var(without))

    ours = nearest_distance_asymmetry(made, dev, test)
    gaps = nearest(dev) - nearest(test)
    half = 1.959963984540054 * math.sqrt(gaps.var(ddof=1) / 12 + noise(dev) + noise(test))
    assert ours.size == 5
    assert (ours.to_dev, ours.to_test) == pytest.approx((nearest(dev).mean(), nearest(test).mean()))
    assert (ours.difference.value, ours.difference.low, ours.difference.high) == pytest.approx(
        (gaps.mean(), gaps.mean() - half, gaps.mean() + half)
    )


def test_working_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    sides = [unit(rng.normal(size=(n, 4))).astype(np.float32) for n in (50, 20, 30)]
    whole = nearest_distance_asymmetry(*sides)
    monkeypatch.setattr("eval.leak.BLOCK", 90)
    blocks = nearest_distance_asymmetry(*sides)
    assert (blocks.difference.low, blocks.to_dev) == pytest.approx((whole.difference.low, whole.to_dev))


@pytest.mark.parametrize(
    ("made", "dev", "test", "spread"),
    [(150, 60, 150, 1.2), (150, 150, 60, 1.2), (200, 12, 120, 1.2), (150, 40, 200, 0.4)],
)
def test_exchangeable_dev_and_test_rarely_alarm(made: int, dev: int, test: int, spread: float) -> None:
    """Synthetic items have a dialect and few topics; dev and test come from one pool. .025 is nominal on each side, the
    bound what a process with .05 goes beyond once in a thousand times."""
    rng, runs, nearer, farther = np.random.default_rng(3), 200, 0, 0
    for _ in range(runs):
        centres = unit(rng.normal(size=(12, 16)))
        synthetic = unit(clouds(rng, centres[:5], made, spread) + 0.1 * rng.normal(size=16))
        ours = nearest_distance_asymmetry(
            synthetic, clouds(rng, centres, dev, spread), clouds(rng, centres, test, spread)
        )
        nearer += bool(ours.alarm)
        farther += ours.difference.high < 0
    assert nearer <= binom.ppf(0.999, runs, 0.05)
    assert farther <= binom.ppf(0.999, runs, 0.05)


def test_noisy_copies_of_dev_items_alarm() -> None:
    """A fifth of the synthetic items rephrases dev; the same of test does not alarm."""
    rng, runs, found = np.random.default_rng(4), 50, 0
    for _ in range(runs):
        centres = unit(rng.normal(size=(12, 16)))
        synthetic, dev, test = (clouds(rng, centres, n) for n in (200, 80, 160))
        copies = unit(dev[rng.integers(80, size=40)] + 0.03 * rng.normal(size=(40, 16)))
        found += bool(nearest_distance_asymmetry(np.concatenate([synthetic[40:], copies]), dev, test).alarm)
        swapped = nearest_distance_asymmetry(np.concatenate([synthetic[40:], copies]), test, dev)
        assert swapped.alarm is False
    assert found >= 0.8 * runs


def test_too_few_items_are_insufficient_and_say_so() -> None:
    rng = np.random.default_rng(5)
    rows = unit(rng.normal(size=(30, 4)))
    for sides in ((rows, rows[:9], rows), (rows[:9], rows, rows), (rows, rows, rows[:9])):
        ours = nearest_distance_asymmetry(*sides)
        assert (ours.alarm, ours.to_dev, ours.size, ours.difference.value) == (None, None, 0, None)
        assert ours.difference.note.startswith("insufficient: 9 items on one side")
    empty = nearest_distance_asymmetry(rows, np.zeros(0), rows)
    assert empty.difference.note.startswith("insufficient: 0 items")


def test_equal_items_on_both_sides_differ_by_nothing() -> None:
    rows = unit(np.random.default_rng(6).normal(size=(40, 4)))
    ours = nearest_distance_asymmetry(rows, rows, rows)
    assert (ours.difference.value, ours.alarm) == (0.0, False)
    flat = nearest_distance_asymmetry(*[np.tile([1.0, 0.0], (20, 1))] * 3)
    assert flat.alarm is False
    assert "nan" not in str(asdict(flat))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((20, 4), 0.9), r"dev: row 0 has length 1\.8, and 20 of 20 rows"),
        (np.full((20, 4), np.nan), "dev: row 0 has length nan"),
        (np.zeros((20, 4)), r"dev: row 0 has length 0\.0"),
        (np.ones(20), r"dev: vectors of shape \(20,\); allowed is \(items, dimensions\)"),
        (np.full((20, 1), 1.0), r"different dimensions: {'synthetic': 4, 'dev': 1, 'test': 4}"),
    ],
)
def test_rows_that_are_no_unit_vectors_are_refused(bad: np.ndarray, message: str) -> None:
    rows = unit(np.random.default_rng(7).normal(size=(20, 4)))
    with pytest.raises(ValueError, match=message):
        nearest_distance_asymmetry(rows, bad, rows)
