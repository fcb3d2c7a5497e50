"""The sealed test split: its items come out only through an opening that is on record.

The seal keeps honest people honest; it is no encryption. What it gives is that no stage can read test items by
accident, and that a report can say how often this very test split had been looked at before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from harness.errors import LeakageError, StoreError
from harness.records import Example, Origin, Role
from harness.store import Store, adapter, dumps

OPENINGS = "openings.jsonl"
HELD_OUT = (Role.DEV, Role.ANCHOR, Role.TEST)


@dataclass(frozen=True, slots=True)
class Opening:
    """One line of `<store>/openings.jsonl`. `test` is the content hash of the test items, `decision` the digest of what
    was fixed before, `count` the openings of these items up to and with this one, `at` the time in UTC."""

    run: str
    split: str
    test: str
    decision: str
    count: int
    at: str


class Opened(NamedTuple):
    """The test items, and how many other runs had opened the same items before."""

    examples: tuple[Example, ...]
    others: int


class TestSeal:
    """Holds the place of the test examples. `split` is the split's artefact id, `sha` the hash of the test items."""

    __test__ = False

    def __init__(self, split: str, sha: str, path: Path) -> None:
        self.split = split
        self.sha = sha
        self._path = path

    def __repr__(self) -> str:
        return f"TestSeal({self.split!r})"

    def open(self, store: Store, run_id: str, decision_digest: str) -> Opened:
        """The test examples, after this run's opening is on record (once, so that a resumed run may call it again).

        Openings are counted by the content of the test items, so a spec that cuts the same items differently is no
        fresh start. Raises `LeakageError` if this run has opened them with other decisions fixed, `StoreError` if the
        record cannot be read or written.
        """
        before = [opening for opening in openings(store) if opening.test == self.sha]
        own = [opening for opening in before if opening.run == run_id]
        for opening in own:
            if opening.decision != decision_digest:
                raise LeakageError(
                    f"the run {run_id!r} opened the test split on {opening.at} with other decisions fixed "
                    f"({opening.decision[:12]}…, now {decision_digest[:12]}…). A choice made after seeing test scores "
                    "cannot be reported as this run's. Run it under another name or seed; the record then counts two "
                    "looks."
                )
        if not own:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            _append(store, Opening(run_id, self.split, self.sha, decision_digest, len(before) + 1, now))
        others = len({opening.run for opening in before} - {run_id})
        return Opened(read_examples(self._path), others)


class HeldOutTexts:
    """Dev, anchor and test texts, only for the overlap checks of `filters/leakage.py`: candidates are compared with
    them, and nothing else may read them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return "HeldOutTexts()"

    def pairs(self) -> Iterator[tuple[Role, str, str]]:
        """(role, id, text) of every held-out item. For `filters/leakage.py` only."""
        for role in HELD_OUT:
            for example in read_examples(self._folder / role_file(role)):
                yield role, example.id, example.text


def openings(store: Store) -> tuple[Opening, ...]:
    """All openings on record, oldest first. Raises `StoreError` for a damaged record."""
    path = store.root / OPENINGS
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
        return tuple(adapter(Opening).validate_json(line) for line in lines if line)
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"cannot read the record of test openings {str(path)!r}: {error}. Restore it from a backup, or move it "
            "away and say so where you publish: without it nobody knows how often the test split was looked at."
        ) from error


def _append(store: Store, opening: Opening) -> None:
    path = store.root / OPENINGS
    try:
        with path.open("ab") as file:
            file.write(dumps(Opening, opening) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(
            f"cannot write the record of test openings {str(path)!r}: {error.strerror}. The test split stays closed; "
            "free some space, then run the same command again."
        ) from error


def role_file(role: Role) -> str:
    return f"{role}.parquet"


def write_examples(path: Path, examples: tuple[Example, ...]) -> None:
    """A parquet file with the columns id, text, label and slices (JSON)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": [example.id for example in examples],
        "text": [example.text for example in examples],
        "label": [example.label for example in examples],
        "slices": [json.dumps(dict(example.slices), ensure_ascii=False) for example in examples],
    }
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)


def read_examples(path: Path) -> tuple[Example, ...]:
    """The real examples of one role's file, in the order in which they were written. Raises `StoreError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"cannot read {str(path)!r}: {error}. Delete its folder, then run the same command again: the split is "
            "made anew from the source, item for item."
        ) from error
    return tuple(Example(row["id"], row["text"], row["label"], json.loads(row["slices"]), Origin.REAL) for row in rows)
