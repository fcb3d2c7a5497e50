"""How long a run has been worked on, over all its processes: `budget.minutes` is about that and not about the date."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from harness.errors import StoreError
from harness.llm.cache import CallCache

NOTED_EVERY_S = 1.0
"""A kill costs the clock what came after the last note, or the stage without calls that it fell into."""


class _Clock:
    """Other processes of the scope work on it too, so what they noted is read whenever this one notes."""

    def __init__(self, cache: CallCache, scope: str) -> None:
        self._cache = cache
        self._scope = scope
        self._before = cache.worked(scope)
        self._noted = time.monotonic()

    def __call__(self) -> float:
        now = time.monotonic()
        if now - self._noted >= NOTED_EVERY_S:
            self.note(now)
        return self._before + now - self._noted

    def note(self, now: float) -> None:
        self._cache.work(self._scope, now - self._noted)
        self._before, self._noted = self._cache.worked(self._scope), now


@contextmanager
def worktime(cache: CallCache, scope: str) -> Generator[Callable[[], float]]:
    """Gives the seconds of work on this scope, those of earlier processes included; notes them while it is asked, and
    at the end of the block."""
    clock = _Clock(cache, scope)
    try:
        yield clock
    finally:
        # A cache that cannot be used has said so where it was needed more.
        with suppress(StoreError):
            clock.note(time.monotonic())
