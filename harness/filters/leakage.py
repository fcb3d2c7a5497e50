"""Is it a copy of held-out text? Compared with every dev, anchor and test item; evidence names ids, never text.

N-gram checks alone miss rephrased copies, embeddings alone miss long verbatim runs, so all three are asked:
normalised text, shared word n-grams, embedding neighbour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from harness.filters.base import Context, Stamp, Standing
from harness.records import Role, Verdict
from harness.reports import FilterWorth
from harness.seal import HeldOutTexts
from harness.texts import words_of

COVERED = 0.8
"""Share of a candidate's words inside n-grams of one held-out text from which on it counts as a copy. One shared n-gram
alone is no evidence: "what is the capital of the" stands in dozens of honest questions."""
SHORTEST = 3
"""Words of a held-out text from which on finding the whole of it in free text is no coincidence."""


class LeakageFilter:
    name = "leakage"
    version = 2

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        rule = context.spec.filters.leakage
        stamp = Stamp(self.name, self.version)
        if not standing:
            return []
        held = HeldOutIndex(context.guard.pairs(), rule.ngram)
        answers = HeldOutIndex(context.guard.answers(), rule.ngram)
        texts = [item.candidate.example.text for item in standing]
        cosines = context.embedder(texts) @ context.embedder(held.texts).T
        nearest = cosines.argmax(axis=1)
        verdicts: list[Verdict] = []
        for index, item in enumerate(standing):
            copy = held.copied(texts[index]) or answers.covered(texts[index])
            said = answers.covered(item.answer) or held.covered(item.answer)
            cosine = float(cosines[index, nearest[index]])
            if copy:
                verdicts.append(stamp.drop(item.candidate, "copies a held-out text", 1.0, copy))
            elif said:
                verdicts.append(stamp.drop(item.candidate, "its answer copies a held-out text", 1.0, said))
            elif cosine >= rule.threshold:
                evidence = f"cosine {cosine:.3f} to {held.names[int(nearest[index])]}"
                verdicts.append(stamp.drop(item.candidate, "paraphrases a held-out text", cosine, evidence))
            else:
                verdicts.append(stamp.keep(item.candidate, cosine))
        return verdicts

    def worth(self, context: Context) -> FilterWorth | None:  # noqa: ARG002 - leakage says nothing of correctness
        return None


class HeldOutIndex:
    """Words and word n-grams of held-out texts, without case and punctuation; `pairs` are (role, id, text)."""

    def __init__(self, pairs: Iterable[tuple[Role, str, str]], ngram: int) -> None:
        self._ngram = ngram
        self._exact: dict[str, str] = {}
        self._grams: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self.names: list[str] = []
        self.texts: list[str] = []
        for role, ident, text in pairs:
            words = words_of(text)
            self._exact[" ".join(words)] = f"{role} item {ident}"
            for start in range(len(words) - ngram + 1):
                self._grams[tuple(words[start : start + ngram])].append(len(self.texts))
            self.names.append(f"{role} item {ident}")
            self.texts.append(text)

    def copied(self, text: str) -> str:
        """What the text copies, in words, or ""."""
        twin = self._exact.get(" ".join(words_of(text)))
        return f"same words as {twin}" if twin else self.covered(text)

    def covered(self, text: str) -> str:
        """Which held-out text the n-grams of this one come from, for the most part; "". Short texts have none, so that
        two equal answers of a word are no copies."""
        words = words_of(text)
        covered: dict[int, set[int]] = defaultdict(set)
        for start in range(len(words) - self._ngram + 1):
            for held in self._grams.get(tuple(words[start : start + self._ngram]), ()):
                covered[held].update(range(start, start + self._ngram))
        for held, places in sorted(covered.items()):
            if len(places) == len(words) or (len(places) > self._ngram and len(places) >= COVERED * len(words)):
                return f"{len(places)} of {len(words)} words in {self._ngram}-grams of {self.names[held]}"
        return ""


def overlaps(
    text: str, guard: HeldOutTexts, ngram: int, vectors: np.ndarray, held: np.ndarray, threshold: float
) -> str:
    """Which held-out item a free text that is to cross into prompts resembles, or "". Any shared n-gram, the whole of a
    shorter held-out text, or a cosine at the threshold is too much. `vectors` is the text's unit vector (d), `held`
    those of the held-out texts (n × d)."""
    words = words_of(text)
    for role, ident, other in guard.pairs():
        known = words_of(other)
        size = min(ngram, len(known))
        if size >= min(ngram, SHORTEST) and not _grams(words, size).isdisjoint(_grams(known, size)):
            return f"shares {size} words with {role} item {ident}"
    cosine = float((held @ vectors).max()) if len(held) else 0.0
    return f"cosine {cosine:.2f} to a held-out text" if cosine >= threshold else ""


def _grams(words: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}
