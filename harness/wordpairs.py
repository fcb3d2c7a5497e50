"""Texts that share most of their word n-grams: exact, without comparing all with all.

Prefix filtering (Chaudhuri et al., ICDE 2006; Bayardo et al., WWW 2007): sets with a Jaccard similarity of at least t
share one of the first |x| − ⌈t |x|⌉ + 1 members when all are sorted alike. Sorted by how rare they are, those first
members are shared by few.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from harness.texts import words_of

Gram = tuple[str, ...]


class WordPairs:
    """The texts' sets of word n-grams. Those that were added are found again by their numbers.

    >>> pairs = WordPairs(["who wrote the book Emma ?", "Who wrote the book Emma", "where is Rome"], 2, 0.8)
    >>> pairs.add(0)
    >>> pairs.nearest(1), pairs.nearest(2)
    ((0, 1.0), None)
    """

    def __init__(self, texts: Sequence[str], size: int, threshold: float) -> None:
        self._threshold = threshold
        sets = [grams_of(text, size) for text in texts]
        counts = Counter(gram for grams in sets for gram in grams)
        self._grams = [sorted(grams, key=lambda gram: (counts[gram], gram)) for grams in sets]
        self._by_gram: dict[Gram, list[int]] = defaultdict(list)

    def nearest(self, number: int) -> tuple[int, float] | None:
        """(number of the text most like it among those added, Jaccard similarity), where one is at the threshold; the
        one added first of equally similar ones."""
        own = set(self._grams[number])
        seen = dict.fromkeys(other for gram in self._prefix(number) for other in self._by_gram.get(gram, ()))
        found = [(self._similarity(own, other), -place, other) for place, other in enumerate(sorted(seen))]
        similarity, _, other = max(found, default=(0.0, 0, -1))
        return (other, similarity) if other >= 0 and similarity >= self._threshold else None

    def add(self, number: int) -> None:
        for gram in self._prefix(number):
            self._by_gram[gram].append(number)

    def _prefix(self, number: int) -> list[Gram]:
        grams = self._grams[number]
        # Rounding must not shorten a prefix.
        return grams[: len(grams) - math.ceil(self._threshold * len(grams) - 1e-9) + 1]

    def _similarity(self, own: set[Gram], other: int) -> float:
        both = sum(gram in own for gram in self._grams[other])
        return both / (len(own) + len(self._grams[other]) - both)


def grams_of(text: str, size: int) -> set[Gram]:
    """The word n-grams of a text, without case and punctuation; none where it has fewer words.

    >>> sorted(grams_of("Who wrote Emma?", 2))
    [('who', 'wrote'), ('wrote', 'emma')]
    """
    words = words_of(text)
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}
