"""From quotas to candidates: choose few-shot seeds, ask the generator, turn every answer into exactly one row."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from harness.answers import kind_of
from harness.generate import prompts
from harness.generate.matrix import deal, in_slice
from harness.lines import Rows
from harness.llm.client import Answer, CallFailure, Choice, Llm, Outcome, Request, StreamingLlm
from harness.llm.wire import REFUSED
from harness.records import Candidate, Cell, Example, Guidance, Origin, ParseFailure, Plan, Quota
from harness.spec import Spec, Task
from harness.store import digest

VERSION = 3
"""Raise when the same inputs would give other candidates."""
NOT_ASKED = "not asked: the budget ended"
EMBEDDED_MIN_P = 0.05
CONTRAST_SHOTS = 2
"""Seeds of the neighbouring label in a contrast prompt."""
QUOTES = '"“”'
REFUSAL = re.compile(
    r"(?:(?:(?:i'm|i am|we're|we are) )?(?:very |so |truly )?sorry\W+|i apologi[sz]e\W+|unfortunately\W+)?(?:but )?(?:"
    r"as an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|(?:i|we) (?:can't|cannot|can not|won't|will not) (?:help(?! but)|assist|provide|create|generate|comply|fulfil)"
    r"|(?:i'm|i am|we're|we are) (?:unable|not able) to (?:help|assist|provide|write|create|generate|comply|fulfil)"
    r"|(?:i|we) (?:can't|cannot|can not|won't|will not) (?:write|produce|continue|do) (?:that|this|such|offensive|a )"
    r")"
)
"""How chat models refuse. A text of the task may well begin with "I can't" or "I'm sorry" and be none."""


OnAnswers = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Draw:
    """One call that is to be made: for which cell, with which seeds as few-shot examples. `opening` is the beginning
    of the text that stands in a completion prompt and that the answer therefore lacks, `context` what the new item is
    to be about."""

    cell: Cell
    shots: tuple[str, ...]
    request: Request
    opening: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one wave brought. Every answer asked for is a candidate or a parse failure."""

    candidates: tuple[Candidate, ...]
    failures: tuple[ParseFailure, ...]


class Made(Protocol):
    """Takes the rows of each call by its place, in whatever order calls end; a dictionary is one."""

    def __contains__(self, place: object, /) -> bool: ...

    def __setitem__(self, place: int, rows: Batch, /) -> None: ...


class _Requests(Rows[Request]):
    """What calls ask, without a second list of it."""

    def __init__(self, wave_draws: Sequence[Draw]) -> None:
        self._draws = wave_draws

    def __len__(self) -> int:
        return len(self._draws)

    def _at(self, place: int) -> Request:
        return self._draws[place].request


def draws(quotas: Sequence[Quota], plan: Plan, seeds: Sequence[Example], spec: Spec, *, wave: int) -> list[Draw]:
    """The calls of a wave, in a fixed order. Each one's seeds and sampling seed come from its place alone."""
    return list(each_draw(quotas, plan, seeds, spec, wave=wave))


