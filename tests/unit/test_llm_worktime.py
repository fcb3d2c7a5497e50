"""How long a run was worked on, over its processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.llm import worktime
from harness.llm.cache import CallCache


class Watch:
    """Stands for `time`; only `monotonic` is asked for."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    found = Watch()
    monkeypatch.setattr(worktime, "time", found)
    return found


def test_a_second_process_goes_on_from_the_first_and_other_runs_have_their_own(tmp_path: Path, watch: Watch) -> None:
    for before in (0.0, 5.0):
        with CallCache(tmp_path / "calls.sqlite") as cache, worktime.worktime(cache, "run") as worked:
            assert worked() == before
            watch.now += 5
            assert worked() == before + 5
        watch.now += 100
    with CallCache(tmp_path / "calls.sqlite") as cache, worktime.worktime(cache, "another") as worked:
        assert worked() == 0


def test_two_processes_at_once_share_one_clock(tmp_path: Path, watch: Watch) -> None:
    with (
        CallCache(tmp_path / "calls.sqlite") as here,
        CallCache(tmp_path / "calls.sqlite") as there,
        worktime.worktime(here, "run") as one,
        worktime.worktime(there, "run") as two,
    ):
        for _ in range(10):
            watch.now += 2
            one()
            two()
        assert one() >= 38
        assert two() == 40


def test_a_kill_loses_what_came_after_the_last_look(tmp_path: Path, watch: Watch) -> None:
    with CallCache(tmp_path / "calls.sqlite") as cache:
        killed = worktime.worktime(cache, "run")
        worked = killed.__enter__()
        watch.now += 5
        assert worked() == 5
        watch.now += 0.5
        assert worked() == 5.5
        assert cache.worked("run") == 5
