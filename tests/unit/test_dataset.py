from pathlib import Path

import pyarrow.parquet as pq
import pytest
from factories import make_spec
from fakes import read_dataset
from filter_cases import candidate

from harness.dataset import Accepted, is_held_out, write_dataset
from harness.records import Example, Origin

COLUMNS = ["id", "text", "label", "asked_label", "cell", "round", "wave", "call", "index", "shots"]


def accepted(number: int, text: str = "", label: str = "ALPHA") -> Accepted:
    row = candidate(number, text or f"Who is number {number} ?", "ALPHA")
    return Accepted(Example(row.id, row.example.text, label, row.example.slices, Origin.SYNTHETIC), row)


ROWS = [accepted(i, label="BETA" if i == 7 else "ALPHA") for i in range(1, 31)]


def write(folder: Path, rows: list[Accepted]) -> Path:
    folder.mkdir()
    write_dataset(folder, rows, make_spec(), 2, ["format", "leakage"])
    return folder


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", ROWS), write(tmp_path / "two", ROWS)
    names = sorted(path.relative_to(one).as_posix() for path in one.rglob("*") if path.is_file())
    assert names == ["README.md", "data/train.parquet", "data/validation.parquet"]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    other = write(tmp_path / "three", ROWS[::-1])
    assert (other / names[1]).read_bytes() != (one / names[1]).read_bytes()


def test_which_rows_are_held_out_depends_on_their_ids_alone(tmp_path: Path) -> None:
    assert [row.example.id for row in ROWS if is_held_out(row.example.id)] == [f"syn-{i:012x}" for i in (10, 20, 30)]
    parts = read_dataset(write(tmp_path / "one", ROWS))
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 27, "validation": 3}
    fewer = read_dataset(write(tmp_path / "two", ROWS[5:]))
    assert fewer["validation"] == parts["validation"]


def test_every_row_has_its_lineage(tmp_path: Path) -> None:
    table = pq.read_table(write(tmp_path / "one", ROWS) / "data" / "train.parquet")
    assert table.column_names == COLUMNS
    relabelled = next(row for row in table.to_pylist() if row["id"] == "syn-000000000007")
    assert relabelled == {
        "id": "syn-000000000007",
        "text": "Who is number 7 ?",
        "label": "BETA",
        "asked_label": "ALPHA",
        "cell": "label=ALPHA|length=short",
        "round": 1,
        "wave": 0,
        "call": "call7",
        "index": 0,
        "shots": ["real-a"],
    }


def test_a_large_set_is_written_part_by_part_and_holds_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pq.read_table(write(tmp_path / "whole", ROWS) / "data" / "train.parquet")
    monkeypatch.setattr("harness.dataset.GROUP", 10)
    path = write(tmp_path / "parts", ROWS) / "data" / "train.parquet"
    monkeypatch.setattr("harness.dataset.CHUNK", 3)
    assert (write(tmp_path / "pieces", ROWS) / "data" / "train.parquet").read_bytes() == path.read_bytes()
    assert pq.ParquetFile(path).num_row_groups == 3
    assert pq.read_table(path).equals(whole)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    rows = [accepted(1, 'A "quoted", naïve 😀 text\x00 ?')]
    (read,) = read_dataset(write(tmp_path / "one", rows))["train"]
    assert read == Example(
        "syn-000000000001",
        'A "quoted", naïve 😀 text\x00 ?',
        "ALPHA",
        {"label": "ALPHA", "length": "short"},
        Origin.SYNTHETIC,
    )


@pytest.mark.parametrize(("rows", "splits"), [(ROWS, {"train": 27, "validation": 3}), (ROWS[:3], {"train": 3})])
def test_the_folder_loads_with_datasets(tmp_path: Path, rows: list[Accepted], splits: dict[str, int]) -> None:
    from datasets import load_dataset

    folder = write(tmp_path / "one", rows)
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == splits
    assert all(split.column_names == COLUMNS for split in loaded.values())
    assert loaded["train"][0]["text"] == "Who is number 1 ?"
    assert loaded["train"][0]["shots"] == ["real-a"]
    assert {name: len(part) for name, part in read_dataset(folder).items()} == {"validation": 0, **splits}


def test_a_data_set_without_rows_is_written_and_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path / "one", [])
    assert read_dataset(folder) == {"train": [], "validation": []}
    assert "0 rows for training and 0 that" in (folder / "README.md").read_text()


def test_the_card_says_what_it_is(tmp_path: Path) -> None:
    card = (write(tmp_path / "one", ROWS) / "README.md").read_text()
    assert "# Synthetic test items of factory-test, up to round 2" in card
    assert "27 rows for training and 3 that no model was trained on" in card
    assert "| ALPHA | 29 |\n| BETA | 1 |" in card
    assert "Filters: format, leakage." in card
    assert "SmolLM2-135M-Instruct" in card
