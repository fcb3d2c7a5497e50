"""Text that data or a model wrote, made safe to print: nothing in it steers the terminal or hides what is there. And
safe to open in a spreadsheet: nothing in it is computed."""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
"""Format characters that scripts and emoji need, and that cannot reorder or hide text."""
_SUSPECT = re.compile("[^\n\x20-\x7e\xa1-\xac\xae-\u02ff]")

_FORMULA = tuple("=+-@\t\r\n＝＋－＠'")
"""What makes a spreadsheet compute a cell (OWASP, "CSV Injection"), and the apostrophe that guards against it."""


def printable(text: str) -> str:
    """The text with control characters, bidirectional overrides and other invisible ones shown as `\\u…`, so that an
    escape sequence becomes plain words. Line feeds stay, tabs become blanks. Markup is the printer's business.

    >>> printable("red: \\x1b[31m!")
    'red: \\\\x1b[31m!'
    """
    flat = text.replace("\r\n", "\n").replace("\t", "    ")
    return _SUSPECT.sub(lambda match: _shown(match[0]), flat)


def one_line(text: str, limit: int = 160) -> str:
    """The printable text on one line, cut to `limit` characters.

    >>> one_line("Who\\n  wrote it?", 10)
    'Who wrote…'
    """
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1].rstrip()}…"


def guarded(cell: str) -> str:
    """The cell with an apostrophe in front where a spreadsheet would compute it.

    >>> guarded("=1+1"), guarded("plain"), guarded("'tis")
    ("'=1+1", 'plain', "''tis")
    """
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def unguarded(cell: str) -> str:
    """`guarded` backwards; an apostrophe that guards nothing is part of the text.

    >>> unguarded("'=1+1"), unguarded("''tis"), unguarded("'tis")
    ('=1+1', "'tis", "'tis")
    """
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")
