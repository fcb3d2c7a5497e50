from collections.abc import Mapping, Sequence

import pytest

from harness.clean import MAX_CHARACTERS, Cleaned, clean
from harness.errors import DataError
from harness.spec import Spec
from harness.tables import Table


def spec(labels: str = "A B", **data: object) -> Spec:
    source = {"kind": "file", "path": "items.csv"}
    return Spec.model_validate(
        {"name": "t", "task": {"labels": dict.fromkeys(labels.split(), "…")}, "data": {"source": source, **data}}
    )


def table(rows: Sequence[Mapping[str, object]], delimiter: str = "") -> Table:
    columns = tuple(dict.fromkeys(name for row in rows for name in row)) or ("text", "label")
    numbers = tuple(range(2, len(rows) + 2))
    return Table("items.csv", columns, tuple(rows), "line", numbers, delimiter=delimiter)


def rows(*pairs: tuple[object, object]) -> list[dict[str, object]]:
    return [{"text": text, "label": label} for text, label in pairs]


GOOD = rows(("one", "A"), ("two", "A"), ("three", "B"), ("four", "B"))


def cleaned(extra: Sequence[Mapping[str, object]], **data: object) -> Cleaned:
    return clean(table([*GOOD, *extra]), spec(**data))


def refused(given: Sequence[Mapping[str, object]], delimiter: str = "", **data: object) -> str:
    with pytest.raises(DataError) as caught:
        clean(table(given, delimiter), spec(**data))
    return str(caught.value)


def test_items_are_stripped_and_get_ids_from_their_normalised_text() -> None:
    first = cleaned([]).items[0]
    again = clean(table([*rows((" ONE ", "A ")), *GOOD[1:]]), spec()).items[0]
    assert first.id.startswith("real-")
    assert len(first.id) == len("real-") + 12
    assert (again.id, again.text, again.label) == (first.id, "ONE", "A")


def test_missing_columns_are_all_named_with_the_closest_one() -> None:
    message = refused(rows(("a", "A")), columns={"text": "Txt", "label": "labels"})
    assert (
        "there is no column 'Txt', which data.columns.text asks for. Columns: 'text', 'label'. Did you mean 'text'?"
        in message
    )
    assert "there is no column 'labels', which data.columns.label asks for" in message


def test_a_missing_slice_id_or_group_column_names_its_key() -> None:
    message = refused(GOOD, columns={"id": "key", "group": "author"}, slices={"columns": ["fine"]})
    for key in ("data.columns.id", "data.columns.group", "data.slices.columns[0]"):
        assert f"which {key} asks for" in message


def test_a_slice_column_cannot_bear_the_name_of_a_built_in_slice() -> None:
    given = [{**row, "length": "x"} for row in GOOD]
    assert "data.slices.length: false" in refused(given, slices={"columns": ["length"]})
    allowed = clean(table(given), spec(slices={"columns": ["length"], "length": False}))
    assert allowed.items[0].columns == {"length": "x"}


def test_no_rows() -> None:
    assert "there are no rows" in refused([])


def test_unknown_labels_are_listed_with_their_lines_and_the_allowed_ones() -> None:
    message = refused([*GOOD, *rows(("x", "C"), ("y", "a"), ("z", "C"))])
    assert "'C' in lines 6, 8." in message
    assert "'a' in line 7. Did you mean 'A'?" in message
    assert "Allowed: A, B" in message


def test_one_class_only() -> None:
    assert "only the label 'A' in 2 items" in refused(GOOD[:2])


def test_a_label_with_fewer_than_two_items() -> None:
    assert "fewer than two distinct items: 'C' (1)" in refused([*GOOD, *rows(("x", "C"))], labels="A B C")


def test_cells_beyond_the_cap_are_all_named() -> None:
    message = refused([*GOOD, *rows(("x" * (MAX_CHARACTERS + 1), "A"), ("y" * 1_000_000, "B"))])
    assert "cells longer than 100,000 characters (lines 6, 7)" in message
    assert len(message) < 1000
    assert len(cleaned(rows(("x" * MAX_CHARACTERS, "A"))).items) == 5


def test_all_problems_come_at_once() -> None:
    given = [{**row, "id": "k"} for row in [*GOOD, *rows((7, "A"), ("x" * 200_000, "C"), ("\ud800", "A"))]]
    message = refused(given, columns={"id": "id"})
    for part in (
        "'text' holds something that is no text",
        "longer than",
        "valid Unicode",
        "occur twice",
        "does not name",
    ):
        assert part in message


def test_a_cell_that_swallowed_rows_is_found_by_their_labels() -> None:
    text = "Who ?,A\nWhere ?,B\nHe measured 5"
    message = refused([*GOOD, *rows((text, "A"))], delimiter=",")
    assert "items.csv:6: a double quote opens a cell here and takes in the lines up to 8" in message
    assert len(cleaned(rows(("Dear all, hello\nbye, A friend", "A"))).items) == 5


def test_ids_that_occur_twice_are_listed() -> None:
    given = [{**row, "id": ident} for row, ident in zip(GOOD, ["a", "b", "a", ""], strict=True)]
    message = refused(given, columns={"id": "id"})
    assert "ids that occur twice: 'a' in lines 2, 4" in message
    assert "rows without an id (line 5)" in message


def test_ids_of_the_source_are_kept_in_a_plain_form() -> None:
    given = [{**row, "id": ident} for row, ident in zip(GOOD, ["q-1", "a b", "a/b", 4.0], strict=True)]
    ids = [item.id for item in clean(table(given), spec(columns={"id": "id"})).items]
    assert ids[0] == "real-q-1"
    assert ids[3] == "real-4"
    assert ids[1].startswith("real-a-b-")
    assert ids[2].startswith("real-a-b-")
    assert ids[1] != ids[2]


def test_empty_texts_and_labels_are_left_out_counted_and_told() -> None:
    result = cleaned(
        rows(("  ", "A"), (None, "B"), ("x", ""), (float("nan"), "A"), ("y", float("nan")), ("\u200b", "A"))
    )
    assert len(result.items) == 4
    assert result.dropped["empty text"] == 4
    assert result.dropped["empty label"] == 2
    assert "items.csv: 4 rows left out: empty text (lines 6, 7, 9, 11)." in result.warnings


def test_exact_duplicates_collapse_to_the_first_and_are_counted() -> None:
    result = cleaned(rows(("One", "A"), ("ONE ", "A"), ("one", "A")))
    assert [item.text for item in result.items] == ["one", "two", "three", "four"]
    assert result.dropped["exact duplicate"] == 3


def test_texts_with_two_labels_are_all_left_out() -> None:
    result = cleaned(rows(("Five !", "A"), ("five!", "B"), ("five !", "A")))
    assert "five !" not in {item.key for item in result.items}
    assert result.dropped["two labels for one text"] == 3


def test_numbers_serve_as_labels_and_slices() -> None:
    given = [{"text": word, "label": index % 2, "score": 1.5, "n": 2.0} for index, word in enumerate("abcd")]
    item = clean(table(given), spec("0 1", slices={"columns": ["score", "n"]})).items[1]
    assert (item.label, dict(item.columns)) == ("1", {"score": "1.5", "n": "2"})


def test_an_empty_slice_value_or_group_is_kept_as_none() -> None:
    given = [{**row, "fine": "", "author": None} for row in GOOD]
    item = clean(table(given), spec(slices={"columns": ["fine"]}, columns={"group": "author"})).items[0]
    assert (item.columns["fine"], item.group) == ("(none)", None)
