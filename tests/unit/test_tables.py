from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.errors import DataError
from harness.spec import FileSource, HubSource, SavedSource
from harness.tables import Table, read_file, read_hub, read_saved


def read(folder: Path, name: str, content: bytes | str, **fields: str) -> Table:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(FileSource.model_validate({"kind": "file", "path": name, **fields}), folder)


def pairs(table: Table) -> list[tuple[object, object]]:
    return [(row["text"], row["label"]) for row in table.rows]


@pytest.mark.parametrize(
    "content",
    [
        b"text,label\nWho ?,HUM\nWhere ?,LOC\n",
        b"\xef\xbb\xbftext,label\r\nWho ?,HUM\r\nWhere ?,LOC\r\n",
        b"text,label\rWho ?,HUM\rWhere ?,LOC",
        b'"text", label \n"Who ?",HUM\n\nWhere ?,LOC\n\n',
    ],
    ids=["plain", "BOM and CRLF", "CR", "quoted with blank lines"],
)
def test_csv_in_all_its_line_endings(tmp_path: Path, content: bytes) -> None:
    table = read(tmp_path, "items.csv", content)
    assert table.columns == ("text", "label")
    assert pairs(table) == [("Who ?", "HUM"), ("Where ?", "LOC")]
    assert table.warnings == ()


def test_a_row_is_numbered_by_the_line_it_starts_on(tmp_path: Path) -> None:
    table = read(tmp_path, "items.csv", 'text,label\n"two\nlines",A\n\nlast,B\n')
    assert table.numbers == (2, 5)
    assert pairs(table) == [("two\nlines", "A"), ("last", "B")]


def test_doubled_quotes_in_csv_are_data(tmp_path: Path) -> None:
    assert (
        pairs(read(tmp_path, "items.csv", 'text,label\n"Who said ""hi"", then ?",HUM\n'))[0][0]
        == 'Who said "hi", then ?'
    )


def test_a_quote_inside_an_unquoted_cell_is_data(tmp_path: Path) -> None:
    assert pairs(read(tmp_path, "items.csv", 'text,label\nWho said "hi" ?,HUM\n'))[0][0] == 'Who said "hi" ?'


def test_a_file_that_never_encloses_cells_keeps_its_quotes_and_says_so(tmp_path: Path) -> None:
    table = read(tmp_path, "items.csv", 'text,label\nWhere ?,LOC\n"Emma" is by whom ?,HUM\n')
    assert pairs(table) == [("Where ?", "LOC"), ('"Emma" is by whom ?', "HUM")]
    assert table.warnings == (
        "items.csv:3: quotes do not enclose cells in this file; they were read as part of the text.",
    )


def test_a_quote_never_closed_is_reported_with_its_line_and_reach(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"items\.csv:3: a double quote opens a cell here and takes in the lines up to 5"
    ):
        read(tmp_path, "items.csv", 'text,label\nWhere ?,LOC\n"Who ?,HUM\nWhen ?,NUM\nWhy ?,DESC\n')


def test_a_quote_closed_by_a_later_rows_quote_is_reported(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"items\.csv:2: a double quote opens a cell here and takes in the lines up to 4"
    ):
        read(tmp_path, "items.csv", 'text,label\n"Who ?,HUM\nWhen ?,NUM\n"Why, then ?",DESC\n')


def test_tsv_keeps_a_lone_quote_as_data(tmp_path: Path) -> None:
    table = read(tmp_path, "items.tsv", 'text\tlabel\n"He left\tA\nWhy, though ?\tB\n')
    assert pairs(table) == [('"He left', "A"), ("Why, though ?", "B")]
    assert "items.tsv:2" in table.warnings[0]


def test_tsv_reads_enclosed_cells_as_csv_does(tmp_path: Path) -> None:
    assert pairs(read(tmp_path, "items.tsv", 'text\tlabel\n"a ""b"" c"\tA\n')) == [('a "b" c', "A")]


def test_ragged_rows_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 rows do not have the 2 cells that line 1 names \(lines 2, 4\)"):
        read(tmp_path, "items.csv", "text,label\nWho, then ?,HUM\nWhere ?,LOC\nWhen ?\n")


