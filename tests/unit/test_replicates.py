"""Runs under several seeds, pooled from what they left in the store."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_estimate
from run_cases import ITEMS, finish

from eval.intervals import Pooled, holm
from harness.errors import DataError, LeakageError, StoreError
from harness.pooledwords import ON_DEV, pooled_lines, pooled_verdict
from harness.records import Role
from harness.replicates import PooledDifference, PooledFile, pool, scored_run, write_pooled
from harness.seal import openings
from harness.store import Store, read_json

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
    mixed = pooled.differences["mixed"].pooled
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
    assert pooled.differences["base"].pooled.items.value == pytest.approx(-0.3)


def test_controls_are_pooled_against_the_loop_and_not_against_seeds(store: Store) -> None:
    right = {"seeds": 60, "mixed": 70, "closed": 75, "static": 70, "raw": 40}
    pooled = pool([finish(store, 0, right), finish(store, 1, {**right, "static": 80})], store, "accuracy", 200)
    assert list(pooled.differences) == ["mixed"]
    assert list(pooled.controls) == ["static", "raw"]
    assert pooled.controls["static"].pooled.per_run == pytest.approx((0.05, -0.05))
    assert pooled.controls["static"].pooled.items.value == pytest.approx(0.0)
    assert pooled.controls["raw"].pooled.items.value == pytest.approx(0.35)


def test_runs_that_left_the_test_sealed_are_pooled_on_dev_and_open_nothing(store: Store) -> None:
    reports = [finish(store, 0, ZERO, sealed=True), finish(store, 1, ONE, sealed=True)]
    pooled = pool(reports, store, "accuracy", 200)
    assert pooled.role is Role.DEV
    assert pooled.differences["mixed"].pooled.per_run == pytest.approx((0.10, 0.20))
    assert pooled_lines(pooled)[0] == ON_DEV
    assert openings(store) == ()


def test_one_run_has_no_seed_noise_to_show(store: Store) -> None:
    pooled = pool([finish(store, 0, ZERO)], store, "accuracy", 200)
    assert pooled.differences["mixed"].pooled.seed_sd is None
    assert pooled.differences["mixed"].pooled.total.low is None
    assert "at least 2 runs" in pooled.differences["mixed"].pooled.total.note


def test_without_a_pool_the_recovered_gap_has_a_reason_instead(store: Store) -> None:
    right = {"seeds": 60, "mixed": 70}
    pooled = pool([finish(store, 0, right), finish(store, 1, right)], store, "accuracy", 200)
    assert pooled.recovered.items.value is None
    assert pooled.recovered.items.note


def test_the_metric_of_the_spec_is_the_one_pooled(store: Store) -> None:
    reports = [finish(store, 0, ZERO), finish(store, 1, ONE)]
    accuracy, macro = (
        pool(reports, store, metric, 200).differences["mixed"].pooled for metric in ("accuracy", "macro_f1")
    )
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


SIDES = {"seeds": 60, "mixed": 70, "closed": 75, "static": 70, "raw": 40}


def test_claims_are_adjusted_for_their_number_and_arms_beside_them_are_not(store: Store) -> None:
    runs = [finish(store, seed, {**SIDES, "base": 30, "mixed": 70 + seed}) for seed in (0, 1, 2)]
    pooled = pool(runs, store, "accuracy", 400)
    claims = [pooled.differences["mixed"], *pooled.controls.values()]
    assert pooled.claims == len(claims) == 3
    plain = [one.p_value for one in claims]
    assert tuple(one.p_holm for one in claims) == holm([p for p in plain if p is not None])
    base = pooled.differences["base"]
    assert base.p_value is not None
    assert base.p_holm is None
    assert all(one.detectable is not None and 0 < one.detectable < 1 for one in [base, *claims])


def test_a_pooled_control_tells_what_each_side_took(store: Store) -> None:
    pooled = pool([finish(store, 0, SIDES), finish(store, 1, SIDES)], store, "accuracy", 200)
    assert pooled.controls["static"].rows == ((580, 580), (580, 580))
    assert pooled.controls["static"].calls == ((140, 140), (140, 140))
    assert pooled.differences["mixed"].rows == ((820, 120), (820, 120))
    lacking = replace(pooled.runs[1], controls=pooled.runs[1].controls[:1])
    other = pool([pooled.runs[0], lacking], store, "accuracy", 200)
    assert other.controls["static"].calls == ((140, 140), (140, None))


def test_one_run_has_no_p_value_with_seed_noise(store: Store) -> None:
    pooled = pool([finish(store, 0, SIDES)], store, "accuracy", 200)
    found = pooled.controls["static"]
    assert (found.p_value, found.p_holm, found.detectable) == (None, None, None)
    assert found.pooled.items.low is not None
    (line,) = [line for line in pooled_lines(pooled) if line.startswith("closed − static")]
    assert line == "closed − static: not known, insufficient: seed noise needs at least 2 runs."


def test_runs_on_dev_and_on_test_are_not_pooled(store: Store) -> None:
    one, other = finish(store, 0, ZERO), finish(store, 1, ZERO)
    with pytest.raises(DataError, match=f"{other.id} left the test sealed"):
        pool([one, replace(other, test={})], store, "accuracy", 200)


def test_the_pooled_figures_are_written_once_per_runs_and_rule(store: Store) -> None:
    pooled = pool([finish(store, 0, SIDES), finish(store, 1, SIDES)], store, "accuracy", 200)
    path = write_pooled(pooled, store, 200)
    first = path.read_bytes()
    assert path.parent.parent == store.root / "reports"
    assert path.parent.name.startswith("pooled-")
    assert write_pooled(pooled, store, 200) == path
    assert path.read_bytes() == first
    assert write_pooled(pooled, store, 400) != path
    found = read_json(path, PooledFile)
    assert found.id == path.parent.name
    assert [(one.id, one.seed) for one in found.runs] == [(one.id, one.seed) for one in pooled.runs]
    assert found.controls == tuple(pooled.controls.values())
    assert found.differences == tuple(pooled.differences.values())
    assert found.recovered == pooled.recovered
    assert found.claims == 3


def test_pooled_figures_that_cannot_be_written_are_one_clear_error(store: Store) -> None:
    pooled = pool([finish(store, 0, SIDES)], store, "accuracy", 200)
    (store.root / "reports").write_text("a file in the way")
    with pytest.raises(StoreError, match=r"cannot write the pooled figures to .*The runs themselves are safe"):
        write_pooled(pooled, store, 200)


def test_a_secret_in_the_name_is_not_written(store: Store) -> None:
    report = replace(finish(store, 0, SIDES), name="sk-abcdefghijklmnop1234")
    path = write_pooled(pool([report], store, "accuracy", 200), store, 200)
    assert "sk-abcdef" not in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("value", "half", "p_holm", "says"),
    [
        (0.05, 0.02, 0.01, "closed − static: the loop scores more than static: +5.0 points [+3.0, +7.0]."),
        (0.05, 0.02, 0.2, "closed − static: the loop scores more than static, though adjusted for the number of"),
        (-0.05, 0.02, 0.01, "closed − static: the loop scores less than static: -5.0 points [-7.0, -3.0]."),
        (0.01, 0.02, 0.4, "closed − static: no measurable effect: +1.0 points [-1.0, +3.0]; less than 4.0 would"),
    ],
)
def test_a_pooled_control_is_put_into_words_whichever_way_it_falls(
    value: float, half: float, p_holm: float, says: str
) -> None:
    total = make_estimate(value, half)
    one = PooledDifference("closed", "static", Pooled(total, total, (value, value), 0.01), 0.01, p_holm, 0.04)
    assert pooled_verdict(one).startswith(says)
