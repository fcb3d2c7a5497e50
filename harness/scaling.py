"""`harness plan --scale`: rates by the spec's store and this machine, needs at several sizes, what gives way."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.clean import Item
from harness.forecast import Table, forecast
from harness.humanlabels import read_labels
from harness.loop import read_run, run_id
from harness.machine import free_memory
from harness.scale import Machine, Needs, limits, needs_of, work_of
from harness.scalerates import actual_of, finished_like, measure_here, rates_of
from harness.scalewords import scale_tables
from harness.spec import Spec
from harness.store import Store


def scaled(spec: Spec, base: Path, items: Sequence[Item], sizes: Sequence[int]) -> list[Table]:
    """The tables for the spec as it is and for `sizes` candidates. `base` is the folder of the YAML file, `items` are
    the source's (see `dryrun.read_source`). A finished run of this very spec is no base of its own forecast, but stands
    beside it. Raises `SpecError`, `StoreError`."""
    store = Store(spec.runtime.store)
    reports = [read_run(store, ident) for ident in store.ids("run")]
    own, _ = run_id(spec, base)
    rates = rates_of(spec, finished_like(spec, reports, own), items, store.root, measure_here())
    found = forecast(spec, items, read_labels(spec, base))
    texts = len(items) or sum(found.sizes.values())

    def needs(candidates: float | None) -> Needs:
        return needs_of(spec, work_of(spec, found, texts, rates, candidates), rates)

    machine = Machine(free_memory() or 0, shutil.disk_usage(_there(store.root)).free)
    actual = next((actual_of(report) for report in reports if report.id == own and report.units), None)
    return scale_tables([needs(None), *map(needs, map(float, sizes))], rates, machine, limits(machine, needs), actual)


def _there(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.resolve()
    return next(folder for folder in (path, *path.parents) if folder.exists())
