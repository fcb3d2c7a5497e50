"""A reviewer's decisions as a CSV file for a spreadsheet, and back.

A cell that a spreadsheet would take for a formula gets an apostrophe in front when it is written and loses it when it
is read. A file is checked as a whole before anything of it is kept.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from harness.errors import DataError
from harness.plaintext import guarded, unguarded
from harness.reviewrows import Item
from harness.reviews import LONGEST, Desk, Review, Word, fault, now
from harness.tables import decoded, quoted_records, short

SHOWN_COLUMNS = ("id", "text", "label", "answer", "context", "cell")
COLUMNS = (*SHOWN_COLUMNS, "decision", "new_label", "note", "reviewer")
DELIMITERS = (",", ";", "\t")
"""Where the decimal sign is a comma, spreadsheets save with semicolons."""
MOST_FAULTS = 10


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a file: rows with a decision or note that is new, that changed, that was there already, and rows
    left empty, whose decisions in the store stay as they are."""

    new: int
    changed: int
    same: int
    empty: int


def write_csv(desk: Desk, reviewer: str, path: Path) -> int:
    """Write the sample with the reviewer's decisions; how many are decided. Raises `DataError` where it cannot."""
    said = desk.read(reviewer)
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)
    for item in desk.sample.items:
        own = said.get(item.shown.id, Review(item.shown.id, ""))
        cells = {**asdict(item.shown), **asdict(own), "reviewer": reviewer}
        rows.writerow([guarded(cells[name]) for name in COLUMNS])
    part = path.with_name(f"{path.name}.part")
    try:
        # The mark tells spreadsheets that it is UTF-8.
        part.write_text(file.getvalue(), encoding="utf-8-sig", newline="")
        part.replace(path)
    except OSError as error:
        raise DataError(f"--export {str(path)!r}: cannot be written: {error.strerror or error}.") from error
    return sum(bool(one.decision) for one in said.values())


def read_csv(desk: Desk, reviewer: str, path: Path) -> Imported:
    """Take over a file's decisions as those of the reviewer. Raises `DataError` with every fault of the file, and
    nothing is taken over then; empty rows change nothing."""
    found = _reviews(desk, reviewer, path)
    old = desk.read(reviewer)
    filled = [one for one in found if one.decision or one.note]
    fresh = [one for one in filled if one.item not in old]
    changed = [one for one in filled if one.item in old and one.said != old[one.item].said]
    desk.add(reviewer, [*fresh, *changed])
    return Imported(len(fresh), len(changed), len(filled) - len(fresh) - len(changed), len(found) - len(filled))


def _reviews(desk: Desk, reviewer: str, path: Path) -> list[Review]:
    items, at = desk.sample.by_id(), now()
    faults: list[str] = []
    lines: dict[str, int] = {}
    found: list[Review] = []
    for line, row in _rows(path):
        ident = row["id"].strip()
        column, why = _row_fault(row, items.get(ident), lines.get(ident), reviewer, desk)
        if why:
            faults.append(f"{path.name}:{line}: {column}: {why}")
            continue
        lines[ident] = line
        word = cast("Word", _word(row))
        found.append(Review(ident, word, row["new_label"].strip(), row["note"].strip(), at))
    if faults:
        more = f"\n… and {len(faults) - MOST_FAULTS} more lines" if len(faults) > MOST_FAULTS else ""
        raise DataError(
            "\n".join(faults[:MOST_FAULTS]) + f"{more}\nNothing was imported and nothing is lost: correct the file, "
            "then import it again."
        )
    return found


def _word(row: Mapping[str, str]) -> str:
    return row["decision"].strip().casefold()


def _row_fault(
    row: Mapping[str, str], item: Item | None, seen: int | None, reviewer: str, desk: Desk
) -> tuple[str, str]:
    """(column, what is wrong) of a row, or ("", "")."""
    if item is None:
        return "id", f"{short(row['id'])} is no row of the sample of {desk.sample.run}; export that run's file again"
    if seen is not None:
        return "id", f"{short(row['id'])} stands on line {seen} already; a row may be decided once"
    for name, told in asdict(item.shown).items():
        if _flat(row[name]) != _flat(told):
            return name, f"{short(row[name])} was changed, the run has {short(told)}; only {_open()} may be edited"
    if row["reviewer"].strip() not in ("", reviewer):
        who = row["reviewer"].strip()
        return "reviewer", f"{short(who)} is not {reviewer!r}, for whom this import is; use `--reviewer {short(who)}`"
    if len(row["note"]) > LONGEST:
        return "note", f"has {len(row['note']):,} characters; up to {LONGEST:,} are allowed"
    return fault(item, _word(row), row["new_label"].strip(), desk.sample)


def _open() -> str:
    return ", ".join(COLUMNS[len(SHOWN_COLUMNS) : -1])


def _flat(cell: str) -> str:
    """Spreadsheets write their own line ends and drop blanks at the ends of a cell."""
    return cell.replace("\r\n", "\n").replace("\r", "\n").strip()


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, cells by column) of each row. Raises `DataError` for what is no such file."""
    try:
        text = decoded(path)
    except OSError as error:
        raise DataError(f"--import {str(path)!r}: cannot be read: {error.strerror or error}.") from error
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    records, problem = quoted_records(path.name, text, delimiter)
    if problem:
        raise DataError(problem)
    if not records:
        raise DataError(f"{path.name}: the file is empty. `--export` writes one to start from.")
    first, names = records[0]
    header = [name.strip() for name in names]
    if sorted(header) != sorted(COLUMNS):
        _refuse_header(f"{path.name}:{first}", header)
    ragged = [line for line, cells in records if len(cells) != len(header)]
    if ragged:
        raise DataError(
            f"{path.name}:{ragged[0]}: the row does not have the {len(header)} cells that line {first} names. Put a "
            f"cell that holds {delimiter!r} in double quotes."
        )
    return [
        (line, {name: unguarded(cell) for name, cell in zip(header, cells, strict=True)}) for line, cells in records[1:]
    ]


def _refuse_header(where: str, header: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    foreign = [name for name in header if name not in COLUMNS]
    said = [f"there is no column {', '.join(missing)}"] if missing else []
    said += [f"{', '.join(map(repr, foreign))} is none of its columns"] if foreign else []
    said = said or ["a column stands there twice"]
    raise DataError(f"{where}: {'; '.join(said)}. Needed are exactly: {', '.join(COLUMNS)}.")
