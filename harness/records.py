"""The frozen values that flow between the stages. Standard library only.

Text enters as `Example`s, is planned as `Cell`s, comes back as `Candidate`s or `ParseFailure`s, gets one
`Verdict` per filter, and ends in an `EvalReport`. Every count keeps its denominator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NewType


class Role(StrEnum):
    """What a real item may be used for (see README, "Who sees which real item")."""

    SEEDS = "seeds"
    DEV = "dev"
    ANCHOR = "anchor"
    TEST = "test"
    POOL = "pool"


class Origin(StrEnum):
    REAL = "real"
    SYNTHETIC = "synthetic"


class Decision(StrEnum):
    KEEP = "keep"
    DROP = "drop"
    RELABEL = "relabel"
    ABSTAIN = "abstain"


class Status(StrEnum):
    """How a prediction ended. A predictor's failure counts as wrong, never as missing."""

    OK = "ok"
    UNPARSABLE = "unparsable"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text, e.g. `Example("real-1f0c…", "Who wrote Emma ?", "HUM", {"fine": "HUM:ind"}, Origin.REAL)`.

    Where the task is to answer in text (`task.answer` in the spec), `answer` is the gold answer, `context` what it is
    drawn from, e.g. a passage ("" where there is none), and `label` the kind of the answer (`answerable`).
    """

    id: str
    text: str
    label: str
    slices: Mapping[str, str]
    origin: Origin
    answer: str = ""
    context: str = ""

    @property
    def target(self) -> str:
        """What a student learns to give for the text."""
        return self.answer or self.label

    @property
    def content(self) -> list[str]:
        """What makes it this example, for digests: id, text and label, and answer and context where there are any."""
        more = [self.answer, self.context] if self.answer else []
        return [self.id, self.text, self.label, *more]


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of matrix values; `values["label"]` is always there."""

    id: str
    values: Mapping[str, str]

    @property
    def label(self) -> str:
        return self.values["label"]


@dataclass(frozen=True, slots=True)
class Quota:
    """How many candidates to draw from a cell."""

    cell: Cell
    candidates: int


