import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness import embed
from harness.embed import SentenceEmbedder, VectorCache, model_folder
from harness.errors import MissingPackageError, StoreError


def vector(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_vectors_come_back_bit_for_bit_and_only_for_their_model(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "deep" / "vectors.sqlite")
    stored = vector(0.1, -1 / 3, 1e-38)
    cache.write("m1", {"text": stored})
    assert cache.read("m1", ["text", "other"]).keys() == {"text"}
    assert cache.read("m1", ["text"])["text"].tobytes() == stored.tobytes()
    assert cache.read("m2", ["text"]) == {}


def test_more_texts_than_one_query_holds(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite")
    texts = [f"text {i}" for i in range(1203)]
    cache.write("m", {text: vector(i) for i, text in enumerate(texts)})
    found = cache.read("m", texts)
    assert [int(found[text][0]) for text in texts] == list(range(1203))


def test_the_first_vector_of_a_text_stays(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite")
    cache.write("m", {"a": vector(1)})
    cache.write("m", {"a": vector(2)})
    assert cache.read("m", ["a"])["a"] == vector(1)


def test_a_damaged_cache_may_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "vectors.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="delete the file"):
        VectorCache(tmp_path / "vectors.sqlite").read("m", ["a"])


def test_a_full_disk_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(path: Path, timeout: float) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(StoreError, match=r"disk is full.*free some space"):
        VectorCache(tmp_path / "vectors.sqlite").write("m", {"a": vector(1)})


class FakeModel:
    """Encodes "ab" as (2, 0, 0, …) and refuses batches of unequal length."""

    max_seq_length = 256

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def tokenizer(self, texts: Sequence[str], truncation: bool, max_length: int) -> dict[str, list[list[int]]]:
        assert (truncation, max_length) == (True, 256)
        return {"input_ids": [[0] * len(text) for text in texts]}

    def encode(self, texts: list[str], batch_size: int, **options: object) -> np.ndarray:
        assert options == {"show_progress_bar": False, "normalize_embeddings": True, "convert_to_numpy": True}
        assert len({len(text) for text in texts}) == 1
        assert len(texts) == batch_size <= 64
        self.batches.append(texts)
        rows = np.zeros((len(texts), 384), dtype=np.float32)
        rows[:, 0] = [len(text) for text in texts]
        return rows


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    fake = FakeModel()
    monkeypatch.setattr(SentenceEmbedder, "_model", fake)
    monkeypatch.setattr(SentenceEmbedder, "id", "fake@0")
    return fake


def test_only_texts_of_one_length_share_a_batch_and_the_order_is_kept(tmp_path: Path, model: FakeModel) -> None:
    seen: list[tuple[int, int]] = []
    embedder = SentenceEmbedder(tmp_path, progress=lambda done, total: seen.append((done, total)))
    texts = ["bb", "a", "dd", "ccc", "a", *(f"{i:04}" for i in range(70))]
    assert embedder(texts)[:, 0].tolist() == [len(text) for text in texts]
    assert [len(batch) for batch in model.batches] == [1, 2, 1, 64, 6]
    assert seen == [(1, 74), (3, 74), (4, 74), (68, 74), (74, 74)]


def test_a_text_is_encoded_once(tmp_path: Path, model: FakeModel) -> None:
    SentenceEmbedder(tmp_path)(["a", "bb"])
    SentenceEmbedder(tmp_path)(["bb", "ccc", "a"])
    assert model.batches == [["a"], ["bb"], ["ccc"]]


def test_what_is_missing_is_known_without_the_vectors(tmp_path: Path, model: FakeModel) -> None:
    embedder = SentenceEmbedder(tmp_path)
    embedder.keep({"a": vector(*[1.0] * 384)})
    assert embedder.missing(["b", "a", "c", "b"]) == ["b", "c"]
    assert model.batches == []
    assert [list(found) for found in embedder.encode(["a", "bb", "c"])] == [["a", "c"], ["bb"]]
    assert embedder.missing(["bb"]) == ["bb"]


def test_no_texts_give_no_rows(tmp_path: Path, model: FakeModel) -> None:
    assert SentenceEmbedder(tmp_path)([]).shape == (0, 384)
    assert model.batches == []


def test_cached_texts_load_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = SentenceEmbedder(tmp_path)
    VectorCache(tmp_path / "vectors.sqlite").write(embedder.id, {"a": np.ones(384, dtype=np.float32)})
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert embedder(["a", "a"]).tolist() == [[1.0] * 384] * 2


def test_the_id_names_model_and_weights(tmp_path: Path) -> None:
    assert SentenceEmbedder(tmp_path).id == "all-MiniLM-L6-v2@53aa51172d14"
    assert (model_folder() / "config.json").is_file()


def test_a_missing_model_names_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locate(item: object) -> list[Path]:
        raise MissingPackageError("Run `pip install …`.")

    monkeypatch.setattr(embed, "locate", locate)
    with pytest.raises(MissingPackageError, match="pip install"):
        SentenceEmbedder(tmp_path)(["a"])
