"""Rows as they came → distinct labelled items, or one `DataError` that lists everything that is wrong with them."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eval.answers import tokens
from harness.answers import answer_fault, kind_of
from harness.errors import DataError
from harness.packaged import CONFLICT
from harness.spec import MADE_OFF, Spec
from harness.specwords import nearest
from harness.tables import Table, short, shown, stray_quote
from harness.texts import normalise

MAX_CHARACTERS = 100_000
"""A cell beyond this is a file pasted into a cell, not an item."""
NEAR = 0.7
"""How like two names have to be (`difflib`) to be taken for a slip: `text` and `intent` are .6."""
SURROGATE = re.compile("[\ud800-\udfff]")
EMPTY_TEXT = "empty text"
EMPTY_LABEL = "empty label"
REPEATED = "exact duplicate"
ANSWERS_DIFFER = "two answers for one text"
NO_ANSWER = "no answer, or one that names no label"
NO_VALUE = "(none)"

_LeftOut = defaultdict[str, list[int]]
"""Reason → where the rows stood that were left out for it."""


@dataclass(frozen=True, slots=True)
class Item:
    """A distinct real text. `key` is its normalised form (with that of its context), `group` the value of the group
    column. `answer` and `context` are "" where the task has none."""

    id: str
    key: str
    text: str
    label: str
    columns: Mapping[str, str]
    group: str | None
    answer: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The items, and how many rows were left out for which reason."""

    items: tuple[Item, ...]
    dropped: Mapping[str, int]
    warnings: tuple[str, ...]


def clean(table: Table, spec: Spec) -> Cleaned:
    """Strip, check, and collapse exact duplicates (same normalised text). Raises `DataError` with all problems at once.

    Rows without text or label are counted and left out. Of rows with the same text the first is kept; if their labels
    differ, none is, because nobody can say which label is right.
    """
    _check_columns(table, spec)
    if not table.rows:
        raise DataError(f"{table.name}: there are no rows. Give it at least one row for each item of data.split.")
    rows = [_Row(number, row, spec) for number, row in zip(table.numbers, table.rows, strict=True)]
    if problems := _problems(table, rows, spec):
        raise DataError("\n".join(f"{table.name}: {problem}" for problem in problems))
    left_out: _LeftOut = defaultdict(list)
    full = _drop_empty(rows, left_out, answers=spec.task.answer is not None)
    items = _collapse(full, left_out)
    _check_labels(table.name, items, spec)
    dropped = Counter(table.dropped) + Counter({reason: len(numbers) for reason, numbers in left_out.items()})
    return Cleaned(tuple(items), dict(dropped), table.warnings + _dropped_warnings(table, dropped, left_out))


class _Row:
    """The used cells of a row as stripped text; `bad` names columns whose cell is no text or number."""

    def __init__(self, number: int, row: Mapping[str, object], spec: Spec) -> None:
        columns = spec.data.columns
        self.number = number
        self.bad: list[str] = []
        text = row.get(columns.text)
        if not (isinstance(text, str) or _missing(text)):
            self.bad.append(columns.text)
        self.text = text.strip() if isinstance(text, str) else ""
        rule = spec.task.answer
        self.answer = self._cell(row, columns.answer) if rule else ""
        self.context = self._cell(row, columns.context) if rule and rule.context else ""
        if rule:
            self.label = kind_of(self.answer, spec.task) or "" if self.answer else ""
        else:
            self.label = self._cell(row, columns.label)
        self.id = self._cell(row, columns.id) if columns.id else ""
        self.group = self._cell(row, columns.group) if columns.group else ""
        self.columns = {name: self._cell(row, name) for name in spec.data.slices.columns}

    def _cell(self, row: Mapping[str, object], column: str) -> str:
        value = row.get(column)
        if _missing(value):
            return ""
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        if not isinstance(value, str | int | float):
            self.bad.append(column)
            return ""
        return str(value).strip()

    @property
    def longest(self) -> int:
        cells = (self.text, self.label, self.id, self.group, self.answer, self.context, *self.columns.values())
        return max(map(len, cells))

    @property
    def key(self) -> str:
        """Equal for rows that ask the same; the text alone where there is no context."""
        return f"{normalise(self.context)}\n{normalise(self.text)}" if self.context else normalise(self.text)

    @property
    def target(self) -> object:
        """Equal for rows that answer the same."""
        return tuple(tokens(self.answer)) if self.answer else self.label


