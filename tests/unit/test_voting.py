"""Students that vote on answers: nobody answers for what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from answer_cases import made, row
from numpy.typing import NDArray

from harness.labelling import fold_of
from harness.records import Candidate, Example
from harness.store import Artefact
from harness.voting import CrossVoters, Voters, cross_vote

SEEDS = [row(i, f"seed {i} ?", f"answer {i}", real=True) for i in range(10)]
ROWS = [row(i * 7919, f"row {i} ?", f"said {i}") for i in range(30)]


class Remembering:
    """Writers that answer `seen` for what they were trained on, and else with their arm's name."""

    def __init__(self) -> None:
        self.trained: dict[str, set[str]] = {}
        self.asked: list[tuple[str, int]] = []

    def train(self, arm: str, rows: Sequence[Example], seed: int, parents: Mapping[str, str]) -> Artefact:
        self.trained[f"{arm} ({seed})"] = {one.id for one in rows}
        return Artefact(f"{arm} ({seed})", Path("nowhere"), built=True)

    def answers(self, adapter: Artefact, examples: Sequence[Example]) -> list[str]:
        self.asked.append((adapter.id, len(examples)))
        return ["seen" if one.id in self.trained[adapter.id] else adapter.id for one in examples]

    def likelihood(self, adapter: Artefact, examples: Sequence[Example]) -> NDArray[np.float64]:
        return np.full(len(examples), 0.2 if adapter.id.endswith("(5)") else 0.4)


@pytest.fixture
def writers() -> Remembering:
    return Remembering()


def voters(writers: Remembering, count: int = 3) -> Voters:
    return Voters(writers, SEEDS, count, 5, "split-1")  # type: ignore[arg-type]


def test_each_seed_is_answered_by_the_student_that_did_not_see_it(writers: Remembering) -> None:
    found = voters(writers)
    assert len(found.adapters) == 3
    said = found.out_of_fold()
    assert len(said) == 10
    assert "seen" not in said
    assert set(said) == {"voter 1 (5)", "voter 2 (6)", "voter 3 (7)"}
    assert set.union(*writers.trained.values()) == {seed.id for seed in SEEDS}


def test_every_student_votes_on_every_candidate_wave_by_wave(writers: Remembering) -> None:
    found = voters(writers)
    waves = [made(*ROWS[:20]), made(*ROWS[20:])]
    votes = found.votes(None, waves)
    assert len(votes.answers) == 30
    assert {len(row) for row in votes.answers} == {3}
    assert votes.likelihood.tolist() == pytest.approx([(0.2 + 0.4 + 0.4) / 3] * 30)
    assert votes.out_of_fold == found.out_of_fold()
    assert [size for _, size in writers.asked[:6]] == [20, 20, 20, 10, 10, 10]


def test_without_candidates_there_are_no_votes(writers: Remembering) -> None:
    votes = voters(writers).votes(None, [])
    assert votes.answers == ()
    assert votes.likelihood.shape == (0,)


def crossed(writers: Remembering, seen: Sequence[Example]) -> CrossVoters:
    return cross_vote(writers, SEEDS, seen, [one.id for one in seen], 3, 5, {})  # type: ignore[arg-type]


def test_self_trained_students_do_not_answer_for_what_they_were_trained_on(writers: Remembering) -> None:
    cross = crossed(writers, ROWS[:20])
    said = cross.answers(made(*ROWS))
    assert not any("seen" in answers for answers in said)
    assert [len(answers) for answers in said] == [1] * 20 + [3] * 10
    for one, answers in zip(ROWS[:20], said, strict=False):
        fold = fold_of(one.id, 3)
        assert answers == (f"self-training {fold + 1} ({5 + fold})",)


def test_a_candidate_that_was_dropped_is_still_answered_by_its_own_fold_alone(writers: Remembering) -> None:
    """Which student answers must not depend on what the last sieve decided."""
    cross = cross_vote(writers, SEEDS, ROWS[:5], [one.id for one in ROWS], 3, 5, {})  # type: ignore[arg-type]
    assert [len(answers) for answers in cross.answers(made(*ROWS))] == [1] * 30


def test_the_self_trained_have_as_many_votes_as_the_seeds_students(writers: Remembering) -> None:
    found = voters(writers)
    votes = found.votes(crossed(writers, ROWS[:20]), [made(*ROWS)])
    assert {len(row) for row in votes.answers} == {6}
    first = votes.answers[0]
    assert len(set(first[3:])) == 1
    later: list[Candidate] = made(*ROWS[20:])
    assert len(set(votes.answers[20][3:])) == 3
    assert later[0].id == ROWS[20].id