def each_draw(
    quotas: Sequence[Quota], plan: Plan, seeds: Sequence[Example], spec: Spec, *, wave: int
) -> Iterator[Draw]:
    """`draws`, one after another."""
    per_call = spec.generate.samples_per_call
    for quota in quotas:
        hints = [item for item in plan.guidance if item.label == quota.cell.label]
        for index in range(-(-quota.candidates // per_call)):
            place = digest([spec.seed, plan.round, wave, quota.cell.id, index])
            generator = random.Random(place)
            chosen = _turn(hints, generator)
            shots = pick_shots(quota.cell, seeds, spec, generator, plan.shots)
            contrast = _contrast_shots(chosen, seeds, generator)
            context = shots[-1].context if shots else ""
            values = prompts.values_of(quota.cell, spec.task, spec.matrix.dimensions, shots, chosen, contrast, context)
            count = min(per_call, quota.candidates - index * per_call)
            request = _request(values, spec, count, seed=int(place[:7], 16), sample=index)
            ids = tuple(shot.id for shot in (*shots, *contrast))
            continued = "" if spec.llm.generator.chat else str(values["opening"])
            yield Draw(quota.cell, ids, request, continued, context)


def prompt_views(plan: Plan, seeds: Sequence[Example], spec: Spec) -> dict[str, str]:
    """Label → one of its prompts as the plan words it, with the same cell and the same chance whatever the plan.

    So what differs between two rounds' views is what feedback changed. A label's contrast is shown where it has one.
    """
    weights = dict.fromkeys(spec.task.labels, 1.0)
    generator = random.Random(digest([spec.seed, "view"]))
    views: dict[str, str] = {}
    for quota in deal(len(weights), 1, weights, spec.matrix, generator):
        label = quota.cell.label
        own = [item for item in plan.guidance if item.label == label]
        chosen = [item for item in own if item.kind == "hint"] + [item for item in own if item.kind == "contrast"][:1]
        chance = random.Random(digest([spec.seed, "view", label]))
        shown = pick_shots(quota.cell, seeds, spec, chance, plan.shots)
        contrast = _contrast_shots(chosen, seeds, chance)
        context = shown[-1].context if shown else ""
        values = prompts.values_of(quota.cell, spec.task, spec.matrix.dimensions, shown, chosen, contrast, context)
        prompt = prompts.chat_prompt(values) if spec.llm.generator.chat else prompts.completion_prompt(values)
        views[label] = prompt if isinstance(prompt, str) else "\n\n".join(text for _, text in prompt)
    return views


def _turn(guidance: Sequence[Guidance], generator: random.Random) -> list[Guidance]:
    """All hints, and with even odds one of the contrasts: half of a label's prompts stay plain."""
    contrasts = [item for item in guidance if item.kind == "contrast"]
    hints = [item for item in guidance if item.kind == "hint"]
    return [*hints, generator.choice(contrasts)] if contrasts and generator.random() < 0.5 else hints


def pick_shots(
    cell: Cell,
    seeds: Sequence[Example],
    spec: Spec,
    generator: random.Random,
    weights: Mapping[str, float] | None = None,
) -> list[Example]:
    """Few-shot seeds of the cell's label, preferring those in the real slices that its `shots` dimensions name.

    `weights` of slices (`"first_word=what"` → 1.4) make the seeds in them likelier by the mean weight of their slices.
    """
    own = [seed for seed in seeds if seed.label == cell.label]
    wanted = {
        dimension.name: cell.values[dimension.name]
        for dimension in spec.matrix.dimensions
        if dimension.use == "shots" and cell.values[dimension.name] != "any"
    }
    near = [seed for seed in own if all(in_slice(seed.slices.get(name, ""), value) for name, value in wanted.items())]
    first = _sample(near, spec.generate.shots, weights, generator)
    taken = {seed.id for seed in first}
    others = [seed for seed in own if seed.id not in taken]
    filled = first + _sample(others, spec.generate.shots - len(first), weights, generator)
    generator.shuffle(filled)
    return filled


def _sample(
    seeds: Sequence[Example], size: int, weights: Mapping[str, float] | None, generator: random.Random
) -> list[Example]:
    """At most `size` different seeds, each drawn in proportion to its weight (Efraimidis & Spirakis 2006: the largest
    u^(1/w) of uniform u)."""
    if not weights:
        return generator.sample(seeds, min(size, len(seeds)))
    keys: list[float] = []
    for seed in seeds:
        known = [weights[key] for name, value in seed.slices.items() if (key := f"{name}={value}") in weights]
        weight = sum(known) / len(known) if known else 1.0
        keys.append(generator.random() ** (1 / max(weight, 1e-6)))
    order = sorted(range(len(seeds)), key=lambda index: -keys[index])
    return [seeds[index] for index in order[:size]]


def _contrast_shots(guidance: Sequence[Guidance], seeds: Sequence[Example], generator: random.Random) -> list[Example]:
    other = next((item.other for item in guidance if item.kind == "contrast"), None)
    own = [seed for seed in seeds if seed.label == other]
    return generator.sample(own, min(CONTRAST_SHOTS, len(own)))


def _request(values: dict[str, object], spec: Spec, count: int, *, seed: int, sample: int) -> Request:
    endpoint, sampling = spec.llm.generator, spec.generate.sampling
    min_p = sampling.min_p
    if min_p == "auto":
        min_p = EMBEDDED_MIN_P if endpoint.embedded else None
    return Request(
        role="generator",
        prompt=prompts.chat_prompt(values) if endpoint.chat else prompts.completion_prompt(values),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        min_p=min_p,
        max_tokens=sampling.max_tokens,
        stop=() if endpoint.chat else ("\n\n",) if spec.task.answer else ("\n",),
        n=count,
        seed=seed,
        sample=sample,
    )


async def generate(
    wave_draws: Sequence[Draw],
    llm: StreamingLlm,
    task: Task,
    *,
    round_: int,
    wave: int,
    on_answers: OnAnswers | None = None,
) -> Batch:
    """Make the calls and parse the answers, in the order of `wave_draws`. Raises `BudgetError`, `EndpointError`."""
    made: dict[int, Batch] = {}
    await ask(wave_draws, llm, task, made, round_=round_, wave=wave, on_answers=on_answers)
    return joined(made[place] for place in range(len(wave_draws)))


async def ask(
    wave_draws: Sequence[Draw],
    llm: StreamingLlm,
    task: Task,
    made: Made,
    *,
    round_: int,
    wave: int,
    on_answers: OnAnswers | None = None,
) -> None:
    """Make the calls; `made` gets the rows of each as soon as it has ended, and keeps them if an error ends the rest.

    Answers are parsed while others are waited for. `on_answers` is told of each call how many answers it asked for.
    """

    def done(place: int, answer: Outcome) -> None:
        draw = wave_draws[place]
        made[place] = parsed(draw, answer, task, round_=round_, wave=wave)
        if on_answers:
            on_answers(draw.request.n)

    await llm.ask_each(_Requests(wave_draws), done)


def parsed(draw: Draw, answer: Answer | CallFailure, task: Task, *, round_: int, wave: int) -> Batch:
    """The rows of one call: every answer that it asked for is a candidate or a parse failure."""
    candidates: list[Candidate] = []
    failures: list[ParseFailure] = []
    for index in range(draw.request.n):
        ident = row_id(answer.key, index)
        text, reason, raw = read_choice(answer, index, draw.opening, lines=task.answer is not None)
        example = Example(ident, text, draw.cell.label, draw.cell.values, Origin.SYNTHETIC)
        if task.answer and not reason:
            example, reason = with_answer(example, draw.context, task)
        if reason:
            failures.append(ParseFailure(ident, draw.cell.id, round_, wave, answer.key, index, reason=reason, raw=raw))
        else:
            candidates.append(
                Candidate(ident, draw.cell.id, example, round_, wave, answer.key, index, shots=draw.shots)
            )
    return Batch(tuple(candidates), tuple(failures))


def joined(batches: Iterable[Batch]) -> Batch:
    """Rows of several calls, in order."""
    own = list(batches)
    return Batch(
        tuple(one for batch in own for one in batch.candidates), tuple(one for batch in own for one in batch.failures)
    )


def not_asked(left: Sequence[Draw], llm: Llm, *, round_: int, wave: int) -> Batch:
    """Rows for the calls that a spent budget left unasked: planned, counted, never generated."""
    rows = [
        ParseFailure(row_id(key, index), draw.cell.id, round_, wave, key, index, NOT_ASKED, "")
        for draw in left
        for key in [llm.key(draw.request)]
        for index in range(draw.request.n)
    ]
    return Batch((), tuple(rows))


def row_id(call: str, index: int) -> str:
    """`syn-` and 12 hex digits of the call's key and the answer's place in it."""
    return f"syn-{digest([call, index])[:12]}"


def with_answer(example: Example, context: str, task: Task) -> tuple[Example, str]:
    """What a model wrote, parted into text and answer; with the reason why it cannot be, or "".

    The answer decides on the label: a question that the model could not answer is one of that kind, whatever was
    asked for.
    """
    rule = task.answer
    if rule is None:
        raise ValueError("the task has no `answer`")
    text, mark, answer = f"\n{example.text}".partition(f"\n{rule.noun.capitalize()}:")
    text = text.strip().removeprefix(f"{task.noun.capitalize()}:")
    text, answer = (" ".join(part.split()) for part in (text, answer))
    if not mark or not answer:
        return example, f"no {rule.noun} in it"
    if not text:
        return example, "empty answer"
    kind = kind_of(answer, task)
    if kind is None:
        return example, f"its {rule.noun} names no label"
    return replace(example, text=text, label=kind, answer=answer, context=context), ""


def read_choice(answer: Answer | CallFailure, index: int, opening: str, *, lines: bool = False) -> tuple[str, str, str]:
    """(text, reason why it is no candidate or "", what the model wrote). `lines` keeps the line breaks."""
    if isinstance(answer, CallFailure):
        return "", f"call failed: {answer.reason}", ""
    if index >= len(answer.choices):
        return "", "endpoint gave fewer answers than asked for", ""
    choice = answer.choices[index]
    text = parse_lines(choice, opening) if lines else parse_text(choice, opening)
    # Half a character cannot be stored; what the model wrote is kept with a mark in its place.
    raw = prompts.SURROGATE.sub("\ufffd", choice.text)
    if choice.finish_reason == "length":
        return "", "cut off at max_tokens", raw
    if choice.finish_reason == REFUSED:
        return "", "refusal", raw
    if choice.finish_reason == "content_filter":
        return "", "withheld by the endpoint's content filter", raw
    if not text:
        return "", "empty answer", raw
    if "\ufffd" in raw:
        return "", "half a character in it", raw
    if REFUSAL.match(text.lower().replace("’", "'")):
        return "", "refusal", raw
    return text, "", raw


def parse_lines(choice: Choice, opening: str) -> str:
    """The lines of an answer that hold anything, the first with what stood in the prompt already.

    >>> parse_lines(Choice(" wrote Emma ?\\nAnswer: Austen", "stop"), "Who")
    'Who wrote Emma ?\\nAnswer: Austen'
    """
    if not choice.text.strip():
        return ""
    pieces = f"{opening}{choice.text}".splitlines()
    return "\n".join(line for piece in pieces if (line := " ".join(piece.split())))


def parse_text(choice: Choice, opening: str) -> str:
    """The text of an answer on one line; `opening` is the part of it that stood in the prompt already.

    Quotation marks around the whole are taken off, those that belong to the text are not.

    >>> parse_text(Choice(" wrote Emma ?", "stop"), "Who")
    'Who wrote Emma ?'
    """
    if not choice.text.strip():
        return ""
    text = " ".join(f"{opening}{choice.text}".split())
    bare = text.strip(f"{QUOTES} ")
    return text if any(mark in bare for mark in QUOTES) else bare
