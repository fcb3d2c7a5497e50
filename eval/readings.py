"""What the collapse detector reads from each generation: its items cut into batches of one size, two figures a batch.

`eval.collapse` judges them. Exact duplicates stay in: they are how a generator narrows, and generation 0 shows how many
are usual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

from eval.diversity import nearest_two
from eval.outcomes import FloatArray, IntArray
from eval.vectors import unit_rows

MIN_BATCHES = 4
"""With fewer batches of generation 0 their spread says next to nothing: t on 2 degrees of freedom or less."""
PARTS = 8
"""So many parts of one set are used like batches; fewer say less of their spread than their items do."""
MIN_SIZE = 10
"""Fewest items in a batch where the batches' own spread counts."""
MIN_SET = 50
"""Fewest items in a batch where its spread is worked out from its items."""
MIN_ANCHORS = 20
"""Fewest anchors for nnR."""
REFERENCE = 200
"""Most items of generation 0 that are held back where there are no anchors."""

Vectors = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of items as the statistics see it. `variance` is that of log RKE (jackknife). By anchor: the
    distance of its nearest item, of the second nearest, and which item of the batch the nearest is."""

    log_rke: float
    variance: float
    nearest: tuple[float, ...]
    second: tuple[float, ...]
    owner: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Readings:
    """One generation, cut into disjoint batches of one size. Without batches `why` says why not."""

    batches: tuple[Batch, ...]
    items: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Generation 0: batches of `size` items. `why` says why there is no baseline.

    `cut`: they are parts of fewer than 4 sets, not batches of their own. `by_items`: there are fewer than 8 such parts,
    so that their spread is worked out from the items. Can be written and read again, so that generation 0 need not be
    embedded twice.
    """

    batches: tuple[Batch, ...]
    size: int
    cut: bool
    by_items: bool
    why: str = ""

    @classmethod
    def of(
        cls, batches: Sequence[Vectors], anchors: Vectors | None = None, size: int | None = None, seed: int = 0
    ) -> Baseline:
        """From the unit vectors of generation 0's batches, shapes (n_i, d), and of the anchors, (a, d).

        `size` items of each batch count, drawn by `seed`: as many as the smallest batch has unless given; give
        `matched_size` where generations differ in size. Fewer than 4 batches are cut into all the parts of `size` that
        they give. Raises ValueError for vectors that are not unit rows of one width, and for a size below 1.
        """
        if size is not None and size < 1:
            raise ValueError(f"Baseline: size {size!r} must be at least 1")
        rows = [unit_rows(batch=one)[0] for one in batches]
        sizes = [len(one) for one in rows]
        wanted = min(sizes, default=0) if size is None else size
        cut = len(rows) < MIN_BATCHES
        parts = [part for one in rows for part in _parts(one, wanted, seed)[: None if cut else 1]] if wanted else []
        by_items = cut and len(parts) < PARTS
        least = max(wanted, MIN_SET if by_items else MIN_SIZE)
        if min([wanted, *sizes]) < least or not parts:
            why = f"Generation 0 has {f'batches of {sizes}' if sizes else 'no'} items; a batch needs at least {least}."
            return cls((), wanted, cut, by_items, why)
        return cls(tuple(_batch(part, anchors) for part in parts), wanted, cut, by_items)


def matched_size(batches: Sequence[int], generations: Sequence[int]) -> int:
    """The size at which all are compared, from the sizes of generation 0's batches and of the later generations: that
    of the smallest.

    A later generation with less than half of the median one's items does not count: it is not judged, rather than all
    others judged on as few items.
    """
    large = [size for size in generations if size >= MIN_SIZE]
    usual = median_low(large) if large else 0
    return min([*batches, *(size for size in large if 2 * size >= usual)], default=0)


def measure(items: Vectors, anchors: Vectors | None, size: int, seed: int = 0) -> Readings:
    """The statistics of one generation: unit vectors (n, d), cut at random into as many disjoint batches of `size` as
    they give; a rest is left out.

    Too few items are no error: the readings say so. Raises ValueError for vectors that are not unit rows of one width.
    """
    (rows,) = unit_rows(items=items)
    if len(rows) < max(2, size):
        return Readings((), len(rows), f"{len(rows)} items, and {max(2, size)} are compared")
    return Readings(tuple(_batch(part, anchors) for part in _parts(rows, size, seed)), len(rows))


def _parts(rows: FloatArray, size: int, seed: int) -> list[FloatArray]:
    """Disjoint random parts of `size` rows."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[order[start : start + size]] for start in range(0, len(rows) - size + 1, size)]


def _batch(rows: FloatArray, anchors: Vectors | None) -> Batch:
    value, variance = log_rke_jackknife(rows)
    if anchors is None or len(anchors) == 0:
        return Batch(value, variance, (), (), ())
    near, second, owner = nearest_two(anchors, rows)
    return Batch(value, variance, tuple(near.tolist()), tuple(second.tolist()), tuple(owner.tolist()))


def log_rke_jackknife(rows: FloatArray) -> tuple[float, float]:
    """Log RKE (`eval.diversity.log_rke`) of n ≥ 2 unit rows, and its variance over samples of their kind.

    The variance is the delete-one jackknife's (Efron & Stein 1981, Annals of Statistics 9:586), whose n values have a
    closed form. On toys with Zipf weights it is 1.05 to 1.13 times the true one; more where modes are equally
    frequent, since the collision mass then has no first-order term.
    """
    n, width = rows.shape
    # Σ_j (x_i·x_j)² of each row i, by whichever product is smaller; together they are ‖XᵀX‖²_F.
    by_row = np.square(rows @ rows.T).sum(axis=1) if n <= width else ((rows @ (rows.T @ rows)) * rows).sum(axis=1)
    whole = float(by_row.sum())
    left_out = (whole - 2 * by_row + 1) / (n - 1) ** 2
    return -math.log(whole / n**2), float((n - 1) * np.log(np.maximum(left_out, 1e-12)).var())


def nnr_variance(batch: Batch, usable: IntArray, size: int) -> float:
    """Variance of nnR over samples of a batch's `size` items, the anchors given, by the delete-one jackknife: without
    an item its anchors fall to their second nearest. Above the true one, on toys by half to nearly double, because a
    minimum is not smooth: a limit from it warns too rarely rather than too often."""
    losses = (np.array(batch.second) - np.array(batch.nearest))[usable] / len(usable)
    by_item = np.bincount(np.array(batch.owner, dtype=np.int64)[usable], weights=losses, minlength=size)
    return float((size - 1) * by_item.var())


def held_back(batches: Sequence[int], seed: int = 0) -> list[tuple[IntArray, IntArray]]:
    """For each batch of generation 0 the positions held back as a reference in place of anchors, and the others.

    Half of the items, at most 200 over all batches, drawn by `seed`. Against such a reference nnR sees what generation
    0 wrote and later ones no longer do; what generation 0 itself lacks of the real data it cannot see.
    """
    share = min(0.5, REFERENCE / max(1, sum(batches)))
    rng = np.random.default_rng(seed)
    found: list[tuple[IntArray, IntArray]] = []
    for size in batches:
        order = rng.permutation(size).astype(np.int64)
        kept = round(share * size)
        found.append((np.sort(order[:kept]), np.sort(order[kept:])))
    return found
