"""The call cache: one sqlite file of answers and of what they cost. An answer is on disk before anybody sees it.

The file holds requests and answers, never headers or API keys, and only its owner may read it. A file of another
version or one that is damaged is set aside under another name and not trusted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from harness.errors import StoreError
from harness.locks import held
from harness.records import Cost
from harness.store import LOCKS, canonical

T = TypeVar("T")
CALLS_FILE = "calls.sqlite"
BUSY_S, BUSY_LOOK_S = 60, 0.02
APPLICATION_ID = 0x53444843
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE calls (key TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE ledger (
    scope TEXT PRIMARY KEY, calls INTEGER NOT NULL, failed INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, usd REAL NOT NULL);
"""
CLOCK = "CREATE TABLE IF NOT EXISTS clock (scope TEXT PRIMARY KEY, seconds REAL NOT NULL)"
WORK = "INSERT INTO clock VALUES (?, ?) ON CONFLICT (scope) DO UPDATE SET seconds = seconds + excluded.seconds"
SPEND = """
INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope) DO UPDATE SET
    calls = calls + excluded.calls, failed = failed + excluded.failed,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens, usd = usd + excluded.usd
"""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """An answered call as it is kept: the request as it was hashed, what came back, and what that cost."""

    key: str
    request: Mapping[str, Any]
    answer: Mapping[str, Any]
    cost: Cost


