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
    """One labelled text, e.g. `Example("real-1f0c…", "Who wrote Emma ?", "HUM", {"fine": "HUM:ind"}, Origin.REAL)`."""

    id: str
    text: str
    label: str
    slices: Mapping[str, str]
    origin: Origin


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
    """What one filter says of one candidate. `label` is set when the decision is RELABEL.

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
class FunnelRow:
    """How many candidates of a cell were left after each stage, in the stages' order, and why the others went."""

    cell: str
    values: Mapping[str, str]
    counts: Mapping[str, int]
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FilterWorth:
    """φ = P(keep | right), ψ = P(keep | wrong) and the label-error rate p* = 1/(1+ψ/φ) up to which training
    on the kept items survives (Feng et al., arXiv 2406.07515). Measured on `n` seeds with planted wrong labels."""

    filter: str
    phi: float
    psi: float
    p_star: float
    n: int
    how: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer for one example; `score` is its probability for `label`."""

    example: str
    status: Status
    label: str | None
    score: float | None


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
class Diagnosis:
    """What the detectors say of the synthetic rows that the delivered model was trained on, seen from real items.

    `dialect` is the AUC of a classifier that tells them from anchors, `dialect_reference` that of dev items against
    anchors. `dev_test` is the score of `mixed` on dev − on test; None, as is `leak`, where the test stays sealed.
    """

    dialect: Estimate
    dialect_reference: Estimate
    coverage: Coverage
    label_noise: LabelNoise | None
    leak: LeakCheck | None
    dev_test: Estimate | None


@dataclass(frozen=True, slots=True)
class Reading:
    """One of the three gaps in a sentence, its likely cause (`dialect`, `coverage`, `label noise`; `none` where the gap
    needs none, `unknown` where no detector speaks), what the detector says, and what to try next."""

    gap: str
    sentence: str
    cause: str
    evidence: str
    advice: str


@dataclass(frozen=True, slots=True)
class EvalReport:
    """One model (`arm`) on one split. `confusion[gold][predicted]` counts items; `""` is "no answer"."""

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


DevReport = NewType("DevReport", EvalReport)
"""The only report that feedback accepts: the type checker refuses another, `feedback` checks the role again."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms on the same items. `difference` = score(a) − score(b); `mdd` is the smallest difference that this
    many items would show with 80 % power (2.80·√(d/n), d = `discordant` share).

    `p_holm` is the p-value adjusted for the number of claims of the report (Holm 1979); None where the comparison is
    no claim but shown beside them.
    """

    a: str
    b: str
    metric: str
    difference: Estimate
    p_value: float
    discordant: float
    mdd: float
    p_holm: float | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """The three synthetic-vs-real figures (see README, "Reading the gap")."""

    transfer: Estimate
    source: Estimate
    recovered: Estimate


@dataclass(frozen=True, slots=True)
class Sample:
    """A candidate shown in the report with its verdicts."""

    text: str
    asked_label: str
    final_label: str | None
    cell: Mapping[str, str]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class GateReport:
    """Whether the judge may drop data, and what it showed: Cohen's κ with its interval on `n` labelled items,
    φ / ψ on planted errors, and the share of identical verdicts when asked twice."""

    passed: bool
    kappa: Estimate
    phi: float | None
    psi: float | None
    p_star: float | None
    retest: float | None
    n: int
    reason: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """The near-duplicate threshold in use, and the one at which ≤ 1 % of distinct same-label seed pairs would go."""

    threshold: float
    calibrated: float | None
    false_positive_rate: float | None
    n_pairs: int


@dataclass(frozen=True, slots=True)
class RoundReport:
    """Everything one round decided and measured on dev.

    `gain` is `mixed` of this round against `mixed` of the best round before it, on dev; `evidence` what the stop rule
    looked at; `prompts` one prompt per label as this round's plan words it, with the same cell and chance in every
    round.
    """

    round: int
    plan: Plan
    plan_id: str
    dataset: str
    adapters: Mapping[str, str]
    planned: int
    generated: int
    parsed: int
    accepted: int
    accepted_total: int
    target: int
    shortfall: str
    funnel: tuple[FunnelRow, ...]
    worth: tuple[FilterWorth, ...]
    calibration: Calibration | None
    gate: GateReport | None
    dev: Mapping[str, EvalReport]
    comparisons: tuple[Comparison, ...]
    gap: Gap
    cost: Cost
    samples: tuple[Sample, ...]
    is_best: bool
    stop: str
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    gain: Comparison | None = None
    evidence: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ControlReport:
    """A loop with one part taken out (`harness/controls.py`). `calls` are the generator's; `rows` the synthetic rows
    that its arm was trained on, as many as the loop's arm `closed`; `comparison` is `closed` − this one on the items of
    `role` (test, or dev where the test stays sealed)."""

    name: str
    about: str
    calls: int
    candidates: int
    accepted: int
    rows: int
    dataset: str
    dev: tuple[EvalReport, ...]
    comparison: Comparison | None
    role: Role = Role.TEST


@dataclass(frozen=True, slots=True)
class SplitInfo:
    """Size and content hash of each role of the real data, and what was left out on the way."""

    id: str
    sizes: Mapping[Role, int]
    hashes: Mapping[Role, str]
    labels: Mapping[Role, Mapping[str, int]]
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Opening:
    """One look at test items by a run. `test` is the content hash of the items, `decision` the digest of what was fixed
    before, `count` the looks at these items up to and with this one, `at` the time in UTC, `reopened` the reason for a
    further look, "" for the first. Without its line on record a look has neither `at` nor `decision`."""

    run: str
    split: str
    test: str
    decision: str
    count: int
    at: str
    reopened: str = ""


@dataclass(frozen=True, slots=True)
class RunReport:
    """A finished run: the rounds, and the one scoring of the sealed test split. `openings` are all looks at its test
    items up to and with its own; none where it left them sealed."""

    id: str
    name: str
    seed: int
    spec: Mapping[str, object]
    data: SplitInfo
    rounds: tuple[RoundReport, ...]
    best_round: int
    stop: str
    test: Mapping[str, EvalReport]
    comparisons: tuple[Comparison, ...]
    gap: Gap
    cost: Cost
    warnings: tuple[str, ...]
    training_rows: Mapping[str, int]
    artefacts: Mapping[str, str]
    versions: Mapping[str, str]
    started: str
    seconds: Mapping[str, float]
    controls: tuple[ControlReport, ...] = ()
    openings: tuple[Opening, ...] = ()
    changes: tuple[SliceChange, ...] = ()
    worst: WorstSlice | None = None
    diagnosis: Diagnosis | None = None
    readings: tuple[Reading, ...] = ()
    clusters: Mapping[str, str] = field(default_factory=dict[str, str])