def test_a_column_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"occur twice: \['text'\]"):
        read(tmp_path, "items.csv", "text,label,text\na,b,c\n")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match="the file is empty"):
        read(tmp_path, "items.csv", content)


def test_bytes_that_are_not_utf8_are_located_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"items\.csv:2: byte 0xe9 at offset 14 is not UTF-8.*iconv -f CP1252 -t UTF-8"):
        read(tmp_path, "items.csv", "text,label\ncafé,A\n".encode("cp1252"))


def test_utf16_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="iconv -f UTF-16 "):
        read(tmp_path, "items.csv", "text,label\na,A\n".encode("utf-16"))
    with pytest.raises(DataError, match="NUL"):
        read(tmp_path, "items.csv", "text,label\na,A\n".encode("utf-16-le"))


def test_a_huge_cell_is_read_so_that_it_can_be_reported_with_its_row(tmp_path: Path) -> None:
    table = read(tmp_path, "items.csv", f"text,label\n{'x' * 1_000_000},A\n")
    assert len(str(table.rows[0]["text"])) == 1_000_000


def test_jsonl(tmp_path: Path) -> None:
    table = read(
        tmp_path, "items.jsonl", '{"text": "a", "label": 1}\r\n\n{"text": "b\u2028c", "label": 2, "id": "x"}\n'
    )
    assert pairs(table) == [("a", 1), ("b\u2028c", 2)]
    assert table.columns == ("text", "label", "id")
    assert table.numbers == (1, 3)


def test_all_bad_json_lines_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "items.jsonl", '{"text": "a"}\n{"text": \n[1]\n')
    assert "items.jsonl:2: no JSON" in str(caught.value)
    assert "items.jsonl:3: [1] is no object" in str(caught.value)


def test_a_json_list_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one object a line"):
        read(tmp_path, "items.jsonl", '[{"text": "a"}]')


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None], "label": ["x", "y"]}), tmp_path / "items.parquet")
    table = read(tmp_path, "items.parquet", (tmp_path / "items.parquet").read_bytes())
    assert pairs(table) == [("a", "x"), (None, "y")]
    assert table.unit == "row"
    assert table.numbers == (1, 2)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read(tmp_path, "items.parquet", "text,label")


def test_an_unknown_ending_needs_a_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'\.txt' does not say what the file is.*data\.source\.format"):
        read(tmp_path, "items.txt", "text,label\na,b\n")
    assert pairs(read(tmp_path, "items.txt", "text,label\na,b\n", format="csv")) == [("a", "b")]


def test_a_missing_file_shows_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "itmes.csv").touch()
    with pytest.raises(DataError, match=r"there is no file .*items\.csv.*Beside it: itmes\.csv"):
        read_file(FileSource(kind="file", path=Path("items.csv")), tmp_path)


def test_a_saved_folder_with_class_labels(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["A", "B"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "saved"))
    source = SavedSource(kind="datasets", path=Path("saved"), split="train")
    assert pairs(read_saved(source, tmp_path)) == [("a", "B"), ("b", "A")]
    with pytest.raises(DataError, match=r"data\.source\.split: None is none of the splits in 'saved': \['train'\]"):
        read_saved(SavedSource(kind="datasets", path=Path("saved")), tmp_path)
    rows.to_parquet(str(tmp_path / "items.parquet"))
    file = FileSource(kind="file", path=Path("items.parquet"))
    assert pairs(read_file(file, tmp_path)) == [("a", "B"), ("b", "A")]


def test_a_folder_that_datasets_did_not_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(DataError, match="is no folder written by"):
        read_saved(SavedSource(kind="datasets", path=Path("saved")), tmp_path)


def test_the_hub_failing_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, config: str | None, split: str, revision: str | None) -> object:
        assert (name, config, split, revision) == ("some/set", None, "train", "v1")
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError, match=r"cannot load 'some/set' from the hub \(ConnectionError: 'no network'\)"):
        read_hub(HubSource(kind="hub", name="some/set", revision="v1"))


def test_a_hub_source_without_revision_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["a"], "label": ["A"]})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    assert "data.source.revision" in read_hub(HubSource(kind="hub", name="some/set")).warnings[0]
