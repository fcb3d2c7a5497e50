"""How varied a set of items is, and how far it lies from another: figures on unit vectors, shapes (n, d) and (m, d).

Every one of them depends on the number of items (and, through the embedder, on their length), so compare sets of one
size only: `size_matched` cuts them. Distances are Euclidean, √(2 − 2 cos) between unit rows. Nothing here is a test;
`eval.collapse` makes one of the first two. Work is done in blocks: 10,000 items need no 10,000 × 10,000 matrix.

All raise ValueError for rows of another length than 1, of different widths or not finite, and for too few of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.outcomes import FloatArray, IntArray
from eval.vectors import unit_rows

BLOCK = 4_000_000
"""Distances held in memory at once (8 bytes each, two or three times over)."""
BANDWIDTH_ITEMS = 1000
"""Items that the kernel width of `mmd` is taken from; its median does not need more."""


def log_rke(items: NDArray[np.floating]) -> float:
    """−log ‖XᵀX/N‖²_F, X the unit rows: the log of how many modes there are, of order 2. N ≥ 1.

    0 when all items are the same, log N when all are orthogonal. Rényi kernel entropy (Jalali, Li & Farnia, NeurIPS
    2023): the log of the Vendi score of order 2 with the cosine as kernel (Pasarkar & Dieng 2023, arXiv 2310.12952).
    """
    (rows,) = _checked(1, items=items)
    return -math.log(float(np.square(_gram(rows)).sum()))


def vendi(items: NDArray[np.floating]) -> float:
    """The Vendi score of order 1: exp of the entropy of the eigenvalues of XXᵀ/N (Friedman & Dieng 2022, arXiv
    2210.02410), from 1 (all the same) to N (all orthogonal). N ≥ 1. It grows with N over thousands of items."""
    (rows,) = _checked(1, items=items)
    shares = np.linalg.eigvalsh(_gram(rows))
    shares = shares[shares > 0]
    return math.exp(-float(np.sum(shares * np.log(shares))))


def nearest(anchors: NDArray[np.floating], items: NDArray[np.floating]) -> FloatArray:
    """Distance of each of a ≥ 1 anchors to its nearest of n ≥ 1 items, shape (a,)."""
    real, made = _checked(1, anchors=anchors, items=items)
    return np.concatenate([block.min(axis=1) for block in _blocks(real, made)])


def nearest_two(anchors: NDArray[np.floating], items: NDArray[np.floating]) -> tuple[FloatArray, FloatArray, IntArray]:
    """Distances of each of a ≥ 1 anchors to its nearest and second nearest of n ≥ 2 items, and the nearest's position;
    three arrays of shape (a,)."""
    real, made = _checked(1, anchors=anchors, items=items)
    if len(made) < 2:
        raise ValueError("nearest_two: 1 item; a second nearest needs at least 2")
    near = np.concatenate([np.argpartition(block, 1, axis=1)[:, :2] for block in _blocks(real, made)])
    both = np.sqrt(np.maximum(2.0 - 2.0 * np.einsum("ad,akd->ak", real, made[near]), 0.0))
    swapped = both[:, 0] > both[:, 1]
    owner = np.where(swapped, near[:, 1], near[:, 0]).astype(np.int64)
    return both.min(axis=1), both.max(axis=1), owner


def nnr(anchors: NDArray[np.floating], items: NDArray[np.floating]) -> float:
    """Mean distance of real anchors to their nearest synthetic item: grows when a part of the real data is no longer
    written about (the recall side of nearest-neighbour measures; compare Alaa et al. 2022, arXiv 2102.08921)."""
    return float(nearest(anchors, items).mean())


def mmd(a: NDArray[np.floating], b: NDArray[np.floating], bandwidth: float | None = None) -> float:
    """Squared maximum mean discrepancy, unbiased, so it may fall below 0 (Gretton et al. 2012, JMLR 13:723, eq. 3).

    Kernel exp(−‖x − y‖² / (2·bandwidth²)); the bandwidth is the median distance within `b` unless given. At least 2
    items on each side.
    """
    one, other = _checked(2, a=a, b=b)
    width = bandwidth or median_distance(other)

    def total(x: FloatArray, y: FloatArray) -> float:
        return math.fsum(float(np.exp(-np.square(block) / (2 * width * width)).sum()) for block in _blocks(x, y))

    n, m = len(one), len(other)
    within = (total(one, one) - n) / (n * (n - 1)) + (total(other, other) - m) / (m * (m - 1))
    return within - 2 * total(one, other) / (n * m)


def median_distance(items: NDArray[np.floating]) -> float:
    """Median distance of two items, from at most 1,000 of them, evenly spaced; 1 where they are all the same."""
    (rows,) = _checked(2, items=items)
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), BANDWIDTH_ITEMS)).astype(np.int64)]
    distances = np.concatenate(list(_blocks(some, some)))[np.triu_indices(len(some), 1)]
    # A set of equal items has no width of its own; 1 is the distance of unit rows at 60 degrees.
    return float(np.median(distances)) or 1.0


def energy_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ over all pairs, 0 for equal sets, never below (Székely & Rizzo 2013,
    Journal of Statistical Planning and Inference 143:1249)."""
    one, other = _checked(1, a=a, b=b)

    def mean(x: FloatArray, y: FloatArray) -> float:
        return math.fsum(float(block.sum()) for block in _blocks(x, y)) / (len(x) * len(y))

    return max(0.0, 2 * mean(one, other) - mean(one, one) - mean(other, other))


