"""From the dev report to the next plan. Only aggregates cross: rates, confused pairs, attribute values. Never a text.

Quotas follow shrunk error rates, (errors + κ·p̄)/(n + κ) (empirical Bayes), so that a slice of five items does not
grab the budget; an exploration share stays on the static plan. Confused pairs become contrast prompts (PromptMix,
arXiv 2310.14192). A critic may word a hint, which is used only if it overlaps with no held-out text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eval.slices import is_rest
from harness.errors import BudgetError, LeakageError
from harness.generate.matrix import deal, in_slice
from harness.generate.prompts import one_line, render
from harness.llm.client import Answer, Llm, Request
from harness.records import DevReport, Guidance, Plan, Role
from harness.spec import Dimension, Matrix, Spec
from harness.store import digest

VERSION = 2
"""Raise when the same report would give another plan."""
MIN_CONFUSIONS = 5
"""A pair confused less often on dev could be told apart as single items."""
MAX_HINT_WORDS = 30
VISIBLE = 0.01
"""A share that moved by less is not worth a sentence."""
CRITIC = """\
{{ noun | capitalize }}s {{ about }} are often mistaken for {{ noun }}s {{ other }}.
What sets the first kind apart, in one sentence: They"""


@dataclass(frozen=True, slots=True)
class Rate:
    """An error rate on dev: raw counts and its shrunk value."""

    errors: int
    n: int
    shrunk: float


def first_plan(spec: Spec, parents: Sequence[str]) -> Plan:
    """Round 1: the matrix as the spec weighs it."""
    weights = {label: spec.matrix.label_weights.get(label, 1.0) for label in spec.task.labels}
    quotas = deal(planned(spec), spec.generate.samples_per_call, weights, spec.matrix, _random(spec, 1))
    return Plan(1, quotas, (), tuple(parents), ("The first round follows the matrix as the spec weighs it.",))


def planned(spec: Spec) -> int:
    """Candidates of a round's first wave; whole calls that stay within `max_candidates`."""
    rule = spec.generate
    wanted = round(rule.accepted_per_round * rule.over_generation)
    if rule.max_candidates is None or wanted <= rule.max_candidates - rule.max_candidates % rule.samples_per_call:
        return wanted
    return rule.max_candidates - rule.max_candidates % rule.samples_per_call


def dev_report(report: DevReport) -> DevReport:
    """Refuse anything but a report on dev: the type says it, this makes sure. Raises `LeakageError`."""
    if report.role is not Role.DEV:
        raise LeakageError(f"feedback was handed a report on {report.role.value!r}; only dev may steer")
    return report


def shrunk_rates(report: DevReport, name: str, kappa: float) -> dict[str, Rate]:
    """Error rate per value of the slices called `name` ("label", "first_word", …), shrunk towards the overall rate."""
    overall = 1 - (report.accuracy.value or 0.0)
    rates: dict[str, Rate] = {}
    for score in report.slices:
        head, _, value = score.slice.partition("=")
        if head == name and not is_rest(score.slice) and score.value is not None and score.n:
            errors = round((1 - score.value) * score.n)
            rates[value] = Rate(errors, score.n, (errors + kappa * overall) / (score.n + kappa))
    return rates


def reweigh(static: Mapping[str, float], rates: Mapping[str, Rate], exploration: float) -> dict[str, float]:
    """Mix the static weights with weights in proportion to the shrunk error rates.

    >>> weights = reweigh({"a": 1, "b": 1}, {"a": Rate(9, 10, 0.6), "b": Rate(1, 10, 0.2)}, 0.5)
    >>> [round(value, 3) for value in weights.values()]
    [0.625, 0.375]
    """
    known = [rate.shrunk for rate in rates.values()]
    middle = sum(known) / len(known) if known else 1.0
    steered = {name: weight * (rates[name].shrunk if name in rates else middle) for name, weight in static.items()}
    mass, total = sum(static.values()), sum(steered.values())
    if not total:  # no error anywhere: nothing to steer by
        return {name: weight / mass for name, weight in static.items()}
    return {
        name: exploration * weight / mass + (1 - exploration) * steered[name] / total for name, weight in static.items()
    }


def confused_pairs(report: DevReport, limit: int) -> list[tuple[str, str, int]]:
    """(label, taken for, count), commonest first, at least `MIN_CONFUSIONS` each."""
    pairs = [
        (gold, said, count)
        for gold, row in report.confusion.items()
        for said, count in row.items()
        if said and gold != said and count >= MIN_CONFUSIONS
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))[:limit]


