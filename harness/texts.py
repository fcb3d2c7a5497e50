"""Small functions on one text: the form in which two texts count as the same, its length, its opening, its slices."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
PUNCTUATION = re.compile("([!-/:-@\\[-^`{-~\u00a1-\u00bf\u2010-\u205e\u3001-\u3003\u3008-\u3011])")
LOOKALIKES = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
)
COMMON_FIRST_WORDS = 8


def normalise(text: str) -> str:
    """The form in which two texts count as the same: NFKC, case folded, curly quotes and dashes made plain,
    punctuation set apart, single blanks. Applying it twice changes nothing.

    >>> normalise("Who  wrote “Emma”?")
    'who wrote " emma " ?'
    """
    text = INVISIBLE.sub("", text)
    # Case folding can undo a normal form and the other way round, so both run until nothing moves.
    while (folded := unicodedata.normalize("NFKC", text.casefold()).translate(LOOKALIKES)) != text:
        text = folded
    return " ".join(PUNCTUATION.sub(r" \1 ", text).split())


def words_of(text: str) -> list[str]:
    """The words of a text without case and punctuation; all of its signs where it has no word.

    >>> words_of("Who wrote “Emma”?"), words_of("?!")
    (['who', 'wrote', 'emma'], ['?', '!'])
    """
    pieces = normalise(text).split()
    return [piece for piece in pieces if any(map(str.isalnum, piece))] or pieces


def word_count(text: str) -> int:
    """Blank-separated pieces that hold a letter or digit.

    >>> word_count("Who wrote Emma ?")
    3
    """
    return sum(any(map(str.isalnum, piece)) for piece in text.split())


def first_word(text: str) -> str:
    """The first word in lower case, `""` when there is none.

    >>> first_word("What's up?")
    'what'
    """
    return next((piece for piece in normalise(text).split() if any(map(str.isalnum, piece))), "")


@dataclass(frozen=True, slots=True)
class Slicer:
    """Cuts a text by length and first word with bounds learnt from the seeds, so that real and synthetic texts
    are cut alike. `length` holds the last word count of "short" and of "medium"; None switches a slice off."""

    length: tuple[int, int] | None
    first_words: tuple[str, ...] | None

    @classmethod
    def learn(cls, seeds: Sequence[str], length: bool, first_words: bool) -> Slicer:
        """Bounds at the thirds of the seeds' word counts, and the ≤ 8 words that open most seeds, each two or more."""
        counts = sorted(map(word_count, seeds))
        third = len(counts) / 3
        bounds = (counts[int(third)], counts[int(2 * third)]) if length and counts else None
        openings = Counter(word for seed in seeds if (word := first_word(seed)))
        repeated = [word for word in openings if openings[word] > 1]
        common = sorted(repeated, key=lambda word: (-openings[word], word))[:COMMON_FIRST_WORDS]
        return cls(bounds, tuple(common) if first_words else None)

    def __call__(self, text: str) -> dict[str, str]:
        """The slices of a text.

        >>> Slicer((8, 11), ("who",))("Who wrote Emma ?")
        {'length': 'short (≤ 8 words)', 'first_word': 'who'}
        """
        slices: dict[str, str] = {}
        if self.length is not None:
            slices["length"] = self._length(word_count(text), *self.length)
        if self.first_words is not None:
            word = first_word(text)
            slices["first_word"] = word if word in self.first_words else "other"
        return slices

    def of(self, text: str, label: str, columns: Mapping[str, str]) -> dict[str, str]:
        """All slices of a real item: its label, the columns that the spec names, length and first word."""
        return {"label": label, **columns, **self(text)}

    @staticmethod
    def _length(words: int, short: int, medium: int) -> str:
        if words <= short:
            return f"short (≤ {short} words)"
        if words <= medium:
            return f"medium ({short + 1}–{medium} words)"
        return f"long (≥ {medium + 1} words)"
