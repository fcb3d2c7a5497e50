"""Human labels: what a file of `harness review` says, what is wrong with another one, and the gate that goes by it."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import answer_cases
import pytest
from factories import LABELS, make_spec
from fakes import ScriptedLlm, nobody
from filter_cases import seed

from harness.decisions import gate_of
from harness.errors import DataError
from harness.filters.gate import gate_calls, open_gate
from harness.filters.rubric import Item
from harness.forecast import forecast
from harness.humanlabels import HumanLabels, read_labels
from harness.judgewords import gate_facts
from harness.llm.client import Request
from harness.loop import run_id
from harness.progress import Silent, Watch
from harness.reports import GateReport
from harness.spec import Data, Spec
from harness.store import Store

COLUMNS = ("id", "text", "label", "answer", "context", "cell", "decision", "new_label", "note", "reviewer")
SOURCE = {"kind": "packaged", "name": "trec"}
SEEDS = [seed(i, f"{label} is what item number {i} names", label) for i in range(12) for label in LABELS]


def spec(**judge: Any) -> Spec:
    return make_spec(filters={"judge": {"human_labels": "reviews.csv"} | judge})


def line(number: int, text: str, decision: str, label: str = "ALPHA", **more: str) -> dict[str, str]:
    return {"id": f"syn-{number:012x}", "text": text, "label": label, "decision": decision, "reviewer": "A. R.", **more}


def write(folder: Path, rows: Sequence[dict[str, str]], columns: Sequence[str] = COLUMNS) -> Path:
    path = folder / "reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(folder: Path, rows: Sequence[dict[str, str]], of: Spec | None = None) -> HumanLabels:
    write(folder, rows)
    found = read_labels(of or spec(), folder)
    assert found is not None
    return found


def refused(folder: Path, rows: Sequence[dict[str, str]], of: Spec | None = None) -> str:
    write(folder, rows)
    with pytest.raises(DataError) as caught:
        read_labels(of or spec(), folder)
    return str(caught.value)


def reviewed(count: int = 60) -> list[dict[str, str]]:
    """Every second text fits its label, all that do not are at the end."""
    right = [line(i, f"ALPHA row {i}, a good one", "accept") for i in range(count // 2)]
    return [*right, *(line(100 + i, f"BETA row {i}, a good one", "reject") for i in range(count // 2))]


def oracle(request: Request) -> str:
    _, _, text = request.prompt[1][1].partition("<item>")
    label = "ALPHA" if "first kind" in request.prompt[1][1] else "BETA"
    return json.dumps(dict.fromkeys(("relevance", "correctness", "adherence"), 5 if text.startswith(label) else 1))


def test_decisions_become_truths_and_undecided_rows_are_left_out(tmp_path: Path) -> None:
    rows = [
        line(1, "Fits.", "accept"),
        line(2, "Fits not.", "reject", "BETA"),
        line(3, "Not looked at yet.", ""),
        line(4, "Rather a beta.", "relabel", "ALPHA", new_label="BETA"),
        line(5, "Something else.", "relabel", "ALPHA"),
        line(6, "Two, with a comma,\nand a line.", "accept", "GAMMA"),
    ]
    found = read(tmp_path, rows)
    assert found.items == (
        (Item("Fits.", "ALPHA"), True),
        (Item("Fits not.", "BETA"), False),
        (Item("Rather a beta.", "ALPHA"), False),
        (Item("Rather a beta.", "BETA"), True),
        (Item("Something else.", "ALPHA"), False),
        (Item("Two, with a comma,\nand a line.", "GAMMA"), True),
    )
    assert (found.undecided, found.disputed) == (1, 0)
    assert found.notes == ("filters.judge.human_labels: 1 rows without a decision are left out of the judge's gate.",)
    assert found.sha256 == hashlib.sha256((tmp_path / "reviews.csv").read_bytes()).hexdigest()


def test_what_a_spreadsheet_does_to_a_file_is_undone(tmp_path: Path) -> None:
    rows = [line(1, "'=1+1 is what ?", " Accept "), line(2, "''tis so ?", "REJECT"), line(3, "'tis so ?", "reject")]
    path = write(tmp_path, rows)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    found = read_labels(spec(), tmp_path)
    assert found is not None
    assert [(item.text, right) for item, right in found.items] == [("=1+1 is what ?", True), ("'tis so ?", False)]


def test_real_items_are_refused_since_held_out_ones_must_not_reach_a_judge(tmp_path: Path) -> None:
    rows = [line(1, "Made.", "accept"), {**line(2, "Real.", "accept"), "id": "real-0123456789ab"}]
    assert "reviews.csv:3: 'real-0123456789ab' is a real item" in refused(tmp_path, rows)


def test_of_two_reviewers_who_agree_one_counts_and_where_they_do_not_neither(tmp_path: Path) -> None:
    rows = [
        line(1, "Both like it.", "accept"),
        line(1, "Both like it.", "accept", reviewer="B. S."),
        line(2, "One likes it.", "accept"),
        line(2, "One likes it.", "reject", reviewer="B. S."),
    ]
    found = read(tmp_path, rows)
    assert found.items == ((Item("Both like it.", "ALPHA"), True),)
    assert found.disputed == 1
    assert "1 items on which the reviewers do not agree are left out" in found.notes[0]


def test_answers_are_judged_as_they_were_reviewed_and_another_kind_says_nothing_of_them(tmp_path: Path) -> None:
    of = answer_cases.spec(filters={"judge": {"human_labels": "reviews.csv"}})
    rows = [
        line(1, "Who wrote it ?", "accept", "answerable", answer="Austen", context="Emma is by Austen."),
        line(2, "Who read it ?", "relabel", "answerable", answer="Austen", new_label="unknown"),
    ]
    assert read(tmp_path, rows, of).items == (
        (Item("Who wrote it ?", "answerable", "Austen", "Emma is by Austen."), True),
        (Item("Who read it ?", "answerable", "Austen"), False),
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            line(2, "x", "acept"),
            "reviews.csv:3: decision 'acept' is not one of 'accept', 'reject', 'relabel' or empty; did",
        ),
        (line(2, "x", "accept", "ALPA"), "reviews.csv:3: label 'ALPA' is not one of 'ALPHA', 'BETA', 'GAMMA'; did you"),
        (line(2, "x", "relabel", new_label="delta"), "reviews.csv:3: new_label 'delta' is not one of 'ALPHA', 'BETA',"),
        (line(2, " ", "reject"), "reviews.csv:3: text is empty, so there is nothing to judge"),
    ],
)
def test_wrong_rows_are_named_with_line_value_and_what_is_allowed(
    tmp_path: Path, row: dict[str, str], words: str
) -> None:
    assert words in refused(tmp_path, [line(1, "Fine.", "accept"), row])


def test_all_wrong_rows_are_named_at_once_and_undecided_ones_may_be_wrong(tmp_path: Path) -> None:
    message = refused(tmp_path, [line(n, "x", "maybe", "DELTA") for n in range(4)])
    assert message.count("reviews.csv:") == 5
    assert "… and 3 more" in message
    assert read(tmp_path, [line(1, "Fine.", "accept"), line(2, "", "", "DELTA")]).undecided == 1


def test_a_file_without_what_is_needed(tmp_path: Path) -> None:
    assert "no row has a usable decision" in refused(tmp_path, [line(1, "x", "")])
    write(tmp_path, [line(1, "x", "accept")], ["id", "text", "verdict"])
    with pytest.raises(DataError, match=r"reviews\.csv:1: no column 'label', 'decision' among 'id', 'text', 'verdict'"):
        read_labels(spec(), tmp_path)
    of = answer_cases.spec(filters={"judge": {"human_labels": "reviews.csv"}})
    write(tmp_path, [line(1, "x", "accept")], ["id", "text", "label", "decision"])
    with pytest.raises(DataError, match="no column 'answer'"):
        read_labels(of, tmp_path)
    assert "answer is empty" in refused(tmp_path, [line(1, "x", "accept", "answerable")], of)
    with pytest.raises(DataError, match=r"filters\.judge\.human_labels: there is no file '.*elsewhere.*reviews\.csv'"):
        read_labels(spec(), tmp_path / "elsewhere")


def test_where_the_judge_is_off_or_no_file_is_named_nothing_is_read(tmp_path: Path) -> None:
    assert read_labels(spec(enabled=False), tmp_path) is None
    assert read_labels(make_spec(), tmp_path) is None


def gate(
    folder: Path, labels: HumanLabels | None, llm: ScriptedLlm, of: Spec | None = None
) -> tuple[GateReport, list[str]]:
    """The gate as a run opens it, from a store in `folder`."""
    watch = Watch(Silent())
    found = asyncio.run(gate_of(of or spec(), SEEDS, "split-1", llm, Store(folder / "store"), watch, labels))
    assert found is not None
    return found, watch.notes


def test_the_gate_goes_by_the_people_and_says_so(tmp_path: Path) -> None:
    labels = read(tmp_path, reviewed())
    llm = ScriptedLlm(oracle)
    found, _ = gate(tmp_path, labels, llm)
    assert found.passed, found.reason
    assert (found.truth, found.labels, found.n) == ("human labels", labels.sha256, 60)
    assert (found.phi, found.psi) == (1.0, 0.0)
    assert len(llm.requests) == gate_calls(60, spec()) == 78
    assert not any(one.text in llm.bodies for one in SEEDS)
    assert f"Held to human labels (file {labels.sha256[:12]}…), n = 60." in gate_facts(found)


def test_a_judge_that_sees_planted_errors_but_does_not_agree_with_people_is_refused(tmp_path: Path) -> None:
    people = [{**one, "decision": "accept" if one["decision"] == "reject" else "reject"} for one in reviewed()]
    found, _ = gate(tmp_path, read(tmp_path, people), ScriptedLlm(oracle))
    assert not found.passed
    assert found.reason.startswith("lower bound of κ is -")


def test_the_gate_shows_a_random_part_of_at_most_gate_items(tmp_path: Path) -> None:
    labels = read(tmp_path, reviewed())
    llm = ScriptedLlm(oracle)
    found, _ = gate(tmp_path, labels, llm, spec(gate_items=40))
    assert found.n == 40
    assert len(llm.requests) == gate_calls(60, spec(gate_items=40)) == 52
    # The file's first half was accepted; what is asked twice must not be.
    again = Counter("ALPHA row" in str(request.prompt) for request in llm.requests if request.sample == 1)
    assert set(again) == {True, False}


def test_the_gate_of_the_same_file_is_opened_once_and_of_another_one_anew(tmp_path: Path) -> None:
    labels = read(tmp_path, reviewed())
    first, _ = gate(tmp_path, labels, ScriptedLlm(oracle))
    again, _ = gate(tmp_path, labels, ScriptedLlm(nobody))
    assert again == first
    changed = read(tmp_path, [*reviewed()[:-1], line(7, "One more.", "reject")])
    llm = ScriptedLlm(oracle)
    other, _ = gate(tmp_path, changed, llm)
    assert llm.requests
    assert other.labels != first.labels


def test_what_is_left_out_is_said_in_every_run(tmp_path: Path) -> None:
    labels = read(tmp_path, [*reviewed(), line(900, "Not yet.", "")])
    for script in (oracle, nobody):
        _, notes = gate(tmp_path, labels, ScriptedLlm(script))
        assert notes == ["filters.judge.human_labels: 1 rows without a decision are left out of the judge's gate."]


def test_a_budget_that_ends_at_the_gate_keeps_the_truth_in_its_report(tmp_path: Path) -> None:
    labels = read(tmp_path, reviewed())
    found, _ = gate(tmp_path, labels, ScriptedLlm(oracle, calls=3))
    assert (found.passed, found.truth, found.labels) == (False, "human labels", labels.sha256)


def test_the_content_of_the_file_is_part_of_the_runs_id_and_its_place_is_not(tmp_path: Path) -> None:
    ids: list[str] = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        path = write(folder, reviewed())
        ids += [run_id(spec(), folder)[0], run_id(spec(human_labels=str(path)), tmp_path)[0]]
        path.rename(folder / "renamed.csv")
        ids.append(run_id(spec(human_labels="renamed.csv"), folder)[0])
    assert len(set(ids)) == 1
    write(tmp_path / "one", reviewed(40))
    assert run_id(spec(), tmp_path / "one")[0] != ids[0]
    assert run_id(make_spec(), tmp_path)[0] != ids[0]


def test_a_file_that_cannot_be_read_stops_a_run_before_it_spends_anything(tmp_path: Path) -> None:
    write(tmp_path, [line(1, "x", "yes")])
    with pytest.raises(DataError, match="decision 'yes'"):
        run_id(spec(), tmp_path)


def test_a_plan_counts_what_the_gate_asks_of_the_file(tmp_path: Path) -> None:
    labels = read(tmp_path, reviewed(40))
    llm = ScriptedLlm(oracle)
    asyncio.run(open_gate(SEEDS, llm, spec(), labels=labels))
    few = spec().model_copy(update={"data": Data.model_validate({"source": SOURCE, "split": {"seeds": 30}})})
    for given, expected in ((labels, len(llm.requests)), (None, 100 + 30)):
        (row,) = [one for one in forecast(few, (), given).calls if one.purpose.startswith("gate")]
        assert row.expected.calls == row.most.calls == expected
