"""The share of a run's wall time that is spent outside model calls, embedding, training and prediction.

Runs an experiment in a fresh store and counts the whole command, its start, report page and tracking included. With
--run and --store a run that is there is read; it must have gone through without a stop, since a report knows the time
of the process that finished it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import facts


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", default="experiments/trec.yaml", metavar="FILE", help="what to run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for `harness run`")
    parser.add_argument("--run", metavar="ID", help="read this finished run instead")
    parser.add_argument("--store", type=Path, metavar="DIR", help="the store of --run")


def run(options: argparse.Namespace) -> int:
    if bool(options.run) != bool(options.store):
        print("scripts/bench overhead: --run and --store go together", file=sys.stderr)
        return 2
    if options.run:
        print("\n".join([*read(options.store, options.run, None), *facts.lines()]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        words = ["run", options.experiment, "--set", f"runtime.store={store}"]
        words += [word for each in options.set for word in ("--set", each)]
        print("scripts/bench overhead: harness", *words, flush=True)
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "harness.cli", *words], check=False)
        wall = time.monotonic() - start
        if done.returncode:
            return done.returncode
        print("\n".join([*read(store, "run-", wall), *facts.lines()]))
    return 0


def read(root: Path, ident: str, wall: float | None) -> list[str]:
    """The table of one run's times; `wall` is what the whole command took, where that is known."""
    from harness.loop import read_run
    from harness.store import Store

    report = read_run(Store.existing(root), ident)
    return [f"{report.id}, {len(report.rounds)} rounds, {report.cost.calls} calls", *table(report.seconds, wall)]


def table(seconds: Mapping[str, float], wall: float | None) -> list[str]:
    """Seconds and share per kind of stage, and the share outside models.

    >>> table({"calls": 96.0, "filtering": 3.0}, 100.0)[-1]
    'outside models: 4.00 % of 100.0 s'
    """
    from harness.progress import MODELS

    rows = dict(seconds) | ({} if wall is None else {"start, page, tracking": wall - sum(seconds.values())})
    total = sum(rows.values())
    lines = [
        f"  {kind:24}{spent:9.1f} s {100 * spent / total:6.2f} %" + ("" if kind not in MODELS else "  models")
        for kind, spent in sorted(rows.items(), key=lambda item: -item[1])
    ]
    outside = sum(spent for kind, spent in rows.items() if kind not in MODELS)
    return [*lines, f"outside models: {100 * outside / total:.2f} % of {total:.1f} s"]
