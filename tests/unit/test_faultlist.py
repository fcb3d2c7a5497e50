"""The table of `scripts/faults` and where it kills; the faults themselves are for the script."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from faultlist import __main__ as faults
from faultlist.course import STAGES, Event
from faultlist.fuzz import BLOCK, GOOD, WEIGHTS, mutated, run_block
from faultlist.kills import Chain, points, rows
from faultlist.row import Options, Row, table
from faultlist.trial import differences, timeless

COURSE = [
    Event(name, float(place))
    for place, name in enumerate([
        "split-1", "gate-1", "plan-1", "call 1", "call 2", "candidates-1", "adapter-1", "probabilities-1", "verdicts-1",
        "dataset-1", "adapter-2", "evaluation-1", "run-1", "page", "tracked", "end",
    ])
]  # fmt: skip


def row(number: int, *, held: bool) -> Row:
    return Row(number, f"fault {number} | x", 1200, held, "0 of\n3", 7)


def test_the_table_is_in_order_and_shouts_what_did_not_hold() -> None:
    lines = table([row(5, held=False), row(1, held=True)], "abc").splitlines()
    assert lines[-2].startswith("| 1 | fault 1 \\| x | 1,200 | yes | 0 of 3 | 7 | abc, ")
    assert lines[-1].startswith("| 5 | fault 5 \\| x | 1,200 | **NO** | 0 of 3 | 7 | abc, ")


def test_lines_of_rows_that_were_not_measured_again_stay() -> None:
    before = table([row(5, held=False), row(10, held=True)], "abc")
    after = table([row(5, held=True), row(2, held=True)], "def", before)
    found = [line.split(" | ") for line in after.splitlines()[-3:]]
    assert [(cells[0], cells[-4], cells[-1][:3]) for cells in found] == [
        ("| 2", "yes", "def"),
        ("| 5", "yes", "def"),
        ("| 10", "yes", "abc"),
    ]


@pytest.mark.parametrize("held", [True, False])
def test_a_row_that_does_not_hold_is_an_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: bool) -> None:
    monkeypatch.setattr(faults, "TABLE", {(5,): lambda options: [row(5, held=held)]})
    out = tmp_path / "table.md"
    assert faults.main(["--rows", "5", "--out", str(out)]) == int(not held)
    assert ("**NO**" in out.read_text()) is not held


def test_a_row_that_cannot_be_measured_is_absent_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(options: Options) -> list[Row]:
        raise SystemExit("no run")

    monkeypatch.setattr(faults, "TABLE", {(5,): fails, (6,): lambda options: [row(6, held=True)]})
    out = tmp_path / "table.md"
    assert faults.main(["--out", str(out)]) == 1
    assert "| 6 |" in out.read_text()
    assert "| 5 |" not in out.read_text()


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(SystemExit, match="no row \\[999\\]"):
        faults.main(["--rows", "999"])


def test_kills_are_spread_over_all_stages_and_repeat() -> None:
    hits: Counter[str] = Counter()
    for number in range(12):
        found = points(COURSE, 5, 5 * number, random.Random(number))
        assert found == points(COURSE, 5, 5 * number, random.Random(number))
        assert [place for place, _ in found] == sorted({place for place, _ in found})
        hits.update(COURSE[place + 1].stage for place, _ in found)
    assert set(hits) == set(STAGES)
    assert max(hits.values()) - min(hits.values()) <= 1


def held(*chains: Chain, finished: float = 1.0) -> dict[int, bool]:
    options = Options(0, 2, 2, 1, 1, Path(), Path())
    return {one.number: one.held for one in rows(options, chains, finished)}


def test_a_file_that_differs_or_a_stage_made_anew_is_not_held() -> None:
    stages = ["generation", "training", "report", "tracking"]
    fine = Chain(stages, delivered=9)
    assert held(fine) == {1: True, 2: True, 3: True, 27: True}
    assert held(fine, finished=9.0) == {1: True, 2: True, 3: False, 27: True}
    assert held(fine, Chain(stages, other=["dataset/x"])) == {1: False, 2: False, 3: False, 27: True}
    assert held(Chain(stages, redone=1)) == {1: True, 2: False, 3: False, 27: True}
    assert held(Chain(stages, lost=1)) == {1: False, 2: True, 3: True, 27: True}
    assert held(Chain(stages, orphans=1)) == {1: True, 2: True, 3: True, 27: False}
    assert not any(held(Chain(stages, failed="Traceback")).values())


def test_a_stage_that_no_kill_hit_has_no_row() -> None:
    assert held(Chain(["training"])) == {2: True}


def test_reports_are_compared_without_the_clock() -> None:
    report = {
        "id": "run-1",
        "started": "now",
        "seconds": {},
        "units": {},
        "memory": 5,
        "rounds": [{"n": 1, "seconds": {}}],
    }
    report["openings"] = [{"at": "now", "run": "run-1"}]
    later = json.loads(json.dumps(report).replace("now", "later").replace("5", "6"))
    assert timeless(json.dumps(report).encode()) == timeless(json.dumps(later).encode())
    later["rounds"][0]["n"] = 2
    assert timeless(json.dumps(report).encode()) != timeless(json.dumps(later).encode())
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b", "c"]


def test_a_block_of_inputs_is_the_same_again_and_counted_whole() -> None:
    assert set(GOOD) == set(WEIGHTS)
    assert [mutated(GOOD["body"], random.Random(n)) for n in range(9)] == [
        mutated(GOOD["body"], random.Random(n)) for n in range(9)
    ]
    tally = run_block((0, 0))
    assert tally.crashes == []
    assert tally.read + tally.refused == tally.inputs.total() == BLOCK
    assert tally.read > 100
    assert tally.refused > 100
