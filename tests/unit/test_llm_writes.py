"""Answers on their way to disk, on a real file: written together, and there before anybody goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.llm.cache import CallCache, Entry
from harness.llm.writes import Writes
from harness.records import Cost

ANSWER = {"choices": [["Jane Austen", "stop"]]}


def entry(key: str, prompt: str = "Who ?") -> Entry:
    return Entry(key, {"prompt": prompt}, ANSWER, Cost(calls=1, prompt_tokens=2))


def on_disk(cache: CallCache) -> set[str]:
    """Keys that another process would see."""
    with closing(sqlite3.connect(cache.path)) as other:
        return {key for (key,) in other.execute("SELECT key FROM calls")}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CallCache]:
    with CallCache(tmp_path / "calls.sqlite") as opened:
        yield opened


def test_what_arrives_together_is_one_transaction_and_what_comes_later_another(cache: CallCache) -> None:
    statements: list[str] = []
    cache._db.set_trace_callback(statements.append)  # pyright: ignore[reportPrivateUsage]

    async def work() -> None:
        writes = Writes(cache, "run")
        await asyncio.gather(*[writes.put(entry(f"a{number}")) for number in range(20)])
        await writes.put(entry("b"))

    asyncio.run(work())
    assert sum(statement.startswith("COMMIT") for statement in statements) == 2
    assert len(on_disk(cache)) == 21
    assert cache.spent("run") == Cost(calls=21, prompt_tokens=42)


def test_nobody_goes_on_before_the_answer_is_on_disk(cache: CallCache) -> None:
    async def work() -> None:
        writes = Writes(cache, "run")

        async def one(key: str) -> set[str]:
            await writes.put(entry(key))
            return on_disk(cache)

        waiting = asyncio.create_task(one("k1"))
        await asyncio.sleep(0)
        assert on_disk(cache) == set()
        assert "k1" in await waiting

    asyncio.run(work())


def test_who_is_cancelled_while_waiting_has_the_answer_on_disk_all_the_same(cache: CallCache) -> None:
    async def work() -> None:
        writes = Writes(cache, "run")
        tasks = [asyncio.create_task(writes.put(entry(key))) for key in ("k1", "k2")]
        await asyncio.sleep(0)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        assert on_disk(cache) == {"k1", "k2"}
        await tasks[1]

    asyncio.run(work())
    assert cache.spent("run").calls == 2


def test_everybody_who_waits_is_told_that_the_disk_is_full(cache: CallCache) -> None:
    cache._db.execute("PRAGMA max_page_count = 1")  # pyright: ignore[reportPrivateUsage]

    async def work() -> list[BaseException | None]:
        writes = Writes(cache, "run")
        big = [writes.put(entry(key, "x" * 1_000_000)) for key in ("k1", "k2")]
        return await asyncio.gather(*big, return_exceptions=True)

    assert [type(found) for found in asyncio.run(work())] == [StoreError, StoreError]
    assert on_disk(cache) == set()
