from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import LABELS
from fakes import WordStudents
from filter_cases import candidate, seed
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.errors import DataError
from harness.labelling import CrossFitted, CrossTrained, corrected, cross_train, folds, labeller
from harness.records import Candidate, Example
from harness.store import Artefact

SEEDS = [seed(i, f"{label} seed {i}", label) for i, label in enumerate(["ALPHA"] * 12 + ["BETA"] * 7 + ["GAMMA"] * 5)]


@dataclass
class Students:
    """Remembers what each student was trained on; its answer for a text it saw is 1 for the first label."""

    labels: tuple[str, ...] = tuple(LABELS)
    rows: dict[str, list[Example]] = field(default_factory=dict)
    trained: list[tuple[str, int, Mapping[str, str]]] = field(default_factory=list)

    def train(self, arm: str, rows: Sequence[Example], seed: int, parents: Mapping[str, str]) -> Artefact:
        self.trained.append((arm, seed, parents))
        self.rows[arm] = list(rows)
        return Artefact(arm, Path("nowhere"), built=True)

    def probabilities(self, adapter: Artefact, texts: Sequence[str]) -> NDArray[np.float64]:
        seen = {row.text for row in self.rows[adapter.id]}
        return np.array([[1.0, 0, 0] if text in seen else [0, 0, 1.0] for text in texts]).reshape(len(texts), 3)


def fitted(count: int = 4, seeds: Sequence[Example] = SEEDS) -> tuple[Students, CrossFitted]:
    students = Students()
    return students, CrossFitted(students, seeds, count, 7, "split-1")  # type: ignore[arg-type]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(2, 10), st.integers(0, 9))
def test_every_label_is_spread_evenly_over_the_folds(labels: list[str], count: int, chance: int) -> None:
    rows = [seed(i, str(i), label) for i, label in enumerate(labels)]
    drawn = folds(rows, count, chance)
    assert drawn == folds(rows, count, chance)
    assert set(drawn) <= set(range(count))
    for label in set(labels):
        sizes = Counter(fold for fold, own in zip(drawn, labels, strict=True) if own == label)
        counts = [sizes[fold] for fold in range(count)]
        assert max(counts) - min(counts) <= 1


def test_which_fold_a_seed_is_in_is_left_to_chance() -> None:
    assert len({tuple(folds(SEEDS, 4, chance)) for chance in range(10)}) > 8


def test_each_student_leaves_out_one_fold_and_together_they_leave_out_every_seed_once() -> None:
    students, cross = fitted()
    left_out = [[one.id for one in SEEDS if one not in rows] for rows in students.rows.values()]
    assert sorted(ident for fold in left_out for ident in fold) == sorted(one.id for one in SEEDS)
    assert all({one.label for one in rows} == set(LABELS) for rows in students.rows.values())
    assert [(arm, chance) for arm, chance, _ in students.trained] == [(f"labeller {i + 1}", 7 + i) for i in range(4)]
    assert all(parents == {"split": "split-1"} for _, _, parents in students.trained)
    assert cross.adapters == [f"labeller {i + 1}" for i in range(4)]


@pytest.mark.parametrize("count", [2, 5, 10])
def test_a_seed_is_never_answered_by_a_student_that_saw_it(count: int) -> None:
    _, cross = fitted(count)
    answers = cross.out_of_fold()
    assert answers.shape == (24, 3)
    assert (answers == [0, 0, 1.0]).all()


def test_candidates_get_the_mean_of_all_students() -> None:
    _, cross = fitted()
    unseen, seen = cross.probabilities(["a new text", SEEDS[0].text])
    assert unseen.tolist() == [0, 0, 1]
    assert seen.tolist() == [0.75, 0, 0.25]


def test_a_label_with_one_seed_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(DataError, match=r"one seed only for 'BETA': filters\.consistency .* Raise data\.split\.seeds"):
        fitted(seeds=[*SEEDS[:12], SEEDS[12], *SEEDS[19:]])


def test_the_labeller_answers_wave_by_wave_and_in_order() -> None:
    words: Any = WordStudents(list(LABELS), [one.text for one in SEEDS])
    waves = [[candidate(1, "a beta"), candidate(2, "a gamma")], [], [candidate(3, "an alpha")]]
    says = labeller(words, words.labels, None, waves, {})
    assert says.labels == tuple(LABELS)
    assert says.probabilities.argmax(axis=1).tolist() == [1, 2, 0]
    assert says.out_of_fold.shape == (24, 3)
    assert labeller(words, words.labels, None, [], {}).probabilities.shape == (0, 3)


def self_trained(rows: Sequence[Candidate], *, folds: int = 3) -> tuple[Students, CrossTrained]:
    students: Any = Students()
    examples = [one.example for one in rows]
    ids = [one.id for one in rows]
    return students, cross_train(students, SEEDS, examples, ids, folds, 5, {"split": "split-1"})


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_a_candidate_is_never_read_by_a_student_that_saw_it(folds: int) -> None:
    rows = [candidate(number, f"text {number}") for number in range(40)]
    students, cross = self_trained(rows, folds=folds)
    assert len(cross.adapters) == folds
    for trained in students.rows.values():
        assert {one.id for one in SEEDS} <= {one.id for one in trained}
    # A student says ALPHA of what it was trained on and GAMMA of everything else.
    assert cross.probabilities(rows).argmax(axis=1).tolist() == [2] * 40
    in_none = [row.id for row in rows if not any(row.id in {one.id for one in t} for t in students.rows.values())]
    assert in_none == []


def test_a_candidate_that_came_later_is_read_by_all() -> None:
    rows = [candidate(number, f"text {number}") for number in range(40)]
    _, cross = self_trained(rows)
    late = candidate(99, "text 1")
    # Two of three students know this text: its twin is in their folds.
    assert cross.probabilities([late]).tolist() == [pytest.approx([2 / 3, 0, 1 / 3])]


def test_self_trained_students_have_half_of_the_say() -> None:
    sure, even = WordStudents(list(LABELS), [], 1.0), WordStudents(list(LABELS), [], 1 / 3)
    rows = [candidate(1, "a beta")]
    cross = CrossTrained(even, [Artefact("adapter-1", Path("nowhere"), built=False)], [rows[0].id])  # type: ignore[arg-type]
    says = labeller(sure, sure.labels, cross, [rows], {})  # type: ignore[arg-type]
    assert says.probabilities[0] == pytest.approx([1 / 6, 2 / 3, 1 / 6])
    assert says.seeds_only[0] == pytest.approx([0, 1, 0])


def test_a_channel_moves_belief_between_the_labels_it_names_and_keeps_rows_whole() -> None:
    answers = np.array([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0]])
    found = corrected(answers, ["A", "B", "C"], {"B": {"A": 0.25, "C": 0.1}})
    assert found == pytest.approx(np.array([[0.4, 0.52, 0.08], [1.0, 0.0, 0.0]]))
    assert corrected(answers, ["A", "B", "C"], {}) is answers
