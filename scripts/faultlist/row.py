"""A row of the table of faults, what its measurement may be told, and the table as Markdown."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """`fault` was brought about `n` times; what had to hold `held` or not, and `figure` says what was counted.
    `held` is None where this machine does not allow the fault; `figure` says why."""

    number: int
    fault: str
    n: int
    held: bool | None
    figure: str
    seed: int


@dataclass(frozen=True)
class Options:
    """`root` is a folder for what rows share, `work` one for a group of rows alone."""

    seed: int
    kills: int
    per_run: int
    jobs: int
    fuzz: int
    root: Path
    work: Path


Measure = Callable[[Options], Sequence[Row]]


HEAD = """\
# What the harness survives

Written by `scripts/faults`: each line was measured on the real program (processes of their own, real sockets, sqlite
and MLflow), at the commit and on the machine that it names. A fault that is not in the table was not tried.

| # | fault | n | held | figure | seed | measured |
|---|---|---|---|---|---|---|
"""


def table(rows: Sequence[Row], commit: str, before: str = "") -> str:
    """The rows by number. Of a table that was there `before`, the lines of other rows stay as they are."""
    cores = len(os.sched_getaffinity(0))
    stamp = f"{commit}, {datetime.now(UTC):%Y-%m-%d}, {cores} cores"
    lines = {int(line.split("|")[1]): line for line in before.splitlines() if line[:2] == "| " and line[2].isdigit()}
    lines |= {row.number: _line(row, stamp) for row in rows}
    return HEAD + "".join(f"{lines[number]}\n" for number in sorted(lines))


def _line(row: Row, stamp: str) -> str:
    held = {True: "yes", False: "**NO**", None: "not tried"}[row.held]
    cells = (row.number, _cell(row.fault), f"{row.n:,}", held, _cell(row.figure), row.seed, stamp)
    return f"| {' | '.join(map(str, cells))} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
