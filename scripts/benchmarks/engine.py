"""A suite in local processes against the same suite on a Ray that is started here, interleaved.

Whole commands are timed, the start of Ray included, each in a fresh store; with --calls both start with a copy of the
answers that another store has, so that the endpoint's speed drops out. Which engine goes first alternates. Beside the
times stands what the suite paid for, against what its most expensive variant needs, and whether both engines made the
same artefacts.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks import facts

ENGINES = ("local", "ray")
CALLS = "calls.sqlite"


@dataclass(frozen=True)
class Measured:
    """One suite: seconds, ids of all artefacts, calls that were paid for, and that its most expensive variant needs."""

    engine: str
    wall: float
    ids: tuple[str, ...]
    paid: int
    needed: int


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--suite", default="experiments/suites/tiny.yaml", metavar="FILE", help="(%(default)s)")
    parser.add_argument("--only", metavar="A,B", help="as for `harness compare`")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for `harness compare`")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, in both (2)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a run, and of its embedded LLM (1)")
    parser.add_argument("--repeats", type=int, default=3, help="how often both go through the suite (3)")
    parser.add_argument("--calls", type=Path, metavar="STORE", help="start with a copy of this store's answers")


def run(options: argparse.Namespace) -> int:
    done: list[tuple[Measured, Measured]] = []
    for repeat in range(options.repeats):
        found = {engine: measure(engine, options) for engine in (ENGINES if repeat % 2 == 0 else ENGINES[::-1])}
        done.append((found["local"], found["ray"]))
        print(line(*done[-1]), flush=True)
    print("\n".join(report(done)))
    print("\n".join([*facts.lines(), f"{options.suite}, jobs {options.jobs}, threads {options.threads}"]))
    return 0 if all(local.ids == ray.ids for local, ray in done) else 1


def measure(engine: str, options: argparse.Namespace) -> Measured:
    """Run the whole suite in a fresh store. Ends the program where the command fails."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        if options.calls:
            copy_calls(options.calls, store)
        own = [f"runtime.store={store}", "runtime.tracking.enabled=false"]
        own += [f"runtime.{name}={options.threads}" for name in ("threads", "llm_threads")]
        words = ["compare", options.suite, "--engine", engine, "--jobs", str(options.jobs)]
        words += [word for each in (*own, *options.set) for word in ("--set", each)]
        words += ["--only", options.only] if options.only else []
        print("scripts/bench engine: harness", *words, file=sys.stderr, flush=True)
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "harness.cli", *words], stdout=subprocess.PIPE, text=True, check=False
        )
        wall = time.monotonic() - start
        if done.returncode:
            print(done.stdout[-3000:], file=sys.stderr)
            raise SystemExit(f"scripts/bench engine: the command ended with exit code {done.returncode}")
        return read(engine, wall, store)


def copy_calls(source: Path, store: Path) -> None:
    """The answers of a store, which another process may be using, into a new one."""
    store.mkdir(parents=True)
    with (
        closing(sqlite3.connect(f"{(source / CALLS).resolve().as_uri()}?mode=ro", uri=True)) as there,
        closing(sqlite3.connect(store / CALLS)) as here,
    ):
        there.backup(here)
        # What was spent there says nothing about the runs here.
        here.execute("DELETE FROM ledger")
        here.commit()


def read(engine: str, wall: float, root: Path) -> Measured:
    from harness.comparison import Comparison
    from harness.store import Store, read_json

    [path] = (root / "reports").glob("suite-*/compare.json")
    lines = read_json(path, Comparison).lines
    paid, needed = sum(one.paid.calls for one in lines), max(one.used.calls for one in lines)
    return Measured(engine, wall, tuple(Store.existing(root).ids()), paid, needed)


def line(local: Measured, ray: Measured) -> str:
    """One repeat as text."""
    same = "the same artefacts" if local.ids == ray.ids else "NOT the same artefacts"
    said = f"local {local.wall:.1f} s, ray {ray.wall:.1f} s: {ray.wall / local.wall:.3f}×; {same} ({len(ray.ids)})"
    return f"{said}; calls paid {local.paid} and {ray.paid}, one variant needs {ray.needed}"


def report(done: Sequence[tuple[Measured, Measured]]) -> list[str]:
    """The ratio over the repeats, and what sharing leaves to be paid."""
    lines = [f"wall time of ray, times that of local: {facts.spread([ray.wall / local.wall for local, ray in done])}"]
    shares = [one.paid / one.needed for pair in done for one in pair if one.paid]
    if shares:
        lines.append(f"calls paid, times those of the most expensive variant alone: {facts.spread(shares)}")
    return lines
