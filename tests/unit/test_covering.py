"""Covering designs, what a run's report says of the matrix, and weights as the seeds have them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import LABELS, LENGTHS, STYLES, make_run_report, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.coverage import coverage_lines, coverage_of, difficulty_by_cell
from harness.frames import coverage
from harness.generate.covering import Combination, all_combinations, axes_of, combinations_of, design
from harness.generate.feedback import first_plan, next_plan
from harness.generate.fitting import fitted, placed
from harness.generate.matrix import allowed, deal, possible
from harness.records import Example, Origin, Plan
from harness.report import write_report
from harness.spec import Matrix

NAMES = list(LABELS)
EVEN = dict.fromkeys(LABELS, 1.0)
WIDE = [{"name": f"d{number}", "values": [f"{number}{value}" for value in "abcdefgh"]} for number in range(5)]
"""8⁵ × 3 = 98,304 cells."""


def matrix(**content: Any) -> Matrix:
    return make_spec(matrix=content).matrix


def wanted(of: Matrix) -> set[Combination]:
    """What a design of this strength has to hold: combinations that some allowed cell has, found by trying them all."""
    found = all_combinations(axes_of(NAMES, of), of.cover)
    return {one for one in found if possible(dict(one), NAMES, of)}


def held(cells: Any, strength: int) -> set[Combination]:
    return {one for values in cells for one in combinations_of(values, strength)}


def test_every_pair_of_a_product_that_is_far_too_large() -> None:
    of = matrix(dimensions=WIDE, cover=2)
    rows = design(NAMES, of, lambda values: allowed(values, of))
    assert len(wanted(of)) == 10 * 64 + 5 * 24
    assert held(rows, 2) == wanted(of)
    assert len(rows) < 110
    assert rows == design(NAMES, of, lambda values: allowed(values, of))


def test_every_triple() -> None:
    of = matrix(dimensions=WIDE[:3], cover=3)
    assert held(design(NAMES, of, lambda values: allowed(values, of)), 3) == wanted(of)


VALUES = st.sampled_from(["a", "b", "c"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["x", "y", "label"]), VALUES, min_size=2, max_size=2), max_size=4),
    st.lists(st.tuples(VALUES, st.lists(VALUES, min_size=1, max_size=2, unique=True)), max_size=2),
)
def test_rules_hold_in_every_cell_and_what_they_leave_is_covered(
    forbidden: list[dict[str, str]], required: list[tuple[str, list[str]]]
) -> None:
    axes = [{"name": name, "values": ["a", "b", "c"]} for name in ("x", "y", "z")]
    of = matrix(
        dimensions=axes,
        cover=2,
        forbid=[{k: NAMES["abc".index(v)] if k == "label" else v for k, v in rule.items()} for rule in forbidden],
        require=[{"when": {"z": one}, "then": {"x": others}} for one, others in required],
    )
    rows = design(NAMES, of, lambda values: allowed(values, of))
    assert all(allowed(row, of) for row in rows)
    assert held(rows, 2) == wanted(of)


def cells_of(plan: Plan) -> list[Any]:
    return [quota.cell.values for quota in plan.quotas]


def test_a_plan_with_enough_calls_holds_every_pair_and_labels_keep_their_weights() -> None:
    of = matrix(dimensions=WIDE[:3], cover=2)
    quotas = deal(120 * 4, 4, {"ALPHA": 2.0, "BETA": 1.0, "GAMMA": 1.0}, of, random.Random(0))
    assert sum(quota.candidates for quota in quotas) == 480
    assert sum(quota.candidates for quota in quotas if quota.cell.label == "ALPHA") == 240
    assert held((quota.cell.values for quota in quotas), 2) == wanted(of)
    plain = deal(120 * 4, 4, EVEN, of.model_copy(update={"cover": 1}), random.Random(0))
    assert held((quota.cell.values for quota in plain), 2) < wanted(of)


def test_what_a_round_cannot_pay_for_is_planned_in_the_next() -> None:
    import asyncio

    from factories import make_eval
    from fakes import ScriptedLlm, nobody

    from harness.records import DevReport, Role

    spec = make_spec(
        matrix={"dimensions": WIDE[:3], "cover": 2},
        generate={"accepted_per_round": 80, "over_generation": 3, "samples_per_call": 4},
        feedback={"policies": []},
    )
    plans = [first_plan(spec, [])]
    dev = DevReport(make_eval("mixed", Role.DEV, 0.7))
    for number in (2, 3):
        plans.append(
            asyncio.run(next_plan(dev, spec, number, [], ScriptedLlm(nobody), lambda _: "", earlier=tuple(plans)))
        )
    seen = [len(held((cell for plan in plans[: number + 1] for cell in cells_of(plan)), 2)) for number in range(3)]
    assert seen[0] < seen[1] <= seen[2] == len(wanted(spec.matrix))


def seed(number: int, **slices: str) -> Example:
    return Example(f"real-{number}", f"text {number}", "ALPHA", slices, Origin.REAL)


def test_weights_can_be_those_of_the_seeds() -> None:
    of = matrix(
        dimensions=[
            {"name": "length", "use": "shots", "values": {"any": 2, "short": 1, "long": 3}},
            {"name": "style", "values": list(STYLES)},
        ]
    )
    seeds = [*(seed(i, length="short (≤ 8 words)") for i in range(7)), seed(8, length="long (≥ 12 words)"), seed(9)]
    length, style = of.dimensions
    assert placed(length, seeds) == {"any": 0, "short": 7, "long": 1}
    new = fitted(of, seeds)
    assert new.dimensions[0].values == {"any": 2, "short": pytest.approx(4 * 8 / 10), "long": pytest.approx(4 * 2 / 10)}
    assert new.dimensions[1] == style


def test_the_report_counts_planned_generated_and_accepted_by_value_pair_and_cell() -> None:
    report = make_run_report(seed_values={"label": {"ALPHA": 6, "BETA": 2, "GAMMA": 2}})
    found = coverage_of(report)
    assert found is not None
    rows = report.rounds[-1].funnel
    assert len(found.pairs) == 3 * 9
    assert len(found.cells) == len(rows) == 27
    pair = next(one for one in found.pairs if one.name == "label=ALPHA|length=short")
    own = [row for row in rows if row.values["label"] == "ALPHA" and row.values["length"] == "short"]
    for name in ("planned", "generated", "accepted"):
        assert getattr(pair, name) == sum(row.counts[name] for row in own)
    assert not found.unplanned
    assert [one.starved for one in found.cells].count(True) == 1
    assert [one.name for one in found.starved] == [f"label=GAMMA|length={LENGTHS[2]}|style={STYLES[2]}"]
    shares = {(one.dimension, one.value): one for one in found.values}
    assert sum(one.planned for one in found.values if one.dimension == "style") == pytest.approx(1)
    assert shares["label", "ALPHA"].seeds == 0.6
    assert shares["style", "plain"].seeds is None
    first, second, third = coverage_lines(found)
    kept = sum(row.counts["accepted"] for row in rows)
    assert third.startswith(
        f"{sum(row.counts['generated'] for row in rows) / kept:.1f} candidates were drawn for each row"
    )
    assert first.startswith("27 of 27 possible pairs")
    assert "style=typos" in second


def test_rows_beyond_the_target_passed_and_are_not_starved() -> None:
    report = make_run_report()
    last = report.rounds[-1]
    counts = {"planned": 40, "generated": 40, "parsed": 40, "judge": 20, "quota": 0, "accepted": 0}
    cut = replace(last.funnel[0], counts=counts, reasons={"judge: graded too low": 20, "quota: beyond the target": 20})
    rows = (cut, *last.funnel[1:])
    found = coverage_of(replace(report, rounds=(*report.rounds[:-1], replace(last, funnel=rows))))
    assert found is not None
    cell = next(one for one in found.cells if dict(one.values) == cut.values)
    assert (cell.passed, cell.accepted, cell.ratio, cell.starved) == (20, 0, 2.0, False)


def test_difficulty_is_counted_by_cell_where_the_band_dropped_anything() -> None:
    report = make_run_report()
    first, second, third, *_ = report.rounds[-1].funnel
    rows = [
        replace(first, counts={**first.counts, "difficulty": 9}, reasons={"difficulty: too easy": 1}),
        replace(second, counts={**second.counts, "difficulty": 5}, reasons={"difficulty: too hard": 3, "judge: x": 2}),
        replace(third, counts={**third.counts, "difficulty": 7}, reasons={"judge: x": 2}),
    ]
    found = [(one.name, one.too_hard, one.in_band, one.too_easy) for one in difficulty_by_cell(rows)]
    assert found == [(second.cell, 3, 5, 0), (first.cell, 0, 9, 1)]


def test_pairs_that_were_never_planned_are_named(tmp_path: Path) -> None:
    plain = make_run_report()
    last = plain.rounds[-1]
    rows = tuple(row for row in last.funnel if (row.values["label"], row.values["style"]) != ("ALPHA", "polite"))
    report = replace(plain, rounds=(*plain.rounds[:-1], replace(last, funnel=rows)))
    found = coverage_of(report)
    assert found is not None
    assert [one.name for one in found.unplanned] == ["label=ALPHA|style=polite"]
    frame = coverage(report)
    assert len(frame) == 27
    assert frame.loc["label", "ALPHA", "style", "polite"]["planned"] == 0
    page = write_report(report, tmp_path / "page").read_text()
    assert "label=ALPHA|style=polite" in page
    assert "26 of 27 possible pairs" in page


def test_pairs_that_the_rules_forbid_are_not_missed() -> None:
    plain = make_run_report()
    matrix_ = {**plain.spec["matrix"], "forbid": [{"label": "ALPHA", "style": "polite"}]}  # type: ignore[dict-item]
    found = coverage_of(replace(plain, spec={**plain.spec, "matrix": matrix_}))
    assert found is not None
    assert len(found.pairs) == 26
