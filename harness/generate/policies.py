"""What feedback may do with a dev report: one function a policy, one visible table, chosen in `feedback.policies`.

A policy reads aggregates (rates, confused pairs, attribute values) and returns the steering with its own part changed
and a sentence that says so. None sees a held-out text. To add one: a function, a line in `POLICIES`, its name in
`spec.PolicyName`, a test. Which of them earn their place was measured: see `experiments/LOG.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from eval.slices import is_rest
from harness.errors import BudgetError
from harness.generate.critic import critic_request, hint_fault, read_hint
from harness.generate.matrix import in_slice
from harness.generate.rates import Rate, confused_pairs, reweigh, shrunk_rates
from harness.llm.client import Llm
from harness.records import DevReport, Guidance
from harness.spec import Dimension, Matrix, PolicyName, Spec

VISIBLE = 0.01
"""A share that moved by less is not worth a sentence."""
MOST_SURPLUS = 2.0
"""A label is drawn at most so many times beyond its share."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a policy may look at. `overlap` names the held-out text that a sentence resembles, or ""."""

    report: DevReport
    spec: Spec
    llm: Llm
    overlap: Callable[[str], str]

    def rates(self, name: str) -> dict[str, Rate]:
        return shrunk_rates(self.report, name, self.spec.feedback.shrinkage)

    def confused(self) -> list[tuple[str, str, int]]:
        return confused_pairs(self.report, self.spec.feedback.contrast_pairs)


@dataclass(frozen=True, slots=True)
class Steering:
    """What the next round does differently. The fields become those of a `Plan`; `labels` and `matrix` its quotas."""

    labels: Mapping[str, float]
    matrix: Matrix
    guidance: tuple[Guidance, ...] = ()
    shots: Mapping[str, float] = field(default_factory=dict[str, float])
    channel: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    surplus: Mapping[str, float] = field(default_factory=dict[str, float])
    changes: tuple[str, ...] = ()


Policy = Callable[[Evidence, Steering], Awaitable[Steering]]


async def quotas(evidence: Evidence, now: Steering) -> Steering:
    """More candidates where dev fails: labels, and matrix dimensions whose values are slices of the real data too."""
    rule = evidence.spec.feedback
    rates = evidence.rates("label")
    weights = reweigh(now.labels, rates, rule.exploration)
    matrix, moved = _steer_dimensions(evidence, now.matrix)
    words = (*_quota_words(now.labels, weights, rates), *moved)
    return replace(now, labels=weights, matrix=matrix, changes=(*now.changes, *words))


async def contrast(evidence: Evidence, now: Steering) -> Steering:
    """Prompts of a confused label show the label it is taken for beside it (PromptMix, Sahu et al., 2310.14192)."""
    guidance: list[Guidance] = []
    words: list[str] = []
    for gold, said, count in evidence.confused():
        reason = f"{count} dev items of {gold} were taken for {said}"
        guidance.append(Guidance(gold, "contrast", "", reason, other=said))
        words.append(f"{gold}: half of its prompts now show {said} beside it, because {reason}.")
    return replace(now, guidance=(*now.guidance, *guidance), changes=(*now.changes, *words))


async def shots(evidence: Evidence, now: Steering) -> Steering:
    """Few-shot seeds are drawn more often from the real slices where dev fails (labels aside, which have quotas)."""
    weights: dict[str, float] = {}
    worst: list[tuple[float, str, Rate]] = []
    for name in _kinds(evidence.report):
        rates = evidence.rates(name)
        middle = sum(rate.shrunk for rate in rates.values()) / len(rates)
        if len(rates) < 2 or not middle:
            continue
        explore = evidence.spec.feedback.exploration
        for value, rate in rates.items():
            weights[f"{name}={value}"] = explore + (1 - explore) * rate.shrunk / middle
        value = max(rates, key=lambda one: rates[one].shrunk)
        worst.append((weights[f"{name}={value}"], f"{name}={value}", rates[value]))
    words = [
        f"Few-shot seeds of {name} are drawn {weight:.1f} times as often, because {rate.errors} of {rate.n} dev items "
        "of it fail."
        for weight, name, rate in sorted(worst, key=lambda one: (-one[0], one[1]))[:3]
    ]
    return replace(now, shots=weights, changes=(*now.changes, *words))


async def critic(evidence: Evidence, now: Steering) -> Steering:
    """The critic role words a hint per confused pair, which goes into prompts if it resembles no held-out text."""
    pairs, spec = evidence.confused(), evidence.spec
    if not pairs:
        return now
    try:
        answers = await evidence.llm.ask_many([critic_request(gold, said, spec) for gold, said, _ in pairs])
    except BudgetError:
        words = ("The critic was not asked for hints: the budget ended.",)
        return replace(now, changes=(*now.changes, *words))
    kept: list[Guidance] = []
    said_of: list[str] = []
    for (gold, said, _), answer in zip(pairs, answers, strict=True):
        text = read_hint(answer)
        fault = hint_fault(text) or evidence.overlap(text)
        if fault:
            said_of.append(f"{gold}: the critic's hint against {said} was not used ({fault}).")
        else:
            kept.append(Guidance(gold, "hint", text, f"critic, on {gold} against {said}", other=said))
            said_of.append(f"{gold}: the critic's hint goes into its prompts: {text!r}.")
    return replace(now, guidance=(*now.guidance, *kept), changes=(*now.changes, *said_of))


