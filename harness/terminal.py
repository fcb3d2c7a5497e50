"""What the command line draws: progress bars in a terminal, plain lines elsewhere, tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from harness.plaintext import printable
from harness.progress import Advance
from harness.progress import Progress as Watched
from harness.provenance import Node

EVERY = 10.0
"""Seconds between two lines about one stage where there is no terminal."""


class Rate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


class Bars:
    """A bar per stage."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._tasks: dict[str, TaskID] = {}

    def stage(self, name: str, total: int) -> Advance:
        task = self._progress.add_task(printable(name), total=total)
        self._tasks[name] = task
        return lambda steps: self._progress.advance(task, steps)

    def done(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            self._progress.stop_task(task)

    def note(self, text: str) -> None:
        self._console.print(Text(f"note: {printable(text)}", style="yellow"))


class Lines:
    """A line when a stage starts, every ten seconds, and when it ends. For logs and pipes."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._start: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def stage(self, name: str, total: int) -> Advance:
        now = time.monotonic()
        self._done[name], self._total[name], self._start[name], self._said[name] = 0, total, now, now
        print(f"{printable(name)}: 0/{total}", flush=True)

        def advance(steps: int) -> None:
            self._done[name] += steps
            if time.monotonic() - self._said[name] >= EVERY:
                self._said[name] = time.monotonic()
                self._say(name)

        return advance

    def done(self, name: str) -> None:
        self._say(name, "done, " if self._done[name] >= self._total[name] else "ended, ")

    def note(self, text: str) -> None:
        print(f"note: {printable(text)}", flush=True)

    def _say(self, name: str, word: str = "") -> None:
        spent = time.monotonic() - self._start[name]
        done, total = self._done[name], self._total[name]
        rate = done / spent if spent > 0 else 0.0
        left = "" if word or not rate else f", {max(0, total - done) / rate:.0f} s left"
        print(f"{printable(name)}: {word}{done}/{total}, {rate:.1f}/s, {spent:.0f} s{left}", flush=True)


@contextmanager
def watching() -> Generator[Watched]:
    """Bars where a person watches, lines where a file does."""
    if not sys.stdout.isatty():
        yield Lines()
        return
    console = Console()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress, console)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table; numbers to the right. What stands in it is shown as it is: no markup, no control characters."""
    table = Table(box=SIMPLE_HEAD, show_header=any(columns))
    for index, column in enumerate(columns):
        number = bool(rows) and all(_numeric(row[index]) for row in rows)
        table.add_column(_plain(column), justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(_plain, row))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(_plain(title), table, sep="\n")


def _plain(value: object) -> Text:
    return Text(printable(str(value)))


def _numeric(value: object) -> bool:
    return str(value).lstrip("+-−$").replace(",", "").replace(".", "").replace("%", "").strip().isdigit()


def print_tree(node: Node) -> None:
    """An ancestry, parents below their children, shown as it is like a table."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(_branch(Tree(_heading(node), guide_style="dim"), node))


def _branch(tree: Tree, node: Node) -> Tree:
    for name, value in node.facts:
        tree.add(Text.assemble((f"{printable(name)}: ", "bold"), printable(value)))
    for child in node.children:
        _branch(tree.add(_heading(child)), child)
    return tree


def _heading(node: Node) -> Text:
    link = printable(f"{node.link}: ") if node.link else ""
    text = Text.assemble((link, "dim"), (printable(node.id), "bold"))
    text.append(printable(f"  {node.summary}") if node.summary else "")
    if node.damaged:
        text.append(printable(f"  damaged: {', '.join(node.damaged)}"), style="red")
    if node.repeated:
        text.append("  (shown above)", style="dim")
    return text
