"""Reads rows from csv, tsv, jsonl, parquet, a saved `datasets` folder or the hub, and says where each row stood.

Nothing is repaired silently. What is read in an unusual way is a warning; what cannot be read surely is a `DataError`
that names the line.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from harness.errors import DataError
from harness.spec import FileSource, HubSource, SavedSource

Format = Literal["csv", "tsv", "jsonl", "parquet"]
ENDINGS: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as they stood in the source. `numbers[i]` is where row i stood, counted in `unit`s ("line" or "row") from 1.

    `dropped` counts rows that the reader left out, by reason. `delimiter` is set for csv and tsv.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, object], ...]
    unit: Literal["line", "row"]
    numbers: tuple[int, ...]
    warnings: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    delimiter: str = ""


def read_file(source: FileSource, base: Path) -> Table:
    """Rows of a file. Raises `DataError`."""
    path = existing(source.path, base, folder=False)
    kind = source.format or ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"{str(path)!r}: the ending {path.suffix!r} does not say what the file is. Allowed: {', '.join(ENDINGS)}; "
            "or set data.source.format to csv, tsv, jsonl or parquet."
        )
    if kind == "parquet":
        return _read_parquet(path)
    text = decoded(path)
    return _read_jsonl(path, text) if kind == "jsonl" else _read_delimited(path, text, kind)


def existing(path: Path, base: Path, folder: bool) -> Path:
    """The path, relative ones taken from `base` (the YAML file's folder). Raises `DataError` when it is not there."""
    full = path if path.is_absolute() else base / path
    if not (full.is_dir() if folder else full.is_file()):
        kind = "folder" if folder else "file"
        near = sorted(other.name for other in full.parent.iterdir())[:8] if full.parent.is_dir() else []
        beside = f" Beside it: {', '.join(near)}." if near else ""
        raise DataError(
            f"data.source.path: there is no {kind} {str(full)!r}; relative paths start at the YAML file's "
            f"folder.{beside}"
        )
    return full


def decoded(path: Path) -> str:
    """The file's text, without a byte order mark. Raises `DataError` unless it is UTF-8."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        guess = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "CP1252"
        raise DataError(
            f"{path.name}:{line}: byte {raw[error.start]:#04x} at offset {error.start} is not UTF-8; the file is "
            f"probably {guess}. Only UTF-8 is read. Convert it: "
            f"`iconv -f {guess} -t UTF-8 {path.name} > new{path.suffix}`."
        ) from error
    if "\0" in text:
        raise DataError(
            f"{path.name}: holds NUL characters, so it is no text file or UTF-16 without a mark. Convert it: "
            f"`iconv -f UTF-16LE -t UTF-8 {path.name} > new{path.suffix}`."
        )
    return text


def _read_delimited(path: Path, text: str, kind: Format) -> Table:
    delimiter = "," if kind == "csv" else "\t"
    warnings: tuple[str, ...] = ()
    records, problem = quoted_records(path.name, text, delimiter)
    spread = any("\n" in cell for _, cells in records for cell in cells)
    if (problem or spread) and (plain := _unquoted(text, delimiter, even=kind == "csv")):
        records, problem = plain, ""
        line = next((number for number, cells in plain if any(cell.startswith('"') for cell in cells)), 1)
        warnings = (
            f"{path.name}:{line}: quotes do not enclose cells in this file; they were read as part of the text.",
        )
    if problem:
        raise DataError(problem)
    if not records:
        raise DataError(f"{path.name}: the file is empty. It needs a line with column names and at least one row.")
    first, names = records.pop(0)
    header = tuple(name.strip() for name in names)
    if doubled := sorted({name for name in header if name and header.count(name) > 1}):
        raise DataError(f"{path.name}:{first}: column names that occur twice: {doubled}. Rename one of each.")
    ragged = [number for number, cells in records if len(cells) != len(header)]
    if ragged:
        raise DataError(
            f"{path.name}: {len(ragged)} rows do not have the {len(header)} cells that line {first} names "
            f"({shown('line', ragged)}). Put a cell that holds {delimiter!r} in double quotes."
        )
    rows = tuple(dict(zip(header, cells, strict=True)) for _, cells in records)
    numbers = tuple(number for number, _ in records)
    return Table(path.name, header, rows, "line", numbers, warnings, delimiter=delimiter)


def quoted_records(name: str, text: str, delimiter: str) -> tuple[list[tuple[int, list[str]]], str]:
    """(line on which it starts, cells) of each record, quotes read as in RFC 4180, and what stopped the reading."""
    records: list[tuple[int, list[str]]] = []
    start = 1
    with _wide_cells():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        while True:
            try:
                cells = next(reader, None)
            except csv.Error:
                return records, stray_quote(name, start, reader.line_num)
            if cells is None:
                return records, ""
            if len(cells) > 1 or any(map(str.strip, cells)):
                records.append((start, cells))
            start = reader.line_num + 1


def _unquoted(text: str, delimiter: str, even: bool) -> list[tuple[int, list[str]]] | None:
    """The records where quotes are plain characters; None where the file shows that they are not.

    Cells wholly in quotes, doubled quotes or rows of unequal width show that quotes enclose cells. In a csv an odd
    number of quotes in a cell that starts with one (`even`) is a quote that was never closed.
    """
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    records = [(number, line.split(delimiter)) for number, line in enumerate(lines, start=1) if line.strip()]
    for _, cells in records:
        if len(cells) != len(records[0][1]) or any(_encloses(cell.strip(), even) for cell in cells):
            return None
    return records


def _encloses(cell: str, even: bool) -> bool:
    if not cell.startswith('"'):
        return '""' in cell
    return '""' in cell or cell.endswith('"') or (even and cell.count('"') % 2 == 1)


def stray_quote(name: str, start: int, end: int) -> str:
    """The message for a quote that opens on one line and takes in what follows."""
    reach = f" and takes in the lines up to {end}" if end > start else ""
    return (
        f"{name}:{start}: a double quote opens a cell here{reach}, but what follows does not close it properly. "
        'Close it; where quotes are part of the text, put the cell in quotes and double them (`"a ""b"" c"`), '
        "or save the rows as .jsonl."
    )


@contextmanager
def _wide_cells() -> Generator[None]:
    # The limit is the csv module's own global; without it a huge cell would be reported alone and without its row.
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_jsonl(path: Path, text: str) -> Table:
    if text.lstrip().startswith("["):
        raise DataError(f'{path.name}:1: this is one JSON list; a .jsonl file has one object a line: {{"text": …}}.')
    rows: list[Mapping[str, object]] = []
    numbers: list[int] = []
    problems: list[str] = []
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(f"{path.name}:{number}: no JSON ({error.msg}, column {error.colno})")
            continue
        if not isinstance(row, dict):
            problems.append(f'{path.name}:{number}: {short(row)} is no object; each line is like {{"text": …}}')
            continue
        rows.append(cast("dict[str, object]", row))
        numbers.append(number)
    if problems:
        more = f"\n… and {len(problems) - SHOWN} more lines" if len(problems) > SHOWN else ""
        raise DataError("\n".join(problems[:SHOWN]) + more)
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(path.name, columns, tuple(rows), "line", tuple(numbers))


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name}: cannot be read as parquet: {error}") from error
    rows = _named_classes(table.to_pylist(), _class_names(table.schema.metadata))
    return Table(path.name, tuple(table.column_names), rows, "row", tuple(range(1, len(rows) + 1)))


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column → class names, for columns that `datasets` wrote as numbers."""
    features = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {name: kind["names"] for name, kind in features.items() if isinstance(kind, dict) and "names" in kind}


def _named_classes(
    rows: list[dict[str, Any]], classes: Mapping[str, Sequence[str]]
) -> tuple[Mapping[str, object], ...]:
    for row in rows:
        for column, names in classes.items():
            if isinstance(index := row.get(column), int) and 0 <= index < len(names):
                row[column] = names[index]
    return tuple(rows)


def read_saved(source: SavedSource, base: Path) -> Table:
    """Rows of a folder written by `Dataset.save_to_disk`. Raises `DataError`."""
    path = existing(source.path, base, folder=True)
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} is no folder written by `Dataset.save_to_disk`: {error}") from error
    if isinstance(loaded, datasets.DatasetDict):
        splits = sorted(map(str, loaded))
        if source.split not in splits:
            raise DataError(f"data.source.split: {source.split!r} is none of the splits in {path.name!r}: {splits}.")
        loaded = loaded[source.split]
    return _from_dataset(path.name, loaded)


