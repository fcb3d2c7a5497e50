"""Decisions on disk: nothing is lost by a kill, a torn line or another call, and no artefact changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from review_cases import Made, make_made, truthful

from harness.errors import HarnessError, StoreError
from harness.reviews import Desk, Review, checked_name, desk_of, fault, folder_of, open_desk
from harness.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_made(Store(tmp_path / "runs"), 60)


@pytest.fixture
def desk(made: Made) -> Desk:
    return made.desk(20)


def lines(desk: Desk, name: str = "ana") -> Path:
    return desk.folder / f"{name}.jsonl"


def test_the_last_word_counts_and_every_word_is_kept(desk: Desk) -> None:
    first, second = (item.shown.id for item in desk.sample.items[:2])
    desk.add("ana", [Review(first, "accept")])
    desk.add("ana", [Review(second, "", note="what is this?")])
    desk.add("ana", [Review(first, "reject", note="no")])
    assert desk.read("ana")[first].said == ("reject", "", "no")
    assert list(desk.decided("ana")) == [first]
    assert len(lines(desk).read_bytes().splitlines()) == 3
    assert desk.read("ben") == {}
    assert desk.reviewers() == ["ana"]


def test_a_new_process_goes_on_where_the_last_one_was(made: Made, desk: Desk) -> None:
    desk.add("ana", truthful(desk.sample, made.right, 5))
    again = open_desk(made.report, Store(made.store.root))
    assert again.sample == desk.sample
    assert len(again.decided("ana")) == 5


def test_a_decision_outlives_the_process_that_was_killed_right_after(made: Made, desk: Desk) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom harness.reviews import Review, desk_of\n"
        "from harness.store import Store\ndesk = desk_of(Store(Path(sys.argv[1])), sys.argv[2])\n"
        "desk.add('ana', [Review(desk.sample.items[0].shown.id, 'accept')])\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(made.store.root), made.report.id],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert len(desk.decided("ana")) == 1


@pytest.mark.parametrize("torn", [b'{"item":"syn-', b'{"item":"syn-1","decision":"acc\n', b"\0\0\0\0\n", b"\n"])
def test_a_torn_last_line_is_set_aside(made: Made, desk: Desk, torn: bytes) -> None:
    said = truthful(desk.sample, made.right, 3)
    desk.add("ana", said)
    whole = lines(desk).read_bytes()
    lines(desk).write_bytes(whole + torn)
    assert len(desk.read("ana")) == 3
    assert desk.mend("ana")
    assert lines(desk).read_bytes() == whole
    assert (desk.folder / "ana.torn").read_bytes() == torn + b"\n"
    assert not desk.mend("ana")


def test_a_decision_after_a_torn_line_stands_on_a_line_of_its_own(made: Made, desk: Desk) -> None:
    said = truthful(desk.sample, made.right, 3)
    desk.add("ana", said[:2])
    with lines(desk).open("ab") as file:
        file.write(b'{"item"')
    desk.add("ana", said[2:])
    assert len(desk.decided("ana")) == 3
    assert (desk.folder / "ana.torn").read_bytes() == b'{"item"\n'


def test_a_damaged_line_in_the_middle_is_named(made: Made, desk: Desk) -> None:
    desk.add("ana", truthful(desk.sample, made.right, 2))
    lines(desk).write_bytes(b"{}\n" + lines(desk).read_bytes())
    with pytest.raises(StoreError, match=r"ana\.jsonl', line 1: no decision can be read from b'\{\}'"):
        desk.read("ana")


def test_undo_takes_back_one_after_another_also_in_a_new_process(made: Made, desk: Desk) -> None:
    first, second = (item.shown.id for item in desk.sample.items[:2])
    for one in (Review(first, "accept"), Review(second, "reject"), Review(first, "reject", note="no")):
        desk.add("ana", [one])
    back = desk.undo("ana")
    assert back is not None
    assert (back.item, *back.said) == (first, "accept", "", "")
    again = made.desk()
    assert again.undo("ana").item == second
    assert list(again.decided("ana")) == [first]
    again.add("ana", [Review(second, "accept")])
    assert again.undo("ana").item == second
    assert again.undo("ana").item == first
    assert again.decided("ana") == {}
    assert again.undo("ana") is None


def test_a_review_changes_no_artefact(made: Made) -> None:
    before = {ident: made.store.manifest(ident) for ident in made.store.ids()}
    desk = made.desk(20)
    desk.add("ana", truthful(desk.sample, made.right))
    assert {ident: made.store.manifest(ident) for ident in made.store.ids()} == before
    assert all(made.store.damaged(ident) == [] for ident in before)
    assert desk.folder == made.store.root / "reviews" / made.report.id


def test_the_sample_stays_once_somebody_has_decided(made: Made, desk: Desk) -> None:
    assert len(made.desk(30, 4).sample.items) == 30
    drawn = made.desk(20, 0)
    assert drawn.sample == desk.sample
    drawn.add("ana", truthful(drawn.sample, made.right, 1))
    for asked in ((30, None), (None, 4)):
        with pytest.raises(StoreError, match=r"drawn with --items 20 --seed 0, and ana decided on it"):
            made.desk(*asked)
    assert made.desk(20).sample == made.desk(None, 0).sample == made.desk().sample == drawn.sample


def test_all_reviewers_look_at_the_same_rows(made: Made, desk: Desk) -> None:
    desk.add("ana", truthful(desk.sample, made.right))
    desk.add("ben", truthful(desk.sample, made.right, 4))
    assert desk.reviewers() == ["ana", "ben"]
    assert set(desk.read("ben")) < set(desk.read("ana"))


def test_a_damaged_sample_is_named_and_drawn_again_the_same(made: Made, desk: Desk) -> None:
    desk.add("ana", truthful(desk.sample, made.right, 4))
    path = desk.folder / "sample.json"
    path.write_text("{")
    with pytest.raises(StoreError, match=r"sample\.json' is damaged"):
        made.desk()
    path.unlink()
    assert made.desk(20).sample == desk.sample
    assert len(made.desk().decided("ana")) == 4


def test_nobody_has_begun_is_no_error(made: Made) -> None:
    assert desk_of(made.store, made.report.id) is None
    assert not folder_of(made.store, made.report.id).exists()


def test_a_file_that_cannot_be_written_is_an_error_that_says_so(made: Made, desk: Desk) -> None:
    lines(desk).mkdir()
    with pytest.raises(StoreError, match=r"cannot write the reviews in .* What was saved before is safe"):
        desk.add("ana", truthful(desk.sample, made.right, 1))
    with pytest.raises(StoreError, match="cannot read the reviews in"):
        desk.read("ana")


@pytest.mark.parametrize("name", ["", "../ana", ".ana", "a b", "Ana Lopez", "é", "a" * 41, "sample.json"])
def test_names_that_cannot_be_files_are_refused(name: str) -> None:
    with pytest.raises(HarnessError, match="--reviewer"):
        checked_name(name)
    assert checked_name("Ana-2_b") == "Ana-2_b"


def test_what_may_be_decided(made: Made, desk: Desk, tmp_path: Path) -> None:
    item = desk.sample.items[0]
    other = next(label for label in desk.sample.labels if label != item.shown.label)
    assert fault(item, "accept", "", desk.sample) == ("", "")
    assert fault(item, "relabel", other, desk.sample) == ("", "")
    assert "is none of accept, reject, relabel" in fault(item, "ok", "", desk.sample)[1]
    assert "goes with the decision relabel only" in fault(item, "accept", other, desk.sample)[1]
    for label in ("", "DELTA", item.shown.label):
        column, why = fault(item, "relabel", label, desk.sample)
        assert column == "new_label"
        assert why.endswith(", ".join(one for one in desk.sample.labels if one != item.shown.label))
    answers = make_made(Store(tmp_path / "answers"), 30, answers=True).desk()
    row = answers.sample.items[0]
    assert fault(row, "relabel", "something else", answers.sample) == ("", "")
    assert "needs the other answer" in fault(row, "relabel", " ", answers.sample)[1]
    assert "is the answer that the row has" in fault(row, "relabel", row.shown.answer.upper(), answers.sample)[1]
    assert "up to 2,000" in fault(row, "relabel", "x" * 2001, answers.sample)[1]
