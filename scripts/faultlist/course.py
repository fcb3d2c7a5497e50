"""The course of a run as seen from outside: which artefact came when, which answer, the page, MLflow's view."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

from faultlist.trial import LONGEST_RUN_S, Desk, Trial, mlflow_template

LOOK_S = 0.005
STAGES = ("generation", "filter", "training", "evaluation", "report", "tracking")
STAGE_OF = {
    "split": "data",
    "cells": "data",
    "gate": "filter",
    "plan": "generation",
    "call": "generation",
    "candidates": "generation",
    "verdicts": "filter",
    "dataset": "filter",
    "adapter": "training",
    "probabilities": "evaluation",
    "evaluation": "evaluation",
    "run": "report",
    "page": "report",
    "tracked": "tracking",
    "end": "tracking",
}
"""What was being worked on when this came next."""


@dataclass(frozen=True)
class Event:
    """An artefact's id, `call N` (so many different calls were answered), `page`, `tracked` or `end`; `at` in seconds
    from the start of the process."""

    name: str
    at: float

    @property
    def stage(self) -> str:
        return STAGE_OF[self.name.split(" ", 1)[0].rsplit("-", 1)[0]]


@dataclass(frozen=True)
class Seen:
    """What is there of a run right now."""

    artefacts: frozenset[str]
    calls: int
    page: bool
    tracked: bool

    def has(self, event: str) -> bool:
        if event.startswith("call "):
            return self.calls >= int(event.removeprefix("call "))
        return {"page": self.page, "tracked": self.tracked, "end": False}.get(event, event in self.artefacts)


def look(trial: Trial) -> Seen:
    artefacts = trial.store / "artefacts"
    stages = list(artefacts.iterdir()) if artefacts.exists() else []
    found = [each.name for stage in stages for each in stage.iterdir() if not each.name.startswith(".")]
    reports = [path.name for path in (trial.store / "reports").glob("*/*")]
    calls = len({one.key for one in trial.desk.delivered(trial.tenant)})
    return Seen(frozenset(found), calls, "report.html" in reports, "tracked" in reports)


def record(trial: Trial) -> list[Event]:
    """Run a trial undisturbed and write down what came when."""
    began = time.monotonic()
    process = trial.start()
    events: list[Event] = []
    known: set[str] = set()
    while process.poll() is None and time.monotonic() - began < LONGEST_RUN_S:
        now, seen = time.monotonic() - began, look(trial)
        names = [*(f"call {number + 1}" for number in range(seen.calls)), *sorted(seen.artefacts)]
        names += ["page"] * seen.page + ["tracked"] * seen.tracked
        events += [Event(name, now) for name in names if name not in known]
        known |= set(names)
        time.sleep(LOOK_S)
    if process.wait():
        raise SystemExit(f"scripts/faults: the undisturbed run failed:\n{trial.said[-3000:]}")
    return [*events, Event("end", time.monotonic() - began)]


def kill_after(trial: Trial, process: subprocess.Popen[bytes], event: str, delay: float) -> bool:
    """SIGKILL the process `delay` seconds after the event is there; False where it ended before."""
    while not look(trial).has(event):
        if process.poll() is not None:
            return False
        time.sleep(LOOK_S)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing happened to, which others are compared with. They have to use its `desk`: an endpoint's
    address is part of what a run is. `template` is an MLflow database to begin with."""

    desk: Desk
    template: Path
    trial: Trial
    course: tuple[Event, ...]

    def twin(self, folder: Path, *more: Any, **named: Any) -> Trial:
        """The same run in another folder, with an API key of its own; not started."""
        # A key travels in a header, which is ASCII.
        tenant = quote(f"{folder.parent.name}-{folder.name}")
        return Trial(folder, self.desk, tenant, *more, **named).with_database(self.template)


MAKING = Lock()


def undisturbed(root: Path) -> Undisturbed:
    """Made once in `root` for all rows; its endpoint answers until this program ends."""
    with MAKING:
        return _undisturbed(root)


@cache
def _undisturbed(root: Path) -> Undisturbed:
    template = mlflow_template(root / "template")
    desk = Desk()
    desk.__enter__()
    trial = Trial(root / "undisturbed", desk, "undisturbed").with_database(template)
    return Undisturbed(desk, template, trial, tuple(record(trial)))
