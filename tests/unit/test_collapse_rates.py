"""False alarms and power of the collapse verdict, on the benchmark's toy sequences; and the jackknife it rests on.

Neither statistic is normal there: log RKE is skewed, nnR a mean of minima. The rate of an unchanged run is promised to
be at most .05 and is asserted as it stands; `scripts/bench collapse` gives it with its interval for every rule.
"""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from collapse_cases import benchmark, unit

from eval.collapse import Verdict
from eval.diversity import log_rke
from eval.readings import log_rke_jackknife, measure, nnr_variance

GENERATIONS = 8


def verdicts(name: str, count: int, *, one_set: bool = False, seed: int = 1, **world: float) -> list[Verdict]:
    sequences, rules = benchmark("sequences"), benchmark("rules")
    toy = next(one for one in sequences.TOYS if one.name == name)
    toy = sequences.Toy(toy.kind, sequences.World(**world))
    judged = rules.verdict_of_one_set if one_set else rules.verdict_of
    return [judged(toy.draw(np.random.default_rng([seed, number]), GENERATIONS)) for number in range(count)]


def rate(found: list[Verdict]) -> float:
    return statistics.mean(one.first_alarm is not None for one in found)


def delay(found: list[Verdict]) -> float:
    return statistics.median(one.first_alarm or np.inf for one in found)


def test_a_run_without_change_rarely_alarms() -> None:
    found = verdicts("stable", 240)
    assert rate(found) <= 0.05
    warned = statistics.mean(one.first_warning is not None for one in found)
    assert warned > 0.15, "a rule that alarms at the first value beyond would have to be caught by this"
    assert all(one.status in ("ok", "warn", "alarm") for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("one_set", [False, True])
@pytest.mark.parametrize(
    "world",
    [
        {},
        {"modes": 10},
        {"zipf": 2.0},
        {"items": 300},
        {"items": 60, "anchors": 40},
        {"spread": 0.0, "width": 128},
    ],
)
def test_runs_without_change_rarely_alarm_in_any_world(world: dict[str, float], one_set: bool) -> None:
    assert rate(verdicts("stable", 600, one_set=one_set, seed=2, **world)) <= 0.05


def test_one_set_in_place_of_batches_rarely_alarms_and_sees_collapse() -> None:
    assert rate(verdicts("stable", 200, one_set=True)) <= 0.05
    found = verdicts("replace", 40, one_set=True)
    assert rate(found) >= 0.9
    assert delay(found) <= 5


@pytest.mark.parametrize(("name", "power", "latest"), [("replace", 0.9, 4), ("sharpening", 0.95, 3)])
def test_collapse_is_seen_and_soon(name: str, power: float, latest: int) -> None:
    found = verdicts(name, 40)
    assert rate(found) >= power
    assert delay(found) <= latest


def test_a_steered_working_set_sets_it_off_more_often_than_its_probe() -> None:
    assert rate(verdicts("steering, work", 60)) > 0.1 > rate(verdicts("steering, probe", 60))


def test_the_jackknife_variances_are_not_too_small() -> None:
    """Log RKE: near the true one; nnR: above it, by less than the factor of 2 that single minima would give."""
    drawn = benchmark("sequences").TOYS[0].draw(np.random.default_rng(3), 400)
    batches = [measure(one, drawn.anchors, 150).batches[0] for one in drawn.generations]
    spread = np.var([one.log_rke for one in batches], ddof=1)
    assert 0.85 < np.mean([one.variance for one in batches]) / spread < 1.3
    everything = np.arange(100)
    spread = np.var([np.mean(one.nearest) for one in batches], ddof=1)
    assert 1.1 < np.mean([nnr_variance(one, everything, 150) for one in batches]) / spread < 2.2


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_the_closed_form_is_the_jackknife(shape: tuple[int, int]) -> None:
    rows = unit(np.random.default_rng(4).normal(size=shape) + 1)
    left_out = [log_rke(np.delete(rows, place, axis=0)) for place in range(len(rows))]
    value, variance = log_rke_jackknife(rows)
    assert value == pytest.approx(log_rke(rows))
    assert variance == pytest.approx((len(rows) - 1) * np.var(left_out))
