"""`harness rows`: the accepted synthetic rows of a run as one file that others read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness import frames
from harness.dataset import FILES
from harness.errors import DataError
from harness.newplace import check_new, written_whole
from harness.real import read_split
from harness.records import Role
from harness.reports import RunReport
from harness.store import Store

if TYPE_CHECKING:
    import pandas as pd


def accepted_rows(report: RunReport, store: Store) -> pd.DataFrame:
    """The rows of the delivered data set, by `id`: text, context and answer where there are any, label, cell, round,
    seeds shown; `split` is `train`, or `validation` for those that no model was trained on."""
    import pandas as pd

    folder = store.find(report.artefacts["dataset"]).path / "data"
    parts = {split: folder / file for split, file in FILES.items()}
    found = [pd.read_parquet(path).assign(split=split) for split, path in parts.items() if path.exists()]
    return pd.concat(found).set_index("id")


def write_rows(report: RunReport, store: Store, to: Path, *, seeds: bool = False) -> int:
    """Write the accepted rows to the new file `to`, whose ending says how, and return how many rows it has.

    With `seeds` the real seeds stand before them, so that the file is what the arm *mixed* learns from (its `train`
    rows); `origin` tells them apart. In csv and tsv the ids of shown seeds are separated by spaces; texts are as they
    were written, so a spreadsheet may take one that begins with "=" for a formula.

    Raises `DataError` for another ending and a file that is there; `StoreError` where it cannot be written.
    """
    if to.suffix.lower() not in WRITERS:
        raise DataError(f"--to {str(to)!r}: the ending says how rows are written; allowed are {', '.join(WRITERS)}.")
    check_new(to, "file")
    rows = accepted_rows(report, store).assign(origin="synthetic")
    if seeds:
        rows = _with_seeds(rows, report, store)
    with written_whole(to) as made:
        WRITERS[to.suffix.lower()](rows, made)
    return len(rows)


def _with_seeds(rows: pd.DataFrame, report: RunReport, store: Store) -> pd.DataFrame:
    import pandas as pd

    seeds = read_split(store.find(report.artefacts["split"])).examples[Role.SEEDS]
    nothing = {"cell": "", "round": 0, "wave": 0, "call": "", "index": 0, "split": "train", "origin": "real"}
    real = frames.rows(seeds).assign(**nothing)
    real["shots"] = [[] for _ in seeds]
    for name in ("label", "answer"):
        if name in real:
            real[f"asked_{name}"] = real[name]
    return pd.concat([real.reindex(columns=list(rows.columns)), rows])


def _flat(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(shots=[" ".join(one) for one in rows["shots"]])


def _write_lines(rows: pd.DataFrame, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows.reset_index().to_dict("records"):
            file.write(json.dumps({**row, "shots": list(row["shots"])}, ensure_ascii=False) + "\n")


WRITERS: Mapping[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda rows, path: _flat(rows).to_csv(path),
    ".tsv": lambda rows, path: _flat(rows).to_csv(path, sep="\t"),
    ".jsonl": _write_lines,
    ".parquet": lambda rows, path: rows.to_parquet(path),
}
