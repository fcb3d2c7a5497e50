"""Which real items belong together: near duplicates by embedding, and rows that share a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_CELLS = 1 << 24
"""Cosines held at once: 64 MB."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """For each item the number of its near-duplicate group (`near`), and of the group that the split keeps together
    (`whole`: near duplicates and the group column, chained). A group's number is the position of its first item."""

    near: tuple[int, ...]
    whole: tuple[int, ...]


def group(vectors: NDArray[np.float32], threshold: float, values: Sequence[str | None]) -> Grouping:
    """Connected components of "cosine > threshold" (exact, all pairs), and of that joined by equal `values`.

    `vectors` is (n, d) with unit rows; `values[i]` is item i's source, None when it has none. Chains count: if a is
    near b and b near c, all three are one group.
    """
    near = _near_components(vectors, threshold)
    first: dict[str, int] = {}
    edges = [(i, first.setdefault(value, i)) for i, value in enumerate(values) if value is not None]
    whole = _join(near, np.array(edges, dtype=np.int64).reshape(-1, 2))
    return Grouping(tuple(near.tolist()), tuple(whole.tolist()))


def _near_components(vectors: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    count = len(vectors)
    labels = np.arange(count, dtype=np.int64)
    step = max(1, BLOCK_CELLS // max(1, count))
    for start in range(0, count, step):
        # Rounding puts the cosine of equal vectors a hair above 1, where a threshold of 1 must still say "not above".
        cosines = np.minimum(vectors[start : start + step] @ vectors[start:].T, 1.0)
        pairs = np.argwhere(cosines > threshold) + start
        labels = _join(labels, pairs[pairs[:, 0] < pairs[:, 1]])
    return labels


def _join(labels: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """The groups in `labels` (n,), joined along `edges` (m, 2), each named by the position of its first member."""
    if not len(edges):
        return labels
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(labels)
    left, right = np.concatenate([np.stack([np.arange(count), labels], axis=1), edges]).T
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(count, count))
    _, found = connected_components(graph, directed=False)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)
