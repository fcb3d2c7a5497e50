"""What a report shows of a harvest: the funnel, a few rows of each outcome, and what a person should know."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from itertools import chain

from harness.bench import Harvest, Wave
from harness.filters import enabled
from harness.filters.funnel import funnel
from harness.records import Candidate, Decision, Example, Verdict
from harness.reports import FunnelRow, Sample
from harness.spec import Spec

HIDDEN = "(not shown: it copies a held-out text)"
SAMPLES = 8
"""Rows of each outcome that the report shows."""


def funnel_of(now: Harvest, spec: Spec) -> tuple[FunnelRow, ...]:
    """The funnel over all rounds so far."""
    return funnel(enabled(spec.filters), now.quotas, now.candidates, now.failures, now.sieved.verdicts)


def faults_of(own: Sequence[Wave], now: Harvest, spec: Spec) -> list[str]:
    """What a person should know of a round although it went on: calls that failed, rows that the judge never saw."""
    failed = sum(failure.reason.startswith("call failed") for wave in own for failure in wave.failures)
    found = [f"{failed} answers are missing because their calls failed; the funnel counts them."] if failed else []
    accepted = {example.id for example in now.sieved.accepted}
    ungraded = sum(
        verdict.filter == "judge" and verdict.decision is Decision.ABSTAIN and verdict.candidate in accepted
        for verdict in now.sieved.verdicts
    )
    trusted = any(verdict.filter == "judge" and verdict.decision is Decision.KEEP for verdict in now.sieved.verdicts)
    if ungraded and trusted:
        found.append(f"{ungraded} accepted rows were never graded by the judge; their verdicts say why.")
    if not spec.filters.leakage.enabled:
        found.append("The leakage filter is off: rows that copy dev or test items may be in training.")
    return found


def samples_of(now: Harvest) -> tuple[Sample, ...]:
    """A few candidates of the last round for each outcome (kept, relabelled, dropped by each filter), first by id."""
    newest = now.waves[-1].round if now.waves else 0
    changed = _outcomes(now.sieved.verdicts)
    first: dict[str, list[tuple[str, int]]] = {}
    for row, one in enumerate(now.candidates):
        if one.round >= newest:
            own = first.setdefault(changed.get(one.id, "kept"), [])
            insort(own, (one.id, row))
            del own[SAMPLES:]
    chosen = sorted(chain.from_iterable(first.values()))
    verdicts: dict[str, list[Verdict]] = {ident: [] for ident, _ in chosen}
    for verdict in now.sieved.verdicts:
        if verdict.candidate in verdicts:
            verdicts[verdict.candidate].append(verdict)
    accepted = {example.id: example for example in now.sieved.accepted if example.id in verdicts}
    return tuple(
        _sample(
            now.candidates[row],
            accepted.get(ident),
            tuple(verdicts[ident]),
            hidden=changed.get(ident) == "dropped by leakage",
        )
        for ident, row in chosen
    )


def _sample(one: Candidate, kept: Example | None, verdicts: tuple[Verdict, ...], *, hidden: bool) -> Sample:
    made = one.example
    return Sample(
        HIDDEN if hidden else made.text,
        made.label,
        kept.label if kept else None,
        made.slices,
        verdicts,
        "" if hidden else made.answer,
        (kept.answer or None) if kept else None,
    )


def _outcomes(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Candidate → what became of it, for those that were not kept as they were."""
    found: dict[str, str] = {}
    names: dict[str, str] = {}
    for one in verdicts:
        if one.decision is Decision.DROP:
            if not found.get(one.candidate, "").startswith("dropped"):
                found[one.candidate] = names.setdefault(one.filter, f"dropped by {one.filter}")
        elif one.decision is Decision.RELABEL:
            found.setdefault(one.candidate, "relabelled")
    return found
