"""Row 25: the clock on the wall jumps back and forth, and the time zone changes, while a run or a wait is on."""

from __future__ import annotations

import email.utils
import json
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from endpoint import Call, good, reply

from faultlist.asker import Told, Wish, start, told_by
from faultlist.course import undisturbed
from faultlist.row import Options, Row
from faultlist.trial import Desk, Trial, differences, environment

HOUR = 3600
JUMPS = (
    (-HOUR, "Europe/Berlin"),
    (HOUR, "Asia/Kolkata"),
    (-400 * 24 * HOUR, "America/New_York"),
    (40 * 24 * HOUR, "Pacific/Chatham"),
    (0, "UTC"),
)
"""(Seconds, zone): an hour is what the end of summer time does to a clock without zone."""
EVERY_S = 0.4
WAIT_S = 2
SLACK_S = 4.0
"""What a wait may take longer on a busy machine; a jump that counted would make it an hour or nothing."""
CALLS, PER_MINUTE = 6, 90


class Clock:
    """The clock of processes that are started with `variables`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.jumps = 0
        plain = environment()["PYTHONPATH"]
        self.variables = {
            "FAULTS_CLOCK": str(path),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "clock"), plain]),
        }

    def set(self, seconds: float, zone: str = "UTC") -> None:
        part = self._path.with_suffix(".part")
        part.write_text(f"{seconds} {zone}", encoding="ascii")
        part.replace(self._path)
        self.jumps += 1

    @contextmanager
    def jumping(self) -> Generator[None]:
        over = threading.Event()

        def jump() -> None:
            while not over.wait(EVERY_S):
                self.set(*JUMPS[self.jumps % len(JUMPS)])

        thread = threading.Thread(target=jump, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class Pause:
    """The first call is told to wait, by seconds or by a date; the clock jumps while it waits."""

    def __init__(self, clock: Clock, seconds: float, *, date: bool) -> None:
        self.clock, self.seconds, self.date = clock, seconds, date
        self.lock = threading.Lock()
        self.calls: list[float] = []

    def __call__(self, handler: Any, call: Call) -> None:
        with self.lock:
            self.calls.append(time.monotonic())
            first = len(self.calls) == 1
        if not first:
            good()(handler, call)
            return
        value = email.utils.formatdate(time.time() + WAIT_S + 1, usegmt=True) if self.date else str(WAIT_S)
        reply(429, {"error": {"message": "wait"}}, {"retry-after": value})(handler, call)
        time.sleep(0.3)
        self.clock.set(self.seconds)

    @property
    def waited(self) -> float:
        """Seconds between the refusal and the next call; infinite where none came."""
        return self.calls[1] - self.calls[0] if len(self.calls) > 1 else float("inf")


def measure(options: Options) -> Sequence[Row]:
    """A whole run under jumps, and each kind of wait with a jump in it or before it."""
    whole, told = whole_run(options)
    with ThreadPoolExecutor(options.jobs) as pool:
        waits = {
            f"{kind}, {name}": pool.submit(wait, options, f"{place}-{name}", seconds)
            for name, seconds in (("back", -HOUR), ("forward", HOUR))
            for place, (kind, wait) in enumerate(WAITS.items())
        }
    results = {name: future.result() for name, future in waits.items()}
    wrong = [name for name, right in results.items() if not right]
    figure = f"waits as long as asked for {len(results) - len(wrong)} of {len(results)}"
    figure += f" (not: {'; '.join(wrong)})" * bool(wrong) + f"; {told}"
    fault = "the clock jumps by an hour to 400 days, back and forth, and the time zone with it"
    return [Row(25, fault, len(results) + 1, whole and not wrong, figure, options.seed)]


def whole_run(options: Options) -> tuple[bool, str]:
    """A run whose clock jumps all the time gives the bytes of one whose clock does not, and no time below zero."""
    plain, clock = undisturbed(options.root), Clock(options.work / "clock-run")
    trial = plain.twin(options.work / "jumping", more=clock.variables)
    with clock.jumping():
        trial.finished()
    other = differences(plain.trial.contents(), trial.contents())
    below, rounds = _times(trial)
    order = rounds == sorted(rounds)
    figure = (
        f"a run with {clock.jumps} jumps: files that differ from an undisturbed run {len(other)}, times below zero "
        f"{below}, rounds {'in order' if order else 'OUT OF ORDER'}"
    )
    same = trial.tracked() == plain.trial.tracked()
    return not other and not below and order and same and clock.jumps > 0, figure


def _times(trial: Trial) -> tuple[int, list[int]]:
    """How many of a report's durations are negative, and the numbers of its rounds as they stand there."""
    (path,) = (trial.store / "artefacts").glob("run/run-*/report.json")
    told = json.loads(path.read_text(encoding="utf-8"))
    spans = [told["seconds"], *(each["seconds"] for each in told["rounds"])]
    return sum(value < 0 for span in spans for value in span.values()), [each["round"] for each in told["rounds"]]


def cool_down(options: Options, name: str, seconds: float, *, date: bool = False, before: bool = False) -> bool:
    """Whether a call that was told to wait did so, neither more nor less. `before`: the clock was wrong already."""
    clock = Clock(options.work / f"clock-{name}")
    clock.set(seconds if before else 0)
    step = Pause(clock, seconds, date=date)
    told = _asked(options, step, name, clock, {"concurrency": 1})
    # A date is in whole seconds.
    return not told.error and not told.failures and WAIT_S - 1.5 * date <= step.waited <= WAIT_S + 1 + SLACK_S


def rate_window(options: Options, name: str, seconds: float) -> bool:
    """Whether requests stay as far apart as the limit says, with a jump in the middle of them."""
    clock = Clock(options.work / f"clock-{name}")
    clock.set(0)
    came: list[float] = []

    def step(handler: Any, call: Call) -> None:
        came.append(time.monotonic())
        if len(came) == CALLS // 2:
            clock.set(seconds)
        good()(handler, call)

    told = _asked(options, step, name, clock, {"concurrency": 1, "requests_per_minute": PER_MINUTE})
    least = (CALLS - 1) * 60 / PER_MINUTE
    return not told.error and len(came) == CALLS and least - 1 <= came[-1] - came[0] <= least + SLACK_S


WAITS: dict[str, Callable[[Options, str, float], bool]] = {
    "cool-down": cool_down,
    "cool-down until a date": partial(cool_down, date=True),
    "clock wrong before a date": partial(cool_down, date=True, before=True),
    "rate window": rate_window,
}


def _asked(options: Options, step: Any, name: str, clock: Clock, limits: dict[str, Any]) -> Told:
    with Desk(step, delay=0.0) as desk:
        wish = Wish(desk.url, str(options.work / name), CALLS, limits=limits, tell=False)
        return told_by(start(wish, **clock.variables))
