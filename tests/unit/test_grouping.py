import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness import grouping
from harness.grouping import group


def unit(rows: list[list[float]]) -> NDArray[np.float32]:
    array = np.array(rows, dtype=np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_chains_are_one_group_named_by_its_first_item() -> None:
    angles = np.array([0.0, 2.0, 0.3, 0.6])
    vectors = unit([[float(np.cos(a)), float(np.sin(a))] for a in angles])
    assert group(vectors, 0.95, [None] * 4).near == (0, 1, 0, 0)


def test_the_threshold_is_exclusive() -> None:
    vectors = unit([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
    assert group(vectors, 1.0, [None] * 3).near == (0, 1, 2)
    assert group(vectors, 0.99, [None] * 3).near == (0, 0, 2)


def test_the_group_column_chains_with_near_duplicates() -> None:
    vectors = unit([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    found = group(vectors, 0.9, [None, "ann", "ann", None])
    assert found.near == (0, 0, 2, 3)
    assert found.whole == (0, 0, 0, 3)


def test_rows_without_a_source_are_not_thrown_together() -> None:
    assert group(unit([[1, 0], [0, 1]]), 0.9, [None, None]).whole == (0, 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40))
def test_blocks_do_not_change_the_groups(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(count, 3)).tolist())
    whole = group(vectors, 0.9, [None] * count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "BLOCK_CELLS", 1)
        assert group(vectors, 0.9, [None] * count) == whole
    near = vectors @ vectors.T > 0.9
    assert all(whole.near[i] == whole.near[j] for i, j in np.argwhere(near))
