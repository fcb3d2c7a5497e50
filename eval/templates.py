"""How much of a set of texts is template: what function words and punctuation give away, and how often forms recur.

A text's skeleton is its function words and punctuation, with `_` for a content word and `0` for a number. Content is
the rest. Both are made of tokens, so no model is needed; function words are known for English only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eval.intervals import independent_shares, insufficient, wilson
from eval.marks import with_marks
from eval.outcomes import BoolArray, FloatArray, IntArray
from harness.records import Estimate

_FUNCTION_WORDS = """
a about above across after again against all almost along already also although always am among an and another
any anybody anyone anything are aren't around as at away be because been before behind being below beneath beside
besides between beyond both but by can can't cannot could couldn't did didn't do does doesn't doing don't done down
during each either else enough even ever every everybody everyone everything few for from further had hadn't has hasn't
have haven't having he he's her here hers herself him himself his how however i i'd i'll i'm i've if in into is isn't
it it's its itself just least less let like many may me might mine more most much must my myself near neither never no
nobody none nor not nothing now of off often on once one only onto or other others our ours ourselves out over own per
quite rather really same several shall she she's should shouldn't since so some somebody someone something still such
than that that's the their theirs them themselves then there there's these they they're they've this those though
through throughout thus till to too toward towards under until unto up upon us very via was wasn't we we're we've were
weren't what what's whatever when whenever where wherever whether which whichever while who who's whoever whole whom
whose why will with within without won't would wouldn't yet you you'd you'll you're you've your yours yourself s d ll m
re ve t n't 's 'd 'll 'm 're 've
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
WORD, NUMBER = "_", "0"
LONGEST = 12
"""Tokens of the skeleton that count when skeletons are compared: long texts never share a whole one."""
FOLDS = 5
FEWEST = 5
"""Items of a label that its share of 5 folds needs."""
PERMUTATIONS = 999
OPENINGS = (1, 2, 3)
"""Words of the openings that are counted."""
_WORD = with_marks(r"[^\W_]")
_TOKEN = re.compile(rf"n't\b|'(?:s|d|ll|m|re|ve)\b|{_WORD}(?:'{_WORD})*|[^\w\s]|_")
_PLAIN = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})


def tokens(text: str) -> list[str]:
    """Words and punctuation marks, in small letters.

    >>> tokens("Who wrote “Emma”?")
    ['who', 'wrote', '"', 'emma', '"', '?']
    """
    return _TOKEN.findall(text.casefold().translate(_PLAIN))


def skeleton(text: str) -> list[str]:
    """
    >>> skeleton("In 1815, who wrote Emma ?")
    ['in', '0', ',', 'who', '_', '_', '?']
    """
    return [_shape(one) for one in tokens(text)]


def content(text: str) -> list[str]:
    """The words that the skeleton hides, numbers included.

    >>> content("In 1815, who wrote Emma ?")
    ['1815', 'wrote', 'emma']
    """
    return [one for one in tokens(text) if _shape(one) in (WORD, NUMBER)]


def form(text: str) -> str:
    """The skeleton with each run of content words as one `_`, cut to 12 tokens.

    >>> form("Who wrote the long novel Emma ?")
    'who _ the _ ?'
    """
    found = skeleton(text)
    runs = [one for place, one in enumerate(found) if one != WORD or place == 0 or found[place - 1] != WORD]
    return " ".join(runs[:LONGEST])


def opening(text: str, count: int) -> str:
    """The first `count` words, punctuation left out.

    >>> opening("What's the name of it?", 2)
    'what the'
    """
    found = [one for one in tokens(text) if any(map(str.isalnum, one)) and not one.startswith("'")]
    return " ".join([found[0].partition("'")[0], *found[1:count]]) if found else ""


def _shape(token: str) -> str:
    if token in FUNCTION_WORDS or not any(map(str.isalnum, token)):
        return token if token != WORD else NUMBER
    return NUMBER if any(map(str.isdigit, token)) else WORD


def matched(real: Sequence[str], made: Sequence[str], seed: int) -> tuple[IntArray, IntArray]:
    """Positions in two lists of labels, as many of each label on either side, drawn by `seed`; two arrays of
    one length, and items at one place have one label. Takes away what differs only because labels are planned in
    other shares."""
    rng = np.random.default_rng(seed)
    sides: tuple[list[int], list[int]] = ([], [])
    for label in sorted({*real} & {*made}):
        places = [np.flatnonzero(np.array([one == label for one in side])) for side in (real, made)]
        size = min(map(len, places))
        for side, own in zip(sides, places, strict=True):
            side += np.sort(rng.permutation(own)[:size]).tolist()
    one, other = (np.array(side, dtype=np.int64) for side in sides)
    return one, other


def label_hits(features: Sequence[Sequence[str]], labels: Sequence[str], seed: int) -> BoolArray:
    """By item, whether a naive Bayes classifier that never saw it gives its label; shape (n,).

    Features are tokens and pairs of neighbours, there or not; 5 stratified folds. Raises ValueError unless there are at
    least two labels, each with 5 items.
    """
    counts = Counter(labels)
    if len(counts) < 2 or min(counts.values()) < FEWEST:
        raise ValueError(f"label_hits: labels {dict(counts)!r}; at least two with {FEWEST} items each are needed")
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.model_selection import StratifiedKFold
    from sklearn.naive_bayes import MultinomialNB

    found = [dict.fromkeys([*one, *(f"{a} {b}" for a, b in pairwise(one))], 1) for one in map(list, features)]
    table = DictVectorizer().fit_transform(found)
    gold = np.array(labels)
    hits = np.zeros(len(gold), dtype=np.bool_)
    for train, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(table, gold):
        model = MultinomialNB(alpha=0.5, fit_prior=True).fit(table[train], gold[train])
        hits[held_out] = model.predict(table[held_out]) == gold[held_out]
    return hits


