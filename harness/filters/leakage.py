"""Is it a copy of held-out text? Compared with every dev, anchor and test item; evidence names ids, never text.

N-gram checks alone miss rephrased copies, embeddings alone miss long verbatim runs, so all three are asked:
normalised text, shared word n-grams, embedding neighbour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from harness.filters.base import Context, Stamp, Standing
from harness.records import FilterWorth, Verdict
from harness.seal import HeldOutTexts
from harness.texts import normalise

COVERED = 0.8
"""Share of a candidate's words inside n-grams of one held-out text from which on it counts as a copy. A shared run
alone is no evidence: "what is the capital of the" stands in dozens of honest questions."""


class LeakageFilter:
    name = "leakage"
    version = 1

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        rule = context.spec.filters.leakage
        stamp = Stamp(self.name, self.version)
        if not standing:
            return []
        held = HeldOutIndex(context.guard, rule.ngram)
        texts = [item.candidate.example.text for item in standing]
        cosines = context.embedder(texts) @ context.embedder(held.texts).T
        nearest = cosines.argmax(axis=1)
        verdicts: list[Verdict] = []
        for index, item in enumerate(standing):
            copy = held.copied(texts[index])
            cosine = float(cosines[index, nearest[index]])
            if copy:
                verdicts.append(stamp.drop(item.candidate, "copies a held-out text", 1.0, copy))
            elif cosine >= rule.threshold:
                evidence = f"cosine {cosine:.3f} to {held.names[int(nearest[index])]}"
                verdicts.append(stamp.drop(item.candidate, "paraphrases a held-out text", cosine, evidence))
            else:
                verdicts.append(stamp.keep(item.candidate, cosine))
        return verdicts

    def worth(self, context: Context) -> FilterWorth | None:  # noqa: ARG002 - leakage says nothing of correctness
        return None


class HeldOutIndex:
    """Normalised texts and word n-grams of all held-out items."""

    def __init__(self, guard: HeldOutTexts, ngram: int) -> None:
        self._ngram = ngram
        self._exact: dict[str, str] = {}
        self._grams: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self.names: list[str] = []
        self.texts: list[str] = []
        for role, ident, text in guard.pairs():
            words = normalise(text).split()
            self._exact[" ".join(words)] = f"{role} item {ident}"
            for start in range(len(words) - ngram + 1):
                self._grams[tuple(words[start : start + ngram])].append(len(self.texts))
            self.names.append(f"{role} item {ident}")
            self.texts.append(text)

    def copied(self, text: str) -> str:
        """What the text copies, in words, or ""."""
        words = normalise(text).split()
        twin = self._exact.get(" ".join(words))
        if twin:
            return f"same text as {twin}"
        covered: dict[int, set[int]] = defaultdict(set)
        for start in range(len(words) - self._ngram + 1):
            for held in self._grams.get(tuple(words[start : start + self._ngram]), ()):
                covered[held].update(range(start, start + self._ngram))
        for held, places in sorted(covered.items()):
            if len(places) >= COVERED * len(words):
                return f"{len(places)} of {len(words)} words in {self._ngram}-grams of {self.names[held]}"
        return ""


def overlaps(
    text: str, guard: HeldOutTexts, ngram: int, vectors: np.ndarray, held: np.ndarray, threshold: float
) -> str:
    """For free text that is to cross into prompts: any shared n-gram, or a cosine at the threshold, is too much."""
    words = normalise(text).split()
    grams = {tuple(words[start : start + ngram]) for start in range(len(words) - ngram + 1)}
    for role, ident, other in guard.pairs():
        known = normalise(other).split()
        if any(tuple(known[start : start + ngram]) in grams for start in range(len(known) - ngram + 1)):
            return f"shares {ngram} words with {role} item {ident}"
    cosine = float((held @ vectors).max()) if len(held) else 0.0
    return f"cosine {cosine:.2f} to a held-out text" if cosine >= threshold else ""
