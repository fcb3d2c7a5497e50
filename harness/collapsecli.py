"""`harness collapse`: check anybody's generations, or make generations and judge them.

Heavy imports stand inside the commands.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.options import File, Overrides, seed_numbers
from harness.plaintext import printable

collapse = typer.Typer(help="Model collapse over generations.", no_args_is_help=True)


class FailOn(StrEnum):
    """Verdicts of a collapse check that may end with exit code 1."""

    ALARM = "alarm"
    WARN = "warn"
    INSUFFICIENT = "insufficient"


WORSE = {
    FailOn.ALARM: ("alarm",),
    FailOn.WARN: ("alarm", "warn"),
    FailOn.INSUFFICIENT: ("alarm", "warn", "insufficient"),
}


@collapse.command("check")
def collapse_check(
    generations: Annotated[
        list[Path],
        typer.Argument(
            metavar="GENERATION",
            help="A file or a folder of files each, in order. The files of the first folder are its batches.",
            show_default=False,
        ),
    ],
    anchors: Annotated[Path | None, typer.Option(help="Real texts that no generation was trained on.")] = None,
    trained: Annotated[
        Path | None, typer.Option(help="Real texts that were trained on, to find anchors among them.")
    ] = None,
    text: Annotated[str, typer.Option(metavar="COLUMN", help="Column of the texts, in all files.")] = "text",
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to this file.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Keep vectors in this folder, so that the next check is quick.")
    ] = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(help="Exit code 1 for this verdict or a worse one: `insufficient` is anything but ok."),
    ] = None,
) -> None:
    """Do generations of texts collapse? Exit code 0 whatever the verdict, unless --fail-on is given."""
    from tempfile import TemporaryDirectory

    from harness.collapsecheck import check, write_check
    from harness.collapsewords import check_lines, check_tables
    from harness.embed import SentenceEmbedder
    from harness.terminal import print_table, watching

    os.environ["HF_HUB_OFFLINE"] = "1"
    with TemporaryDirectory() as folder, watching() as progress:
        embed = SentenceEmbedder(cache or Path(folder))
        found = check(generations, anchors=anchors, trained=trained, column=text, embed=embed, progress=progress)
    for table in check_tables(found):
        print_table(table.title, table.columns, table.rows)
    for line in check_lines(found):
        print(printable(line))
    if out is not None:
        write_check(found, out)
        print(f"figures: {out}")
    if fail_on is not None and found.verdict.status in WORSE[fail_on]:
        raise typer.Exit(1)


@collapse.command("run")
def collapse_run(
    file: File,
    overrides: Overrides = None,
    seeds: Annotated[
        str | None, typer.Option(help="Run under several seeds, e.g. `--seeds 0,1,2`, and lay them side by side.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A model from scratch and few texts: some minutes, to see that it works.")
    ] = False,
) -> None:
    """Train generations of a model on what the one before wrote, and see whether they collapse."""
    from harness.deliver import deliver_generations, delivery_lines
    from harness.generations import QUICK, run_generations
    from harness.generationwords import arm_lines, arm_tables, seeds_table
    from harness.specfile import base_folder, load
    from harness.store import Store
    from harness.terminal import print_table, watching

    given = [*(QUICK if quick else ()), *(overrides or ())]
    chosen: list[list[str]] = [[f"seed={number}"] for number in seed_numbers(seeds)] if seeds else [[]]
    specs = [load(file, [*given, *one]) for one in chosen]
    reports = []
    for spec in specs:
        if spec.data.source.kind != "hub":
            os.environ["HF_HUB_OFFLINE"] = "1"
        with watching() as progress:
            report = run_generations(spec, base_folder(file), progress)
        reports.append(report)
        for table in arm_tables(report):
            print_table(table.title, table.columns, table.rows)
        for line in arm_lines(report):
            print(printable(line))
        for line in delivery_lines(*deliver_generations(report, spec, Store(spec.runtime.store))):
            print(printable(line))
    if len(reports) > 1:
        table = seeds_table(reports)
        print_table(table.title, table.columns, table.rows)
