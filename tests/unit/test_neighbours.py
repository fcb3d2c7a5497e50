import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import neighbours
from harness.neighbours import BLOCK, MARGIN, Close, Exact, Known, Walk, close_pairs, turned
from harness.vectorindex import Indexed, measured_recall, ready_for_index


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def texts_like(count: int, size: int, seed: int) -> np.ndarray:
    """Vectors with most of their energy in few directions, as embeddings have it, and near twins among them."""
    rng = np.random.default_rng(seed)
    energy = 1 / np.arange(1, size + 1)
    rows = unit(rng.standard_normal((count, size)) * energy)
    twins = rng.integers(0, count, count // 5)
    rows[rng.integers(0, count, count // 5)] = rows[twins] + rng.standard_normal((len(twins), size)) * energy * 0.1
    return unit(rows)


def every_pair(rows: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    """All products in float64."""
    exact = rows.astype(np.float64) @ rows.astype(np.float64).T
    i, j = np.nonzero(np.triu(exact >= threshold, k=1))
    return set(zip(i.tolist(), j.tolist(), strict=True))


def pairs_of(found: Close) -> set[tuple[int, int]]:
    return set(zip(found.i.tolist(), found.j.tolist(), strict=True))


@pytest.mark.parametrize(("count", "size"), [(0, 384), (1, 384), (300, 384), (2 * BLOCK + 17, 384), (BLOCK + 1, 40)])
@pytest.mark.parametrize("threshold", [0.8, 0.92, 0.99])
def test_no_pair_is_missed_and_none_invented(count: int, size: int, threshold: float) -> None:
    rows = texts_like(count, size, seed=count) if count > 1 else np.ones((count, size), dtype=np.float32)
    assert pairs_of(close_pairs(rows, threshold)) == every_pair(rows, threshold)


def test_many_vectors_are_compared_by_a_prefix_of_them() -> None:
    rows = texts_like(2 * BLOCK, 384, seed=1)
    assert turned(rows, 0.92).bounds.shape[1] < 384
    # Without energy in front a prefix bounds nothing, and all of each row is multiplied.
    level = unit(np.random.default_rng(0).standard_normal((2 * BLOCK, 384)))
    assert turned(level, 0.2).bounds.shape[1] == 384
    assert pairs_of(close_pairs(level, 0.2)) == every_pair(level, 0.2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_bounds_are_bounds(seed: int) -> None:
    rows = texts_like(BLOCK + 50, 384, seed)
    bounds = turned(rows, 0.92).bounds.astype(np.float64)
    assert ((bounds @ bounds.T) + MARGIN >= rows.astype(np.float64) @ rows.astype(np.float64).T).all()


def test_a_pair_at_the_very_threshold_counts() -> None:
    rows = texts_like(2 * BLOCK, 384, seed=2)
    exact = float(rows[3].astype(np.float64) @ rows[BLOCK + 7].astype(np.float64))
    assert (3, BLOCK + 7) in pairs_of(close_pairs(rows, exact - 1e-12))
    assert (3, BLOCK + 7) not in pairs_of(close_pairs(rows, exact + 1e-12))


def greedy(rows: np.ndarray, threshold: float, order: list[int]) -> list[tuple[int, int | None]]:
    """Each row with the nearest row that stands, walked through one by one."""
    exact = rows.astype(np.float64) @ rows.astype(np.float64).T
    standing: list[int] = []
    said: list[tuple[int, int | None]] = []
    for row in order:
        best = max(standing, key=lambda other: exact[row, other], default=None)
        near = best if best is not None and exact[row, best] >= threshold else None
        said.append((row, near))
        if near is None:
            standing.append(row)
    return said


def walked(walk: Walk, order: list[int]) -> list[tuple[int, int | None]]:
    said: list[tuple[int, int | None]] = []
    for row in order:
        found = walk.nearest(row)
        said.append((row, None if found is None else found[0]))
        if found is None:
            walk.stand(row)
    return said


@pytest.mark.parametrize("shuffled", [False, True])
def test_walking_through_in_blocks_is_walking_through_one_by_one(
    shuffled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = texts_like(700, 384, seed=3)
    order = list(range(50, 700))
    if shuffled:
        np.random.default_rng(0).shuffle(order)
    expected = greedy(rows, 0.9, order)
    assert 20 < sum(near is not None for _, near in expected) < 600
    ready = turned(rows, 0.9)
    monkeypatch.setattr(neighbours, "BLOCK", 64)
    assert walked(Walk(ready, order, 0.9, Exact(ready, 0.9)), order) == expected


def test_an_index_finds_nearly_all_and_says_how_much() -> None:
    rows = texts_like(6_000, 64, seed=4)
    order = list(range(len(rows)))
    known: Known = Indexed(rows, 0.9)
    found = walked(Walk(ready_for_index(rows), order, 0.9, known), order)
    near = [row for row, other in found if other is not None]
    kept = [row for row, other in found if other is None]
    exact = [
        row
        for row, other in walked(Walk(turned(rows, 0.9), order, 0.9, Exact(turned(rows, 0.9), 0.9)), order)
        if other is not None
    ]
    assert len(near) > 500
    assert abs(len(near) - len(exact)) <= 0.03 * len(exact)
    recall = measured_recall(rows, kept, near, 0.9)
    assert recall.value is not None
    assert recall.value > 0.95
    # Rows that it never compared are misses, and are counted as such.
    blind = measured_recall(rows, order, [], 0.9)
    assert blind.value == 0


def test_what_an_index_says_is_right() -> None:
    rows = texts_like(3_000, 64, seed=5)
    index = Indexed(rows, 0.9)
    index.add(np.arange(0, 1_500))
    exact = rows.astype(np.float64) @ rows.astype(np.float64).T
    for row, (other, cosine) in index.nearest(np.arange(1_500, 3_000)).items():
        assert other < 1_500
        assert cosine == pytest.approx(exact[row, other], abs=1e-12)
        assert cosine >= 0.9
