"""A small run of `harness` as a person makes it: a folder with data and a spec, a scripted endpoint on a real socket,
and a process of its own. What came of it, as bytes that can be compared."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from endpoint import Call, ScriptedEndpoint, Step
from trial_cases import ABOUT, answer, small_spec, text_of

ROOT = Path(__file__).resolve().parents[2]
KEY_VARIABLE = "FAULTS_KEY"
LONGEST_RUN_S = 300
SPEC = small_spec("faults", "accepted_per_round: 30, samples_per_call: 1", "concurrency: 4")
CLOCK = ("started", "seconds", "units", "memory")
"""Parts of a report that tell of the clock and of the process that ended the run."""


@dataclass(frozen=True)
class Delivery:
    """An answer whose last byte was handed to the socket at `at` (monotonic seconds)."""

    tenant: str
    key: str
    at: float


class Desk(ScriptedEndpoint):
    """A scripted endpoint that several runs use at once, told apart by their API keys, and that notes what it
    delivered to whom. `delay` in seconds is what an answer takes."""

    def __init__(self, step: Step = answer, delay: float = 0.01) -> None:
        super().__init__(otherwise=self._serve)
        self.step = step
        self.delay = delay
        self.deliveries: list[Delivery] = []
        # A client that was killed is what is wanted here, not a fault of the server.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._noting = threading.Lock()

    def _serve(self, handler: Any, call: Call) -> None:
        time.sleep(self.delay)
        try:
            self.step(handler, call)
        except OSError:
            handler.close_connection = True
            return
        with self._noting:
            self.deliveries.append(Delivery(tenant_of(call), call.headers["idempotency-key"], time.monotonic()))

    def delivered(self, tenant: str) -> list[Delivery]:
        with self._noting:
            return [one for one in self.deliveries if one.tenant == tenant]


def tenant_of(call: Call) -> str:
    return call.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Trial:
    """One store, in `folder`/runs. `tenant` is the API key that its process has."""

    folder: Path
    desk: Desk
    tenant: str
    text: str = SPEC
    more: Mapping[str, str] = field(default_factory=dict[str, str])
    rows: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = self.rows or [(text_of(label, number), label) for number in range(60) for label in ABOUT]
        with (self.folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        (self.folder / "trial.yaml").write_text(self.text, encoding="utf-8")

    @property
    def store(self) -> Path:
        return self.folder / "runs"

    def with_database(self, template: Path) -> Trial:
        """Start with a migrated MLflow database: the migrations take seconds and are not what is tried."""
        self.store.mkdir(exist_ok=True)
        shutil.copy(template, self.store / "mlflow.db")
        return self

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """`harness run trial.yaml …`; what it prints goes to `said.txt`."""
        roles = [
            part
            for role in ("generator", "judge")
            for part in (
                "--set",
                f"llm.{role}={{base_url: '{self.desk.url}', model: model-a, api_key_env: {KEY_VARIABLE}}}",
            )
        ]
        with (self.folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "harness.cli", "run", "trial.yaml", *roles, *words],
                cwd=self.folder,
                env=environment(**{KEY_VARIABLE: self.tenant, **self.more}),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                **options,
            )

    def run(self, *words: str, **options: Any) -> int:
        """The same to its end; the exit code."""
        process = self.start(*words, **options)
        try:
            return process.wait(LONGEST_RUN_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    @property
    def said(self) -> str:
        return (self.folder / "said.txt").read_text(encoding="utf-8", errors="replace")

    def finished(self, *words: str) -> Trial:
        """Run to the end; ends the program where that fails, since nothing can be compared then."""
        code = self.run(*words)
        if code:
            raise SystemExit(f"scripts/faults: an undisturbed run ended with exit code {code}:\n{self.said[-3000:]}")
        return self

    def artefacts(self) -> dict[str, tuple[int, int]]:
        """Id of each finished artefact → which file its manifest is (inode, time of writing in ns)."""
        found: dict[str, tuple[int, int]] = {}
        for path in (self.store / "artefacts").glob("*/*/manifest.json"):
            if not path.parent.name.startswith("."):
                told = path.stat()
                found[path.parent.name] = (told.st_ino, told.st_mtime_ns)
        return found

    def contents(self) -> dict[str, str]:
        """File → sha256, for every file of every artefact; of the report without what its clock says."""
        root = self.store / "artefacts"
        found: dict[str, str] = {}
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(root).as_posix()
            # Killed processes leave half-written folders under such names; nothing reads them.
            if "/.part-" in f"/{name}":
                continue
            if not name.startswith("run/"):
                found[name] = sha(path.read_bytes())
            elif path.name == "report.json":
                found[name] = sha(timeless(path.read_bytes()))
        return found

    def cached_keys(self) -> set[str]:
        with closing(sqlite3.connect(self.store / "calls.sqlite")) as database:
            return {row[0] for row in database.execute("SELECT key FROM calls")}

    def tracked(self) -> Counter[tuple[str, str]]:
        """(status, lifecycle) of MLflow's runs → how many."""
        with closing(sqlite3.connect(self.store / "mlflow.db")) as database:
            return Counter(dict(_pairs(database.execute(
                "SELECT status, lifecycle_stage, count(*) FROM runs GROUP BY status, lifecycle_stage"
            ))))  # fmt: skip


def _pairs(rows: Any) -> list[tuple[tuple[str, str], int]]:
    return [((status, stage), count) for status, stage, count in rows]


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts"), str(ROOT / "tests")]),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def timeless(report: bytes) -> bytes:
    """A report's JSON without what may differ between two runs that are the same."""
    told = json.loads(report)
    for name in CLOCK:
        told.pop(name, None)
    for each in told["rounds"]:
        each.pop("seconds", None)
    for look in told["openings"]:
        look.pop("at", None)
    return json.dumps(told, sort_keys=True).encode()


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Names under which the two do not hold the same."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


MIGRATING = threading.Lock()


def mlflow_template(work: Path) -> Path:
    """A migrated, empty MLflow database, made once in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    code = "import sys\nfrom harness.mlflowstore import init_store\ninit_store(sys.argv[1])"
    path = work / "mlflow.db"
    with MIGRATING:
        if not path.exists():
            python("-c", code, f"sqlite:///{path}")
    return path


def python(*words: str, folder: Path | None = None, longest: float = LONGEST_RUN_S, **more: str) -> str:
    """What this Python prints, run with these words in `folder` and with `more` in its environment. Ends the program
    where it fails, since nothing can be measured then."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=longest,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"scripts/faults: a process ended with exit code {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def json_lines(root: Path, stage: str, name: str) -> list[dict[str, Any]]:
    """Every row of the files of this name in the artefacts of a stage, in the order of their ids."""
    return [
        json.loads(line)
        for path in sorted(root.glob(f"{stage}/{stage}-*/{name}.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def table_rows(root: Path, pattern: str) -> list[dict[str, Any]]:
    """Every row of the parquet files there."""
    return [row for path in sorted(root.glob(pattern)) for row in pq.read_table(path).to_pylist()]
