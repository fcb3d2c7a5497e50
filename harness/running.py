"""A run as the command line makes it: progress is shown, and Ctrl-C ends it at once."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.reports import RunReport
    from harness.spec import Spec


def make_run(spec: Spec, base: Path, reopen: str = "") -> RunReport:
    """`harness.loop.run` in this process, or in one that a suite has started for it."""
    import harness.loop as loop
    from harness.terminal import watching

    # asyncio replaces Python's own handler by one that waits for the next await, which training never reaches.
    signal.signal(signal.SIGINT, _interrupt)
    with watching() as progress:
        return loop.run(spec, base, progress, reopen)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