def _missing(value: object) -> bool:
    # NaN stands for "empty" in files that pandas wrote.
    return value is None or (isinstance(value, float) and math.isnan(value))


def _check_columns(table: Table, spec: Spec) -> None:
    columns = spec.data.columns
    rule = spec.task.answer
    wanted = {"data.columns.text": columns.text}
    wanted |= {"data.columns.answer": columns.answer} if rule else {"data.columns.label": columns.label}
    wanted |= {"data.columns.context": columns.context} if rule and rule.context else {}
    wanted |= {"data.columns.id": columns.id} if columns.id else {}
    wanted |= {"data.columns.group": columns.group} if columns.group else {}
    wanted |= {f"data.slices.columns[{i}]": name for i, name in enumerate(spec.data.slices.columns)}
    problems = [
        f"{table.name}: there is no column {name!r}, which {key} asks for. "
        f"Columns: {', '.join(map(repr, table.columns))}." + _closest(name, table.columns)
        for key, name in wanted.items()
        if name not in table.columns
    ]
    own = {"label", *spec.data.slices.made}
    problems += [
        f"data.slices.columns: {name!r} is the name of a slice that is made anyway. Rename the column"
        + (f", or set {MADE_OFF[name]}." if name in MADE_OFF else " or take it off the list.")
        for name in spec.data.slices.columns
        if name in own
    ]
    if not table.columns:
        second = columns.answer if rule else columns.label
        problems = [f"{table.name}: the file is empty. It needs the columns {columns.text!r} and {second!r}."]
    if problems:
        raise DataError("\n".join(problems))


def _closest(name: str, names: Sequence[str]) -> str:
    near = nearest(name, names, NEAR)
    return f" Did you mean {near!r}?" if near is not None else ""


def _problems(table: Table, rows: Sequence[_Row], spec: Spec) -> list[str]:
    def where(test: Callable[[_Row], object]) -> str:
        numbers = [row.number for row in rows if test(row)]
        return shown(table.unit, numbers) if numbers else ""

    problems: list[str] = []
    for column in dict.fromkeys(column for row in rows for column in row.bad):
        kind = "text" if column == spec.data.columns.text else "text or a number"
        problems.append(f"column {column!r} holds something that is no {kind} ({where(lambda r: column in r.bad)}).")  # noqa: B023
    if places := where(lambda row: row.longest > MAX_CHARACTERS):
        problems.append(
            f"cells longer than {MAX_CHARACTERS:,} characters ({places}). Shorten them or take the rows out; if they "
            "hold several rows, a quote was never closed."
        )
    if places := where(lambda row: SURROGATE.search(row.text)):
        problems.append(f"text that is no valid Unicode: half of a surrogate pair ({places}). Correct the rows.")
    swallowed = [row for row in rows if "\n" in row.text and _holds_a_row(row.text, table, spec)]
    problems += [stray_quote(table.name, row.number, row.number + row.text.count("\n")) for row in swallowed[:5]]
    if spec.data.columns.id:
        problems += _id_problems(table, rows, where(lambda row: not row.id))
    return problems + (_answer_problems(table, rows, spec) if spec.task.answer else _label_problems(table, rows, spec))


def _holds_a_row(text: str, table: Table, spec: Spec) -> bool:
    """Whether a line in the cell would be a row of its own: the right number of cells, a label where one belongs."""
    if not table.delimiter or spec.task.answer:
        return False
    at = table.columns.index(spec.data.columns.label)
    lines = (line.split(table.delimiter) for line in text.split("\n"))
    return any(len(cells) > at and cells[at].strip() in spec.task.labels for cells in lines)


def _id_problems(table: Table, rows: Sequence[_Row], without: str) -> list[str]:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        places[row.id].append(row.number)
    twice = [(ident, numbers) for ident, numbers in places.items() if ident and len(numbers) > 1]
    problems = [f"rows without an id ({without})."] if without else []
    if twice:
        listed = "; ".join(f"{short(ident)} in {shown(table.unit, numbers)}" for ident, numbers in twice[:5])
        more = f"; and {len(twice) - 5} more" if len(twice) > 5 else ""
        problems.append(f"ids that occur twice: {listed}{more}. Make them unique, or leave data.columns.id out.")
    return problems


