"""Results of theory that need no model: what collapse does to mass, states, errors and labels, and that ours sees it.

Modes are orthogonal unit vectors here, so that log RKE is −log of the collision mass and distances are 0 or √2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from collapse_cases import benchmark

from eval.confirm import confirm_paired
from eval.diversity import log_rke, nnr
from eval.worth import filter_worth

MODES = 30
ITEMS = 40
STEPS = 6


def zipf() -> np.ndarray:
    weights = 1 / np.arange(1, MODES + 1)
    return weights / weights.sum()


def masses(course: str, chains: int, seed: int) -> np.ndarray:
    """Collision mass of the items of each generation of the benchmark's toy, shape (chains, STEPS)."""
    sequences = benchmark("sequences")
    world = sequences.World(modes=MODES, items=ITEMS, width=MODES, spread=0.0)
    first = sequences.Sphere(world, np.eye(MODES), zipf())
    rng = np.random.default_rng(seed)
    return np.array(
        [[math.exp(-log_rke(items)) for items in getattr(sequences, course)(first, rng, STEPS)] for _ in range(chains)]
    )


def agrees(values: np.ndarray, expected: Sequence[float]) -> None:
    """Means over chains lie within 4 standard errors of what is expected."""
    errors = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    assert np.all(np.abs(values.mean(axis=0) - expected) < 4 * errors), (values.mean(axis=0), expected, errors)


def test_collision_mass_grows_as_seddik_says_when_data_is_replaced() -> None:
    """S_m = 1 − (1 − 1/n)^m (1 − S_0), Seddik et al. 2024; the items drawn from generation m are one more drawing."""
    start = float(np.square(zipf()).sum())
    values = masses("replaced", 600, seed=0)
    agrees(values, [1 - (1 - 1 / ITEMS) ** (step + 1) * (1 - start) for step in range(1, STEPS + 1)])
    assert values.mean(axis=0)[-1] > 1.5 * values.mean(axis=0)[0], "a generator that never changed would pass"


def test_collision_mass_levels_off_when_data_accumulates() -> None:
    """A fit to all data so far moves by 1/m of a fit to the newest, so 1 − S shrinks by 1 − 1/(n m²): Gerstgrasser's
    sum of 1/i² (2024) in a discrete distribution."""
    start = float(np.square(zipf()).sum())
    expected, rest = list[float](), 1 - start
    for step in range(1, STEPS + 1):
        rest *= 1 - 1 / (ITEMS * step**2)
        expected.append(1 - (1 - 1 / ITEMS) * rest)
    agrees(masses("accumulated", 600, seed=1), expected)


def test_a_state_is_absent_as_often_as_shumailov_says() -> None:
    """P(absent) = (1 − q)^M, Shumailov et al. 2024: nnR to one anchor a state is √2 times the share of absent ones."""
    weights, rng = zipf(), np.random.default_rng(2)
    values = np.array(
        [[nnr(np.eye(MODES), np.eye(MODES)[rng.choice(MODES, ITEMS, p=weights)]) / math.sqrt(2)] for _ in range(600)]
    )
    agrees(values, [float(((1 - weights) ** ITEMS).mean())])


def squared_errors(accumulate: bool, steps: int, seed: int, runs: int = 300) -> np.ndarray:
    """‖w_n − w‖² of linear regressions fitted to labels of the model before, shape (runs, steps).

    Sixty points of three features, noise of 1; the first model is fitted to real labels.
    """
    rng = np.random.default_rng(seed)
    errors = np.empty((runs, steps))
    for run in range(runs):
        features = rng.normal(size=(60, 3))
        fit = np.linalg.pinv(features)
        truth = rng.normal(size=3)
        model, labels = truth, list[np.ndarray]()
        for step in range(steps):
            labels.append(features @ model + rng.normal(size=60))
            model = fit @ (np.mean(labels, axis=0) if accumulate else labels[-1])
            errors[run, step] = np.square(model - truth).sum()
    return errors


def test_regression_error_grows_as_gerstgrasser_says() -> None:
    """Times n under replace, times Σ 1/i² under accumulate (Gerstgrasser et al. 2024); once: σ²d/(T − d − 1)."""
    steps = np.arange(1, 9)
    once = 3 / (60 - 3 - 1)
    agrees(squared_errors(False, 8, seed=3), once * steps)
    agrees(squared_errors(True, 8, seed=4), once * np.cumsum(1 / steps**2))


def test_loss_on_real_anchors_confirms_replace_and_hardly_accumulate() -> None:
    """The same regressions: the loss of 400 real anchors against that of the first model."""
    rng = np.random.default_rng(5)
    truth, features = rng.normal(size=10), rng.normal(size=(40, 10))
    fit = np.linalg.pinv(features)
    anchors = rng.normal(size=(400, 10))
    answers = anchors @ truth + rng.normal(size=400)
    rises: dict[bool, float] = {}
    for accumulate in (False, True):
        model, labels, columns = truth, list[np.ndarray](), list[np.ndarray]()
        for _ in range(9):
            labels.append(features @ model + rng.normal(size=40))
            model = fit @ (np.mean(labels, axis=0) if accumulate else labels[-1])
            columns.append((answers - anchors @ model) ** 2 / 2)
        found = confirm_paired("real NLL", np.array(columns).T, 9, None, 0.025)
        rises[accumulate] = found.means[-1] - found.means[0]
        assert accumulate or found.agrees
    assert rises[False] > 3 * abs(rises[True])


@pytest.mark.parametrize(("phi", "psi"), [(0.9, 0.3), (0.6, 0.6), (0.5, 0.8)])
def test_training_survives_below_fengs_p_star_and_not_above(phi: float, psi: float) -> None:
    """Labels wrong with probability p, a filter that keeps right ones with φ and wrong ones with ψ: the direction
    learnt from what is kept points the right way below p* = 1/(1 + ψ/φ) and the wrong way above (Feng et al. 2024)."""
    n = 20_000
    *_, p_star = filter_worth(round(phi * n), n, round(psi * n), n)
    assert p_star == pytest.approx(1 / (1 + psi / phi))
    rng = np.random.default_rng(6)
    side = rng.choice([-1.0, 1.0], size=n)
    points = side[:, None] * np.array([1.0, 0.5]) + rng.normal(size=(n, 2))
    for p, sign in ((p_star - 0.05, 1), (p_star + 0.05, -1)):
        wrong = rng.random(n) < p
        kept = rng.random(n) < np.where(wrong, psi, phi)
        learnt = (points * np.where(wrong, -side, side)[:, None])[kept].mean(axis=0)
        assert np.sign(learnt @ np.array([1.0, 0.5])) == sign
