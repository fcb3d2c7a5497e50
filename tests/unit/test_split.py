from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from harness.clean import Item
from harness.errors import DataError, LeakageError
from harness.grouping import Grouping
from harness.records import Role
from harness.spec import Split
from harness.split import Drawn, check_apart, draw, minimum_detectable


def items(**labels: int) -> list[Item]:
    return [
        Item(f"real-{label}{i}", f"{label} {i}", f"{label} {i}", label, {}, None)
        for label, count in labels.items()
        for i in range(count)
    ]


def singles(count: int) -> Grouping:
    return Grouping(tuple(range(count)), tuple(range(count)))


def sizes(**given: object) -> Split:
    return Split.model_validate({"seeds": 20, "dev": 20, "anchor": 10, "test": 40, **given})


def labels(data: Sequence[Item], drawn: Drawn, role: Role) -> Counter[str]:
    return Counter(data[i].label for i in drawn.roles[role])


def test_every_role_gets_its_size_and_no_item_two_roles() -> None:
    data = items(A=100, B=100)
    drawn = draw(data, singles(200), sizes(pool=30), seed=1)
    assert {role: len(drawn.roles[role]) for role in Role} == {
        "seeds": 20,
        "dev": 20,
        "anchor": 10,
        "test": 40,
        "pool": 30,
    }
    placed = [i for role in Role for i in drawn.roles[role]]
    assert len(placed) == len(set(placed))
    assert drawn.dropped["not needed for the sizes asked for"] == 80


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    data = items(A=100, B=100)

    def ids(given: Sequence[Item], seed: int) -> dict[Role, set[str]]:
        drawn = draw(given, singles(len(given)), sizes(), seed)
        return {role: {given[i].id for i in drawn.roles[role]} for role in Role}

    assert ids(data, 1) == ids(data[::-1], 1)
    assert ids(data, 1) != ids(data, 2)


def test_seeds_are_even_over_the_labels_and_the_rest_keeps_the_sources_shares() -> None:
    data = items(A=900, B=100)
    drawn = draw(data, singles(1000), sizes(test=300, pool=300), seed=3)
    assert labels(data, drawn, Role.SEEDS) == {"A": 10, "B": 10}
    assert 18 <= labels(data, drawn, Role.TEST)["B"] <= 45
    assert 15 <= labels(data, drawn, Role.POOL)["B"] <= 45


def test_seeds_may_keep_the_sources_shares_but_never_miss_a_label() -> None:
    data = items(A=990, B=10)
    drawn = draw(data, singles(1000), sizes(balance_seeds=False), seed=3)
    assert labels(data, drawn, Role.SEEDS)["A"] >= 17
    assert labels(data, drawn, Role.SEEDS)["B"] >= 1


def test_no_more_than_half_of_a_rare_label_become_seeds_and_it_is_said() -> None:
    data = items(A=200, B=8)
    drawn = draw(data, singles(208), sizes(), seed=0)
    assert labels(data, drawn, Role.SEEDS) == {"A": 16, "B": 4}
    assert any(
        warning.startswith("seeds: 4 of 'B' instead of 10: it has 8 distinct items") for warning in drawn.warnings
    )


def test_a_rare_label_is_kept_back_for_the_seeds_when_data_is_scarce() -> None:
    data = items(A=86, B=4)
    for seed in range(10):
        assert labels(data, draw(data, singles(90), sizes(), seed), Role.SEEDS)["B"] == 2


def test_all_items_can_be_used_up() -> None:
    data = items(A=45, B=45)
    drawn = draw(data, singles(90), sizes(), seed=0)
    assert sum(len(drawn.roles[role]) for role in Role) == 90


def test_too_few_items_says_how_many_per_role_and_what_to_set() -> None:
    with pytest.raises(DataError) as caught:
        draw(items(A=25, B=20), singles(45), sizes(), seed=0)
    message = str(caught.value)
    assert (
        "asks for 90 items (seeds 20, dev 20, anchor 10, test 40, pool 0), but the data has 45 distinct ones" in message
    )
    assert "`split: {seeds: 18, dev: 7, anchor: 3, test: 15, pool: 0}`" in message
    assert "show differences from 23 points on" in message


def test_groups_that_leave_too_few_say_what_could_be_filled() -> None:
    data = items(A=50, B=50)
    groups = Grouping(tuple(range(100)), (0,) * 60 + tuple(range(60, 100)))
    with pytest.raises(DataError, match=r"dev 0 of 20.*the largest group holds 60.*near_duplicate \(0\.92\)"):
        draw(data, groups, sizes(), seed=0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 120), min_size=200, max_size=200), st.integers(0, 5))
