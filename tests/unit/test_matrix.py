import random
from collections import Counter

import pytest
from factories import LABELS, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.generate.matrix import allowed, apportion, count_cells, deal, in_slice, make_cell
from harness.records import Quota
from harness.spec import Matrix

EVEN = dict.fromkeys(LABELS, 1.0)


def matrix(**content: object) -> Matrix:
    return make_spec(matrix=content).matrix


TOPICS = {"name": "topic", "values": {"a": 4, "b": 2, "c": 1, "d": 1}}
SIZES = {"name": "size", "values": ["s", "m", "l"]}


def drawn(quotas: tuple[Quota, ...], name: str, label: str | None = None) -> Counter[str]:
    counts: Counter[str] = Counter()
    for quota in quotas:
        if label in (None, quota.cell.label):
            counts[quota.cell.values[name]] += quota.candidates
    return counts


def test_a_cell_is_named_by_its_values_and_knows_its_label() -> None:
    cell = make_cell({"label": "ALPHA", "topic": "a"})
    assert (cell.id, cell.label) == ("label=ALPHA|topic=a", "ALPHA")


@given(
    total=st.integers(0, 500),
    weights=st.dictionaries(st.text(max_size=3), st.floats(0.001, 1000), min_size=1, max_size=12),
)
def test_shares_add_up_and_each_is_less_than_one_off_its_exact_value(total: int, weights: dict[str, float]) -> None:
    shares = apportion(total, weights)
    assert sum(shares.values()) == total
    assert list(shares) == list(weights)
    mass = sum(weights.values())
    assert all(abs(shares[name] - total * weight / mass) < 1 + 1e-6 for name, weight in weights.items())


@pytest.mark.parametrize("calls", [3, 4, 7, 24, 90])
def test_marginals_are_less_than_a_call_off_their_weights_however_few_calls(calls: int) -> None:
    quotas = deal(calls * 8, 8, EVEN, matrix(dimensions=[TOPICS, SIZES]), random.Random(1))
    assert sum(quota.candidates for quota in quotas) == calls * 8
    assert len({quota.cell.id for quota in quotas}) == len(quotas)
    for label in LABELS:
        own = sum(drawn(quotas, "label", label).values()) / 8
        assert abs(own - calls / 3) < 1
        for name, weights in (("topic", {"a": 4, "b": 2, "c": 1, "d": 1}), ("size", {"s": 1, "m": 1, "l": 1})):
            counts = drawn(quotas, name, label)
            for value, weight in weights.items():
                assert abs(counts[value] / 8 - own * weight / sum(weights.values())) < 1


def test_which_of_equal_values_loses_the_rounding_is_left_to_chance() -> None:
    ten = {"name": "topic", "values": [f"t{i}" for i in range(10)]}
    seen = Counter(
        quota.cell.values["topic"]
        for seed in range(60)
        for quota in deal(24, 8, EVEN, matrix(dimensions=[ten]), random.Random(seed))
    )
    assert len(seen) == 10
    assert min(seen.values()) > 5


def test_candidates_are_rounded_up_to_whole_calls() -> None:
    assert sum(quota.candidates for quota in deal(25, 8, EVEN, matrix(), random.Random(0))) == 32


def test_every_label_gets_a_call_even_with_next_to_no_weight() -> None:
    quotas = deal(24, 8, {"ALPHA": 1000.0, "BETA": 1.0, "GAMMA": 0.001}, matrix(), random.Random(0))
    assert drawn(quotas, "label") == {"ALPHA": 8, "BETA": 8, "GAMMA": 8}
    quotas = deal(80, 8, {"ALPHA": 1000.0, "BETA": 1.0, "GAMMA": 0.001}, matrix(), random.Random(0))
    assert drawn(quotas, "label") == {"ALPHA": 64, "BETA": 8, "GAMMA": 8}


