"""Which of many unit vectors lie near each other: exact, at a fraction of what all products cost.

Vectors are turned so that their energy sits in front (eigenvectors of the second moments), and only a prefix of p
numbers is multiplied. What the prefix leaves out is bounded: ⟨x, y⟩ ≤ ⟨x_p, y_p⟩ + |x_r| |y_r| (Cauchy–Schwarz), so
with |x_r| as one more number a product of p + 1 numbers is an upper bound of the cosine. Pairs whose bound reaches the
threshold, less what rounding may take, are computed in float64; no pair is missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
BLOCK = 1024
"""Rows of a block: its bounds (4 MB) stay in the processor's cache while they are looked through."""
PREFIXES = (32, 64, 96, 128, 192)
MARGIN = 3e-5
"""Most that rounding takes from a bound: a float32 product of at most 193 numbers of vectors no longer than one is off
by less than 193 · 2⁻²⁴ ≈ 1.2e-5; prefix and rest are computed in float64 and rounded once, which is less than 1e-6."""
FALSE_ALARMS = 2e-4
"""Share of pairs that may be computed in full for nothing; a prefix that lets more through is too short."""
SAMPLE = 2_000


@dataclass(frozen=True, slots=True)
class Close:
    """Pairs of rows: `i[k]` of the one side, `j[k]` of the other, with their `cosine[k]` in float64."""

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    cosine: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Turned:
    """Vectors (n × d) ready to be compared: products of `bounds` (n × (p + 1)) are upper bounds of cosines."""

    vectors: Vectors
    bounds: Vectors

    def __len__(self) -> int:
        return len(self.vectors)


def turned(vectors: Vectors, threshold: float) -> Turned:
    """Choose how much of these unit rows to multiply, and make them ready."""
    if len(vectors) <= BLOCK:
        return Turned(vectors, vectors)
    chosen = np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(np.int64)
    sample = vectors[chosen].astype(np.float64)
    _, axes = np.linalg.eigh(sample.T @ sample)
    axes = axes[:, ::-1]
    near = _let_through(vectors[chosen], threshold)
    for size in PREFIXES:
        if size < vectors.shape[1]:
            bounds = _bounds(vectors[chosen], axes[:, :size])
            if _let_through(bounds, threshold) - near <= FALSE_ALARMS:
                return Turned(vectors, _bounds(vectors, axes[:, :size]))
    return Turned(vectors, np.ascontiguousarray(vectors))


