"""Locks between processes of one store: who builds an artefact, who asks a call. Others wait and take the result.

A lock is a file that the kernel frees when its process ends, so that a killed one leaves nothing behind that a person
would have to clean up.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from harness.errors import StoreError

FIRST_WAIT_S, LONGEST_WAIT_S = 0.02, 0.5


@contextmanager
def held(path: Path) -> Generator[None]:
    """Hold the lock `path`, waiting for it as long as another process has it. Raises `OSError`."""
    handle = _taken(path, wait=True)
    try:
        yield
    finally:
        _free(path, handle)


@asynccontextmanager
async def claimed(path: Path) -> AsyncGenerator[None]:
    """`held` for coroutines: others go on while this one waits. Raises `StoreError`."""
    wait = FIRST_WAIT_S
    while (handle := _claim(path)) is None:
        await asyncio.sleep(wait)
        wait = min(LONGEST_WAIT_S, 2 * wait)
    try:
        yield
    finally:
        _free(path, handle)


def _claim(path: Path) -> int | None:
    try:
        return _taken(path, wait=False)
    except OSError as error:
        raise StoreError(
            f"cannot write to {str(path.parent)!r}: {error.strerror or error}. Nothing that was finished is lost; make "
            "the folder writable, free some space, or choose another one with `--set runtime.store=DIR`, then run the "
            "same command again."
        ) from error


def is_held(path: Path) -> bool:
    """Whether a process that lives holds the lock."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _locks(handle, wait=False)
    finally:
        os.close(handle)


def _taken(path: Path, *, wait: bool) -> int | None:
    """The handle of the locked file; None where it is another's and one does not wait."""
    while True:
        handle = _opened(path)
        try:
            if not _locks(handle, wait=wait):
                os.close(handle)
                return None
            if _is(path, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        # Whoever held it has removed the file meanwhile: a lock on that one would exclude nobody.
        os.close(handle)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_CREAT | os.O_RDWR, 0o600)


def _locks(handle: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return False
        raise
    return True


def _is(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _free(path: Path, handle: int | None) -> None:
    if handle is None:
        return
    with suppress(OSError):
        path.unlink()
    os.close(handle)
