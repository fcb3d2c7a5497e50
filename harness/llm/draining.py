"""Ctrl-C while calls are in flight: they are paid for, so their answers are awaited and kept before the run ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from types import FrameType

from harness.errors import HarnessError
from harness.interrupts import on_interrupt, stop
from harness.llm.batch import Batch

log = logging.getLogger(__name__)


class Draining:
    """The batches that are under way in one event loop, and what a signal does to them.

    The first Ctrl-C or SIGTERM lets what is on the wire finish and raises then; a further Ctrl-C raises at once. A
    further SIGTERM does nothing: an engine sends it to runs that a terminal may have told already.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._batches: set[Batch] = set()
        self._handler = ExitStack()
        self._signal = 0

    @contextmanager
    def of(self, batch: Batch) -> Generator[None]:
        """A signal in here is seen to as the class says. Raises `KeyboardInterrupt` at the end if there was one."""
        if not self._batches:
            self._signal = 0
            self._handler.enter_context(on_interrupt(self._told))
        self._batches.add(batch)
        try:
            yield
        except HarnessError:
            if not self._signal:
                raise
        finally:
            self._batches.discard(batch)
            if not self._batches:
                self._handler.close()
        if self._signal:
            stop(self._signal)

    def _told(self, number: int, _frame: FrameType | None) -> None:
        if not self._signal:
            self._signal = number
            # Not from here: a signal may come in the middle of a step of the loop.
            self._loop.call_soon_threadsafe(self._stop)
        elif number == signal.SIGINT:
            stop(number)

    def _stop(self) -> None:
        out = sum(batch.sending for batch in self._batches)
        if out:
            log.warning("waiting for %d calls in flight, which are paid for; Ctrl-C again does not wait.", out)
        for batch in self._batches:
            batch.stop()
