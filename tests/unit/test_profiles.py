"""Explanatory figures: all generations on one footing, and what cannot be had is None."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from collapse_cases import Source

from eval.profiles import LARGEST, Items, Profile, profiles


def items(source: Source, count: int, modes: int | None = None, words: int = 5) -> Items:
    texts = tuple(" ".join(f"w{one}" for one in source.rng.integers(400, size=words)) for _ in range(count))
    return Items(texts, source(count, modes))


def test_every_generation_is_compared_at_one_size() -> None:
    source = Source(0)
    anchors = source(40)
    first, larger, longer, smaller = profiles(
        [items(source, 60), items(source, 70)],
        [items(source, 400), items(source, 60, words=50), items(source, 20)],
        anchors,
        60,
    )
    assert [one.compared for one in (first, larger, longer, smaller)] == [60, 60, 60, 0]
    assert [one.items for one in (first, larger, longer, smaller)] == [130, 400, 60, 20]
    assert (longer.words, larger.words) == (50.0, 5.0)
    assert larger.vendi == pytest.approx(first.vendi, rel=0.15)
    assert longer.distinct_2 == pytest.approx(larger.distinct_2, abs=0.02), "cut to one number of words"
    assert longer.compression == pytest.approx(larger.compression, rel=0.1)
    assert first.mmd is not None
    assert smaller == Profile(3, 20, 0, 5.0, smaller.language)


def test_a_narrow_generation_shows_in_each_figure() -> None:
    source = Source(1)
    anchors = source(60)
    narrow = items(source, 80, modes=5)
    narrow = Items(tuple([narrow.texts[0]] * 40) + narrow.texts[40:], narrow.vectors)
    first, now = profiles([items(source, 80), items(source, 80)], [narrow], anchors, 80)
    for name in ("survival", "vendi", "distinct_2", "recall", "coverage"):
        assert getattr(now, name) < getattr(first, name), name
    for name in ("self_repetition", "compression", "mmd", "frechet", "energy"):
        assert getattr(now, name) > getattr(first, name), name


def test_without_anchors_or_second_batch_figures_are_none_and_never_nan() -> None:
    source = Source(2)
    same = Items(tuple(["…"] * 50), np.tile(source(1), (50, 1)))
    first, now = profiles([items(source, 50)], [same], None, 50)
    assert (first.mmd, first.energy, first.coverage) == (None, None, None)
    assert (now.distinct_2, now.self_repetition, now.recall) == (None, None, None)
    assert now.vendi == pytest.approx(1.0)
    assert "NaN" not in json.dumps([asdict(first), asdict(now)])


def test_large_generations_are_cut() -> None:
    source = Source(3)
    first, _ = profiles([items(source, LARGEST + 500)], [items(source, LARGEST + 100)], None, LARGEST + 100)
    assert first.compared == LARGEST


def test_what_does_not_fit_is_refused() -> None:
    source = Source(4)
    with pytest.raises(ValueError, match="1 texts and 2 vectors"):
        Items(("a",), source(2))
    with pytest.raises(ValueError, match="no batch of generation 0 has 50 items"):
        profiles([items(source, 40)], [], None, 50)