async def relabel(evidence: Evidence, now: Steering) -> Steering:
    """The labeller's answer is corrected by how often dev shows it wrong, for confused pairs only.

    P(gold | said) of the dev confusion matrix, as Dawid & Skene (1979) weigh a rater whose errors are known. A row that
    reads as `said` thereby keeps some belief in `gold`, and is relabelled or kept only where the text says it clearly.
    """
    channel: dict[str, dict[str, float]] = {}
    words: list[str] = []
    kappa = evidence.spec.feedback.shrinkage
    for gold, said, count in evidence.confused():
        answered = sum(row.get(said, 0) for row in evidence.report.confusion.values())
        channel.setdefault(said, {})[gold] = count / (answered + kappa)
        words.append(
            f"A candidate that reads as {said} is doubted in favour of {gold}: {count} of {answered} dev items taken "
            f"for {said} were {gold}."
        )
    return replace(now, channel=channel, changes=(*now.changes, *words))


async def surplus(evidence: Evidence, now: Steering) -> Steering:
    """Labels that fail more than the mean are drawn beyond their share; of their rows only the hardest stay.

    Hard is a low p(label) under the current student, among rows whose label the labeller confirms (LLM2LLM, Lee et
    al., 2403.15042, generates from what the student gets wrong). The round's calls stay the same: other labels give.
    """
    rates = evidence.rates("label")
    middle = sum(rate.shrunk for rate in rates.values()) / max(1, len(rates))
    if not middle:
        return now
    factors = {
        label: min(MOST_SURPLUS, rate.shrunk / middle)
        for label, rate in rates.items()
        if label in now.labels and rate.shrunk > middle
    }
    words = [
        f"{label}: {factor:.1f} times its share is drawn and the hardest {1 / factor:.0%} of its rows are kept."
        for label, factor in factors.items()
    ]
    weights = {label: weight * factors.get(label, 1.0) for label, weight in now.labels.items()}
    return replace(now, labels=weights, surplus=factors, changes=(*now.changes, *words))


POLICIES: Mapping[PolicyName, Policy] = {
    "quotas": quotas,
    "contrast": contrast,
    "shots": shots,
    "critic": critic,
    "relabel": relabel,
    "surplus": surplus,
}
"""In the order in which they are asked, whatever the order in the spec."""


def _kinds(report: DevReport) -> list[str]:
    """Kinds of slices besides the labels, as the report shows them; combined slices are not among them."""
    names = [score.slice.partition("=")[0] for score in report.slices if not is_rest(score.slice) and score.n]
    return [name for name in dict.fromkeys(names) if name != "label"]


def _steer_dimensions(evidence: Evidence, matrix: Matrix) -> tuple[Matrix, list[str]]:
    """Reweigh the dimensions whose name and values are slices of the real data too."""
    dimensions: list[Dimension] = []
    words: list[str] = []
    for dimension in matrix.dimensions:
        rates = evidence.rates(dimension.name)
        known = {value: rate for value in dimension.values for found, rate in rates.items() if in_slice(found, value)}
        if not known:
            dimensions.append(dimension)
            continue
        weights = reweigh(dimension.values, known, evidence.spec.feedback.exploration)
        dimensions.append(dimension.model_copy(update={"values": weights}))
        worst = max(known, key=lambda value: known[value].shrunk)
        before = dimension.values[worst] / sum(dimension.values.values())
        if weights[worst] - before >= VISIBLE:
            words.append(
                f"{dimension.name}: more of {worst!r} ({before:.0%} → {weights[worst]:.0%}), where "
                f"{known[worst].errors} of {known[worst].n} dev items fail."
            )
    return matrix.model_copy(update={"dimensions": dimensions}), words


def _quota_words(static: Mapping[str, float], weights: Mapping[str, float], rates: Mapping[str, Rate]) -> Sequence[str]:
    mass = sum(static.values())
    words: list[str] = []
    for label in sorted(weights, key=lambda name: -weights[name] / static[name]):
        before, now = static[label] / mass, weights[label]
        if abs(now - before) >= VISIBLE and label in rates:
            rate = rates[label]
            direction = "more" if now > before else "less"
            words.append(
                f"{label}: {direction} ({before:.0%} → {now:.0%} of the quota), because {rate.errors} of {rate.n} dev "
                f"items of it fail ({rate.shrunk:.0%} after shrinkage)."
            )
    return words
