"""What a person asked for, written whole to a place that is new: it is all there, or nothing is."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import DataError, StoreError


def check_new(to: Path, kind: str) -> None:
    """Raise `DataError` if `to` exists; `kind` is what it would become, a file or a folder."""
    if to.exists():
        raise DataError(f"--to {str(to)!r} is there already; name a {kind} that is not, so that nothing is lost.")


@contextmanager
def written_whole(to: Path) -> Generator[Path]:
    """Gives the path of a file or folder to make, which is moved to `to` at the end of the block. Raises `StoreError`
    where the disk does not take it."""
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as scratch:
            made = Path(scratch) / to.name
            yield made
            made.rename(to)
    except OSError as error:
        raise StoreError(
            f"cannot write {str(to)!r}: {error.strerror or error}. Name a place that may be written."
        ) from error
