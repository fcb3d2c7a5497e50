from collections.abc import Sequence

import numpy as np
import pytest
from fakes import HashEmbedder, TableEmbedder
from filter_cases import candidate, candidates, context, said, seed, verdicts
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import neighbours
from harness.filters import duplicates
from harness.filters.base import Context, Labeller
from harness.filters.duplicates import DuplicateFilter, calibrate
from harness.neighbours import Exact, turned
from harness.records import Candidate, Decision, Verdict

NEAR = "held: near duplicates under different labels"
SAME = "held: exact duplicates under different labels"


def angled(
    *rows: tuple[str, float] | tuple[str, float, str], seeds: tuple[tuple[str, float, str], ...] = ()
) -> Context:
    """Texts at angles in a plane; cosine .92 is 23 degrees."""
    table = {row[0]: row[1] for row in (*rows, *seeds)}
    made = candidates(*[(row[0], row[2] if len(row) > 2 else "ALPHA") for row in rows])  # type: ignore[misc]
    real = [seed(i, text, label) for i, (text, _, label) in enumerate(seeds, 1)]
    return context(made, seeds=real, embedder=TableEmbedder(table))


def run(given: Context) -> list[str]:
    return said(verdicts(DuplicateFilter(), given))


def test_exactly_one_of_a_group_survives_and_it_is_the_oldest() -> None:
    assert run(angled(("a", 0), ("b", 10), ("A", 20), ("c", 60), ("d", 70))) == [
        "keep",
        "drop: near duplicate",
        "drop: exact duplicate",
        "keep",
        "drop: near duplicate",
    ]


def test_seeds_win_and_are_named_as_evidence() -> None:
    given = angled(("who ?", 0), ("a", 95), ("b", 100), ("c", 40), seeds=(("Who?", 0, "ALPHA"), ("x", 90, "BETA")))
    found = verdicts(DuplicateFilter(), given)
    assert said(found) == [
        "drop: exact duplicate",
        "drop: near duplicate under another label",
        "drop: near duplicate under another label",
        "keep",
    ]
    assert [one.evidence for one in found] == [
        "same text as real-1",
        "cosine 0.996 to real-2",
        "cosine 0.985 to real-2",
        "",
    ]


def test_near_duplicates_under_different_labels_are_both_held() -> None:
    found = verdicts(DuplicateFilter(), angled(("a", 0), ("b", 10, "BETA"), ("c", 60)))
    assert said(found) == [f"drop: {NEAR}", f"drop: {NEAR}", "keep"]
    assert [one.evidence for one in found] == [
        "cosine 0.985 to syn-000000000002",
        "cosine 0.985 to syn-000000000001",
        "",
    ]


def test_one_text_under_different_labels_is_held_too() -> None:
    found = verdicts(DuplicateFilter(), angled(("a b ?", 0), ("A b?", 90, "BETA"), ("c", 180)))
    assert said(found) == [f"drop: {SAME}", f"drop: {SAME}", "keep"]
    assert found[0].evidence == "same text as syn-000000000002"


def test_a_third_one_near_a_held_pair_is_in_doubt_too() -> None:
    assert run(angled(("a", 0), ("b", 10, "BETA"), ("c", 5)))[2] == "drop: near duplicate"
    assert run(angled(("a", 0), ("b", 10, "BETA"), ("c", 5, "GAMMA")))[2] == f"drop: {NEAR}"


def test_a_copy_of_a_dropped_row_under_another_label_holds_the_row_that_stood_for_both() -> None:
    assert run(angled(("a", 0), ("b", 10), ("B", 90, "BETA"))) == [
        f"drop: {SAME}",
        "drop: near duplicate",
        f"drop: {SAME}",
    ]


def test_the_threshold_of_the_spec_decides() -> None:
    rows = candidates("a", "b")
    for threshold, second in ((0.95, "keep"), (0.9, "drop: near duplicate")):
        given = context(
            rows, embedder=TableEmbedder({"a": 0, "b": 20}), filters={"duplicates": {"threshold": threshold}}
        )
        assert run(given) == ["keep", second]


LONG = "the committee met on the first floor of the old town hall and spoke for hours about bridges roads and schools"


def test_texts_that_share_most_of_their_words_are_duplicates_whatever_the_embedder_says() -> None:
    changed = LONG.replace("schools", "parks")
    given = angled((LONG, 0), (changed, 90), ("a text of its own", 180), seeds=())
    found = verdicts(DuplicateFilter(), given)
    assert said(found) == ["keep", "drop: near duplicate in words", "keep"]
    assert found[1].evidence == "90% of word 3-grams shared with syn-000000000001"
    real = angled((changed, 90), seeds=((LONG, 0, "BETA"),))
    assert run(real) == ["drop: near duplicate in words under another label"]
    held = angled((LONG, 0), (changed, 90, "BETA"))
    assert run(held) == ["drop: held: near duplicates in words under different labels"] * 2


def test_of_a_group_the_surest_survives_then_the_oldest() -> None:
    rows = candidates("a", "b", "c", "d")
    table = TableEmbedder({"a": 0, "b": 5, "c": 10, "d": 90})
    answers = np.array([[0.61, 0.39, 0], [0.9, 0.1, 0], [0.94, 0.06, 0], [0.5, 0.5, 0]])
    sure = Labeller(("ALPHA", "BETA", "GAMMA"), answers, answers, answers[:0])
    found = verdicts(DuplicateFilter(), context(rows, embedder=table, labeller=sure))
    # .90 and .94 are .9 alike, so the older one stands.
    assert said(found) == ["drop: near duplicate", "keep", "drop: near duplicate", "keep"]
    assert {verdict.evidence.split()[-1] for verdict in found if verdict.evidence} == {rows[1].id}


