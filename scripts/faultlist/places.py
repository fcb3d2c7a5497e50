"""Rows 23, 24, 26, 28 and 32: two processes, full disk, locked MLflow, other surroundings, empty data."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from endpoint import Call, Step
from trial_cases import answer

from faultlist.course import kill_after, undisturbed
from faultlist.row import Options, Row
from faultlist.trial import LONGEST_RUN_S, SPEC, Desk, Trial, differences, mlflow_template

LOCKED_S = 60.0
SIZES, LATE = (4_000, 60_000), 0.9
"""Bytes that no file may exceed, as on a disk that fills up at different moments; besides them this share of the
largest file of an undisturbed run, which is a late moment whatever a run writes."""


def two_at_once(options: Options) -> Sequence[Row]:
    """Row 23: the same run twice on one store at the same time, and one of two killed while it holds locks."""
    plain = undisturbed(options.root)
    both, stale = plain.twin(options.work / "both"), plain.twin(options.work / "stale")
    one, two = both.start(), both.start()
    codes = [one.wait(LONGEST_RUN_S), two.wait(LONGEST_RUN_S)]
    keys = [each.key for each in plain.desk.delivered(both.tenant)]
    first, second = stale.start(), stale.start()
    killed = kill_after(stale, first, "call 30", 0.05)
    codes.append(second.wait(LONGEST_RUN_S))
    other = [len(differences(plain.trial.contents(), trial.contents())) for trial in (both, stale)]
    shown = both.tracked() == stale.tracked() == plain.trial.tracked()
    figure = (
        f"both end well, exit codes {codes[:2]}; calls asked twice {len(keys) - len(set(keys))} of {len(set(keys))}; "
        f"with one killed while it generates the other ends with {codes[2]}; files that differ {other[0]} "
        f"and {other[1]}; in MLflow {'once' if shown else 'NOT once'}"
    )
    held = not any(codes) and len(keys) == len(set(keys)) and not any(other) and shown and killed
    return [Row(23, "two processes of one run on one store", 2, held, figure, options.seed)]


def _bounded(size: int) -> Callable[[], None]:
    def bound() -> None:
        # Without this the process would be killed instead of being told.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return bound


def full_disk(options: Options) -> Sequence[Row]:
    """Row 24."""
    plain = undisturbed(options.root)
    files = [path for path in (plain.trial.store / "artefacts").rglob("*") if path.is_file()]
    sizes = (*SIZES, int(LATE * max(path.stat().st_size for path in files)))
    clean = same = changed = 0
    said: list[str] = []
    for size in sizes:
        trial = plain.twin(options.work / f"full{size}")
        code = trial.run("--set", "runtime.tracking.enabled=false", preexec_fn=_bounded(size))
        clean += code == 2 and "Traceback" not in trial.said
        if code != 2 or "Traceback" in trial.said:
            said.append(f"{size}: exit code {code}, {trial.said[-150:]}")
        made = trial.artefacts()
        trial.finished()
        now = trial.artefacts()
        changed += sum(now.get(name) != file for name, file in made.items())
        same += not differences(plain.trial.contents(), trial.contents())
    figure = (
        f"ended with one message {clean} of {len(sizes)}; finished stages lost {changed}; with space again the same "
        f"bytes as an undisturbed run {same} of {len(sizes)}"
    )
    held = clean == same == len(sizes) and not changed
    figure += f" ({'; '.join(said)})" if said else ""
    bounds = ", ".join(f"{size / 1000:,.0f} kB" for size in sizes)
    return [Row(24, f"no file may grow beyond {bounds} (RLIMIT_FSIZE)", len(sizes), held, figure, options.seed)]


def mlflow_locked(options: Options) -> Sequence[Row]:
    """Row 26: the database is another's for a minute, or no database at all, while a run ends."""
    plain = undisturbed(options.root)
    locked, spoilt = plain.twin(options.work / "locked"), plain.twin(options.work / "spoilt")
    has_it = threading.Event()
    holder = threading.Thread(target=_hold, args=(locked.store / "mlflow.db", has_it), daemon=True)
    holder.start()
    has_it.wait(10)
    began = time.monotonic()
    codes = [locked.run()]
    seconds, told = time.monotonic() - began, "not in MLflow yet" in locked.said
    holder.join()
    codes.append(locked.run())
    (spoilt.store / "mlflow.db").write_bytes(b"this is no database " * 400)
    codes.append(spoilt.run())
    also_told = "not in MLflow yet" in spoilt.said
    spoilt.with_database(plain.template)
    codes.append(spoilt.run())
    lost = [_points(plain.trial) - _points(one) for one in (locked, spoilt)]
    same = locked.tracked() == spoilt.tracked() == plain.trial.tracked()
    figure = (
        f"locked for {LOCKED_S:.0f} s: the run ends well after {seconds:.0f} s"
        f"{', says that MLflow lacks it' if told else ' and waits for MLflow'}; spoilt: ends well, "
        f"{'says so' if also_told else 'says NOTHING'}; metrics lost after the same command again {lost[0]} and "
        f"{lost[1]} of {_points(plain.trial)}; exit codes {codes}"
    )
    held = not any(codes) and lost == [0, 0] and same and also_told
    return [Row(26, "MLflow's database locked, or spoilt, while a run ends", 2, held, figure, options.seed)]


