"""What a round still asks for after a wave: how many of a cell's candidates come through is learnt while a run draws,
and the next wave asks for as many more as the missing rows take.

A cell has few candidates, so its yield is drawn towards its label's and that towards the whole run's (empirical Bayes
with a fixed prior weight, as for the error rates of `harness.generate.rates`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from harness.bench import Harvest
from harness.generate.matrix import apportion
from harness.records import Cell, Plan, Quota
from harness.spec import Spec
from harness.store import digest

PRIOR = 16
"""Weight of what is known of the wider group, in candidates."""
LEAST = 0.05
"""A yield is never taken for less: 20 candidates a row at most."""


def missing_rows(plan: Plan, now: Harvest, waves: int, drawn: int, spec: Spec) -> tuple[Quota, ...]:
    """The next wave's quotas after `waves` of this round, none where target or cap is reached."""
    rule = spec.generate
    missing = rule.accepted_per_round * plan.round - len(now.sieved.accepted)
    left = None if rule.max_candidates is None else rule.max_candidates - drawn
    if missing <= 0 or waves >= rule.max_waves or (left is not None and left <= 0):
        return ()
    return refill(plan, now, missing, spec, left)


def refill(plan: Plan, now: Harvest, missing: int, spec: Spec, left: int | None) -> tuple[Quota, ...]:
    """Quotas for the missing rows by the yield of each cell so far, in whole calls within `left`, the candidates that
    the cap still allows; none where it allows no call. Cells that have fewer rows than the plan wants come first."""
    wanted = _wanted(plan, now, spec)
    found = yields(now)
    needed = {quota.cell.id: wanted[quota.cell.id] / found(quota.cell) for quota in plan.quotas}
    per_call = spec.generate.samples_per_call
    calls = max(1, round(missing * sum(needed.values()) / sum(wanted.values()) / per_call))
    calls = calls if left is None else min(calls, left // per_call)
    # In thousandths of a candidate: only the proportions count.
    weighed = (replace(quota, candidates=round(1000 * needed[quota.cell.id])) for quota in plan.quotas)
    own = tuple(quota for quota in weighed if quota.candidates)
    return spread(replace(plan, quotas=own), calls, spec, len(now.waves))


def _wanted(plan: Plan, now: Harvest, spec: Spec) -> dict[str, float]:
    """Cell → rows that it lacks of its share of the plan; the whole share of each where none lacks any."""
    have = Counter(row.candidate.cell for row in now.accepted() if row.candidate.round == plan.round)
    share = spec.generate.accepted_per_round / plan.candidates
    lacking = {quota.cell.id: max(0.0, share * quota.candidates - have[quota.cell.id]) for quota in plan.quotas}
    # Less than a thousandth of a row is what division leaves, not a row that is missing.
    if max(lacking.values()) < 1e-3:
        return {quota.cell.id: share * quota.candidates for quota in plan.quotas}
    return lacking


def spread(plan: Plan, calls: int, spec: Spec, waves: int) -> tuple[Quota, ...]:
    """So many calls more of a plan: labels as the plan weighs them, then cells drawn at random.

    `waves` is the number of waves before this one.
    """
    per_call = spec.generate.samples_per_call
    generator = random.Random(digest([spec.seed, "refill", plan.round, waves]))
    labels = sorted({quota.cell.label for quota in plan.quotas})
    weights = {
        label: float(sum(quota.candidates for quota in plan.quotas if quota.cell.label == label))
        for label in generator.sample(labels, len(labels))
    }
    shares: dict[str, int] = {}
    for label, share in apportion(calls, weights).items():
        own = [quota for quota in plan.quotas if quota.cell.label == label]
        # Most cells weigh the same, and the rounding must not always go to those that come first.
        mixed = generator.sample(own, len(own))
        shares |= apportion(share, {quota.cell.id: float(quota.candidates) for quota in mixed})
    return tuple(Quota(quota.cell, shares[quota.cell.id] * per_call) for quota in plan.quotas if shares[quota.cell.id])


def yields(now: Harvest) -> Callable[[Cell], float]:
    """Cell → the share of its candidates that is expected to come through, `LEAST` to 1.

    What the budget left unasked counts as drawn: it was planned, and asking for more would not help.
    """
    label_of = {quota.cell.id: quota.cell.values["label"] for quota in now.quotas}
    drawn: Counter[str] = Counter()
    for quota in now.quotas:
        drawn[quota.cell.id] += quota.candidates
    passed = Counter(row.candidate.cell for row in now.accepted())
    drawn_label, passed_label = _by_label(drawn, label_of), _by_label(passed, label_of)
    overall = max(len(now.sieved.accepted) / max(1, drawn.total()), LEAST)

    def expected(cell: Cell) -> float:
        label = cell.values["label"]
        wider = (passed_label[label] + PRIOR * overall) / (drawn_label[label] + PRIOR)
        return max(LEAST, (passed[cell.id] + PRIOR * wider) / (drawn[cell.id] + PRIOR))

    return expected


def _by_label(of_cell: Counter[str], label_of: dict[str, str]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for cell, count in of_cell.items():
        sums[label_of[cell]] += count
    return sums
