"""Sequences of generations whose truth is known, to measure collapse rules on: what may happen, and toys it happens to.

A rule sees what a user has: real anchors, batches of generation 0, and one set of items a generation. A generator is
the weights of its modes; a *kind* of sequence is what becomes of the weights or of the items. `corpora.py` has the same
kinds on real texts.

The toy: 120 modes with Zipf weights, in six labels; an item is a mode's centre and noise, scaled to length 1; anchors
are items of the same source. Each sequence has its own centres and anchors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]
BATCHES = 8
LABELS = 6
ONSET = 2
"""The generation in which a sudden fault starts, so that the first later one is healthy."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Unit vectors: anchors (a, d), batches of generation 0, and the later generations, each (n, d)."""

    anchors: Vectors
    baseline: tuple[Vectors, ...]
    generations: tuple[Vectors, ...]


class Source(Protocol):
    """A family of sequences. `healthy`: an alarm on it is a false one."""

    @property
    def name(self) -> str: ...

    @property
    def healthy(self) -> bool: ...

    def draw(self, rng: np.random.Generator, generations: int) -> Drawn: ...


class Generator(Protocol):
    """What writes items: `weights` and `labels` (numbers from 0) by mode, (m,), and `size`, the items a generation."""

    @property
    def size(self) -> int: ...

    @property
    def weights(self) -> Vectors: ...

    @property
    def labels(self) -> NDArray[np.int64]: ...

    def modes(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]: ...

    def items(self, rng: np.random.Generator, modes: NDArray[np.int64]) -> Vectors: ...

    def weighing(self, weights: Vectors) -> Generator:
        """The same with other weights, scaled to sum to 1."""
        ...

    def sharper(self, power: float) -> Generator:
        """The same with the density of its items to this power."""
        ...


Course = Callable[[Generator, np.random.Generator, int], list[Vectors]]
"""(generation 0's generator, chance, how many generations) → the items of each later generation."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What happens to a generator; `healthy`: an alarm is a false one."""

    name: str
    healthy: bool
    course: Course


def told(kind: Kind, first: Generator, anchors: Vectors, rng: np.random.Generator, generations: int) -> Drawn:
    """The sequence: batches of generation 0, then what the kind makes of its generator."""
    batches = tuple(first.items(rng, first.modes(rng, first.size)) for _ in range(BATCHES))
    return Drawn(anchors, batches, tuple(kind.course(first, rng, generations)))


def stable(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """The same generator throughout."""
    return [first.items(rng, first.modes(rng, first.size)) for _ in range(generations)]


def steered(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """The working set of a healthy loop: in each generation feedback doubles two labels. Its frozen probe is `stable`:
    the generator is the same, and feedback edits other prompts."""
    found: list[Vectors] = []
    for _ in range(generations):
        weak = rng.choice(int(first.labels.max()) + 1, 2, replace=False)
        now = first.weighing(first.weights * np.where(np.isin(first.labels, weak), 2.0, 1.0))
        found.append(now.items(rng, now.modes(rng, now.size)))
    return found


def replaced(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """Each generation is fitted to as many items of the one before: rare modes go by chance, and stay away."""
    return _refitted(first, rng, generations, accumulate=False)


def accumulated(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """Each generation is fitted to the items of all before it, so the drift slows down and ends."""
    return _refitted(first, rng, generations, accumulate=True)


def _refitted(first: Generator, rng: np.random.Generator, generations: int, accumulate: bool) -> list[Vectors]:
    now, counts, found = first, np.zeros(len(first.weights)), list[Vectors]()
    for _ in range(generations):
        training = np.bincount(now.modes(rng, first.size), minlength=len(counts))
        counts = counts + training if accumulate else training.astype(np.float64)
        now = first.weighing(counts)
        found.append(now.items(rng, now.modes(rng, first.size)))
    return found


def sharpened(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """Each generation prefers what was likelier: its density is that of the one before to the power of 1.15."""
    found: list[Vectors] = []
    for number in range(1, generations + 1):
        now = first.sharper(1.15**number)
        found.append(now.items(rng, now.modes(rng, first.size)))
    return found


def label_lost(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """From generation 2 on one of the labels, each as likely, is written no more."""
    return losing(int(rng.integers(int(first.labels.max()) + 1)))(first, rng, generations)


def losing(label: int) -> Course:
    """From generation 2 on this label is written no more."""

    def course(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
        lacking = first.weighing(np.where(first.labels == label, 0.0, first.weights))
        return stable(first, rng, ONSET - 1) + stable(lacking, rng, generations - ONSET + 1)

    return course


def spammed(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """From generation 2 on a growing share of the answers, 5 % more each time, is one and the same."""
    (spam,) = first.items(rng, first.modes(rng, 1))
    found = stable(first, rng, generations)
    for number, items in enumerate(found, start=1):
        items[: round(0.05 * max(0, number - ONSET + 1) * len(items))] = spam
    return found


def repeated(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """A growing share of the answers, 10 % more each generation, repeats an earlier one of the same generation."""
    found = stable(first, rng, generations)
    for number, items in enumerate(found, start=1):
        own = max(1, round((1 - min(0.9, 0.1 * number)) * len(items)))
        items[own:] = items[rng.integers(own, size=len(items) - own)]
    return found


KINDS: Sequence[Kind] = (
    Kind("stable", True, stable),
    Kind("steering, probe", True, stable),
    Kind("steering, work", True, steered),
    Kind("replace", False, replaced),
    Kind("sharpening", False, sharpened),
    Kind("accumulate", False, accumulated),
    Kind("label loss", False, label_lost),
    Kind("spam", False, spammed),
    Kind("repetition", False, repeated),
)


@dataclass(frozen=True, slots=True)
class World:
    """Size of the toy. `spread`: length of the noise beside a centre of length 1; 0 gives verbatim repeats."""

    modes: int = 120
    anchors: int = 100
    items: int = 150
    width: int = 64
    zipf: float = 1.0
    spread: float = 0.8


@dataclass(frozen=True, slots=True)
class Sphere:
    """The toy's `Generator`: centres (m, d) on a sphere and the weights of the modes, (m,)."""

    world: World
    centres: Vectors
    weights: Vectors

    @property
    def size(self) -> int:
        return self.world.items

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.arange(self.world.modes) % LABELS

    def modes(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        return rng.choice(len(self.weights), count, p=self.weights)

    def items(self, rng: np.random.Generator, modes: NDArray[np.int64]) -> Vectors:
        noise = rng.normal(size=(len(modes), self.world.width)) / np.sqrt(self.world.width)
        rows = self.centres[modes] + self.world.spread * noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def weighing(self, weights: Vectors) -> Sphere:
        return replace(self, weights=weights / weights.sum())

    def sharper(self, power: float) -> Sphere:
        return self.weighing(self.weights**power)


@dataclass(frozen=True, slots=True)
class Toy:
    """One kind of sequence in one kind of world."""

    kind: Kind
    world: World = World()

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def healthy(self) -> bool:
        return self.kind.healthy

    def draw(self, rng: np.random.Generator, generations: int) -> Drawn:
        world = self.world
        centres = rng.normal(size=(world.modes, world.width))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        first = Sphere(world, centres, np.ones(world.modes)).weighing(
            rng.permutation(np.arange(1, world.modes + 1) ** -world.zipf)
        )
        anchors = first.items(rng, first.modes(rng, world.anchors))
        return told(self.kind, first, anchors, rng, generations)


TOYS: Sequence[Toy] = tuple(Toy(kind) for kind in KINDS)
