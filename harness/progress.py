"""How stages tell what they are doing, without knowing who listens. The command line draws bars."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

Advance = Callable[[int], None]

CALLS, EMBEDDING, TRAINING, PREDICTION, OTHER = "calls", "embedding", "training", "prediction", "other"
MODELS = (CALLS, EMBEDDING, TRAINING, PREDICTION)
"""Kinds of stages that wait for a model. All others are the harness itself; `OTHER` is what no stage claims."""


class Progress(Protocol):
    def stage(self, name: str, total: int) -> Advance:
        """A stage of `total` steps begins; call the result with the steps done since the last call."""
        ...

    def done(self, name: str) -> None: ...

    def note(self, text: str) -> None:
        """A sentence that the person should see."""
        ...


class Silent:
    """A `Progress` that shows nothing."""

    def stage(self, name: str, total: int) -> Advance:  # noqa: ARG002 - nothing is shown
        return lambda _: None

    def done(self, name: str) -> None: ...

    def note(self, text: str) -> None: ...


class Watch:
    """Wall seconds and units of work per kind of stage, reported with the run and part of no key. Every moment counts
    once, for the innermost stage that is open then, so the kinds add up to the time that was watched. Units are what
    was done in that time, not what was found done: optimiser steps, texts embedded, items predicted."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.notes: list[str] = []
        self._seconds: dict[str, float] = defaultdict(float)
        self._units: dict[str, int] = defaultdict(int)
        self._open: list[str] = []
        self._since = 0.0

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds so far by kind; stages that are still open included."""
        self._settle()
        return dict(self._seconds)

    @contextmanager
    def stage(self, kind: str, name: str, total: int) -> Generator[Advance]:
        """Show `name`, count its time and its steps under `kind`."""
        advance = self.progress.stage(name, total)

        def counted(steps: int) -> None:
            self.count(kind, steps)
            advance(steps)

        with self.timed(kind):
            try:
                yield counted
            finally:
                self.progress.done(name)

    @contextmanager
    def timed(self, kind: str) -> Generator[None]:
        """Count the time under `kind`, show nothing. Inside another stage that one's clock stands still meanwhile."""
        self._settle()
        self._open.append(kind)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    @property
    def units(self) -> dict[str, int]:
        """Units of work so far by kind."""
        return dict(self._units)

    def count(self, kind: str, units: int) -> None:
        """Units of work done outside a stage that is shown."""
        self._units[kind] += units

    def _settle(self) -> None:
        now = time.monotonic()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)