def test_a_group_never_sits_in_two_roles(numbers: list[int], seed: int) -> None:
    data = items(A=100, B=100)
    first: dict[int, int] = {}
    near = tuple(first.setdefault(number, i) for i, number in enumerate(numbers))
    try:
        drawn = draw(data, Grouping(near, near), sizes(seeds=10), seed)
    except DataError:
        reject()
    owners: dict[int, set[Role]] = {}
    for role in Role:
        for i in drawn.roles[role]:
            owners.setdefault(near[i], set()).add(role)
    assert all(len(roles) == 1 for roles in owners.values())
    seeds = [near[i] for i in drawn.roles[Role.SEEDS]]
    assert len(seeds) == len(set(seeds))


def test_only_one_of_a_near_duplicate_group_is_a_seed_and_the_others_are_counted() -> None:
    data = items(A=100, B=100)
    pairs = tuple(i - i % 2 for i in range(200))
    drawn = draw(data, Grouping(pairs, pairs), sizes(), seed=0)
    assert len(drawn.roles[Role.SEEDS]) == 20
    assert drawn.dropped["near duplicate or group-mate of a seed"] == 20


def test_seeds_use_up_a_source_before_they_open_another() -> None:
    data = items(A=100, B=100)
    authors = tuple(i - i % 5 for i in range(200))
    drawn = draw(data, Grouping(tuple(range(200)), authors), sizes(), seed=0)
    assert len({authors[i] for i in drawn.roles[Role.SEEDS]}) == 4
    assert drawn.dropped["near duplicate or group-mate of a seed"] == 0


def test_a_large_group_is_taken_only_when_the_small_ones_do_not_suffice() -> None:
    data = items(A=100, B=100)
    one_large = (0,) * 12 + tuple(range(12, 200))
    drawn = draw(data, Grouping(one_large, one_large), sizes(), seed=0)
    assert all(i >= 12 for role in (Role.TEST, Role.DEV, Role.ANCHOR) for i in drawn.roles[role])
    all_large = tuple(i - i % 10 for i in range(200))
    drawn = draw(data, Grouping(tuple(range(200)), all_large), sizes(), seed=0)
    assert len(drawn.roles[Role.TEST]) == 40
    assert any("test: one group of near duplicates" in warning for warning in drawn.warnings)


def test_what_no_whole_group_fits_is_filled_from_a_part_of_one() -> None:
    data = items(A=100, B=100)
    fours = tuple(i - i % 4 for i in range(200))
    drawn = draw(data, Grouping(tuple(range(200)), fours), sizes(anchor=10, pool=7), seed=0)
    assert {role: len(drawn.roles[role]) for role in Role} == {
        "seeds": 20,
        "dev": 20,
        "anchor": 10,
        "test": 40,
        "pool": 7,
    }
    assert drawn.dropped["rest of a group that was too large for its role"] == 3


def test_a_giant_group_is_warned_about() -> None:
    data = items(A=150, B=150)
    groups = (0,) * 100 + tuple(range(100, 300))
    drawn = draw(data, Grouping(groups, groups), sizes(), seed=0)
    assert any("100 of 300 items hang together as one group" in warning for warning in drawn.warnings)


def test_small_roles_are_warned_about_with_the_difference_they_can_show() -> None:
    warnings = draw(items(A=100, B=100), singles(200), sizes(), seed=0).warnings
    assert any(
        w.startswith("test: 40 items; 500 or more are advised.") and "from 14.0 points on" in w for w in warnings
    )
    assert any(w.startswith("dev: 20 items") and "from 19.8 points on" in w for w in warnings)


def test_labels_with_few_test_items_are_named() -> None:
    warnings = draw(items(A=190, B=10), singles(200), sizes(), seed=0).warnings
    assert any(warning.startswith("test: fewer than 10 items of 'B' ") for warning in warnings)


def test_enough_of_everything_gives_no_warning() -> None:
    data = items(A=800, B=800)
    assert draw(data, singles(1600), Split(), seed=0).warnings == ()


@pytest.mark.parametrize(("n", "points"), [(200, 6.3), (500, 4.0), (1000, 2.8)])
def test_the_minimum_detectable_difference(n: int, points: float) -> None:
    assert round(minimum_detectable(n), 1) == points


def test_a_text_or_group_in_two_roles_is_a_leak() -> None:
    data = items(A=4)
    data[3] = Item("real-copy", data[0].key, "A  0", "A", {}, None)
    roles: dict[Role, Sequence[int]] = {Role.SEEDS: [0, 1], Role.TEST: [2]}
    check_apart(data, singles(4), roles)
    with pytest.raises(LeakageError, match=r"'real-copy' of the role test shares its text with an item of seeds"):
        check_apart(data, singles(4), {**roles, Role.TEST: [2, 3]})
    with pytest.raises(LeakageError, match="shares its group"):
        check_apart(data, Grouping((0, 1, 1, 3), (0, 1, 1, 3)), roles)