def frechet(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Fréchet distance of two Gaussians with these means and covariances (Heusel et al. 2017, arXiv 1706.08500):
    ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½). At least 2 items on each side.

    With fewer items than dimensions it is far above 0 for equal sources: compare at one size, or not at all.
    """
    one, other = _checked(2, a=a, b=b)
    shift = float(np.square(one.mean(axis=0) - other.mean(axis=0)).sum())
    first, second = (_covariance(rows) for rows in (one, other))
    values, axes = np.linalg.eigh(first)
    root = axes * np.sqrt(np.maximum(values, 0.0)) @ axes.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0.0)).sum()
    return max(0.0, shift + float(np.trace(first) + np.trace(second) - 2 * shared))


@dataclass(frozen=True, slots=True)
class Overlap:
    """Shares, 0 to 1, of `overlap`: precision of synthetic items, recall and coverage of real ones."""

    precision: float
    recall: float
    coverage: float


def overlap(real: NDArray[np.floating], synthetic: NDArray[np.floating], k: int = 5) -> Overlap:
    """How far two sets lie within each other's k-nearest-neighbour balls. More than k items on each side.

    Precision: share of synthetic items in some real item's ball, recall: share of real items in some synthetic item's
    (Kynkäänniemi et al. 2019, arXiv 1904.06991). Coverage: share of real items with a synthetic one in their own ball
    (Naeem et al. 2020, arXiv 2002.09797). A ball reaches to its item's k-th nearest neighbour in its own set, which
    lies outside. `eval.shift.coverage` gives coverage with an interval and a reference.
    """
    if k < 1:
        raise ValueError(f"overlap: k {k!r} must be at least 1")
    one, other = _checked(k + 1, real=real, synthetic=synthetic)
    real_radius, made_radius = _radii(one, k), _radii(other, k)
    inside = np.zeros(len(other), dtype=np.bool_)
    recalled = covered = 0
    start = 0
    for block in _blocks(one, other):
        radius = real_radius[start : start + len(block)]
        start += len(block)
        inside |= (block < radius[:, None]).any(axis=0)
        recalled += int((block < made_radius).any(axis=1).sum())
        covered += int((block.min(axis=1) < radius).sum())
    return Overlap(float(inside.mean()), recalled / len(one), covered / len(one))


def neighbour_radii(items: NDArray[np.floating], k: int = 5) -> FloatArray:
    """Distance of each item to its k-th nearest other item, shape (n,); more than k items."""
    (rows,) = _checked(k + 1, items=items)
    return _radii(rows, k)


def size_matched(sizes: Sequence[int], size: int | None = None, seed: int = 0) -> tuple[IntArray, ...]:
    """Positions, rising, of a random subset of each set: `size` of them, or as many as the smallest set has.

    `size_matched([3, 2])` keeps both items of the second set and two of the first. A set of given length always loses
    the same positions. Raises ValueError where a set has fewer than `size`.
    """
    wanted = min(sizes, default=0) if size is None else size
    if any(one < wanted for one in sizes):
        raise ValueError(f"size_matched: sets of {list(sizes)!r} items cannot all be cut to {wanted!r}")
    return tuple(np.sort(np.random.default_rng(seed).permutation(one)[:wanted]).astype(np.int64) for one in sizes)


def _checked(least: int, **named: NDArray[np.floating]) -> list[FloatArray]:
    rows = unit_rows(**named)
    short = {what: len(one) for what, one in zip(named, rows, strict=True) if len(one) < least}
    if short:
        raise ValueError(f"too few items: {short}; at least {least} are needed")
    return rows


def _gram(rows: FloatArray) -> FloatArray:
    """XᵀX/N or XXᵀ/N, whichever is smaller: they share their eigenvalues other than 0."""
    n, width = rows.shape
    return (rows.T @ rows if width <= n else rows @ rows.T) / n


def _covariance(rows: FloatArray) -> FloatArray:
    centred = rows - rows.mean(axis=0)
    return centred.T @ centred / (len(rows) - 1)


def _blocks(a: FloatArray, b: FloatArray) -> Iterator[FloatArray]:
    """Distances of a's rows to all of b's, a block of rows at a time."""
    step = max(1, BLOCK // len(b))
    for start in range(0, len(a), step):
        cosines = a[start : start + step] @ b.T
        yield np.sqrt(np.maximum(2.0 - 2.0 * cosines, 0.0, out=cosines), out=cosines)


def _radii(rows: FloatArray, k: int) -> FloatArray:
    # The row itself is the nearest, so the k-th other one has place k from 0.
    return np.concatenate([np.partition(block, k, axis=1)[:, k] for block in _blocks(rows, rows)])
