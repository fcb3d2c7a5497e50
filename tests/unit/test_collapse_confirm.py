"""Witnesses beside the verdict: loss and entropy on real anchors, recall of rare groups; agreement and lead time."""

from __future__ import annotations

import numpy as np
import pytest
from collapse_cases import Source, baseline_of, read, unit

from eval.collapse import Baseline, Confirmation, RareSlices, judge, measure
from eval.confirm import confirm_paired
from eval.diversity import neighbour_radii


def losses(rises: list[float], items: int = 60, seed: int = 0) -> np.ndarray:
    """Loss per item and generation: each item has its own level, each generation a rise and noise."""
    rng = np.random.default_rng(seed)
    level = 3 + rng.normal(size=(items, 1))
    return level + np.array([0.0, *rises]) + 0.1 * rng.normal(size=(items, len(rises) + 1))


def test_a_rising_loss_agrees_from_the_second_generation_on() -> None:
    found = confirm_paired("real NLL", losses([0.0, 0.0, 0.3, 0.6]), 5, detected=2, level=0.025)
    assert (found.agrees, found.first, found.lead) == (True, 4, 2)
    assert found.means == pytest.approx((3, 3, 3, 3.3, 3.6), abs=0.3)
    assert [round(one.value, 1) for one in found.changes] == pytest.approx([0, 0, 0.3, 0.6], abs=0.11)
    assert found.changes[3].low < 0.6 < found.changes[3].high
    assert found.changes[3].high - found.changes[3].low < 0.1, "paired: the items' own levels are no noise"
    assert "real NLL changed by +0.6" in found.reason
    assert found.reason.endswith("It speaks of collapse from generation 4 on, 2 after the detector.")


def test_entropy_agrees_when_it_falls_and_loss_does_not() -> None:
    falling = losses([-0.3, -0.6, -0.9])
    assert confirm_paired("anchor entropy", falling, 4, None, 0.025).agrees
    loss = confirm_paired("real NLL", falling, 4, 1, 0.025)
    assert (loss.agrees, loss.first, loss.lead) == (False, None, None)
    assert loss.reason.endswith("It does not speak of collapse.")
    earlier = confirm_paired("anchor entropy", falling, 4, 3, 0.025)
    assert earlier.lead == -1
    assert "1 before the detector" in earlier.reason


def test_a_loss_that_stays_rarely_agrees() -> None:
    agreeing = sum(
        bool(confirm_paired("real NLL", losses([0.0] * 4, seed=seed), 5, None, 0.025).agrees) for seed in range(200)
    )
    assert agreeing <= 12


def test_what_is_missing_is_left_out_and_said() -> None:
    values = losses([0.5, 0.5])
    values[:5, 1] = np.nan
    found = confirm_paired("real NLL", values, 3, None, 0.025)
    assert found.agrees
    assert found.changes[0].n == 55
    assert "5 of 60 anchors lack a value and are left out." in found.reason
    values[:55] = np.nan
    nothing = confirm_paired("real NLL", values, 3, None, 0.025)
    assert (nothing.agrees, nothing.means, nothing.changes) == (None, (), ())
    assert "5 anchors with a value in all of 3 generations; 10 in 2 are needed" in nothing.reason
    assert confirm_paired("real NLL", losses([])[:, :1], 1, None, 0.025).agrees is None


def test_equal_losses_are_no_change_and_a_constant_rise_is_one() -> None:
    flat = np.ones((30, 3))
    assert confirm_paired("real NLL", flat, 3, None, 0.025).agrees is False
    assert confirm_paired("real NLL", flat + np.arange(3.0), 3, None, 0.025).agrees


def test_arrays_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"real NLL: shape \(60, 3\); needed is \(items, 4\)"):
        confirm_paired("real NLL", losses([0.0, 0.0]), 4, None, 0.025)
    with pytest.raises(ValueError, match="'accuracy' is not known; allowed are"):
        confirm_paired("accuracy", losses([0.0]), 2, None, 0.025)


