"""The frozen values that a run reports: rounds, controls, the one scoring of the test, and what the detectors say.

They are made of the values of `harness.records`, and of what the collapse detector says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eval.collapse import Verdict as Collapse
from harness.collapsecheck import CollapseCheck
from harness.dynamics import Dynamics
from harness.records import (
    Comparison,
    Cost,
    Coverage,
    Estimate,
    EvalReport,
    Gap,
    LabelNoise,
    LeakCheck,
    Plan,
    Role,
    SliceChange,
    Verdict,
    WorstSlice,
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
class FailureMode:
    """What one detector of a known failure mode of synthetic data says (`harness/failuremodes.py`).

    The figure is in `unit` (`percent` of 1, or `number`), on seeds, on real anchors and on synthetic rows;
    `difference` (in `difference_unit`) is synthetic − real. It `fired` if the interval of the difference lies above 0
    and its value is at least `least`; None where that cannot be told. `evidence` holds counts, synthetic texts and
    seeds, never a text or word that only anchors or dev items hold.
    """

    name: str
    family: str
    about: str
    unit: str
    difference_unit: str
    seeds: Estimate
    real: Estimate
    synthetic: Estimate
    difference: Estimate
    least: float
    fired: bool | None
    verdict: str
    evidence: tuple[str, ...] = ()


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
class Sample:
    """A candidate shown in the report with its verdicts. `answer` is the one that it came with, `final_answer` the one
    that it is used with; "" and None where the task is to give a label."""

    text: str
    asked_label: str
    final_label: str | None
    cell: Mapping[str, str]
    verdicts: tuple[Verdict, ...]
    answer: str = ""
    final_answer: str | None = None


PLANTED = "planted seeds"


@dataclass(frozen=True, slots=True)
class GateReport:
    """Whether the judge may drop data, and what it showed: Cohen's κ with its interval on `n` items of known `truth`,
    φ / ψ on right and wrong ones, and the share of identical verdicts when asked twice.

    `asked` says in words what it was asked, `labels` is the sha256 of the file of human labels. Of `pairs` comparisons
    the share `flips` came out otherwise in the other order.
    """

    passed: bool
    kappa: Estimate
    phi: float | None
    psi: float | None
    p_star: float | None
    retest: float | None
    n: int
    reason: str
    truth: str = PLANTED
    asked: str = ""
    labels: str = ""
    pairs: int = 0
    flips: float | None = None


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """What the judge says of an arm's answers to real items, see `harness/answerjudge.py`.

    Of `items` answers `asked` went to the judge (those of no usable form are wrong without asking) and `graded` came
    back with a grade; `labelled` of the items were also labelled by `gold` (who says what is right). `gate` is the
    judge's agreement with these labels. `score` estimates the share of right answers from both (prediction-powered);
    without a value where the gate refuses it, as are `accepted` (the judge's own share), `weight` (its λ) and
    `labels_alone` (the share and interval from the labels only). `known`: the share that is right by the gold
    answers of all items, where these are the labels.
    """

    arm: str
    role: Role
    items: int
    asked: int
    graded: int
    labelled: int
    gold: str
    gate: GateReport
    score: Estimate
    labels_alone: Estimate | None = None
    accepted: float | None = None
    weight: float | None = None
    known: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The near-duplicate threshold in use, and the one at which ≤ 1 % of distinct same-label seed pairs would go."""

    threshold: float
    calibrated: float | None
    false_positive_rate: float | None
    n_pairs: int


@dataclass(frozen=True, slots=True)
class AmbiguousItem:
    """A candidate that the students do not agree on: `label` is what it came with, `said` their two likeliest answers,
    `doubt` from 0 to 1."""

    id: str
    cell: str
    text: str
    label: str
    said: str
    doubt: float


@dataclass(frozen=True, slots=True)
class AmbiguousCell:
    """A cell of the matrix of whose `n` candidates `doubtful` are ambiguous; `low` is the interval's end."""

    cell: str
    doubtful: int
    n: int
    low: float


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """`doubtful` of `n` candidates are beyond `bar` (see `harness.ambiguity`); the worst items, and the cells that make
    more of them than the others, beyond chance."""

    bar: float
    doubtful: int
    n: int
    items: tuple[AmbiguousItem, ...]
    cells: tuple[AmbiguousCell, ...]


@dataclass(frozen=True, slots=True)
class RoundReport:
    """Everything one round decided and measured on dev.

    `gain` is `mixed` of this round against `mixed` of the best round before it, on dev; `evidence` what the stop rule
    looked at; `prompts` one prompt per label as this round's plan words it, with the same cell and chance in every
    round. `collapse` is what the frozen probe says after this round, `out_of_budget` whether so far the generator or
    the judge could not be asked all that was planned.
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
    collapse: Collapse | None = None
    ambiguity: Ambiguity | None = None
    out_of_budget: bool = False


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """Is the generator collapsing? Generation 0 is round 1. `probe` judges its answers to the frozen prompts, `kept`
    the rows accepted in each round, which follow the steering and never alarm. `examples[g]` are answers of round g + 1
    to the same prompts, `calls` those that were answered. `slices` says what the clusters of seeds hold."""

    probe: CollapseCheck
    kept: CollapseCheck
    calls: int
    examples: tuple[tuple[str, ...], ...]
    slices: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ControlReport:
    """The loop itself (`closed`) or one with a part taken out (`harness/controls.py`).

    `calls` are the generator's; `rows` the synthetic rows that its arm was trained on, the same number on every side;
    `score` (in the metric of the spec) and `comparison`, `closed` − this one, are on the items of `role`: test, or dev
    where the test stays sealed.
    """

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
    score: Estimate | None = None


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
    items up to and with its own; none where it left them sealed. `cost` is what the run paid; `used` is what the
    answers that it stands on cost, those that an earlier run had paid for included, so that it is the same in whatever
    order runs share a store. `units` is the work done in `seconds`, by kind of stage (see `progress.Watch`), `memory`
    the most bytes that its process held; both are of the process that finished the run. `seed_values` says how many
    seeds have each value of the matrix, by dimension, labels included. `dynamics` is the map of the delivered
    student's training rows."""

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
    collapse: ProbeReport | None = None
    judged: tuple[JudgedAnswers, ...] = ()
    used: Cost = field(default_factory=Cost)
    modes: tuple[FailureMode, ...] = ()
    units: Mapping[str, int] = field(default_factory=dict[str, int])
    memory: int = 0
    seed_values: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    dynamics: Dynamics | None = None
