"""What explains a collapse verdict and never makes one: figures of generations, at one number of items and of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.diversity import energy_distance, frechet, median_distance, mmd, overlap, size_matched, vendi
from eval.outcomes import IntArray
from eval.wording import (
    compression_ratio,
    dedup_survival,
    distinct_n,
    language,
    median_words,
    self_repetition,
    token_matched,
)

LARGEST = 1000
"""Most items that are compared: the time grows with the square, and the figures hardly change any more."""
NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Items:
    """Texts and their unit vectors, shape (n, d), in one order."""

    texts: tuple[str, ...]
    vectors: NDArray[np.floating]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.vectors):
            raise ValueError(f"Items: {len(self.texts)} texts and {len(self.vectors)} vectors; one of each is needed")

    def at(self, positions: IntArray) -> Items:
        return Items(tuple(self.texts[int(position)] for position in positions), self.vectors[positions])


@dataclass(frozen=True, slots=True)
class Profile:
    """One generation. `words` (median) and `language` are of all its texts. Of `compared` items: `survival` of
    de-duplication and Vendi score. Of these, cut to as many words as the shortest generation's: distinct-2,
    self-repetition and compression ratio. MMD, Fréchet and energy distance are to a batch of generation 0 (for
    generation 0 itself: of another of its batches). Precision, recall and coverage are against as many anchors.
    None where a figure cannot be had."""

    generation: int
    items: int
    compared: int
    words: float | None
    language: str
    survival: float | None = None
    vendi: float | None = None
    distinct_2: float | None = None
    self_repetition: float | None = None
    compression: float | None = None
    mmd: float | None = None
    frechet: float | None = None
    energy: float | None = None
    precision: float | None = None
    recall: float | None = None
    coverage: float | None = None


def profiles(
    baseline: Sequence[Items],
    generations: Sequence[Items],
    anchors: NDArray[np.floating] | None,
    size: int,
    seed: int = 0,
) -> tuple[Profile, ...]:
    """A profile of generation 0 (one or more batches) and of each later generation, at `size` items or 1,000.

    A generation of fewer items has its counts only. Raises ValueError for vectors that are not unit rows of one width
    and for a baseline without a batch of `size` items.
    """
    compared = min(size, LARGEST)
    batches = [one for one in baseline if len(one.texts) >= compared]
    if compared < 2 or not batches:
        raise ValueError(f"profiles: no batch of generation 0 has {compared} items, or fewer than 2 are compared")
    whole = Items(
        tuple(text for one in baseline for text in one.texts), np.concatenate([one.vectors for one in baseline])
    )
    cut = {
        place: _cut(one, compared, seed)
        for place, one in enumerate([batches[0], *generations])
        if len(one.texts) >= compared
    }
    worded = dict(zip(cut, token_matched([one.texts for one in cut.values()], seed), strict=True))
    other = _cut(batches[1], compared, seed).vectors if len(batches) > 1 else None
    width = median_distance(cut[0].vectors)
    found: list[Profile] = []
    for place, one in enumerate([whole, *generations]):
        counts = (place, len(one.texts), compared if place in cut else 0, median_words(one.texts), language(one.texts))
        if place not in cut:
            found.append(Profile(*counts))
            continue
        now = cut[place].vectors
        far = _distances(other if place == 0 else now, cut[0].vectors, width)
        near = _overlap(anchors, now, seed)
        texts = worded[place]
        found.append(
            Profile(
                *counts,
                survival=dedup_survival(cut[place].texts),
                vendi=vendi(now),
                distinct_2=distinct_n(texts),
                self_repetition=self_repetition(texts),
                compression=compression_ratio(texts),
                **far,
                **near,
            )
        )
    return tuple(found)


def _cut(items: Items, size: int, seed: int) -> Items:
    (positions,) = size_matched([len(items.texts)], size, seed)
    return items.at(positions)


def _distances(now: NDArray[np.floating] | None, before: NDArray[np.floating], width: float) -> dict[str, float]:
    if now is None:
        return {}
    return {"mmd": mmd(now, before, width), "frechet": frechet(now, before), "energy": energy_distance(now, before)}


def _overlap(anchors: NDArray[np.floating] | None, items: NDArray[np.floating], seed: int) -> dict[str, float]:
    size = min(len(items), 0 if anchors is None else len(anchors))
    if anchors is None or size <= NEIGHBOURS:
        return {}
    real, made = size_matched([len(anchors), len(items)], size, seed)
    found = overlap(anchors[real], items[made], NEIGHBOURS)
    return {"precision": found.precision, "recall": found.recall, "coverage": found.coverage}
