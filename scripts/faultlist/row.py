"""A row of the table of faults, what its measurement may be told, and the table as Markdown."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """`fault` was brought about `n` times; what had to hold `held` or not, and `figure` says what was counted."""

    number: int
    fault: str
    n: int
    held: bool
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


def table(rows: Sequence[Row], commit: str, seconds: float) -> str:
    """The rows by number, under what they were measured with."""
    cores = len(os.sched_getaffinity(0))
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        "# What the harness survives",
        "",
        "Written by `scripts/faults`: each line was measured on the real program (processes of their own, real "
        "sockets, sqlite and MLflow). A fault that is not in the table was not tried.",
        "",
        f"Commit {commit}, {cores} cores, {at}, {seconds / 60:.1f} minutes.",
        "",
        "| # | fault | n | held | figure | seed |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row.number):
        held = "yes" if row.held else "**NO**"
        lines.append(f"| {row.number} | {_cell(row.fault)} | {row.n:,} | {held} | {_cell(row.figure)} | {row.seed} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
