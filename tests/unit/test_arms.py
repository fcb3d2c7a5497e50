from collections import Counter

import pytest
from filter_cases import seed
from hypothesis import given
from hypothesis import strategies as st

from harness.arms import Material, draw, rows_of
from harness.records import Example, Origin


def rows(kind: str, count: int, origin: Origin = Origin.REAL) -> list[Example]:
    return [Example(f"{kind}-{i}", f"{kind} text {i}", "AB"[i % 2], {}, origin) for i in range(count)]


def material(accepted: int, pool: int) -> Material:
    return Material(rows("seed", 4), rows("pool", pool), rows("syn", accepted, Origin.SYNTHETIC))


@pytest.mark.parametrize(
    ("accepted", "pool", "sizes"),
    [
        (
            6,
            10,
            {"seeds": 4, "synthetic": 6, "mixed": 10, "real": 6, "synthetic_equal": None, "all_real": 14},
        ),
        (10, 6, {"seeds": 4, "synthetic": 10, "mixed": 14, "real": 6, "synthetic_equal": 6, "all_real": 10}),
        (6, 6, {"synthetic": 6, "real": 6, "synthetic_equal": None}),
        (6, 0, {"seeds": 4, "synthetic": 6, "mixed": 10, "real": None, "synthetic_equal": None, "all_real": None}),
        (0, 6, {"synthetic": 0, "mixed": 4, "real": 0, "synthetic_equal": None, "all_real": 10}),
    ],
)
def test_how_many_rows_each_arm_has(accepted: int, pool: int, sizes: dict[str, int | None]) -> None:
    given = material(accepted, pool)
    found = {arm: rows_of(arm, given, 1) for arm in sizes}
    assert {arm: None if own is None else len(own) for arm, own in found.items()} == sizes
    assert rows_of("base", given, 1) is None


def test_real_and_synthetic_equal_have_one_size_and_real_rows_only_where_they_should() -> None:
    given = material(10, 6)
    real, equal = rows_of("real", given, 1), rows_of("synthetic_equal", given, 1)
    assert real is not None
    assert equal is not None
    assert len(real) == len(equal) == 6
    assert {one.origin for one in real} == {Origin.REAL}
    assert {one.origin for one in equal} == {Origin.SYNTHETIC}
    mixed = rows_of("mixed", given, 1)
    assert mixed is not None
    assert Counter(one.origin for one in mixed) == {Origin.REAL: 4, Origin.SYNTHETIC: 10}


@given(st.lists(st.sampled_from("aaaabc"), max_size=30), st.integers(0, 35), st.integers(0, 5))
def test_a_draw_has_every_label_that_there_is_room_for(labels: list[str], size: int, chance: int) -> None:
    pool = [seed(i, str(i), label) for i, label in enumerate(labels)]
    drawn = draw(pool, size, chance)
    assert drawn == draw(pool, size, chance)
    assert len(drawn) == len({one.id for one in drawn}) == min(size, len(pool))
    places = [pool.index(one) for one in drawn]
    assert places == sorted(places)
    assert len({one.label for one in drawn}) >= min(size, len(set(labels)))


def test_a_draw_is_random_and_otherwise_as_the_labels_fall() -> None:
    pool = [seed(i, str(i), "a" if i < 900 else "b") for i in range(1000)]
    share = [sum(one.label == "b" for one in draw(pool, 200, chance)) for chance in range(20)]
    assert len(set(share)) > 3
    assert 15 < sum(share) / 20 < 25


def test_a_rare_label_is_never_left_out() -> None:
    pool = [seed(i, str(i), "b" if i == 500 else "a") for i in range(1000)]
    assert all(sum(one.label == "b" for one in draw(pool, 10, chance)) == 1 for chance in range(20))
