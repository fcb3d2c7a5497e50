"""Sequences dealt from real texts: what is called healthy is, and what is called a fault is that fault."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from collapse_cases import benchmark, unit

ITEMS, ANCHORS, GENERATIONS = 40, 30, 6
LABELS = ("big", "small", "tiny")


@pytest.fixture(scope="module")
def corpora() -> ModuleType:
    return benchmark("corpora")


@pytest.fixture(scope="module")
def corpus(corpora: ModuleType) -> Any:
    """900 distinct texts of three labels, around 30 centres of each."""
    rng = np.random.default_rng(0)
    labels = [LABELS[0]] * 600 + [LABELS[1]] * 240 + [LABELS[2]] * 60
    centres = unit(rng.normal(size=(3, 30, 16)))
    number = np.repeat(np.arange(3), [600, 240, 60])
    rows = centres[number, rng.integers(30, size=900)] + 0.15 * rng.normal(size=(900, 16))
    return corpora.Corpus.of("made up", unit(rows), labels)


def sources(corpora: ModuleType, corpus: Any) -> dict[str, Any]:
    return {one.name: one for one in corpora.resampled(corpus, ITEMS, ANCHORS)}


def drawn(corpora: ModuleType, corpus: Any, name: str, seed: int = 0, generations: int = GENERATIONS) -> Any:
    return sources(corpora, corpus)[name].draw(np.random.default_rng(seed), generations)


def places(corpus: Any, rows: np.ndarray) -> list[int]:
    """Which texts these vectors are."""
    known = {row.tobytes(): place for place, row in enumerate(corpus.vectors)}
    return [known[row.tobytes()] for row in rows]


def shares(corpus: Any, rows: np.ndarray) -> np.ndarray:
    """Share of the items by label."""
    return np.bincount(corpus.labels[corpus.modes[places(corpus, rows)]], minlength=len(LABELS)) / len(rows)


def test_modes_lie_within_one_label(corpus: Any) -> None:
    assert corpus.names == LABELS
    assert corpus.shares() == pytest.approx({"big": 2 / 3, "small": 4 / 15, "tiny": 1 / 15})
    assert np.array_equal(corpus.labels[corpus.modes], np.repeat([0, 1, 2], [600, 240, 60]))
    assert (np.bincount(corpus.modes, minlength=len(corpus.labels)) > 0).all()


def test_texts_without_labels_are_given_some(corpora: ModuleType, corpus: Any) -> None:
    found = corpora.Corpus.of("made up", corpus.vectors, [""] * 900)
    assert found.names == tuple(f"topic {number}" for number in range(corpora.UNLABELLED))


def test_neighbours_are_the_nearest_others_and_dense_modes_are_dense(corpora: ModuleType, corpus: Any) -> None:
    cosines = corpus.vectors @ corpus.vectors.T
    np.fill_diagonal(cosines, -np.inf)
    right = np.sort(cosines, axis=1)[:, -corpora.NEIGHBOURS :]
    assert np.allclose(np.sort(np.take_along_axis(cosines, corpus.near, axis=1), axis=1), right)
    np.fill_diagonal(cosines, -np.inf)
    exact = np.exp(corpora.KAPPA * cosines).sum(axis=1)
    by_mode = [exact[corpus.modes == mode].mean() for mode in range(len(corpus.labels))]
    assert corpus.density == pytest.approx(np.array(by_mode) / exact.mean())


@pytest.mark.parametrize("name", ["stable", "steering, probe"])
def test_healthy_sequences_hold_hardly_a_text_twice_and_no_anchor(corpora: ModuleType, corpus: Any, name: str) -> None:
    one = drawn(corpora, corpus, name, generations=2)
    counts = Counter(places(corpus, np.concatenate([one.anchors, *one.baseline, *one.generations])))
    # Modes are drawn by chance, so some small ones are dealt out.
    assert sum(count > 1 for count in counts.values()) <= 0.1 * len(counts)
    assert not set(places(corpus, one.anchors)) & set(places(corpus, np.concatenate([*one.baseline, *one.generations])))
    assert (len(one.anchors), len(one.baseline), len(one.generations)) == (ANCHORS, 8, 2)
    assert {len(rows) for rows in (*one.baseline, *one.generations)} == {ITEMS}


def test_a_mode_is_dealt_out_before_any_of_its_texts_comes_again(corpora: ModuleType, corpus: Any) -> None:
    rng = np.random.default_rng(1)
    _, first = sources(corpora, corpus)["stable"].first(rng)
    (mode,) = [place for place, one in enumerate(first.members) if len(one) == max(map(len, first.members))][:1]
    whole = len(first.members[mode])
    out = first.positions(rng, np.full(2 * whole, mode))
    assert sorted(out[:whole]) == sorted(out[whole:]) == sorted(first.members[mode])


def test_a_stable_sequence_has_the_corpus_shares_throughout(corpora: ModuleType, corpus: Any) -> None:
    first, last = np.zeros(3), np.zeros(3)
    for seed in range(30):
        one = drawn(corpora, corpus, "stable", seed)
        first += shares(corpus, one.baseline[0]) / 30
        last += shares(corpus, one.generations[-1]) / 30
    assert first == pytest.approx([2 / 3, 4 / 15, 1 / 15], abs=0.05)
    assert last == pytest.approx([2 / 3, 4 / 15, 1 / 15], abs=0.05)


def test_a_frozen_probe_asks_for_the_same_labels_each_time(corpora: ModuleType, corpus: Any) -> None:
    def seen(name: str) -> set[tuple[float, ...]]:
        one = drawn(corpora, corpus, name)
        return {tuple(shares(corpus, rows)) for rows in (*one.baseline, *one.generations)}

    assert len(seen("steering, probe")) == 1
    assert len(seen("stable")) > 3


def test_steering_moves_the_labels_of_the_working_set(corpora: ModuleType, corpus: Any) -> None:
    moved = [
        max(abs(shares(corpus, rows) - shares(corpus, np.concatenate(one.baseline))).max() for rows in one.generations)
        for one in (drawn(corpora, corpus, "steering, work", seed) for seed in range(10))
    ]
    still = [
        max(abs(shares(corpus, rows) - shares(corpus, np.concatenate(one.baseline))).max() for rows in one.generations)
        for one in (drawn(corpora, corpus, "stable", seed) for seed in range(10))
    ]
    assert np.mean(moved) > np.mean(still)


def modes_left(corpus: Any, rows: np.ndarray) -> int:
    return len(set(corpus.modes[places(corpus, rows)]))


@pytest.mark.parametrize("name", ["replace", "replace, neighbours", "accumulate", "sharpening"])
def test_drift_loses_modes_and_accumulating_fewer(corpora: ModuleType, corpus: Any, name: str) -> None:
    def left(what: str) -> float:
        return float(np.mean([modes_left(corpus, drawn(corpora, corpus, what, s).generations[-1]) for s in range(10)]))

    assert left(name) < left("stable")
    if name == "replace":
        assert left(name) < left("accumulate")


def test_neighbours_inherit_and_are_never_anchors(corpora: ModuleType, corpus: Any) -> None:
    one = drawn(corpora, corpus, "replace, neighbours")
    anchors = set(places(corpus, one.anchors))
    before: set[int] | None = None
    for rows in one.generations:
        now = set(places(corpus, rows))
        assert not now & anchors
        if before is not None:
            reached = {int(each) for parent in before for each in corpus.near[parent]} | before
            assert now <= reached
        before = now


def test_sharpening_prefers_dense_texts(corpora: ModuleType, corpus: Any) -> None:
    def density(rows: np.ndarray) -> float:
        return float(corpus.density[corpus.modes[places(corpus, rows)]].mean())

    one = [drawn(corpora, corpus, "sharpening", seed) for seed in range(10)]
    first = np.mean([density(each.baseline[0]) for each in one])
    assert 1.1 * first < np.mean([density(each.generations[-1]) for each in one])


def test_one_label_is_lost_from_generation_2_on(corpora: ModuleType, corpus: Any) -> None:
    kinds = corpora.with_lost(corpora.REAL_KINDS, corpus, "small")
    (source,) = [one for one in corpora.resampled(corpus, ITEMS, ANCHORS, kinds) if one.name == "label loss"]
    one = source.draw(np.random.default_rng(0), GENERATIONS)
    found = [shares(corpus, rows)[1] for rows in one.generations]
    assert found[0] > 0
    assert found[1:] == [0.0] * (GENERATIONS - 1)
    lost = [
        [(shares(corpus, rows) == 0).any() for rows in drawn(corpora, corpus, "label loss", s).generations[1:]]
        for s in range(5)
    ]
    assert all(all(each) for each in lost)
    with pytest.raises(ValueError, match="'large' is no label of made up; choose from big, small, tiny"):
        corpora.with_lost(corpora.REAL_KINDS, corpus, "large")


def test_spam_grows_by_a_twentieth_and_repetition_by_a_tenth(corpora: ModuleType, corpus: Any) -> None:
    def most(name: str) -> list[int]:
        found = [Counter(places(corpus, rows)) for rows in drawn(corpora, corpus, name).generations]
        return [count.most_common(1)[0][1] if name == "spam" else len(count) for count in found]

    assert most("spam")[1:] == pytest.approx([0.05 * ITEMS * number for number in range(1, GENERATIONS)], abs=2)
    assert most("repetition") == pytest.approx([(1 - 0.1 * n) * ITEMS for n in range(1, GENERATIONS + 1)], abs=3)


def test_anchors_may_be_texts_of_another_set(corpora: ModuleType, corpus: Any) -> None:
    apart = unit(np.random.default_rng(5).normal(size=(50, 16)))
    labels = [corpus.names[one] for one in corpus.labels[corpus.modes]]
    other = corpora.Corpus.of("generated", corpus.vectors, labels, apart)
    one = drawn(corpora, other, "stable")
    assert {row.tobytes() for row in one.anchors} <= {row.tobytes() for row in apart}


def test_the_packaged_sets_are_read_without_duplicates(corpora: ModuleType) -> None:
    from harness.texts import normalise

    for name, count in (("trec", 5379), ("sentiment:amazon", None), ("disfl_qa", 998)):
        texts, labels = corpora.texts_of(name)
        assert len({normalise(text) for text in texts}) == len(texts) == len(labels)
        assert count in (None, len(texts))
        assert all(labels) is (name != "disfl_qa")
    for wrong in ("trek", "trec:HUM", "sentiment:book"):
        with pytest.raises(ValueError, match="is not known"):
            corpora.texts_of(wrong)