def test_same_seed_same_plan_other_seed_another() -> None:
    plan = [deal(160, 8, EVEN, matrix(dimensions=[TOPICS, SIZES]), random.Random(seed)) for seed in (1, 1, 2)]
    assert plan[0] == plan[1] != plan[2]
    assert [quota.cell.id for quota in plan[0]] == sorted(quota.cell.id for quota in plan[0])


def test_a_rule_applies_once_all_of_its_dimensions_have_a_value() -> None:
    rules = matrix(
        dimensions=[TOPICS, SIZES],
        forbid=[{"label": ["ALPHA", "BETA"], "topic": "a"}],
        require=[{"when": {"topic": "b"}, "then": {"size": ["s", "m"]}}],
    )
    assert allowed({"label": "ALPHA"}, rules)
    assert not allowed({"label": "BETA", "topic": "a"}, rules)
    assert allowed({"label": "GAMMA", "topic": "a"}, rules)
    assert allowed({"label": "ALPHA", "topic": "b"}, rules)
    assert allowed({"label": "ALPHA", "topic": "b", "size": "m"}, rules)
    assert not allowed({"label": "ALPHA", "topic": "b", "size": "l"}, rules)
    assert count_cells(list(LABELS), rules) == (3 * 12 - 2 * 3 - 3, True)


def test_a_product_that_is_too_large_is_not_walked() -> None:
    wide = [{"name": f"d{i}", "values": [str(j) for j in range(10)]} for i in range(6)]
    assert count_cells(list(LABELS), matrix(dimensions=wide)) == (3_000_000, False)
    assert sum(q.candidates for q in deal(24, 8, EVEN, matrix(dimensions=wide), random.Random(0))) == 24


VALUES = {"label": list(LABELS), "topic": list("abcd"), "size": list("sml")}
CONDITIONS = st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 2), min_size=1, max_size=3).map(
    lambda picked: {name: VALUES[name][place] for name, place in picked.items()}
)
AXES = st.tuples(st.sampled_from(["topic", "size"]), st.integers(1, 2)).map(lambda t: {t[0]: VALUES[t[0]][: t[1]]})


@settings(max_examples=150, deadline=None)
@given(
    forbid=st.lists(CONDITIONS, max_size=4),
    require=st.lists(st.fixed_dictionaries({"when": CONDITIONS, "then": AXES}), max_size=3),
    calls=st.integers(3, 30),
    seed=st.integers(0, 5),
)
def test_no_rule_is_ever_broken_and_only_an_impossible_label_is_refused(
    forbid: list[dict[str, str]], require: list[dict[str, object]], calls: int, seed: int
) -> None:
    rules = matrix(dimensions=[TOPICS, SIZES], forbid=forbid, require=require)
    if not all(count_cells([label], rules)[0] for label in LABELS):
        with pytest.raises(SpecError, match="the rules leave no cell for label"):
            deal(calls * 4, 4, EVEN, rules, random.Random(seed))
        return
    quotas = deal(calls * 4, 4, EVEN, rules, random.Random(seed))
    assert all(allowed(quota.cell.values, rules) for quota in quotas)
    assert all(set(quota.cell.values) == {"label", "topic", "size"} for quota in quotas)
    assert sum(quota.candidates for quota in quotas) == calls * 4


def test_an_impossible_label_is_named() -> None:
    with pytest.raises(SpecError, match=r"matrix.forbid: the rules leave no cell for label 'BETA'; remove a rule"):
        deal(24, 8, EVEN, matrix(dimensions=[SIZES], forbid=[{"label": "BETA"}]), random.Random(0))
    impossible_together = matrix(
        dimensions=[TOPICS, SIZES],
        forbid=[{"label": "GAMMA", "size": ["s", "m"]}, {"label": "GAMMA", "size": "l", "topic": list("abcd")}],
    )
    with pytest.raises(SpecError, match="'GAMMA'"):
        deal(24, 8, EVEN, impossible_together, random.Random(0))


def test_matrix_values_name_slices_that_carry_bounds() -> None:
    assert in_slice("medium (9–11 words)", "medium")
    assert in_slice("what", "what")
    assert not in_slice("whatever", "what")
    assert not in_slice("", "what")
