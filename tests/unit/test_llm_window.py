"""How many calls an endpoint gets at a time."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from harness.llm import pacing
from harness.llm.pacing import FASTER, SLOWER, Window


async def enter(window: Window, release: asyncio.Event, entered: list[int], number: int) -> None:
    async with window.entered():
        entered.append(number)
        await release.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_without_a_refusal_nobody_waits() -> None:
    async def check() -> None:
        window, release, entered = Window(), asyncio.Event(), list[int]()
        tasks = [asyncio.create_task(enter(window, release, entered, number)) for number in range(50)]
        await settle()
        assert entered == list(range(50))
        release.set()
        await asyncio.gather(*tasks)

    asyncio.run(check())


def test_calls_that_were_out_together_halve_once_and_answers_open_it_again() -> None:
    window = Window()

    async def check() -> None:
        release, entered = asyncio.Event(), list[int]()
        tasks = [asyncio.create_task(enter(window, release, entered, number)) for number in range(8)]
        await settle()
        for _ in range(8):
            window.overloaded(0)
        assert (window.size, window.cuts) == (4.0, 1)
        window.overloaded(1)
        assert window.size == 2.0
        release.set()
        await asyncio.gather(*tasks)

    asyncio.run(check())
    for _ in range(4):
        window.answered()
    assert 3.0 < window.size <= 4.0
    for cuts in range(window.cuts, window.cuts + 9):
        window.overloaded(cuts)
    assert window.size == 1.0


def test_who_finds_no_room_waits_for_it_in_turn() -> None:
    async def check() -> None:
        window, release, entered = Window(size=2.0), asyncio.Event(), list[int]()
        tasks = [asyncio.create_task(enter(window, release, entered, number)) for number in range(5)]
        await settle()
        assert entered == [0, 1]
        tasks[2].cancel()
        await settle()
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert entered == [0, 1, 3, 4]

    asyncio.run(check())


def test_a_call_that_is_cancelled_as_its_turn_comes_gives_its_place_back() -> None:
    async def check() -> None:
        window, first, second, entered = Window(size=1.0), asyncio.Event(), asyncio.Event(), list[int]()
        holder = asyncio.create_task(enter(window, first, entered, 0))
        await settle()
        waiting = asyncio.create_task(enter(window, second, entered, 1))
        await settle()
        first.set()
        await asyncio.wait([holder])
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        second.set()
        await asyncio.wait_for(enter(window, second, entered, 2), timeout=5)
        assert entered[-1] == 2

    asyncio.run(check())


def test_the_rate_follows_what_was_borne_and_rises_by_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr(pacing.time, "monotonic", lambda: clock[0])
    window = Window()
    for _ in range(20):
        window.answered()
    clock[0] += 2.0
    window.overloaded(0)
    assert window.rate == pytest.approx(SLOWER * 10, rel=0.01)
    window.answered()
    assert window.rate == pytest.approx(SLOWER * 10 + FASTER, rel=0.01)
    clock[0] += 100.0
    window.overloaded(1)
    assert window.rate == pytest.approx((SLOWER * 10 + FASTER) / 2, rel=0.01)
    before = window.rate
    window.overloaded(2)
    assert window.rate == before


def test_time_in_which_nothing_was_asked_makes_an_endpoint_no_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr(pacing.time, "monotonic", lambda: clock[0])

    async def check() -> None:
        window = Window()
        for _ in range(10):
            async with window.entered():
                clock[0] += 0.1
                window.answered()
            clock[0] += 600.0
        async with window.entered():
            window.overloaded(0)
        assert window.rate == pytest.approx(SLOWER * 10, rel=0.05)
        for cuts in range(1, 30):
            window.answered()
            clock[0] += 3600.0
            window.overloaded(cuts)
        assert window.rate >= FASTER

    asyncio.run(check())


def test_turns_are_as_far_apart_as_the_rate_says() -> None:
    async def check() -> float:
        window = Window(rate=50.0)
        began = time.monotonic()
        await asyncio.gather(*(window.turn() for _ in range(6)))
        return time.monotonic() - began

    assert 0.09 < asyncio.run(check()) < 2.0


def test_it_begins_without_a_bound() -> None:
    window = Window()
    window.answered()
    assert (window.size, window.rate) == (math.inf, math.inf)
