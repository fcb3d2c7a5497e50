"""The synthetic data set of a round: parquet with lineage and a card, for `datasets.load_dataset(folder)`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.generate.prompts import render
from harness.records import Candidate, Example
from harness.spec import Spec

HELD_OUT_SHARE = 10
"""One accepted row in so many is kept from training: the transfer gap needs synthetic items that no arm has seen."""
GROUP = 20_000
"""Rows that are in memory as columns at a time, and that a row group of a file has."""
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


def write_dataset(folder: Path, rows: Sequence[Accepted], spec: Spec, round_: int, filters: Sequence[str]) -> None:
    """Write `data/train.parquet`, `data/validation.parquet` (if it has rows) and the card. Same rows, same bytes."""
    (folder / "data").mkdir()
    parts = {
        "train": [row for row in rows if not is_held_out(row.example.id)],
        "validation": [row for row in rows if is_held_out(row.example.id)],
    }
    # `datasets` cannot load a split without rows, so it is left out.
    written = [name for name, part in parts.items() if part or name == "train"]
    for name in written:
        _write(folder / "data" / FILES[name], parts[name])
    values: Mapping[str, object] = {
        "noun": spec.task.noun,
        "name": spec.name,
        "round": round_,
        "splits": written,
        "train": len(parts["train"]),
        "validation": len(parts["validation"]),
        "model": spec.llm.generator.model,
        "labels": dict(sorted(Counter(row.example.label for row in rows).items())),
        "filters": ", ".join(filters) or "none",
        "category": "text-generation" if spec.task.answer else "text-classification",
        "real": "Only contexts are real: those of seeds." if spec.task.answer else "No real text is in here.",
        "columns": ANSWER_COLUMNS if spec.task.answer else "",
    }
    (folder / "README.md").write_text(render(CARD, values) + "\n", encoding="utf-8")


def _write(path: Path, rows: Sequence[Accepted]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    answers = ("context", "answer", "asked_answer") if any(row.example.answer for row in rows) else ()
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "text", *answers, "label", "asked_label", "cell")]
        + [("round", pa.int32()), ("wave", pa.int32()), ("call", pa.string()), ("index", pa.int32())]
        + [("shots", pa.list_(pa.string()))]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, max(1, len(rows)), GROUP):
            writer.write_table(_table(rows[start : start + GROUP], schema))


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
