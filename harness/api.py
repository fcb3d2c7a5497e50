"""The harness in a notebook or a script: load an experiment, run it, compare variants, look at data frames and figures.

>>> from harness import load, run, compare
>>> found = run(load("experiments/quickstart.yaml", {"stop.max_rounds": 2}, seed=1))
>>> found.scores()                       # a data frame per section of the report
>>> found.figure("gap")                  # a picture, shown by the notebook
>>> found.rows()                         # the accepted synthetic rows, to train on elsewhere
>>> compare("experiments/suites/filters.yaml").table()

Everything stands in the store: the same call again reads what is finished and goes on with what is not. Mistakes in
files raise `harness.errors.SpecError` with all problems and their lines; other errors are those of `harness.errors`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from eval.outcomes import ScoredRun
from harness import frames
from harness.comparison import Comparison
from harness.reports import RunReport
from harness.spec import Spec
from harness.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from harness.place import Engine
    from harness.suiterun import SuiteState

Overrides = Mapping[str, object]


@dataclass(frozen=True)
class Figure:
    """A picture as PNG bytes; a notebook shows it. `save` writes it to a file."""

    title: str
    png: bytes = field(repr=False)

    def save(self, path: str | Path) -> Path:
        place = Path(path)
        place.write_bytes(self.png)
        return place

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class Experiment:
    """A checked spec and the folder its relative paths start at. `spec.train.steps` and the like are its values."""

    spec: Spec
    folder: Path

    def plan(self) -> dict[str, pd.DataFrame]:
        """What a run would take, before anything is spent: title → table (cells, calls, tokens, money)."""
        from harness.dryrun import read_source
        from harness.forecast import forecast, tables
        from harness.humanlabels import read_labels
        from harness.plancheck import first_looks

        with _no_loop_around():
            source, labels = read_source(self.spec, self.folder), read_labels(self.spec, self.folder)
            found = [*first_looks(self.spec, source), *tables(forecast(self.spec, source.items, labels))]
        return {
            one.title: frames.frame(dict(zip(one.columns, map(str, row), strict=True)) for row in one.rows)
            for one in found
        }


class Run:
    """A finished run. Methods give data frames, one per section of the report; see `harness.frames` for columns."""

    def __init__(self, report: RunReport, store: Store, page: Path) -> None:
        self.report = report
        self.store = store
        self.page = page

    @property
    def id(self) -> str:
        return self.report.id

    @property
    def headline(self) -> str:
        """What the run shows, in a sentence."""
        from harness.report import headline

        return headline(self.report)

    def scores(self) -> pd.DataFrame:
        return frames.scores(self.report)

    def comparisons(self) -> pd.DataFrame:
        return frames.comparisons(self.report)

    def gaps(self) -> pd.DataFrame:
        return frames.gaps(self.report)

    def rounds(self) -> pd.DataFrame:
        return frames.rounds(self.report)

    def slices(self, arm: str = "mixed") -> pd.DataFrame:
        return frames.slices(self.report, arm)

    def funnel(self) -> pd.DataFrame:
        return frames.funnel(self.report)

    def coverage(self) -> pd.DataFrame:
        return frames.coverage(self.report)

    def ambiguous(self) -> pd.DataFrame:
        return frames.ambiguous(self.report)

    def dynamics(self) -> pd.DataFrame:
        return frames.dynamics(self.report)

    def ablation(self) -> pd.DataFrame:
        """What `harness ablate` found: a row per filter; empty where it was not asked."""
        from harness.ablationreport import ablation_of

        found = ablation_of(self.store, self.report.id, self.report.seed)
        return frames.ablation(found)

    def drops(self) -> pd.DataFrame:
        return frames.drops(self.report)

    def filters(self) -> pd.DataFrame:
        return frames.filters(self.report)

    def controls(self) -> pd.DataFrame:
        return frames.controls(self.report)

    def failure_modes(self) -> pd.DataFrame:
        return frames.failure_modes(self.report)

    def collapse(self) -> pd.DataFrame:
        return frames.collapse(self.report)

    def rows(self) -> pd.DataFrame:
        """The accepted synthetic rows of the delivered data set: text, label, cell, round, seeds shown; `split` is
        `train`, or `validation` for those that no model was trained on."""
        from harness.rowfiles import accepted_rows

        return accepted_rows(self.report, self.store)

    def predictions(self, arm: str = "mixed") -> pd.DataFrame:
        """The scored real items with an arm's answers: those of the test where the run opened it, else of dev. Reading
        them is no new look. Raises ValueError for an arm that there is not."""
        from eval.outcomes import align, rights

        scored = self._scored
        answers = scored.arm(arm)
        return frames.predictions(
            scored.examples, align(scored.examples, answers), [bool(one) for one in rights(scored.examples, answers)]
        )

    def reviews(self) -> pd.DataFrame:
        """What reviewers decided on a sample of the candidates (`harness review`); empty where nobody has."""
        from harness.reviews import desk_of
        from harness.reviewsummary import review_frame

        desk = desk_of(self.store, self.id)
        return frames.frame([]) if desk is None else review_frame(desk)

    def review_summary(self) -> pd.DataFrame:
        """By reviewer: the precision of the accepted rows with its interval, and what the filters lost."""
        from harness.reviews import desk_of
        from harness.reviewsummary import summarise, summary_frame

        desk = desk_of(self.store, self.id)
        return frames.frame([]) if desk is None else summary_frame(summarise(desk))

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """Name → picture of every section for which there is data."""
        from harness.figures import all_figures
        from harness.report import PICTURES

        return {name: Figure(PICTURES[name][0], png) for name, png in all_figures(self.report).items()}

    def figure(self, name: str) -> Figure:
        """The picture of a section, e.g. `arms`, `gap`, `funnel`. Raises KeyError that lists those there are."""
        return _named(self.figures, name)

    @cached_property
    def _scored(self) -> ScoredRun:
        from harness.replicates import scored_run

        return scored_run(self.report, self.store)

    def __repr__(self) -> str:
        return f"Run({self.id!r}, seed={self.report.seed}: {self.headline})"

    def _repr_html_(self) -> str:
        return _card(f"{self.report.name}, seed {self.report.seed}", self.headline, self.scores(), self.page)


class Variants:
    """The runs of a suite side by side. `runs[variant, seed]` are its finished runs, `faults` say why others failed."""

    def __init__(self, state: SuiteState, comparison: Comparison | None, page: Path | None) -> None:
        from harness.deliver import report_folder

        self.comparison = comparison
        self.page = page
        self.faults = dict(state.faults)
        self.runs = {
            (name, seed): Run(report, state.store, report_folder(state.store, report.id) / "report.html")
            for name, runs in state.finished.items()
            for seed, report in runs.items()
        }

    def table(self) -> pd.DataFrame:
        """The ranking, best first (`harness.frames.variants`); empty where no run is finished."""
        return frames.frame([]) if self.comparison is None else frames.variants(self.comparison)

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """`differences` to the base and `pareto`, quality against cost."""
        from harness.comparefigures import compare_figures
        from harness.comparepage import PICTURES

        found = {} if self.comparison is None else compare_figures(self.comparison)
        return {name: Figure(PICTURES[name][0], png) for name, png in found.items()}

    def figure(self, name: str) -> Figure:
        """One of `figures`. Raises KeyError that lists those there are."""
        return _named(self.figures, name)

    def __repr__(self) -> str:
        return f"Variants({len(self.runs)} runs finished, {len(self.faults)} failed: {self._headline()})"

    def _repr_html_(self) -> str:
        return _card("Variants", self._headline(), self.table(), self.page)

    def _headline(self) -> str:
        from harness.comparewords import headline

        return "no run is finished" if self.comparison is None else headline(self.comparison)


def load(file: str | Path, overrides: Overrides | None = None, *, seed: int | None = None) -> Experiment:
    """The experiment in a YAML file. `overrides` maps dotted keys to values: `{"stop.max_rounds": 2}`.

    Raises `SpecError` with every problem of the file and of the overrides.
    """
    from harness.specfile import base_folder
    from harness.specfile import load as read

    path = Path(file)
    return Experiment(read(path, _as_text(overrides, seed)), base_folder(path))


def run(experiment: Experiment | str | Path, *, reopen_test: str = "") -> Run:
    """Run the closed loop, or go on with it, or read it if it is finished; write its page and show it in MLflow.

    Progress is printed; an interrupt stops at once. `reopen_test` is the reason for a further look at test items that
    another run has seen. A run whose data do not come from the hub turns the hub off for this process. Raises the
    errors of `harness.errors`; what was finished before one is kept.
    """
    from harness.deliver import deliver
    from harness.options import reason_given
    from harness.running import run_or_read

    ready = experiment if isinstance(experiment, Experiment) else load(experiment)
    reason = reason_given(reopen_test) if reopen_test else ""
    _set_defaults()
    with _no_loop_around():
        report = run_or_read(ready.spec, ready.folder, reason)
        store = Store(ready.spec.runtime.store)
        page, _, fault = deliver(report, ready.spec, store)
    _warn(fault)
    return Run(report, store, page)


def compare(
    suite: str | Path,
    overrides: Overrides | None = None,
    *,
    only: Sequence[str] = (),
    jobs: int | None = None,
    engine: Engine = "local",
    address: str | None = None,
    fail_fast: bool = False,
    open_test: bool = False,
    reopen_test: str = "",
) -> Variants:
    """Run what is missing of a suite's variants × seeds, and lay them side by side; see `harness compare --help`.

    With `engine="ray"` runs are tasks on the Ray cluster at `address`, or on a Ray that is started here. A run
    that fails costs no other and is named in `faults`. Raises the errors of `harness.errors`.
    """
    from harness.options import reason_given
    from harness.place import Place
    from harness.suitefile import chosen, load_suite
    from harness.suiterun import conclude, make_missing, show_in_mlflow, state_of
    from harness.terminal import watching

    reason, place = reason_given(reopen_test) if reopen_test else "", Place(engine, address)
    state = state_of(chosen(load_suite(Path(suite), _as_text(overrides, None)), only))
    _set_defaults()
    with _no_loop_around():
        make_missing(state, jobs, fail_fast=fail_fast, say=print, place=place)
        if not state.finished:
            return Variants(state, None, None)
        with watching() as progress:
            found, page = conclude(state, progress, open_test=open_test or bool(reason), reopen=reason)
        _, fault = show_in_mlflow(state, found)
    _warn(fault)
    return Variants(state, found, page)


def _as_text(overrides: Overrides | None, seed: int | None) -> list[str]:
    """Overrides as `--set` takes them: the value is YAML, and JSON is YAML."""
    import json

    values = dict(overrides or {})
    if seed is not None:
        values["seed"] = seed
    return [f"{key}={json.dumps(value, default=str)}" for key, value in values.items()]


def _set_defaults() -> None:
    """What the command line sets before anything is loaded, where the caller has not set it."""
    from harness.running import DEFAULTS

    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def _warn(fault: str) -> None:
    import warnings

    if fault:
        warnings.warn(f"not in MLflow yet: {fault}", stacklevel=3)


def _named(figures: Mapping[str, Figure], name: str) -> Figure:
    if name not in figures:
        raise KeyError(f"there is no figure {name!r}; there are {', '.join(figures) or 'none'}")
    return figures[name]


def _card(title: str, headline: str, table: pd.DataFrame, page: Path | None) -> str:
    """What a notebook shows of a result. Texts that came from data are escaped."""
    from html import escape

    where = f"<p>Page: <code>{escape(str(page))}</code></p>" if page else ""
    shown = table.to_html(na_rep="–", float_format="{:.3f}".format)
    return f"<h4>{escape(title)}</h4><p>{escape(headline)}</p>{shown}{where}"


@contextmanager
def _no_loop_around() -> Generator[None]:
    """A cell runs inside the notebook's own event loop, where `asyncio.run` refuses to start a second one. The run has
    the thread to itself until it is through, so the notebook's loop can be out of sight for that long."""
    around = asyncio._get_running_loop()  # pyright: ignore[reportPrivateUsage]
    asyncio._set_running_loop(None)  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        if around is not None:
            # `asyncio.run` leaves the thread without a loop of its own.
            asyncio.set_event_loop(around)
        asyncio._set_running_loop(around)  # pyright: ignore[reportPrivateUsage]
