"""Of any counts: an interval holds its value, stays where shares lie, and moves with what was counted."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from eval.intervals import independent_shares, paired_shares, wilson
from eval.slices import slice_members, slice_pairs, slice_scores
from harness.records import Estimate, Example, Origin, Prediction, Status

COUNTS = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
ITEMS = st.lists(
    st.tuples(st.sampled_from("ABC"), st.sampled_from(["x", "y", "", "a=b", "../x"]), st.sampled_from("ABC")),
    max_size=60,
)


def holds(found: Estimate, lowest: float) -> bool:
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return lowest <= found.low <= found.value <= found.high <= 1


@given(COUNTS)
@settings(max_examples=50)
def test_a_share_lies_in_its_interval_and_rises_with_the_successes(counts: tuple[int, int]) -> None:
    successes, n = counts
    found = wilson(successes, n)
    assert holds(found, 0)
    if successes < n:
        more = wilson(successes + 1, n)
        assert (more.low or 0) > (found.low or 0) or successes == 0
        assert (more.high or 0) >= (found.high or 0)
    tenfold = wilson(10 * successes, 10 * n)
    assert (tenfold.high or 0) - (tenfold.low or 0) < (found.high or 0) - (found.low or 0)


@given(COUNTS, COUNTS)
@settings(max_examples=50)
def test_a_difference_of_two_shares_lies_in_its_interval_and_turns_with_its_sides(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    found, turned = independent_shares(*one, *other), independent_shares(*other, *one)
    assert holds(found, -1)
    assert holds(turned, -1)
    assert abs((found.value or 0) + (turned.value or 0)) < 1e-12
    assert abs((found.low or 0) + (turned.high or 0)) < 1e-9


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
@settings(max_examples=50)
def test_a_paired_difference_lies_in_its_interval_and_rises_with_the_gains(counts: tuple[int, int, int]) -> None:
    only_a, only_b, n = counts[0], min(counts[1], counts[2] - counts[0]), counts[2]
    found = paired_shares(only_a, only_b, n)
    assert holds(found, -1)
    if only_a + only_b < n:
        assert (paired_shares(only_a + 1, only_b, n).value or 0) > (found.value or 0)


def examples(rows: Sequence[tuple[str, str, str]]) -> list[Example]:
    return [Example(f"i{n}", f"text {n}", row[0], {"kind": row[1]}, Origin.REAL) for n, row in enumerate(rows)]


@given(ITEMS, st.integers(1, 4))
@settings(max_examples=50)
def test_each_column_parts_the_items_and_pairs_lie_inside_their_halves(
    rows: list[tuple[str, str, str]], most: int
) -> None:
    members = slice_members(examples(rows), "ABC", most)
    for column in ("label=", "kind="):
        found = [place for name, places in members.items() if name.startswith(column) for place in places]
        assert sorted(found) == list(range(len(rows)))
    for name, places in slice_pairs(members, min_items=2).items():
        for half in name.split(" & "):
            assert set(places) <= set(members[half])


@given(ITEMS)
@settings(max_examples=50)
def test_scores_of_slices_count_every_item_once_a_column(rows: list[tuple[str, str, str]]) -> None:
    items = examples(rows)
    said = [Prediction(item.id, Status.OK, row[2], 0.5) for item, row in zip(items, rows, strict=True)]
    scores = slice_scores(items, said, "ABC")
    for column in ("label=", "kind="):
        own = [one for one in scores if one.slice.startswith(column)]
        assert sum(one.n for one in own) == len(rows)
        right = sum((one.value or 0) * one.n for one in own)
        assert abs(right - sum(row[0] == row[2] for row in rows)) < 1e-6
