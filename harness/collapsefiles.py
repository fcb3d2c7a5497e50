"""Generations and anchors as anybody's files, for `harness collapse check`: read, and looked at for what makes them
doubtful to compare. Nothing here judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from eval.readings import MIN_BATCHES
from eval.wording import language, median_words
from harness.errors import DataError
from harness.spec import FileSource
from harness.tables import ENDINGS, read_file, short, shown
from harness.texts import normalise

OTHER_LENGTH = 1.5
"""Generations whose median text is longer or shorter than generation 0's by this factor are named."""
TOO_LONG = 180
"""Words from which on the embedder may not read a text to its end (256 word pieces)."""
MANY = 0.5
"""Share of texts from which on a repetition is worth a word."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as it was read: its texts by file, and how many were empty and left out."""

    name: str
    files: tuple[str, ...]
    batches: tuple[tuple[str, ...], ...]
    empty: int

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(text for batch in self.batches for text in batch)


def read_generation(path: Path, column: str) -> Generation:
    """The texts of a file, or of all files of a folder. Raises `DataError`."""
    inside = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    files = [one for one in inside if one.suffix.lower() in ENDINGS]
    if not files:
        what = "has no such file in it" if path.is_dir() else "is none" if path.exists() else "is not there"
        raise DataError(
            f"{str(path)!r} {what}. A generation is a file ({', '.join(ENDINGS)}) or a folder of such files; the files "
            "of generation 0's folder are its independent batches."
        )
    read = [_texts(one, column) for one in files]
    kept = tuple(tuple(text for text in texts if text.strip()) for texts in read)
    empty = sum(map(len, read)) - sum(map(len, kept))
    return Generation(path.name, tuple(one.name for one in files), kept, empty)


def _texts(path: Path, column: str) -> list[str]:
    """The column of a file; a missing cell is an empty text. Raises `DataError`."""
    table = read_file(FileSource(kind="file", path=path.resolve()), Path())
    if table.rows and column not in table.columns:
        raise DataError(
            f"{str(path)!r} has no column {column!r}. Its columns: {', '.join(map(repr, table.columns))}. Name the one "
            "that holds the texts with `--text COLUMN`."
        )
    values = [row.get(column) for row in table.rows]
    wrong = [(number, value) for number, value in zip(table.numbers, values, strict=True) if _is_wrong(value)]
    if wrong:
        raise DataError(
            f"{str(path)!r}: column {column!r} holds {short(wrong[0][1])}, which is no text "
            f"({shown(table.unit, [number for number, _ in wrong])}). Name the column of texts with `--text COLUMN`."
        )
    return [value if isinstance(value, str) else "" for value in values]


def _is_wrong(value: object) -> bool:
    return value is not None and not isinstance(value, str)


def baseline_batches(first: Generation) -> tuple[tuple[tuple[str, ...], ...], list[str]]:
    """The batches of generation 0 that count, and what there is to say of them. Fewer than 4 files are put together.
    Files with less than half of the median file's texts are left out where 4 others remain; empty ones always."""
    batches = tuple(batch for batch in first.batches if batch)
    if 1 < len(batches) < MIN_BATCHES:
        said = f"Generation 0's {len(batches)} files are put together; {MIN_BATCHES} would be batches of their own."
        return (first.texts,), [said]
    if len(batches) > MIN_BATCHES:
        usual = median(map(len, batches))
        large = tuple(batch for batch in batches if 2 * len(batch) >= usual)
        if MIN_BATCHES <= len(large) < len(batches):
            left = len(batches) - len(large)
            said = f"{left} of generation 0's {len(batches)} files are much smaller than the others and left out."
            return large, [said]
    return batches, []


def usable_anchors(
    anchors: Generation, trained: Generation | None, generations: Sequence[Generation]
) -> tuple[tuple[str, ...], list[str]]:
    """Anchors that stand in no generation and in no training text, each once; and what was left out and why.

    None at all where they are written in another language than generation 0.
    """
    by_form = {normalise(text): text for text in anchors.texts}
    said: list[str] = []
    if (repeated := len(anchors.texts) - len(by_form)) > 0:
        said.append(f"{repeated} anchors stand more than once and count once.")
    if other_language(language(list(by_form.values())), language(generations[0].texts)):
        return (), [
            f"The anchors are {language(list(by_form.values()))} and generation 0 is {language(generations[0].texts)}: "
            "their distances say nothing, so they are left out."
        ]
    places = [(f"generation {number}", one) for number, one in enumerate(generations)]
    found: list[str] = []
    total = len(by_form)
    for place, one in [*([("the training texts", trained)] if trained else []), *places]:
        copied = by_form.keys() & set(map(normalise, one.texts))
        by_form = {form: text for form, text in by_form.items() if form not in copied}
        if copied:
            found.append(f"{len(copied)} in {place}")
    if found:
        said.append(
            f"{total - len(by_form)} of {total} anchors stand verbatim elsewhere ({', '.join(found)}) and are left "
            "out in all generations: an anchor must not be trained on, and a copied one has a distance of 0 whatever "
            "else is written."
        )
    return tuple(by_form.values()), said


def other_language(one: str, other: str) -> bool:
    """Whether two results of `eval.wording.language` contradict each other: scripts, or languages where both are known.

    >>> other_language("Latin, German", "Latin, English"), other_language("Latin", "Latin, English")
    (True, False)
    """
    if not one or not other:
        return False
    (script, _, spoken), (other_script, _, other_spoken) = one.partition(", "), other.partition(", ")
    return script != other_script or bool(spoken and other_spoken and spoken != other_spoken)


def cautions(generations: Sequence[Generation]) -> list[str]:
    """What is doubtful about comparing these generations, in sentences."""
    said = [
        f"Generation {number} has {one.empty} empty texts; they are left out."
        for number, one in enumerate(generations)
        if one.empty
    ]
    usual = median_words(generations[0].texts)
    earlier = set(map(normalise, generations[0].texts))
    for number, one in enumerate(generations[1:], start=1):
        length = median_words(one.texts)
        if usual and length is not None and not usual / OTHER_LENGTH <= length <= usual * OTHER_LENGTH:
            said.append(
                f"Generation {number}'s median text has {length:g} words and generation 0's {usual:g}: distances "
                "depend on length, so part of any change may be due to that. Generate with one length limit."
            )
        forms = [normalise(text) for text in one.texts]
        known = sum(form in earlier for form in forms)
        if forms and known >= MANY * len(forms):
            said.append(
                f"{known} of {len(forms)} texts of generation {number} stand in an earlier one already. Give what each "
                "generation wrote, not the data set that piles up: the pile hides what the newest one lacks."
            )
        earlier.update(forms)
    if usual and usual >= TOO_LONG:
        said.append(f"The median text has {usual:g} words; the embedder reads the first 256 word pieces of each only.")
    return said
