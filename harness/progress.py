"""How stages tell what they are doing, without knowing who listens. The command line draws bars."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

Advance = Callable[[int], None]


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
    """Wall seconds per stage, reported with the run and part of no key."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = defaultdict(float)
        self.notes: list[str] = []

    @contextmanager
    def stage(self, kind: str, name: str, total: int) -> Generator[Advance]:
        """Show `name`, count its time under `kind`."""
        advance = self.progress.stage(name, total)
        with self.timed(kind):
            try:
                yield advance
            finally:
                self.progress.done(name)

    @contextmanager
    def timed(self, kind: str) -> Generator[None]:
        """Count the time under `kind`, show nothing. Inside another stage both count it."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[kind] += time.monotonic() - start

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)
