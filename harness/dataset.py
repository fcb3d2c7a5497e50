"""The synthetic data set of a round: parquet with lineage and a card, for `datasets.load_dataset(folder)`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.generate.prompts import render
from harness.records import Candidate, Example
from harness.spec import Spec

HELD_OUT_SHARE = 10
"""One accepted row in so many is kept from training: the transfer gap needs synthetic items that no arm has seen."""
GROUP = 20_000
"""Rows that are in memory as columns at a time, and that a row group of a file has."""
CHUNK = 500
"""Rows that are in memory as records at a time."""
FILES = {"train": "train.parquet", "validation": "validation.parquet"}

ANSWER_COLUMNS = (
    "`context` (what the text is about, of a seed), `answer` (final), `asked_answer` (what the generator wrote; it "
    "differs where the answer was replaced), "
)

CARD = """\
---
license: other
task_categories: [{{ category }}]
configs:
- config_name: default
  data_files:
{% for split in splits %}  - {split: {{ split }}, path: data/{{ split }}.parquet}
{% endfor %}tags: [synthetic]
---
# Synthetic {{ noun }}s of {{ name }}, up to round {{ round }}

{{ train }} rows for training and {{ validation }} that no model was trained on (for the transfer gap). All are
synthetic: written by `{{ model }}` from few-shot prompts with real seeds, then filtered. {{ real }}

| label | rows |
|---|---|
{% for label, count in labels.items() %}| {{ label }} | {{ count }} |
{% endfor %}
Columns: `text`, {{ columns }}`label` (final), `asked_label` (what the prompt asked for; it differs where the row was
relabelled), `id`, `cell`, `round`, `wave`, `call` (key of the cached call), `index` (answer in that call), `shots` (ids
of the seeds in the prompt).

Filters: {{ filters }}. `harness show ID` prints a row's prompt, seeds and verdicts.

Limits: a small generator writes odd, wrong and now and then unpleasant text. Do not evaluate on these rows.
"""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A row that came through all filters: the example under its final label, and the candidate it came from."""

    example: Example
    candidate: Candidate


def is_held_out(ident: str) -> bool:
    """Whether a row is kept from training; decided by its id alone, so that it stays so over rounds and waves."""
    return int(ident.rsplit("-", 1)[-1], 16) % HELD_OUT_SHARE == 0


def write_dataset(folder: Path, rows: Iterable[Accepted], spec: Spec, round_: int, filters: Sequence[str]) -> None:
    """Write `data/train.parquet`, `data/validation.parquet` (if it has rows) and the card. Same rows, same bytes.

    `rows` are gone through once and never all in memory.
    """
    (folder / "data").mkdir()
    labels: Counter[str] = Counter()
    with ExitStack() as opened:
        files = {name: opened.enter_context(_File(folder / "data" / file)) for name, file in FILES.items()}
        for row in rows:
            labels[row.example.label] += 1
            files["validation" if is_held_out(row.example.id) else "train"].add(row)
        # `datasets` cannot load a split without rows, so it is left out, but for that of training.
        files["train"].open(answers=False)
    counts = {name: file.rows for name, file in files.items()}
    written = [name for name in FILES if counts[name] or name == "train"]
    values: Mapping[str, object] = {
        "noun": spec.task.noun,
        "name": spec.name,
        "round": round_,
        "splits": written,
        **counts,
        "model": spec.llm.generator.model,
        "labels": dict(sorted(labels.items())),
        "filters": ", ".join(filters) or "none",
        "category": "text-generation" if spec.task.answer else "text-classification",
        "real": "Only contexts are real: those of seeds." if spec.task.answer else "No real text is in here.",
        "columns": ANSWER_COLUMNS if spec.task.answer else "",
    }
    (folder / "README.md").write_text(render(CARD, values) + "\n", encoding="utf-8")


class _File:
    """A parquet file that takes row after row, made at the first one: this says whether rows have answers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._schema: Any = None
        self._waiting: list[Accepted] = []
        self._tables: list[Any] = []
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is None:
            return
        if error is None and (self.rows % GROUP or not self.rows):
            self._write()
        self._writer.close()

    def open(self, *, answers: bool) -> None:
        """Make the file, unless it is there."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is not None:
            return
        more = ("context", "answer", "asked_answer") if answers else ()
        self._schema = pa.schema(
            [(name, pa.string()) for name in ("id", "text", *more, "label", "asked_label", "cell")]
            + [("round", pa.int32()), ("wave", pa.int32()), ("call", pa.string()), ("index", pa.int32())]
            + [("shots", pa.list_(pa.string()))]
        )
        self._writer = pq.ParquetWriter(self._path, self._schema)

    def add(self, row: Accepted) -> None:
        self.open(answers=bool(row.example.answer))
        self.rows += 1
        self._waiting.append(row)
        if len(self._waiting) == CHUNK:
            self._tables.append(_table(self._waiting, self._schema))
            self._waiting = []
        if self.rows % GROUP == 0:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        # As one piece: where a column is in several, the bytes of the file follow their bounds.
        group = pa.concat_tables([*self._tables, _table(self._waiting, self._schema)]).combine_chunks()
        self._waiting, self._tables = [], []
        self._writer.write_table(group)


def _table(rows: Sequence[Accepted], schema: Any) -> Any:
    import pyarrow as pa

    read: Mapping[str, Callable[[Accepted], object]] = {
        "id": lambda row: row.example.id,
        "text": lambda row: row.example.text,
        "context": lambda row: row.example.context,
        "answer": lambda row: row.example.answer,
        "asked_answer": lambda row: row.candidate.example.answer,
        "label": lambda row: row.example.label,
        "asked_label": lambda row: row.candidate.example.label,
        "cell": lambda row: row.candidate.cell,
        "round": lambda row: row.candidate.round,
        "wave": lambda row: row.candidate.wave,
        "call": lambda row: row.candidate.call,
        "index": lambda row: row.candidate.index,
        "shots": lambda row: row.candidate.shots,
    }
    # Column by column: a dictionary for each row takes many times the memory of the rows.
    columns = [pa.array([read[name](row) for row in rows], schema.field(name).type) for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)
