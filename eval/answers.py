"""Free answers against gold ones: exact match, token F1, ROUGE-L, and the fields of a JSON answer.

All of them compare *tokens*: words without case, accents' encoding, punctuation and English articles (Rajpurkar et al.
2016, arXiv 1606.05250, evaluate by such a form). Answers that were cut from tokenised text ("Earth ' s", "1 , 500")
then count as the same as the plain ones. A minus right before a number stays: "-5" is not "5".
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from eval.marks import MARKS, SELECTORS, with_marks

AnswerMetric = Literal["token_f1", "rouge_l", "json_fields"]
WORD = re.compile(r"(?:(?<![\w-])-\.?(?=\d))?" + with_marks(r"\w"))
_UNSEEN = re.compile(rf"[\u200d{SELECTORS}]|\u200c(?<=[{MARKS}]\u200c)")
"""Of Indic words with and without a joiner, and of pictures with and without a selector, either is the same."""
_MINUS = str.maketrans(dict.fromkeys("\u2010\u2013\u2212", "-"))
ARTICLES = frozenset(("a", "an", "the"))
MOST_LEVELS = 64
"""Of a JSON answer. What is nested deeper is no answer, and would be more than what reads it can follow."""


def tokens(text: str) -> list[str]:
    """The words that count; all words where nothing but articles is left, all signs where there is no word.

    >>> tokens("The Earth ' s crust"), tokens("the"), tokens("?!")
    (['earth', 's', 'crust'], ['the'], ['?!'])
    """
    plain = text.casefold() if text.isascii() else _plain(text)
    words = WORD.findall(plain)
    return [word for word in words if word not in ARTICLES] or words or plain.split()


def _plain(text: str) -> str:
    # Case folding takes some letters apart, hence the second time.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _UNSEEN.sub("", folded).translate(_MINUS)


def same(gold: str, said: str) -> bool:
    """Normalised exact match. Two JSON objects are the same where all their fields are.

    >>> same("the Earth's crust", "Earth ' s crust."), same('{"a": 1, "b": "X"}', '{"b": "x", "a": 1}')
    (True, True)
    """
    fields, answered = json_object(gold), json_object(said)
    if fields is not None:
        return answered is not None and leaves(fields) == leaves(answered)
    return tokens(gold) == tokens(said)


def token_f1(gold: str, said: str) -> float:
    """Harmonic mean of the shares of said and of gold tokens that the other side has too, repeats counted.

    >>> round(token_f1("shaping ideas about the free market", "ideas about free markets"), 2)
    0.67
    """
    return _f1(sum((Counter(tokens(gold)) & Counter(tokens(said))).values()), gold, said)


def rouge_l(gold: str, said: str) -> float:
    """ROUGE-L (Lin 2004): F1 of the longest common subsequence of tokens.

    >>> rouge_l("free market ideas", "ideas about the free market")
    0.5714285714285714
    """
    return _f1(_common_subsequence(tokens(gold), tokens(said)), gold, said)


def json_fields(gold: str, said: str) -> float:
    """Share of the gold object's leaf fields that `said` has with the same value; 0 where `said` is no JSON object.

    Raises ValueError where gold is none.

    >>> json_fields('{"type": "HUM", "entity": "Emma"}', '{"type": "HUM", "entity": "Anna"}')
    0.5
    """
    fields = json_object(gold)
    if fields is None:
        raise ValueError(f"the gold answer {gold[:80]!r} is no JSON object, which the metric json_fields needs")
    wanted, answered = leaves(fields), leaves(json_object(said) or {})
    if not wanted:
        return float(not answered)
    return sum(answered.get(name) == value for name, value in wanted.items()) / len(wanted)


SCORES: Mapping[AnswerMetric, Callable[[str, str], float]] = {
    "token_f1": token_f1,
    "rouge_l": rouge_l,
    "json_fields": json_fields,
}
"""Metric → (gold, said) → score from 0 to 1."""


def clusters(answers: Sequence[str]) -> list[list[int]]:
    """Positions of answers that are the same, largest group first, ties in order of appearance.

    >>> clusters(["Emma", "unknown", "emma."])
    [[0, 2], [1]]
    """
    groups: list[list[int]] = []
    for place, answer in enumerate(answers):
        for group in groups:
            if same(answers[group[0]], answer):
                group.append(place)
                break
        else:
            groups.append([place])
    return sorted(groups, key=lambda group: -len(group))


def json_object(text: str) -> dict[str, object] | None:
    """The JSON object that the text is, None where it is anything else or nested deeper than `MOST_LEVELS`."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) and _levels(value) <= MOST_LEVELS else None


def _levels(value: object) -> int:
    """How deep lists and objects are nested: 0 for a text, 2 for `{"a": [1]}`."""
    level, inside = 0, [value]
    while inside := [one for one in inside if isinstance(one, dict | list)]:
        level += 1
        inside = [each for one in inside for each in (one.values() if isinstance(one, dict) else one)]
    return level


def leaves(fields: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Path of each leaf → its value, texts as their tokens.

    >>> leaves({"type": "The X", "at": {"year": 2004}, "tags": ["red b"]})
    {'type': ('x',), 'at.year': 2004, 'tags.0': ('red', 'b')}
    """
    out: dict[str, object] = {}
    for name, value in fields.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            out |= leaves(cast("dict[str, object]", value), f"{path}.")
        elif isinstance(value, list):
            listed = cast("list[object]", value)
            out |= leaves({str(place): one for place, one in enumerate(listed)}, f"{path}.")
        else:
            # In Python, but not in JSON, true equals 1.
            out[path] = (
                tuple(tokens(value)) if isinstance(value, str) else repr(value) if isinstance(value, bool) else value
            )
    return out


def _f1(common: int, gold: str, said: str) -> float:
    return 2 * common / total if (total := len(tokens(gold)) + len(tokens(said))) else 1.0


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, row by row of the usual table."""
    row: NDArray[np.int64] = np.zeros(len(b) + 1, dtype=np.int64)
    for word in a:
        equal = np.fromiter((word == other for other in b), dtype=np.int64, count=len(b))
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], row[:-1] + equal))
    return int(row[-1])
