"""What a filter is, and what it may look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eval.answers import same
from harness.embed import Embedder
from harness.llm.client import Llm
from harness.records import Candidate, Decision, Example, Verdict
from harness.reports import FilterWorth, GateReport
from harness.seal import HeldOutTexts
from harness.spec import Spec


@dataclass(frozen=True, slots=True)
class Labeller:
    """Who says which label a candidate has. `seeds_only` (candidates × labels) is the mean answer of students trained
    on folds of the seeds, `probabilities` the same joined by self-trained students if there are some; `out_of_fold`
    (seeds × labels) holds each seed's answer from the student that did not see it."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    seeds_only: NDArray[np.float64]
    out_of_fold: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Votes:
    """What several students answered, where the task is to answer in text. `answers` has one row per candidate,
    `out_of_fold` one answer per seed, each from the student that did not see it. `likelihood` is the candidates' own
    answers' probability per token (geometric mean) under the students."""

    answers: tuple[tuple[str, ...], ...]
    likelihood: NDArray[np.float64]
    out_of_fold: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """Everything the filters may use; rows of the arrays follow `candidates`.

    `candidates` are all candidates of the run so far, oldest first. `difficulty` is p(label) under the current
    student, candidates × labels. `votes` takes the place of `labeller` and `difficulty` where the task is to answer in
    text. `surplus` is `Plan.surplus` by round, `planned` the plan's candidates by round and cell. `notes` takes
    sentences that the person should see.
    """

    spec: Spec
    candidates: Sequence[Candidate]
    seeds: Sequence[Example]
    guard: HeldOutTexts
    embedder: Embedder
    labeller: Labeller | None
    difficulty: NDArray[np.float64] | None
    llm: Llm
    gate: GateReport | None
    votes: Votes | None = None
    surplus: Mapping[int, Mapping[str, float]] = field(default_factory=dict[int, Mapping[str, float]])
    planned: Mapping[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a candidate stands when a filter sees it: its row in the context, its label and its answer so far ("" where
    the task is to give a label). `grade` is the score of a judge that passed its gate."""

    row: int
    candidate: Candidate
    label: str
    answer: str = ""
    grade: float | None = None

    def agrees(self, label: str, answer: str) -> bool:
        """Whether a twin with this label and answer teaches the same."""
        return same(answer, self.answer) if self.answer else label == self.label


class Filter(Protocol):
    """One check. It sees the candidates that are still in and gives exactly one verdict for each, in order.

    Each look at `standing` makes the candidate anew, from disk. Verdicts are gone through once, so that a filter that
    looks at every candidate by itself need not gather them.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    async def __call__(self, standing: Sequence[Standing], context: Context) -> Iterable[Verdict]: ...

    def worth(self, context: Context) -> FilterWorth | None:
        """φ, ψ and p* where the filter judges correctness; None where it does not."""
        ...


@dataclass(frozen=True, slots=True)
class Stamp:
    """Makes verdicts that carry their filter's name and version."""

    name: str
    version: int

    def keep(self, candidate: Candidate, score: float | None = None, reason: str = "", evidence: str = "") -> Verdict:
        return Verdict(candidate.id, self.name, self.version, Decision.KEEP, reason, score, evidence=evidence)

    def drop(self, candidate: Candidate, reason: str, score: float | None = None, evidence: str = "") -> Verdict:
        return Verdict(candidate.id, self.name, self.version, Decision.DROP, reason, score, evidence=evidence)

    def relabel(
        self, candidate: Candidate, label: str, reason: str, score: float, answer: str | None = None
    ) -> Verdict:
        return Verdict(candidate.id, self.name, self.version, Decision.RELABEL, reason, score, label, answer=answer)

    def abstain(self, candidate: Candidate, reason: str, score: float | None = None, evidence: str = "") -> Verdict:
        return Verdict(candidate.id, self.name, self.version, Decision.ABSTAIN, reason, score, evidence=evidence)
