"""Data frames of reports: one row per thing, numbers as in the report, nothing where there is nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from factories import make_run_report
from suite_cases import finish_suite, make_suite

from harness import frames
from harness.comparison import compare_suite
from harness.records import Example, Origin, Prediction, Status
from harness.store import Store


def test_scores_are_by_arm_with_the_ends_of_their_intervals() -> None:
    report = make_run_report()
    table = frames.scores(report)
    assert list(table.index) == list(report.test)
    mixed = report.test["mixed"]
    assert table.loc["mixed", "accuracy"] == mixed.accuracy.value
    assert table.loc["mixed", "accuracy_low"] == mixed.accuracy.low
    assert table.loc["mixed", "n"] == mixed.n
    assert table.loc["mixed", "training_rows"] == 820
    assert set(table["role"]) == {"test"}


def test_scores_of_a_sealed_run_are_those_of_the_best_round_on_dev() -> None:
    report = make_run_report(test={})
    best = report.rounds[1].dev
    table = frames.scores(report)
    assert set(table["role"]) == {"dev"}
    assert table.loc["mixed", "accuracy"] == best["mixed"].accuracy.value


def test_gaps_are_by_round_and_the_final_one_needs_an_open_test() -> None:
    report = make_run_report()
    table = frames.gaps(report)
    assert list(table.index) == [1, 2, "final"]
    assert table.loc["final", "transfer"] == report.gap.transfer.value
    assert table.loc[1, "recovered_high"] == report.rounds[0].gap.recovered.high
    assert list(frames.gaps(make_run_report(test={})).index) == [1, 2]


def test_rounds_count_candidates_and_cost() -> None:
    report = make_run_report()
    table = frames.rounds(report)
    assert list(table["accepted"]) == [each.accepted for each in report.rounds]
    assert list(table["calls"]) == [each.cost.calls for each in report.rounds]
    assert list(table["best"]) == [each.is_best for each in report.rounds]


def test_slices_of_an_arm_by_round_and_on_test() -> None:
    report = make_run_report()
    table = frames.slices(report, "seeds")
    one = report.test["seeds"].slices[0]
    assert table.loc[(one.slice, "final"), "accuracy"] == one.value
    assert table.loc[(one.slice, "final"), "n"] == one.n
    assert frames.slices(report, "nobody").empty


def test_the_funnel_and_the_reasons_for_drops_add_up() -> None:
    report = make_run_report()
    funnel = frames.funnel(report)
    rows = report.rounds[0].funnel
    assert len(funnel.loc[1]) == len(rows)
    stage = next(iter(rows[0].counts))
    assert funnel.loc[1][stage].sum() == sum(row.counts[stage] for row in rows)
    drops = frames.drops(report)
    assert drops["count"].sum() == sum(sum(row.reasons.values()) for each in report.rounds for row in each.funnel)
    assert list(drops[drops["round"] == 1]["count"]) == sorted(drops[drops["round"] == 1]["count"], reverse=True)


def test_controls_filters_modes_and_comparisons() -> None:
    report = make_run_report()
    controls = frames.controls(report)
    assert list(controls.index) == ["closed", "static", "raw"]
    assert math.isnan(controls.loc["closed", "difference"])
    assert controls.loc["raw", "difference"] == report.comparisons[3].difference.value
    assert frames.comparisons(report).loc[("mixed", "seeds", "accuracy"), "p_holm"] == 0.0012
    assert list(frames.failure_modes(report)["fired"]) == [True, False, None]
    assert set(frames.filters(report).reset_index()["filter"]) == {
        one.filter for each in report.rounds for one in each.worth
    }


def test_a_run_without_a_probe_has_no_course_of_collapse() -> None:
    assert frames.collapse(make_run_report()).empty


def test_predictions_stand_beside_the_items() -> None:
    items = [
        Example(f"real-{at}", f"text {at}", label, {"length": "short"}, Origin.REAL) for at, label in enumerate("AB")
    ]
    answers = [Prediction("real-0", Status.OK, "A", 0.9), Prediction("real-1", Status.ERROR, None, None)]
    table = frames.predictions(items, answers, [True, False])
    assert list(table["predicted"].fillna("nothing")) == ["A", "nothing"]
    assert list(table["right"]) == [True, False]
    assert list(table["slice_length"]) == ["short", "short"]
    assert list(table.index) == ["real-0", "real-1"]
    assert "answer" not in table


def test_answers_in_text_are_what_was_predicted() -> None:
    item = Example("real-0", "who?", "answerable", {}, Origin.REAL, answer="Emma", context="Emma came.")
    table = frames.predictions([item], [Prediction("real-0", Status.OK, "answerable", 0.5, "Ann")], [False])
    assert table.loc["real-0", "predicted"] == "Ann"
    assert table.loc["real-0", "answer"] == "Emma"


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_variants_are_ranked_and_differences_are_to_the_base(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    right = {"base": dict.fromkeys(seeds, 60), "better": dict.fromkeys(seeds, 80)}
    suite, store = make_suite(right, tmp_path, seeds), Store(tmp_path / "runs")
    found = compare_suite(suite, finish_suite(store, right), {}, store)
    table = frames.variants(found)
    assert list(table.index) == ["better", "base"]
    assert table.loc["better", "difference"] == pytest.approx(0.2)
    assert math.isnan(table.loc["base", "difference"])
    assert ("difference_total_low" in table) is (len(seeds) > 1)
    assert table.loc["better", "changes"] == "train.steps = 11"
    assert table.loc["base", "verdict"] == "base"
    assert table.loc["better", "calls_paid"] == 5 * len(seeds)
