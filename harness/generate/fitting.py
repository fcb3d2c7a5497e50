"""Weights of the matrix as the seeds have them, instead of as somebody imagined them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.generate.matrix import in_slice
from harness.records import Example
from harness.spec import Dimension, Matrix

FREE = "any"
"""The value that leaves a dimension open; no seed has it, so it keeps its weight."""


def placed(dimension: Dimension, seeds: Sequence[Example]) -> dict[str, int]:
    """How many seeds have each value of a dimension, by the slices that they carry; a seed may have none.

    A dimension that is no slice of real data counts none.
    """
    found = [seed.slices.get(dimension.name, "") for seed in seeds]
    return {value: sum(in_slice(one, value) for one in found) for value in dimension.values}


def fitted(matrix: Matrix, seeds: Sequence[Example]) -> Matrix:
    """The matrix with each dimension's values weighed by the seeds that have them, plus one each, so that what the
    seeds happen to lack is still drawn. A dimension that no seed is placed in stays as written."""
    return matrix.model_copy(update={"dimensions": [_fitted(one, seeds) for one in matrix.dimensions]})


def _fitted(dimension: Dimension, seeds: Sequence[Example]) -> Dimension:
    counts = {value: count for value, count in placed(dimension, seeds).items() if value != FREE}
    if not sum(counts.values()):
        return dimension
    fixed = sum(weight for value, weight in dimension.values.items() if value != FREE)
    total = sum(counts.values()) + len(counts)
    weights = {value: fixed * (count + 1) / total for value, count in counts.items()}
    return dimension.model_copy(update={"values": {**dimension.values, **weights}})
