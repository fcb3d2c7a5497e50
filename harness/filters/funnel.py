"""Send candidates through the filters and count, per cell, what is left after each and why the others went.

Each candidate gets exactly one verdict per filter: once dropped, the later filters abstain ("dropped by …"). So the
counts add up, which `check_conservation` asserts.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from harness.filters.base import Context, Filter, Stamp, Standing
from harness.filters.judge import JudgeFilter
from harness.generate.produce import NOT_ASKED
from harness.lines import Kept, Rows
from harness.records import Candidate, Decision, Example, ParseFailure, Quota, Verdict
from harness.reports import FunnelRow

OnFilter = Callable[[str, int], None]
_Changed = tuple[str, str, float | None]


@dataclass(frozen=True, slots=True)
class Sieved:
    """Verdicts of every filter for every candidate, and the candidates that came through, under their final label."""

    verdicts: Sequence[Verdict]
    accepted: Sequence[Example]


class _Standing(Rows[Standing]):
    """The candidates that are still in, each made when it is looked at. `changed` holds label, answer and grade of the
    rows that filters gave others."""

    def __init__(self, candidates: Sequence[Candidate], rows: Sequence[int], changed: Mapping[int, _Changed]) -> None:
        self._candidates = candidates
        self.rows = rows
        self.changed = changed

    def __len__(self) -> int:
        return len(self.rows)

    def _at(self, place: int) -> Standing:
        row = self.rows[place]
        one = self._candidates[row]
        return Standing(row, one, *self.changed.get(row, (one.example.label, one.example.answer, None)))


class _Accepted(Rows[Example]):
    """What came through, under the label and with the answer that it has in the end."""

    def __init__(self, standing: Sequence[Standing]) -> None:
        self._standing = standing

    def __len__(self) -> int:
        return len(self._standing)

    def _at(self, place: int) -> Example:
        one = self._standing[place]
        return replace(one.candidate.example, label=one.label, answer=one.answer)


async def sieve(
    filters: Sequence[Filter],
    context: Context,
    on_filter: OnFilter | None = None,
    kept: Kept[Verdict] | None = None,
) -> Sieved:
    """Run `filters` in order over `context.candidates`. Verdicts go to `kept` if there is one, else into memory."""
    candidates = context.candidates
    ids = array("q", (hash(one.id) for one in candidates))
    standing = _Standing(candidates, range(len(ids)), {})
    verdicts: Kept[Verdict] | list[Verdict] = [] if kept is None else kept
    judged = array("q")
    # The place of the filter that dropped a row, −1 where none has.
    gone = np.full(len(ids), -1, np.int16)
    for place, item in enumerate(filters):
        if on_filter:
            on_filter(item.name, len(standing))
        left, changed = array("q"), dict(standing.changed)
        for row, verdict in _in_order(item, standing.rows, await item(standing, context), ids):
            verdicts.append(verdict)
            judged.append(hash(verdict.candidate))
            if verdict.decision is Decision.DROP:
                gone[row] = place
                changed.pop(row, None)
                continue
            left.append(row)
            if verdict.label or verdict.answer or item.name == JudgeFilter.name:
                changed[row] = _change(changed.get(row), candidates[row].example, verdict)
        stamp = Stamp(item.name, item.version)
        for row in np.flatnonzero((gone >= 0) & (gone < place)).tolist():
            verdict = stamp.abstain(candidates[row], f"dropped by {filters[gone[row]].name}")
            verdicts.append(verdict)
            judged.append(hash(verdict.candidate))
        standing = _Standing(candidates, left, changed)
    check_conservation(len(filters), candidates, judged)
    return Sieved(tuple(verdicts) if kept is None else kept, _Accepted(standing))


def _in_order(
    item: Filter, rows: Sequence[int], own: Iterable[Verdict], ids: Sequence[int]
) -> Iterator[tuple[int, Verdict]]:
    """A filter's verdicts with the rows that they are about. Raises AssertionError where it owes one or has others."""
    for row, verdict in zip_longest(rows, own):
        if row is None or verdict is None or hash(verdict.candidate) != ids[row]:
            raise AssertionError(f"filter {item.name!r} did not give one verdict per candidate, in order")
        yield row, verdict


def _change(before: _Changed | None, example: Example, verdict: Verdict) -> _Changed:
    """Label, answer and grade after a verdict that kept the row. A grade is that of the judge's, where it keeps."""
    label, answer, grade = before or (example.label, example.answer, None)
    graded = verdict.filter == JudgeFilter.name and verdict.decision is Decision.KEEP
    return verdict.label or label, verdict.answer or answer, verdict.score if graded else grade


def check_conservation(filters: int, candidates: Sequence[Candidate], judged: Sequence[int]) -> None:
    """Every candidate has exactly one verdict of each filter; `judged` are the hashes of the ids that verdicts are
    about. Raises AssertionError: a defect, not bad input."""
    ids = np.sort(np.fromiter((hash(one.id) for one in candidates), np.int64, len(candidates)))
    said = np.sort(np.array(judged, dtype=np.int64))
    if np.array_equal(np.repeat(ids, filters), said) and bool((ids[1:] != ids[:-1]).all()):
        return
    per_candidate = Counter(said.tolist())
    wrong = [one.id for one in candidates if per_candidate[hash(one.id)] != filters]
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
    dropped = _dropped(filters, verdicts)
    for one in candidates:
        place, reason = dropped.get(one.id, (len(filters), ""))
        if reason:
            reasons[one.cell][reason] += 1
        counts[one.cell].update(item.name for item in filters[:place])
        counts[one.cell]["accepted"] += not reason
    order = ["planned", "generated", "parsed", *(item.name for item in filters), "accepted"]
    return tuple(
        FunnelRow(ident, values[ident], {name: counts[ident][name] for name in order}, _sorted(reasons[ident]))
        for ident in counts
    )


def _dropped(filters: Sequence[Filter], verdicts: Sequence[Verdict]) -> dict[str, tuple[int, str]]:
    """Candidate → the place of the filter that dropped it, and why in words."""
    places = {item.name: place for place, item in enumerate(filters)}
    # Words and numbers are in memory once, however many rows go for one reason.
    words: dict[tuple[str, str], tuple[int, str]] = {}
    return {
        one.candidate: words.setdefault((one.filter, one.reason), (places[one.filter], f"{one.filter}: {one.reason}"))
        for one in verdicts
        if one.decision is Decision.DROP and one.filter in places
    }


def _sorted(reasons: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
