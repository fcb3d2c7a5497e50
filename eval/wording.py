"""How varied texts are as words, and in which script and language they are: figures that explain, and never alarm.

All of them depend on the number of texts and on their length (distinct-2 of one source falls as more of it is read),
so compare them on sets that `token_matched` has cut. Words are runs of letters and digits with their marks, in small
letters; Chinese characters, kana and the letters of Thai, Lao, Burmese and Khmer count one by one, since nothing sets
their words apart.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from eval.marks import MARKS, with_marks

_SINGLE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_SINGLE}][{MARKS}]*|" + with_marks(rf"[^\W_{_SINGLE}]"))
REPEATED_WORDS = 4
"""Length of the word sequence that `self_repetition` looks for elsewhere."""
MOSTLY = 0.5
"""The share of letters from which on a script counts as that of the texts."""
SPOKEN = 0.08
"""The share of words that must be function words of a language for it to be named."""
FUNCTION_WORDS = {
    "English": "the of and to in is that was for it on with as be at by this are from which you what how an",
    "German": "der die und das den von zu ist nicht mit sich auf dem ein eine auch als nach wie wer oder wird für",
    "French": "le les des et est une dans que qui du pour pas sur au avec ce il sont par plus quel où aux",
    "Spanish": "el los las y que en un una por con para del es su lo como más qué cuál al fue son quién",
    "Italian": "il di che è per una non sono con della dei nel alla gli si come più anche chi quale fu degli",
    "Portuguese": "o os e que em um uma para com não do da dos das é como mais foi ao qual quem pela são",
    "Dutch": "het een en van ik te dat die niet zijn op aan met voor er wat hoe wie naar deze wordt door bij",
    "Swedish": "och att det som på är av för med den till inte om ett har hur vad vem var från eller sig",
    "Polish": "w i na z nie się do jest że to jak co ale za przez od dla który po są kto oraz przy",
    "Turkish": "ve bir bu için ile de da ne çok olarak daha en gibi olan var kadar sonra nasıl hangi kim",
}

ENGLISH_ALONE = frozenset(("the", "of", "and", "that", "with", "this", "from", "which", "what", "you", "how"))
"""Those of English that hardly any other language in Latin letters has ("on" is Finnish, "to" Czech, "for" Danish)."""


def words(text: str) -> list[str]:
    """
    >>> words("Who wrote “Emma”? 東京")
    ['who', 'wrote', 'emma', '東', '京']
    """
    return _WORD.findall(text.casefold())


def distinct_n(texts: Sequence[str], n: int = 2) -> float | None:
    """Distinct sequences of n words over all of them (Li et al. 2016, arXiv 1510.03055); None where there are none."""
    found = Counter(sequence for text in texts for sequence in _sequences(words(text), n))
    return len(found) / found.total() if found else None


def self_repetition(texts: Sequence[str], n: int = REPEATED_WORDS) -> float | None:
    """Share of the texts with a sequence of n words that another text has too (after Salkar et al. 2022, Findings of
    AACL, who take the log of a count). Texts of fewer than n words are left out; None where none is left."""
    sequences = [set(_sequences(words(text), n)) for text in texts]
    holders = Counter(sequence for one in sequences for sequence in one)
    long = [one for one in sequences if one]
    return sum(any(holders[sequence] > 1 for sequence in one) for one in long) / len(long) if long else None


def compression_ratio(texts: Sequence[str]) -> float | None:
    """Bytes of all texts, one a line, over their bytes after zlib (Shaib et al. 2024, arXiv 2403.00553): the more they
    repeat each other the higher. None without a byte."""
    raw = "\n".join(texts).encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw, 9)) if raw else None


def dedup_survival(texts: Sequence[str]) -> float | None:
    """Share of the texts left when one of each group of equal texts is kept; equal up to case and blanks. None without
    texts."""
    return len({" ".join(text.casefold().split()) for text in texts}) / len(texts) if texts else None


def token_matched(sets: Sequence[Sequence[str]], seed: int = 0) -> tuple[tuple[str, ...], ...]:
    """Each set cut to as many words as the one with fewest: texts in an order drawn by `seed`, the last one cut short.

    A cut text becomes its words with blanks between. Cut the sets to one number of texts first
    (`eval.diversity.size_matched`); this takes away what longer texts add.
    """
    counts = [[len(words(text)) for text in texts] for texts in sets]
    budget = min((sum(one) for one in counts), default=0)
    return tuple(_within(texts, one, budget, seed) for texts, one in zip(sets, counts, strict=True))


def median_words(texts: Sequence[str]) -> float | None:
    """Words in the median text; None without texts."""
    return float(np.median([len(words(text)) for text in texts])) if texts else None


def language(texts: Sequence[str]) -> str:
    """The script of most letters, and for Latin letters the language where its function words show: `"Latin, German"`.

    `"Latin"` for other languages, short labels or gibberish, `""` without letters or where no script has half of them.
    Ten languages are known (`FUNCTION_WORDS`); the one with most function words is named if they make up 8 % of the
    words and no other language has half as many.
    """
    letters = Counter[str]()
    for character, count in Counter("".join(texts)).items():
        if character.isalpha():
            letters[_script(character)] += count
    if not letters:
        return ""
    script, count = letters.most_common(1)[0]
    if count < MOSTLY * letters.total():
        return ""
    spoken = Counter(word for text in texts for word in words(text))
    shares = {
        name: sum(spoken[word] for word in known.split()) / spoken.total() for name, known in FUNCTION_WORDS.items()
    }
    second, best = sorted(shares, key=lambda name: shares[name])[-2:]
    sure = shares[best] >= max(SPOKEN, 2 * shares[second])
    return f"{script}, {best}" if script == "Latin" and sure else script


def english_share(texts: Sequence[str]) -> float:
    """The share of all words that are in `ENGLISH_ALONE`: above .08 of any 20 English questions or sentences of reviews
    that we drew, next to nothing of other languages. 0 without words.

    >>> english_share(["Who wrote the book ?", "Kuka on kirjoittanut sen ?"])
    0.125
    """
    spoken = [word for text in texts for word in words(text)]
    return sum(word in ENGLISH_ALONE for word in spoken) / len(spoken) if spoken else 0.0


def _sequences(found: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(found[start:] for start in range(n)), strict=False)


def _within(texts: Sequence[str], counts: Sequence[int], budget: int, seed: int) -> tuple[str, ...]:
    kept: list[str] = []
    order: list[int] = np.random.default_rng(seed).permutation(len(texts)).tolist()
    for position in order:
        if counts[position] > budget:
            kept += [" ".join(words(texts[position])[:budget])] if budget else []
            break
        kept.append(texts[position])
        budget -= counts[position]
    return tuple(kept)


def _script(character: str) -> str:
    """First word of the character's Unicode name: `"Latin"`, `"Cyrillic"`, `"Cjk"`, `"Hiragana"`."""
    name = unicodedata.name(character, "unknown").split()[0].capitalize()
    return "Cjk" if name in ("Hiragana", "Katakana") else name
