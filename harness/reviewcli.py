"""`harness review`: a person decides on a sample of a run's candidates, on a local page or in a spreadsheet.

Heavy imports stand inside the command.
"""

from __future__ import annotations

import os
import sys
import tempfile
import webbrowser
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import HarnessError
from harness.options import DEFAULT_STORE, StoreOption
from harness.plaintext import printable

if TYPE_CHECKING:
    from harness.reviews import Desk

DOOR = """<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0; url={url}">
<title>Review</title><p><a href="{url}">To the review</a></p>
"""


def review(
    ident: Annotated[str, typer.Argument(metavar="RUN", help="Id of a finished run, or its beginning.")],
    reviewer: Annotated[str, typer.Option(metavar="NAME", help="Whose decisions; each has a file.")] = "reviewer",
    items: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Rows to draw, at the first call for a run; 100 if not given."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the drawing; 0 if not given.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0 takes any free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only print the address; open no browser.")] = False,
    to_csv: Annotated[
        Path | None, typer.Option("--export", metavar="FILE.csv", help="Write the sample for a spreadsheet instead.")
    ] = None,
    from_csv: Annotated[
        Path | None, typer.Option("--import", metavar="FILE.csv", help="Take over decisions from such a file instead.")
    ] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Print what the decisions say instead.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Spot-check a run: accept, reject or relabel a stratified sample of its rows, and see what that says.

    The page shows no verdict. Two reviewers give Cohen's κ; the labels estimate the precision of the accepted set.
    """
    from harness.loop import read_run
    from harness.reviewcsv import read_csv, write_csv
    from harness.reviews import checked_name, open_desk
    from harness.store import Store

    name, opened = checked_name(reviewer), Store.existing(store)
    desk = open_desk(read_run(opened, ident), opened, items, seed)
    if desk.mend(name):
        print(f"note: a torn last line of {name}'s decisions was set aside: {desk.folder / name}.torn")
    if from_csv:
        found = read_csv(desk, name, from_csv)
        print(
            f"{from_csv}: {found.new} new decisions of {name}, {found.changed} changed, {found.same} as before, "
            f"{found.empty} rows left empty"
        )
    if to_csv:
        decided = write_csv(desk, name, to_csv)
        print(f"wrote {to_csv}: {len(desk.sample.items)} rows, {decided} of them decided by {name}")
    if summary:
        _print_summary(desk)
    if not (from_csv or to_csv or summary):
        _serve(desk, name, port, show=not no_open)


def _serve(desk: Desk, reviewer: str, port: int, *, show: bool) -> None:
    from harness.reviewserver import ReviewServer

    with ReviewServer(desk, reviewer, port) as server, ExitStack() as doors:
        try:
            print(f"review as {reviewer}: {server.url}")
            print("Ctrl-C ends it; every decision is on disk, and the same command goes on from there.", flush=True)
            if show and _has_screen():
                webbrowser.open(doors.enter_context(_door(server.url, desk.folder)))
            server.serve_forever()
        except KeyboardInterrupt:
            done = len(desk.decided(reviewer))
            print(f"\n{done} of {len(desk.sample.items)} rows decided. `--summary` shows what they say.")


@contextmanager
def _door(url: str, folder: Path) -> Generator[str]:
    """The address of a page that leads to `url` and that only its owner can read; gone afterwards. Everybody on this
    machine can read what a browser was started with, and `url` holds the token."""
    page = _private_page(DOOR.format(url=url), folder)
    try:
        yield page.resolve().as_uri()
    finally:
        page.unlink(missing_ok=True)


def _private_page(content: str, folder: Path) -> Path:
    try:
        handle, name = tempfile.mkstemp(prefix="open-", suffix=".html", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise HarnessError(f"{str(folder)!r} cannot be written: {error}. `--no-open` needs no page there.") from error
    return Path(name)


def _has_screen() -> bool:
    """Without one a browser of the terminal would open over this very output."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _print_summary(desk: Desk) -> None:
    from harness.reviewsummary import summarise, summary_lines

    for line in summary_lines(summarise(desk)):
        print(printable(line))
