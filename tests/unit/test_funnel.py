import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from factories import make_spec
from filter_cases import candidate, candidates, context
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.filters import TABLE, enabled
from harness.filters.base import Context, Stamp, Standing
from harness.filters.funnel import Sieved, check_conservation, funnel, sieve
from harness.filterspec import Filters
from harness.generate.produce import NOT_ASKED
from harness.lines import Kept, Lines
from harness.records import Candidate, Cell, Decision, Origin, ParseFailure, Quota, Verdict
from harness.reports import FilterWorth
from harness.store import write_lines


@dataclass
class Scripted:
    """A filter that says what the table has for a candidate's text: drop, abstain, a label to relabel to, or keep."""

    name: str
    table: dict[str, str]
    version: int = 3
    seen: tuple[tuple[str, str], ...] = ()

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        stamp = Stamp(self.name, self.version)
        self.seen = tuple((one.candidate.example.text, one.label) for one in standing)
        return [self._verdict(stamp, one) for one in standing]

    def _verdict(self, stamp: Stamp, one: Standing) -> Verdict:
        match self.table.get(one.candidate.example.text, "keep"):
            case "keep":
                return stamp.keep(one.candidate)
            case "drop":
                return stamp.drop(one.candidate, "for a reason")
            case "abstain":
                return stamp.abstain(one.candidate, "no idea")
            case label:
                return stamp.relabel(one.candidate, label, f"reads as {label}", 0.9)

    def worth(self, context: Context) -> FilterWorth | None:
        return None


def run(filters: Sequence[Scripted], *texts: str) -> Sieved:
    return asyncio.run(sieve(filters, context(candidates(*texts))))


def test_dropped_candidates_are_not_shown_to_later_filters_which_abstain() -> None:
    first, second = Scripted("first", {"b": "drop"}), Scripted("second", {"c": "drop"})
    found = run([first, second], "a", "b", "c", "d")
    assert second.seen == (("a", "ALPHA"), ("c", "ALPHA"), ("d", "ALPHA"))
    of_b = [one for one in found.verdicts if one.candidate == candidate(2, "b").id]
    assert [(one.filter, one.decision, one.reason, one.version) for one in of_b] == [
        ("first", Decision.DROP, "for a reason", 3),
        ("second", Decision.ABSTAIN, "dropped by first", 3),
    ]
    assert [one.text for one in found.accepted] == ["a", "d"]


def test_a_new_label_holds_for_later_filters_and_in_the_end_and_may_change_again() -> None:
    first, second = Scripted("first", {"a": "BETA", "b": "BETA"}), Scripted("second", {"b": "GAMMA"})
    third = Scripted("third", {})
    found = run([first, second, third], "a", "b", "c")
    assert third.seen == (("a", "BETA"), ("b", "GAMMA"), ("c", "ALPHA"))
    assert [one.label for one in found.accepted] == ["BETA", "GAMMA", "ALPHA"]
    assert {one.origin for one in found.accepted} == {Origin.SYNTHETIC}


def test_an_abstention_keeps_the_candidate() -> None:
    assert len(run([Scripted("first", {"a": "abstain"})], "a").accepted) == 1


def test_verdicts_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    rows = candidates("a", "b", "c", "d")
    first = Scripted("first", {"b": "drop", "c": "BETA"})
    filters = [first, Scripted("second", {"a": "drop"})]
    in_memory = asyncio.run(sieve(filters, context(rows)))
    write_lines(tmp_path / "rows", Candidate, rows)
    with Kept(tmp_path, Verdict) as kept:
        on_disk = asyncio.run(sieve(filters, context(Lines(tmp_path / "rows", Candidate)), None, kept))
        assert on_disk.verdicts is kept
        assert on_disk == in_memory
    assert [one.label for one in in_memory.accepted] == ["BETA", "ALPHA"]


def test_without_filters_everything_is_accepted() -> None:
    found = run([], "a", "b")
    assert (len(found.accepted), found.verdicts) == (2, ())


@pytest.mark.parametrize("fault", ["order", "missing", "twice", "stranger"])
def test_a_filter_that_breaks_the_rule_of_one_verdict_each_is_a_defect(fault: str) -> None:
    class Broken(Scripted):
        async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
            own = await super().__call__(standing, context)
            stranger = Stamp(self.name, 1).keep(candidate(9, "z"))
            return {
                "order": own[::-1],
                "missing": own[:-1],
                "twice": [*own, own[-1]],
                "stranger": [*own[:-1], stranger],
            }[fault]

    with pytest.raises(AssertionError, match="'broken' did not give one verdict per candidate, in order"):
        run([Broken("broken", {})], "a", "b")