def _bounds(vectors: Vectors, axes: NDArray[np.float64]) -> Vectors:
    """Prefix and length of the rest, n × (p + 1). Rounded up, as a bound must be."""
    out = np.empty((len(vectors), axes.shape[1] + 1), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        rows = vectors[start : start + BLOCK].astype(np.float64)
        prefix = rows @ axes
        rest = np.maximum((rows * rows).sum(axis=1) - (prefix * prefix).sum(axis=1), 0.0)
        out[start : start + BLOCK, :-1] = prefix
        out[start : start + BLOCK, -1] = np.nextafter(np.sqrt(rest).astype(np.float32), np.float32(2))
    return out


def _let_through(bounds: Vectors, threshold: float) -> float:
    """Share of a sample's pairs whose bound reaches the threshold."""
    reached = sum(
        int(np.count_nonzero(bounds[start : start + BLOCK] @ bounds.T >= threshold - MARGIN))
        for start in range(0, len(bounds), BLOCK)
    )
    return (reached - len(bounds)) / max(1, len(bounds) * (len(bounds) - 1))


def close_pairs(vectors: Vectors, threshold: float) -> Close:
    """All pairs i < j of unit rows (n × d, float32) with a cosine of at least `threshold`, by i, then j.

    The cosine is the float64 product of the float32 rows, so the pairs depend on nothing but them.
    """
    parts = [one for one in _triangle(turned(vectors, threshold), threshold) if len(one.i)]
    if not parts:
        return cosines_of(vectors, [], threshold)
    i, j, cosine = (np.concatenate([getattr(one, name) for one in parts]) for name in ("i", "j", "cosine"))
    order = np.lexsort((j, i))
    return Close(i[order], j[order], cosine[order])


def _triangle(ready: Turned, threshold: float) -> Iterator[Close]:
    for start in range(0, len(ready), BLOCK):
        mine = ready.bounds[start : start + BLOCK]
        found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for begin in range(start, len(ready), BLOCK):
            i, j = _reaching(mine, ready.bounds[begin : begin + BLOCK], threshold)
            if len(i):
                i, j = i + start, j + begin
                found.append((i[i < j], j[i < j]))
        yield cosines_of(ready.vectors, found, threshold)


def _reaching(one: Vectors, other: Vectors, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bounds = one @ other.T
    # Most blocks hold nothing, and a maximum is found sooner than places.
    if not bounds.size or bounds.max() < threshold - MARGIN:
        none = np.zeros(0, dtype=np.int64)
        return none, none
    i, j = np.divmod(np.flatnonzero(bounds >= threshold - MARGIN), len(other))
    return i, j


def cosines_of(
    vectors: Vectors, found: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], threshold: float
) -> Close:
    """Those of the pairs (rows of one side, of the other) whose cosine reaches the threshold."""
    none = np.zeros(0, dtype=np.int64)
    i = np.concatenate([none, *(pair[0] for pair in found)])
    j = np.concatenate([none, *(pair[1] for pair in found)])
    cosines = np.empty(len(i))
    for start in range(0, len(i), BLOCK):
        part = slice(start, start + BLOCK)
        cosines[part] = np.einsum("nd,nd->n", vectors[i[part]].astype(np.float64), vectors[j[part]].astype(np.float64))
    near = cosines >= threshold
    return Close(i[near], j[near], cosines[near])


class Known(Protocol):
    """Rows that others are compared with; they grow while a list of rows is walked through."""

    def nearest(self, rows: NDArray[np.int64]) -> Mapping[int, tuple[int, float]]:
        """Row → (nearest row that was added, cosine), for those of `rows` that have one at the threshold."""
        ...

    def add(self, rows: NDArray[np.int64]) -> None: ...


class Exact:
    """`Known` that misses nothing."""

    def __init__(self, ready: Turned, threshold: float) -> None:
        self._ready = ready
        self._threshold = threshold
        self._rows = np.empty(len(ready), dtype=np.int64)
        self._bounds = np.empty_like(ready.bounds)
        self._count = 0

    def nearest(self, rows: NDArray[np.int64]) -> dict[int, tuple[int, float]]:
        found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for start in range(0, self._count, BLOCK):
            end = min(start + BLOCK, self._count)
            i, j = _reaching(self._ready.bounds[rows], self._bounds[start:end], self._threshold)
            if len(i):
                found.append((rows[i], self._rows[start + j]))
        return best_of(cosines_of(self._ready.vectors, found, self._threshold))

    def add(self, rows: NDArray[np.int64]) -> None:
        end = self._count + len(rows)
        self._rows[self._count : end] = rows
        self._bounds[self._count : end] = self._ready.bounds[rows]
        self._count = end


def best_of(pairs: Close) -> dict[int, tuple[int, float]]:
    """For each `i` its nearest `j`; of equally near ones the smallest."""
    order = np.lexsort((pairs.j, -pairs.cosine, pairs.i))
    i, first = np.unique(pairs.i[order], return_index=True)
    chosen = order[first]
    return {
        int(row): (int(other), float(cosine))
        for row, other, cosine in zip(i, pairs.j[chosen], pairs.cosine[chosen], strict=True)
    }


class Walk:
    """Rows walked through in the order of `rows`, each compared with the earlier ones that stand.

    Blocks of rows are compared with `known` at once, and among themselves; `nearest` has to be asked in order.
    """

    def __init__(self, ready: Turned, rows: Sequence[int], threshold: float, known: Known) -> None:
        self._ready = ready
        self._rows = np.array(rows, dtype=np.int64)
        self._place = {int(row): place for place, row in enumerate(rows)}
        self._threshold = threshold
        self._known = known
        self._end = 0
        self._before: Mapping[int, tuple[int, float]] = {}
        self._beside: Mapping[int, list[tuple[int, float]]] = {}
        self._new: dict[int, None] = {}

    def nearest(self, row: int) -> tuple[int, float] | None:
        """(nearest row that stands, cosine), where there is one at the threshold."""
        if self._place[row] >= self._end:
            self._next_block()
        found = [pair for pair in self._beside.get(row, ()) if pair[0] in self._new]
        found += [self._before[row]] if row in self._before else []
        return max(found, key=lambda pair: (pair[1], -self._place.get(pair[0], -1)), default=None)

    def stand(self, row: int) -> None:
        """Later rows are compared with this one from now on."""
        self._new[row] = None

    def _next_block(self) -> None:
        self._known.add(np.array([*self._new], dtype=np.int64))
        self._new = {}
        block = self._rows[self._end : self._end + BLOCK]
        self._end += BLOCK
        self._before = self._known.nearest(block)
        i, j = _reaching(self._ready.bounds[block], self._ready.bounds[block], self._threshold)
        pairs = cosines_of(self._ready.vectors, [(block[i[i > j]], block[j[i > j]])], self._threshold)
        beside: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for row, other, cosine in zip(pairs.i.tolist(), pairs.j.tolist(), pairs.cosine.tolist(), strict=True):
            beside[row].append((other, cosine))
        self._beside = beside
