"""From the dev report to the next plan. Only aggregates cross: rates, confused pairs, attribute values. Never a text.

What may be done with them are the policies of `harness/generate/policies.py`. An exploration share stays on the static
plan, so that steering does not itself narrow coverage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from harness.generate.covering import Combination, combinations_of
from harness.generate.matrix import deal
from harness.generate.policies import POLICIES, Evidence, Steering
from harness.generate.rates import dev_report, shuffled
from harness.llm.client import Llm
from harness.records import DevReport, Plan
from harness.spec import Spec
from harness.store import digest

VERSION = 3
"""Raise when the same report would give another plan."""
FIRST = "The first round follows the matrix as the spec weighs it."
STATIC = "Feedback is off: the plan is the static one again."
NOTHING = "The dev report gave the policies nothing to act on: the plan is the static one again."


def first_plan(spec: Spec, parents: Sequence[str]) -> Plan:
    """Round 1: the matrix as the spec weighs it."""
    steering = _static(spec)
    quotas = deal(planned(spec), spec.generate.samples_per_call, steering.labels, spec.matrix, _random(spec, 1))
    return Plan(1, quotas, (), tuple(parents), (FIRST,))


def planned(spec: Spec) -> int:
    """Candidates of a round's first wave; whole calls that stay within `max_candidates`."""
    rule = spec.generate
    wanted = round(rule.accepted_per_round * rule.over_generation)
    if rule.max_candidates is None or wanted <= rule.max_candidates - rule.max_candidates % rule.samples_per_call:
        return wanted
    return rule.max_candidates - rule.max_candidates % rule.samples_per_call


async def next_plan(
    report: DevReport,
    spec: Spec,
    round_: int,
    parents: Sequence[str],
    llm: Llm,
    overlap: Callable[[str], str],
    *,
    wrong_names: bool = False,
    earlier: Sequence[Plan] = (),
) -> Plan:
    """The plan of the next round, with `changes` in words. `overlap` names the held-out text a hint resembles, or "".

    What the `earlier` plans of a covering design (`matrix.cover`) left out comes first. `wrong_names` gives the
    policies the report with its slice names permuted, for the control *shuffled*. Raises `LeakageError` for a report
    that is not on dev.
    """
    report = dev_report(report)
    if wrong_names:
        report = shuffled(report, digest([spec.seed, "shuffled", round_]))
    evidence = Evidence(report, spec, llm, overlap)
    steering = _static(spec)
    for name, policy in POLICIES.items():
        if name in spec.feedback.policies:
            steering = await policy(evidence, steering)
    quotas = deal(
        planned(spec),
        spec.generate.samples_per_call,
        steering.labels,
        steering.matrix,
        _random(spec, round_),
        _combinations(earlier, spec.matrix.cover),
    )
    return Plan(
        round_,
        quotas,
        steering.guidance,
        tuple(parents),
        steering.changes or ((NOTHING if spec.feedback.policies else STATIC),),
        tuple(name for name in POLICIES if name in spec.feedback.policies),
        steering.shots,
        steering.channel,
        steering.surplus,
    )


def _combinations(plans: Sequence[Plan], strength: int) -> set[Combination]:
    cells = {quota.cell.id: quota.cell.values for plan in plans for quota in plan.quotas}
    return {one for values in cells.values() for one in combinations_of(values, strength)}


def static_labels(spec: Spec) -> dict[str, float]:
    """Weight of each label as the spec has it."""
    return {label: spec.matrix.label_weights.get(label, 1.0) for label in spec.task.labels}


def _static(spec: Spec) -> Steering:
    return Steering(static_labels(spec), spec.matrix)


def _random(spec: Spec, round_: int) -> random.Random:
    return random.Random(digest([spec.seed, "plan", round_]))
