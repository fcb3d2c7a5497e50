"""Runs of letters in any script, with the marks that belong to them.

Python's `\\w` knows letters and digits but no marks (Unicode's Mn and Mc): vowel signs of Devanagari, tone marks of
Thai, accents that stand apart. A word that is cut at them loses them, and different words become the same.
"""

from __future__ import annotations

import re
import unicodedata

SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Marks that choose how the sign before them is drawn, and say nothing (inside of a character class)."""
_LAST = 0x1EFFF
"""Beyond are pictures, Chinese characters and selectors."""


def _ranges() -> str:
    drawing = re.compile(f"[{SELECTORS}]")
    found: list[list[int]] = []
    for code in range(0x300, _LAST + 1):
        if unicodedata.category(chr(code)) in ("Mn", "Mc") and not drawing.match(chr(code)):
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in found)


MARKS = _ranges()
"""All other marks, as the inside of a character class."""


def with_marks(letter: str) -> str:
    """The pattern of a run of `letter` (a class of characters) that begins with one and holds their marks."""
    # The look ahead spares Latin text the search through hundreds of ranges.
    return rf"{letter}+(?:(?![\x00-\u02ff])[{MARKS}]+{letter}*)*"
