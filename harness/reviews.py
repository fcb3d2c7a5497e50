"""What reviewers decided, on disk: `<store>/reviews/<run>/sample.json` and a file of lines for each reviewer.

A decision is a line of its own, synced before anybody is told that it is saved; the last line about a row counts. So a
kill costs nothing, and the same command goes on. Artefacts are never touched: a review changes no id.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from eval.answers import same
from harness.errors import HarnessError, StoreError
from harness.locks import held
from harness.reports import RunReport
from harness.reviewrows import Item, Sampled, draw, rows_of
from harness.store import LOCKS, Store, adapter, dumps, read_json, write_json

FOLDER, SAMPLE, ENDING = "reviews", "sample.json", ".jsonl"
ITEMS, SEED = 100, 0
"""The sample where nothing else is asked for."""
LONGEST = 2000
"""Characters of a note or of another answer."""
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
Word = Literal["", "accept", "reject", "relabel"]
"""`""`: not decided, or no longer."""
WORDS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True, slots=True)
class Review:
    """One reviewer's word on one row. `new_label` is the other label, or the other answer where the task is to answer
    in text. `undone` marks the line that takes the last one back."""

    item: str
    decision: Word
    new_label: str = ""
    note: str = ""
    at: str = ""
    undone: bool = False

    @property
    def said(self) -> tuple[str, str, str]:
        return self.decision, self.new_label, self.note


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def fault(item: Item, decision: str, new_label: str, sample: Sampled) -> tuple[str, str]:
    """(column, what is wrong with it and what is allowed) of a decision, or ("", "")."""
    if decision not in WORDS:
        return "decision", f"{decision[:60]!r} is none of accept, reject, relabel, or empty for not decided"
    if decision != "relabel":
        why = f"{new_label[:60]!r} goes with the decision relabel only; the decision is {decision!r}"
        return ("new_label", why) if new_label else ("", "")
    if sample.answers:
        if not new_label.strip():
            return "new_label", "is empty; relabel needs the other answer"
        if len(new_label) > LONGEST:
            return "new_label", f"has {len(new_label):,} characters; up to {LONGEST:,} are allowed"
        is_same = same(new_label, item.shown.answer)
        return ("new_label", f"{new_label[:60]!r} is the answer that the row has; accept it") if is_same else ("", "")
    others = [label for label in sample.labels if label != item.shown.label]
    if new_label not in others:
        return "new_label", f"{new_label[:60]!r} is no other label; relabel needs one of {', '.join(others)}"
    return "", ""


class Desk:
    """The reviews of one run. Raises `StoreError` where its folder cannot be read or written."""

    def __init__(self, store: Store, sample: Sampled) -> None:
        self.sample = sample
        self.folder = folder_of(store, sample.run)
        self._locks = store.root / LOCKS

    def reviewers(self) -> list[str]:
        """Who has decided anything, sorted."""
        return sorted(path.stem for path in self.folder.glob(f"*{ENDING}"))

    def read(self, reviewer: str) -> dict[str, Review]:
        """Row's id → what the reviewer says of it now; rows that are not decided and have no note are left out. Lines
        about rows that are not in the sample are kept on disk and not returned."""
        known = self.sample.by_id()
        found = {one.item: one for one in self._lines(reviewer) if one.item in known}
        return {ident: one for ident, one in found.items() if one.decision or one.note}

    def decided(self, reviewer: str) -> dict[str, Review]:
        """`read` without the rows that have a note and no decision."""
        return {ident: one for ident, one in self.read(reviewer).items() if one.decision}

    def add(self, reviewer: str, reviews: Sequence[Review]) -> None:
        """Append these, all or none; they are on disk when this returns."""
        if not reviews:
            return
        text = b"".join(dumps(Review, one) + b"\n" for one in reviews)
        self._locked(reviewer, lambda path: _append(path, text, at_once=len(reviews) > 1))

    def undo(self, reviewer: str) -> Review | None:
        """Take the last line back that was not taken back yet, by one more line; the row as it is then. None where
        there is none left."""
        history: list[tuple[str, Review]] = []
        state: dict[str, Review] = {}
        for one in self._lines(reviewer):
            if one.undone:
                del history[-1:]
            else:
                history.append((one.item, state.get(one.item, Review(one.item, ""))))
            state[one.item] = one
        if not history:
            return None
        item, before = history[-1]
        found = Review(item, before.decision, before.new_label, before.note, now(), undone=True)
        self.add(reviewer, [found])
        return found

    def mend(self, reviewer: str) -> bool:
        """Set a torn last line aside, into `<reviewer>.torn`; whether there was one."""
        path = self.folder / f"{reviewer}{ENDING}"
        return path.exists() and self._locked(reviewer, _mend)

    def _lines(self, reviewer: str) -> list[Review]:
        path = self.folder / f"{reviewer}{ENDING}"
        try:
            whole, _ = _parts(path)
        except OSError as error:
            raise _cannot("read", self.folder, error) from error
        return [_parsed(line, path, number) for number, line in enumerate(whole.splitlines(), start=1)]

    def _locked(self, reviewer: str, work: Callable[[Path], bool]) -> bool:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with held(self._locks / f"review-{self.sample.run}-{reviewer}.lock"):
                return work(self.folder / f"{reviewer}{ENDING}")
        except OSError as error:
            raise _cannot("write", self.folder, error) from error


def folder_of(store: Store, run: str) -> Path:
    return store.root / FOLDER / run


def checked_name(reviewer: str) -> str:
    """The reviewer's name, which names a file. Raises `HarnessError` for one that cannot."""
    if not NAME.fullmatch(reviewer):
        raise HarnessError(
            f"--reviewer {reviewer[:60]!r}: give 1 to 40 letters, digits, - or _ without accents or blanks, e.g. ana."
        )
    return reviewer


