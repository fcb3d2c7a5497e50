"""What a run would ask, without asking it: the stages' own code makes the requests, an LLM that only takes notes gets
them. So the prompts that a forecast counts are those that a run would send, up to the choice of seeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cells import asks_judge, by_tag, tag_seeds
from harness.clean import Cleaned, Item, clean
from harness.filters.gate import open_gate
from harness.filters.judge import grade
from harness.filters.rubric import Item as JudgedItem
from harness.generate import produce
from harness.generate.critic import MAX_HINT_WORDS
from harness.generate.feedback import first_plan, next_plan
from harness.generate.matrix import apportion
from harness.generate.rates import MIN_CONFUSIONS
from harness.humanlabels import HumanLabels
from harness.llm.client import Answer, Choice, OnDone, Outcome
from harness.llm.wire import Request, estimate_tokens
from harness.packaged import read_packaged
from harness.records import Cost, DevReport, Estimate, EvalReport, Example, Origin, Plan, Quota, Role
from harness.spec import FileSource, PackagedSource, Spec
from harness.tables import read_file
from harness.texts import Slicer

MOST_RENDERED = 200
"""Prompts of a round that are rendered; of a larger plan every k-th call is taken."""
HINT = " ".join(["They", *["explain"] * (MAX_HINT_WORDS - 2), "things."])
"""What the note-taker answers: a hint of full length, which then stands in the prompts."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The plan of round 1, and requests as they would be made. `later` are the generator's of a round that is steered
    by as many confused pairs as the spec allows, `answers` the judge's about students' answers. `text_tokens` is the
    mean length of a text."""

    plan: Plan
    first: tuple[Request, ...]
    later: tuple[Request, ...]
    gate: tuple[Request, ...]
    critic: tuple[Request, ...]
    tags: tuple[Request, ...]
    answers: tuple[Request, ...]
    text_tokens: float


class _Notes:
    """An `Llm` that notes what it is asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def key(self, request: Request) -> str:
        return f"dry run {self.requests.index(request)}"

    async def ask_many(self, requests: Sequence[Request], on_done: OnDone | None = None) -> list[Outcome]:  # noqa: ARG002
        self.requests.extend(requests)
        return [Answer("dry run", (Choice(HINT, "stop"),), Cost()) for _ in requests]


def read_source(spec: Spec, base: Path) -> Cleaned:
    """The cleaned real items of a packaged set or a file; none of other sources, which take seconds or a network.

    `base` is the folder of the YAML file. Raises `DataError` (all problems with the rows at once),
    `MissingPackageError`.
    """
    match spec.data.source:
        case PackagedSource() as source:
            return clean(read_packaged(source.name), spec)
        case FileSource() as source:
            return clean(read_file(source, base), spec)
        case _:
            return Cleaned((), {}, ())


def rehearse(spec: Spec, items: Sequence[Item] = (), labels: HumanLabels | None = None) -> Rehearsal:
    """The requests of a run of `spec`. Seeds are stand-ins: some of `items`, or texts of the assumed length.

    Which items a run will really take as seeds is not known before the split; only lengths and counts may leave here.
    `labels` are those of `filters.judge.human_labels`; without them seeds stand in for them, as many as the gate takes.
    """
    seeds = stand_ins(spec, items)
    plan = first_plan(spec, [])
    first = _requests(plan, seeds, spec)
    gate, critic = _Notes(), _Notes()
    later: tuple[Request, ...] = ()
    if spec.stop.max_rounds > 1:
        steered = asyncio.run(next_plan(_confused(spec), spec, 2, [], critic, lambda _: ""))
        later = _requests(steered, seeds, spec)
    if spec.filters.judge.enabled:
        asyncio.run(open_gate(seeds, gate, spec, labels=labels or _labels_assumed(spec, seeds)))
    tags = _Notes()
    if asks_judge(spec):
        asyncio.run(tag_seeds(seeds, by_tag(spec), spec, tags))
    answers = _Notes()
    if spec.evaluate.judge.enabled:
        asyncio.run(grade([JudgedItem(one.text, "", one.answer, one.context) for one in seeds], answers, spec))
    texts = [item.text for item in items] or [seed.text for seed in seeds]
    mean = sum(map(estimate_tokens, texts)) / len(texts)
    return Rehearsal(
        plan,
        first,
        later,
        tuple(gate.requests),
        tuple(critic.requests),
        tuple(tags.requests),
        tuple(answers.requests),
        mean,
    )


def _labels_assumed(spec: Spec, seeds: Sequence[Example]) -> HumanLabels | None:
    rule = spec.filters.judge
    if rule.human_labels is None:
        return None
    shown = [seeds[index % len(seeds)] for index in range(rule.gate_items)]
    items = tuple((JudgedItem(one.text, one.label, one.answer, one.context), True) for one in shown)
    return HumanLabels(items, "", 0, 0, ())


def assumed_tokens(spec: Spec) -> int:
    """Length of a text where the source is not read: half of what the generator may write."""
    return max(1, spec.generate.sampling.max_tokens // 2)


def stand_ins(spec: Spec, items: Sequence[Item]) -> list[Example]:
    """As many seeds as the split will hold, spread over the labels."""
    shares = apportion(spec.data.split.seeds, dict.fromkeys(spec.task.labels, 1.0))
    slices = spec.data.slices
    slicer = Slicer.learn([item.text for item in items], slices.length, slices.first_word)
    invented = ("text " * assumed_tokens(spec))[: 4 * assumed_tokens(spec)]
    seeds: list[Example] = []
    for label, share in shares.items():
        own = sorted((item for item in items if item.label == label), key=lambda item: item.id)
        for index in range(share):
            ident = f"stand-in-{len(seeds)}"
            if own:
                item = own[index % len(own)]
                cut = slicer.of(item.text, label, item.columns)
                seeds.append(Example(ident, item.text, label, cut, Origin.REAL, item.answer, item.context))
            else:
                seeds.append(Example(ident, invented, label, {}, Origin.REAL, *_invented(spec, label)))
    return seeds


def _invented(spec: Spec, label: str) -> tuple[str, str]:
    """Answer and context of a stand-in: of some length where the task has them."""
    rule = spec.task.answer
    return (
        ("", "") if rule is None else (f"{label} {'word ' * (rule.max_words // 4)}", "context " if rule.context else "")
    )


def _requests(plan: Plan, seeds: Sequence[Example], spec: Spec) -> tuple[Request, ...]:
    per_call = spec.generate.samples_per_call
    cells = [quota.cell for quota in plan.quotas for _ in range(-(-quota.candidates // per_call))]
    taken = cells[:: -(-len(cells) // MOST_RENDERED)]
    quotas = [Quota(cell, taken.count(cell) * per_call) for cell in {cell.id: cell for cell in taken}.values()]
    drawn = produce.draws(quotas, plan, seeds, spec, wave=0)
    return tuple(draw.request for draw in drawn)


def _confused(spec: Spec) -> DevReport:
    """A dev report on which every label is taken for every other, most often for the one after it."""
    labels = list(spec.task.labels)
    after = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
    confusion = {
        gold: {said: MIN_CONFUSIONS + (said == after[gold]) for said in labels if said != gold} for gold in labels
    }
    none = Estimate(None, None, None, 0, "none")
    return DevReport(EvalReport("mixed", Role.DEV, "", "", 0, 0, 0, 0, none, none, (), confusion))
