"""An approximate index over many unit vectors. The only module that imports faiss.

Inverted lists (IVF): vectors are sorted into cells around centroids, and a query looks into the nearest cells only.
What it misses is measured (`measured_recall`), never assumed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.intervals import wilson
from harness.errors import MissingPackageError
from harness.neighbours import BLOCK, Turned, Vectors, best_of, cosines_of
from harness.records import Estimate

PROBED = 16
"""Cells that a query looks into."""
PER_CELL = 40
"""Vectors per centroid that training looks at."""
SAMPLE = 1_000


def available() -> bool:
    return importlib.util.find_spec("faiss") is not None


class Indexed:
    """`harness.neighbours.Known` by inverted lists: what it finds is right, it may miss some.

    Raises `MissingPackageError` where faiss is not installed.
    """

    def __init__(self, vectors: Vectors, threshold: float) -> None:
        if not available():
            raise MissingPackageError(
                "faiss is not installed, and an index over many vectors needs it: "
                "pip install 'synthetic-data-harness[scale]'"
            )
        import faiss

        cells = max(1, round(4 * len(vectors) ** 0.5))
        quantizer: Any = faiss.IndexFlatIP(vectors.shape[1])
        self._index: Any = faiss.IndexIVFFlat(quantizer, vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.seed = 0
        self._index.cp.max_points_per_centroid = PER_CELL
        self._index.train(vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), cells * PER_CELL)).astype(int)])
        self._index.nprobe = PROBED
        self._vectors = vectors
        self._threshold = threshold

    def nearest(self, rows: NDArray[np.int64]) -> dict[int, tuple[int, float]]:
        if not self._index.ntotal:
            return {}
        _, found = self._index.search(self._vectors[rows], 1)
        some = found[:, 0] >= 0
        return best_of(cosines_of(self._vectors, [(rows[some], found[some, 0])], self._threshold))

    def add(self, rows: NDArray[np.int64]) -> None:
        if len(rows):
            self._index.add_with_ids(self._vectors[rows], rows)


def measured_recall(vectors: Vectors, kept: Sequence[int], dropped: Sequence[int], threshold: float) -> Estimate:
    """Share of near duplicates that were found, of a sample of the rows that the index said yes or no about.

    `dropped` are rows that it found a nearer one for, `kept` those that it found none for; a kept one is a miss if an
    earlier kept one lies at the threshold, which is looked for exactly.
    """
    rows = np.sort(np.array([*kept, *dropped], dtype=np.int64))
    sample = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64)] if len(rows) else rows
    standing = np.sort(np.array(kept, dtype=np.int64))
    asked = np.intersect1d(sample, standing)
    missed: set[int] = set()
    for start in range(0, len(standing), BLOCK):
        block = standing[start : start + BLOCK]
        cosines = vectors[asked] @ vectors[block].T
        near = (cosines >= threshold) & (block[None, :] < asked[:, None])
        missed |= set(asked[near.any(axis=1)].tolist())
    found = len(sample) - len(asked)
    return wilson(found, found + len(missed))


def ready_for_index(vectors: Vectors) -> Turned:
    """Vectors as they are: an index needs no bounds."""
    return Turned(vectors, vectors)
