"""May the judge drop data? Only after its gate: agreement with a known truth, and with itself.

The truth is what people said of synthetic items (`filters.judge.human_labels`) or, without that, seeds: half of them as
they are and half with a planted error (a wrong label or broken text). A part is asked twice. The judge's verdicts count
once the lower bound of Cohen's κ with the truth and the share of stable answers reach the bars of the spec.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from eval.answers import same
from eval.worth import filter_worth, kappa
from harness.filters.judge import calls_per_item, grade
from harness.filters.rubric import Grade, Item, rubric_words
from harness.humanlabels import HumanLabels
from harness.llm.client import Llm
from harness.records import Estimate, Example
from harness.reports import GateReport
from harness.spec import Spec
from harness.store import digest

RETEST_SHARE = 0.3
LEAST_GRADED = 0.9
HUMAN = "human labels"


def planted(seeds: Sequence[Example], spec: Spec) -> list[tuple[Item, bool]]:
    """Seeds as gate items with their truth: even ones right, odd ones with a wrong label (the answer of another seed,
    where there are answers) or shuffled words.

    A text that no shuffling changes (one word) gets a wrong label.
    """
    generator = random.Random(digest([spec.seed, "gate"]))
    chosen = generator.sample(list(seeds), min(len(seeds), spec.filters.judge.gate_items))
    labels = list(spec.task.labels)
    out: list[tuple[Item, bool]] = []
    for index, seed in enumerate(chosen):
        words = seed.text.split()
        item = Item(seed.text, seed.label, seed.answer, seed.context, seed.id)
        if index % 2 == 0:
            out.append((item, True))
        elif index % 4 == 1 or len(set(words)) < 2:
            out.append((_wrong(item, chosen, labels, generator), False))
        else:
            out.append((replace(item, text=" ".join(_shuffled(words, generator))), False))
    return out


def _wrong(item: Item, seeds: Sequence[Example], labels: Sequence[str], generator: random.Random) -> Item:
    """The item under another label, or with another seed's answer."""
    if not item.answer:
        return replace(item, label=generator.choice([label for label in labels if label != item.label]))
    others = [seed for seed in seeds if not same(item.answer, seed.answer)]
    if not others:
        # All answers are the same, so any other words are a wrong one.
        return replace(item, answer=" ".join(reversed(item.text.split())))
    other = generator.choice(others)
    return replace(item, answer=other.answer, label=other.label)


def _shuffled(words: Sequence[str], generator: random.Random) -> list[str]:
    """The words in another order; two of them have to differ."""
    while (mixed := generator.sample(list(words), len(words))) == list(words):
        pass
    return mixed


def gate_items(seeds: Sequence[Example], spec: Spec, labels: HumanLabels | None) -> list[tuple[Item, bool]]:
    """What the gate shows, with its truth, in random order: the first ones are shown twice."""
    if labels is None:
        return planted(seeds, spec)
    generator = random.Random(digest([spec.seed, "gate of human labels"]))
    return generator.sample(list(labels.items), min(len(labels.items), spec.filters.judge.gate_items))


def closed_gate(reason: str, spec: Spec, labels: HumanLabels | None = None) -> GateReport:
    """A gate that was not gone through."""
    nothing = Estimate(None, None, None, 0, "none", reason)
    asked = rubric_words(spec.filters.judge)
    return _held_to(labels, GateReport(False, nothing, None, None, None, None, 0, reason, asked=asked))


def gate_calls(items: int, spec: Spec) -> int:
    """How many calls the gate makes where there are so many seeds, or human labels."""
    shown = min(items, spec.filters.judge.gate_items)
    return (shown + retested(shown)) * calls_per_item(spec)


def retested(items: int) -> int:
    """How many of the gate's items are shown twice."""
    return max(1, int(RETEST_SHARE * items))


async def open_gate(
    seeds: Sequence[Example],
    llm: Llm,
    spec: Spec,
    on_call: Callable[[int], None] | None = None,
    labels: HumanLabels | None = None,
) -> GateReport:
    """Measure the judge against the truth and against itself. `labels` are people's, in place of planted errors."""
    items = gate_items(seeds, spec, labels)
    first = await grade([item for item, _ in items], llm, spec, seeds=seeds, on_call=on_call)
    again_of = [item for item, _ in items[: retested(len(items))]]
    again = await grade(again_of, llm, spec, again=True, seeds=seeds, on_call=on_call)
    return _held_to(labels, measured(first, [truth for _, truth in items], again, spec))


def _held_to(labels: HumanLabels | None, found: GateReport) -> GateReport:
    return found if labels is None else replace(found, truth=HUMAN, labels=labels.sha256)


def measured(first: Sequence[Grade], truth: Sequence[bool], again: Sequence[Grade], spec: Spec) -> GateReport:
    """The gate of a judge that gave these grades to items of known truth; `again` are second grades of the first ones.

    Raises ValueError where there are other numbers of grades and truths.
    """
    rule = spec.filters.judge
    scored = [
        (mark.score >= rule.min_score, right)
        for mark, right in zip(first, truth, strict=True)
        if mark.score is not None
    ]
    agreement = kappa([said for said, _ in scored], [right for _, right in scored])
    stable = [
        (one.score >= rule.min_score) == (two.score >= rule.min_score)
        for one, two in zip(first, again, strict=False)
        if one.score is not None and two.score is not None
    ]
    retest = sum(stable) / len(stable) if stable else None
    phi, psi, p_star = _worth(scored)
    reason = _few_graded(first) or _refusal(agreement, retest, len(scored), spec)
    pairs = sum(mark.pairs for mark in first)
    return GateReport(
        passed=not reason,
        kappa=agreement,
        phi=phi,
        psi=psi,
        p_star=p_star,
        retest=retest,
        n=len(scored),
        reason=reason,
        asked=rubric_words(rule),
        pairs=pairs,
        flips=sum(mark.flips for mark in first) / pairs if pairs else None,
    )


def _worth(scored: Sequence[tuple[bool, bool]]) -> tuple[float | None, float | None, float | None]:
    right = [kept for kept, truth in scored if truth]
    wrong = [kept for kept, truth in scored if not truth]
    if not right or not wrong:
        return None, None, None
    return filter_worth(sum(right), len(right), sum(wrong), len(wrong))


def _few_graded(marks: Sequence[Grade]) -> str:
    """The refusal of a judge that left too many items without a grade, with the commonest cause, or ""."""
    causes = Counter(mark.reason for mark in marks if mark.score is None)
    missing = sum(causes.values())
    if len(marks) - missing >= LEAST_GRADED * len(marks):
        return ""
    (cause, count), *_ = causes.most_common(1)
    return f"graded only {len(marks) - missing} of {len(marks)} gate items ({count}: {cause})"


def _refusal(agreement: Estimate, retest: float | None, scored: int, spec: Spec) -> str:
    """Why a judge that grades may not drop data, or ""."""
    rule = spec.filters.judge
    if agreement.low is None or agreement.low < rule.gate_kappa:
        low = "none" if agreement.low is None else f"{agreement.low:.2f}"
        return f"lower bound of κ is {low}, the bar is {rule.gate_kappa:.2f} (n = {scored})"
    if retest is None or retest < rule.gate_retest:
        share = "none" if retest is None else f"{retest:.2f}"
        return f"share of stable answers is {share}, the bar is {rule.gate_retest:.2f}"
    return ""
