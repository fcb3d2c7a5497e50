"""Of any name that data, files or people may bring: it stays inside its folder, and two of them stay two."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError, StoreError
from harness.scaffold import scaffold
from harness.store import Store
from harness.tracked import LONGEST_KEY, key_of, spec_params

ODD = [
    "../x",
    "/etc/passwd",
    "a=b@c",
    "CON",
    "x" * 300,
    "two\nlines",
    "..",
    ".",
    "",
    "a/b",
    "a//b",
    "a\\b",
    "-",
    "😀",
    "é\u0301",
]
NAMES = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(NAMES, unique=True, min_size=1, max_size=12))
@settings(max_examples=50)
def test_different_names_are_different_parameters(names: list[str]) -> None:
    shown = spec_params({"labels": dict.fromkeys(names, "x")})
    assert len(shown) == len(names) + 1
    assert all(len(key) <= LONGEST_KEY for key in shown)


@given(NAMES)
@settings(max_examples=50)
def test_a_name_in_mlflow_is_no_path_that_leads_elsewhere(name: str) -> None:
    key = key_of(name)
    assert not key.startswith("/")
    assert not any(part.strip(".") == "" for part in key.split("/"))
    assert not set(key) & set("\\\n\r\t=@$%\0")


@given(NAMES)
@settings(max_examples=50)
def test_no_name_finds_anything_outside_the_store(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "outside").mkdir()
        (Path(folder) / "outside" / "manifest.json").write_text("{}")
        store = Store(Path(folder) / "runs")
        with pytest.raises(StoreError):
            store.find(name)
        with pytest.raises(StoreError):
            store.find(f"../../{name}")


@given(NAMES | st.from_regex(r"[A-Za-z0-9._-]{1,70}", fullmatch=True))
@settings(max_examples=50)
def test_a_new_experiment_is_written_into_its_own_folder_or_refused(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "here"
        inside.mkdir()
        try:
            written = scaffold(name, inside)
        except SpecError:
            written = []
        there = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert there == written
        assert all(path.resolve().is_relative_to((inside / name).resolve()) for path in there)
