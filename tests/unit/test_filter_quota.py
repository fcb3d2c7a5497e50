import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest
from bench_cases import Place, half_good, make_data, spec
from fakes import ScriptedLlm
from filter_cases import candidate, context, said, verdicts

from harness.bench import Harvest, Wave
from harness.filters.base import Standing
from harness.filters.funnel import Sieved
from harness.filters.quota import QuotaFilter, ranked
from harness.generate.feedback import first_plan
from harness.generate.matrix import make_cell
from harness.real import RealData
from harness.records import Candidate, Example, Plan, Quota
from harness.refills import LEAST, refill, yields
from harness.rounds import harvest


def rows_of(cells: Mapping[str, int], round_: int = 1, first: int = 1) -> list[Candidate]:
    names = [cell for cell, count in cells.items() for _ in range(count)]
    return [
        replace(candidate(first + index, f"text {index}", round_=round_), cell=name) for index, name in enumerate(names)
    ]


def kept(rows: list[Candidate], target: int, planned: Mapping[tuple[int, str], int]) -> Counter[tuple[int, str]]:
    of = spec(accepted_per_round=target)
    found = verdicts(QuotaFilter(), context(rows, spec=of, planned=planned))
    assert set(said(found)) <= {"keep", "drop: beyond the target"}
    return Counter(
        (row.round, row.cell) for row, verdict in zip(rows, found, strict=True) if verdict.decision == "keep"
    )


def test_exactly_the_target_is_kept_in_the_plans_proportions() -> None:
    rows = rows_of({"a": 30, "b": 30, "c": 30})
    planned = {(1, "a"): 40, (1, "b"): 20, (1, "c"): 20}
    assert kept(rows, 40, planned) == {(1, "a"): 20, (1, "b"): 10, (1, "c"): 10}


def test_what_a_cell_lacks_goes_to_the_others() -> None:
    rows = rows_of({"a": 3, "b": 30, "c": 30})
    assert kept(rows, 23, {(1, "a"): 8, (1, "b"): 8, (1, "c"): 8}) == {(1, "a"): 3, (1, "b"): 10, (1, "c"): 10}


def test_all_stay_where_no_more_passed_than_were_asked_for() -> None:
    assert kept(rows_of({"a": 3, "b": 2}), 5, {(1, "a"): 8, (1, "b"): 8}).total() == 5


def test_rounds_count_the_same_whatever_was_drawn() -> None:
    rows = [*rows_of({"a": 50}), *rows_of({"a": 50}, 2, first=60)]
    assert kept(rows, 10, {(1, "a"): 100, (2, "a"): 20}) == {(1, "a"): 10, (2, "a"): 10}


def test_a_round_that_fell_short_is_made_up_for_by_the_other() -> None:
    rows = [*rows_of({"a": 4}), *rows_of({"a": 50}, 2, first=60)]
    assert kept(rows, 10, {(1, "a"): 24, (2, "a"): 24}) == {(1, "a"): 4, (2, "a"): 16}


def test_of_a_cell_the_better_graded_stay_and_the_rest_by_lot() -> None:
    rows = rows_of({"a": 40})
    given = context(rows, spec=spec(accepted_per_round=20), planned={(1, "a"): 40})
    by_lot = {one.candidate for one in verdicts(QuotaFilter(), given) if one.decision == "keep"}
    assert by_lot != {row.id for row in rows[:20]}
    best = {row.id for row in rows[5:25]}
    graded = verdicts(QuotaFilter(), given, grades={row.id: 4.5 if row.id in best else 3.0 for row in rows})
    assert {one.candidate for one in graded if one.decision == "keep"} == best


def test_the_lot_depends_on_the_seed_and_not_on_the_order() -> None:
    standing = [Standing(index, row, "ALPHA") for index, row in enumerate(rows_of({"a": 9, "b": 9}))]
    planned = {(1, "a"): 1, (1, "b"): 1}
    order = [one.candidate.id for one in ranked(standing, planned, 0)]
    assert [one.candidate.id for one in ranked(standing[::-1], planned, 0)] == order
    assert [one.candidate.id for one in ranked(standing, planned, 1)] != order
    assert sorted(order) == sorted(one.candidate.id for one in standing)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RealData:
    return make_data(tmp_path_factory.mktemp("data"))


def test_a_round_ends_with_exactly_as_many_rows_as_asked_for(
    data: RealData, tmp_path_factory: pytest.TempPathFactory
) -> None:
    of = spec(filters={"judge": {"enabled": False}, "quota": {"enabled": True}}, over_generation=1.5, max_waves=6)
    bench = Place(data, tmp_path_factory.mktemp("store")).bench(ScriptedLlm(half_good), of)
    plan = first_plan(of, [data.artefact.id])
    now = asyncio.run(harvest(bench, plan, "plan-1", Harvest()))
    assert len(now.waves) > 1
    assert len(now.sieved.accepted) == 24
    assert now.shortfall == ""
    later = replace(plan, round=2)
    assert len(asyncio.run(harvest(bench, later, "plan-2", now)).sieved.accepted) == 48


def harvested(plan: Plan, passed: Mapping[str, int]) -> Harvest:
    """40 candidates of each cell, of which so many passed."""
    rows = [row for index, cell in enumerate(passed) for row in rows_of({cell: 40}, first=1 + 50 * index)]
    left = Counter(passed)
    accepted: list[Example] = []
    for row in rows:
        if left[row.cell]:
            left[row.cell] -= 1
            accepted.append(row.example)
    wave = Wave("wave-1", 1, plan.quotas, tuple(rows), (), out_of_budget=False)
    return Harvest((wave,), Sieved((), tuple(accepted)), plans=(plan,))


def test_refills_draw_more_where_less_came_through() -> None:
    easy, hard = make_cell({"label": "A"}), make_cell({"label": "B"})
    plan = Plan(1, (Quota(easy, 40), Quota(hard, 40)), (), (), ())
    now = harvested(plan, {easy.id: 16, hard.id: 2})
    found = yields(now)
    # 16 of 40 and 2 of 40, drawn towards 18 of 80.
    assert found(easy) == pytest.approx((16 + 16 * (16 + 16 * 0.225) / 56) / 56)
    assert found(hard) == pytest.approx((2 + 16 * (2 + 16 * 0.225) / 56) / 56)
    more = {quota.cell.id: quota.candidates for quota in refill(plan, now, 22, spec(accepted_per_round=40), None)}
    # They lack 4 and 18 rows of 20 each.
    assert more[easy.id] == pytest.approx(4 / found(easy), abs=4)
    assert more[hard.id] == pytest.approx(18 / found(hard), abs=4)


def test_a_yield_is_never_taken_for_nothing() -> None:
    cell = make_cell({"label": "A"})
    assert yields(Harvest())(cell) == LEAST
    plan = Plan(1, (Quota(cell, 4000),), (), (), ())
    assert yields(harvested(plan, {cell.id: 0}))(cell) == LEAST