@dataclass(frozen=True, slots=True)
class Guidance:
    """Steering for the prompts of one label; `reason` says which aggregate of the dev report asked for it.

    `kind` is `contrast` (show the label beside `other`, with which it is confused) or `hint` (a sentence, `text`).
    """

    label: str
    kind: str
    text: str
    reason: str
    other: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one round will generate. `changes` says in words what differs from the first plan, and why.

    The last four are set by feedback (see `harness/generate/policies.py`): the policies that were asked, the weight of
    few-shot seeds by real slice (`"length=short (≤ 8 words)"` → 1.4), `channel[said][gold]` = P(gold | said) for labels
    that dev shows confused, and the factor by which a label is drawn beyond its share so that its hardest rows can be
    kept.
    """

    round: int
    quotas: tuple[Quota, ...]
    guidance: tuple[Guidance, ...]
    parents: tuple[str, ...]
    changes: tuple[str, ...]
    policies: tuple[str, ...] = ()
    shots: Mapping[str, float] = field(default_factory=dict[str, float])
    channel: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    surplus: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def candidates(self) -> int:
        return sum(quota.candidates for quota in self.quotas)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A parsed answer of the generator. `call` is the key of the cached call, `index` the choice in it."""

    id: str
    cell: str
    example: Example
    round: int
    wave: int
    call: str
    index: int
    shots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParseFailure:
    """An answer that became no candidate (empty, truncated, refused, or the call itself failed)."""

    id: str
    cell: str
    round: int
    wave: int
    call: str
    index: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one filter says of one candidate. `label` is set when the decision is RELABEL, and `answer` beside it where
    the task is to answer in text.

    `evidence` names what the reason rests on, e.g. `"cosine .97 to real-1f0c…"`; it never holds held-out text.
    """

    candidate: str
    filter: str
    version: int
    decision: Decision
    reason: str
    score: float | None = None
    label: str | None = None
    evidence: str = ""
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What the calls of a stage took. `cached` calls were answered from disk and cost nothing."""

    calls: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.cached + other.cached,
            self.failed + other.failed,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.usd + other.usd,
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer for one example; `score` is its probability for `label`.

    Where the task is to answer in text, `answer` is the text and `label` its kind.
    """

    example: str
    status: Status
    label: str | None
    score: float | None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval. `n` is the denominator, `method` how the interval was made.

    `value` is None when the number cannot be had; `note` then says why (a legal answer: "insufficient").
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class SliceScore:
    """Accuracy on one slice with its Wilson interval; n = n_ok + n_unparsable + n_error."""

    slice: str
    n: int
    n_ok: int
    n_unparsable: int
    n_error: int
    value: float | None
    low: float | None
    high: float | None


Change = Literal["improved", "regressed", "unclear", "insufficient"]


@dataclass(frozen=True, slots=True)
class SliceChange:
    """One slice, or pair of slices, under two models. `difference` = after − before with its paired interval.

    `p_value` is exact McNemar's, `q_value` that after Benjamini-Hochberg over the slices with n ≥ 10; both are
    None below that, and `change` is then "insufficient". `held` says whether the slice is shown not to have lost
    more than the margin (None: not known), which is another question than whether it changed.
    """

    slice: str
    n: int
    before: float | None
    after: float | None
    difference: Estimate
    p_value: float | None
    q_value: float | None
    change: Change
    held: bool | None


@dataclass(frozen=True, slots=True)
class WorstSlice:
    """The slice on which a model has the lowest accuracy, of the `of` slices that are large enough to be judged.

    `value.value` is the lowest accuracy that was observed, on `n` items. `difference` is that of the lowest
    accuracies of two models, after − before, None where there is one model.
    """

    slice: str
    n: int
    of: int
    value: Estimate
    difference: Estimate | None


@dataclass(frozen=True, slots=True)
class LeakCheck:
    """Whether synthetic items lie nearer to dev than to test: the alarm for text that crossed from dev.

    `to_dev` and `to_test` are the mean cosines to the nearest of `size` held-out items, `difference` = dev − test.
    `alarm` is None where it cannot be told.
    """

    difference: Estimate
    to_dev: float | None
    to_test: float | None
    size: int
    alarm: bool | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of real anchors without a synthetic item near them (`missed`), `near` being the distance to the k-th
    nearest other anchor. `reference` is the same share for as many real items, `difference` = missed − reference,
    `size` the number of items on either side (0 where nothing was compared)."""

    missed: Estimate
    reference: Estimate
    difference: Estimate
    k: int
    size: int


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """Share of synthetic rows with a wrong label (`wrong`), from the share whose label a model contradicts
    (`contradicted`), corrected for that model's own errors on real items (`model_error`)."""

    wrong: Estimate
    contradicted: Estimate
    model_error: Estimate


@dataclass(frozen=True, slots=True)
class EvalReport:
    """One model (`arm`) on one split. `confusion[gold][predicted]` counts items; `""` is "no answer".

    For answers in text `accuracy` is the share of exact matches, `answers` holds the mean of the other scores by name
    (`token_f1`, …), and `macro_f1` and `confusion` are about the answers' kinds.
    """

    arm: str
    role: Role
    split: str
    model: str
    n: int
    n_ok: int
    n_unparsable: int
    n_error: int
    accuracy: Estimate
    macro_f1: Estimate
    slices: tuple[SliceScore, ...]
    confusion: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])

    @property
    def scores(self) -> dict[str, Estimate]:
        """All scores by name, the one by which items are right first."""
        return {"accuracy": self.accuracy, **self.answers, "macro_f1": self.macro_f1}

    def score(self, metric: str) -> Estimate:
        """The score of this name. Raises KeyError that lists those there are."""
        known = self.scores
        if metric not in known:
            raise KeyError(f"the report of arm {self.arm!r} has no score {metric!r}; there are {sorted(known)}")
        return known[metric]


DevReport = NewType("DevReport", EvalReport)
"""The only report that feedback accepts: the type checker refuses another, `feedback` checks the role again."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms on the same items. `difference` = score(a) − score(b); `mdd` is the smallest difference that such items
    would show with 80 % power: for accuracy 2.80·√(d/n), d = `discordant` share, for another score 2.80 standard errors
    by the interval, None without one. `p_value` is exact McNemar's for accuracy, else a paired permutation test's.

    `p_holm` is the p-value adjusted for the number of claims of the report (Holm 1979); None where the comparison is
    no claim but shown beside them.
    """

    a: str
    b: str
    metric: str
    difference: Estimate
    p_value: float
    discordant: float
    mdd: float | None
    p_holm: float | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """The three synthetic-vs-real figures (see README, "Reading the gap")."""

    transfer: Estimate
    source: Estimate
    recovered: Estimate
