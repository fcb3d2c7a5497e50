"""Write-once artefacts, their keys and their lineage. The store is the truth; MLflow is a view of it.

An artefact's id is `<stage>-<first 16 hex of the key>`. The key hashes everything that can change the
content: stage, version of its code, inputs, parents' ids and seed. So the same spec and seed give the same ids, a
second run finds everything done, and a resumed run redoes only what never finished.

Layout: `<root>/artefacts/<stage>/<id>/{manifest.json, …}` and, beside it, whatever other modules keep in the root.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.errors import StoreError
from harness.locks import held, is_held

T = TypeVar("T")
MANIFEST = "manifest.json"
LOCKS = "locks"
PART = ".part-"
LEFTOVER_AGE_S = 3600
"""A younger half-written folder may belong to a run that is still going on."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def canonical(value: object) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text.

    >>> canonical({"b": 1, "a": [2.0, None]})
    '{"a":[2.0,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """sha256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """The (cached) codec between a record type and JSON."""
    return TypeAdapter(kind)


def dumps(kind: type[T], value: T, indent: int | None = None) -> bytes:
    """A record as JSON bytes; mappings keep their order, so the bytes repeat."""
    return adapter(kind).dump_json(value, indent=indent)


def write_json(path: Path, kind: type[T], value: T) -> None:
    path.write_bytes(dumps(kind, value, indent=1) + b"\n")


def read_json(path: Path, kind: type[T]) -> T:
    return adapter(kind).validate_json(path.read_bytes())


def write_lines(path: Path, kind: type[T], values: Iterable[T]) -> None:
    """One record a line, each written as it comes."""
    with path.open("wb") as file:
        file.writelines(dumps(kind, value) + b"\n" for value in values)


def each_line(path: Path, kind: type[T]) -> Iterator[T]:
    """The records of a file one by one, as `write_lines` wrote them."""
    codec = adapter(kind)
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield codec.validate_json(line)