class CallCache:
    """Answers by key, and a ledger of spend by scope (a scope is a run id). Use from one thread.

    Raises `StoreError` where the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._db = self._open()

    def answer_of(self, key: str) -> dict[str, Any] | None:
        """The stored answer, or None. A row whose checksum does not hold is a miss, with a warning."""
        row = self._row(key)
        return None if row is None else json.loads(row[1])

    def request_of(self, key: str) -> dict[str, Any] | None:
        """The request that this key stands for, as it was hashed; None if it was never answered."""
        row = self._row(key)
        return None if row is None else json.loads(row[0])

    def put(self, key: str, request: Mapping[str, Any], answer: Mapping[str, Any], scope: str, cost: Cost) -> None:
        """Write an answer and its cost to disk, both or neither."""
        self.put_all([Entry(key, request, answer, cost)], scope)

    def put_all(self, entries: Sequence[Entry], scope: str) -> None:
        """`put` for several answers in one transaction: the disk is waited for once, and all are written or none."""
        rows: list[tuple[str, str, str, str]] = []
        total = Cost()
        for one in entries:
            question, body = canonical(one.request), canonical(one.answer)
            rows.append((one.key, question, body, _checksum(one.key, question, body)))
            total += one.cost

        def write(db: sqlite3.Connection) -> None:
            with db:
                db.executemany("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", rows)
                _spend(db, scope, total)

        self._run(write)

    def spend(self, scope: str, cost: Cost) -> None:
        """Add a cost that has no answer, e.g. of a failed call."""

        def write(db: sqlite3.Connection) -> None:
            with db:
                _spend(db, scope, cost)

        self._run(write)

    def spent(self, scope: str) -> Cost:
        """What all processes that used this scope have spent."""
        query = "SELECT calls, failed, prompt_tokens, completion_tokens, usd FROM ledger WHERE scope = ?"
        row = self._run(lambda db: db.execute(query, (scope,)).fetchone())
        if row is None:
            return Cost()
        return Cost(calls=row[0], failed=row[1], prompt_tokens=row[2], completion_tokens=row[3], usd=row[4])

    def first_spent(self, scope: str, point: str) -> Cost:
        """What the scope had spent when it came to this point of its work for the first time, in whatever process."""
        name = f"{scope}#{point}"

        def note(db: sqlite3.Connection) -> None:
            columns = "calls, failed, prompt_tokens, completion_tokens, usd"
            query = f"INSERT OR IGNORE INTO ledger SELECT ?, {columns} FROM ledger WHERE scope = ?"  # noqa: S608
            with db:
                if not db.execute(query, (name, scope)).rowcount:
                    db.execute("INSERT OR IGNORE INTO ledger VALUES (?, 0, 0, 0, 0, 0)", (name,))

        self._run(note)
        return self.spent(name)

    def worked(self, scope: str) -> float:
        """Seconds that were noted for this scope (see `harness.llm.worktime`)."""
        row = self._run(lambda db: db.execute("SELECT seconds FROM clock WHERE scope = ?", (scope,)).fetchone())
        return 0.0 if row is None else row[0]

    def work(self, scope: str, seconds: float) -> None:
        """Note more of them."""

        def write(db: sqlite3.Connection) -> None:
            with db:
                db.execute(WORK, (scope, seconds))

        self._run(write)

    def leave_log(self) -> None:
        """See `share_between_machines`."""
        try:
            self._db.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _row(self, key: str) -> tuple[str, str] | None:
        query = "SELECT request, answer, sha256 FROM calls WHERE key = ?"
        row = self._run(lambda db: db.execute(query, (key,)).fetchone())
        if row is None:
            return None
        if row[2] != _checksum(key, row[0], row[1]):
            log.warning(
                "the cached answer %s in %s does not match its checksum; it will be asked again", key, self.path
            )
            return None
        return row[0], row[1]

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work`; if the file turns out to be damaged, set it aside and do it on a fresh one."""
        try:
            return work(self._db)
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.ProgrammingError as error:
            # The file was closed, and could not be opened again: nothing is known of its content.
            raise self._unusable(error) from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            try:
                self._set_aside(str(error), self._inode)
            except OSError as problem:
                raise self._unusable(problem) from problem
            self._db = self._open()
            return work(self._db)

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Created here and not by sqlite, whose new files are readable for everybody; its -wal and -shm follow it.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self.path.chmod(0o600)
            seen = self.path.stat().st_ino
            problem = self._problem()
            if problem:
                self._set_aside(problem, seen)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._inode = self.path.stat().st_ino
            db = self._connect()
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                _write_ahead(db)
            with db:
                db.execute("BEGIN IMMEDIATE")
                if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in SCHEMA.split(";"):
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                db.execute(CLOCK)
        except (OSError, sqlite3.OperationalError) as error:
            raise self._unusable(error) from error
        return db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_S)
        try:
            db.execute("PRAGMA synchronous = FULL")
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def _problem(self) -> str:
        """Why the file that is there cannot be trusted; `""` when it can (or is new)."""
        if self.path.stat().st_size == 0:
            return ""
        try:
            db = self._connect()
            try:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                owner = db.execute("PRAGMA application_id").fetchone()[0]
                if (owner, version) == (0, 0) and not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
                    return ""
                if (owner, version) != (APPLICATION_ID, SCHEMA_VERSION):
                    return f"it is version {version} of application {owner:#x}, not {SCHEMA_VERSION} of this one"
                for table in ("calls", "ledger"):
                    db.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 - two fixed names
            finally:
                db.close()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return str(error)
            raise
        except sqlite3.DatabaseError as error:
            return str(error)
        return ""

    def _set_aside(self, problem: str, inode: int) -> None:
        """Rename the file if it is still the damaged one, with this inode: another process may have done so already,
        and what lies there now is its fresh one. Raises `OSError`."""
        target = self.path.with_name(f"{self.path.name}.set-aside-{time.time_ns()}")
        with held(self.path.parent / LOCKS / f"{self.path.name}.lock"):
            if not self.path.exists() or self.path.stat().st_ino != inode:
                return
            for suffix in ("", "-wal", "-shm"):
                source = self.path.with_name(self.path.name + suffix)
                if source.exists():
                    source.rename(target.with_name(target.name + suffix))
        log.warning(
            "the call cache %s cannot be used (%s); it was renamed to %s and an empty one takes its place. Its answers "
            "will be asked again, and what they cost no longer counts towards the budget.",
            self.path,
            problem,
            target.name,
        )

    def _unusable(self, error: Exception) -> StoreError:
        return StoreError(
            f"the call cache {str(self.path)!r} cannot be used: {error}. Nothing in it is lost; free some space, wait "
            "for the process that holds it, or choose another folder with `--set runtime.store=DIR`, then run the same "
            "command again."
        )


def share_between_machines(path: Path) -> None:
    """Make the cache one that processes of several machines may use at once, from now on.

    A new cache has sqlite's write-ahead log, which needs memory that all its processes share; without the log, locks
    that reach over the file system are enough. Raises `StoreError` while another process has the cache open.
    """
    with CallCache(path) as cache:
        cache.leave_log()


def _write_ahead(db: sqlite3.Connection) -> None:
    """Give a new file its write-ahead log. Here sqlite does not wait for a process that does the same, so this does."""
    last = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(BUSY_LOOK_S)


def _spend(db: sqlite3.Connection, scope: str, cost: Cost) -> None:
    values = (scope, cost.calls, cost.failed, cost.prompt_tokens, cost.completion_tokens, cost.usd)
    db.execute(SPEND, values)


def _checksum(key: str, request: str, answer: str) -> str:
    return hashlib.sha256("\0".join((key, request, answer)).encode()).hexdigest()
