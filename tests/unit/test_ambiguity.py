from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories import LABELS, make_run_report
from filter_cases import candidates, context

from harness.ambiguity import _cells, ambiguity_of, entropy
from harness.filters.base import Labeller, Stamp, Votes
from harness.frames import ambiguous
from harness.observe import HIDDEN
from harness.report import write_report
from harness.reports import Ambiguity

NAMES = tuple(LABELS)
SURE, TORN = [0.96, 0.02, 0.02], [0.4, 0.35, 0.25]


def labeller(rows: list[list[float]], seeds: list[list[float]]) -> Labeller:
    return Labeller(NAMES, np.array(rows), np.array(rows), np.array(seeds))


def found(doubtful: set[int], cells: list[str]) -> Ambiguity:
    """Candidates in these cells, of whom those in `doubtful` tear the students; one seed in 40 does so too."""
    rows = [replace(one, cell=cell) for one, cell in zip(candidates(*map(str, range(len(cells)))), cells, strict=True)]
    answers = [TORN if number in doubtful else SURE for number in range(len(cells))]
    given = context(rows, labeller=labeller(answers, [SURE] * 39 + [[0.5, 0.3, 0.2]]))
    made = ambiguity_of(given, [])
    assert made is not None
    return made


def test_entropy_is_nothing_where_all_is_sure_and_one_where_nothing_is() -> None:
    assert entropy(np.array([[1.0, 0.0, 0.0], [1 / 3] * 3])) == pytest.approx([0, 1])


def test_items_are_held_against_what_students_say_of_real_seeds() -> None:
    made = found({1, 3}, ["a"] * 6)
    assert (made.doubtful, made.n) == (2, 6)
    assert [one.text for one in made.items] == ["1", "3"]
    assert made.items[0].said == "ALPHA 0.40 / BETA 0.35"
    assert made.items[0].doubt == pytest.approx(entropy(np.array([TORN]))[0])
    assert not made.cells


def test_a_cell_is_named_only_where_it_is_worse_than_the_others() -> None:
    cells = ["good"] * 30 + ["bad"] * 10 + ["few"] * 2
    made = found({*range(2), *range(30, 39), 40, 41}, cells)
    assert [(one.cell, one.doubtful, one.n) for one in made.cells] == [("bad", 9, 10)]
    assert made.cells[0].low > made.doubtful / made.n
    assert not found(set(range(0, 42, 2)), cells).cells


@pytest.mark.parametrize(("count", "size"), [(60, 8), (60, 12), (2, 10)])
def test_cells_that_are_all_alike_are_seldom_named(count: int, size: int) -> None:
    """12 % of all rows tear the students. At most 5 of 100 runs should name a cell; more than 10 would be no chance."""
    generator = np.random.default_rng(3)
    cells = [f"cell {number}" for number in range(count) for _ in range(size)]
    named = [bool(_cells(cells, generator.random(len(cells)) < 0.12)) for _ in range(100)]
    assert sum(named) <= 10


def test_a_bad_cell_among_many_is_named() -> None:
    generator = np.random.default_rng(3)
    cells = [f"cell {number}" for number in range(60) for _ in range(12)]
    found = [
        _cells(cells, generator.random(len(cells)) < np.where(np.arange(len(cells)) < 12, 0.7, 0.12)) for _ in range(20)
    ]
    assert sum("cell 0" in [one.cell for one in each] for each in found) >= 18
    assert sum(len(each) for each in found) <= 24


def test_answers_are_ambiguous_without_a_majority() -> None:
    votes = Votes((("yes", "Yes", "no"), ("one", "two", "three"), ("a", "a", "a")), np.ones(3), ())
    made = ambiguity_of(context(candidates("p", "q", "r"), votes=votes), [])
    assert made is not None
    assert [(one.text, one.said) for one in made.items] == [("q", "one (1 of 3) / two (1 of 3)")]


def test_copies_of_held_out_texts_are_counted_and_not_shown() -> None:
    rows = candidates("a copy", "another")
    given = context(rows, labeller=labeller([TORN, TORN], [SURE] * 20))
    made = ambiguity_of(given, [Stamp("leakage", 1).drop(rows[0], "copies a held-out text")])
    assert made is not None
    assert {one.text for one in made.items} == {HIDDEN, "another"}


def test_without_students_or_candidates_there_is_nothing_to_say() -> None:
    assert ambiguity_of(context([]), []) is None
    assert ambiguity_of(context(candidates("a"), labeller=None), []) is None


def test_report_and_frame_show_them(tmp_path: Path) -> None:
    made = found({*range(2), *range(30, 39)}, ["good"] * 30 + ["bad"] * 10)
    plain = make_run_report()
    report = replace(plain, rounds=(*plain.rounds[:-1], replace(plain.rounds[-1], ambiguity=made)))
    page = write_report(report, tmp_path / "page").read_text()
    assert "On 11 of 40 candidates" in page
    assert "ALPHA 0.40 / BETA 0.35" in page
    assert list(ambiguous(report)["doubt"]) == sorted((one.doubt for one in made.items), reverse=True)
    assert len(ambiguous(plain)) == 0