def read_lines(path: Path, kind: type[T]) -> list[T]:
    return list(each_line(path, kind))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artefact is made of; written last, so a folder with a manifest is complete."""

    id: str
    stage: str
    version: int
    key: str
    inputs: Mapping[str, Any]
    parents: Mapping[str, str]
    seed: int | None
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Artefact:
    """A finished artefact: `id`, its folder and whether this call had to build it."""

    id: str
    path: Path
    built: bool

    def __truediv__(self, name: str) -> Path:
        return self.path / name


class Store:
    """A folder of artefacts. Raises `StoreError` where it cannot be read or written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            (root / "artefacts").mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"cannot create the store {str(root)!r}: {error.strerror}. Choose another folder with "
                "`--set runtime.store=DIR`."
            ) from error

    @classmethod
    def existing(cls, root: Path) -> Store:
        """The store in `root`, which must be there already. Raises `StoreError`."""
        if not (root / "artefacts").is_dir():
            raise StoreError(
                f"no store in {str(root)!r}. Name the folder that the run used (`runtime.store`, 'runs' if not set) "
                "with `--store DIR`."
            )
        return cls(root)

    @staticmethod
    def id_of(
        stage: str, version: int, inputs: Mapping[str, Any], parents: Mapping[str, str], seed: int | None
    ) -> tuple[str, str]:
        """(id, key) of the artefact that these inputs give."""
        key = digest({"stage": stage, "version": version, "inputs": inputs, "parents": parents, "seed": seed})
        return f"{stage}-{key[:16]}", key

    def once(
        self,
        stage: str,
        version: int,
        build: Callable[[Path], object],
        *,
        inputs: Mapping[str, Any],
        parents: Mapping[str, str] | None = None,
        seed: int | None = None,
    ) -> Artefact:
        """Return the artefact of these inputs; if there is none yet, let `build` fill a folder and keep it.

        `build` gets an empty temporary folder. Only when it returns are the files hashed, synced and renamed into
        place in one step, so a kill leaves either nothing or the whole artefact. Of several processes that want the
        same artefact one builds it; the others wait and find it.
        """
        ident, key = self.id_of(stage, version, inputs, parents or {}, seed)
        final = self._folder(ident)
        if ident in self:
            return Artefact(ident, final, built=False)
        with self._alone(ident):
            if ident in self:
                return Artefact(ident, final, built=False)
            self._build(build, final, Manifest(ident, stage, version, key, inputs, parents or {}, seed, {}))
        return Artefact(ident, final, built=True)

    @contextmanager
    def _alone(self, ident: str) -> Generator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(held(self._lock(ident)))
            except OSError as error:
                raise self._cannot_write(ident, error) from error
            yield

    def _build(self, build: Callable[[Path], object], final: Path, plain: Manifest) -> None:
        """Let `build` fill a temporary folder and move it to `final`; `plain` is its manifest without the files."""
        ident = plain.id
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=f"{PART}{ident}-", dir=final.parent))
        except OSError as error:
            raise self._cannot_write(ident, error) from error
        try:
            build(work)
            files = {path.relative_to(work).as_posix(): file_digest(path) for path in _files(work)}
            write_json(work / MANIFEST, Manifest, replace(plain, files=files))
            _sync(work)
            self._move(work, final)
        except Exception as error:
            number = _number_of(error)
            if number not in DISK_ERRORS:
                raise
            raise self._cannot_write(ident, OSError(number, os.strerror(number))) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _move(self, work: Path, final: Path) -> None:
        """Put a finished folder in place; if another process was first, its artefact stays."""
        try:
            work.rename(final)
        except OSError:
            if not (final / MANIFEST).exists():
                raise
        _sync_folder(final.parent)

    def sweep(self) -> int:
        """Remove what killed processes left half-written an hour ago or earlier; how many folders that were."""
        young = time.time() - LEFTOVER_AGE_S
        leftovers = [
            folder
            for folder in sorted((self.root / "artefacts").glob(f"*/{PART}*"))
            if folder.exists() and folder.stat().st_mtime < young
            # A long training may take longer than that.
            if not is_held(self._lock(folder.name.removeprefix(PART).rpartition("-")[0]))
        ]
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)
        return len(leftovers)

    def __contains__(self, ident: str) -> bool:
        """Whether the artefact of exactly this id is finished."""
        return (self._folder(ident) / MANIFEST).exists()

    def find(self, ident: str) -> Artefact:
        """The artefact of this id, or of the only id that starts like this. Raises `StoreError`."""
        folder = self._folder(ident)
        if (folder / MANIFEST).exists():
            return Artefact(ident, folder, built=False)
        matches = [other for other in self.ids() if other.startswith(ident)]
        if len(matches) == 1:
            return Artefact(matches[0], self._folder(matches[0]), built=False)
        hint = (
            f"It is the beginning of {len(matches)} ids: {matches[:5]}."
            if matches
            else (f"Stages in it: {sorted({other.rsplit('-', 1)[0] for other in self.ids()})}.")
        )
        raise StoreError(f"no artefact {ident!r} in {str(self.root)!r}. {hint} `harness show` lists the runs.")

    def manifest(self, ident: str) -> Manifest:
        """What an artefact is made of. Raises `StoreError` where there is none or it is damaged."""
        artefact = self.find(ident)
        try:
            return read_json(artefact / MANIFEST, Manifest)
        except ValidationError as error:
            raise StoreError(
                f"the manifest of {artefact.id} is damaged. Delete {str(artefact.path)!r}, then run the same command "
                "again: it is made anew."
            ) from error

    def damaged(self, ident: str) -> list[str]:
        """Files of an artefact that are missing or whose bytes changed since it was written."""
        artefact = self.find(ident)
        return [
            name
            for name, sha in self.manifest(artefact.id).files.items()
            if not (artefact / name).exists() or file_digest(artefact / name) != sha
        ]

    def ids(self, stage: str | None = None) -> Iterator[str]:
        """Ids of all finished artefacts (of one stage), sorted."""
        pattern = f"{stage or '*'}/*/{MANIFEST}"
        yield from sorted(
            path.parent.name for path in (self.root / "artefacts").glob(pattern) if not path.parent.name.startswith(".")
        )

    def _lock(self, ident: str) -> Path:
        return self.root / LOCKS / f"{ident}.lock"

    def _folder(self, ident: str) -> Path:
        stage = ident.rsplit("-", 1)[0]
        if len(ident) > 100 or not ident.replace("-", "").replace("_", "").isalnum():
            raise StoreError(f"{ident!r} is no artefact id; ids look like 'dataset-0123456789abcdef'.")
        return self.root / "artefacts" / stage / ident

    def _cannot_write(self, ident: str, error: OSError) -> StoreError:
        return StoreError(
            f"cannot write {ident} to {str(self.root)!r}: {error.strerror or error}. Nothing that was finished is "
            "lost; free some space or choose another folder with `--set runtime.store=DIR`, then run the same command "
            "again."
        )


def _number_of(error: Exception) -> int:
    """The system's number of an error, 0 where it has none. Safetensors, in Rust, has it in its words only."""
    if isinstance(error, OSError):
        return error.errno or 0
    said = re.search(r"\(os error (\d+)\)$", str(error))
    return int(said[1]) if said else 0


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sync(folder: Path) -> None:
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
