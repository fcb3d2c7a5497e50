"""What a run would take, before anything is spent: cells, calls, tokens, money, trainings (`harness plan x.yaml`).

Counts of calls follow from the spec; tokens are estimated on prompts rendered as a run would render them. "Expected"
is every round's first wave. "At most" is a bound: a yield so low that all refill waves are drawn in full, every answer
as long as it may be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.clean import Item
from harness.dataset import HELD_OUT_SHARE
from harness.dryrun import REPLIES, Rehearsal, assumed_tokens, rehearse
from harness.generate.matrix import count_cells
from harness.llm.wire import Request, RoleName, estimate_tokens, prompt_estimate
from harness.records import Cost, Plan, Role
from harness.rounds import Harvest, refill
from harness.scoring import DEV_ARMS
from harness.spec import Endpoint, Spec

TRAINED_ONCE = ("seeds", "all_real")
"""Arms of real rows that are the same in every round."""


@dataclass(frozen=True, slots=True)
class RoleCalls:
    """Calls of a role for one purpose; `prompt` is the mean number of tokens of a prompt."""

    role: RoleName
    purpose: str
    model: str
    prompt: float
    expected: Cost
    most: Cost


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of the budget beside what the run would take of it; `limit` None is no limit."""

    name: str
    limit: float | None
    expected: float
    most: float

    @property
    def verdict(self) -> str:
        """What the limit means for the run, in words."""
        if self.limit is None:
            return "no limit"
        if self.most <= self.limit:
            return "enough, even at most"
        if self.expected <= self.limit:
            return "enough as expected; a hard stop if much more is needed"
        return "too little: a hard stop before the last round ends"


@dataclass(frozen=True, slots=True)
class Forecast:
    """See the module's docstring. `drawn[dimension][value]` are candidates of round 1; `items` is None where the source
    was not read; `trainings` says for what how many adapters are trained, of `steps` optimiser steps at most each."""

    name: str
    sizes: Mapping[Role, int]
    items: int | None
    cells: int
    exact: bool
    plan: Plan
    drawn: Mapping[str, Mapping[str, int]]
    calls: tuple[RoleCalls, ...]
    limits: tuple[Limit, ...]
    trainings: Mapping[str, int]
    steps: int
    notes: tuple[str, ...]

    @property
    def expected(self) -> Cost:
        return sum((one.expected for one in self.calls), Cost())

    @property
    def most(self) -> Cost:
        return sum((one.most for one in self.calls), Cost())


def forecast(spec: Spec, items: Sequence[Item] = ()) -> Forecast:
    """What a run of `spec` would take. `items` (see `dryrun.read_items`) give the texts' lengths; without them a length
    is assumed. Raises `SpecError` when the matrix leaves a label without a cell."""
    rehearsal = rehearse(spec, items)
    cells, exact = count_cells(list(spec.task.labels), spec.matrix)
    calls = tuple(_calls(spec, rehearsal))
    expected = sum((one.expected for one in calls), Cost())
    most = sum((one.most for one in calls), Cost())
    split, budget = spec.data.split, spec.budget
    return Forecast(
        name=spec.name,
        sizes={role: int(getattr(split, role)) for role in Role},
        items=len(items) or None,
        cells=cells,
        exact=exact,
        plan=rehearsal.plan,
        drawn=_drawn(rehearsal.plan, spec),
        calls=calls,
        limits=(
            Limit("calls", budget.calls, expected.calls, most.calls),
            Limit("tokens", budget.tokens, _tokens(expected), _tokens(most)),
            Limit("usd", budget.usd, expected.usd, most.usd),
        ),
        trainings=_trainings(spec),
        steps=spec.train.steps,
        notes=tuple(_notes(spec, rehearsal, len(items))),
    )


def _drawn(plan: Plan, spec: Spec) -> dict[str, dict[str, int]]:
    counts: Counter[tuple[str, str]] = Counter()
    for quota in plan.quotas:
        for name, value in quota.cell.values.items():
            counts[name, value] += quota.candidates
    values = {"label": list(spec.task.labels)} | {one.name: list(one.values) for one in spec.matrix.dimensions}
    return {name: {value: counts[name, value] for value in known} for name, known in values.items()}


def most_candidates(spec: Spec, plan: Plan) -> list[int]:
    """Candidates of each round when no row is ever accepted: the first wave and every refill that the caps allow."""
    rule = spec.generate
    out: list[int] = []
    for number in range(1, spec.stop.max_rounds + 1):
        drawn = plan.candidates
        for _ in range(1, rule.max_waves):
            left = None if rule.max_candidates is None else rule.max_candidates - drawn
            if left is not None and left <= 0:
                break
            more = refill(plan, Harvest(), rule.accepted_per_round * number, spec, left)
            drawn += sum(quota.candidates for quota in more)
        out.append(drawn)
    return out


