import errno
import io
from array import array
from pathlib import Path
from types import SimpleNamespace

import pytest
from filter_cases import candidate

from harness.errors import StoreError
from harness.lines import BLOCK, Joined, Kept, Lines
from harness.records import Candidate
from harness.store import read_lines, write_lines

ROWS = [candidate(number, f"Who is “{number}” ?" * (1 + number % 3)) for number in range(2 * BLOCK + 7)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_lines(tmp_path / "rows.jsonl", Candidate, ROWS)
    return tmp_path / "rows.jsonl"


def test_a_file_is_read_as_the_sequence_that_was_written(path: Path) -> None:
    rows = Lines(path, Candidate)
    assert len(rows) == len(ROWS)
    assert rows == ROWS == list(rows) == [rows[place] for place in range(len(ROWS))]
    assert rows != ROWS[1:]
    assert rows != [*ROWS[1:], ROWS[0]]
    assert rows != "text"


@pytest.mark.parametrize("place", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 6, -1, -BLOCK, 3])
def test_any_record_is_found_in_any_order(path: Path, place: int) -> None:
    rows = Lines(path, Candidate)
    assert [rows[place], rows[5], rows[place]] == [ROWS[place], ROWS[5], ROWS[place]]
    assert rows[place:] == ROWS[place:]


@pytest.mark.parametrize("place", [len(ROWS), -len(ROWS) - 1])
def test_there_is_no_record_beyond_the_ends(path: Path, place: int) -> None:
    with pytest.raises(IndexError):
        Lines(path, Candidate)[place]


def test_empty_files_and_empty_lines_hold_no_records(path: Path) -> None:
    path.write_bytes(b"\n" + path.read_bytes().replace(b"\n", b"\n\n", 2))
    assert Lines(path, Candidate)[:3] == ROWS[:3]
    path.write_bytes(b"")
    assert Lines(path, Candidate) == ()


def test_several_sequences_are_one(path: Path) -> None:
    joined = Joined([ROWS[:2], (), Lines(path, Candidate), ROWS[:1]])
    whole = [*ROWS[:2], *ROWS, ROWS[0]]
    assert joined == whole == [joined[place] for place in range(len(joined))]
    assert (joined[-1], Joined[int]([])) == (ROWS[0], [])


def test_what_is_put_aside_is_read_and_written_as_it_came_or_in_another_order(tmp_path: Path) -> None:
    with Kept(tmp_path, Candidate) as kept:
        for row in ROWS[:5]:
            kept.append(row)
        assert kept == ROWS[:5]
        kept.append(ROWS[5])
        assert kept[5] == ROWS[5]
        assert list(tmp_path.iterdir()) == []
        kept.write(tmp_path / "as it came")
        kept.write(tmp_path / "turned", array("q", [3, 0, 5]))
    write_lines(tmp_path / "expected", Candidate, ROWS[:6])
    assert (tmp_path / "as it came").read_bytes() == (tmp_path / "expected").read_bytes()
    assert read_lines(tmp_path / "turned", Candidate) == [ROWS[3], ROWS[0], ROWS[5]]


class Full(io.BytesIO):
    """A file on a full disk, which shows when the file's buffer is written."""

    def __init__(self, dir: Path) -> None:  # noqa: A002 - the name that it has in `tempfile`
        super().__init__()

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        self.flush()


def test_a_disk_that_takes_nothing_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"cannot write to .*gone.*free some space or choose another folder"):
        Kept(tmp_path / "gone", Candidate)
    monkeypatch.setattr("harness.lines.tempfile", SimpleNamespace(TemporaryFile=Full))
    with Kept(tmp_path, Candidate) as kept:
        kept.append(ROWS[0])
        with pytest.raises(StoreError, match="No space left on device"):
            kept[0]