def test_two_candidates_of_one_id_are_a_defect() -> None:
    rows = [candidate(1, "a"), candidate(1, "b")]
    with pytest.raises(AssertionError, match="2 candidates lack a verdict or have two"):
        asyncio.run(sieve([Scripted("first", {})], context(rows)))
    with pytest.raises(AssertionError, match="1 candidates lack a verdict"):
        check_conservation(1, candidates("a"), [])


OUTCOMES = st.sampled_from(["keep", "drop", "abstain", "BETA"])


@settings(max_examples=80, deadline=None)
@given(
    tables=st.lists(st.lists(OUTCOMES, min_size=6, max_size=6), max_size=4),
    failures=st.lists(st.sampled_from(["refusal", "empty answer", NOT_ASKED]), max_size=5),
)
def test_counts_add_up_in_every_cell(tables: list[list[str]], failures: list[str]) -> None:
    cells = [Cell("label=A", {"label": "A"}), Cell("label=B", {"label": "B"})]
    rows = [candidate(i, f"t{i}", cell=cells[i % 2].id) for i in range(6)]
    filters = [
        Scripted(f"f{number}", {f"t{i}": word for i, word in enumerate(table)}) for number, table in enumerate(tables)
    ]
    found = asyncio.run(sieve(filters, context(rows)))
    failed = [ParseFailure(f"syn-f{i}", cells[0].id, 1, 0, "k", i, reason, "") for i, reason in enumerate(failures)]
    planned = [Quota(cells[0], 3), Quota(cells[1], 3), Quota(cells[0], len(failed))]
    table = funnel(filters, planned, rows, failed, found.verdicts)
    assert [row.cell for row in table] == ["label=A", "label=B"]
    for row in table:
        stages = list(row.counts)
        assert stages == ["planned", "generated", "parsed", *(one.name for one in filters), "accepted"]
        counts = list(row.counts.values())
        assert counts == sorted(counts, reverse=True)
        assert sum(row.reasons.values()) == row.counts["planned"] - row.counts["accepted"]
    assert sum(row.counts["accepted"] for row in table) == len(found.accepted)
    assert table[0].counts["planned"] - table[0].counts["generated"] == failures.count(NOT_ASKED)
    assert table[0].counts["parsed"] == 3


def test_reasons_are_counted_by_filter_and_sorted() -> None:
    cell = Cell("label=A", {"label": "A"})
    rows = [candidate(i, f"t{i}", cell="label=A") for i in range(4)]
    filters = [Scripted("one", {"t0": "drop"}), Scripted("two", {"t1": "drop", "t2": "drop"})]
    found = asyncio.run(sieve(filters, context(rows)))
    failed = [
        ParseFailure(f"syn-f{i}", cell.id, 1, 0, "k", i, reason, "")
        for i, reason in enumerate(["refusal", "refusal", NOT_ASKED])
    ]
    (row,) = funnel(filters, [Quota(cell, 7)], rows, failed, found.verdicts)
    assert dict(row.counts) == {"planned": 7, "generated": 6, "parsed": 4, "one": 3, "two": 1, "accepted": 1}
    assert list(row.reasons.items()) == [
        ("parse: refusal", 2),
        ("two: for a reason", 2),
        (NOT_ASKED, 1),
        ("one: for a reason", 1),
    ]


def test_a_cell_that_gave_nothing_is_a_row_too() -> None:
    (row,) = funnel([], [Quota(Cell("label=A", {"label": "A"}), 8)], [], [], [])
    assert dict(row.counts) == {"planned": 8, "generated": 0, "parsed": 0, "accepted": 0}


def test_the_table_has_every_section_of_the_spec_and_the_switches_work() -> None:
    assert {item.name for item in TABLE} == set(Filters.model_fields)
    assert [item.name for item in enabled(make_spec().filters)] == [item.name for item in TABLE]
    some = make_spec(filters={"judge": {"enabled": False}, "format": {"enabled": False}}).filters
    assert [item.name for item in enabled(some)] == ["consistency", "difficulty", "duplicates", "leakage", "quota"]