def _hold(path: Path, held: threading.Event) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        held.set()
        time.sleep(LOCKED_S)
        database.execute("ROLLBACK")


def _points(trial: Trial) -> int:
    """Metric points of runs that are shown."""
    with closing(sqlite3.connect(trial.store / "mlflow.db")) as database:
        query = "SELECT count(*) FROM metrics JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active'"
        return database.execute(query).fetchone()[0]


def same_bytes(options: Options) -> Sequence[Row]:
    """Row 28."""
    plain = undisturbed(options.root)
    eight = SPEC.replace("concurrency: 4", "concurrency: 8")
    kinds = {
        "one call at a time": plain.twin(options.work / "one", SPEC.replace("concurrency: 4", "concurrency: 1")),
        "eight, PYTHONHASHSEED 1": plain.twin(options.work / "eight", eight, {"PYTHONHASHSEED": "1"}),
        "another folder and time zone": plain.twin(options.work / "a b" / "ü", more={"TZ": "Asia/Kolkata"}),
    }
    others: list[str] = []
    for name, trial in kinds.items():
        if differences(plain.trial.contents(), trial.finished().contents()):
            others.append(name)
    figure = f"same bytes in all {len(plain.trial.contents())} files: {len(kinds) - len(others)} of {len(kinds)}"
    figure += f" (not: {'; '.join(others)})" if others else ""
    return [Row(28, f"same spec and seed otherwise ({'; '.join(kinds)})", len(kinds), not others, figure, options.seed)]


def poor_data(options: Options) -> Sequence[Row]:
    """Row 32: the generator says one thing only, nothing, or texts of one label only."""
    template = mlflow_template(options.root / "template")
    ends: list[str] = []
    fine = 0
    for name, step in POOR.items():
        with Desk(step, delay=0.0) as desk:
            trial = Trial(options.work / name.replace(" ", "-"), desk, "poor").with_database(template)
            code = trial.run()
        said = next(
            (line for line in trial.said.splitlines()[::-1] if " rows: " in line or line.startswith("error:")), ""
        )
        explained = code in (0, 2) and "Traceback" not in trial.said
        fine += explained
        ends.append(f"{name}: exit code {code}" + (f", “{said[:110]}”" if said else ""))
    figure = f"ended in order {fine} of {len(POOR)} ({'; '.join(ends)})"
    return [Row(32, "a generator that gives no usable set", len(POOR), fine == len(POOR), figure, options.seed)]


def _says(text: str) -> Step:
    def step(handler: Any, call: Call) -> None:
        if "<item>" in call.body["messages"][-1]["content"]:
            answer(handler, call)
            return
        choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]
        handler.send(200, json.dumps({"model": "model-a", "choices": choices}).encode())

    return step


POOR: dict[str, Step] = {
    "always the same text": _says("who was the green author of the quiet old river song ?"),
    "empty texts": _says(" "),
    "nothing but signs": _says("?!"),
    "half a megabyte": _says("who wrote " + "very " * 100_000),
}
