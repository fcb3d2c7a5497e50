"""Running the calls of one `ask_many` side by side, and stopping them without losing what is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Batch:
    """The calls of one `ask_many`. Once one of them raises, `stopped` is True and nobody sends anything new."""

    def __init__(self) -> None:
        self.stopped = False
        self._sending: set[asyncio.Task[Any]] = set()
        self._tasks: Sequence[asyncio.Task[None]] = ()

    @property
    def sending(self) -> int:
        """Calls whose request is out."""
        return len(self._sending)

    def stop(self) -> None:
        """Let what is on the wire finish and drop the rest."""
        self.stopped = True
        for task in {*self._tasks} - self._sending:
            task.cancel()

    @contextmanager
    def stopped_by_error(self) -> Generator[None]:
        """An error in here stops the batch at once, before the slot of this call goes to the next one."""
        try:
            yield
        except BaseException:
            self.stopped = True
            raise

    @contextmanager
    def on_the_wire(self) -> Generator[None]:
        """Marks the current task as having a request out, which a stop lets finish. After a stop it gets cancelled."""
        if self.stopped:
            raise asyncio.CancelledError
        with self.unstopped():
            yield

    @contextmanager
    def unstopped(self) -> Generator[None]:
        """A stop lets the current task finish what is in here: what has been received is kept."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call of a batch needs a running task")
        self._sending.add(task)
        try:
            yield
        finally:
            self._sending.discard(task)

    async def work(self, keys: Iterator[str], call: Callable[[str], Awaitable[None]]) -> None:
        """Make one call after another until a stop; who shares `keys` with others makes those that they leave."""
        for key in keys:
            if self.stopped:
                return
            await call(key)

    async def run(self, workers: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run all; at the first error let what is on the wire finish, drop the rest and raise it."""
        self._tasks = tasks = [asyncio.create_task(worker) for worker in workers]
        try:
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if pending:
                self.stop()
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                raise error
