"""Stand-ins for the LLM, the embedder and the students. They fail on what they do not expect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.dataset import FILES
from harness.errors import BudgetError
from harness.llm.client import Answer, CallFailure, Choice, OnDone, OnEach, Outcome, Request, in_order
from harness.llm.wire import material
from harness.records import Cost, Example, Origin
from harness.store import Artefact, digest


@dataclass(frozen=True)
class Fails:
    """A scripted call that stays without an answer."""

    reason: str = "HTTP 500 after 6 attempts"


Reply = str | Sequence[str | Choice] | Fails
Script = Callable[[Request], Reply | None]
Table = Mapping[str | tuple[tuple[str, str], ...], Reply]


class UnexpectedRequestError(AssertionError):
    """The code under test asked for something that the script does not know."""


class ScriptedLlm:
    """Implements `Llm` and `Spender`: answers from a function (None is "unexpected") or a table of prompts.

    Like the real client it asks equal requests once, keeps what it answered, and lets `on_done` see outcomes in
    another order than the requests came in. `ask_many` goes through `ask_each`. `calls` is the budget; the call after
    it raises `BudgetError`.
    """

    def __init__(self, script: Script | Table, calls: int | None = None) -> None:
        self._script: Script = script if callable(script) else script_of(script)
        self._calls = calls
        self._known: dict[str, Outcome] = {}
        self.requests: list[Request] = []
        self.spent = Cost()
        self.used = Cost()
        self._points: dict[str, Cost] = {}

    def first_spent(self, point: str) -> Cost:
        return self._points.setdefault(point, self.spent)

    def use(self, keys: Iterable[str]) -> None:
        self.used += Cost(calls=len(set(keys)))

    def key(self, request: Request) -> str:
        return digest(material(request, {"base_url": "scripted", "model": request.role}))

    async def ask_many(self, requests: Sequence[Request], on_done: OnDone | None = None) -> list[Outcome]:
        return await in_order(self, requests, on_done)

    async def ask_each(self, requests: Sequence[Request], on_each: OnEach) -> None:
        for request in requests:
            if self.key(request) not in self._known:
                self._ask(request)
        for place in reversed(range(len(requests))):
            on_each(place, self._known[self.key(requests[place])])

    def _ask(self, request: Request) -> None:
        if self._calls is not None and self.spent.calls >= self._calls:
            raise BudgetError(f"budget.calls: {self._calls} calls allowed, no room for another call.")
        reply = self._script(request)
        if reply is None:
            raise UnexpectedRequestError(f"not in the script: {request!r}")
        self.requests.append(request)
        self.spent = self.spent + Cost(calls=1)
        key = self.key(request)
        if isinstance(reply, Fails):
            self._known[key] = CallFailure(key, reply.reason, Cost(failed=1))
            return
        texts = [reply] * request.n if isinstance(reply, str) else reply
        choices = tuple(text if isinstance(text, Choice) else Choice(text, "stop") for text in texts)
        self._known[key] = Answer(key, choices, Cost(calls=1))

    @property
    def bodies(self) -> str:
        """Everything that was sent, in one text."""
        return "\n".join(str(request.prompt) for request in self.requests)


def script_of(table: Table) -> Script:
    return lambda request: table.get(request.prompt)


def nobody(request: Request) -> None:
    """The script of an LLM that must not be asked at all."""


class HashEmbedder:
    """Counts of hashed character trigrams, as unit rows: texts that share most trigrams are near."""

    id = "trigrams@0"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        rows = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for start in range(len(text) - 2):
                row[hashlib.sha256(text[start : start + 3].encode()).digest()[0]] += 1
            row[0] += 1e-3
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class TableEmbedder:
    """Unit vectors in a plane from a table of angles in degrees; two texts have the cosine of their difference."""

    id = "angles@0"

    def __init__(self, angles: Mapping[str, float]) -> None:
        self._angles = angles

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        angles = np.deg2rad(np.array([self._angles[text] for text in texts], dtype=np.float64))
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32).reshape(len(texts), 2)


class WordStudents:
    """Students that see a label wherever its name stands in a text: `sure` for it, the rest spread over the others.

    They stand in for `Students` and, being no folds at all, for `CrossFitted`.
    """

    def __init__(self, labels: Sequence[str], seeds: Sequence[str] = (), sure: float = 0.9) -> None:
        self.labels = list(labels)
        self.adapters = ["adapter-of-words"]
        self._seeds = seeds
        self._sure = sure

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        out = np.full((len(texts), len(self.labels)), (1 - self._sure) / (len(self.labels) - 1))
        for row, text in zip(out, texts, strict=True):
            found = [index for index, label in enumerate(self.labels) if label.lower() in text.lower()]
            if found:
                row[found[0]] = self._sure
            else:
                row[:] = 1 / len(self.labels)
        return out

    def out_of_fold(self) -> NDArray[np.float64]:
        return self(self._seeds)

    def train(self, arm: str, rows: Sequence[Example], seed: int, parents: Mapping[str, str]) -> Artefact:
        ident = digest([arm, seed, [row.id for row in rows], dict(parents)])[:16]
        return Artefact(f"adapter-{ident}", Path("nowhere"), built=True)

    def probabilities(self, *given: Artefact | Sequence[str]) -> NDArray[np.float64]:
        """With an adapter before the texts as `Students`, without as `CrossFitted`."""
        return self(given[-1])  # type: ignore[arg-type]


def read_dataset(folder: Path) -> dict[str, list[Example]]:
    """`{"train": […], "validation": […]}`; slices come from the cell, whose values hold no `|`."""
    import pyarrow.parquet as pq

    return {
        name: [
            Example(row["id"], row["text"], row["label"], _values(row["cell"]), Origin.SYNTHETIC)
            for row in (pq.read_table(folder / "data" / file).to_pylist() if (folder / "data" / file).exists() else [])
        ]
        for name, file in FILES.items()
    }


def _values(cell: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in cell.split("|") if "=" in pair)
