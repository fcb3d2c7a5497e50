"""The record of looks at test items, `<store>/openings.jsonl`: append-only, one `Opening` a line, oldest first.

Looks are counted by the content of the test items. A record that was deleted or cut does not hide a look: an artefact
that holds test scores of the same items, or a number that is missing among the lines, counts as one (`looks`).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from harness.errors import StoreError
from harness.plaintext import one_line
from harness.records import Role
from harness.reports import Opening
from harness.store import MANIFEST, Store, adapter, canonical, dumps

RECORD, LOCK = "openings.jsonl", "openings.lock"
SUITE = "suite-"
"""Looks of a suite, which opens the items for all of its variants together, begin like this."""
UNKNOWN = "an unknown run"
"""Stands for a run that looked and is not on record."""
MOST_DIFFERENCES = 6


@contextmanager
def locked(store: Store) -> Generator[None]:
    """Hold the record for reading and appending in one step, so that of two processes exactly one is first.

    The kernel lets go of the lock when its process ends. Raises `StoreError`.
    """
    path = store.root / LOCK
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot write {str(path)!r}: {error.strerror}. The test split stays closed; free some space or mend the "
            "folder's rights, then run the same command again."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def openings(store: Store) -> tuple[Opening, ...]:
    """All lines of the record, oldest first. Raises `StoreError` for a damaged record."""
    path = store.root / RECORD
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
        return tuple(adapter(Opening).validate_json(line) for line in lines if line)
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"cannot read the record of test openings {str(path)!r}: {error}. Restore it from a backup, or move it "
            "away and say so where you publish: without it nobody knows how often the test split was looked at."
        ) from error


def append(store: Store, opening: Opening) -> None:
    """Write a line and sync it. Raises `StoreError`."""
    path = store.root / RECORD
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


def looks(store: Store, test: str) -> tuple[Opening, ...]:
    """Every look at the test items with the content hash `test`, in the order of their counts.

    A look that is not on record, but must have been, has an empty `at` and `decision`; its run is named where a
    finished run of the store had these test items, else it is `UNKNOWN`. Raises `StoreError`.
    """
    known = [opening for opening in openings(store) if opening.test == test]
    counts = {opening.count for opening in known}
    total = max(len(known), len(_scored(store, test)), *counts, 0)
    missing = [count for count in range(1, total + 1) if count not in counts]
    if not missing:
        return tuple(known)
    on_record = {opening.run for opening in known}
    names = [run for run in _finished(store, test) if run not in on_record]
    missing += range(total + 1, total + 1 + len(names) - len(missing))
    names += [UNKNOWN] * (len(missing) - len(names))
    lost = [Opening(run, "", test, "", count, "") for run, count in zip(names, missing, strict=True)]
    return tuple(sorted([*known, *lost], key=lambda opening: opening.count))


def differences(store: Store, run: str, identity: Mapping[str, object]) -> str:
    """In words, how `identity`, which makes the run that asks, differs from what made the earlier run `run`."""
    if run.startswith(SUITE):
        return "It was a suite, which opened them for all of its variants together"
    if run not in store.ids("run"):
        return "What it ran is not in the store, because it never finished"
    before, now = _flat(store.manifest(run).inputs), _flat(json.loads(canonical(identity)))
    changed = [
        f"{name.removeprefix('spec.')} {_shown(before, name)} → {_shown(now, name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    more = f" and {len(changed) - MOST_DIFFERENCES} more" if len(changed) > MOST_DIFFERENCES else ""
    return f"Since then changed: {', '.join(changed[:MOST_DIFFERENCES])}{more}" if changed else "Nothing differs"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    out: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(cast("Mapping[str, Any]", value), f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = value
    return out


def _shown(values: Mapping[str, object], name: str) -> str:
    return one_line(json.dumps(values[name], ensure_ascii=False), 40) if name in values else "(none)"


def _scored(store: Store, test: str) -> Sequence[str]:
    """Ids of the evaluations that hold scores on these test items."""
    found: list[str] = []
    for ident in store.ids("evaluation"):
        folder = store.find(ident)
        if _read(folder / MANIFEST).get("inputs", {}).get("role") != Role.TEST:
            continue
        reports = _read(folder / "scores.json").get("reports", {})
        if any(report.get("split") == test for report in reports.values()):
            found.append(ident)
    return found


def _finished(store: Store, test: str) -> Iterator[str]:
    """Ids of the finished runs that hold scores on these test items."""
    for ident in store.ids("run"):
        report = _read(store.find(ident) / "report.json")
        if report.get("test") and report.get("data", {}).get("hashes", {}).get(Role.TEST) == test:
            yield ident


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one for a file that is gone or damaged, which is the business of those who need it."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
