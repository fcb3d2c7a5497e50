"""Is it new? Exact duplicates, near ones by embedding and by shared word n-grams, against the seeds and the other
candidates; where items have a context (a passage), among those with the same one, since the same question about
another passage is another item.

Exactly one of a group survives: real before synthetic, then the one whose label the students are surer of (in tenths),
then the older. The judge's grades are not asked for, because it comes last: what is not new is not worth its calls.
Two candidates that are near duplicates under different labels are both held back, since one of the labels is wrong
and nobody knows which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.answers import same
from harness.filters.base import Context, Stamp, Standing
from harness.filterspec import DuplicateFilter as Rule
from harness.neighbours import Exact, Turned, Walk, turned
from harness.records import Decision, Example, Verdict
from harness.reports import Calibration, FilterWorth
from harness.texts import normalise
from harness.vectorindex import Indexed, available, measured_recall, ready_for_index
from harness.wordpairs import WordPairs

MOST_EXACT = 100_000
"""Rows up to which every near duplicate is found; beyond, an approximate index is asked where it is installed."""
EXACT, NEAR, WORDS = "exact duplicate", "near duplicate", "near duplicate in words"


class DuplicateFilter:
    name = "duplicates"
    version = 4

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        texts = [*(one.text for one in context.seeds), *(one.candidate.example.text for one in standing)]
        matrix = context.embedder(texts)
        older, own = matrix[: len(context.seeds)], matrix[len(context.seeds) :]
        verdicts: dict[int, Verdict] = {}
        for about in dict.fromkeys(item.candidate.example.context for item in standing):
            places = [place for place, item in enumerate(standing) if item.candidate.example.context == about]
            known = [place for place, seed in enumerate(context.seeds) if seed.context == about]
            group = _Group(
                [context.seeds[place] for place in known],
                [standing[place] for place in places],
                np.concatenate([older[known], own[places]]),
                context,
                Stamp(self.name, self.version),
            )
            verdicts |= dict(zip(places, group.verdicts(), strict=True))
        return [verdicts[place] for place in range(len(standing))]

    def worth(self, context: Context) -> FilterWorth | None:  # noqa: ARG002 - novelty says nothing of correctness
        return None


@dataclass(frozen=True, slots=True)
class _Twin:
    """What a row resembles (its number in the group), how, and how much."""

    row: int
    what: str
    score: float


class _Group:
    """Seeds and candidates of one context, numbered in this order. Those held back stay in the comparison: a third one
    near them is in doubt too."""

    def __init__(
        self,
        seeds: Sequence[Example],
        standing: Sequence[Standing],
        vectors: NDArray[np.float32],
        context: Context,
        stamp: Stamp,
    ) -> None:
        self._seeds = seeds
        self._standing = standing
        self._stamp = stamp
        self._rule = context.spec.filters.duplicates
        self._texts = [*(one.text for one in seeds), *(one.candidate.example.text for one in standing)]
        self._normal = [normalise(text) for text in self._texts]
        self._by_text: dict[str, int] = {}
        self._leader: dict[int, int] = {}
        self._given: dict[int, Verdict] = {}
        self._by_vector: list[int] = []
        """Rows that are like another candidate by embedding."""
        self._order = [len(seeds) + place for place in _best_first(standing, context)]
        self._search(vectors, context)

    def _search(self, vectors: NDArray[np.float32], context: Context) -> None:
        real = {text: row for row, text in enumerate(self._normal[: len(self._seeds)])}
        ready, walk = _walk(vectors, self._order, self._rule)
        # Seeds all stand, whatever they resemble.
        seeds = Exact(ready, self._rule.threshold)
        seeds.add(np.arange(len(self._seeds)))
        near_seed = Walk(ready, self._order, self._rule.threshold, seeds)
        of_seeds = WordPairs(self._texts, self._rule.ngram, self._rule.overlap)
        of_peers = WordPairs(self._texts, self._rule.ngram, self._rule.overlap)
        for row in range(len(self._seeds)):
            of_seeds.add(row)
        for row in self._order:
            found = _first(real.get(self._normal[row]), near_seed.nearest(row), of_seeds.nearest(row))
            near = walk.nearest(row)
            if found is not None:
                self._like_a_seed(row, found)
                continue
            same_text = self._by_text.setdefault(self._normal[row], row)
            twin = _first(None if same_text == row else same_text, near, of_peers.nearest(row))
            if twin is not None:
                self._pair(row, twin)
                continue
            self._given[row] = self._stamp.keep(self._item(row).candidate)
            walk.stand(row)
            of_peers.add(row)
        self._note_recall(vectors, context)

    def verdicts(self) -> list[Verdict]:
        return [self._given[len(self._seeds) + place] for place in range(len(self._standing))]

    def _item(self, row: int) -> Standing:
        return self._standing[row - len(self._seeds)]

    def _like_a_seed(self, row: int, twin: _Twin) -> None:
        seed, item = self._seeds[twin.row], self._item(row)
        other = "" if item.agrees(seed.label, seed.answer) else f" under another {'answer' if seed.answer else 'label'}"
        self._given[row] = self._stamp.drop(item.candidate, twin.what + other, twin.score, self._how(twin, seed.id))

    def _pair(self, row: int, twin: _Twin) -> None:
        """A duplicate of row `twin.row`. The row that stands for the twin's group is the one that may be taken back."""
        one, other = self._item(row), self._item(twin.row)
        if twin.what == NEAR:
            self._by_vector.append(row)
        leader = self._leader[row] = self._leader.get(twin.row, twin.row)
        held = f"held: {twin.what.replace('duplicate', 'duplicates')} under different "
        held += "answers" if one.answer else "labels"
        first = self._item(leader)
        agree = one.agrees(other.label, other.answer) and other.agrees(first.label, first.answer)
        evidence = self._how(twin, other.candidate.id)
        self._given[row] = self._stamp.drop(one.candidate, twin.what if agree else held, twin.score, evidence)
        if not agree and self._given[leader].decision is Decision.KEEP:
            evidence = self._how(twin, one.candidate.id)
            self._given[leader] = self._stamp.drop(first.candidate, held, twin.score, evidence)

    def _how(self, twin: _Twin, ident: str) -> str:
        if twin.what == EXACT:
            return f"same text as {ident}"
        return f"cosine {twin.score:.3f} to {ident}" if twin.what == NEAR else f"{self._shared(twin)} {ident}"

    def _shared(self, twin: _Twin) -> str:
        return f"{twin.score:.0%} of word {self._rule.ngram}-grams shared with"

    def _note_recall(self, vectors: NDArray[np.float32], context: Context) -> None:
        """Beyond `MOST_EXACT` rows: how much was found."""
        if len(vectors) <= MOST_EXACT:
            return
        if not available():
            context.notes.append(
                f"{len(vectors):,} rows were compared one with all, because no index is installed (pip install "
                "'synthetic-data-harness[scale]'); that takes long, and misses nothing."
            )
            return
        kept = [row for row in self._order if self._given[row].decision is Decision.KEEP]
        recall = measured_recall(vectors, kept, self._by_vector, self._rule.threshold)
        if recall.value is not None:
            context.notes.append(
                f"{len(vectors):,} rows were compared by an approximate index: it found {recall.value:.1%} "
                f"[{recall.low:.1%}, {recall.high:.1%}] of the near duplicates among {recall.n:,} sampled."
            )


