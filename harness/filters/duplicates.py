"""Is it new? Exact and embedding duplicates against the seeds and the candidates before it; where items have a context
(a passage), among those with the same one, since the same question about another passage is another item.

Exactly one of a group survives: real before synthetic, then the older. Two candidates that are near duplicates
under different labels are both held back, since one of the labels is wrong and nobody knows which.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.filters.base import Context, Stamp, Standing
from harness.records import Decision, Example, Verdict
from harness.reports import Calibration, FilterWorth
from harness.texts import normalise


class DuplicateFilter:
    name = "duplicates"
    version = 2

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        matrix = context.embedder(
            [*(one.text for one in context.seeds), *(one.candidate.example.text for one in standing)]
        )
        older, own = matrix[: len(context.seeds)], matrix[len(context.seeds) :]
        verdicts: dict[int, Verdict] = {}
        for about in dict.fromkeys(item.candidate.example.context for item in standing):
            places = [place for place, item in enumerate(standing) if item.candidate.example.context == about]
            known = [place for place, seed in enumerate(context.seeds) if seed.context == about]
            found = self._within(
                [standing[place] for place in places],
                own[places],
                [context.seeds[place] for place in known],
                older[known],
                context.spec.filters.duplicates.threshold,
            )
            verdicts |= dict(zip(places, found, strict=True))
        return [verdicts[place] for place in range(len(standing))]

    def _within(
        self,
        standing: Sequence[Standing],
        own: NDArray[np.float32],
        known: Sequence[Example],
        older: NDArray[np.float32],
        threshold: float,
    ) -> list[Verdict]:
        """The verdicts among items of one context. `own` and `older` are the unit vectors of `standing` and `known`."""
        stamp = Stamp(self.name, self.version)
        texts = [item.candidate.example.text for item in standing]
        exact = {normalise(example.text): example for example in known}
        peers = _Peers(standing, own, stamp, threshold)
        for index, item in enumerate(standing):
            text = normalise(texts[index])
            match, cosine = _nearest(own[index], older)
            if text in exact:
                twin, what, evidence = exact[text], "exact duplicate", f"same text as {exact[text].id}"
                peers.verdicts[index] = stamp.drop(item.candidate, _reason(what, twin, item), 1.0, evidence)
            elif match is not None and cosine >= threshold:
                twin, what, evidence = known[match], "near duplicate", f"cosine {cosine:.3f} to {known[match].id}"
                peers.verdicts[index] = stamp.drop(item.candidate, _reason(what, twin, item), cosine, evidence)
            else:
                peers.compare(index, text)
        return [peers.verdicts[index] for index in range(len(standing))]

    def worth(self, context: Context) -> FilterWorth | None:  # noqa: ARG002 - novelty says nothing of correctness
        return None


class _Peers:
    """The candidates that are no duplicates of seeds, compared with one another. Those held back stay in the
    comparison: a third one near them is in doubt too."""

    def __init__(
        self, standing: Sequence[Standing], vectors: NDArray[np.float32], stamp: Stamp, threshold: float
    ) -> None:
        self._standing = standing
        self._vectors = vectors
        self._stamp = stamp
        self._threshold = threshold
        self._firsts: list[int] = []
        self._first_vectors = np.empty_like(vectors)
        self._by_text: dict[str, int] = {}
        self._leader: dict[int, int] = {}
        self.verdicts: dict[int, Verdict] = {}

    def compare(self, index: int, text: str) -> None:
        """Give the verdict for row `index`, and take back that of an earlier row under another label."""
        item = self._standing[index]
        same = self._by_text.setdefault(text, index)
        match, cosine = _nearest(self._vectors[index], self._first_vectors[: len(self._firsts)])
        if same != index:
            self._pair(index, same, "exact duplicate", 1.0)
        elif match is not None and cosine >= self._threshold:
            self._pair(index, self._firsts[match], "near duplicate", cosine)
        else:
            self.verdicts[index] = self._stamp.keep(item.candidate, None if match is None else cosine)
            self._first_vectors[len(self._firsts)] = self._vectors[index]
            self._firsts.append(index)

    def _pair(self, index: int, twin: int, what: str, cosine: float) -> None:
        """A duplicate of row `twin`. The row that stands for the twin's group is the one that may be taken back."""
        one, other = self._standing[index], self._standing[twin]
        leader = self._leader[index] = self._leader.get(twin, twin)
        how = "same text as" if what == "exact duplicate" else f"cosine {cosine:.3f} to"
        held = f"held: {what}s under different {'answers' if one.answer else 'labels'}"
        first = self._standing[leader]
        agree = one.agrees(other.label, other.answer) and other.agrees(first.label, first.answer)
        reason, evidence = what if agree else held, f"{how} {other.candidate.id}"
        self.verdicts[index] = self._stamp.drop(one.candidate, reason, cosine, evidence)
        if not agree and self.verdicts[leader].decision is Decision.KEEP:
            self.verdicts[leader] = self._stamp.drop(first.candidate, held, cosine, f"{how} {one.candidate.id}")


def _reason(what: str, seed: Example, item: Standing) -> str:
    return (
        what if item.agrees(seed.label, seed.answer) else f"{what} under another {'answer' if seed.answer else 'label'}"
    )


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


def _nearest(vector: NDArray[np.float32], others: NDArray[np.float32]) -> tuple[int | None, float]:
    if len(others) == 0:
        return None, 0.0
    cosines = others @ vector
    best = int(cosines.argmax())
    return best, float(cosines[best])
