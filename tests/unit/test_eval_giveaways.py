"""Telling words, strangest items, and clusters that are left out."""

from __future__ import annotations

import numpy as np
import pytest

from eval.giveaways import farthest, missed_clusters, telling_words

REAL = [f"the river of number {n}" for n in range(50)]
MADE = [f"the violin of number {n}" for n in range(50)]


def test_words_that_one_side_has_are_told_if_they_may_be_shown() -> None:
    found = telling_words(MADE, REAL, [*MADE, "a river in the seeds"])
    assert {one.word: (one.made, one.real) for one in found} == {"violin": (1.0, 0.0), "river": (0.0, 1.0)}
    assert [one.word for one in telling_words(MADE, REAL, MADE)] == ["violin"]
    assert telling_words(REAL[:25], REAL[25:], REAL) == ()
    assert telling_words([], REAL, REAL) == ()


def test_the_farthest_come_first() -> None:
    angles = np.radians([0, 80, 40, 10])
    items = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert farthest(items, items[:1], 2) == [1, 2]
    assert farthest(items, items[:0]) == []


def around(rng: np.random.Generator, centre: int, n: int) -> np.ndarray:
    rows = rng.normal(size=(n, 16)) * 0.2
    rows[:, centre] += 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("left_out", "named"), [(True, ["c2"]), (False, [])])
def test_a_cluster_that_no_synthetic_item_comes_near_is_named(left_out: bool, named: list[str]) -> None:
    rng = np.random.default_rng(0)
    anchors = np.concatenate([around(rng, 0, 40), around(rng, 1, 30), around(rng, 2, 4)])
    names = ["c1"] * 40 + ["c2"] * 30 + ["c3"] * 4
    real = np.concatenate([around(rng, 0, 40), around(rng, 1, 30), around(rng, 2, 4)])
    made = np.concatenate([around(rng, 0, 80), around(rng, 0 if left_out else 1, 60), around(rng, 2, 8)])
    found = missed_clusters(anchors, names, made, real, seed=0)
    assert [one.name for one in found] == named
    if left_out:
        assert found[0].anchors == 30
        assert (found[0].missed.value or 0) > 0.9
        assert found[0].q < 0.001
    assert missed_clusters(anchors, names, made[:5], real, seed=0) == ()
