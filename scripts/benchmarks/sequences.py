"""Sequences of generations whose truth is known, to measure collapse rules on. Toys so far: modes on a sphere.

A rule sees what a user has: real anchors, batches of generation 0, and one set of items a generation. Any other source,
real text with a fixed embedder say, is a further object with `name`, `healthy` and `draw`.

The toy: 120 modes with Zipf weights, in six labels; an item is a mode's centre and noise, scaled to length 1; anchors
are items of the same source. A generator is its weights. Each sequence has its own centres and anchors.
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


@dataclass(frozen=True, slots=True)
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
class Generator:
    """Centres (m, d) and the weights of the modes, (m,)."""

    world: World
    centres: Vectors
    weights: Vectors

    def modes(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        return rng.choice(len(self.weights), count, p=self.weights)

    def items(self, rng: np.random.Generator, modes: NDArray[np.int64]) -> Vectors:
        noise = rng.normal(size=(len(modes), self.world.width)) / np.sqrt(self.world.width)
        rows = self.centres[modes] + self.world.spread * noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def weighing(self, weights: Vectors) -> Generator:
        return replace(self, weights=weights / weights.sum())


Course = Callable[[Generator, np.random.Generator, int], list[Vectors]]
"""(generation 0's generator, chance, how many generations) → the items of each later generation."""


@dataclass(frozen=True, slots=True)
class Toy:
    """One kind of course in one kind of world."""

    name: str
    healthy: bool
    course: Course
    world: World = World()

    def draw(self, rng: np.random.Generator, generations: int) -> Drawn:
        world = self.world
        centres = rng.normal(size=(world.modes, world.width))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        first = Generator(world, centres, np.ones(world.modes)).weighing(
            rng.permutation(np.arange(1, world.modes + 1) ** -world.zipf)
        )
        anchors = first.items(rng, first.modes(rng, world.anchors))
        batches = tuple(first.items(rng, first.modes(rng, world.items)) for _ in range(BATCHES))
        return Drawn(anchors, batches, tuple(self.course(first, rng, generations)))


def stable(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """The same generator throughout."""
    return [first.items(rng, first.modes(rng, first.world.items)) for _ in range(generations)]


def steered(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """The working set of a healthy loop: in each generation feedback doubles two of the six labels. Its frozen probe is
    `stable`: the generator is the same, and feedback edits other prompts."""
    label = np.arange(first.world.modes) % LABELS
    found: list[Vectors] = []
    for _ in range(generations):
        weak = rng.choice(LABELS, 2, replace=False)
        now = first.weighing(first.weights * np.where(np.isin(label, weak), 2.0, 1.0))
        found.append(now.items(rng, now.modes(rng, now.world.items)))
    return found


def replaced(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """Each generation is fitted to as many items of the one before: rare modes go by chance, and stay away."""
    return _refitted(first, rng, generations, accumulate=False)


def accumulated(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """Each generation is fitted to the items of all before it, so the drift slows down and ends."""
    return _refitted(first, rng, generations, accumulate=True)


def _refitted(first: Generator, rng: np.random.Generator, generations: int, accumulate: bool) -> list[Vectors]:
    now, counts, found = first, np.zeros(first.world.modes), list[Vectors]()
    for _ in range(generations):
        training = np.bincount(now.modes(rng, first.world.items), minlength=first.world.modes)
        counts = counts + training if accumulate else training.astype(np.float64)
        now = first.weighing(counts)
        found.append(now.items(rng, now.modes(rng, first.world.items)))
    return found


def sharpened(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """Each generation prefers the likelier modes: its weights are those of the one before to the power of 1.15."""
    now, found = first, list[Vectors]()
    for _ in range(generations):
        now = now.weighing(now.weights**1.15)
        found.append(now.items(rng, now.modes(rng, first.world.items)))
    return found


def label_lost(first: Generator, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """From generation 2 on one of the six labels is written no more."""
    label = np.arange(first.world.modes) % LABELS
    lacking = first.weighing(np.where(label == rng.integers(LABELS), 0.0, first.weights))
    return stable(first, rng, ONSET - 1) + stable(lacking, rng, generations - ONSET + 1)


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


TOYS: Sequence[Toy] = (
    Toy("stable", True, stable),
    Toy("steering, probe", True, stable),
    Toy("steering, work", True, steered),
    Toy("replace", False, replaced),
    Toy("sharpening", False, sharpened),
    Toy("accumulate", False, accumulated),
    Toy("label loss", False, label_lost),
    Toy("spam", False, spammed),
    Toy("repetition", False, repeated),
)
