"""Rows of `scripts/faults` that judge what they counted: each of them can say no. The faults are for the script."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from faultlist import interrupts, mislabelled, narrowing, oversubscribed, sealed, spending
from faultlist.digests import CHANGES, Rows
from faultlist.interrupts import Stop
from faultlist.jumps import HOUR, Clock
from faultlist.mislabelled import Caught
from faultlist.narrowing import Found
from faultlist.oversubscribed import Speeds
from faultlist.row import Row, table
from faultlist.spending import Whole

NOW = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp(), time.tzname[0])"


def test_a_fault_that_this_machine_does_not_allow_is_neither_held_nor_not() -> None:
    (line,) = table([Row(36, "fault", 0, None, "root may write", 0)], "abc").splitlines()[-1:]
    assert "| not tried |" in line


def test_an_answer_in_flight_that_is_lost_or_waited_for_in_vain_does_not_hold() -> None:
    def held(kept: int = 4, code: int = 130, twice: float = 2.0, other: int = 0) -> bool | None:
        second = Stop(130, 130, twice, in_flight=4, kept=0)
        return interrupts.row([Stop(code, 130, 1.5, in_flight=4, kept=kept)], second, other, 0, 0).held

    assert held()
    assert not held(kept=3)
    assert not held(code=1)
    assert not held(twice=20.5)
    assert not held(other=1)


def test_what_the_label_check_caught_is_counted_once() -> None:
    asked = {"label": "HUM"}
    candidates = [{"id": f"c{place}", "call": "k", "index": place, "example": asked} for place in range(5)]
    truth = dict(zip([("k", place) for place in range(6)], ["HUM", "HUM", "LOC", "LOC", "LOC", "HUM"], strict=True))

    def verdict(place: int, decision: str, label: str | None = None) -> dict[str, str | None]:
        return {"candidate": f"c{place}", "filter": "consistency", "decision": decision, "label": label}

    verdicts = [
        verdict(0, "keep"), verdict(1, "drop"), verdict(2, "keep"), verdict(3, "relabel", "LOC"), verdict(4, "drop")
    ]  # fmt: skip
    found = mislabelled.caught(candidates, verdicts, truth)
    assert (found.planted, found.planted_kept, found.mended, found.right, found.right_lost) == (3, 1, 1, 2, 1)
    assert (round(found.recall, 2), round(found.precision, 2)) == (0.67, 0.67)
    assert sum(found.reasons.values()) == len(truth)


def test_a_label_check_that_lets_errors_through_or_loses_an_answer_does_not_hold() -> None:
    reasons = {"kept as asked": 100}
    assert mislabelled.row(Caught(20, 2, 10, 80, 4, reasons), 100, 0).held
    assert not mislabelled.row(Caught(20, 10, 10, 80, 4, reasons), 100, 0).held
    assert not mislabelled.row(Caught(20, 2, 10, 80, 60, reasons), 100, 0).held
    assert not mislabelled.row(Caught(20, 2, 10, 80, 4, reasons), 101, 0).held


def test_replacing_loses_words_and_accumulating_keeps_them() -> None:
    chance = random.Random(0)
    texts = [" ".join(f"w{min(int(chance.expovariate(0.01)), 900)}" for _ in range(6)) for _ in range(4_000)]
    words = {kind: narrowing.sequence(kind, texts, random.Random(1)) for kind in narrowing.KINDS}
    first, last = words["replace"][-1]
    assert last < first
    assert words["accumulate"][-1] == words["healthy"][-1] == (first, first)
    batches, later, anchors, _ = words["replace"]
    assert {len(one) for one in (*batches, *later)} == {narrowing.ITEMS}
    assert not set(anchors) & {text for one in (*batches, *later) for text in one}


def test_a_collapse_that_is_not_seen_and_a_false_alarm_do_not_hold() -> None:
    def found(replaced: int | None, healthy: int | None, status: str = "ok") -> bool | None:
        sequences = [Found("replace", replaced, "alarm", (9, 3))] * 5 + [Found("accumulate", None, "ok", (9, 9))] * 5
        return narrowing.row([*sequences, *[Found("healthy", healthy, status, (9, 9))] * 20], 0).held

    assert found(2, None)
    assert not found(None, None)
    assert not found(6, None)
    assert not found(2, 3)
    assert not found(2, None, "insufficient")


def test_a_choice_of_threads_that_is_slower_does_not_hold() -> None:
    slow, fast, mixed = [50.0] * 8, [90.0] * 8, [40.0, 99.0] * 4
    assert oversubscribed.row(Speeds(1, 2, {"1": fast, "2": slow}), 0).held
    assert oversubscribed.row(Speeds(2, 2, {"1": fast, "2": mixed}), 0).held
    assert not oversubscribed.row(Speeds(2, 2, {"1": fast, "2": slow}), 0).held


def test_a_budget_that_is_exceeded_or_never_reached_does_not_hold() -> None:
    def held(
        over: float = 4, twice: int = 42, variant: int = 40, came: int = 43, code: int = 0, seconds: float = 3.5
    ) -> bool | None:
        return spending.row(
            {"calls": over, "usd": 0}, [40, variant], twice, seconds, Whole(came, killed=True, code=code), 0
        ).held

    assert held()
    assert not held(over=9)
    assert not held(seconds=-1)
    assert not held(seconds=9.0)
    assert not held(over=-1)
    assert not held(twice=80)
    assert not held(variant=41)
    assert not held(came=20)
    assert not held(code=1)


def test_each_change_of_a_data_set_is_one() -> None:
    for change in CHANGES.values():
        rows: Rows = [(f"text {place}", "HUM", ("a", "b", "c")) for place in range(12_000)]
        before = list(rows)
        change(rows)
        assert sum(one != other for one, other in zip(rows, before, strict=True)) == 1


def test_the_clock_of_a_process_jumps(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")

    def now() -> tuple[float, float, str]:
        done = subprocess.run(
            [sys.executable, "-c", NOW], env={**os.environ, **clock.variables}, capture_output=True, check=True
        )
        seconds, moment, zone = done.stdout.decode().split()
        return float(seconds), float(moment), zone

    clock.set(0)
    plain = now()
    clock.set(-HOUR, "Asia/Kolkata")
    back = now()
    assert abs(plain[0] - plain[1]) < 5
    assert HOUR - 60 < plain[0] - back[0] < HOUR
    assert abs(back[0] - back[1]) < 5
    assert (plain[2], back[2]) == ("UTC", "IST")


def test_what_is_sealed_cannot_be_written_and_is_as_before_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o700)
    (folder / "file").write_text("x")
    write = [sys.executable, "-c", sealed.WRITE, str(folder)]
    with sealed.read_only(folder):
        assert subprocess.run(write, preexec_fn=sealed.powerless, capture_output=True, check=False).returncode
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not subprocess.run(write, preexec_fn=sealed.powerless, check=False).returncode
    assert json.dumps(sorted(path.name for path in folder.iterdir())) == '["file", "probe"]'
