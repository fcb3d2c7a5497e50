"""Is it new? Exact and embedding duplicates against the seeds and the candidates before it.

Exactly one of a group survives: real before synthetic, then the older. Two candidates that are near duplicates
under different labels are both held back, since one of the labels is wrong and nobody knows which.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.filters.base import Context, Stamp, Standing
from harness.records import Calibration, Example, FilterWorth, Verdict
from harness.texts import normalise


class DuplicateFilter:
    name = "duplicates"
    version = 1

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        stamp = Stamp(self.name, self.version)
        threshold = context.spec.filters.duplicates.threshold
        known = list(context.seeds)
        texts = [item.candidate.example.text for item in standing]
        matrix = context.embedder([*(example.text for example in known), *texts])
        older, own = matrix[: len(known)], matrix[len(known) :]
        exact = {normalise(example.text): example for example in known}
        verdicts: dict[int, Verdict] = {}
        kept: list[int] = []
        for index, item in enumerate(standing):
            text = normalise(item.candidate.example.text)
            match, cosine = _nearest(own[index], older)
            if text in exact:
                twin = exact[text]
                reason = "exact duplicate" if twin.label == item.label else "exact duplicate under another label"
                verdicts[index] = stamp.drop(item.candidate, reason, 1.0, evidence=f"same text as {twin.id}")
            elif match is not None and cosine >= threshold:
                twin = known[match]
                reason = "near duplicate" if twin.label == item.label else "near duplicate under another label"
                verdicts[index] = stamp.drop(
                    item.candidate, reason, cosine, evidence=f"cosine {cosine:.3f} to {twin.id}"
                )
            else:
                exact[text] = _as_labelled(item)
                self._among_kept(index, own, standing, kept, verdicts, threshold)
        return [verdicts[index] for index in range(len(standing))]

    def worth(self, context: Context) -> FilterWorth | None:  # noqa: ARG002 - novelty says nothing of correctness
        return None

    def _among_kept(
        self,
        index: int,
        own: NDArray[np.float32],
        standing: Sequence[Standing],
        kept: list[int],
        verdicts: dict[int, Verdict],
        threshold: float,
    ) -> None:
        """Compare with the candidates that are kept so far."""
        stamp = Stamp(self.name, self.version)
        item = standing[index]
        match, cosine = _nearest(own[index], own[kept])
        if match is None or cosine < threshold:
            verdicts[index] = stamp.keep(item.candidate, None if match is None else cosine)
            kept.append(index)
            return
        twin = standing[kept[match]]
        evidence = f"cosine {cosine:.3f} to {twin.candidate.id}"
        if twin.label == item.label:
            verdicts[index] = stamp.drop(item.candidate, "near duplicate", cosine, evidence)
            return
        reason = "held: near duplicates under different labels"
        verdicts[index] = stamp.drop(item.candidate, reason, cosine, evidence)
        back = f"cosine {cosine:.3f} to {item.candidate.id}"
        verdicts[kept[match]] = stamp.drop(twin.candidate, reason, cosine, back)


def calibrate(seeds: Sequence[Example], matrix: NDArray[np.float32], threshold: float) -> Calibration:
    """The cosine above which 1 % of distinct same-label seed pairs lie, beside the threshold in use.

    `matrix` holds the seeds' unit vectors, n × d. With fewer than 100 pairs there is no such figure.
    """
    labels = np.array([seed.label for seed in seeds])
    upper = np.triu(labels[:, None] == labels[None, :], k=1)
    cosines = (matrix @ matrix.T)[upper]
    if len(cosines) < 100:
        return Calibration(threshold, None, None, len(cosines))
    return Calibration(threshold, float(np.quantile(cosines, 0.99)), float((cosines >= threshold).mean()), len(cosines))


def _nearest(vector: NDArray[np.float32], others: NDArray[np.float32]) -> tuple[int | None, float]:
    if len(others) == 0:
        return None, 0.0
    cosines = others @ vector
    best = int(cosines.argmax())
    return best, float(cosines[best])


def _as_labelled(item: Standing) -> Example:
    example = item.candidate.example
    return Example(example.id, example.text, item.label, example.slices, example.origin)
