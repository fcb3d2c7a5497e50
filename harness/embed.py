"""Texts to unit vectors, cached on disk. The only module that imports sentence_transformers."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from harness.catalogue import MINILM, locate
from harness.errors import StoreError
from harness.store import file_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

DIMENSIONS = 384
BATCH = 64
LOOKUP = 500
CACHE = "vectors.sqlite"
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS vectors (model TEXT, text TEXT, vector BLOB, PRIMARY KEY (model, text)) WITHOUT ROWID"
)


class Embedder(Protocol):
    """Maps n texts to an (n, d) array of unit rows. `id` names the model and its weights."""

    @property
    def id(self) -> str: ...

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


def model_folder() -> Path:
    """Folder of the packaged all-MiniLM-L6-v2. Raises `MissingPackageError` with the pip line."""
    return locate(MINILM)[0].parent


class SentenceEmbedder:
    """all-MiniLM-L6-v2 (384-d), each text's vector cached in `<store_root>/vectors.sqlite`.

    A text's vector does not depend on its neighbours. Padding changes the last bits of a row (measured: of 10 % of the
    rows, by up to 1.4e-7), so only texts of the same token count share a batch. With several threads the split of the
    work depends on the batch, so `threads` is 1 unless given (measured on a CPU: the same bits for every batch size
    from 1 to 64 on one thread, and not on two). Rounding would only move the boundary. On a GPU the last bits may
    differ from the CPU's; the cache keeps whichever came first.

    The model is loaded on the first text that is not cached, because importing its library takes seconds.
    `progress(done, total)` is called after each batch of texts that were not cached.
    """

    def __init__(
        self,
        store_root: Path,
        device: str = "cpu",
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._cache = VectorCache(store_root / CACHE)
        self._device = device
        self._threads = threads or 1
        self._progress = progress

    @property
    def id(self) -> str:
        """E.g. `all-MiniLM-L6-v2@53aa51172d14`: the name and the first 12 hex digits of the weights' sha256."""
        return f"{MINILM.name}@{self._weights[:12]}"

    @cached_property
    def _weights(self) -> str:
        return file_digest(model_folder() / "model.safetensors")

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384) unit rows, in the order of the texts. Raises `MissingPackageError`, `StoreError`."""
        known = self._cache.read(self.id, texts)
        missing = sorted(set(texts) - known.keys())
        if missing:
            known |= self._encode(missing)
        rows = [known[text] for text in texts]
        return np.stack(rows) if rows else np.zeros((0, DIMENSIONS), dtype=np.float32)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Those without a vector in the cache, each once, sorted. Raises `MissingPackageError`, `StoreError`."""
        return sorted(set(texts) - self._cache.known(self.id, texts))

    def encode(self, texts: Sequence[str]) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Vectors of different texts, batch by batch, shortest texts first; the cache is neither asked nor told."""
        model = self._model
        with _torch_threads(self._threads):
            for batch in _equal_lengths(model, texts):
                rows = model.encode(
                    batch,
                    batch_size=len(batch),
                    show_progress_bar=False,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                )
                yield dict(zip(batch, np.asarray(rows, dtype=np.float32), strict=True))

    def keep(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Into the cache with what `encode` made, here or elsewhere. Raises `StoreError`."""
        self._cache.write(self.id, vectors)

    def _encode(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        vectors: dict[str, NDArray[np.float32]] = {}
        for found in self.encode(texts):
            # Written per batch, so that a kill costs one batch.
            self.keep(found)
            vectors |= found
            if self._progress:
                self._progress(len(vectors), len(texts))
        return vectors

    @cached_property
    def _model(self) -> SentenceTransformer:
        folder = model_folder()
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device=self._device, local_files_only=True)


def _equal_lengths(model: SentenceTransformer, texts: Sequence[str]) -> Iterator[list[str]]:
    """Batches of ≤ 64 texts with one token count each, shortest first."""
    ids = model.tokenizer(list(texts), truncation=True, max_length=model.max_seq_length)["input_ids"]
    by_length: dict[int, list[str]] = {}
    for text, tokens in zip(texts, ids, strict=True):
        by_length.setdefault(len(tokens), []).append(text)
    for length in sorted(by_length):
        group = by_length[length]
        for start in range(0, len(group), BATCH):
            yield group[start : start + BATCH]


@contextmanager
def _torch_threads(count: int) -> Generator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class VectorCache:
    """(model id, sha256 of the text) → float32 vector, in one sqlite file that several processes may share."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, model: str, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors that are there, by text."""
        return {
            text: np.frombuffer(blob, dtype="<f4").astype(np.float32)
            for text, blob in self._select("vector", model, texts)
        }

    def known(self, model: str, texts: Sequence[str]) -> set[str]:
        """The texts whose vectors are there."""
        return {text for text, _ in self._select("NULL", model, texts)}

    def _select(self, what: Literal["vector", "NULL"], model: str, texts: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """(text, this of it) of every row that is there."""
        keys = {_key(text): text for text in texts}
        wanted = sorted(keys)
        with self._connect() as connection:
            for start in range(0, len(wanted), LOOKUP):
                part = wanted[start : start + LOOKUP]
                marks = ",".join("?" * len(part))
                query = f"SELECT text, {what} FROM vectors WHERE model = ? AND text IN ({marks})"  # noqa: S608
                for key, found in connection.execute(query, (model, *part)):
                    yield keys[key], found

    def write(self, model: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        rows = [(model, _key(text), vector.astype("<f4").tobytes()) for text, vector in vectors.items()]
        with self._connect() as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)", rows)

    @contextmanager
    def _connect(self) -> Generator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=60)) as connection:
                connection.execute(SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"cannot use the vector cache {str(self._path)!r}: {error}. It holds nothing that cannot be computed "
                "again: free some space or delete the file, then run the same command again."
            ) from error


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
