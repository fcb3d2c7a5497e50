"""A reviewer's CSV: out and in again without a change, and every bad one refused as a whole."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_spec
from hypothesis import given
from hypothesis import strategies as st
from review_cases import Made, make_made, truthful

from harness.errors import DataError
from harness.humanlabels import read_labels
from harness.plaintext import guarded, unguarded
from harness.reviewcsv import COLUMNS, read_csv, write_csv
from harness.reviews import Desk, Review
from harness.store import Store

EVIL = ' and =HYPERLINK("x","y"), <b>é</b>;\n"quoted"'
Rows = list[dict[str, str]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_made(Store(tmp_path / "runs"), 60, text=EVIL)


@pytest.fixture
def desk(made: Made) -> Desk:
    return made.desk(20)


def rows_in(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def put(path: Path, rows: Rows, columns: tuple[str, ...] = COLUMNS, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter=delimiter, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_out_and_in_again_is_the_same(made: Made, desk: Desk, tmp_path: Path) -> None:
    said = truthful(desk.sample, made.right, 12)
    other = next(one for one in desk.sample.labels if one != desk.sample.items[12].shown.label)
    notes = ["=1+1", "'=1+1", "'", "-", "+49", "@x", "two\nlines", "a;b,c"]
    said = [replace(one, note=notes[place % len(notes)]) for place, one in enumerate(said)]
    said.append(Review(desk.sample.items[12].shown.id, "relabel", other))
    desk.add("ana", said)
    path = tmp_path / "ana.csv"
    assert write_csv(desk, "ana", path) == 13
    assert tuple(rows_in(path)[0]) == COLUMNS
    assert len(rows_in(path)) == 20
    found = read_csv(desk, "ana", path)
    assert (found.new, found.changed, found.same, found.empty) == (0, 0, 13, 7)
    elsewhere = make_made(Store(tmp_path / "elsewhere"), 60, text=EVIL).desk(20)
    assert read_csv(elsewhere, "ana", path).new == 13
    assert {key: one.said for key, one in elsewhere.read("ana").items()} == {one.item: one.said for one in said}


def test_no_cell_is_a_formula(made: Made, tmp_path: Path) -> None:
    desk = made.desk(20)
    desk.add("ana", [replace(one, note="=cmd|' /C calc'!A0") for one in truthful(desk.sample, made.right, 5)])
    write_csv(desk, "ana", tmp_path / "ana.csv")
    cells = [cell for row in rows_in(tmp_path / "ana.csv") for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert sum(cell == "'=cmd|' /C calc'!A0" for cell in cells) == 5


@given(st.text())
def test_the_guard_comes_off_as_it_went_on(cell: str) -> None:
    assert unguarded(guarded(cell)) == cell
    assert not guarded(cell).startswith(("=", "+", "-", "@"))


def test_a_spreadsheet_may_reorder_trim_and_use_semicolons(made: Made, desk: Desk, tmp_path: Path) -> None:
    write_csv(desk, "ana", tmp_path / "out.csv")
    rows = rows_in(tmp_path / "out.csv")
    for row in rows[:3]:
        row |= {"decision": " Accept ", "text": row["text"].replace("\n", "\r\n") + " ", "reviewer": ""}
    for delimiter in (";", "\t"):
        path = put(tmp_path / "in.csv", rows[::-1], COLUMNS[::-1], delimiter)
        read_csv(desk, "ana", path)
    assert {one.decision for one in desk.decided("ana").values()} == {"accept"}
    assert len(desk.decided("ana")) == 3


def test_empty_rows_change_nothing_and_filled_ones_win(made: Made, desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "ana.csv"
    write_csv(desk, "ana", path)
    rows = rows_in(path)
    desk.add("ana", truthful(desk.sample, made.right, 3))
    rows[0]["decision"] = "reject" if desk.read("ana")[rows[0]["id"]].decision == "accept" else "accept"
    rows[5]["decision"] = "accept"
    found = read_csv(desk, "ana", put(path, rows))
    assert (found.new, found.changed, found.same, found.empty) == (1, 1, 0, 18)
    assert desk.read("ana")[rows[0]["id"]].decision == rows[0]["decision"]
    assert len(desk.decided("ana")) == 4


def second(key: str, value: str) -> Callable[[Rows], object]:
    return lambda rows: rows[1].update({key: value})


BAD: list[tuple[Callable[[Rows], object], str]] = [
    (second("id", "syn-000000000000"), "id: 'syn-000000000000' is no row of the sample of run-"),
    (second("id", ""), "id: '' is no row of the sample"),
    (lambda rows: rows.insert(1, rows[0]), "stands on line 2 already"),
    (second("decision", "maybe"), "decision: 'maybe' is none of accept, reject, relabel, or empty"),
    (second("decision", "relabel"), "new_label: '' is no other label; relabel needs one of "),
    (lambda rows: rows[1].update(decision="relabel", new_label="DELTA"), "new_label: 'DELTA' is no other label"),
    (lambda rows: rows[1].update(decision="accept", new_label="BETA"), "goes with the decision relabel only"),
    (lambda rows: rows[1].update(decision="", new_label="BETA"), "relabel only; the decision is ''"),
    (second("text", "another text"), "text: 'another text' was changed, the run has 'Item "),
    (second("label", "DELTA"), "label: 'DELTA' was changed, the run has "),
    (second("cell", "length=huge"), "only decision, new_label, note may be edited"),
    (second("reviewer", "ben"), "reviewer: 'ben' is not 'ana', for whom this import is; use `--reviewer 'ben'`"),
    (second("note", "x" * 2001), "note: has 2,001 characters; up to 2,000"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_a_bad_row_is_named_and_nothing_is_imported(
    made: Made, desk: Desk, tmp_path: Path, spoil: Callable[[Rows], object], message: str
) -> None:
    desk.add("ana", truthful(desk.sample, made.right, 2))
    before = (desk.folder / "ana.jsonl").read_bytes()
    write_csv(desk, "ana", tmp_path / "out.csv")
    rows = rows_in(tmp_path / "out.csv")
    for row in rows[5:]:
        row["decision"] = "reject"
    spoil(rows)
    path = put(tmp_path / "in.csv", rows)
    with pytest.raises(DataError) as caught:
        read_csv(desk, "ana", path)
    text = str(caught.value)
    assert message in text
    # Texts have two lines, so the second row starts on line 4.
    assert text.startswith("in.csv:4: ")
    assert "Nothing was imported and nothing is lost" in text
    assert (desk.folder / "ana.jsonl").read_bytes() == before
    assert [one.name for one in desk.folder.iterdir()].count("ana.part") == 0


def test_all_faults_come_at_once_up_to_ten(desk: Desk, tmp_path: Path) -> None:
    write_csv(desk, "ana", tmp_path / "out.csv")
    rows = [row | {"decision": "perhaps"} for row in rows_in(tmp_path / "out.csv")]
    with pytest.raises(DataError) as caught:
        read_csv(desk, "ana", put(tmp_path / "in.csv", rows))
    assert str(caught.value).count("'perhaps' is none of") == 10
    assert "… and 10 more lines" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"id,text\n", "there is no column label, answer, context, cell, decision, new_label, note, reviewer"),
        (",".join([*COLUMNS, "extra"]).encode(), "'extra' is none of its columns. Needed are exactly: id, text"),
        (",".join([*COLUMNS, "id"]).encode(), "a column stands there twice"),
        ((",".join(COLUMNS) + "\na,b\n").encode(), "in.csv:2: the row does not have the 10 cells that line 1 names"),
        ((",".join(COLUMNS) + '\n"a,b\n').encode(), "in.csv:2: a double quote opens a cell here"),
        ((",".join(COLUMNS) + "\n\xe9").encode("latin-1"), "in.csv:2: byte 0xe9"),
    ],
)
def test_what_is_no_such_file(desk: Desk, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_csv(desk, "ana", path)
    assert message in str(caught.value)
    assert desk.reviewers() == []


def test_files_that_are_not_there(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--import .*nothing.csv': cannot be read"):
        read_csv(desk, "ana", tmp_path / "nothing.csv")
    with pytest.raises(DataError, match=r"--export .*x.csv': cannot be written"):
        write_csv(desk, "ana", tmp_path / "nowhere" / "x.csv")


def test_the_file_does_not_tell_what_became_of_a_row(desk: Desk, tmp_path: Path) -> None:
    write_csv(desk, "ana", tmp_path / "ana.csv")
    text = (tmp_path / "ana.csv").read_text(encoding="utf-8")
    assert not [word for word in ("kept", "dropped", "relabelled", "consistency", "judge", "label=") if word in text]


def test_the_judges_gate_reads_what_is_written(made: Made, desk: Desk, tmp_path: Path) -> None:
    said = truthful(desk.sample, made.right, 12)
    item = desk.sample.items[12].shown
    other = next(label for label in desk.sample.labels if label != item.label)
    desk.add("ana", [*said, Review(item.id, "relabel", other, note="=1")])
    write_csv(desk, "ana", tmp_path / "ana.csv")
    found = read_labels(make_spec(filters={"judge": {"human_labels": "ana.csv"}}), tmp_path)
    assert found is not None
    assert (found.undecided, found.disputed, found.warnings) == (7, 0, ())
    truths = {(one.text, one.label): right for one, right in found.items}
    rows = {row.shown.id: row.shown for row in desk.sample.items}
    for one in said:
        assert truths[rows[one.item].text, rows[one.item].label] is (one.decision == "accept")
    assert (truths[item.text, item.label], truths[item.text, other]) == (False, True)
    assert len(truths) == 14


def test_answers_make_the_round_too(tmp_path: Path) -> None:
    desk = make_made(Store(tmp_path / "runs"), 30, answers=True).desk()
    ident = desk.sample.items[0].shown.id
    desk.add("ana", [Review(ident, "relabel", "-5 °C")])
    write_csv(desk, "ana", tmp_path / "ana.csv")
    other = make_made(Store(tmp_path / "other"), 30, answers=True).desk()
    assert read_csv(other, "ana", tmp_path / "ana.csv").new == 1
    assert other.read("ana")[ident].said == ("relabel", "-5 °C", "")