def test_beyond_the_exact_search_an_index_is_asked_and_its_recall_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = candidates(*(f"text {number % 90}" + " !" * (number // 90) for number in range(100)), "something else")
    given = context(rows, embedder=HashEmbedder())
    exact = said(verdicts(DuplicateFilter(), given))
    assert not given.notes
    monkeypatch.setattr(duplicates, "MOST_EXACT", 50)
    assert said(verdicts(DuplicateFilter(), given)) == exact
    monkeypatch.setattr(duplicates, "available", lambda: False)
    assert said(verdicts(DuplicateFilter(), given)) == exact
    assert "synthetic-data-harness[scale]" in given.notes[-1]


class Loses:
    """An index that finds only the nearest of rows with an even number."""

    def __init__(self, vectors: np.ndarray, threshold: float) -> None:
        self._exact = Exact(turned(vectors, threshold), threshold)

    def nearest(self, rows: np.ndarray) -> dict[int, tuple[int, float]]:
        return {row: found for row, found in self._exact.nearest(rows).items() if row % 2 == 0}

    def add(self, rows: np.ndarray) -> None:
        self._exact.add(rows)


class ByKind:
    """Texts with one last word are near one another and far from all others."""

    id = "by kind"

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        rows = [self._direction(text.split()[-1]) + 0.1 * self._direction(text) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    @staticmethod
    def _direction(text: str) -> np.ndarray:
        found = np.random.default_rng(list(text.encode())).standard_normal(64)
        return found / np.linalg.norm(found)


def test_copies_of_seeds_say_nothing_of_what_the_index_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    pairs = [f"{which} text about number{number}" for which in ("one", "another") for number in range(40)]
    rows = candidates(*(f"copy {number} of seed" for number in range(60)), *pairs)
    given = context(rows, seeds=[seed(1, "the seed")], embedder=ByKind())
    monkeypatch.setattr(duplicates, "MOST_EXACT", 50)
    monkeypatch.setattr(duplicates, "Indexed", Loses)
    # Rows of a block are compared exactly.
    monkeypatch.setattr(neighbours, "BLOCK", 8)
    verdicts(DuplicateFilter(), given)
    assert "it found 50.0% " in given.notes[-1]


TEXTS = st.sampled_from(["who is it ?", "Who is it?", "who was it ?", "what a day", "what a day !", "sum of things"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.sampled_from(["ALPHA", "BETA"])), max_size=12))
def test_of_each_text_at_most_one_row_is_kept_and_only_under_one_label(pairs: list[tuple[str, str]]) -> None:
    rows: list[Candidate] = [candidate(i, text, label) for i, (text, label) in enumerate(pairs)]
    given = context(rows, embedder=HashEmbedder(), seeds=[seed(1, "what a day", "ALPHA")])
    found = verdicts(DuplicateFilter(), given)
    kept = [row for row, verdict in zip(rows, found, strict=True) if verdict.decision is Decision.KEEP]
    vectors = HashEmbedder()([row.example.text for row in kept] or [""])
    close = np.triu(vectors @ vectors.T, k=1) >= 0.92
    assert not close.any()
    for row in kept:
        assert {other.example.label for other in rows if other.example.text == row.example.text} == {row.example.label}
    if rows and not any("what a day" in text for text, _ in pairs) and len({label for _, label in pairs}) == 1:
        assert kept


def test_rows_of_one_text_and_label_never_vanish_together() -> None:
    found: list[Verdict] = verdicts(DuplicateFilter(), context([candidate(i, "the very same text") for i in range(5)]))
    assert said(found) == ["keep"] + ["drop: exact duplicate"] * 4


def test_no_candidates_and_no_seeds() -> None:
    assert verdicts(DuplicateFilter(), context([], seeds=[seed(1, "who ?")])) == []
    assert run(context(candidates("who is it ?"))) == ["keep"]
    assert DuplicateFilter().worth(context([])) is None


def spread(angles: list[float]) -> np.ndarray:
    radians = np.deg2rad(np.array(angles))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


@pytest.mark.parametrize("count", [15, 20, 30])
def test_at_the_calibrated_threshold_at_most_one_percent_of_distinct_pairs_would_go(count: int) -> None:
    angles = [i**1.5 for i in range(count)]
    vectors = spread(angles)
    found = calibrate([seed(i, str(i)) for i in range(count)], vectors, 0.92)
    pairs = (vectors @ vectors.T)[np.triu_indices(count, 1)]
    assert found.n_pairs == len(pairs) == count * (count - 1) // 2
    assert found.calibrated is not None
    assert (pairs >= found.calibrated).sum() == len(pairs) // 100
    assert found.false_positive_rate == pytest.approx((pairs >= 0.92).mean())
    assert found.threshold == 0.92


def test_only_pairs_of_one_label_count_and_few_give_no_figure() -> None:
    labels = ["ALPHA", "BETA"] * 10
    found = calibrate([seed(i, str(i), label) for i, label in enumerate(labels)], spread([0.0] * 20), 0.9)
    assert (found.n_pairs, found.calibrated, found.false_positive_rate) == (90, None, None)
    same = calibrate([seed(i, str(i)) for i in range(20)], spread([0.0] * 20), 0.9)
    assert same.calibrated is not None
    assert same.calibrated > 1
    assert same.false_positive_rate == 1