def groups(source: Source) -> tuple[np.ndarray, RareSlices]:
    """Sixty anchors, two for each of thirty modes; the rare groups are those of the last modes, ten anchors each."""
    rows = np.repeat(source.centres, 2, axis=0) + 0.05 * source.rng.normal(size=(60, 16))
    anchors = unit(rows)
    members = {f"modes {start}-{start + 4}": tuple(range(2 * start, 2 * start + 10)) for start in (15, 20, 25)}
    return anchors, RareSlices(members, tuple(np.full(60, 0.9).tolist()))


def test_a_lost_group_is_found_and_named() -> None:
    source = Source(6)
    anchors, slices = groups(source)
    baseline = baseline_of(source, anchors)
    verdict = judge(
        baseline, read(baseline, anchors, source(80), source(80, modes=25), source(80, modes=25)), slices=slices
    )
    (found,) = verdict.confirmations
    assert (found.name, found.agrees, found.first) == ("rare slices", True, 3)
    assert [one.name for one in verdict.slices if one.lost] == ["modes 25-29"]
    lost = verdict.slices[-1]
    assert lost.now.value < 0.4 < lost.before.value
    assert lost.now.low <= lost.now.value <= lost.now.high
    assert lost.before.n == 10
    assert lost.q <= 0.05
    assert "recall of 1 of 3 rare slices is lost: modes 25-29." in found.reason


@pytest.mark.parametrize("batches", [2, 3])
def test_a_lost_group_is_found_with_few_batches_too(batches: int) -> None:
    source = Source(7)
    anchors, slices = groups(source)
    baseline = baseline_of(source, anchors, batches)
    sound, lacking = (
        judge(baseline, read(baseline, anchors, *(source(80, modes=modes) for _ in range(2))), slices=slices)
        for modes in (None, 25)
    )
    assert not any(one.lost for one in sound.slices)
    assert [one.name for one in lacking.slices if one.lost] == ["modes 25-29"]
    single = baseline_of(source, anchors, 1)
    (*_, last) = judge(single, read(single, anchors, source(80, modes=25)), slices=slices).slices
    assert 0 < last.q < 0.2


def test_groups_of_a_sound_generator_are_rarely_lost() -> None:
    lost = 0
    for seed in range(100):
        source = Source(seed)
        anchors, slices = groups(source)
        baseline = baseline_of(source, anchors)
        found = judge(baseline, read(baseline, anchors, source(80)), slices=slices).slices
        lost += any(one.lost for one in found)
    assert lost <= 12


def test_slices_that_cannot_be_told() -> None:
    source = Source(4)
    anchors, slices = groups(source)
    baseline = baseline_of(source, anchors)
    sound = read(baseline, anchors, source(80))
    assert reason(judge(baseline, [], slices=slices).confirmations).startswith("rare slices cannot be told")
    bare = Baseline.of([source(80) for _ in range(8)])
    assert "no anchors" in reason(judge(bare, [measure(source(80), None, 80)], slices=slices).confirmations)
    empty = RareSlices({"none": ()}, slices.radius)
    assert "no anchors in them" in reason(judge(baseline, sound, slices=empty).confirmations)
    for wrong in (RareSlices({"far": (60,)}, slices.radius), RareSlices({"one": (0,)}, slices.radius[:-1])):
        with pytest.raises(ValueError, match=r"positions must be 0 to 59, one radius each"):
            judge(baseline, sound, slices=wrong)


def test_usual_radii_cover_most_anchors_of_a_sound_generator() -> None:
    source = Source(5)
    anchors = source(60)
    slices = RareSlices({"all": tuple(range(60))}, tuple(neighbour_radii(anchors).tolist()))
    baseline = baseline_of(source, anchors)
    (one,) = judge(baseline, read(baseline, anchors, source(80)), slices=slices).slices
    assert one.before.value > 0.9
    assert not one.lost


def reason(confirmations: tuple[Confirmation, ...]) -> str:
    (one,) = confirmations
    return one.reason
