"""The kinds of `sequences.py` on real texts: a pool is embedded once, and every generation is dealt from it.

A mode is a cluster of a label's texts (k-means of their vectors), so the truth is as in the toys while items, anchors
and distances are real. *replace* refits the weights of modes; *replace, neighbours* knows no modes: each item is a near
neighbour of some item of the generation before, as a model writes near what it has read. Items are dealt like cards:
none comes twice until all of its mode are out, so that healthy sequences hold no repeats that their corpus lacks.
Anchors are further texts of the pool, in no generation.

Sequences of one corpus share its texts, so their intervals are about other sequences from this corpus, not about other
corpora.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.sequences import KINDS, Course, Drawn, Kind, Vectors, losing, told
from harness.generate.matrix import apportion

MODES = 120
NEIGHBOURS = 10
KAPPA = 10.0
"""Concentration of the kernel (von Mises-Fisher, exp(kappa·cos)) of the density that *sharpening* takes powers of."""
BLOCK = 2000
UNLABELLED = 6
"""Clusters that stand for labels where texts have none."""
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Unit vectors (n, d) of n texts, the mode of each, (n,), the label of each mode, (m,), and the labels' names.
    `near` are the positions of each text's nearest others, (n, k); `density` is the mean kernel density of each mode's
    texts, (m,). `apart` are unit vectors of texts to take anchors from, where not from these."""

    name: str
    vectors: Vectors
    modes: Positions
    labels: Positions
    names: tuple[str, ...]
    near: Positions
    density: Vectors
    apart: Vectors | None = None

    @classmethod
    def of(cls, name: str, vectors: Vectors, labels: Sequence[str], apart: Vectors | None = None) -> Corpus:
        """`labels` are those of the texts; empty ones are made up from clusters."""
        rows = np.asarray(vectors, dtype=np.float64)
        given = np.array(labels if all(labels) else [f"topic {one}" for one in _clusters(rows, UNLABELLED)])
        names, number = np.unique(given, return_inverse=True)
        modes, by_mode = np.zeros(len(rows), dtype=np.int64), list[int]()
        for label in range(len(names)):
            own = np.flatnonzero(number == label)
            found = _clusters(rows[own], max(1, round(MODES * len(own) / len(rows))))
            modes[own] = found + len(by_mode)
            by_mode += [label] * (int(found.max()) + 1)
        near, density = _surroundings(rows)
        by_density = np.bincount(modes, weights=density) / np.bincount(modes)
        return cls(
            name, rows, modes, np.array(by_mode, dtype=np.int64), tuple(map(str, names)), near, by_density, apart
        )

    def shares(self) -> Mapping[str, float]:
        """Share of the texts by label."""
        counts = np.bincount(self.labels[self.modes], minlength=len(self.names))
        return dict(zip(self.names, counts / counts.sum(), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Dealt:
    """A corpus as a `Generator`. `members` are the positions of each mode's texts, `deck` those not dealt yet (shared
    with what `weighing` gives). With `fixed` each set has the same number of items per label, as a frozen probe asks
    for; otherwise labels come by chance."""

    corpus: Corpus
    size: int
    members: tuple[Positions, ...]
    deck: list[Positions]
    weights: Vectors
    fixed: bool

    @property
    def labels(self) -> Positions:
        return self.corpus.labels

    def modes(self, rng: np.random.Generator, count: int) -> Positions:
        if not self.fixed:
            return rng.choice(len(self.weights), count, p=self.weights)
        found: list[Positions] = []
        shares = np.bincount(self.labels, weights=self.weights).tolist()
        for label, wanted in enumerate(apportion(count, {str(at): share for at, share in enumerate(shares)}).values()):
            own = np.where(self.labels == label, self.weights, 0.0)
            if wanted:
                found.append(rng.choice(len(own), wanted, p=own / own.sum()))
        return rng.permutation(np.concatenate(found))

    def items(self, rng: np.random.Generator, modes: Positions) -> Vectors:
        return self.corpus.vectors[self.positions(rng, modes)]

    def positions(self, rng: np.random.Generator, modes: Positions) -> Positions:
        """Which texts are dealt for these modes."""
        found, order = np.zeros(len(modes), dtype=np.int64), np.argsort(modes, kind="stable")
        starts = np.flatnonzero(np.diff(modes[order], prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(modes)], strict=True):
            mode, wanted = modes[order[start]], end - start
            while len(self.deck[mode]) < wanted:
                self.deck[mode] = np.concatenate([self.deck[mode], rng.permutation(self.members[mode])])
            found[order[start:end]], self.deck[mode] = self.deck[mode][:wanted], self.deck[mode][wanted:]
        return found

    def weighing(self, weights: Vectors) -> Dealt:
        return replace(self, weights=weights / weights.sum())

    def sharper(self, power: float) -> Dealt:
        """Texts that lie densely are dealt more often: what a mode's weight leaves out, since modes differ in width."""
        return self.weighing(self.weights * self.corpus.density ** (power - 1))


@dataclass(frozen=True, slots=True)
class Resampled:
    """One kind of sequence dealt from a corpus: a `Source`."""

    kind: Kind
    corpus: Corpus
    size: int
    anchors: int
    fixed: bool = False

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def healthy(self) -> bool:
        return self.kind.healthy

    def draw(self, rng: np.random.Generator, generations: int) -> Drawn:
        anchors, first = self.first(rng)
        return told(self.kind, first, anchors, rng, generations)

    def first(self, rng: np.random.Generator) -> tuple[Vectors, Dealt]:
        """Anchors and generation 0's generator, which has every text that is no anchor equally often."""
        corpus, held = self.corpus, np.zeros(0, dtype=np.int64)
        if corpus.apart is None:
            held = rng.choice(len(corpus.vectors), self.anchors, replace=False)
            anchors = corpus.vectors[held]
        else:
            anchors = corpus.apart[rng.choice(len(corpus.apart), self.anchors, replace=False)]
        dealt = np.setdiff1d(np.arange(len(corpus.vectors)), held)
        members = tuple(dealt[corpus.modes[dealt] == mode] for mode in range(len(corpus.labels)))
        weights = np.array([len(one) for one in members], dtype=np.float64)
        deck = [rng.permutation(one) for one in members]
        return anchors, Dealt(corpus, self.size, members, deck, weights / weights.sum(), self.fixed)


def inherited(first: Dealt, rng: np.random.Generator, generations: int) -> list[Vectors]:
    """Each item is one of the ten texts nearest to some item of the generation before; never an anchor."""
    allowed = np.zeros(len(first.corpus.vectors), dtype=np.bool_)
    allowed[np.concatenate(first.members)] = True
    now, found = first.positions(rng, first.modes(rng, first.size)), list[Vectors]()
    for _ in range(generations):
        parents = now[rng.integers(len(now), size=len(now))]
        near = first.corpus.near[parents]
        chances = np.where(allowed[near], rng.random(near.shape), -1.0)
        now = np.where(chances.max(axis=1) < 0, parents, near[np.arange(len(near)), chances.argmax(axis=1)])
        found.append(first.corpus.vectors[now])
    return found


NEAR: Kind = Kind("replace, neighbours", False, cast("Course", inherited))
REAL_KINDS: Sequence[Kind] = (*KINDS[:4], NEAR, *KINDS[4:])


def resampled(corpus: Corpus, size: int, anchors: int, kinds: Sequence[Kind] = REAL_KINDS) -> list[Resampled]:
    """A source per kind. Steering is seen through a frozen probe: the same number of prompts per label each time."""
    return [Resampled(kind, corpus, size, anchors, fixed=kind.name == "steering, probe") for kind in kinds]


def with_lost(kinds: Sequence[Kind], corpus: Corpus, label: str) -> list[Kind]:
    """The kinds, where the label that is lost is this one. Raises ValueError for a label that the corpus lacks."""
    if label not in corpus.names:
        raise ValueError(f"{label!r} is no label of {corpus.name}; choose from {', '.join(corpus.names)}")
    chosen = losing(corpus.names.index(label))
    return [replace(one, course=chosen) if one.name == "label loss" else one for one in kinds]


class Embed(Protocol):
    """As `harness.embed.Embedder`: texts to unit rows."""

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]: ...


def texts_of(name: str) -> tuple[list[str], list[str]]:
    """Distinct texts of a packaged set and their labels ("" where it has none): `trec`, `disfl_qa` (its questions),
    `sentiment`, or one domain of it as in `sentiment:movie`. Raises ValueError for another name."""
    from harness.packaged import read_disfl_qa, read_sentiment, read_trec
    from harness.texts import normalise

    kind, _, domain = name.partition(":")
    readers = {"trec": read_trec, "sentiment": read_sentiment, "disfl_qa": read_disfl_qa}
    if kind not in readers or (domain and kind != "sentiment"):
        raise ValueError(f"corpus {name!r} is not known; choose from trec, sentiment, sentiment:DOMAIN, disfl_qa")
    column = "question" if kind == "disfl_qa" else "text"
    rows = readers[kind]().rows
    if domain:
        rows = tuple(row for row in rows if row["domain"] == domain)
        if not rows:
            raise ValueError(f"corpus {name!r} is not known; domains are amazon, movie, nyt, tweet")
    distinct = {normalise(str(row[column])): row for row in reversed(rows)}
    kept = [row for _, row in sorted(distinct.items())]
    return [str(row[column]) for row in kept], [str(row.get("label", "")) for row in kept]


def corpus_of(name: str, cache: Path) -> Corpus:
    """A packaged set, embedded (vectors are kept in the folder `cache`)."""
    from harness.embed import SentenceEmbedder

    texts, labels = texts_of(name)
    return Corpus.of(name, np.asarray(SentenceEmbedder(cache)(texts)), labels)


def _clusters(rows: Vectors, count: int) -> Positions:
    """Cluster of each row; none of the clusters is empty."""
    from sklearn.cluster import KMeans

    if count >= len(rows):
        return np.arange(len(rows))
    found = KMeans(count, n_init=1, random_state=0).fit_predict(rows)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _surroundings(rows: Vectors) -> tuple[Positions, Vectors]:
    """Of each text: the nearest others, (n, k), and the kernel density of all others, (n,), scaled to a mean of 1."""
    near, density = list[Positions](), list[Vectors]()
    for start in range(0, len(rows), BLOCK):
        cosines = rows[start : start + BLOCK] @ rows.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        near.append(np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS])
        density.append(np.exp(KAPPA * (cosines - 1)).sum(axis=1))
    found = np.concatenate(density)
    return np.concatenate(near), found / found.mean()
