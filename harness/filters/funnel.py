"""Send candidates through the filters and count, per cell, what is left after each and why the others went.

Each candidate gets exactly one verdict per filter: once dropped, the later filters abstain ("dropped by …"). So the
counts add up, which `check_conservation` asserts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.filters.base import Context, Filter, Stamp, Standing
from harness.filters.judge import JudgeFilter
from harness.generate.produce import NOT_ASKED
from harness.records import Candidate, Decision, Example, ParseFailure, Quota, Verdict
from harness.reports import FunnelRow

OnFilter = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Sieved:
    """Verdicts of every filter for every candidate, and the candidates that came through, under their final label."""

    verdicts: tuple[Verdict, ...]
    accepted: tuple[Example, ...]


async def sieve(filters: Sequence[Filter], context: Context, on_filter: OnFilter | None = None) -> Sieved:
    """Run `filters` in order over `context.candidates`."""
    standing = [Standing(row, one, one.example.label, one.example.answer) for row, one in enumerate(context.candidates)]
    gone: dict[str, str] = {}
    verdicts: list[Verdict] = []
    for item in filters:
        if on_filter:
            on_filter(item.name, len(standing))
        own = await item(standing, context)
        _check_order(item, standing, own)
        verdicts.extend(own)
        verdicts.extend(
            Stamp(item.name, item.version).abstain(one, f"dropped by {gone[one.id]}")
            for one in context.candidates
            if one.id in gone
        )
        gone |= {verdict.candidate: item.name for verdict in own if verdict.decision is Decision.DROP}
        standing = [
            replace(
                one,
                label=verdict.label or one.label,
                answer=verdict.answer or one.answer,
                grade=verdict.score
                if item.name == JudgeFilter.name and verdict.decision is Decision.KEEP
                else one.grade,
            )
            for one, verdict in zip(standing, own, strict=True)
            if verdict.decision is not Decision.DROP
        ]
    check_conservation(len(filters), context.candidates, verdicts)
    return Sieved(tuple(verdicts), tuple(_accepted(one) for one in standing))


def _accepted(one: Standing) -> Example:
    example = one.candidate.example
    return replace(example, label=one.label, answer=one.answer)


def _check_order(item: Filter, standing: Sequence[Standing], own: Sequence[Verdict]) -> None:
    if [one.candidate.id for one in standing] != [verdict.candidate for verdict in own]:
        raise AssertionError(f"filter {item.name!r} did not give one verdict per candidate, in order")


def check_conservation(filters: int, candidates: Sequence[Candidate], verdicts: Sequence[Verdict]) -> None:
    """Every candidate has exactly one verdict of each filter. Raises AssertionError: a defect, not bad input."""
    per_candidate = Counter(verdict.candidate for verdict in verdicts)
    wrong = [one.id for one in candidates if per_candidate[one.id] != filters]
    if wrong or len(verdicts) != filters * len(candidates):
        raise AssertionError(f"{len(wrong)} candidates lack a verdict or have two, e.g. {wrong[:3]!r}")


def funnel(
    filters: Sequence[Filter],
    planned: Sequence[Quota],
    candidates: Sequence[Candidate],
    failures: Sequence[ParseFailure],
    verdicts: Sequence[Verdict],
) -> tuple[FunnelRow, ...]:
    """One row per cell, sorted by cell id: planned → generated → parsed → one count per filter → accepted.

    What the budget left unasked is planned and never generated.
    """
    values = {quota.cell.id: quota.cell.values for quota in planned}
    counts: dict[str, Counter[str]] = {ident: Counter() for ident in sorted(values)}
    reasons: dict[str, Counter[str]] = {ident: Counter() for ident in values}
    for quota in planned:
        counts[quota.cell.id]["planned"] += quota.candidates
    for failure in failures:
        asked = failure.reason != NOT_ASKED
        counts[failure.cell]["generated"] += asked
        reasons[failure.cell][f"parse: {failure.reason}" if asked else NOT_ASKED] += 1
    for one in candidates:
        counts[one.cell].update(("generated", "parsed"))
    cell_of = {one.id: one.cell for one in candidates}
    dropped: set[str] = set()
    for item in filters:
        for verdict in verdicts:
            if verdict.filter == item.name and verdict.decision is Decision.DROP:
                dropped.add(verdict.candidate)
                reasons[cell_of[verdict.candidate]][f"{item.name}: {verdict.reason}"] += 1
        for one in candidates:
            counts[one.cell][item.name] += one.id not in dropped
    for one in candidates:
        counts[one.cell]["accepted"] += one.id not in dropped
    order = ["planned", "generated", "parsed", *(item.name for item in filters), "accepted"]
    return tuple(
        FunnelRow(ident, values[ident], {name: counts[ident][name] for name in order}, _sorted(reasons[ident]))
        for ident in counts
    )


def _sorted(reasons: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