def hits_difference(made: BoolArray, real: BoolArray) -> Estimate:
    """Share of hits of two cross-validated classifiers, one on each set of items: made − real.

    Newcombe's interval, widened by √(1 + 5/4) because the folds share training items (Nadeau & Bengio 2003, Machine
    Learning 52:239, as in `eval.shift.two_sample_auc`).
    """
    plain = independent_shares(int(made.sum()), len(made), int(real.sum()), len(real))
    if plain.value is None or plain.low is None or plain.high is None:
        return plain
    wider = (1 + FOLDS / (FOLDS - 1)) ** 0.5
    low, high = (plain.value + wider * (end - plain.value) for end in (plain.low, plain.high))
    return Estimate(plain.value, max(-1.0, low), min(1.0, high), plain.n, "Newcombe, Nadeau-Bengio")


@dataclass(frozen=True, slots=True)
class Concentration:
    """How much more often one form recurs among synthetic texts than among as many real ones.

    `difference` = made − real, its interval from permutations. `commonest` are the commonest forms of the synthetic
    texts, with their shares there and among real ones, by number of words (one entry for skeletons); `words` is the
    number that the figures are for.
    """

    real: Estimate
    made: Estimate
    difference: Estimate
    commonest: tuple[tuple[str, float, float], ...]
    words: int = 0


def opening_concentration(real: Sequence[str], made: Sequence[str], seed: int) -> Concentration:
    """Share of the commonest opening of 1, 2 and 3 words; of the three, that with the largest difference is given.

    `real` and `made` are of one length and `matched`. The interval is the difference ± the .95 quantile of the largest
    of the three absolute differences when the texts at each place are swapped at random (999 times), so it allows for
    having picked one of three.
    """
    sides = [[[opening(text, count) for text in side] for side in (real, made)] for count in OPENINGS]
    codes = [_codes(one, other) for one, other in sides]
    differences, spread = _permuted(codes, _top_share, seed)
    place = int(np.argmax(differences))
    commonest = tuple(
        (
            top := Counter(theirs).most_common(1)[0][0],
            theirs.count(top) / len(theirs),
            ours.count(top) / len(ours),
        )
        for ours, theirs in sides
    )
    n = len(real)
    tops = [wilson(max(Counter(side).values()), n) for side in sides[place]]
    return Concentration(tops[0], tops[1], _around(differences[place], spread, n), commonest, OPENINGS[place])


def skeleton_concentration(real: Sequence[str], made: Sequence[str], seed: int) -> Concentration:
    """Chance that two texts of a set have the same form, which does not depend on the number of texts (Simpson's index,
    unbiased). Interval as in `opening_concentration`; sides of one length and `matched`."""
    sides = [[form(text) for text in side] for side in (real, made)]
    codes = _codes(*sides)
    differences, spread = _permuted([codes], _same_share, seed)
    top = Counter(sides[1]).most_common(1)[0][0]
    shares = ((top, sides[1].count(top) / len(made), sides[0].count(top) / len(real)),)
    chances = [recurrence(side) for side in (real, made)]
    return Concentration(chances[0], chances[1], _around(differences[0], spread, len(real)), shares)


def recurrence(texts: Sequence[str]) -> Estimate:
    """Chance that two of the texts have the same form, without an interval of its own."""
    if len(texts) < 2:
        return insufficient(f"{len(texts)} texts; two are needed", len(texts))
    counts = np.array(list(Counter(map(form, texts)).values()), dtype=np.int64)
    return Estimate(_same_share(counts, len(texts)), None, None, len(texts), "U-statistic")


def top_opening(texts: Sequence[str], count: int) -> Estimate:
    """Share of the commonest opening of so many words, with Wilson's interval."""
    counts = Counter(opening(text, count) for text in texts)
    return wilson(max(counts.values(), default=0), len(texts))


Codes = tuple[IntArray, IntArray]
Share = Callable[[IntArray, int], float]


def _codes(one: Sequence[str], other: Sequence[str]) -> Codes:
    numbers = {name: place for place, name in enumerate(sorted({*one, *other}))}
    first, second = (np.array([numbers[name] for name in side], dtype=np.int64) for side in (one, other))
    return first, second


def _permuted(codes: Sequence[Codes], share: Share, seed: int) -> tuple[list[float], float]:
    """The differences made − real, and the .95 quantile of the largest absolute one under swaps at each place."""
    n = len(codes[0][0])
    rng = np.random.default_rng(seed)

    def difference(pair: Codes, swap: NDArray[np.bool_]) -> float:
        real, made = np.where(swap, pair[1], pair[0]), np.where(swap, pair[0], pair[1])
        return share(np.bincount(made), n) - share(np.bincount(real), n)

    observed = [difference(pair, np.zeros(n, dtype=np.bool_)) for pair in codes]
    drawn: FloatArray = np.zeros(PERMUTATIONS)
    for number in range(PERMUTATIONS):
        swap = rng.random(n) < 0.5
        drawn[number] = max(abs(difference(pair, swap)) for pair in codes)
    return observed, float(np.quantile(drawn, 0.95, method="higher"))


def _top_share(counts: IntArray, n: int) -> float:
    return float(counts.max()) / n


def _same_share(counts: IntArray, n: int) -> float:
    return float((counts * (counts - 1)).sum()) / (n * (n - 1))


def _around(value: float, half: float, n: int) -> Estimate:
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), n, f"{PERMUTATIONS} permutations")
