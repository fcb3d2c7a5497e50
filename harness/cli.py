"""`harness`: init · validate · plan · run · compare · collapse · ablate · show · report · review · rows · export ·
track · register: what people type at.

`harness collapse …` is in `collapsecli.py`, `harness compare` in `comparecli.py`, `harness review` in `reviewcli.py`.
Heavy imports stand inside commands: `harness --help` loads neither torch nor mlflow.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from harness.collapsecli import collapse
from harness.comparecli import compare
from harness.errors import HarnessError
from harness.interrupts import exit_code
from harness.options import DEFAULT_STORE, File, Overrides, StoreOption, reason_given, seed_numbers
from harness.plaintext import printable
from harness.reviewcli import review
from harness.running import DEFAULTS

if TYPE_CHECKING:
    from harness.replicates import Replicates
    from harness.reports import RunReport
    from harness.spec import Spec


class Commands(TyperGroup):
    """Runs a command. An error that a person can mend becomes one paragraph and exit code 2; Ctrl-C and SIGTERM
    become 130 and 143."""

    # Not around `app()`: there typer has made an exit code of its own out of Ctrl-C already.
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            print("\nstopped. What was finished is kept: the same command goes on from here.", file=sys.stderr)
            raise typer.Exit(exit_code(error)) from None
        except HarnessError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=Commands,
    help="Closed-loop synthetic training data from real examples, proved on real held-out data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(collapse, name="collapse")
app.command()(compare)
app.command()(review)


@app.command()
def init(name: Annotated[str, typer.Argument(help="Name of the new folder and its YAML file.")]) -> None:
    """Write a commented YAML file to start from, and say which columns the data needs."""
    from harness.scaffold import scaffold

    for path in scaffold(name, Path.cwd()):
        print(f"wrote {path}")
    print("Put your real examples beside it as examples.csv with the columns `text` and `label`, then:")
    print(f"  harness validate {name}/{name}.yaml")


@app.command()
def validate(file: File, overrides: Overrides = None) -> None:
    """Check a YAML file; all problems at once, with line and allowed values. Spends nothing."""
    from harness.specfile import load

    spec = load(file, overrides or ())
    print(f"{file}: valid. Name {spec.name}, {len(spec.task.labels)} labels, seed {spec.seed}.")
    print(f"Next: harness plan {file}")


@app.command()
def plan(
    file: File,
    overrides: Overrides = None,
    scale: Annotated[
        bool,
        typer.Option(
            "--scale",
            help="Instead: time, disk and memory as well, by what finished runs of the store took, at this size and at "
            "others, and what gives way first.",
        ),
    ] = False,
    sizes: Annotated[
        str, typer.Option(metavar="N,M", help="Those sizes, in candidates over all rounds.")
    ] = "1000000,100000000",
) -> None:
    """Show matrix cells, calls, tokens and money before anything is spent."""
    from harness.dryrun import read_source
    from harness.forecast import forecast, tables
    from harness.humanlabels import read_labels
    from harness.plancheck import first_looks
    from harness.specfile import base_folder, load
    from harness.terminal import print_table

    spec, base = load(file, overrides or ()), base_folder(file)
    source = read_source(spec, base)
    found = first_looks(spec, source)
    if scale:
        from harness.options import positive_numbers
        from harness.scaling import scaled

        found += scaled(spec, base, source.items, positive_numbers("--sizes", sizes))
    else:
        found += tables(forecast(spec, source.items, read_labels(spec, base)))
    for table in found:
        print_table(table.title, table.columns, table.rows)


@app.command()
def run(
    file: File,
    overrides: Overrides = None,
    seeds: Annotated[
        str | None, typer.Option(help="Run under several seeds, e.g. `--seeds 0,1,2`, and pool the results.")
    ] = None,
    reopen: Annotated[
        str | None,
        typer.Option(
            "--reopen-test",
            metavar="REASON",
            help="Open test items that another run has seen; the reason goes into the record and the report.",
        ),
    ] = None,
) -> None:
    """Run the closed loop, or go on with it, or read it if it is finished."""
    from harness.specfile import load

    reason = reason_given(reopen)
    if seeds is None:
        _run(load(file, overrides or ()), file, reason)
        return
    numbers = seed_numbers(seeds)
    specs = [load(file, [*(overrides or ()), f"seed={number}"]) for number in numbers]
    reports = [_run(spec, file, reason) for spec in specs]
    from harness.replicates import pool, write_pooled
    from harness.store import Store

    rule, store = specs[0].evaluate, Store(specs[0].runtime.store)
    pooled = pool(reports, store, rule.metric, rule.resamples)
    _print_pooled(pooled, write_pooled(pooled, store, rule.resamples))


@app.command()
def show(
    ident: Annotated[str | None, typer.Argument(help="Id of an artefact or of one example; none lists runs.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Print where an artefact or a single example comes from, down to prompt and seeds."""
    from harness.lineage import ancestry, runs
    from harness.store import Store
    from harness.terminal import print_tree

    opened = Store.existing(store)
    print_tree(runs(opened) if ident is None else ancestry(opened, ident))


