"""How well `harness plan --scale` forecasts a larger run from a smaller one: forecast ÷ taken.

Runs an experiment at a small size and at a larger one, each in a fresh store of its own, fits the cost model to the
small one and lays its forecast of the larger one beside what that took, disk included. With --stores finished runs are
read: the first folder's are the base, the run of the second one is forecast.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks import facts


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", default="experiments/quickstart.yaml", metavar="FILE", help="what to run")
    parser.add_argument(
        "--small", default="generate.accepted_per_round=60", metavar="KEY=VALUE", help="the base's size"
    )
    parser.add_argument(
        "--large", default="generate.accepted_per_round=180", metavar="KEY=VALUE", help="the other size"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for both, as for `harness run`"
    )
    parser.add_argument("--stores", nargs=2, type=Path, metavar="DIR", help="read finished runs instead")


def run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        stores = options.stores or [Path(folder) / name for name in ("small", "large")]
        sizes = () if options.stores else (options.small, options.large)
        for size, store in zip(sizes, stores, strict=False):
            words = ["run", options.experiment, "--set", f"runtime.store={store}", "--set", size]
            words += [word for each in options.set for word in ("--set", each)]
            print("scripts/bench scale: harness", *words, flush=True)
            done = subprocess.run([sys.executable, "-m", "harness.cli", *words], check=False)
            if done.returncode:
                return done.returncode
        print("\n".join([*compared(*stores), *facts.lines()]))
    return 0


def compared(base: Path, other: Path) -> list[str]:
    """A line per quantity of the run in the store `other`: forecast, taken, forecast ÷ taken."""
    from harness.dryrun import read_source
    from harness.forecast import forecast
    from harness.loop import read_run
    from harness.scale import needs_of, work_of
    from harness.scalerates import actual_of, finished_like, measure_here, rates_of, spec_of
    from harness.store import Store

    (report,) = (read_run(Store.existing(other), ident) for ident in Store.existing(other).ids("run"))
    known = [read_run(Store.existing(base), ident) for ident in Store.existing(base).ids("run")]
    spec = spec_of(report)
    if spec is None:
        raise SystemExit(f"scripts/bench scale: {report.id} was made by another version")
    items = read_source(spec, other).items
    here = measure_here()
    rates = rates_of(spec, finished_like(spec, known, report.id), items, base, here)
    found = forecast(spec, items)
    needs = needs_of(spec, work_of(spec, found, len(items) or sum(found.sizes.values()), rates), rates)
    taken = {**actual_of(report), "disk": _disk(other)}
    totals: dict[str, float | None] = {
        name: getattr(needs.work, name)
        for name in ("calls", "prompt_tokens", "completion_tokens", "texts", "steps", "predicted")
    }
    totals |= {f"seconds/{name}": spent for name, spent in needs.seconds.items()}
    totals |= {"seconds": sum(spent or 0.0 for spent in needs.seconds.values())}
    totals |= {"disk": sum(needs.disk.values()), "memory": sum(needs.memory.values())}
    about = f"{report.id} forecast from {', '.join(rates.runs)}: {needs.work.candidates:,.0f} candidates in first waves"
    return [about, *table(totals, taken)]


def table(forecasts: Mapping[str, float | None], taken: Mapping[str, float]) -> list[str]:
    """
    >>> table({"calls": 110.0, "unknown": None, "zero": 1.0}, {"calls": 100.0, "zero": 0.0})
    ['  calls                                110.0             100.0   1.10']
    """
    return [
        f"  {name:24}{value:18,.1f}{taken[name]:18,.1f}{value / taken[name]:7.2f}"
        for name, value in forecasts.items()
        if value is not None and taken.get(name)
    ]


def _disk(store: Path) -> float:
    """Bytes of what the run left: artefacts and caches, without pages, MLflow's view and logs."""
    files = [path for path in (store / "artefacts").rglob("*") if path.is_file()]
    files += [*store.glob("calls.sqlite*"), *store.glob("vectors.sqlite*")]
    return float(sum(path.stat().st_size for path in files))
