"""The cost model on made-up rates, where every figure can be worked out by hand, and on rates of made-up runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import make_run_report
from test_forecast import items, make

from harness.errors import HarnessError
from harness.forecast import forecast
from harness.options import positive_numbers
from harness.records import Cost
from harness.reports import RunReport
from harness.scale import DAY, Machine, Needs, Rates, limits, needs_of, work_of
from harness.scalerates import DISK, Here, actual_of, disk_of, finished_like, measure_here, rates_of
from harness.scalewords import scale_tables
from harness.spec import Spec
from harness.store import Store

SPLIT = {"seeds": 30, "dev": 20, "anchor": 50, "test": 40}
HERE = Here(pair=1e-8, line=1e-5, record=1_000.0)
RATES = Rates(
    runs=("run-a",),
    corrections={},
    seconds={"calls": 2.0, "embedding": 0.01, "training": 0.1, "prediction": 0.002, "filtering": 0.001},
    pair=1e-8,
    line=1e-5,
    fixed=30.0,
    standing=0.5,
    kept=0.25,
    disk=DISK,
    record=1_000.0,
    memory=5e8,
)


def spec_of(**changes: Any) -> Spec:
    """Two rounds of 40 candidates, 4 a call; two fold students, no self-training, no judge."""
    plain: dict[str, Any] = {
        "filters": {"judge": {"enabled": False}, "consistency": {"folds": 2, "passes": 0}},
        "feedback": {"policies": []},
        "stop": {"max_rounds": 2},
        "train": {"steps": 50},
        "data": {"source": {"kind": "file", "path": "items.csv"}, "split": SPLIT},
    }
    return make(**(plain | changes))


def needs(spec: Spec, candidates: float | None = None, rates: Rates = RATES) -> Needs:
    found = forecast(spec, items())
    return needs_of(spec, work_of(spec, found, 200, rates, candidates), rates)


def run_of(spec: Spec, **changes: Any) -> RunReport:
    """A finished run of `spec` that did exactly what was forecast, in round figures."""
    work = needs(spec).work
    cost = Cost(calls=20, prompt_tokens=round(work.prompt_tokens), completion_tokens=round(work.completion_tokens))
    units = {"calls": 20, "embedding": round(work.texts), "training": round(work.steps)}
    units["prediction"] = round(work.predicted)
    seconds = {"calls": 40.0, "embedding": 2.8, "training": 60.0, "prediction": 3.0, "filtering": 1.2, "other": 30.0}
    plain: dict[str, Any] = {"spec": spec.model_dump(mode="json"), "cost": cost, "used": cost, "units": units}
    return make_run_report(**(plain | {"seconds": seconds, "memory": 600_000_000} | changes))


def test_counts_of_the_spec_as_it_is():
    spec = spec_of()
    work = needs(spec).work
    assert work.candidates == 80
    assert work.calls == 20
    assert work.texts == 200 + 80
    assert work.sifted == 40 + 80
    # Half of them reach the duplicates filter, in a pass after each round.
    assert work.pairs == 20**2 / 2 + 40**2 / 2
    assert work.steps == sum(forecast(spec).trainings.values()) * 50
    assert work.epoch == 0.25 * 80 / spec.train.batch_size


def test_what_grows_with_the_candidates_and_how():
    spec = spec_of(evaluate={"arms": ["seeds", "mixed"], "probe": {"items": 50, "batches": 2}})
    one, ten = needs(spec), needs(spec, 800.0)
    probe = 50 * (2 + 1)
    assert (one.work.calls, ten.work.calls) == (20 + probe, 200 + probe)
    assert ten.work.sifted == 10 * one.work.sifted
    assert ten.work.pairs == pytest.approx(100 * one.work.pairs)
    assert (ten.work.steps, ten.work.adapters) == (one.work.steps, one.work.adapters)
    assert ten.work.texts == 200 + 800
    assert ten.memory["cosines to held-out texts"] == 10 * one.memory["cosines to held-out texts"]
    assert one.memory["cosines to held-out texts"] == 80 * 110 * 4


def test_self_training_reads_all_candidates_again():
    rule = {"folds": 2, "passes": 2, "pass_folds": 3}
    spec = spec_of(filters={"judge": {"enabled": False}, "consistency": rule})
    plain, work = needs(spec_of()).work, needs(spec).work
    assert work.sifted == 3 * plain.sifted
    assert work.predicted - plain.predicted == 2 * 3 * (40 + 80)


def test_seconds_are_units_times_rates():
    found = needs(spec_of())
    assert found.seconds["generation"] == 40.0
    assert found.seconds["embedding"] == pytest.approx(2.8)
    assert found.seconds["duplicates"] == pytest.approx(found.work.pairs * 1e-8)
    assert found.seconds["statistics, start"] == 30.0


def test_a_run_that_did_what_was_forecast_forecasts_itself(tmp_path: Path):
    spec = spec_of()
    rates = rates_of(spec, [run_of(spec)], items(), tmp_path, HERE)
    assert [*rates.corrections.values()] == pytest.approx([1.0] * 6, abs=0.01)
    assert rates.seconds["calls"] == 2.0
    again = needs(spec, rates=rates)
    assert again.seconds["generation"] == pytest.approx(40.0)
    assert again.seconds["training"] == pytest.approx(60.0)


def test_what_runs_really_did_corrects_the_counts(tmp_path: Path):
    spec = spec_of()
    plain = run_of(spec)
    twice = replace(plain.cost, calls=40, prompt_tokens=3 * plain.cost.prompt_tokens)
    refilled = run_of(spec, cost=twice, used=twice, units={**plain.units, "calls": 40})
    rates = rates_of(spec, [refilled], items(), tmp_path, HERE)
    assert rates.corrections["calls"] == pytest.approx(2.0)
    assert needs(spec, 800.0, rates).work.calls == pytest.approx(400)
    assert needs(spec, 800.0, rates).work.prompt_tokens == pytest.approx(3 * needs(spec, 800.0).work.prompt_tokens)


def test_runs_that_found_others_answers_correct_no_counts(tmp_path: Path):
    spec = spec_of()
    shared = run_of(spec, cost=Cost(calls=5), units={"calls": 5, "training": 50}, seconds={"calls": 10.0})
    rates = rates_of(spec, [shared], items(), tmp_path, HERE)
    assert rates.corrections == {}
    assert rates.seconds["calls"] == 2.0


def test_only_runs_of_the_same_student_and_endpoints_count():
    spec = spec_of()
    runs = [
        run_of(spec, id="run-same"),
        run_of(spec_of(stop={"max_rounds": 3}), id="run-longer"),
        run_of(spec_of(train={"steps": 60}), id="run-other-recipe"),
        run_of(spec_of(llm={"generator": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}), id="run-other-llm"),
        run_of(spec, id="run-uncounted", units={}),
        run_of(spec, id="run-own"),
    ]
    assert [one.id for one in finished_like(spec, runs, "run-own")] == ["run-same", "run-longer"]


def test_without_runs_times_of_models_are_not_known(tmp_path: Path):
    rates = rates_of(spec_of(), [], items(), tmp_path, HERE)
    found = needs(spec_of(), rates=rates)
    assert found.seconds["generation"] is None
    assert found.seconds["statistics, start"] is None
    assert found.seconds["duplicates"] is not None
    (table, _, notes) = scale_tables([found], rates, Machine(10**9, 10**9), [], None)
    assert next(row for row in table.rows if row[0] == "time")[1] == "–"
    assert any("run it once at a small size" in note for (note,) in notes.rows)


def test_the_part_that_gives_way_first_comes_first():
    spec = spec_of()
    plan = forecast(spec, items())
    found = limits(
        Machine(memory=8 * 10**9, disk=10**14), lambda n: needs_of(spec, work_of(spec, plan, 200, RATES, n), RATES)
    )
    assert [one.candidates for one in found] == sorted(one.candidates for one in found)
    (calls,) = (one for one in found if one.part == "generation")
    assert calls.candidates == pytest.approx(DAY / 2.0 * 4, rel=0.001)
    (cosines,) = (one for one in found if one.part.startswith("cosines"))
    assert cosines.candidates == pytest.approx(8e9 / (110 * 4), rel=0.001)


def test_a_finished_run_of_the_spec_stands_beside_its_forecast():
    spec = spec_of()
    taken = actual_of(run_of(spec))
    table, *_ = scale_tables([needs(spec), needs(spec, 1e6)], RATES, Machine(1, 1), [], taken)
    assert table.columns == ("candidates", "80 (this spec)", "1,000,000", "its run took", "forecast ÷ taken")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["calls"] == ("20", "250,000", "20", "1.00")
    assert rows["memory: vectors"][2:] == ("", "")


def test_bytes_per_unit_are_read_from_the_store(tmp_path: Path):
    assert disk_of(tmp_path, 1) == DISK
    store = Store(tmp_path)

    def write(folder: Path) -> None:
        (folder / "verdicts.jsonl").write_bytes(b"x" * 99 + b"\n" + b"y" * 99 + b"\n")

    made = store.once("verdicts", 1, write, inputs={})
    size = sum(path.stat().st_size for path in made.path.iterdir())
    assert disk_of(tmp_path, 1)["verdict"] == size / 2
    assert disk_of(tmp_path, 1)["candidate"] == DISK["candidate"]


def test_this_machine_is_measured_in_plausible_units():
    found = measure_here()
    assert 1e-10 < found.pair < 1e-5
    assert 1e-7 < found.line < 1e-3
    # A row has a text and an id, a verdict some strings.
    assert 400 < found.record < 5_000


@pytest.mark.parametrize("text", ["", "0", "1e6", "5,-1", "1 000", "1.5", "1,,2"])
def test_sizes_are_whole_numbers(text: str):
    with pytest.raises(HarnessError, match="--sizes") as caught:
        positive_numbers("--sizes", text)
    assert "100000,1000000" in str(caught.value)
