from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.scaffold import scaffold
from harness.spec import Columns, Endpoint, Evaluate, Matrix, Slices, Spec, Split
from harness.specfile import load

CSV = "text,label\nany words,first_label\n"


def filled(folder: Path, name: str = "my-task") -> Path:
    (path,) = scaffold(name, folder)
    (path.parent / "examples.csv").write_text(CSV)
    return path


def test_the_file_loads_once_the_data_is_there(tmp_path: Path):
    (path,) = scaffold("my-task", tmp_path)
    assert path == tmp_path / "my-task" / "my-task.yaml"
    assert [other.name for other in path.parent.iterdir()] == ["my-task.yaml"]
    with pytest.raises(SpecError, match=r"data\.source\.path: no file '.*examples\.csv'") as caught:
        load(path)
    assert len(caught.value.problems) == 1
    (path.parent / "examples.csv").write_text(CSV)
    assert load(path).name == "my-task"


def test_what_it_shows_as_default_is_the_default(tmp_path: Path):
    spec = load(filled(tmp_path))
    for name in ("seed", "llm", "generate", "filters", "train", "feedback", "stop", "budget", "runtime"):
        assert getattr(spec, name) == Spec.model_fields[name].default
    assert (spec.data.columns, spec.data.slices, spec.data.split) == (Columns(), Slices(), Split())
    without_pool = [arm for arm in Evaluate().arms if arm not in ("real", "all_real")]
    assert spec.evaluate == Evaluate(arms=without_pool)
    assert f"# arms: [{', '.join(without_pool)}]" in (tmp_path / "my-task" / "my-task.yaml").read_text()


def test_every_section_has_a_comment_and_every_key_is_shown(tmp_path: Path):
    text = filled(tmp_path).read_text()
    for name in Spec.model_fields:
        assert re.search(rf"^{name}:.*  # \w", text, re.MULTILINE), name
    sections = [
        Spec.model_fields[name].default for name in ("generate", "filters", "train", "feedback", "stop", "runtime")
    ]
    for section in [*sections, Split(), Columns(), Slices(), Endpoint(), Matrix()]:
        for key in type(section).model_fields:
            assert re.search(rf"\b{key}:", text), key
    assert max(map(len, text.splitlines())) <= 120


def test_it_names_the_columns_and_the_next_commands(tmp_path: Path):
    text = filled(tmp_path).read_text()
    for words in ("  text ", "  label ", "unique id", "group", "slices"):
        assert words in text[: text.index("name: ")]
    for command in ("validate", "plan", "run"):
        assert f"harness {command} my-task.yaml" in text
    rows = Split().seeds + Split().dev + Split().anchor + Split().test
    assert f"needs {rows} rows" in text


@pytest.mark.parametrize("name", ["123", "no", "1e3", "a.b-c_d"])
def test_names_that_yaml_would_read_otherwise(tmp_path: Path, name: str):
    assert load(filled(tmp_path, name)).name == name


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", ".hidden", "x" * 65, "a b", "ü", "a\n"])
def test_names_that_cannot_name_a_run_write_nothing(tmp_path: Path, name: str):
    with pytest.raises(SpecError, match="cannot name a task; write a name of at most 64"):
        scaffold(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_left_as_it_is(tmp_path: Path):
    path = filled(tmp_path)
    path.write_text("mine")
    with pytest.raises(SpecError, match="exists already and is left as it is"):
        scaffold("my-task", tmp_path)
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "my-task").write_text("a file in the way")
    with pytest.raises(SpecError, match="exists already"):
        scaffold("my-task", tmp_path)
    with pytest.raises(SpecError, match="cannot be written: Not a directory"):
        scaffold("other", tmp_path / "my-task")
