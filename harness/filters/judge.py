"""What does an LLM judge say? It may drop data only after it has passed its gate (`harness/filters/gate.py`).

Otherwise it abstains, and only a small audit sample is scored, for the record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, median_low

from harness.errors import BudgetError
from harness.filters.base import Context, Stamp, Standing
from harness.filters.pairs import pair_requests, read_pairs, rivals
from harness.filters.rubric import SAID_SHOWN, Grade, Item, cut, grade_request, read_grade, system_prompt
from harness.filterspec import JudgeFilter as Rule
from harness.llm.client import Answer, CallFailure, Llm, Request
from harness.records import Example, Verdict
from harness.reports import PLANTED, FilterWorth
from harness.spec import Spec

OnCall = Callable[[int], None]
NO_BUDGET = "not graded: the budget ended"


async def grade(
    items: Sequence[Item],
    llm: Llm,
    spec: Spec,
    *,
    again: bool = False,
    seeds: Sequence[Example] = (),
    on_call: OnCall | None = None,
) -> list[Grade]:
    """One grade per item, in order, of all `filters.judge.judges` askings; `again` asks anew. `seeds` are what items
    are compared with where the judge compares."""
    rule = spec.filters.judge
    first = rule.judges if again else 0
    system = system_prompt(spec)

    def requests(item: Item, sample: int) -> list[Request]:
        if rule.pairwise is None:
            return [grade_request(item, system, spec, sample)]
        return pair_requests(item, rivals(item, seeds, spec), spec, sample)

    def done(_: Answer | CallFailure) -> None:
        if on_call:
            on_call(1)

    askings = [requests(item, sample) for sample in range(first, first + rule.judges) for item in items]
    outcomes = iter(await llm.ask_many([one for asking in askings for one in asking], done))
    marks = [_read([next(outcomes) for _ in asking], rule) for asking in askings]
    return [combined(marks[place :: len(items)], rule) for place in range(len(items))]


def _read(outcomes: Sequence[Answer | CallFailure], rule: Rule) -> Grade:
    return read_grade(outcomes[0], rule) if rule.pairwise is None else read_pairs(outcomes)


def combined(marks: Sequence[Grade], rule: Rule) -> Grade:
    """The grades of one item by several askings as one: mean, or for a majority the lower median. None unless more than
    half of the askings gave a grade.

    >>> combined([Grade(5, ""), Grade(1, ""), Grade(4, "")], Rule(judges=3, combine="majority")).score
    4
    """
    if len(marks) == 1:
        return marks[0]
    scores = [mark.score for mark in marks if mark.score is not None]
    said = [f"{len(marks)} askings: {', '.join('none' if m.score is None else f'{m.score:.2g}' for m in marks)}"]
    said += [mark.said for mark in marks if mark.said]
    counts = sum(mark.pairs for mark in marks), sum(mark.flips for mark in marks)
    if 2 * len(scores) <= len(marks):
        return Grade(None, next(mark.reason for mark in marks if mark.score is None), "; ".join(said), *counts)
    score = fmean(scores) if rule.combine == "mean" else median_low(scores)
    return Grade(score, "", "; ".join(said), *counts)


def calls_per_item(spec: Spec) -> int:
    """How many calls one grade takes, where each label has the seeds to compare with."""
    rule = spec.filters.judge
    return rule.judges * (1 if rule.pairwise is None else 2 * rule.pairwise)


async def grade_within_budget(
    items: Sequence[Item],
    llm: Llm,
    spec: Spec,
    *,
    again: bool = False,
    seeds: Sequence[Example] = (),
    on_call: OnCall | None = None,
) -> list[Grade]:
    """Like `grade`; where the budget ends, what is paid for is used and the rest has no grade."""
    try:
        return await grade(items, llm, spec, again=again, seeds=seeds, on_call=on_call)
    except BudgetError:
        grades: list[Grade] = []
        for item in items:
            try:
                grades.extend(await grade([item], llm, spec, again=again, seeds=seeds))
            except BudgetError:
                grades.append(Grade(None, NO_BUDGET))
        return grades


def audited(standing: Sequence[Standing], count: int) -> list[Standing]:
    """So many rows of each round, drawn by their ids, which are hashes: the first ones would be of one label."""
    rounds: dict[int, list[Standing]] = {}
    for item in standing:
        rounds.setdefault(item.candidate.round, []).append(item)
    return [item for own in rounds.values() for item in sorted(own, key=lambda item: item.candidate.id)[:count]]


class JudgeFilter:
    """Drop what the judge grades below `min_score`, provided that it passed its gate."""

    name = "judge"
    version = 4

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        rule = context.spec.filters.judge
        trusted = context.gate is not None and context.gate.passed
        asked = list(standing) if trusted else audited(standing, rule.audit)
        items = [
            Item(one.candidate.example.text, one.label, one.answer, one.candidate.example.context) for one in asked
        ]
        grades = await grade_within_budget(items, context.llm, context.spec, seeds=context.seeds)
        marks = {item.candidate.id: mark for item, mark in zip(asked, grades, strict=True)}
        stamp = Stamp(self.name, self.version)
        return [
            self._verdict(item, mark, rule, trusted=trusted)
            if (mark := marks.get(item.candidate.id)) is not None
            else stamp.abstain(item.candidate, "gate not passed, not asked")
            for item in standing
        ]

    def _verdict(self, item: Standing, mark: Grade, rule: Rule, *, trusted: bool) -> Verdict:
        stamp, candidate, said = Stamp(self.name, self.version), item.candidate, cut(mark.said, SAID_SHOWN)
        if mark.score is None:
            return stamp.abstain(candidate, mark.reason, evidence=said)
        if not trusted:
            return stamp.abstain(candidate, "gate not passed, graded for the record", mark.score, said)
        if mark.score < rule.min_score:
            return stamp.drop(candidate, "graded too low", mark.score, said)
        return stamp.keep(candidate, mark.score, evidence=said)

    def worth(self, context: Context) -> FilterWorth | None:
        gate = context.gate
        if gate is None or gate.phi is None or gate.psi is None or gate.p_star is None:
            return None
        how = "seeds with planted errors" if gate.truth == PLANTED else gate.truth
        return FilterWorth(self.name, gate.phi, gate.psi, gate.p_star, gate.n, how)
