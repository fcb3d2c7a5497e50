from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from factories import make_spec

from harness import engine
from harness.engine import Ended, Job, plan_jobs, run_apart, run_here, shared_limits
from harness.errors import StoreError
from harness.spec import Spec
from harness.store import Store


def work(spec: Spec, base: Path) -> None:
    """Stands for a run: a shared artefact, one of its own, and the fault that its name asks for."""
    store = Store(base)
    print(f"{spec.name} says something")
    if spec.name == "refused":
        raise StoreError("no room")
    if spec.name == "broken":
        raise ZeroDivisionError("a defect")
    if spec.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)

    def build(folder: Path) -> None:
        time.sleep(0.2)
        (folder / "who").write_text(spec.name)
        with (base / "built").open("a") as file:
            file.write(f"{os.getpid()}\n")

    store.once("shared", 1, build, inputs={"a": 1})
    store.once("own", 1, lambda folder: (folder / "x").write_text(spec.name), inputs={"name": spec.name})


def jobs(base: Path, *names: str) -> list[Job]:
    return [Job(name, make_spec(name=name), base) for name in names]


def ran(base: Path, *names: str, apart: bool, fail_fast: bool = False) -> dict[str, str]:
    ended: dict[str, str] = {}

    def on_end(one: Ended) -> None:
        ended[one.job.name] = one.fault

    if apart:
        run_apart(jobs(base, *names), work, on_end, at_a_time=2, log=base / "logs", fail_fast=fail_fast)
    else:
        run_here(jobs(base, *names), work, on_end, fail_fast=fail_fast)
    return ended


@pytest.mark.parametrize("apart", [False, True])
def test_runs_share_artefacts_and_one_that_fails_costs_no_other(tmp_path: Path, *, apart: bool) -> None:
    ended = ran(tmp_path, "one", "refused", "broken", "two", apart=apart)
    assert set(ended) == {"one", "refused", "broken", "two"}
    assert (ended["one"], ended["two"], ended["refused"]) == ("", "", "no room")
    assert "this is a defect of the harness" in ended["broken"]
    assert "ZeroDivisionError: a defect" in ended["broken"]
    assert len((tmp_path / "built").read_text().splitlines()) == 1
    assert len(list(Store(tmp_path).ids("own"))) == 2


def test_in_processes_of_their_own_the_ids_are_those_of_one_after_another(tmp_path: Path) -> None:
    ran(tmp_path / "here", "one", "two", apart=False)
    ran(tmp_path / "apart", "one", "two", apart=True)
    assert list(Store(tmp_path / "here").ids()) == list(Store(tmp_path / "apart").ids())


def test_a_killed_process_fails_its_run_alone_and_says_where_to_look(tmp_path: Path) -> None:
    ended = ran(tmp_path, "killed", "one", apart=True)
    assert ended["one"] == ""
    assert "exit code -9" in ended["killed"]
    assert "killed.log" in ended["killed"]
    assert (tmp_path / "logs" / "one.log").read_text() == "one says something\n"


@pytest.mark.parametrize("apart", [False, True])
def test_fail_fast_starts_nothing_more(tmp_path: Path, *, apart: bool) -> None:
    ended = ran(tmp_path, "refused", "one", "two", "three", apart=apart, fail_fast=True)
    assert ended["refused"] == "no room"
    assert "three" not in ended


@pytest.mark.parametrize(
    ("cores", "memory", "threads", "embedded", "expected"),
    [
        (2, 16, 1, True, 1),
        (2, 16, 1, False, 2),
        (8, 64, 1, True, 3),
        (8, 3, 1, True, 1),
        (8, None, 1, False, 3),
        (8, 64, "auto", False, 1),
    ],
)
def test_the_default_goes_by_cores_and_memory(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory: int | None, threads: object, embedded: bool, expected: int
) -> None:
    monkeypatch.setattr(engine, "cores", lambda: cores)
    monkeypatch.setattr(engine, "free_memory", lambda: None if memory is None else memory * 10**9)
    generator = {} if embedded else {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    spec = make_spec(runtime={"threads": threads, "llm_threads": 1}, llm={"generator": generator})
    plan = plan_jobs([spec] * 3, None)
    assert plan.jobs == expected
    assert f"{cores} cores" in plan.why


def test_what_is_asked_for_is_done_but_no_more_than_there_are_runs() -> None:
    assert plan_jobs([make_spec()] * 3, 2).jobs == 2
    assert plan_jobs([make_spec()] * 3, 9).jobs == 3


def test_runs_at_a_time_share_what_an_endpoint_bears() -> None:
    limits = {"concurrency": 9, "requests_per_minute": 100, "timeout_s": 7}
    spec = make_spec(runtime={"limits": {"generator": limits, "judge": {"concurrency": 1}}})
    shares = shared_limits(spec, 4).runtime.limits
    generator, judge = shares["generator"], shares["judge"]
    assert (generator.concurrency, generator.requests_per_minute, generator.tokens_per_minute) == (2, 25, None)
    assert (generator.timeout_s, judge.concurrency) == (7, 1)
