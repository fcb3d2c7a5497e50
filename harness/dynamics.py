"""Training dynamics: how sure a student became of each of its training rows, and how unsteadily.

Swayamdipta et al. (2020, *Dataset Cartography*, EMNLP, section 2): a row's *confidence* is the mean of p(its label)
over the times that training saw it, its *variability* the standard deviation. Rows of low confidence and low
variability are hard to learn, and many of those are mislabelled (their section 5); rows of high variability are the
ambiguous ones that teach most. Taken from the training steps themselves, so that it costs no pass of its own.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.arms import draw
from harness.records import Example, Origin
from harness.store import read_json, write_json

FILE = "dynamics.json"
MOST = 2000
"""Rows that a report keeps; of more, a random part."""
HARDEST = 20


@dataclass(frozen=True, slots=True)
class Dynamic:
    """One training row as training saw it, `visits` times; without a visit there is neither figure."""

    confidence: float | None
    variability: float | None
    visits: int


@dataclass(frozen=True, slots=True)
class RowDynamic:
    """A training row and its place on the map."""

    id: str
    origin: Origin
    label: str
    confidence: float
    variability: float


@dataclass(frozen=True, slots=True)
class Dynamics:
    """The map of a student's training rows: `rows` are at most `MOST` of `n`, `hardest` the synthetic rows of lowest
    confidence, lowest first, with their texts by id."""

    n: int
    visits: float
    rows: tuple[RowDynamic, ...]
    hardest: tuple[RowDynamic, ...]
    texts: dict[str, str]


def dynamics_of(seen: Sequence[float]) -> Dynamic:
    """
    >>> dynamics_of([0.5, 0.9, 0.7])
    Dynamic(confidence=0.7, variability=0.1633, visits=3)
    """
    if not seen:
        return Dynamic(None, None, 0)
    return Dynamic(round(statistics.fmean(seen), 4), round(statistics.pstdev(seen), 4), len(seen))


def write_dynamics(folder: Path, rows: Sequence[Dynamic]) -> None:
    write_json(folder / FILE, tuple[Dynamic, ...], tuple(rows))


def read_dynamics(folder: Path, examples: Sequence[Example], seed: int) -> Dynamics | None:
    """The map of the adapter in `folder`, which was trained on `examples`; None where it kept none.

    Raises ValueError where it was trained on another number of rows.
    """
    if not (folder / FILE).exists():
        return None
    kept = read_json(folder / FILE, tuple[Dynamic, ...])
    placed = {
        one.id: RowDynamic(one.id, one.origin, one.label, found.confidence, found.variability)
        for one, found in zip(examples, kept, strict=True)
        if found.confidence is not None and found.variability is not None
    }
    known = [one for one in examples if one.id in placed]
    made = sorted(
        (placed[one.id] for one in known if one.origin is Origin.SYNTHETIC), key=lambda row: (row.confidence, row.id)
    )
    text = {one.id: one.text for one in known}
    return Dynamics(
        n=len(examples),
        visits=statistics.fmean(found.visits for found in kept) if kept else 0.0,
        rows=tuple(placed[one.id] for one in draw(known, MOST, seed)),
        hardest=tuple(made[:HARDEST]),
        texts={row.id: text[row.id] for row in made[:HARDEST]},
    )
