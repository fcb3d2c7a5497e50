"""Records that stay on disk. A run may have hundreds of thousands of rows; in memory is where each begins, 8 bytes.

`Lines` reads a file that is there, `Kept` takes what has no file yet. Every look at a record reads it anew, so whoever
needs one several times keeps it for as long as that takes.
"""

from __future__ import annotations

import os
import tempfile
from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate, chain
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from harness.errors import StoreError
from harness.store import adapter, dumps, each_line

T = TypeVar("T")
BLOCK = 256
"""Records whose bytes are read at a time."""


class Rows(Sequence[T]):
    """A sequence whose items are made when they are asked for; equal to any sequence of equal items."""

    @abstractmethod
    def _at(self, place: int) -> T:
        """The item at this place, which is there."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self._at(place) for place in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return self._at(place)

    def __iter__(self) -> Iterator[T]:
        return (self._at(place) for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class Lines(Rows[T]):
    """The records of a file, as `harness.store.write_lines` wrote it."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path = path
        self._kind = kind
        self._starts = _starts(path)
        self._block = 0, b""
        # Who goes through the file often looks at a record several times before the next one.
        self._last: tuple[int, T] | None = None

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[T]:
        return each_line(self._path, self._kind)

    def _at(self, place: int) -> T:
        if self._last is not None and self._last[0] == place:
            return self._last[1]
        begin, end = self._starts[place], self._starts[place + 1]
        if not self._block[0] <= begin < self._block[0] + len(self._block[1]):
            self._block = self._read(place // BLOCK * BLOCK)
        first, held = self._block
        found = adapter(self._kind).validate_json(held[begin - first : end - first])
        self._last = place, found
        return found

    def _read(self, first: int) -> tuple[int, bytes]:
        """Where the block that begins with this record does, and its bytes."""
        begin, end = self._starts[first], self._starts[min(first + BLOCK, len(self))]
        with self._path.open("rb", buffering=0) as file:
            file.seek(begin)
            return begin, file.read(end - begin)


def _starts(path: Path) -> array[int]:
    """Where each record of a file begins, and where the last one ends."""
    found = array("q")
    at = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                found.append(at)
            at += len(line)
    found.append(at)
    return found


class Joined(Rows[T]):
    """Several sequences as one."""

    def __init__(self, parts: Iterable[Sequence[T]]) -> None:
        self._parts = tuple(parts)
        self._ends = list(accumulate(map(len, self._parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._parts)

    def _at(self, place: int) -> T:
        part = bisect_right(self._ends, place)
        return self._parts[part][place - (self._ends[part - 1] if part else 0)]


class Kept(Rows[T], Generic[T]):
    """Records put aside in a file that has no name and goes with this process, until they are written where they
    belong. Raises `StoreError` where the disk does not take them."""

    def __init__(self, folder: Path, kind: type[T]) -> None:
        self._folder = folder
        self._kind = kind
        self._starts = array("q", [0])
        self._unread = False
        with self._told():
            self._file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # What a full disk did not take is tried again here, and nobody needs it any more.
        with suppress(OSError):
            self._file.close()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def append(self, value: T) -> None:
        line = dumps(self._kind, value) + b"\n"
        with self._told():
            self._file.write(line)
        self._starts.append(self._starts[-1] + len(line))
        self._unread = True

    def _at(self, place: int) -> T:
        return adapter(self._kind).validate_json(self._line(place))

    def _line(self, place: int) -> bytes:
        if self._unread:
            with self._told():
                self._file.flush()
            self._unread = False
        begin = self._starts[place]
        return os.pread(self._file.fileno(), self._starts[place + 1] - begin, begin)

    def write(self, path: Path, order: Iterable[int] | None = None) -> None:
        """Write what `write_lines` would, in the order of these places; without them, in that of coming."""
        with path.open("wb") as file:
            file.writelines(self._line(place) for place in (range(len(self)) if order is None else order))

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"cannot write to {str(self._folder)!r}: {error.strerror or error}. Nothing that was finished is lost; "
                "free some space or choose another folder with `--set runtime.store=DIR`, then run the same command "
                "again."
            ) from error
