"""Which groups of anchors are rare in the real data: named before generation 1 is made, so that whether they are still
written about is a test and no search through the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval.confirm import RareSlices, matched_radii
from harness.records import Example

LEAST_ANCHORS = 3
"""A slice with fewer anchors is left out: one text more or less would be a third of it or more."""
TOGETHER = "all rare slices together"


def rare_slices(
    real: Sequence[Example],
    anchors: Sequence[Example],
    vectors: tuple[NDArray[np.floating], NDArray[np.floating]],
    columns: Sequence[str],
    share: float,
    size: int,
) -> RareSlices | None:
    """Slices by label and by `columns` that make up less than `share` of the `real` rows which generation 0 learns, and
    all of their anchors together where there are several. None where nothing is rare.

    `vectors` are the unit vectors of `real` and of `anchors`; `size` is the number of texts that each generation is
    asked for. A slice that no real row has is none: generation 0 cannot have learnt it, nor a later one lost it.
    """
    seen: Counter[str] = Counter(name for one in real for name in _names(one, columns))
    rare = {
        name: places
        for name, places in members(anchors, columns).items()
        if len(places) >= LEAST_ANCHORS and 0 < seen[name] < share * len(real)
    }
    if not rare:
        return None
    if len(rare) > 1:
        rare[TOGETHER] = tuple(sorted({place for places in rare.values() for place in places}))
    return RareSlices(rare, matched_radii(vectors[1], vectors[0], size))


def members(examples: Sequence[Example], columns: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Positions of the examples of each label and of each slice of `columns`, by name."""
    found: dict[str, list[int]] = {}
    for place, one in enumerate(examples):
        for name in _names(one, columns):
            found.setdefault(name, []).append(place)
    return {name: tuple(places) for name, places in sorted(found.items())}


def _names(one: Example, columns: Sequence[str]) -> list[str]:
    values = [(name, one.slices[name]) for name in columns if name in one.slices]
    return [f"label={one.label}", *(f"{name}={value}" for name, value in values)]
