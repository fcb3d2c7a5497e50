"""Run as: scripts/faults [options]. A new row is a function in one of the modules and a line in `TABLE`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks import facts

from faultlist import (
    cache,
    calls,
    claims,
    digests,
    fuzz,
    guards,
    hostile,
    interrupts,
    jumps,
    kills,
    mislabelled,
    narrowing,
    orders,
    oversubscribed,
    places,
    sealed,
    settings,
    spending,
)
from faultlist.guardlist import GUARDS
from faultlist.row import Measure, Options, Row, table

TABLE: dict[tuple[int, ...], Measure] = {
    (1, 2, 3, 27): kills.measure,
    (4,): interrupts.measure,
    (5,): calls.storm,
    (6,): calls.burst,
    (7,): calls.slow,
    (8, 9): calls.broken,
    (10, 13, 14, 15, 17, 18): hostile.measure,
    (11,): fuzz.measure,
    (12,): mislabelled.measure,
    (16,): settings.templates,
    (19,): settings.yaml_files,
    (20,): settings.weights,
    (21,): cache.poisoned,
    (22,): cache.key_fields,
    (23,): places.two_at_once,
    (24,): places.full_disk,
    (25,): jumps.measure,
    (26,): places.mlflow_locked,
    (28,): places.same_bytes,
    (29,): digests.measure,
    (30,): narrowing.measure,
    (31,): claims.measure,
    (32,): places.poor_data,
    (33,): oversubscribed.measure,
    (34,): calls.memory,
    (35,): spending.measure,
    (36,): sealed.measure,
    (37,): orders.measure,
}
WAITING = {(5,), (6,), (7,), (26,)}
"""Rows that hardly compute but wait for minutes: they are measured beside the others, one after another."""
ALONE = {(1, 2, 3, 27), (33,), (34,)}
"""Rows that share out the cores themselves, or whose figure is how fast something is: no row but those that wait is
measured beside them."""
OUT = facts.ROOT / "experiments" / "faults.md"


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="scripts/faults", description="Break the program and say what held.")
    whole.add_argument("--rows", metavar="1,5,17", help="these rows only, and those measured with them")
    whole.add_argument("--seed", type=int, default=0, help="of the random points and inputs (0)")
    whole.add_argument("--kills", type=int, default=50, help="SIGKILLs, spread over all stages (50)")
    whole.add_argument("--per-run", type=int, default=5, help="of them in one run, each followed by a restart (5)")
    whole.add_argument("--jobs", type=int, default=2, help="rows, killed runs, and processes that fuzz, at a time (2)")
    whole.add_argument("--fuzz", type=int, default=100_000, metavar="N", help="inputs for the parsers (100,000)")
    whole.add_argument("--keep", type=Path, metavar="DIR", help="a new folder to work in, which is left as it is")
    whole.add_argument("--guards", action="store_true", help="break each guard instead: do its tests fail without it?")
    whole.add_argument("--out", type=Path, help="where the table goes (experiments/faults.md if all rows ran)")
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.guards:
        return guards.measure(GUARDS, options.out or OUT.with_name("guards.md"))
    known = {number for numbers in TABLE for number in numbers}
    wanted = {int(part) for part in options.rows.split(",")} if options.rows else known
    if wanted - known:
        raise SystemExit(f"scripts/faults: no row {sorted(wanted - known)}; there are {sorted(known)}")
    began = time.monotonic()
    with _folder(options.keep) as folder, ThreadPoolExecutor(1) as beside, ThreadPoolExecutor(options.jobs) as lanes:

        def attempt(numbers: tuple[int, ...]) -> list[Row] | None:
            place = folder / f"rows{numbers[0]}"
            place.mkdir()
            return _measured(numbers, _options(options, folder, place))

        chosen = [numbers for numbers in TABLE if wanted & set(numbers)]
        waiting = [beside.submit(attempt, numbers) for numbers in chosen if numbers in WAITING]
        found = [attempt(numbers) for numbers in chosen if numbers in ALONE]
        found += lanes.map(attempt, [numbers for numbers in chosen if numbers not in WAITING | ALONE])
        found += [future.result() for future in waiting]
    rows = [row for some in found for row in some or ()]
    out = options.out or (None if options.rows else OUT)
    before = out.read_text(encoding="utf-8") if options.rows and out is not None and out.exists() else ""
    text = table(rows, facts.commit(), before)
    if out is None:
        print(text)
    else:
        out.write_text(text, encoding="utf-8")
        print(f"table: {out}")
    print(f"{len(rows)} rows in {(time.monotonic() - began) / 60:.1f} minutes")
    return int(None in found or any(row.held is False for row in rows))


def _measured(numbers: tuple[int, ...], options: Options) -> list[Row] | None:
    """The rows, told as soon as they are there; None where they could not be measured."""
    began = time.monotonic()
    try:
        found = list(TABLE[numbers](options))
    except (Exception, SystemExit):  # one row that cannot be measured must not cost the others
        print(f"rows {numbers}: could not be measured\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return None
    said = {True: "held", False: "NOT HELD", None: "not tried"}
    told = [f"{row.number:>2} {said[row.held]}: {row.fault} (n {row.n}): {row.figure}" for row in found]
    # In one piece, since another row may be told at the same moment.
    print("\n".join([*told, f"   in {time.monotonic() - began:.0f} s\n"]), end="", flush=True)
    return found


@contextmanager
def _folder(keep: Path | None) -> Generator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        yield Path(folder)


def _options(options: argparse.Namespace, root: Path, work: Path) -> Options:
    return Options(options.seed, options.kills, options.per_run, options.jobs, options.fuzz, root, work)


if __name__ == "__main__":
    sys.exit(main())
