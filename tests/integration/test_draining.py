"""Ctrl-C and SIGTERM while calls are in flight, against an endpoint on a real socket."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from endpoint import Call, ScriptedEndpoint, good, hang
from factories import make_spec

from harness.engine import Job, run_apart
from harness.interrupts import Terminated, on_interrupt, stop
from harness.llm.cache import CALLS_FILE, CallCache
from harness.llm.client import Request, open_client
from harness.spec import Spec

WIDTH = 3
Step = Callable[[Any, Call], None]


def spec_for(url: str) -> Spec:
    place = {"base_url": url, "model": "model-a"}
    return make_spec(llm={"generator": place}, runtime={"limits": {"generator": {"concurrency": WIDTH}}})


def ask(url: str, store: Path, count: int = 12) -> None:
    requests = [Request("generator", f"Question {number}:", 0.9, 40, n=1, seed=3) for number in range(count)]
    with open_client(spec_for(url), store, scope="run") as client:
        asyncio.run(client.ask_many(requests))


def kept(store: Path) -> int:
    with CallCache(store / CALLS_FILE) as cache:
        return cache.spent("run").calls


@contextmanager
def answering_after_a_signal(*numbers: int) -> Generator[ScriptedEndpoint]:
    """An endpoint that sends the signals to this process once `WIDTH` calls wait for it, and answers them later."""
    arrived = threading.Semaphore(0)
    sent = threading.Event()

    def step(handler: Any, call: Call) -> None:
        arrived.release()
        sent.wait(60)
        good()(handler, call)

    def tell() -> None:
        for _ in range(WIDTH):
            arrived.acquire(timeout=60)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.2)
        sent.set()

    teller = threading.Thread(target=tell)
    with ScriptedEndpoint(otherwise=step) as endpoint:
        teller.start()
        yield endpoint
        teller.join()


@pytest.mark.parametrize(
    ("numbers", "raised"),
    [
        ((signal.SIGINT,), KeyboardInterrupt),
        ((signal.SIGTERM,), Terminated),
        # A terminal has told a run, and then its engine does.
        ((signal.SIGINT, signal.SIGTERM), KeyboardInterrupt),
    ],
)
def test_answers_in_flight_are_kept_and_nothing_new_is_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, numbers: tuple[int, ...], raised: type[BaseException]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with answering_after_a_signal(*numbers) as endpoint:
        with pytest.raises(KeyboardInterrupt) as found, on_interrupt(stop):
            ask(endpoint.url, tmp_path)
        assert type(found.value) is raised
        assert len(endpoint.calls) == kept(tmp_path) == WIDTH
        assert caplog.messages == [
            f"waiting for {WIDTH} calls in flight, which are paid for; Ctrl-C again does not wait."
        ]
        ask(endpoint.url, tmp_path)
        assert len(endpoint.calls) == kept(tmp_path) == 12
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    def step(handler: Any, call: Call) -> None:
        if len(endpoint.calls) == WIDTH:
            threading.Thread(target=twice).start()
        hang()(handler, call)

    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    with ScriptedEndpoint(otherwise=step) as endpoint:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            ask(endpoint.url, tmp_path)
        # Its calls would time out after a minute.
        assert time.monotonic() - start < 20
        assert kept(tmp_path) == 0


def asks(spec: Spec, base: Path) -> None:
    """What a process of a suite does here: a run that only asks."""
    with on_interrupt(stop):
        ask(spec.llm.generator.base_url, base)


def test_processes_of_a_suite_keep_what_is_in_flight_when_it_is_stopped(tmp_path: Path) -> None:
    with answering_after_a_signal(signal.SIGTERM) as endpoint:
        job = Job("one", spec_for(endpoint.url), tmp_path)
        with pytest.raises(Terminated):
            run_apart([job], asks, lambda ended: None, at_a_time=1, log=tmp_path / "logs")
        assert len(endpoint.calls) == kept(tmp_path) == WIDTH
    said = (tmp_path / "logs" / "one.log").read_text(encoding="utf-8")
    assert said == f"waiting for {WIDTH} calls in flight, which are paid for; Ctrl-C again does not wait.\n"