def desk_of(store: Store, run: str) -> Desk | None:
    """The reviews of a run that has a sample; None where nobody has begun. Raises `StoreError` for a damaged one."""
    sample = _sample(folder_of(store, run) / SAMPLE)
    return Desk(store, sample) if sample else None


def open_desk(report: RunReport, store: Store, items: int | None = None, seed: int | None = None) -> Desk:
    """The reviews of a run with its sample, which is drawn at the first call and then stays, so that all reviewers
    look at the same rows. Raises `StoreError` where another sample is asked for and somebody has decided already."""
    folder = folder_of(store, report.id)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with held(store.root / LOCKS / f"review-{report.id}.lock"):
            return _opened(report, store, items, seed)
    except OSError as error:
        raise _cannot("write", folder, error) from error


def _opened(report: RunReport, store: Store, items: int | None, seed: int | None) -> Desk:
    old = desk_of(store, report.id)
    size, chance = (old.sample.asked, old.sample.seed) if old else (ITEMS, SEED)
    wanted = (size if items is None else items, chance if seed is None else seed)
    if old and wanted == (size, chance):
        return old
    if old and (who := old.reviewers()):
        raise StoreError(
            f"the sample of {report.id} was drawn with --items {size} --seed {chance}, and {', '.join(who)} decided on "
            f"it. Leave these options out, or move {str(old.folder)!r} away to start afresh."
        )
    sample = draw(report, rows_of(report, store), *wanted)
    path = folder_of(store, report.id) / SAMPLE
    part = path.with_suffix(".part")
    write_json(part, Sampled, sample)
    _sync(part)
    part.replace(path)
    return Desk(store, sample)


def _sample(path: Path) -> Sampled | None:
    try:
        return read_json(path, Sampled) if path.exists() else None
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"{str(path)!r} is damaged. Move it away and run the same command with the same --items and --seed: the "
            "same sample is drawn, and decisions are kept."
        ) from error


def _parts(path: Path) -> tuple[bytes, bytes]:
    """The file's whole lines, and the torn rest: what does not end in a line feed, or ends in a line that is none."""
    content = path.read_bytes() if path.exists() else b""
    end = content.rfind(b"\n") + 1
    start = content.rfind(b"\n", 0, max(0, end - 1)) + 1
    if end == len(content) and end:
        try:
            adapter(Review).validate_json(content[start:end])
        except ValidationError:
            end = start
    return content[:end], content[end:]


def _parsed(line: bytes, path: Path, number: int) -> Review:
    try:
        return adapter(Review).validate_json(line)
    except ValidationError as error:
        raise StoreError(
            f"{str(path)!r}, line {number}: no decision can be read from {line[:60]!r}. Restore the file from a copy, "
            "or take the line out; every other line is whole."
        ) from error


def _mend(path: Path) -> bool:
    whole, torn = _parts(path)
    if torn:
        with path.with_suffix(".torn").open("ab") as file:
            file.write(torn + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with path.open("r+b") as file:
            file.truncate(len(whole))
            os.fsync(file.fileno())
    return bool(torn)


def _append(path: Path, text: bytes, *, at_once: bool) -> bool:
    """`at_once`: several lines, so by a new file and one rename."""
    torn = path.exists() and _mend(path)
    if at_once:
        part = path.with_suffix(".part")
        part.write_bytes((path.read_bytes() if path.exists() else b"") + text)
        _sync(part)
        part.replace(path)
    else:
        with path.open("ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    _sync(path.parent)
    return torn


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot(what: str, folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot {what} the reviews in {str(folder)!r}: {error.strerror or error}. What was saved before is safe; free "
        "some space or make the folder writable, then go on."
    )