async def next_plan(
    report: DevReport, spec: Spec, round_: int, parents: Sequence[str], llm: Llm, overlap: Callable[[str], str]
) -> Plan:
    """The plan of the next round, with `changes` in words. `overlap` names the held-out text a hint resembles, or "".

    Raises `LeakageError` for a report that is not on dev.
    """
    report = dev_report(report)
    static = {label: spec.matrix.label_weights.get(label, 1.0) for label in spec.task.labels}
    if not spec.feedback.enabled:
        quotas = deal(planned(spec), spec.generate.samples_per_call, static, spec.matrix, _random(spec, round_))
        return Plan(round_, quotas, (), tuple(parents), ("Feedback is off: the plan is the static one again.",))
    rates = shrunk_rates(report, "label", spec.feedback.shrinkage)
    weights = reweigh(static, rates, spec.feedback.exploration)
    matrix, moved = _steer_dimensions(report, spec)
    quotas = deal(planned(spec), spec.generate.samples_per_call, weights, matrix, _random(spec, round_))
    guidance, said = await _guidance(report, spec, llm, overlap)
    changes = [*_quota_words(static, weights, rates), *moved, *said]
    return Plan(round_, quotas, tuple(guidance), tuple(parents), tuple(changes))


def _steer_dimensions(report: DevReport, spec: Spec) -> tuple[Matrix, list[str]]:
    """Reweigh the dimensions whose name and values are slices of the real data too."""
    dimensions: list[Dimension] = []
    words: list[str] = []
    for dimension in spec.matrix.dimensions:
        rates = shrunk_rates(report, dimension.name, spec.feedback.shrinkage)
        known = {value: rate for value in dimension.values for found, rate in rates.items() if in_slice(found, value)}
        if not known:
            dimensions.append(dimension)
            continue
        weights = reweigh(dimension.values, known, spec.feedback.exploration)
        dimensions.append(dimension.model_copy(update={"values": weights}))
        worst = max(known, key=lambda value: known[value].shrunk)
        before = dimension.values[worst] / sum(dimension.values.values())
        if weights[worst] - before >= VISIBLE:
            words.append(
                f"{dimension.name}: more of {worst!r} ({before:.0%} → {weights[worst]:.0%}), where "
                f"{known[worst].errors} of {known[worst].n} dev items fail."
            )
    return spec.matrix.model_copy(update={"dimensions": dimensions}), words


async def _guidance(
    report: DevReport, spec: Spec, llm: Llm, overlap: Callable[[str], str]
) -> tuple[list[Guidance], list[str]]:
    pairs = confused_pairs(report, spec.feedback.contrast_pairs)
    guidance: list[Guidance] = []
    words: list[str] = []
    for gold, said, count in pairs:
        reason = f"{count} dev items of {gold} were taken for {said}"
        guidance.append(Guidance(gold, "contrast", "", reason, other=said))
        words.append(f"{gold}: half of its prompts now show {said} beside it, because {reason}.")
    if spec.feedback.critic and pairs:
        hints, about_hints = await _hints(pairs, spec, llm, overlap)
        guidance.extend(hints)
        words.extend(about_hints)
    return guidance, words


async def _hints(
    pairs: Sequence[tuple[str, str, int]], spec: Spec, llm: Llm, overlap: Callable[[str], str]
) -> tuple[list[Guidance], list[str]]:
    """Ask the critic once per pair; keep what is one short sentence and resembles no held-out text."""
    try:
        answers = await llm.ask_many([_critic_request(gold, said, spec) for gold, said, _ in pairs])
    except BudgetError:
        return [], ["The critic was not asked for hints: the budget ended."]
    kept: list[Guidance] = []
    words: list[str] = []
    for (gold, said, _), answer in zip(pairs, answers, strict=True):
        text = read_hint(answer)
        fault = _hint_fault(text) or overlap(text)
        if fault:
            words.append(f"{gold}: the critic's hint against {said} was not used ({fault}).")
        else:
            kept.append(Guidance(gold, "hint", text, f"critic, on {gold} against {said}", other=said))
            words.append(f"{gold}: the critic's hint goes into its prompts: {text!r}.")
    return kept, words


def _critic_request(gold: str, said: str, spec: Spec) -> Request:
    values = {"noun": spec.task.noun, "about": spec.task.labels[gold], "other": spec.task.labels[said]}
    text = render(CRITIC, values)
    chat = spec.llm.critic.chat
    return Request(
        role="critic",
        prompt=(("user", text),) if chat else text,
        temperature=0.0,
        max_tokens=48,
        stop=() if chat else ("\n",),
        seed=spec.seed,
    )


def read_hint(answer: object) -> str:
    """The critic's first sentence, or "" where the call failed. The prompt ends in "They", which it may repeat."""
    if not isinstance(answer, Answer) or not answer.choices:
        return ""
    text = one_line(answer.choices[0].text)
    sentence = re.match(r".*?\.(?=\s+[^a-z]|\s*$)", text)
    text = sentence[0] if sentence else text
    return f"They {text}" if text[:1].islower() else text


def _hint_fault(text: str) -> str:
    if not text:
        return "no answer"
    if len(text.split()) > MAX_HINT_WORDS:
        return f"longer than {MAX_HINT_WORDS} words"
    return "" if text.endswith(".") else "not a whole sentence"


def _quota_words(static: Mapping[str, float], weights: Mapping[str, float], rates: Mapping[str, Rate]) -> list[str]:
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


def _random(spec: Spec, round_: int) -> random.Random:
    return random.Random(digest([spec.seed, "plan", round_]))
