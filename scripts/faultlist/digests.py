"""Row 29: changes of a large data set that MLflow's own digest does not see, and what MLflow shows of them here."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from faultlist.course import undisturbed
from faultlist.row import Options, Row
from faultlist.trial import SPEC, Trial, environment

if TYPE_CHECKING:
    from harness.dataset import Accepted

ROWS, FAR, NEAR = 12_000, 11_000, 5
"""Rows of the set; one beyond the 10,000 that MLflow reads; one within them."""
Rows = list[tuple[str, str, tuple[str, ...]]]
"""(Text, label, ids of the seeds in the prompt: a column of lists)."""
CHANGES: Mapping[str, Callable[[Rows], None]] = {
    f"text of row {FAR:,}": lambda rows: _change(rows, FAR, text="another text ?"),
    f"label of row {FAR:,}": lambda rows: _change(rows, FAR, label="LOC" if rows[FAR][1] == "HUM" else "HUM"),
    f"a value in the list of row {NEAR}": lambda rows: _change(rows, NEAR, shots=("real-x", *rows[NEAR][2][1:])),
    f"order in the list of row {NEAR}": lambda rows: _change(rows, NEAR, shots=rows[NEAR][2][::-1]),
}


def _change(
    rows: Rows, place: int, text: str | None = None, label: str | None = None, shots: tuple[str, ...] | None = None
) -> None:
    old = rows[place]
    rows[place] = (text or old[0], label or old[1], shots or old[2])


def _as_it_is(rows: Rows) -> None:
    """No change."""


def measure(options: Options) -> Sequence[Row]:
    plain = undisturbed(options.root)
    trial = Trial(options.work / "tracked", plain.desk, "tracked")
    shutil.copytree(plain.trial.store, trial.store)
    base, own = _shown(trial, "base", _as_it_is)
    seen, seen_by_mlflow, untrue = list[str](), list[str](), int(base != _true(trial))
    for name, change in CHANGES.items():
        ours, theirs = _shown(trial, name, change)
        untrue += ours != _true(trial)
        seen += [name] * (ours != base)
        seen_by_mlflow += [name] * (theirs != own)
    ours, theirs = _real(options.work / "real")
    n = len(CHANGES) + 1
    detected, by_mlflow = len(seen) + ours, len(seen_by_mlflow) + theirs
    missed = [name for name in CHANGES if name not in seen]
    figure = (
        f"detected {detected} of {n} by the sha256 that MLflow shows here, {by_mlflow} of {n} by MLflow's own digest; "
        f"shown values that are not the folder's sha256 {untrue}" + f" (missed: {'; '.join(missed)})" * bool(missed)
    )
    fault = f"one value of {ROWS:,} rows changed ({', '.join(CHANGES)}; row {FAR:,} of the real data)"
    return [Row(29, fault, n, detected == n and not untrue, figure, options.seed)]


def _shown(trial: Trial, name: str, change: Callable[[Rows], None]) -> tuple[str, str]:
    """(sha256 that MLflow shows of the first round's set after this change, MLflow's own digest of its table)."""
    import mlflow.data
    import pandas as pd

    rows: Rows = [
        (f"who wrote number {place} ?", "HUM" if place % 2 else "LOC", (f"real-{place}", "real-b", "real-c"))
        for place in range(ROWS)
    ]
    change(rows)
    _write(trial, rows)
    (run,) = [path.name for path in (trial.store / "artefacts" / "run").iterdir() if path.name.startswith("run-")]
    subprocess.run(
        [sys.executable, "-m", "harness.cli", "track", run, "--store", str(trial.store), "--experiment", name],
        env=environment(),
        check=True,
        capture_output=True,
    )
    with closing(sqlite3.connect(trial.store / "mlflow.db")) as database:
        query = (
            "SELECT dataset_profile FROM datasets JOIN experiments USING (experiment_id) "
            "WHERE experiments.name = ? AND datasets.name LIKE '% round 1'"
        )
        (profile,) = {row[0] for row in database.execute(query, (name,))}
    table = pd.read_parquet(_folder(trial) / "data" / "train.parquet")
    return json.loads(profile)["sha256"], mlflow.data.from_pandas(table).digest  # pyright: ignore


def _true(trial: Trial) -> str:
    from harness.tracked import folder_digest

    return folder_digest(_folder(trial))


def _folder(trial: Trial) -> Path:
    """The first round's data set."""
    (report,) = (trial.store / "artefacts").glob("run/run-*/report.json")
    ident = json.loads(report.read_text(encoding="utf-8"))["rounds"][0]["dataset"]
    return trial.store / "artefacts" / "dataset" / ident


def _write(trial: Trial, rows: Rows) -> None:
    """The rows in place of the first round's, as the program itself writes a data set."""
    from harness.dataset import write_dataset
    from harness.specfile import load

    whole, folder = trial.folder / "made", _folder(trial)
    whole.mkdir()
    spec = load(trial.folder / "trial.yaml")
    write_dataset(whole, [_accepted(place, row) for place, row in enumerate(rows)], spec, 1, [])
    shutil.rmtree(folder / "data")
    shutil.move(whole / "data", folder / "data")
    shutil.rmtree(whole)


def _accepted(place: int, row: tuple[str, str, tuple[str, ...]]) -> Accepted:
    from harness.dataset import HELD_OUT_SHARE, Accepted
    from harness.records import Candidate, Example, Origin

    text, label, shots = row
    # An id whose number is no multiple of the share of held-out rows: all rows stay in one file, in order.
    example = Example(f"syn-{place * HELD_OUT_SHARE + 1:016x}", text, label, {}, Origin.SYNTHETIC)
    return Accepted(example, Candidate(example.id, "cell", example, 1, 1, "call", 0, shots))


def _real(work: Path) -> tuple[int, int]:
    """Whether row 11,000 of the real data makes another run, and another digest of MLflow's: 1 or 0 each."""
    import mlflow.data
    import pandas as pd

    from harness.loop import run_id
    from harness.specfile import load

    work.mkdir()
    (work / "trial.yaml").write_text(SPEC, encoding="utf-8")
    rows = [(f"who wrote number {place} ?", "HUM") for place in range(ROWS)]
    found: list[tuple[str, str]] = []
    for text in (rows[FAR][0], "another text ?"):
        rows[FAR] = (text, "HUM")
        with (work / "items.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        own = mlflow.data.from_pandas(pd.read_csv(work / "items.csv")).digest  # pyright: ignore
        found.append((run_id(load(work / "trial.yaml"), work)[0], own))
    (ours, theirs), (others, their_other) = found
    return int(ours != others), int(theirs != their_other)
