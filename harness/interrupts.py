"""Ctrl-C, and SIGTERM as schedulers and containers send it: what they do while a part of a run is going on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """A SIGTERM. A run ends on it as on Ctrl-C, with another exit code."""


def exit_code(error: KeyboardInterrupt) -> int:
    """128 and the signal's number, as shells count.

    >>> exit_code(KeyboardInterrupt()), exit_code(Terminated())
    (130, 143)
    """
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def stop(number: int, _frame: FrameType | None = None) -> None:
    """A handler that raises at once."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def on_interrupt(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Both signals call `handler`. Only the main thread may set handlers; elsewhere things stay as they are.

    A program around this one that has a handler of its own for SIGTERM, such as a Ray worker, keeps it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = {signal.SIGINT: signal.getsignal(signal.SIGINT)}
    terminate = signal.getsignal(signal.SIGTERM)
    if terminate is signal.SIG_DFL or getattr(terminate, "__module__", "").startswith("harness."):
        ours[signal.SIGTERM] = terminate
    for number in ours:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in ours.items():
            signal.signal(number, before)
