"""Who says what the answer to a candidate really is, where the task is to answer in text: several students vote.

The same two kinds of student as in `harness.labelling`: on folds of the seeds, and after a self-training pass on folds
of the accepted rows. None answers for what it was trained on, and the largest group of equal answers decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.filters.base import Votes
from harness.labelling import fold_of, folds
from harness.records import Candidate, Example
from harness.store import Artefact
from harness.train.writers import Writers


class Voters:
    """Students on folds of the seeds, kept in the store."""

    def __init__(self, writers: Writers, seeds: Sequence[Example], count: int, seed: int, split: str) -> None:
        self._writers = writers
        self._seeds = seeds
        self._fold = folds(seeds, count, seed)
        self._adapters: list[Artefact] = []
        for index in range(count):
            rows = [one for one, fold in zip(seeds, self._fold, strict=True) if fold != index]
            self._adapters.append(writers.train(f"voter {index + 1}", rows, seed + index, {"split": split}))

    @property
    def adapters(self) -> list[str]:
        return [adapter.id for adapter in self._adapters]

    def out_of_fold(self) -> tuple[str, ...]:
        """Each seed's answer from the student that did not see it."""
        out = [""] * len(self._seeds)
        for index, adapter in enumerate(self._adapters):
            own = [place for place, fold in enumerate(self._fold) if fold == index]
            for place, said in zip(own, self._writers.answers(adapter, [self._seeds[i] for i in own]), strict=True):
                out[place] = said
        return tuple(out)

    def votes(self, cross: CrossVoters | None, waves: Sequence[Sequence[Candidate]]) -> Votes:
        """The answers to all candidates, wave by wave so that a wave's answers are computed once. Those of `cross`
        count as much as all of the seeds' students together."""
        rows: list[tuple[str, ...]] = []
        likelihood: list[float] = []
        for wave in waves:
            examples = [one.example for one in wave]
            by_student = [self._writers.answers(adapter, examples) for adapter in self._adapters]
            more = cross.answers(wave) if cross is not None else [()] * len(wave)
            for own, said in zip(zip(*by_student, strict=True), more, strict=True):
                rows.append((*own, *_as_many(said, len(own))))
            likely = [self._writers.likelihood(adapter, examples) for adapter in self._adapters]
            likelihood.extend(np.mean(likely, axis=0).tolist())
        return Votes(tuple(rows), np.array(likelihood, dtype=np.float64), self.out_of_fold())


class CrossVoters:
    """Students on folds of the accepted rows: a candidate is answered by the one that has not seen it, one that came
    later by all of them."""

    def __init__(self, writers: Writers, adapters: Sequence[Artefact], seen: Sequence[str]) -> None:
        self._writers = writers
        self._artefacts = tuple(adapters)
        self._seen = frozenset(seen)

    @property
    def adapters(self) -> list[str]:
        return [adapter.id for adapter in self._artefacts]

    def answers(self, candidates: Sequence[Candidate]) -> list[tuple[str, ...]]:
        """One answer or several per candidate."""
        own: dict[str, tuple[str, ...]] = {one.id: () for one in candidates}
        for fold, adapter in enumerate(self._artefacts):
            asked = [
                one for one in candidates if one.id not in self._seen or fold_of(one.id, len(self._artefacts)) == fold
            ]
            for one, said in zip(asked, self._writers.answers(adapter, [each.example for each in asked]), strict=True):
                own[one.id] = (*own[one.id], said)
        return [own[one.id] for one in candidates]


def cross_vote(
    writers: Writers,
    seeds: Sequence[Example],
    accepted: Sequence[Example],
    seen: Sequence[str],
    folds: int,
    seed: int,
    parents: Mapping[str, str],
) -> CrossVoters:
    """Students on the seeds and the accepted rows of all folds but one each; `seen` are the ids of all candidates that
    these rows were chosen from."""
    adapters = [
        writers.train(
            f"self-training {fold + 1}",
            [*seeds, *(row for row in accepted if fold_of(row.id, folds) != fold)],
            seed + fold,
            parents,
        )
        for fold in range(folds)
    ]
    return CrossVoters(writers, adapters, seen)


def _as_many(answers: Sequence[str], count: int) -> tuple[str, ...]:
    """`count` answers from these, each as often as the others as far as possible; none from none.

    >>> _as_many(("a", "b"), 3)
    ('a', 'b', 'a')
    """
    return tuple(answers[place % len(answers)] for place in range(count)) if answers else ()
