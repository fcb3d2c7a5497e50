"""`harness compare`: run the variants of a suite and lay them side by side.

Heavy imports stand inside the command.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.options import Overrides, reason_given
from harness.place import Engine, Place
from harness.plaintext import printable

if TYPE_CHECKING:
    from harness.reports import RunReport
    from harness.suitefile import LoadedSuite
    from harness.suiterun import SuiteState

FAILED = 1
"""Exit code where a run failed and the others went on."""


def compare(
    suite: Annotated[Path, typer.Argument(help="The suite's YAML file.", show_default=False)],
    overrides: Overrides = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only these variants (p-values are adjusted for their number), and the base."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take and what is shared; spend nothing.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first run that fails; otherwise the others go on.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs at a time, each in a process of its own; by what is free of cores and memory if not given.",
        ),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="Where runs go on: processes of this machine, or tasks on Ray.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The Ray cluster to join and leave running; without it a Ray is started here for as long as it takes.",
        ),
    ] = None,
    open_test: Annotated[
        bool,
        typer.Option(
            "--open-test",
            help="When all runs are finished, open the sealed test once for all variants together. Without it variants "
            "are compared on dev, as often as you like.",
        ),
    ] = False,
    reopen: Annotated[
        str | None,
        typer.Option(
            "--reopen-test",
            metavar="REASON",
            help="Like --open-test, for test items that were looked at before; the reason goes into the record.",
        ),
    ] = None,
    register: Annotated[
        bool,
        typer.Option("--register", help="Put the student of the variant that is best on dev into MLflow's registry."),
    ] = False,
    register_as: Annotated[
        str, typer.Option(metavar="NAME", help="Like --register, under this name instead of the runs' own.")
    ] = "",
) -> None:
    """Run a suite's variants × seeds as far as they are missing, and rank them: paired differences to the base, cost.

    Calls, candidates, embeddings and trainings that variants have in common are made once. Exit code 1 where a run
    failed.
    """
    from harness.suitefile import chosen, load_suite
    from harness.suiterun import make_missing, state_of

    reason, place, to_register = reason_given(reopen), Place(engine, address), register or bool(register_as)
    loaded = chosen(load_suite(suite, overrides or ()), [name for name in (only or "").split(",") if name])
    for note in loaded.notes:
        print(f"note: {printable(note)}")
    if loaded.base.specs[loaded.seeds[0]].data.source.kind != "hub":
        os.environ["HF_HUB_OFFLINE"] = "1"
    if to_register:
        _check_registration(loaded, register_as)
    state = state_of(loaded)
    if dry_run:
        _forecast(state)
        return
    make_missing(state, jobs, say=_say, fail_fast=fail_fast, place=place)
    if state.finished:
        _conclude(state, open_test=open_test or bool(reason), reopen=reason)
    if state.finished and to_register:
        _register(state, register_as)
    for (name, seed), fault in state.faults.items():
        print(f"failed: {name}, seed {seed}: {printable(fault)}")
    if state.faults:
        print("What was finished is kept: the same command runs only what is missing.")
        raise typer.Exit(FAILED)


def _say(line: str) -> None:
    print(printable(line), flush=True)


def _forecast(state: SuiteState) -> None:
    from harness.dryrun import read_source
    from harness.engine import plan_jobs
    from harness.suiteforecast import forecast_suite, rates_of, suite_tables
    from harness.terminal import print_table

    suite = state.suite
    items = read_source(suite.base.specs[suite.seeds[0]], suite.folder).items
    reports = [report for runs in state.finished.values() for report in runs.values()]
    found = forecast_suite(suite, items, state.finished, rates_of(reports or _runs(state)))
    for table in suite_tables(found):
        print_table(table.title, table.columns, table.rows)
    plan = plan_jobs([spec for one in suite.variants for spec in one.specs.values()], None)
    print(f"{plan.jobs} run(s) at a time: {plan.why}.")


def _runs(state: SuiteState) -> list[RunReport]:
    """All runs of the store, to measure by where the suite has none yet."""
    from harness.loop import read_run

    return [read_run(state.store, ident) for ident in state.store.ids("run")]


def _conclude(state: SuiteState, *, open_test: bool, reopen: str) -> None:
    from harness.comparewords import compare_lines, compare_tables
    from harness.suiterun import conclude, show_in_mlflow
    from harness.terminal import print_table, watching

    with watching() as progress:
        found, page = conclude(state, progress, open_test=open_test, reopen=reopen)
    for table in compare_tables(found):
        print_table(table.title, table.columns, table.rows)
    for line in compare_lines(found):
        print(printable(line))
    print(f"page: {page}")
    uri, fault = show_in_mlflow(state, found)
    if fault:
        print(f"note: not in MLflow yet: {printable(fault)}")
    elif uri:
        from harness.mlflowstore import ui_line

        print(f"compare: {ui_line(uri)}")


def _check_registration(suite: LoadedSuite, name: str) -> None:
    """Before anything is run: what would be refused in the end."""
    from harness.registry import check_name
    from harness.suiteregistry import check_tracking

    check_name(name)
    check_tracking(suite)


def _register(state: SuiteState, name: str) -> None:
    from harness.registry import registered_lines
    from harness.suiteregistry import register_best

    chosen, found = register_best(state, name)
    for line in (chosen, *registered_lines(found)):
        print(printable(line))
