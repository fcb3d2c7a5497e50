"""Shares from a stratified sample: unbiased where plain means are not, coverage by simulation, and what cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from eval.intervals import wilson
from eval.survey import Strata, powered_share, stratified_share

SETS = 500
SIZES, SHARES, DRAWN = (600, 150, 40), (0.95, 0.7, 0.3), (30, 20, 20)
DESIGN = Strata(SIZES, DRAWN)


class World:
    """A finite set in three strata, and ratings of its items by a model that is `sharp`: 0 knows nothing, 1 all."""

    def __init__(self, seed: int, sharp: float = 0.6, shift: float = 0.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.strata = np.repeat(np.arange(3), SIZES)
        self.right = (self.rng.random(sum(SIZES)) < np.repeat(SHARES, SIZES)).astype(float)
        noise = self.rng.random(sum(SIZES))
        self.ratings = np.clip(sharp * self.right + (1 - sharp) * noise + shift, 0, 1)

    def draw(self, counts: tuple[int, ...] = DRAWN) -> np.ndarray:
        return np.concatenate(
            [self.rng.choice(np.flatnonzero(self.strata == h), count, replace=False) for h, count in enumerate(counts)]
        )

    def share(self, items: np.ndarray, design: Strata = DESIGN):
        return stratified_share(self.right[items].tolist(), self.strata[items].tolist(), design)

    def powered(self, items: np.ndarray, design: Strata = DESIGN):
        return powered_share(
            self.right[items].tolist(),
            self.strata[items].tolist(),
            design,
            self.ratings[items].tolist(),
            float(self.ratings.mean()),
        )


def held(found, truth: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


def test_the_weighted_value_is_unbiased_where_the_plain_mean_is_not() -> None:
    world = World(0)
    drawn = [world.draw() for _ in range(SETS)]
    truth = world.right.mean()
    assert np.mean([world.share(items).value for items in drawn]) == pytest.approx(truth, abs=0.006)
    assert np.mean([world.right[items].mean() for items in drawn]) < truth - 0.1


@pytest.mark.parametrize("seed", [1, 2])
def test_intervals_hold_the_truth(seed: int) -> None:
    world = World(seed)
    truth = world.right.mean()
    hits = [held(world.share(world.draw()), truth) for _ in range(SETS)]
    # 500 sets with a true coverage of .95 fall below .92 in 1 of 400 cases.
    assert np.mean(hits) >= 0.92


def test_a_part_of_the_drawn_items_in_random_order_will_do() -> None:
    world = World(3)
    truth = world.right.mean()
    found = [world.share(world.rng.permutation(world.draw())[:35]) for _ in range(SETS)]
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.01)
    assert np.mean([held(one, truth) for one in found]) >= 0.92
    assert {one.n for one in found} == {35}


def test_one_stratum_is_a_simple_random_sample() -> None:
    labels = [1.0] * 40 + [0.0] * 10
    few_of_many = stratified_share(labels, [0] * 50, Strata((10**6,), (50,)))
    plain = wilson(40, 50)
    assert few_of_many.value == 0.8
    # s² divides by n − 1, Wilson's by n.
    assert few_of_many.low == pytest.approx(plain.low, abs=0.002)
    assert few_of_many.high == pytest.approx(plain.high, abs=0.002)
    half_of_all = stratified_share(labels, [0] * 50, Strata((100,), (50,)))
    assert half_of_all.high - half_of_all.low < 0.75 * (plain.high - plain.low)


def test_all_labelled_leaves_nothing_open() -> None:
    found = stratified_share([1.0] * 15 + [0.0] * 5, [0] * 10 + [1] * 10, Strata((10, 10), (10, 10)))
    assert (found.value, found.low, found.high) == (0.75, 0.75, 0.75)


def test_only_accepted_rows_still_leave_room_for_doubt() -> None:
    found = stratified_share([1.0] * 70, [0] * 30 + [1] * 20 + [2] * 20, DESIGN)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low is not None
    # Unequal weights make 70 items worth fewer.
    assert found.low < wilson(70, 70).low


def test_few_labels_are_insufficient_and_none_are_nothing() -> None:
    few = stratified_share([1.0] * 9, [0] * 9, DESIGN)
    assert (few.value, few.low) == (1.0, None)
    assert few.note == "insufficient: 9 labelled items; at least 10 are needed"
    assert stratified_share([], [], DESIGN).value is None
    assert powered_share([], [], DESIGN, [], 0.5).score.value is None


@pytest.mark.parametrize(("sharp", "shift"), [(0.0, 0.0), (0.4, 0.2), (0.6, -0.2), (0.9, 0.0)])
def test_powered_intervals_hold_the_truth_whatever_the_model(sharp: float, shift: float) -> None:
    world = World(4, sharp, shift)
    truth = world.right.mean()
    found = [world.powered(world.draw()).score for _ in range(SETS)]
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.006)
    assert np.mean([held(one, truth) for one in found]) >= 0.92


def test_a_good_model_narrows_the_interval_and_a_useless_one_hardly_widens_it() -> None:
    for sharp, most in ((0.8, 0.7), (0.0, 1.15)):
        world = World(5, sharp)
        both = [world.powered(world.draw()) for _ in range(100)]
        widths = [(one.score.high - one.score.low) / (one.labels_alone.high - one.labels_alone.low) for one in both]
        assert np.mean(widths) < most


def test_powered_by_hand() -> None:
    """One stratum, 40 of 10⁶ drawn; labels 30 of 40 right, ratings .9 for 20 of the right ones and .1 else, λ given by
    cov/var."""
    labels, ratings = [1.0] * 30 + [0.0] * 10, [0.9] * 20 + [0.1] * 20
    found = powered_share(labels, [0] * 40, Strata((10**6,), (40,)), ratings, 0.6)
    cov, var = np.cov(labels, ratings)[0, 1], np.var(ratings, ddof=1)
    weight = min(1.0, cov / var)
    assert found.weight == pytest.approx(weight)
    value = 0.75 + weight * (0.6 - 0.5)
    assert found.score.value == pytest.approx(value)
    left = np.array(labels) - weight * np.array(ratings)
    spread = left.var(ddof=1) / 40 + weight**2 / (40 * 40)
    assert found.score.low == pytest.approx(value - stdtrit(38, 0.975) * math.sqrt(spread), abs=1e-4)


def test_nearly_all_right_is_left_to_the_labels() -> None:
    found = powered_share([1.0] * 66 + [0.0] * 4, [0] * 30 + [1] * 20 + [2] * 20, DESIGN, [0.5] * 70, 0.5)
    assert "fewer than 5 labels of one kind" in found.score.note
    assert found.score.low == found.labels_alone.low


def test_a_model_that_says_the_same_of_all_is_left_out() -> None:
    found = powered_share([1.0] * 40 + [0.0] * 30, [0] * 30 + [1] * 20 + [2] * 20, DESIGN, [0.5] * 70, 0.5)
    assert (found.weight, found.score.note) == (0.0, "the model tells nothing")


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="1 sizes against 2"):
        Strata((3,), (1, 1))
    with pytest.raises(ValueError, match="4 drawn of 3"):
        Strata((3,), (4,))
    with pytest.raises(ValueError, match="0 drawn of 3"):
        Strata((3,), (0,))
    with pytest.raises(ValueError, match="2 labels against 1 strata"):
        stratified_share([1.0, 0.0], [0], DESIGN)
    with pytest.raises(ValueError, match="labels must lie from 0 to 1"):
        stratified_share([2.0], [0], DESIGN)
    with pytest.raises(ValueError, match="strata 3 to 3"):
        stratified_share([1.0], [3], DESIGN)
    with pytest.raises(ValueError, match="items were drawn"):
        stratified_share([1.0] * 31, [0] * 31, DESIGN)
    with pytest.raises(ValueError, match="1 ratings against 2 labels"):
        powered_share([1.0, 0.0], [0, 0], DESIGN, [0.5], 0.5)
