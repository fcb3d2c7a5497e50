"""The rows of a wave while its calls are made: on disk in the order in which answers come, written in that of calls."""

from __future__ import annotations

from array import array
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from harness.generate.produce import Batch
from harness.lines import Kept
from harness.records import Candidate, ParseFailure


class KeptRows:
    """A `Made` (see `harness.generate.produce`) of so many calls that holds none of their rows in memory."""

    def __init__(self, folder: Path, calls: int) -> None:
        self._ended = bytearray(calls)
        self._files = ExitStack()
        self._candidates = self._files.enter_context(Kept(folder, Candidate))
        self._failures = self._files.enter_context(Kept(folder, ParseFailure))
        # The call of each row, as they came.
        self._calls_of_candidates = array("q")
        self._calls_of_failures = array("q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._files.close()

    def __contains__(self, place: object) -> bool:
        return isinstance(place, int) and bool(self._ended[place])

    def __setitem__(self, place: int, rows: Batch) -> None:
        for one in rows.candidates:
            self._candidates.append(one)
            self._calls_of_candidates.append(place)
        for one in rows.failures:
            self._failures.append(one)
            self._calls_of_failures.append(place)
        self._ended[place] = 1

    def write(self, candidates: Path, failures: Path) -> None:
        """The rows of all calls in the order of these."""
        self._candidates.write(candidates, _by_call(self._calls_of_candidates))
        self._failures.write(failures, _by_call(self._calls_of_failures))


def _by_call(calls: array[int]) -> list[int]:
    """Places of rows by their calls; those of a call stay in their order."""
    return np.argsort(np.array(calls, dtype=np.int64), kind="stable").tolist()
