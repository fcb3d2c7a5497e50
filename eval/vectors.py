"""Checks of the vectors that come in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eval.outcomes import FloatArray


def unit_rows(**named: NDArray[np.floating]) -> list[FloatArray]:
    """The rows of each as float64, shape (n, d); no rows may come as an empty array of any shape.

    Raises ValueError, with the name, for another shape, for other widths than one, for a number that is not finite, and
    for a row whose length is not 1.
    """
    checked = [_checked(vectors, what) for what, vectors in named.items()]
    widths = {what: one.shape[1] for what, one in zip(named, checked, strict=True) if len(one)}
    if len(set(widths.values())) > 1:
        raise ValueError(f"vectors of different dimensions: {widths}; take all of them from one embedder")
    return checked


def _checked(vectors: NDArray[np.floating], what: str) -> FloatArray:
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.size == 0:
        return np.zeros((0, rows.shape[-1] if rows.ndim == 2 else 0))
    if rows.ndim != 2:
        raise ValueError(f"{what}: vectors of shape {rows.shape}; allowed is (items, dimensions)")
    lengths = np.linalg.norm(rows, axis=1)
    bad = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))
    if len(bad):
        raise ValueError(
            f"{what}: row {int(bad[0])} has length {float(lengths[bad[0]])!r}, and {len(bad)} of {len(rows)} rows have "
            "another length than 1; divide each row by its norm"
        )
    return rows
