"""The call cache on a real file: what survives, what is not trusted, and who may read it."""

from __future__ import annotations

import logging
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.llm.cache import CallCache, Entry
from harness.records import Cost

COST = Cost(calls=1, prompt_tokens=10, completion_tokens=5, usd=0.25)
REQUEST = {"prompt": "Who ?", "n": 1}
ANSWER = {"choices": [["Jane Austen", "stop"]]}


def fill(path: Path) -> None:
    with CallCache(path) as cache:
        cache.put("k1", REQUEST, ANSWER, "run", COST)


def set_aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("calls.sqlite.set-aside-*"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "calls.sqlite"


def test_answers_and_requests_come_back_in_another_process_life(path: Path):
    fill(path)
    with CallCache(path) as cache:
        assert cache.answer_of("k1") == ANSWER
        assert cache.request_of("k1") == REQUEST
        assert cache.answer_of("k2") is None
        assert cache.request_of("k2") is None


def test_an_answer_is_on_disk_before_the_cache_is_closed(path: Path):
    with CallCache(path) as cache:
        cache.put("k1", REQUEST, ANSWER, "run", COST)
        with CallCache(path) as other:
            assert other.answer_of("k1") == ANSWER


def test_several_answers_are_written_together_or_not_at_all(path: Path):
    entries = [Entry(f"k{number}", REQUEST, ANSWER, COST) for number in range(3)]
    with CallCache(path) as cache:
        cache.put_all(entries, "run")
        assert [cache.answer_of(entry.key) for entry in entries] == [ANSWER] * 3
        assert cache.spent("run") == COST + COST + COST
        cache._db.execute("PRAGMA max_page_count = 1")  # pyright: ignore[reportPrivateUsage]
        big = [Entry("new", REQUEST, ANSWER, COST), Entry("big", {"prompt": "x" * 1_000_000}, ANSWER, COST)]
        with pytest.raises(StoreError, match="full"):
            cache.put_all(big, "run")
        assert cache.answer_of("new") is None
        assert cache.spent("run") == COST + COST + COST


def test_ledger_adds_up_per_scope(path: Path):
    fill(path)
    with CallCache(path) as cache:
        cache.spend("run", Cost(failed=1))
        cache.spend("other", COST)
        assert cache.spent("run") == COST + Cost(failed=1)
        assert cache.spent("other") == COST
        assert cache.spent("new") == Cost()


def test_what_was_spent_at_a_point_is_what_the_first_process_found_there(path: Path):
    with CallCache(path) as cache:
        assert cache.first_spent("run", "start") == Cost()
        cache.spend("run", COST)
        assert cache.first_spent("run", "round 1") == COST
        cache.spend("run", COST)
    with CallCache(path) as cache:
        assert cache.first_spent("run", "start") == Cost()
        assert cache.first_spent("run", "round 1") == COST
        assert cache.first_spent("run", "round 2") == COST + COST
        assert cache.first_spent("other", "round 1") == Cost()
        assert cache.spent("run") == COST + COST


def test_what_two_processes_spend_at_once_counts_for_both_at_a_point(path: Path):
    with CallCache(path) as one, CallCache(path) as other:
        one.spend("run", COST)
        other.spend("run", COST)
        assert one.first_spent("run", "end") == other.first_spent("run", "end") == COST + COST


def test_a_new_file_waits_for_a_process_that_is_at_it_too(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    # What sqlite answers at once with "database is locked", whatever its time-out, where the log is asked for.
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.rollback).start()
    with CallCache(path) as cache:
        cache.put("k", {}, {}, "run", Cost(calls=1))
        assert cache.spent("run").calls == 1
    other.close()


def test_only_the_owner_may_read_it(path: Path):
    path.parent.mkdir()
    path.touch(0o644)
    with CallCache(path) as cache:
        cache.put("k1", REQUEST, ANSWER, "run", COST)
        files = list(path.parent.iterdir())
        assert len(files) == 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize("column", ["request", "answer", "sha256", "key"])
def test_a_changed_row_is_a_miss_with_a_warning(path: Path, column: str, caplog: pytest.LogCaptureFixture):
    fill(path)
    db = sqlite3.connect(path)
    with db:
        db.execute(f"UPDATE calls SET {column} = 'x1'")  # noqa: S608
    db.close()
    with CallCache(path) as cache:
        assert cache.answer_of("x1" if column == "key" else "k1") is None
    assert "does not match its checksum" in caplog.text


def test_a_file_that_is_no_database_is_set_aside(path: Path, caplog: pytest.LogCaptureFixture):
    path.parent.mkdir()
    path.write_bytes(b"something else entirely" * 100)
    with CallCache(path) as cache:
        assert cache.answer_of("k1") is None
        cache.put("k1", REQUEST, ANSWER, "run", COST)
        assert cache.answer_of("k1") == ANSWER
    [kept] = set_aside(path)
    assert kept.read_bytes().startswith(b"something else")
    assert "it was renamed to" in caplog.text


@pytest.mark.parametrize("pragma", ["user_version = 99", "application_id = 7"])
def test_a_file_of_another_version_is_set_aside(path: Path, pragma: str, caplog: pytest.LogCaptureFixture):
    fill(path)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA {pragma}")
    db.close()
    with CallCache(path) as cache:
        assert cache.answer_of("k1") is None
    assert len(set_aside(path)) == 1
    assert "not 1 of this one" in caplog.text


def test_a_file_damaged_inside_is_set_aside_when_that_shows(path: Path):
    with CallCache(path) as cache:
        for number in range(300):
            cache.put(f"k{number}", {"prompt": "x" * 500}, ANSWER, "run", COST)
    data = bytearray(path.read_bytes())
    data[4096 * 3 :] = b"\xff" * (len(data) - 4096 * 3)
    path.write_bytes(data)
    with CallCache(path) as cache:
        assert [cache.answer_of(f"k{number}") for number in range(300)] == [None] * 300
        cache.put("k1", REQUEST, ANSWER, "run", COST)
        assert cache.answer_of("k1") == ANSWER
    assert len(set_aside(path)) == 1


def test_of_two_processes_that_meet_the_damage_the_second_takes_over_the_firsts_fresh_file(path: Path):
    with CallCache(path) as cache:
        for number in range(300):
            cache.put(f"k{number}", {"prompt": "x" * 500}, ANSWER, "run", COST)
    with CallCache(path) as one, CallCache(path) as two:
        with path.open("r+b") as file:
            file.seek(4096 * 3)
            file.write(b"\xff" * (path.stat().st_size - 4096 * 3))
        assert [one.answer_of(f"k{number}") for number in range(300)] == [None] * 300
        one.put("fresh", REQUEST, ANSWER, "run", COST)
        assert [two.answer_of(f"k{number}") for number in range(300)] == [None] * 300
        assert two.answer_of("fresh") == ANSWER
        two.put("more", REQUEST, ANSWER, "run", COST)
        assert one.answer_of("more") == ANSWER
        assert len([one for one in set_aside(path) if not one.name.endswith(("-wal", "-shm"))]) == 1


def test_a_closed_cache_sets_nothing_aside(path: Path):
    cache = CallCache(path)
    cache.close()
    with pytest.raises(StoreError, match="closed database"):
        cache.spend("run", COST)
    assert set_aside(path) == []


def test_a_healthy_cache_is_silent(path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    fill(path)
    fill(path)
    assert caplog.text == ""
    assert set_aside(path) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "store").write_text("a file, not a folder")
    with pytest.raises(StoreError, match=r"call cache .*calls\.sqlite.* cannot be used.*runtime\.store"):
        CallCache(tmp_path / "store" / "calls.sqlite")


def test_a_full_disk_is_said_and_loses_nothing(path: Path):
    fill(path)
    with CallCache(path) as cache:
        cache._db.execute("PRAGMA max_page_count = 1")  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(StoreError, match="full"):
            cache.put("big", {"prompt": "x" * 1_000_000}, ANSWER, "run", COST)
        assert cache.answer_of("k1") == ANSWER
    assert set_aside(path) == []