@app.command()
def report(
    ident: Annotated[str, typer.Argument(help="Id of a finished run, or its beginning.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Make the report page of a finished run again, from the store."""
    from harness.deliver import deliver_report
    from harness.loop import read_run
    from harness.store import Store

    opened = Store.existing(store)
    print(deliver_report(read_run(opened, ident), opened, again=True))


@app.command()
def rows(
    ident: Annotated[str, typer.Argument(help="Id of a finished run, or its beginning.")],
    to: Annotated[Path, typer.Option(help="New file to write: .csv, .tsv, .jsonl or .parquet.")],
    with_seeds: Annotated[
        bool, typer.Option("--with-seeds", help="The real seeds before them, as the arm `mixed` is trained.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the accepted synthetic rows of a run as one file."""
    from harness.loop import read_run
    from harness.rowfiles import write_rows
    from harness.store import Store

    opened = Store.existing(store)
    print(f"{to}: {write_rows(read_run(opened, ident), opened, to, seeds=with_seeds):,} rows")


@app.command()
def export(
    ident: Annotated[str, typer.Argument(help="Id of a finished run, or its beginning.")],
    arm: Annotated[str, typer.Argument(help="Which student: mixed, seeds, synthetic …")],
    to: Annotated[Path, typer.Option(help="New folder to write.")],
    merge: Annotated[bool, typer.Option("--merge", help="The whole model, the adapters merged into it.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", help="The adapters as adapter.gguf too, for llama.cpp.")] = False,
    base: Annotated[str, typer.Option(help="The base model, where it is not where the run found it.")] = "",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a trained student as files: PEFT adapters, or merged, or GGUF for llama.cpp."""
    from harness.export import export as write
    from harness.loop import read_run
    from harness.store import Store

    os.environ["HF_HUB_OFFLINE"] = "1"
    opened = Store.existing(store)
    folder = write(read_run(opened, ident), opened, arm, to, merge=merge, gguf=gguf, base=base)
    print(f"{arm} of {ident}: {folder} ({', '.join(sorted(path.name for path in folder.iterdir()))})")


@app.command()
def ablate(file: File, overrides: Overrides = None) -> None:
    """Switch off the filters of a finished run one at a time and retrain: what was each worth? Makes no call."""
    from harness.ablation import ablate as measure
    from harness.ablationwords import ablation_lines, ablation_table
    from harness.deliver import deliver_report
    from harness.loop import read_run
    from harness.specfile import base_folder, load
    from harness.store import Store
    from harness.terminal import print_table, watching

    os.environ["HF_HUB_OFFLINE"] = "1"
    spec = load(file, overrides or ())
    with watching() as progress:
        found = measure(spec, base_folder(file), progress)
    table = ablation_table(found)
    print_table(table.title, table.columns, table.rows)
    for line in ablation_lines(found):
        print(printable(line))
    store = Store(spec.runtime.store)
    print(f"report: {deliver_report(read_run(store, found.run), store, again=True)}")


@app.command()
def track(
    ident: Annotated[str, typer.Argument(help="Id of a finished run, or its beginning.")],
    store: StoreOption = DEFAULT_STORE,
    uri: Annotated[str | None, typer.Option(help="MLflow tracking URI; the store's own database if not given.")] = None,
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment; the run's name if not given.")] = None,
) -> None:
    """Show a finished run in MLflow, from the store. Repeating it changes nothing."""
    from harness.deliver import deliver_report, track_report
    from harness.loop import read_run
    from harness.mlflowstore import ui_line
    from harness.spec import Tracking
    from harness.store import Store

    opened = Store.existing(store)
    found = read_run(opened, ident)
    deliver_report(found, opened)
    tracking = Tracking(uri=uri, experiment=experiment)
    print(f"compare: {ui_line(track_report(found, opened, tracking, again=True))}")


@app.command()
def register(
    ident: Annotated[str, typer.Argument(help="Id of a finished run, or its beginning.")],
    arm: Annotated[str, typer.Option(help="Which student: mixed, seeds, synthetic …")] = "mixed",
    name: Annotated[str, typer.Option(help="Name of the registered model; the run's name if not given.")] = "",
    base: Annotated[str, typer.Option(help="The base model, where it is not where the run found it.")] = "",
    store: StoreOption = DEFAULT_STORE,
    uri: Annotated[str | None, typer.Option(help="MLflow tracking URI; the store's own database if not given.")] = None,
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment; the run's name if not given.")] = None,
) -> None:
    """Put a trained student into MLflow's model registry, with its lineage. Repeating it makes no second version."""
    from harness.loop import read_run
    from harness.registry import register as put
    from harness.registry import registered_lines
    from harness.spec import Tracking
    from harness.store import Store

    os.environ["HF_HUB_OFFLINE"] = "1"
    opened = Store.existing(store)
    tracking = Tracking(uri=uri, experiment=experiment)
    for line in registered_lines(put(read_run(opened, ident), opened, arm, tracking, name=name, base=base)):
        print(printable(line))


def _run(spec: Spec, file: Path, reopen: str) -> RunReport:
    """One run, its report page and its MLflow view; prints the result."""
    from harness.running import run_or_read
    from harness.specfile import base_folder

    found = run_or_read(spec, base_folder(file), reopen)
    _print_result(found, spec)
    return found


def _print_result(found: RunReport, spec: Spec) -> None:
    from harness.deliver import deliver, delivery_lines
    from harness.report import summary_lines
    from harness.store import Store

    print(f"\n{found.name}, seed {found.seed} ({found.id})")
    for line in summary_lines(found):
        print(printable(line), flush=True)
    for line in delivery_lines(*deliver(found, spec, Store(spec.runtime.store))):
        print(printable(line))
    where = "" if spec.runtime.store == DEFAULT_STORE else f" --store {spec.runtime.store}"
    print(printable(f"rows: harness rows {found.id} --to {found.name}.csv{where}"))


def _print_pooled(pooled: Replicates, page: Path) -> None:
    from harness.pooledwords import pooled_lines, pooled_tables
    from harness.terminal import print_table

    for table in pooled_tables(pooled):
        print_table(table.title, table.columns, table.rows)
    for line in pooled_lines(pooled):
        print(printable(line))
    print(f"pooled: {page}")


def main() -> None:
    """Entry point. What is no `HarnessError` stays a traceback: it is a defect of the harness."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # The bars of libraries would write between our own lines.
    os.environ.setdefault("TQDM_DISABLE", "1")
    for stream in (sys.stdout, sys.stderr):
        # A log or a terminal that lacks a character must not cost a result.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
