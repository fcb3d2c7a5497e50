"""Runs under several seeds, pooled from what they left in the store."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from run_cases import ITEMS, finish

from harness.errors import LeakageError, StoreError
from harness.replicates import pool, scored_run
from harness.seal import openings
from harness.store import Store

ZERO = {"seeds": 60, "mixed": 70, "all_real": 90, "base": 30, "closed": 50}
ONE = {"seeds": 60, "mixed": 80, "all_real": 90, "base": 30}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def test_two_seeds_are_pooled_and_none_of_their_noise_is_lost(store: Store) -> None:
    reports = [finish(store, 0, ZERO), finish(store, 1, ONE)]
    pooled = pool(reports, store, "accuracy", 400)
    assert pooled.runs == tuple(reports)
    assert pooled.metric == "accuracy"
    mixed = pooled.differences["mixed"]
    assert mixed.per_run == pytest.approx((0.10, 0.20))
    assert mixed.items.value == pytest.approx(0.15)
    assert mixed.items.n == 2 * ITEMS
    assert mixed.items.low is not None
    assert mixed.items.high is not None
    assert 0 < mixed.items.low < 0.15 < mixed.items.high
    assert mixed.total.low is not None
    assert mixed.total.low < mixed.items.low
    assert mixed.seed_sd == pytest.approx(0.0707, abs=1e-4)
    assert pooled.recovered.items.value == pytest.approx(0.15 / 0.30)
    assert pooled.recovered.per_run == pytest.approx((1 / 3, 2 / 3))


def test_only_arms_that_every_run_has_are_compared_with_seeds(store: Store) -> None:
    pooled = pool([finish(store, 0, ZERO), finish(store, 1, ONE)], store, "accuracy", 200)
    assert list(pooled.differences) == ["mixed", "all_real", "base"]
    assert pooled.differences["base"].items.value == pytest.approx(-0.3)


def test_controls_are_pooled_against_the_loop_and_not_against_seeds(store: Store) -> None:
    right = {"seeds": 60, "mixed": 70, "closed": 75, "static": 70, "raw": 40}
    pooled = pool([finish(store, 0, right), finish(store, 1, {**right, "static": 80})], store, "accuracy", 200)
    assert list(pooled.differences) == ["mixed"]
    assert list(pooled.controls) == ["static", "raw"]
    assert pooled.controls["static"].per_run == pytest.approx((0.05, -0.05))
    assert pooled.controls["static"].items.value == pytest.approx(0.0)
    assert pooled.controls["raw"].items.value == pytest.approx(0.35)


def test_runs_that_left_the_test_sealed_are_pooled_on_dev_and_open_nothing(store: Store) -> None:
    report = finish(store, 0, ZERO)
    looks = openings(store)
    sealed = replace(report, test={})
    assert scored_run(sealed, store).examples == ()
    assert openings(store) == looks


def test_one_run_has_no_seed_noise_to_show(store: Store) -> None:
    pooled = pool([finish(store, 0, ZERO)], store, "accuracy", 200)
    assert pooled.differences["mixed"].seed_sd is None
    assert pooled.differences["mixed"].total.low is None
    assert "at least 2 runs" in pooled.differences["mixed"].total.note


def test_without_a_pool_the_recovered_gap_has_a_reason_instead(store: Store) -> None:
    right = {"seeds": 60, "mixed": 70}
    pooled = pool([finish(store, 0, right), finish(store, 1, right)], store, "accuracy", 200)
    assert pooled.recovered.items.value is None
    assert pooled.recovered.items.note


def test_the_metric_of_the_spec_is_the_one_pooled(store: Store) -> None:
    reports = [finish(store, 0, ZERO), finish(store, 1, ONE)]
    accuracy, macro = (pool(reports, store, metric, 200).differences["mixed"] for metric in ("accuracy", "macro_f1"))
    assert macro.items.value != accuracy.items.value
    assert macro.items.value == pytest.approx(0.15, abs=0.02)


def test_pooling_again_gives_the_same_and_is_no_new_look_at_the_test_split(store: Store) -> None:
    reports = [finish(store, 0, ZERO), finish(store, 1, ONE)]
    before = openings(store)
    assert pool(reports, store, "accuracy", 200) == pool(reports, store, "accuracy", 200)
    assert openings(store) == before
    assert [one.run for one in before] == [report.id for report in reports]


def test_the_predictions_are_those_of_the_evaluation(store: Store) -> None:
    run = scored_run(finish(store, 0, ZERO), store)
    assert len(run.examples) == ITEMS
    assert sorted(run.predictions) == sorted(ZERO)
    right = sum(one.label == answer.label for one, answer in zip(run.examples, run.predictions["mixed"], strict=True))
    assert right == 70


def test_other_models_than_those_that_were_fixed_are_refused(store: Store) -> None:
    report = finish(store, 0, ZERO)
    other = replace(report, artefacts={**report.artefacts, "adapter/mixed": "adapter-0123456789abcdef"})
    with pytest.raises(LeakageError, match="with other decisions fixed"):
        pool([other], store, "accuracy", 200)


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_lost_predictions_say_how_to_get_them_back(store: Store, harm: str) -> None:
    report = finish(store, 0, ZERO)
    evaluation = report.artefacts["evaluation"]
    if harm == "gone":
        shutil.rmtree(store.find(evaluation).path)
    else:
        (store.find(evaluation) / "mixed" / "predictions.jsonl").write_text('{"example": 3')
    with pytest.raises(StoreError, match="then run the same command again") as caught:
        pool([report], store, "accuracy", 200)
    assert report.id in str(caught.value)
    assert evaluation in str(caught.value)
