"""Model calls and embedding, timed wherever in a run they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.bench import Spender
from harness.embed import Embedder
from harness.llm.client import OnDone, OnEach, Outcome, Request
from harness.progress import CALLS, EMBEDDING, Watch
from harness.records import Cost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def embedded_by(watch: Watch) -> Callable[[int, int], None]:
    """What an embedder calls as `(done, total)` while it embeds texts that no cache holds."""

    def counted(done: int, total: int) -> None:
        watch.count(EMBEDDING, total if done == total else 0)

    return counted


class TimedLlm:
    """The client `llm`, whose time counts as `calls`."""

    def __init__(self, llm: Spender, watch: Watch) -> None:
        self._llm = llm
        self._watch = watch

    @property
    def spent(self) -> Cost:
        return self._llm.spent

    def first_spent(self, point: str) -> Cost:
        return self._llm.first_spent(point)

    @property
    def used(self) -> Cost:
        return self._llm.used

    def use(self, keys: Iterable[str]) -> None:
        self._llm.use(keys)

    def key(self, request: Request) -> str:
        return self._llm.key(request)

    async def ask_many(self, requests: Sequence[Request], on_done: OnDone | None = None) -> list[Outcome]:
        with self._counted():
            return await self._llm.ask_many(requests, on_done)

    async def ask_each(self, requests: Sequence[Request], on_each: OnEach) -> None:
        with self._counted():
            await self._llm.ask_each(requests, on_each)

    @contextmanager
    def _counted(self) -> Generator[None]:
        before = self._llm.spent.calls
        try:
            with self._watch.timed(CALLS):
                yield
        finally:
            self._watch.count(CALLS, self._llm.spent.calls - before)


class TimedEmbedder:
    """The embedder `embedder`, whose time counts as `embedding`."""

    def __init__(self, embedder: Embedder, watch: Watch) -> None:
        self._embedder = embedder
        self._watch = watch

    @property
    def id(self) -> str:
        return self._embedder.id

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with self._watch.timed(EMBEDDING):
            return self._embedder(texts)
