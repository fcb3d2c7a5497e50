from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_run_report

from harness.records import Cost
from harness.suitefile import LoadedSuite, load_suite
from harness.suiteforecast import Rates, SuiteForecast, forecast_suite, rates_of, suite_tables

BASE = """\
name: small
task:
  labels: {yay: good news, nay: bad news}
data:
  source: {kind: file, path: items.csv}
generate: {accepted_per_round: 16, over_generation: 2}
filters: {consistency: {folds: 3}, judge: {gate_items: 10, audit: 4}}
evaluate: {controls: [], probe: {enabled: false}}
llm: {generator: {base_url: "http://127.0.0.1:1/v1", model: m, price: {input: 1, output: 2}}}
stop: {max_rounds: 3}
"""
UNKNOWN = Rates(0, None, None)


def suite(folder: Path, text: str) -> LoadedSuite:
    (folder / "base.yaml").write_text(BASE)
    (folder / "items.csv").write_text("text,label\na b c,yay\n")
    (folder / "suite.yaml").write_text(f"base: base.yaml\n{text}")
    return load_suite(folder / "suite.yaml")


def forecast(folder: Path, text: str) -> SuiteForecast:
    return forecast_suite(suite(folder, text), (), {"base": {0}}, UNKNOWN)


def test_filters_alone_add_no_generator_call_where_nothing_is_steered(tmp_path: Path) -> None:
    found = forecast(
        tmp_path,
        "set: {feedback.policies: [], filters.judge.enabled: false}\n"
        "variants:\n  a: {filters.duplicates.enabled: false}\n  b: {filters.format.enabled: false}\n",
    )
    base, *others = found.variants
    # 32 candidates a round in calls of 8, three rounds.
    assert base.alone.calls == base.least.calls == base.most.calls == 12
    assert base.alone.usd > 0
    assert [one.most for one in others] == [Cost(), Cost()]
    assert [one.alone for one in others] == [base.alone, base.alone]


def test_the_frozen_probe_is_asked_once_for_all_variants(tmp_path: Path) -> None:
    found = forecast(
        tmp_path,
        "set: {filters.judge.enabled: false, evaluate.probe: {enabled: true, items: 50}}\n"
        "variants:\n  a: {filters.duplicates.enabled: false}\n  b: {evaluate.probe.items: 60}\n",
    )
    base, filtered, larger = found.variants
    # 12 calls of generation, and 50 prompts in each of three rounds.
    assert base.alone.calls == 12 + 150
    assert (filtered.least.calls, filtered.most.calls) == (0, 8)
    assert larger.least.calls == 180


def test_what_feedback_words_otherwise_is_between_shared_and_not(tmp_path: Path) -> None:
    found = forecast(
        tmp_path, "set: {filters.judge.enabled: false}\nvariants: {a: {filters.duplicates.enabled: false}}\n"
    )
    assert (found.variants[1].least.calls, found.variants[1].most.calls) == (0, 8)


def test_other_prompts_are_other_calls_and_the_gate_is_shared(tmp_path: Path) -> None:
    found = forecast(tmp_path, "set: {feedback.policies: []}\nvariants: {a: {generate.shots: 2}}\n")
    base, other = found.variants
    graded = 4 * 3
    assert base.alone.calls - other.least.calls >= 10
    assert other.most.calls == 12 + graded
    assert other.least.calls == 12


def test_trainings_on_real_rows_are_made_once(tmp_path: Path) -> None:
    found = forecast(
        tmp_path,
        "variants:\n  a: {filters.duplicates.enabled: false}\n  b: {filters.consistency.folds: 4}\n"
        "  c: {train.steps: 7}\n",
    )
    base, a, b, c = found.variants
    assert base.new_trainings == base.trainings
    assert a.trainings - a.new_trainings == 3 + 1
    assert b.trainings - b.new_trainings == 1
    assert c.trainings == c.new_trainings


def test_the_table_says_what_is_left_and_how_much_is_shared(tmp_path: Path) -> None:
    found = forecast_suite(
        suite(tmp_path, "variants: {a: {filters.duplicates.enabled: false}}\nseeds: [0, 1, 2]\n"),
        (),
        {"base": {0}},
        Rates(2, 0.5, 3.0),
    )
    table, notes = suite_tables(found)
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert [row[1] for row in table.rows] == ["2 of 3", "3 of 3", "5 of 6"]
    assert "times the base's own" in notes.rows[0][0]
    assert any("0.50 s a call and 3.0 s a training, as in 2 finished run(s)" in row[0] for row in notes.rows)
    assert table.rows[-1][-1].endswith("min")


def test_without_a_finished_run_no_time_is_made_up(tmp_path: Path) -> None:
    table, notes = suite_tables(forecast(tmp_path, "variants: {a: {filters.duplicates.enabled: false}}\n"))
    assert {row[-1] for row in table.rows} == {"–"}
    assert any("Time is not forecast" in row[0] for row in notes.rows)


def test_rates_come_from_runs_that_paid() -> None:
    plain = make_run_report()
    paid = replace(plain, cost=Cost(calls=50), seconds={"calls": 25.0, "training": 60.0})
    free = replace(plain, cost=Cost(), seconds={"calls": 99.0, "training": 99.0})
    rates = rates_of([paid, free])
    assert rates.runs == 1
    assert rates.call == pytest.approx(0.5)
