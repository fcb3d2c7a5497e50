"""Measures of spread and distance: against other implementations, plain formulas, and what must not matter."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from eval import diversity
from eval.diversity import (
    energy_distance,
    frechet,
    log_rke,
    median_distance,
    mmd,
    nearest,
    nearest_two,
    neighbour_radii,
    nnr,
    overlap,
    size_matched,
    vendi,
)

PAIRS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "nnr": nnr,
    "mmd": mmd,
    "energy": energy_distance,
    "frechet": frechet,
    "precision": lambda a, b: overlap(a, b).precision,
    "recall": lambda a, b: overlap(a, b).recall,
    "coverage": lambda a, b: overlap(a, b).coverage,
    "rke": lambda a, b: log_rke(b),
    "vendi": lambda a, b: vendi(b),
}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sets(seed: int, n: int = 90, m: int = 70, width: int = 8, shift: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(n, width))), unit(rng.normal(size=(m, width)) + shift)


@pytest.mark.parametrize(("n", "width"), [(40, 8), (8, 40)])
def test_vendi_and_rke_are_those_of_the_vendi_score_package(n: int, width: int) -> None:
    from vendi_score import vendi as package

    rows = unit(np.random.default_rng(0).normal(size=(n, width)))
    assert vendi(rows) == pytest.approx(package.score_dual(rows, q=1, normalize=False))
    assert np.exp(log_rke(rows)) == pytest.approx(package.score_dual(rows, q=2, normalize=False))


@pytest.mark.parametrize("k", [1, 5])
def test_precision_recall_and_coverage_are_those_of_the_prdc_package(k: int) -> None:
    from prdc import compute_prdc

    real, made = sets(1, shift=1.0)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = compute_prdc(real, made, nearest_k=k)
    ours = overlap(real, made, k)
    assert ours.precision == pytest.approx(theirs["precision"])
    assert ours.recall == pytest.approx(theirs["recall"])
    assert ours.coverage == pytest.approx(theirs["coverage"])
    assert 0 < ours.recall < ours.precision <= 1


def test_the_ends_of_the_scale() -> None:
    same, orthogonal = np.tile([[0.6, 0.8, 0.0]], (5, 1)), np.eye(6)
    assert log_rke(same) == pytest.approx(0.0, abs=1e-12)
    assert vendi(same) == pytest.approx(1.0)
    assert log_rke(orthogonal) == pytest.approx(np.log(6))
    assert vendi(orthogonal) == pytest.approx(6.0)
    assert nnr(orthogonal[:2], orthogonal[2:]) == pytest.approx(np.sqrt(2))
    assert nnr(same, same) == pytest.approx(0.0, abs=1e-7)
    assert energy_distance(orthogonal, orthogonal) == pytest.approx(0.0, abs=1e-12)
    assert frechet(orthogonal, orthogonal) == pytest.approx(0.0, abs=1e-6)
    assert mmd(same, same) == pytest.approx(0.0, abs=1e-12)


def test_the_plain_formulas() -> None:
    a, b = sets(2)
    between, within_a, within_b = cdist(a, b), cdist(a, a), cdist(b, b)
    assert nearest(a, b) == pytest.approx(between.min(axis=1))
    assert energy_distance(a, b) == pytest.approx(2 * between.mean() - within_a.mean() - within_b.mean())
    width = float(np.median(within_b[np.triu_indices(len(b), 1)]))
    assert median_distance(b) == pytest.approx(width)
    kernel = [np.exp(-(one**2) / (2 * width**2)) for one in (within_a, within_b, between)]
    n, m = len(a), len(b)
    plain = (kernel[0].sum() - n) / (n * (n - 1)) + (kernel[1].sum() - m) / (m * (m - 1)) - 2 * kernel[2].mean()
    assert mmd(a, b) == pytest.approx(plain)
    covariances = [np.cov(one, rowvar=False) for one in (a, b)]
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    means = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    assert frechet(a, b) == pytest.approx(means + np.trace(covariances[0] + covariances[1] - 2 * root))


def test_the_nearest_two_and_whose_the_nearest_is() -> None:
    a, b = sets(3)
    first, second, owner = nearest_two(a, b)
    ranked = np.sort(cdist(a, b), axis=1)
    assert first == pytest.approx(ranked[:, 0])
    assert second == pytest.approx(ranked[:, 1])
    assert owner.tolist() == cdist(a, b).argmin(axis=1).tolist()
    assert neighbour_radii(a, 3) == pytest.approx(np.sort(cdist(a, a), axis=1)[:, 3], abs=1e-7)


@pytest.mark.parametrize("name", PAIRS)
def test_blocks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = sets(4)
    whole = PAIRS[name](a, b)
    monkeypatch.setattr(diversity, "BLOCK", 200)
    assert PAIRS[name](a, b) == pytest.approx(whole)


@pytest.mark.parametrize("name", PAIRS)
def test_order_and_rotation_change_nothing(name: str) -> None:
    a, b = sets(5)
    rng = np.random.default_rng(6)
    turn, _ = np.linalg.qr(rng.normal(size=(a.shape[1], a.shape[1])))
    plain = PAIRS[name](a, b)
    assert PAIRS[name](rng.permutation(a), rng.permutation(b)) == pytest.approx(plain)
    assert PAIRS[name](a @ turn, b @ turn) == pytest.approx(plain)


@pytest.mark.parametrize("name", ["mmd", "energy", "frechet"])
def test_a_distance_grows_with_the_shift(name: str) -> None:
    near, far = sets(7, shift=0.3), sets(7, shift=1.5)
    assert 0 < PAIRS[name](*near) < PAIRS[name](*far)


def test_fewer_modes_mean_less_spread_and_farther_anchors() -> None:
    rng = np.random.default_rng(8)
    centres = unit(rng.normal(size=(20, 16)))

    def drawn(modes: int) -> np.ndarray:
        return unit(centres[rng.integers(modes, size=200)] + 0.1 * rng.normal(size=(200, 16)))

    all_of_them, some = drawn(20), drawn(5)
    assert log_rke(some) < log_rke(all_of_them)
    assert vendi(some) < vendi(all_of_them)
    assert nnr(drawn(20), some) > nnr(drawn(20), all_of_them)


def test_sets_are_cut_to_one_size() -> None:
    first, second = size_matched([5, 3])
    assert len(first) == len(second) == 3
    assert second.tolist() == [0, 1, 2]
    assert sorted(set(first.tolist())) == first.tolist()
    assert size_matched([50, 50], 10, seed=1)[0].tolist() != size_matched([50, 50], 10, seed=2)[0].tolist()
    with pytest.raises(ValueError, match=r"sets of \[5, 3\] items cannot all be cut to 4"):
        size_matched([5, 3], 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_rke(np.zeros((0, 3))), "too few items: {'items': 0}; at least 1"),
        (lambda: nnr(np.eye(3), np.zeros((0, 3))), "too few items: {'items': 0}"),
        (lambda: nearest_two(np.eye(3), np.eye(3)[:1]), "a second nearest needs at least 2"),
        (lambda: mmd(np.eye(3)[:1], np.eye(3)), "too few items: {'a': 1}; at least 2"),
        (lambda: overlap(np.eye(3), np.eye(3), 3), "at least 4"),
        (lambda: overlap(np.eye(3), np.eye(3), 0), "k 0 must be at least 1"),
        (lambda: vendi(2 * np.eye(3)), "row 0 has length 2.0"),
        (lambda: vendi(np.full((2, 2), np.nan)), "row 0 has length nan"),
        (lambda: energy_distance(np.eye(3), np.eye(4)), "different dimensions"),
    ],
)
def test_what_cannot_be_measured_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