def _calls(spec: Spec, rehearsal: Rehearsal) -> list[RoleCalls]:
    rounds, per_call, llm = spec.stop.max_rounds, spec.generate.samples_per_call, spec.llm
    most = most_candidates(spec, rehearsal.plan)
    first = rehearsal.plan.candidates // per_call
    text = rehearsal.text_tokens + 1
    out = [_purpose("round 1", llm.generator, rehearsal.first, first, most[0] // per_call, text)]
    if rehearsal.later:
        name = "round 2" if rounds == 2 else f"rounds 2 to {rounds}"
        out.append(
            _purpose(name, llm.generator, rehearsal.later, first * (rounds - 1), sum(most[1:]) // per_call, text)
        )
    if rehearsal.gate:
        asked, reply = len(rehearsal.gate), estimate_tokens(REPLIES["judge"])
        rows, bound = _graded(spec, most)
        out.append(_purpose("gate, once per run", llm.judge, rehearsal.gate, asked, asked, reply))
        out.append(_purpose("grades of rows", llm.judge, rehearsal.gate, rows, bound, reply))
    if rehearsal.critic:
        asked = len(rehearsal.critic) * (rounds - 1)
        reply = estimate_tokens(REPLIES["critic"])
        out.append(_purpose("hints, between rounds", llm.critic, rehearsal.critic, asked, asked, reply))
    return out


def _graded(spec: Spec, most: Sequence[int]) -> tuple[int, int]:
    """Rows that the judge grades after the gate, (expected, at most).

    The embedded judge is expected to be refused and to grade the audit's rows; another one to grade as many rows as are
    wanted. At most every candidate comes to the judge, and again in each later round because its label has changed.
    """
    audit, rounds = spec.filters.judge.audit, spec.stop.max_rounds
    expected = (audit if spec.llm.judge.embedded else spec.generate.accepted_per_round) * rounds
    bound = sum(sum(most[: number + 1]) for number in range(rounds))
    return expected, max(bound, audit * rounds * spec.generate.max_waves)


def _purpose(
    name: str, endpoint: Endpoint, requests: Sequence[Request], calls: int, most: int, reply: float
) -> RoleCalls:
    """`requests` are examples of the calls, `reply` the expected tokens of one answer."""
    sizes = [prompt_estimate(request) for request in requests]
    mean, full = sum(sizes) / len(sizes), requests[0].max_tokens
    answers = max(request.n for request in requests)
    return RoleCalls(
        requests[0].role,
        name,
        endpoint.model,
        mean,
        _cost(calls, mean, answers * min(reply, full), endpoint),
        _cost(most, max(sizes), answers * full, endpoint),
    )


def _cost(calls: int, prompt: float, completion: float, endpoint: Endpoint) -> Cost:
    prompts, completions = round(calls * prompt), round(calls * completion)
    usd = (prompts * endpoint.price.input + completions * endpoint.price.output) / 1_000_000
    return Cost(calls=calls, prompt_tokens=prompts, completion_tokens=completions, usd=usd)


def _tokens(cost: Cost) -> int:
    return cost.prompt_tokens + cost.completion_tokens


def _trainings(spec: Spec) -> dict[str, int]:
    rounds, rule, arms = spec.stop.max_rounds, spec.filters.consistency, spec.evaluate.arms
    out = {"labellers, on folds of the seeds": rule.folds} if rule.enabled else {}
    out |= {f"{arm}, once": 1 for arm in TRAINED_ONCE if arm in arms}
    each_round = [arm for arm in DEV_ARMS if arm == "synthetic" or (arm in arms and arm not in TRAINED_ONCE)]
    out |= {f"{arm}, each round": rounds for arm in each_round}
    if cut := _cut_rounds(spec):
        out["synthetic cut to the pool's size"] = cut
    return out | ({"raw, for the test": 1} if "raw" in arms else {})


def _cut_rounds(spec: Spec) -> int:
    """Rounds in which there will be more synthetic training rows than pool rows, if each round reaches its target."""
    if "real" not in spec.evaluate.arms:
        return 0
    rows = spec.generate.accepted_per_round * (HELD_OUT_SHARE - 1) / HELD_OUT_SHARE
    return sum(rows * number > spec.data.split.pool for number in range(1, spec.stop.max_rounds + 1))


def _notes(spec: Spec, rehearsal: Rehearsal, items: int) -> list[str]:
    generate, rounds = spec.generate, spec.stop.max_rounds
    mean = f"{rehearsal.text_tokens:.0f} tokens"
    length = (
        f"the mean text of the source has {mean}"
        if items
        else f"the source is not read here, so texts of {assumed_tokens(spec)} tokens (half of "
        "generate.sampling.max_tokens) are assumed"
    )
    notes = [
        f"Tokens are estimates, one per four bytes: {len(rehearsal.first) + len(rehearsal.later)} generator prompts "
        f"were rendered as a run would; {length}.",
        f"Expected: the first wave of each of {rounds} round(s). Stop rules may end the run earlier.",
        "At most: hardly a row passes the filters, so that every refill wave is drawn in full "
        f"(generate.max_waves is {generate.max_waves}, generate.max_candidates "
        f"{generate.max_candidates or 'not set'}), and every answer has its full length.",
        "Answers that are in the call cache already cost nothing; what an interrupted run of this spec has spent "
        "counts towards its budget.",
    ]
    if spec.filters.judge.enabled:
        judge = "be refused and to grade the audit's rows only" if spec.llm.judge.embedded else "pass its gate"
        notes.append(f"The judge is expected to {judge}; which of the two happens shows in the run.")
    needed = sum(int(getattr(spec.data.split, role)) for role in Role)
    if items and items < needed:
        notes.append(f"The split asks for {needed:,} items and the source has {items:,}: the run would be refused.")
    return notes + _free(spec, rehearsal)


def _free(spec: Spec, rehearsal: Rehearsal) -> list[str]:
    """A sentence per endpoint whose calls are counted as free though nobody said that they are."""
    used: dict[RoleName, bool] = {"generator": True, "judge": bool(rehearsal.gate), "critic": bool(rehearsal.critic)}
    return [
        f"llm.{role}.price is 0, so calls to {endpoint.model!r} are counted as free; give its US dollars per million "
        "tokens to see what they cost."
        for role, endpoint in zip(used, (spec.llm.generator, spec.llm.judge, spec.llm.critic), strict=True)
        if used[role] and not endpoint.embedded and not (endpoint.price.input or endpoint.price.output)
    ]
