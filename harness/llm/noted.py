"""Which calls an artefact was made with: kept in it, so that a run that finds it knows what it stands on.

A run's own spending says what *it* paid. Where runs share calls, that depends on which of them came first; what the
answers cost does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.llm.client import Llm, OnDone, Outcome, Request
from harness.store import read_json, write_json

CALLS = "calls.json"


class Noted:
    """The `Llm` that it wraps; `keys` are the calls that went through it, sorted."""

    def __init__(self, llm: Llm) -> None:
        self._llm = llm
        self._keys: set[str] = set()

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(self._keys))

    def key(self, request: Request) -> str:
        return self._llm.key(request)

    async def ask_many(self, requests: Sequence[Request], on_done: OnDone | None = None) -> list[Outcome]:
        self._keys |= {self.key(request) for request in requests}
        return await self._llm.ask_many(requests, on_done)


def write_calls(folder: Path, noted: Noted) -> None:
    write_json(folder / CALLS, tuple[str, ...], noted.keys)


def read_calls(folder: Path) -> tuple[str, ...]:
    """The keys of the calls that the artefact in `folder` was made with; none of one made before they were kept."""
    path = folder / CALLS
    return read_json(path, tuple[str, ...]) if path.exists() else ()
