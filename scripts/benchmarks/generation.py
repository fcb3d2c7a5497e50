"""Generation through a stub endpoint: wall time against a bare AsyncOpenAI script, memory by rows, tokens/s embedded.

The stub answers each call after the same time. Ours is the whole path, from the plan to verdicts and a data set on
disk; the bare script keeps nothing. Each runs in a process of its own, in turns. --rows measures memory instead,
--embedded the embedded LLM against `transformers.generate`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import embedded, facts
from benchmarks.callers import CALLERS, Job, prompts_of, write_items
from benchmarks.stub import Stub

OURS, BARE = "ours", "bare"
SAMPLES_OF_ROWS = 8
"""Answers a call where memory is measured; what a spec has by default."""
FEWEST_ROWS = 20 * SAMPLES_OF_ROWS
"""From here on a tenth of the rows is a call or two, and not all of them."""
SYNCS = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=_positive, default=1000, help="calls of each run (1000)")
    parser.add_argument("--concurrency", type=_positive, default=64, help="calls in flight (64)")
    parser.add_argument("--latency-ms", type=float, default=50.0, help="what the stub takes for an answer (50)")
    parser.add_argument("--samples", type=_positive, default=1, help="answers per call (1)")
    parser.add_argument("--repeats", type=_positive, default=3, help="how often both are run (3)")
    parser.add_argument(
        "--rows", type=_positive, metavar="N", help="memory for a tenth of N rows and for N, no waiting"
    )
    parser.add_argument("--embedded", action="store_true", help="the embedded LLM against transformers.generate")
    parser.add_argument("--prompts", type=_positive, default=8, help="few-shot prompts of --embedded (8)")
    parser.add_argument(
        "--tokens",
        type=_positive,
        default=0,
        metavar="N",
        help="N tokens an answer of --embedded, not up to a line end",
    )
    parser.add_argument("--part", nargs=2, metavar=("NAME", "JOB"), help=argparse.SUPPRESS)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return int(text)


def run(options: argparse.Namespace) -> int:
    if options.part:
        name, job = options.part
        print(json.dumps({**CALLERS, **embedded.PARTS}[name](Job(**json.loads(job)))))
        return 0
    if options.rows and options.rows < FEWEST_ROWS:
        print(f"scripts/bench generation: --rows from {FEWEST_ROWS}, not {options.rows}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        write_items(Path(folder))
        if options.embedded:
            lines = against_transformers(options, folder)
        elif options.rows:
            lines = memory(options, folder)
        else:
            lines = throughput(options, folder)
        print("\n".join([*lines, *facts.lines()]))
    return 0


def throughput(options: argparse.Namespace, folder: str) -> list[str]:
    with Stub(options.latency_ms) as stub:
        job = Job(stub.url, options.calls, options.samples, options.concurrency, folder)
        (Path(folder) / "prompts.json").write_text(json.dumps(prompts_of(job)), encoding="utf-8")
        found: list[dict[str, dict[str, Any]]] = []
        for _ in range(options.repeats):
            pair: dict[str, dict[str, Any]] = {}
            for name in (OURS, BARE):
                pair[name] = {**apart(name, job), "served": stub.calls()}
            found.append(pair)
            print(f"  {line(pair)}", flush=True)
    about = f"{options.calls} calls of {options.samples} answers, {options.latency_ms:g} ms each"
    sync = f"{sync_ms(Path(folder)):.1f} ms for a write to reach the disk"
    return [
        f"{about}, {options.concurrency} at a time, {options.repeats} repeats, {sync}",
        *report(found, ideal(options.calls, options.concurrency, options.latency_ms)),
    ]


def apart(name: str, job: Job) -> dict[str, Any]:
    """Run a part in a fresh process."""
    words = [sys.executable, "-m", "benchmarks", "generation", "--part", name, json.dumps(asdict(job))]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def ideal(calls: int, concurrency: int, latency_ms: float) -> float:
    """Seconds that the waiting alone takes: every slot is always waiting for an answer.

    >>> ideal(1000, 64, 50)
    0.78125
    """
    return calls / concurrency * latency_ms / 1000


def line(pair: Mapping[str, Mapping[str, Any]]) -> str:
    """One repeat as text."""
    said = [
        f"{name} {one['wall']:.2f} s ({one['cpu']:.2f} s cpu, {one['served']} calls, {one['rows']} rows)"
        for name, one in pair.items()
    ]
    return f"{', '.join(said)}: {pair[OURS]['wall'] / pair[BARE]['wall']:.2f}×"


def report(found: Sequence[Mapping[str, Mapping[str, Any]]], best: float) -> list[str]:
    """The medians over the repeats. Ends the program where the two did not make the same calls.

    >>> one = {"wall": 1.0, "cpu": 0.5, "served": 4, "rows": 4}
    >>> report([{"ours": {**one, "seconds": {"calls": 0.75}}, "bare": {**one, "wall": 2.0}}], 0.5)[0]
    'wall time of ours, times that of the bare script: 0.50 (0.50–0.50)'
    """
    served = {one["served"] for pair in found for one in pair.values()}
    if len(served) != 1:
        raise SystemExit(f"scripts/bench generation: the calls that arrived are not equal: {sorted(served)}")
    lines = [
        f"{kind} time of ours, times that of the bare script: "
        + facts.spread([pair[OURS][key] / pair[BARE][key] for pair in found])
        for kind, key in (("wall", "wall"), ("processor", "cpu"))
    ]
    for name in (OURS, BARE):
        walls, cpus = ([pair[name][kind] for pair in found] for kind in ("wall", "cpu"))
        waiting = f", {facts.spread([wall / best for wall in walls])} times the ideal" if best else ""
        lines.append(f"  {name:5} {facts.spread(walls)} s{waiting}; {facts.spread(cpus)} s cpu")
    kinds = sorted({kind for pair in found for kind in pair[OURS]["seconds"]})
    parts = [f"{kind} {median(pair[OURS]['seconds'].get(kind, 0.0) for pair in found):.2f} s" for kind in kinds]
    return [*lines, f"  of ours: {', '.join(parts)}"]


def memory(options: argparse.Namespace, folder: str) -> list[str]:
    samples = SAMPLES_OF_ROWS
    with Stub(0) as stub:
        job = Job(stub.url, 0, samples, options.concurrency, folder)
        found: list[dict[str, Any]] = []
        for rows in (options.rows // 10, options.rows):
            found.append(apart(OURS, replace(job, calls=-(-rows // samples))))
            one = found[-1]
            print(
                f"  {one['rows']:,} rows: {one['wall']:.1f} s, {one['cpu']:.1f} s cpu, peak {_mb(one['peaks']['end'])}"
            )
    return growth(*found)


def growth(small: Mapping[str, Any], large: Mapping[str, Any]) -> list[str]:
    """Peak memory at the end of each stage, and what 10,000 rows more add to it.

    >>> print("\\n".join(growth({"rows": 1000, "before": 5, "peaks": {"end": 20_000_000}},
    ...                        {"rows": 21000, "before": 5, "peaks": {"end": 60_000_000}})))
    peak memory with 1,000 and with 21,000 rows, and MB per 10,000 rows more
      end                                  20 MB      60 MB    20.0
    """
    more = (large["rows"] - small["rows"]) / 10_000
    lines = [f"peak memory with {small['rows']:,} and with {large['rows']:,} rows, and MB per 10,000 rows more"]
    # Stage names hold numbers of rows, so the two runs' stages go by their order.
    for (name, low), high in zip(small["peaks"].items(), large["peaks"].values(), strict=True):
        shown = " ".join(word for word in name.split() if not word.isdigit())
        lines.append(f"  {shown:32}{_mb(low):>10} {_mb(high):>10}{(high - low) / 1e6 / more:8.1f}")
    return lines


def _mb(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def against_transformers(options: argparse.Namespace, folder: str) -> list[str]:
    job = Job("embedded", options.prompts, embedded.SAMPLES, 1, folder, options.tokens)
    found: list[dict[str, dict[str, Any]]] = []
    for _ in range(options.repeats):
        found.append({name: apart(name, job) for name in embedded.PARTS})
        print(f"  {embedded.line(found[-1])}", flush=True)
    about = f"{options.prompts} prompts of {embedded.SAMPLES} answers, {options.repeats} repeats, one thread"
    return [about, *embedded.report(found)]


def sync_ms(folder: Path) -> float:
    """Median milliseconds until a few bytes are on disk; near 0 where the folder is memory."""
    spent: list[float] = []
    with (folder / "sync").open("wb") as file:
        for _ in range(SYNCS):
            start = time.perf_counter()
            file.write(b"x" * 100)
            file.flush()
            os.fsync(file.fileno())
            spent.append(time.perf_counter() - start)
    return 1000 * median(spent)
