"""A run as a person makes it: progress is shown, and Ctrl-C ends it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.interrupts import on_interrupt, stop

if TYPE_CHECKING:
    from harness.reports import RunReport
    from harness.spec import Spec

DEFAULTS = {
    # A waiting OpenMP thread that spins takes the core that another one needs: on a busy machine training slows many
    # times over. Read when torch loads, so it has to be set before.
    "OMP_WAIT_POLICY": "passive",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Variables of the environment, to be set before anything heavy is loaded and where the person has not set them."""


def run_or_read(spec: Spec, base: Path, reopen: str = "") -> RunReport:
    """The report of this run: read where it is finished, else made. Raises the errors of `harness.errors`."""
    from harness.loop import finished

    found = finished(spec, base)
    if found is not None:
        return found
    if spec.data.source.kind != "hub":
        os.environ["HF_HUB_OFFLINE"] = "1"
    return make_run(spec, base, reopen)


def make_run(spec: Spec, base: Path, reopen: str = "") -> RunReport:
    """`harness.loop.run` in this process, or in one that a suite has started for it."""
    import harness.loop as loop
    from harness.terminal import watching

    # asyncio replaces Python's own handler by one that waits for the next await, which training never reaches.
    with on_interrupt(stop), watching() as progress:
        return loop.run(spec, base, progress, reopen)
