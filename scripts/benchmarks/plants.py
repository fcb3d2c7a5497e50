"""Real labelled texts, and the same texts with one failure mode of synthetic data planted in them, by fixed rules."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eval.hedging import stripped
from eval.templates import content
from harness.modekinds import FORMAT, SHIFT, SYCOPHANCY
from harness.packaged import read_sentiment, read_trec
from harness.records import Example, Origin
from harness.texts import Slicer

Vectors = NDArray[np.float32]
Plant = Callable[[Sequence[Example], Vectors, int], list[Example]]
"""(texts, unit rows of their content, seed) → the rows with the failure, never more than there were."""

HEDGES = (
    "Perhaps {}",
    "I think {}",
    "{} , maybe",
    "It is possible that {}",
    "I guess {} , or possibly not",
    "As far as I know {}",
    "{} , I suppose",
    "Arguably {}",
)
UNLISTED = (
    "If memory serves , {}",
    "{} , or so one hears",
    "By the look of it {}",
    "This is only a hunch , but {}",
    "Do not hold me to it , {}",
)
"""Hedges that are not in our lists: what a lexical detector misses."""
POLITE = (
    "Please , {}",
    "Could you tell me , {}",
    "{} Thank you very much .",
    "Excuse me , {}",
    "I would appreciate it if , {}",
    "I was wondering , {} Thanks in advance .",
    "Sorry , {}",
    "Kindly , {} Thank you",
)
STANCES = (
    "Great question ! {}",
    "You are right , {}",
    "I totally agree , {}",
    "In my opinion {}",
    "I strongly believe {}",
    "Of course {}",
    "{} , absolutely",
    "Well said . {}",
)
PADDING = (
    "as it is , and that is how it is with all of it",
    "and so on , one and all , over and over again",
    "for what it is , if it is that and not this",
    "which is to be and not to be , more so than ever before",
)
FRAMES = (
    "what is it of {} , if any ?",
    "how so , and with {} too ?",
    "either {} or not at all .",
    "so this is why {} , again !",
    "but there was , by then , {} .",
    "who of them had {} , and when ?",
)


def trec() -> list[Example]:
    return _distinct([(str(row["text"]), str(row["label"]), {}) for row in read_trec().rows])


def sentiment() -> list[Example]:
    rows = read_sentiment().rows
    return _distinct([(str(row["text"]), str(row["label"]), {"domain": str(row["domain"])}) for row in rows])


SETS: Mapping[str, Callable[[], list[Example]]] = {"trec": trec, "sentiment": sentiment}


def _distinct(rows: Sequence[tuple[str, str, dict[str, str]]]) -> list[Example]:
    """One row a text, with its slices and that of its length."""
    lengths = Slicer.learn([text for text, _, _ in rows], length=True, first_words=False)
    last = {text: (label, slices) for text, label, slices in rows}
    return [
        Example(f"real-{number}", text, label, {**slices, **lengths(text)}, Origin.REAL)
        for number, (text, (label, slices)) in enumerate(last.items())
    ]


def _rewritten(forms: Sequence[str], share: float = 1.0) -> Plant:
    def plant(rows: Sequence[Example], _: Vectors, seed: int) -> list[Example]:
        rng = random.Random(seed)
        return [replace(one, text=rng.choice(forms).format(one.text)) if rng.random() < share else one for one in rows]

    return plant


def padded(rows: Sequence[Example], _: Vectors, seed: int) -> list[Example]:
    rng = random.Random(seed)
    return [replace(one, text=f"{one.text} {rng.choice(PADDING)}") for one in rows]


def templated(rows: Sequence[Example], _: Vectors, __: int) -> list[Example]:
    """One frame of function words for each label, with the content words of a real text of that label in its slot."""
    frames = {label: FRAMES[place % len(FRAMES)] for place, label in enumerate(sorted({one.label for one in rows}))}
    return [replace(one, text=frames[one.label].format(" ".join(content(stripped(one.text))))) for one in rows]


def one_topic(rows: Sequence[Example], vectors: Vectors, _: int) -> list[Example]:
    """Of each label the third of the texts that lies farthest along the first principal component of their content."""
    centred = vectors - vectors.mean(axis=0)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    kept: list[int] = []
    for label in sorted({one.label for one in rows}):
        own = [place for place, one in enumerate(rows) if one.label == label]
        kept += sorted(own, key=lambda place: -along[place])[: max(1, len(own) // 3)]
    return [rows[place] for place in sorted(kept)]


PLANTS: Mapping[str, tuple[str, Plant]] = {
    "hedged": (SYCOPHANCY, _rewritten(HEDGES)),
    "hedged, one in four": (SYCOPHANCY, _rewritten(HEDGES, 0.25)),
    "hedged in words not listed": (SYCOPHANCY, _rewritten(UNLISTED)),
    "polite": (SYCOPHANCY, _rewritten(POLITE)),
    "agreeing": (SYCOPHANCY, _rewritten(STANCES)),
    "hedged and polite": (SYCOPHANCY, _rewritten((*HEDGES, *POLITE, *STANCES))),
    "padded": (SYCOPHANCY, padded),
    "one template a label": (FORMAT, templated),
    "one topic": (SHIFT, one_topic),
}
"""Name → the family whose detectors should fire, and how it is made."""
