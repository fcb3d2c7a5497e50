"""The verdict: its four values, when it speaks, what it says, and what must not move it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from collapse_cases import Source, baseline_of, read, unit

from eval.collapse import Baseline, Readings, Rule, Verdict, judge, matched_size, measure
from eval.diversity import log_rke, nearest
from eval.readings import held_back
from harness.store import read_json, write_json


@pytest.fixture
def source() -> Source:
    return Source(0)


@pytest.fixture
def anchors(source: Source) -> np.ndarray:
    return source(60)


def test_the_same_generator_is_ok(source: Source, anchors: np.ndarray) -> None:
    baseline = baseline_of(source, anchors)
    verdict = judge(baseline, read(baseline, anchors, *(source(80) for _ in range(6))))
    assert verdict.status == "ok"
    assert (verdict.generations, verdict.batches, verdict.size, verdict.anchors) == (7, 8, 80, 60)
    assert verdict.reason.startswith("Neither statistic is beyond its limit in the last generation; nearest to it: ")
    assert verdict.p > verdict.level
    assert [len(one.looks) for one in verdict.courses] == [6, 6]


def test_a_generator_that_loses_modes_alarms_at_the_second_generation_beyond(
    source: Source, anchors: np.ndarray
) -> None:
    baseline = baseline_of(source, anchors)
    generations = [source(80), source(80, modes=6), source(80, modes=6), source(80, modes=6)]
    verdict = judge(baseline, read(baseline, anchors, *generations))
    assert verdict.status == "alarm"
    assert (verdict.first_warning, verdict.first_alarm, verdict.generation) == (2, 3, 3)
    for course, sign in zip(verdict.courses, (1, -1), strict=True):
        look = course.looks[2]
        assert course.first_alarm == 3
        assert sign * (look.value - look.limit) > 0
        assert sign * look.effect > 0
        assert look.p <= verdict.level
    assert "beyond the limit twice in succession" in verdict.reason
    assert "alarms too, from generation 3 on" in verdict.reason


def test_one_value_beyond_warns_and_an_alarm_stays(source: Source, anchors: np.ndarray) -> None:
    baseline = baseline_of(source, anchors)
    sound, narrow = [read(baseline, anchors, *(source(80, modes=m) for _ in range(3))) for m in (None, 6)]
    assert judge(baseline, narrow[:1]).status == "warn"
    assert "A second generation in succession would alarm" in judge(baseline, [sound[0], narrow[0]]).reason
    once = judge(baseline, [narrow[0], sound[0], sound[1]])
    assert (once.status, once.first_warning, once.first_alarm) == ("ok", 1, None)
    assert "Generation 1 was beyond a limit once." in once.notes
    apart = judge(baseline, [narrow[0], sound[0], narrow[1]])
    assert (apart.status, apart.first_alarm) == ("warn", None)
    recovered = judge(baseline, [narrow[0], narrow[1], sound[0]])
    assert (recovered.status, recovered.first_alarm) == ("alarm", 2)
    assert recovered.reason.endswith("In the last generation it is back within the limit.")


def test_values_and_effects_are_those_of_the_statistics(source: Source, anchors: np.ndarray) -> None:
    batches, later = [source(80) for _ in range(8)], source(80)
    verdict = judge(Baseline.of(batches, anchors), [measure(later, anchors, 80)])
    nnr, rke = verdict.courses
    before = np.mean([nearest(anchors, one).mean() for one in batches])
    assert nnr.baseline == pytest.approx(before)
    assert nnr.looks[0].value == pytest.approx(nearest(anchors, later).mean())
    assert nnr.looks[0].effect == pytest.approx(100 * (nearest(anchors, later).mean() / before - 1))
    spread = np.mean([log_rke(one) for one in batches])
    assert rke.looks[0].effect == pytest.approx(100 * (np.exp(log_rke(later) - spread) - 1))


def test_the_other_way_is_drift_and_never_alarms(source: Source, anchors: np.ndarray) -> None:
    narrow = [source(80, modes=10) for _ in range(8)]
    baseline = Baseline.of(narrow, anchors)
    verdict = judge(baseline, read(baseline, anchors, *(source(80) for _ in range(4))))
    assert verdict.status == "ok"
    assert [one.first_drift for one in verdict.courses] == [2, 2]
    assert sum("moved the other way from generation 2 on" in note for note in verdict.notes) == 2


def test_a_slow_decline_shows_in_cusum_and_trend(source: Source, anchors: np.ndarray) -> None:
    baseline = baseline_of(source, anchors)
    later = [source(80, modes=30 - 3 * step) for step in range(8)]
    nnr, rke = judge(baseline, read(baseline, anchors, *later)).courses
    assert nnr.first_cusum is not None
    assert rke.first_trend is not None
    assert rke.looks[2].trend is None
    assert rke.looks[3].trend is not None
    strict = judge(baseline, read(baseline, anchors, *later), rule=Rule(cusum_h=1000.0))
    assert strict.courses[0].first_cusum is None


def test_neither_order_nor_rotation_nor_the_seed_of_a_whole_batch_matters(source: Source, anchors: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    turn, _ = np.linalg.qr(rng.normal(size=(16, 16)))
    batches, later = [source(80) for _ in range(8)], [source(80), source(80, modes=10)]
    plain = judge(Baseline.of(batches, anchors), [measure(one, anchors, 80) for one in later])
    moved = judge(
        Baseline.of([rng.permutation(one) @ turn for one in batches], rng.permutation(anchors) @ turn, seed=9),
        [measure(rng.permutation(one) @ turn, rng.permutation(anchors) @ turn, 80, seed=4) for one in later],
    )
    for one, other in zip(plain.courses, moved.courses, strict=True):
        assert [look.p for look in one.looks] == pytest.approx([look.p for look in other.looks], rel=1e-6)


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_few_batches_are_judged_by_the_noise_between_items(source: Source, anchors: np.ndarray, batches: int) -> None:
    baseline = baseline_of(source, anchors, batches)
    assert baseline.by_items
    sound = judge(baseline, read(baseline, anchors, *(source(80) for _ in range(6))))
    assert (sound.status, sound.batches) == ("ok", batches)
    assert any("too few to see how much they vary" in note for note in sound.notes)
    fallen = judge(baseline, read(baseline, anchors, *(source(80, modes=6) for _ in range(2))))
    assert (fallen.status, fallen.first_alarm) == ("alarm", 2)


def test_a_larger_generation_is_judged_by_the_mean_of_its_parts(source: Source, anchors: np.ndarray) -> None:
    baseline = baseline_of(source, anchors)
    (readings,) = read(baseline, anchors, source(250))
    assert (len(readings.batches), readings.items) == (3, 250)
    small, large = (judge(baseline, read(baseline, anchors, source(size))).courses[0].looks[0] for size in (80, 800))
    middle = judge(baseline, read(baseline, anchors, source(80))).courses[0].baseline
    assert large.limit - middle < 0.55 * (small.limit - middle)


def test_sizes_are_matched_but_not_to_a_generation_that_is_far_too_small() -> None:
    assert matched_size([100, 120], [90, 300]) == 90
    assert matched_size([100, 120], [40, 300, 90]) == 90
    assert matched_size([100, 120], [30, 30, 30]) == 30
    assert matched_size([10_000], [300, 300]) == 300
    assert matched_size([100], [0, 0, 9]) == 100
    assert matched_size([100], []) == 100
    assert matched_size([], []) == 0


def test_one_large_set_is_cut_into_parts_that_serve_as_batches(source: Source, anchors: np.ndarray) -> None:
    baseline = Baseline.of([source(900)], anchors, size=80)
    assert (len(baseline.batches), baseline.cut, baseline.by_items) == (11, True, False)
    sound = judge(baseline, read(baseline, anchors, *(source(80) for _ in range(4))))
    assert (sound.status, sound.batches) == ("ok", 11)
    assert judge(baseline, read(baseline, anchors, *(source(80, modes=6) for _ in range(2)))).status == "alarm"
    few = Baseline.of([source(300), source(200)], anchors, size=80)
    assert (len(few.batches), few.by_items) == (5, True)
    many = Baseline.of([source(300)] * 4, anchors, size=80)
    assert (len(many.batches), many.cut) == (4, False)


def test_what_cannot_be_judged_is_insufficient_with_a_reason(source: Source, anchors: np.ndarray) -> None:
    baseline = baseline_of(source, anchors)
    sound = read(baseline, anchors, source(80))
    same = Baseline.of([anchors[:50]] * 8, source(30))
    equal = Baseline.of([np.tile(anchors[:1], (60, 1))])
    cases = {
        "There is one generation; collapse can be seen from 2 on.": judge(baseline, []),
        "No generation after the first can be judged: 20 items, and 80 are compared.": judge(
            baseline, read(baseline, anchors, source(20))
        ),
        "The last generation (2) cannot be judged: no items.": judge(baseline, [*sound, Readings((), 0)]),
        "Generation 0 has batches of [40] items; a batch needs at least 50.": judge(
            Baseline.of([source(40)], anchors), sound
        ),
        "Generation 0 has no items; a batch needs at least 50.": judge(Baseline.of([], anchors), sound),
        "No statistic can be judged; nnR: the batches of generation 0 do not differ; "
        "log RKE: the batches of generation 0 do not differ.": judge(same, read(same, source(30), source(80))),
        "No statistic can be judged; nnR: there are no anchors; "
        "log RKE: the items of generation 0 do not differ.": judge(equal, read(equal, None, source(80))),
    }
    for reason, verdict in cases.items():
        assert (verdict.status, verdict.reason) == ("insufficient", reason)


def test_a_generation_that_cannot_be_judged_is_passed_over(source: Source, anchors: np.ndarray) -> None:
    baseline = baseline_of(source, anchors)
    narrow = read(baseline, anchors, source(80, modes=6), source(80, modes=6))
    verdict = judge(baseline, [narrow[0], Readings((), 3, "3 items, and 80 are compared"), narrow[1]])
    assert (verdict.status, verdict.first_alarm) == ("alarm", 3)
    assert verdict.not_judged == {2: "3 items, and 80 are compared"}
    assert "Generation 2 is not judged: 3 items, and 80 are compared." in verdict.notes
    ended = judge(baseline, [*narrow, Readings((), 3, "3 items")])
    assert (ended.status, ended.first_alarm) == ("alarm", 2)


def test_identical_items_alarm_and_give_no_nan(source: Source, anchors: np.ndarray) -> None:
    same = np.tile(source(1), (80, 1))
    for batches in (1, 8):
        baseline = baseline_of(source, anchors, batches)
        verdict = judge(baseline, read(baseline, anchors, same, same))
        assert verdict.status == "alarm"
        assert verdict.courses[1].looks[0].value == pytest.approx(0.0, abs=1e-9)
        assert all(np.isfinite(look.p) for one in verdict.courses for look in one.looks)


def test_copied_anchors_are_left_out_everywhere(source: Source, anchors: np.ndarray) -> None:
    batches = [source(80) for _ in range(8)]
    later = source(80)
    later[:15] = anchors[:15]
    verdict = judge(Baseline.of(batches, anchors), [measure(later, anchors, 80)])
    assert verdict.left_out == tuple(range(15))
    assert verdict.anchors == 45
    rest = anchors[15:]
    plain = judge(Baseline.of(batches, rest), [measure(later, rest, 80)])
    assert verdict.courses[0].looks == plain.courses[0].looks
    assert any("15 of 60 anchors stand verbatim" in note for note in verdict.notes)
    later[:50] = anchors[:50]
    few = judge(Baseline.of(batches, anchors), [measure(later, anchors, 80)])
    assert few.courses[0].looks == ()
    assert few.courses[0].why == "10 of 60 anchors do not stand verbatim in a generation; 20 are needed"
    assert few.status in ("ok", "warn")


def test_without_anchors_log_rke_is_judged_alone(source: Source) -> None:
    baseline = baseline_of(source, None)
    verdict = judge(baseline, read(baseline, None, source(80)))
    assert verdict.status == "ok"
    assert verdict.statistic == "log RKE"
    assert verdict.reason.startswith("The one statistic to be had is not beyond its limit")
    assert "nnR is not judged: there are no anchors." in verdict.notes


def test_a_part_of_generation_0_is_held_back() -> None:
    parts = held_back([100, 60])
    assert [(len(kept), len(rest)) for kept, rest in parts] == [(50, 50), (30, 30)]
    for (kept, rest), size in zip(parts, (100, 60), strict=True):
        assert sorted([*kept.tolist(), *rest.tolist()]) == list(range(size))
    assert sum(len(kept) for kept, _ in held_back([1000] * 8)) == 200
    assert held_back([0])[0][0].size == 0


def test_other_anchors_and_bad_vectors_are_refused(source: Source, anchors: np.ndarray) -> None:
    baseline = baseline_of(source, anchors)
    with pytest.raises(ValueError, match=r"distances to \[30, 60\] anchors"):
        judge(baseline, read(baseline, anchors[:30], source(80)))
    with pytest.raises(ValueError, match="has length 2"):
        Baseline.of([2 * source(80)] * 8, anchors)
    with pytest.raises(ValueError, match="size 0 must be at least 1"):
        Baseline.of([source(80)], anchors, size=0)
    with pytest.raises(ValueError, match="different dimensions"):
        measure(source(80), unit(np.ones((30, 5))), 80)


def test_baseline_and_verdict_can_be_written_and_read(source: Source, anchors: np.ndarray, tmp_path: Path) -> None:
    baseline = baseline_of(source, anchors)
    write_json(tmp_path / "baseline.json", Baseline, baseline)
    again = read_json(tmp_path / "baseline.json", Baseline)
    assert again == baseline
    later = [*read(baseline, anchors, source(80), source(80, modes=5)), Readings((), 0)]
    verdict = judge(again, later, nll=np.ones((30, 4)), entropy=np.ones((30, 4)))
    write_json(tmp_path / "verdict.json", Verdict, verdict)
    assert read_json(tmp_path / "verdict.json", Verdict) == verdict
    assert "NaN" not in (tmp_path / "verdict.json").read_text()
    assert replace(verdict, reason="") != verdict