def _walk(vectors: NDArray[np.float32], order: Sequence[int], rule: Rule) -> tuple[Turned, Walk]:
    if len(vectors) > MOST_EXACT and available():
        ready = ready_for_index(vectors)
        return ready, Walk(ready, order, rule.threshold, Indexed(vectors, rule.threshold))
    ready = turned(vectors, rule.threshold)
    return ready, Walk(ready, order, rule.threshold, Exact(ready, rule.threshold))


def _first(exact: int | None, near: tuple[int, float] | None, words: tuple[int, float] | None) -> _Twin | None:
    """The surest of the three likenesses that there are."""
    if exact is not None:
        return _Twin(exact, EXACT, 1.0)
    if near is not None:
        return _Twin(near[0], NEAR, near[1])
    return None if words is None else _Twin(words[0], WORDS, words[1])


def _best_first(standing: Sequence[Standing], context: Context) -> list[int]:
    """Places, the one that should survive its group in front."""
    return sorted(range(len(standing)), key=lambda place: (-_sureness(standing[place], context), place))


def _sureness(item: Standing, context: Context) -> float:
    """How sure the students are of the label or the answer, in tenths; 0 where there are none."""
    if context.votes is not None:
        said = context.votes.answers[item.row]
        return round(sum(same(item.answer, answer) for answer in said) / max(1, len(said)), 1)
    if context.labeller is None or item.label not in context.labeller.labels:
        return 0.0
    return round(float(context.labeller.probabilities[item.row][context.labeller.labels.index(item.label)]), 1)


def calibrate(seeds: Sequence[Example], matrix: NDArray[np.float32], threshold: float) -> Calibration:
    """The smallest cosine from which on at most 1 % of distinct same-label seed pairs lie, beside the threshold in use.

    `matrix` holds the seeds' unit vectors, n × d. With fewer than 100 pairs there is no such figure.
    """
    labels = np.array([seed.label for seed in seeds])
    upper = np.triu(labels[:, None] == labels[None, :], k=1)
    cosines = (matrix @ matrix.T)[upper]
    if len(cosines) < 100:
        return Calibration(threshold, None, None, len(cosines))
    most = len(cosines) // 100
    highest_to_stay = np.sort(cosines)[-most - 1]
    calibrated = float(np.nextafter(highest_to_stay, np.float32(2)))
    return Calibration(threshold, calibrated, float((cosines >= threshold).mean()), len(cosines))
