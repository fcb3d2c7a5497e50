"""What people said of synthetic items, from a .csv (`filters.judge.human_labels`): the truth that the judge is held to.

Columns `id, text, label, answer, context, cell, decision, new_label, note, reviewer`, as `harness review` writes them;
of these `id`, `text`, `label` and `decision` are needed, and `answer` where the task answers in text. `decision` is
`accept`, `reject` or `relabel`; a row without one is not decided yet and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError
from harness.filters.rubric import Item
from harness.plaintext import unguarded
from harness.spec import FileSource, Spec
from harness.specwords import one_of, suggest
from harness.store import file_digest
from harness.tables import SHOWN, Table, read_file, short
from harness.taskspec import Task

KEY = "filters.judge.human_labels"
ACCEPT, REJECT, RELABEL = DECISIONS = ("accept", "reject", "relabel")
NEEDED = ("id", "text", "label", "decision")


@dataclass(frozen=True, slots=True)
class HumanLabels:
    """Items with whether people say that they are right. `undecided` rows have no decision; of `disputed` items people
    said both. `sha256` is of the file's bytes, `warnings` what was odd in reading it."""

    items: tuple[tuple[Item, bool], ...]
    sha256: str
    undecided: int
    disputed: int
    warnings: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the file is not used or was read in an unusual way, in sentences."""
        left = [
            *([f"{self.undecided} rows without a decision"] if self.undecided else []),
            *([f"{self.disputed} items on which the reviewers do not agree"] if self.disputed else []),
        ]
        unused = f"{KEY}: {' and '.join(left)} are left out of the judge's gate."
        return (*self.warnings, *([unused] if left else []))


def read_labels(spec: Spec, base: Path) -> HumanLabels | None:
    """The human labels of a spec, None where it names none or the judge is off. `base` is the YAML file's folder.

    Raises `DataError` with the wrong rows by line, and where no row is decided.
    """
    rule = spec.filters.judge
    if rule.human_labels is None or not rule.enabled:
        return None
    path = base / rule.human_labels
    if not path.is_file():
        raise DataError(f"{KEY}: there is no file {str(path)!r}; relative paths start at the YAML file's folder.")
    table = read_file(FileSource(kind="file", path=path, format="csv"), base)
    _check_columns(table, spec.task)
    problems = [problem for number, row in _rows(table) for problem in _problems(f"{table.name}:{number}", row, spec)]
    if problems:
        more = f"\n… and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError("\n".join(problems[:SHOWN]) + more)
    said: dict[Item, set[bool]] = {}
    decided = [row for _, row in _rows(table) if row["decision"]]
    for item, right in (each for row in decided for each in _truths(row, spec.task)):
        said.setdefault(item, set()).add(right)
    items = tuple((item, right) for item, truths in said.items() if len(truths) == 1 for right in truths)
    if not items:
        raise DataError(f"{table.name}: no row has a usable decision ({one_of(DECISIONS)}), so it labels nothing.")
    undecided, disputed = len(table.rows) - len(decided), len(said) - len(items)
    return HumanLabels(items, file_digest(path), undecided, disputed, table.warnings)


def _rows(table: Table) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells), every known column there, cells without blanks around them."""
    columns = (*NEEDED, "answer", "context", "new_label")
    for number, row in zip(table.numbers, table.rows, strict=True):
        cells = {name: unguarded(str(row.get(name, ""))).strip() for name in columns}
        yield number, cells | {"decision": cells["decision"].casefold()}


def _check_columns(table: Table, task: Task) -> None:
    needed = [*NEEDED, *(["answer"] if task.answer else [])]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(
            f"{table.name}:1: no column {', '.join(map(repr, missing))} among {', '.join(map(repr, table.columns))}. "
            f"Needed: {', '.join(needed)}; `harness review` writes such a file."
        )


def _problems(place: str, row: Mapping[str, str], spec: Spec) -> Iterator[str]:
    decision, labels = row["decision"], list(spec.task.labels)
    if decision and decision not in DECISIONS:
        near = suggest(decision, DECISIONS)
        yield f"{place}: decision {short(decision)} is not {one_of(DECISIONS)} or empty{near}"
    if not decision:
        return
    if row["id"].startswith("real-"):
        why = "is a real item, and no judge may see held-out ones; only synthetic rows of a run belong here"
        yield f"{place}: {short(row['id'])} {why}"
    for name in ("text", *(["answer"] if spec.task.answer else [])):
        if not row[name]:
            yield f"{place}: {name} is empty, so there is nothing to judge; fill it in or empty its decision"
    for name in ("label", *(["new_label"] if row["new_label"] else [])):
        if row[name] not in labels:
            yield f"{place}: {name} {short(row[name])} is not {one_of(labels)}{suggest(row[name], labels)}"


def _truths(row: Mapping[str, str], task: Task) -> Iterator[tuple[Item, bool]]:
    """What a decided row says: another label means that the old one is wrong and the new one right.

    Where the task answers in text, the label is the answer's kind and the judge sees the answer: of another kind's
    right answer the row says nothing.
    """
    item = Item(row["text"], row["label"], row["answer"] if task.answer else "", row["context"] if task.answer else "")
    yield item, row["decision"] == ACCEPT
    if row["decision"] == RELABEL and task.answer is None and row["new_label"] not in ("", row["label"]):
        yield Item(row["text"], row["new_label"]), True
