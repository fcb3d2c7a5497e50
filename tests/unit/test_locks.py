from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.locks import claimed, held, is_held
from harness.store import LEFTOVER_AGE_S, PART, Store

HOLDER = """
import sys, time
from pathlib import Path
from harness.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_excludes_others_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    order: list[str] = []

    def second() -> None:
        with held(path):
            order.append("second")

    other = threading.Thread(target=second)
    with held(path):
        assert is_held(path)
        other.start()
        time.sleep(0.1)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert not is_held(path)
    assert list(path.parent.iterdir()) == []


def test_a_coroutine_that_waits_lets_others_go_on(tmp_path: Path) -> None:
    path, order = tmp_path / "a.lock", list[str]()

    async def one(name: str, seconds: float) -> None:
        async with claimed(path):
            await asyncio.sleep(seconds)
            order.append(name)

    async def other() -> None:
        order.append("other")

    async def all_three() -> None:
        first = asyncio.create_task(one("first", 0.1))
        await asyncio.sleep(0.01)
        await asyncio.gather(one("second", 0), other(), first)

    asyncio.run(all_three())
    assert order == ["other", "first", "second"]


def test_a_killed_holder_leaves_the_lock_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(path)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        if holder.stdout:
            holder.stdout.close()
    assert not is_held(path)
    with held(path):
        assert is_held(path)


def test_of_two_that_want_one_artefact_one_builds_it(tmp_path: Path) -> None:
    built: list[int] = []

    def build(folder: Path) -> None:
        time.sleep(0.1)
        built.append(threading.get_ident())
        (folder / "file").write_text("x")

    found = []

    def want() -> None:
        found.append(Store(tmp_path).once("thing", 1, build, inputs={"a": 1}))

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len({one.id for one in found}) == 1
    assert sorted(one.built for one in found) == [False, False, True]


@pytest.mark.parametrize("fails", [True, False])
def test_a_build_that_fails_leaves_the_next_one_free(tmp_path: Path, *, fails: bool) -> None:
    store = Store(tmp_path)

    def build(folder: Path) -> None:
        if fails:
            raise ValueError("no")
        (folder / "file").write_text("x")

    if fails:
        with pytest.raises(ValueError, match="no"):
            store.once("thing", 1, build, inputs={})
    else:
        store.once("thing", 1, build, inputs={})
    assert list((tmp_path / "locks").iterdir()) == []


def test_what_another_process_has_been_building_for_hours_is_not_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    before = time.time() - LEFTOVER_AGE_S - 60

    def build(folder: Path) -> None:
        (folder / "half").write_text("x")
        os.utime(folder, (before, before))
        assert Store(tmp_path).sweep() == 0
        assert (folder / "half").exists()

    store.once("thing", 1, build, inputs={})
    dead = tmp_path / "artefacts" / "thing" / f"{PART}thing-0123456789abcdef-x"
    dead.mkdir()
    os.utime(dead, (before, before))
    assert store.sweep() == 1


def test_a_lock_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    # A file in the place of the folder stops root, too, which permissions would not.
    (tmp_path / "locks").write_text("x")

    async def claim() -> None:
        async with claimed(tmp_path / "locks" / "a.lock"):
            pass

    with pytest.raises(StoreError, match=r"runtime\.store"):
        asyncio.run(claim())
