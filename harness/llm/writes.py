"""Answers on their way to the call cache: those that arrive together are written together.

Waiting for the disk takes as long as dozens of answers take to be read, and every call in flight waits with it. So
nobody writes alone: an answer joins those that came in since the last write, and its call goes on once all of them are
on disk. Nothing is used that a kill could lose.
"""

from __future__ import annotations

import asyncio

from harness.llm.cache import CallCache, Entry


class Writes:
    """The writes of one event loop to one cache, all counted for `scope`."""

    def __init__(self, cache: CallCache, scope: str) -> None:
        self._cache = cache
        self._scope = scope
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []

    async def put(self, entry: Entry) -> None:
        """Returns once the answer is on disk; so does a cancellation. Raises `StoreError`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if not self._waiting:
            # Not at once: what else the loop has found to be ready comes first and joins in.
            loop.call_soon(self.flush)
        self._waiting.append((entry, done))
        try:
            await done
        except asyncio.CancelledError:
            self.flush()
            raise

    def flush(self) -> None:
        """Write what waits now. Those who wait for it get the error if there is one."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        error: Exception | None = None
        try:
            self._cache.put_all([entry for entry, _ in waiting], self._scope)
        except Exception as found:
            error = found
        for _, done in waiting:
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
