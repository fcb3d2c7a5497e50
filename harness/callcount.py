"""How many calls each role would make, how long they would be and what they would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.bench import Harvest
from harness.cells import by_tag, longest_answer
from harness.controls import CONTROLS
from harness.dryrun import HINT, Rehearsal
from harness.filters.gate import retested
from harness.filters.judge import calls_per_item
from harness.filters.rubric import example_reply
from harness.llm.wire import Request, RoleName, estimate_tokens, prompt_estimate
from harness.records import Cost, Plan
from harness.refills import refill
from harness.spec import Endpoint, Spec


@dataclass(frozen=True, slots=True)
class RoleCalls:
    """Calls of a role for one purpose; `prompt` is the mean number of tokens of a prompt."""

    role: RoleName
    purpose: str
    model: str
    prompt: float
    expected: Cost
    most: Cost


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
            if not more:
                break
            drawn += sum(quota.candidates for quota in more)
        out.append(drawn)
    return out


def probe_calls(spec: Spec) -> int:
    """Calls of the frozen probe over all rounds."""
    rule = spec.evaluate.probe
    return rule.enabled * rule.items * (rule.batches + spec.stop.max_rounds - 1)


def count_calls(spec: Spec, rehearsal: Rehearsal) -> list[RoleCalls]:
    """A row per role and purpose, in the order in which a run makes them."""
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
    if probe := probe_calls(spec):
        single = [replace(request, n=1) for request in rehearsal.first]
        out.append(_purpose("frozen probe", llm.generator, single, probe, probe, text))
    for name in spec.evaluate.controls:
        # Until feedback sets in, a control without a matrix of its own makes the loop's calls, which are in the cache.
        own = most[1:] if CONTROLS[name].shares_first_round else most
        if CONTROLS[name].own_calls and own:
            calls = first * len(own)
            out.append(_purpose(f"control {name}", llm.generator, rehearsal.first, calls, sum(own) // per_call, text))
    if rehearsal.gate:
        asked, reply = len(rehearsal.gate), estimate_tokens(example_reply(spec.filters.judge))
        rows, bound = _graded(spec, most)
        out.append(_purpose("gate, once per run", llm.judge, rehearsal.gate, asked, asked, reply))
        out.append(_purpose("grades of rows", llm.judge, rehearsal.gate, rows, bound, reply))
    if rehearsal.tags:
        asked, reply = len(rehearsal.tags), estimate_tokens(longest_answer(by_tag(spec)))
        out.append(_purpose("tags of seeds, once per run", llm.judge, rehearsal.tags, asked, asked, reply))
    if rehearsal.critic:
        asked = len(rehearsal.critic) * (rounds - 1)
        reply = estimate_tokens(HINT)
        out.append(_purpose("hints, between rounds", llm.critic, rehearsal.critic, asked, asked, reply))
    if rehearsal.answers:
        asked, reply = _judged_answers(spec), estimate_tokens(example_reply(spec.filters.judge))
        out.append(_purpose("students' answers, at the end", llm.judge, rehearsal.answers, asked, asked, reply))
    return out


def _judged_answers(spec: Spec) -> int:
    """Calls of `evaluate.judge`: every answer once, a part of the labelled ones twice."""
    rule, split = spec.evaluate.judge, spec.data.split
    items = [split.dev, *([split.test] if spec.evaluate.test else [])]
    return len(rule.arms) * sum(size + retested(min(rule.labelled, size)) for size in items) * calls_per_item(spec)


def _graded(spec: Spec, most: Sequence[int]) -> tuple[int, int]:
    """Calls for the rows that the judge grades after the gate, (expected, at most).

    The embedded judge is expected to be refused and to grade the audit's rows; another one to grade as many rows as are
    wanted. At most every candidate comes to the judge, and again in each later round because its label has changed.
    """
    audit, rounds = spec.filters.judge.audit, spec.stop.max_rounds
    expected = (audit if spec.llm.judge.embedded else spec.generate.accepted_per_round) * rounds
    bound = sum(sum(most[: number + 1]) for number in range(rounds))
    each = calls_per_item(spec)
    return each * expected, each * max(bound, audit * rounds * spec.generate.max_waves)


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
