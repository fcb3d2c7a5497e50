"""Row 4: Ctrl-C, once and twice, and SIGTERM while calls are in flight: which of their answers are kept."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from faultlist.course import look, undisturbed
from faultlist.row import Options, Row
from faultlist.trial import Desk, Trial, differences, tenant_of

ONCE_S, TWICE_S = 1.0, 20.0
"""What answers take that are in flight at one signal, and at two: too long to be waited for."""
FILLED_S = 0.3
"""Until all that may be in flight is."""
GRACE_S = 12.0
"""What the process may take to end, on a busy machine, besides the answers that it waits for."""
LONGEST_S = 120
SIGNALS = ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGINT, 130))
"""With the exit codes that shells expect."""


AT = (8, 20, 32, 44)
"""Calls that have been answered when a signal comes, all within the first wave of 60: there is a next one to go out."""


@dataclass(frozen=True)
class Stop:
    """A run that was told to end while `in_flight` calls were out; so many of their answers were `kept`."""

    code: int
    wanted: int
    seconds: float
    in_flight: int
    kept: int


def measure(options: Options) -> Sequence[Row]:
    plain = undisturbed(options.root)
    trial, usual = plain.twin(options.work / "stopped"), plain.desk.delay
    try:
        once = [
            told_to_end(trial, plain.desk, f"call {at}", number, code, 1)
            for at, (number, code) in zip(AT, SIGNALS, strict=False)
        ]
        twice = told_to_end(trial, plain.desk, f"call {AT[-1]}", signal.SIGINT, 130, 2)
    finally:
        plain.desk.delay = usual
    trial.finished()
    other = differences(plain.trial.contents(), trial.contents())
    return [row(once, twice, len(other), trial.tracked()["RUNNING", "active"], options.seed)]


def told_to_end(trial: Trial, desk: Desk, at: str, number: int, code: int, times: int) -> Stop:
    """Start the run, let it come to the event, and send the signal so many times."""
    desk.delay = 0.01
    process = trial.start()
    while not look(trial).has(at) and process.poll() is None:
        time.sleep(0.005)
    desk.delay = ONCE_S if times == 1 else TWICE_S
    time.sleep(FILLED_S)
    out = _asked(desk, trial) - {one.key for one in desk.delivered(trial.tenant)}
    began = time.monotonic()
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.1)
    ended = process.wait(LONGEST_S)
    return Stop(ended, code, time.monotonic() - began, len(out), len(out & trial.cached_keys()))


def row(once: Sequence[Stop], twice: Stop, other: int, running: int, seed: int) -> Row:
    """`other` files differ from those of an undisturbed run, `running` runs were left so in MLflow."""
    every = [*once, twice]
    out, kept = sum(one.in_flight for one in once), sum(one.kept for one in once)
    figure = (
        f"exit codes {[one.code for one in every]}; answers in flight kept {kept}, lost {out - kept} of {out}, gone "
        f"after {max(one.seconds for one in once):.1f} s at most (answers took {ONCE_S:.0f} s); a second Ctrl-C does "
        f"not wait: gone after {twice.seconds:.1f} s (answers took {TWICE_S:.0f} s); files that differ from an "
        f"undisturbed run {other}, MLflow runs left RUNNING {running}"
    )
    held = all(one.code == one.wanted for one in every) and kept == out > 0 and not other and not running
    held = held and all(one.seconds <= ONCE_S + GRACE_S for one in once) and twice.in_flight > 0
    held = held and twice.seconds < TWICE_S - 1
    fault = "Ctrl-C or SIGTERM during generation, then the same command"
    return Row(4, fault, len(every), held, figure, seed)


def _asked(desk: Desk, trial: Trial) -> set[str]:
    return {call.headers["idempotency-key"] for call in desk.calls if tenant_of(call) == trial.tenant}