def read_hub(source: HubSource) -> Table:
    """Rows of a data set on the hub, which needs a network. Raises `DataError`."""
    import datasets

    try:
        loaded = datasets.load_dataset(source.name, source.config, split=source.split, revision=source.revision)
    except Exception as error:
        # The hub client raises errors of a dozen libraries; all of them mean that the rows cannot be had.
        raise DataError(
            f"data.source: cannot load {source.name!r} from the hub ({type(error).__name__}: "
            f"{short(str(error), 300)}). Check name, config, split and revision and the network, "
            "or save the rows to a file and set kind: file."
        ) from error
    table = _from_dataset(source.name, loaded)
    if source.revision:
        return table
    warning = f"{source.name!r} was taken as the hub has it today; set data.source.revision so that it can be repeated."
    return replace(table, warnings=(warning,))


def _from_dataset(name: str, loaded: Any) -> Table:
    classes = {column: kind.names for column, kind in loaded.features.items() if hasattr(kind, "names")}
    rows = _named_classes(loaded.to_list(), classes)
    return Table(name, tuple(loaded.column_names), rows, "row", tuple(range(1, len(rows) + 1)))


def shown(unit: str, numbers: Sequence[int]) -> str:
    """`lines 3, 8, 9, 12, 20, …`"""
    dots = ", …" if len(numbers) > SHOWN else ""
    return f"{unit}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:SHOWN]))}{dots}"


def short(value: object, limit: int = 60) -> str:
    """`repr` of a value, cut so that a message stays readable."""
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= limit else text[:limit] + "…"
    return repr(cut) if isinstance(value, str) else cut
