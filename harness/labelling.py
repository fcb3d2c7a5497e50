"""Who says which label a candidate really has: students of folds of the seeds, joined by self-trained ones.

Cross-fitting (each seed is answered by the student that did not see it) is what makes φ and ψ of the consistency
filter honest. Self-training goes the same way: students on folds of the accepted rows answer for the rows of the
fold that they did not see, and have half of the say from then on.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError
from harness.filters.base import Labeller
from harness.records import Candidate, Example
from harness.store import Artefact
from harness.train.students import Students


def folds(seeds: Sequence[Example], count: int, seed: int) -> list[int]:
    """Fold of each seed, 0 … count − 1, spread evenly over every label."""
    generator = random.Random(seed)
    fold = [0] * len(seeds)
    for label in sorted({one.label for one in seeds}):
        own = [index for index, one in enumerate(seeds) if one.label == label]
        generator.shuffle(own)
        start = generator.randrange(count)
        for place, index in enumerate(own):
            fold[index] = (start + place) % count
    return fold


class CrossFitted:
    """Students on folds of the seeds, kept in the store. Raises `DataError` where a label has a single seed."""

    def __init__(self, students: Students, seeds: Sequence[Example], count: int, seed: int, split: str) -> None:
        scarce = sorted({one.label for one in seeds if sum(one.label == other.label for other in seeds) < 2})
        if scarce:
            raise DataError(
                f"one seed only for {', '.join(map(repr, scarce))}: filters.consistency trains students that leave out "
                "each seed in turn, so it needs two or more per label. Raise data.split.seeds, or set "
                "filters.consistency.enabled: false."
            )
        self._students = students
        self._seeds = seeds
        self._fold = folds(seeds, count, seed)
        self._adapters: list[Artefact] = []
        for index in range(count):
            rows = [one for one, fold in zip(seeds, self._fold, strict=True) if fold != index]
            self._adapters.append(students.train(f"labeller {index + 1}", rows, seed + index, {"split": split}))

    @property
    def adapters(self) -> list[str]:
        return [adapter.id for adapter in self._adapters]

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Mean answer of all fold students, texts × labels."""
        return np.mean([self._students.probabilities(adapter, texts) for adapter in self._adapters], axis=0)

    def out_of_fold(self) -> NDArray[np.float64]:
        """Each seed's answer from the student that did not see it, seeds × labels."""
        out = np.zeros((len(self._seeds), len(self._students.labels)))
        for index, adapter in enumerate(self._adapters):
            own = [place for place, fold in enumerate(self._fold) if fold == index]
            if own:
                out[own] = self._students.probabilities(adapter, [self._seeds[place].text for place in own])
        return out


class CrossTrained:
    """Students on folds of the accepted rows, for self-training that cannot confirm its own errors.

    Each is trained on the seeds and the accepted rows of all folds but its own, so a candidate is always read by a
    student that has not seen it (cross-fitting, as for the seeds). A candidate's fold follows from its id alone.
    Candidates that came later are read by all.
    """

    def __init__(self, students: Students, adapters: Sequence[Artefact], seen: Sequence[str]) -> None:
        self._students = students
        self._artefacts = tuple(adapters)
        self._seen = frozenset(seen)

    @property
    def adapters(self) -> list[str]:
        return [adapter.id for adapter in self._artefacts]

    def probabilities(self, candidates: Sequence[Candidate]) -> NDArray[np.float64]:
        """n × labels, each row from students that were not trained on its candidate."""
        texts = [one.example.text for one in candidates]
        answers = np.stack([self._students.probabilities(adapter, texts) for adapter in self._artefacts])
        fold = [fold_of(one.id, len(self._artefacts)) for one in candidates]
        own = answers[fold, range(len(candidates))]
        seen = np.array([one.id in self._seen for one in candidates], dtype=np.bool_)
        return np.where(seen[:, None], own, answers.mean(axis=0))


def fold_of(ident: str, folds: int) -> int:
    """The fold of a candidate, from the hash in its id (`syn-…`).

    >>> fold_of("syn-00000000000a", 3)
    1
    """
    return int(ident.rsplit("-", 1)[-1], 16) % folds


def cross_train(
    students: Students,
    seeds: Sequence[Example],
    accepted: Sequence[Example],
    seen: Sequence[str],
    folds: int,
    seed: int,
    parents: Mapping[str, str],
) -> CrossTrained:
    """`CrossTrained` on the rows accepted so far; `seen` are the ids of all candidates that these rows were chosen
    from. Raises `DataError` where a label has no row, which the seeds rule out."""
    adapters = [
        students.train(
            f"self-training {fold + 1}",
            [*seeds, *(row for row in accepted if fold_of(row.id, folds) != fold)],
            seed + fold,
            parents,
        )
        for fold in range(folds)
    ]
    return CrossTrained(students, adapters, seen)


def labeller(
    fitted: CrossFitted,
    labels: Sequence[str],
    cross: CrossTrained | None,
    waves: Sequence[Sequence[Candidate]],
    channel: Mapping[str, Mapping[str, float]],
) -> Labeller:
    """The labeller's answer for all candidates, wave by wave so that a wave's answers are computed once.

    `cross` has half of the say where there is one. `channel` is `Plan.channel`: the answer is corrected by it before
    any filter sees it.
    """
    none = np.zeros((0, len(labels)))
    seeds_only = np.concatenate([none, *(fitted.probabilities([one.example.text for one in wave]) for wave in waves)])
    joined = seeds_only
    if cross is not None:
        joined = (seeds_only + np.concatenate([none, *map(cross.probabilities, waves)])) / 2
    return Labeller(tuple(labels), corrected(joined, labels, channel), seeds_only, fitted.out_of_fold())


def corrected(
    probabilities: NDArray[np.float64], labels: Sequence[str], channel: Mapping[str, Mapping[str, float]]
) -> NDArray[np.float64]:
    """n × labels answers, with `channel[said][gold]` of each answer's belief in `said` moved to `gold`.

    >>> corrected(np.array([[0.2, 0.8]]), ["a", "b"], {"b": {"a": 0.25}}).round(3).tolist()
    [[0.4, 0.6]]
    """
    if not channel:
        return probabilities
    index = {label: place for place, label in enumerate(labels)}
    matrix = np.eye(len(labels))
    for said, golds in channel.items():
        for gold, share in golds.items():
            matrix[index[said], index[gold]] += share
            matrix[index[said], index[said]] -= share
    return probabilities @ matrix