def _label_problems(table: Table, rows: Sequence[_Row], spec: Spec) -> list[str]:
    allowed = list(spec.task.labels)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row.label and row.label not in spec.task.labels:
            places[row.label].append(row.number)
    if not places:
        return []
    listed = [
        f"{short(label)} in {shown(table.unit, numbers)}.{_closest(label, allowed)}"
        for label, numbers in list(places.items())[:10]
    ]
    more = f" And {len(places) - 10} more labels." if len(places) > 10 else ""
    return [
        f"labels that task.labels does not name: {' '.join(listed)}{more} Allowed: {', '.join(allowed)}. "
        "Correct the rows, or name the label in task.labels."
    ]


def _answer_problems(table: Table, rows: Sequence[_Row], spec: Spec) -> list[str]:
    rule = spec.task.answer
    places: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        if rule and row.answer and (fault := answer_fault(row.answer, rule)):
            places[fault].append(row.number)
    return [
        f"{fault} ({shown(table.unit, numbers)}). Correct the rows, or ease max_words or json_schema of task.answer."
        for fault, numbers in places.items()
    ]


def _drop_empty(rows: Sequence[_Row], left_out: _LeftOut, *, answers: bool) -> list[_Row]:
    for row in rows:
        if not normalise(row.text):
            left_out[EMPTY_TEXT].append(row.number)
        elif not row.label:
            left_out[NO_ANSWER if answers else EMPTY_LABEL].append(row.number)
    return [row for row in rows if row.label and normalise(row.text)]


def _collapse(rows: Sequence[_Row], left_out: _LeftOut) -> list[Item]:
    by_key: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        by_key[row.key].append(row)
    items: list[Item] = []
    for key, same in by_key.items():
        if len({row.target for row in same}) > 1:
            left_out[CONFLICT if not same[0].answer else ANSWERS_DIFFER] += [row.number for row in same]
            continue
        left_out[REPEATED] += [row.number for row in same[1:]]
        first = same[0]
        columns = {name: value or NO_VALUE for name, value in first.columns.items()}
        ident, group = _ident(first.id, key), first.group or None
        items.append(Item(ident, key, first.text, first.label, columns, group, first.answer, first.context))
    return items


def _ident(given: str, key: str) -> str:
    """`real-<id>` with odd characters replaced, or `real-<12 hex of the normalised text's sha256>`."""
    if not given:
        return f"real-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", given)[:60]
    # Two ids may look alike once cleaned; what was changed keeps a mark of its own.
    return f"real-{plain}" if plain == given else f"real-{plain}-{hashlib.sha256(given.encode()).hexdigest()[:6]}"


def _check_labels(name: str, items: Sequence[Item], spec: Spec) -> None:
    counts = Counter(item.label for item in items)
    if len(counts) < min(2, len(spec.task.labels)):
        only = f"only the label {next(iter(counts))!r}" if counts else "no label at all"
        raise DataError(
            f"{name}: after cleaning there is {only} in {len(items)} items; at least two have to occur. "
            f"task.labels names {', '.join(spec.task.labels)}."
        )
    scarce = {label: counts[label] for label in spec.task.labels if counts[label] < 2}
    if scarce:
        listed = ", ".join(f"{label!r} ({count})" for label, count in scarce.items())
        raise DataError(
            f"{name}: labels with fewer than two distinct items: {listed}. One is needed as a seed and one to test on: "
            "add rows, or take the label out of task.labels."
        )


def _dropped_warnings(table: Table, dropped: Mapping[str, int], left_out: _LeftOut) -> tuple[str, ...]:
    told = {reason: count for reason, count in dropped.items() if count and reason != REPEATED}
    # Rows that the reader itself left out have no place here.
    places = {
        reason: f" ({shown(table.unit, sorted(numbers))})"
        for reason, numbers in left_out.items()
        if len(numbers) == told.get(reason)
    }
    return tuple(
        f"{table.name}: {count} rows left out: {reason}{places.get(reason, '')}." for reason, count in told.items()
    )
