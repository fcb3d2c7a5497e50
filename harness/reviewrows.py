"""The candidates of a finished run as a reviewer judges them, and a stratified sample of them.

Accepted rows are drawn, and a smaller share of dropped ones, so that the filters can be held against a person on both
sides. Every row's chance to be drawn is known. What the filters said of a row is in the sample for the statistics and
must not be shown to the reviewer (`harness.reviewserver` shows `Shown`).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pydantic import ValidationError

from harness.errors import StoreError
from harness.filters.quota import QuotaFilter
from harness.records import Candidate, Decision, Example, Verdict
from harness.reports import RunReport
from harness.store import Store, digest, read_lines

Outcome = Literal["kept", "relabelled", "dropped"]
Band = Literal["no grade", "below the bar", "at the bar or above"]
Key = tuple[str, str, str]
"""Outcome (`accepted`: kept or relabelled), label and band of a stratum; "" where it holds several of these."""
RATERS = ("judge", "consistency", "difficulty")
"""Filters whose scores say how right a row may be; the first that scored most accepted rows is used."""
ACCEPTED_SHARE = 0.7
"""Of the sample: precision is what most people ask for."""
LEAST = 2
"""Rows of each stratum, so that its spread can be told."""
LEVELS: tuple[tuple[str, ...], ...] = (("outcome", "label", "band"), ("outcome", "band"), ("outcome",), ())
"""What strata are made by; the first level at which each can have `LEAST` rows is used."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a reviewer sees of a row: the label (or answer) that it would be trained on, and of its cell all but the
    label that was asked for, which would tell that it was relabelled."""

    id: str
    text: str
    label: str
    answer: str
    context: str
    cell: str


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate with what became of it. `dropped_by` is a filter or "", `grade` the judge's (1 to 5, or a share where
    it compares pairs), `scores` those of `RATERS`, from 0 to 1."""

    shown: Shown
    outcome: Outcome
    dropped_by: str
    grade: float | None
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stratum:
    """`drawn` of `size` rows, known by a `Key`."""

    outcome: str
    label: str
    band: str
    size: int
    drawn: int

    @property
    def accepted(self) -> bool:
        return self.outcome != "dropped"

    @property
    def probability(self) -> float:
        """The chance of each of its rows to be drawn."""
        return self.drawn / self.size


@dataclass(frozen=True, slots=True)
class Item:
    """A drawn row of `strata[stratum]`. `rating` (0 to 1) is what `Sampled.rater` said of it."""

    shown: Shown
    stratum: int
    outcome: Outcome
    dropped_by: str
    grade: float | None
    rating: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """The sample of a run, the same for all reviewers; items in the order in which they are shown.

    `asked` is the number of rows that was asked for; `rated` the mean rating of all accepted rows by `rater`, "" where
    no filter scored most of them. `bar` is the judge's, `noun` what an item is called, `labels` with their
    descriptions; `answers`: the task is to answer in text.
    """

    run: str
    name: str
    asked: int
    seed: int
    noun: str
    labels: Mapping[str, str]
    answers: bool
    bar: float
    strata: tuple[Stratum, ...]
    items: tuple[Item, ...]
    rater: str
    rated: float

    def by_id(self) -> dict[str, Item]:
        return {item.shown.id: item for item in self.items}


def rows_of(report: RunReport, store: Store) -> list[Row]:
    """The candidates that the delivered data set was sieved from, but for those that only the quota left out: nothing
    was said against them. Raises `StoreError` where they are gone."""
    dataset = report.artefacts.get("dataset", "")
    try:
        sieve = store.manifest(dataset).parents["verdicts"]
        parents = store.manifest(sieve).parents
        waves = [store.find(ident) for name, ident in parents.items() if name.startswith("wave ")]
        candidates = [one for wave in waves for one in read_lines(wave / "candidates.jsonl", Candidate)]
        verdicts = read_lines(store.find(sieve) / "verdicts.jsonl", Verdict)
        accepted = {one.id: one for one in read_lines(store.find(sieve) / "accepted.jsonl", Example)}
    except (StoreError, OSError, KeyError, ValidationError) as error:
        raise StoreError(
            f"the candidates of {report.id} cannot be read: {error}. A review needs them and what the filters said: "
            "run the experiment again, what is missing is made anew."
        ) from error
    said: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        said[verdict.candidate].append(verdict)
    cells = {row.cell: row.values for each in report.rounds for row in each.funnel}
    compares = cast("Mapping[str, Any]", report.spec)["filters"]["judge"].get("pairwise") is not None
    rows = [_row(one, said[one.id], accepted.get(one.id), cells, compares=compares) for one in candidates]
    return [row for row in rows if row.dropped_by != QuotaFilter.name]


def _row(
    one: Candidate,
    said: Sequence[Verdict],
    accepted: Example | None,
    cells: Mapping[str, Mapping[str, str]],
    *,
    compares: bool,
) -> Row:
    """`compares`: the judge's scores are shares of pairs (`filters.judge.pairwise`), not grades from 1 to 5."""
    asked = one.example
    final = accepted or replace(
        asked,
        label=next((verdict.label for verdict in reversed(said) if verdict.label), asked.label),
        answer=next((verdict.answer for verdict in reversed(said) if verdict.answer), asked.answer),
    )
    changed = (final.label, final.answer) != (asked.label, asked.answer)
    outcome: Outcome = "dropped" if accepted is None else "relabelled" if changed else "kept"
    by = next((verdict.filter for verdict in said if verdict.decision is Decision.DROP), "")
    scores = {verdict.filter: verdict.score for verdict in said if verdict.score is not None}
    grade = scores.get("judge")
    rated = {name: score for name, score in scores.items() if name in RATERS}
    if grade is not None and not compares:
        rated["judge"] = (grade - 1) / 4
    values = {name: value for name, value in cells.get(one.cell, {}).items() if name != "label"}
    cell = ", ".join(f"{name}={value}" for name, value in values.items())
    shown = Shown(one.id, final.text, final.label, final.answer, final.context, cell)
    return Row(shown, outcome, by, grade, {name: min(1.0, max(0.0, score)) for name, score in rated.items()})


def draw(report: RunReport, rows: Sequence[Row], size: int, seed: int) -> Sampled:
    """A sample of `size` rows, or all of them if there are fewer. Same rows and seed, same sample.

    Within a stratum every k-th row is taken from a random start, the rows in the order of filter, label and cell: each
    has the same chance, and cells get their share. Raises `StoreError` where there are no rows.
    """
    if not rows:
        raise StoreError(f"{report.id} has no candidates, so there is nothing to review.")
    spec = cast("Mapping[str, Any]", report.spec)
    task, bar = spec["task"], float(spec["filters"]["judge"]["min_score"])
    accepted = [row for row in rows if row.outcome != "dropped"]
    rater, rated = _rater(accepted)
    strata: list[Stratum] = []
    items: list[Item] = []
    for side, quota in _sides(accepted, [row for row in rows if row.outcome == "dropped"], size):
        for key, members, drawn in _strata(side, quota, bar):
            ordered = sorted(members, key=lambda row: _place(row, seed))
            items += [
                Item(one.shown, len(strata), one.outcome, one.dropped_by, one.grade, one.scores.get(rater, rated))
                for one in _every(ordered, drawn, random.Random(digest([seed, "start", key])))
            ]
            strata.append(Stratum(*key, len(members), drawn))
    return Sampled(
        run=report.id,
        name=report.name,
        asked=size,
        seed=seed,
        noun=task["noun"],
        labels=dict(task["labels"]),
        answers=bool(task.get("answer")),
        bar=bar,
        strata=tuple(strata),
        items=tuple(sorted(items, key=lambda item: digest([seed, "shown", item.shown.id]))),
        rater=rater,
        rated=rated,
    )


def _rater(accepted: Sequence[Row]) -> tuple[str, float]:
    """(name, mean score) of the filter whose scores stand for all accepted rows; a row without one counts as the
    mean. ("", 0) where none scored most of them."""
    for name in RATERS:
        scores = [row.scores[name] for row in accepted if name in row.scores]
        if scores and 2 * len(scores) >= len(accepted):
            return name, sum(scores) / len(scores)
    return "", 0.0


def _sides(accepted: list[Row], dropped: list[Row], size: int) -> list[tuple[list[Row], int]]:
    """(rows, how many to draw): what one side cannot give the other does."""
    of_accepted = min(len(accepted), max(round(ACCEPTED_SHARE * size), size - len(dropped)))
    return [(accepted, of_accepted), (dropped, min(len(dropped), size - of_accepted))]


def _strata(rows: Sequence[Row], quota: int, bar: float) -> list[tuple[Key, list[Row], int]]:
    """(key, rows, how many to draw) of each stratum, as finely cut as the quota allows; none where it is 0."""
    cuts = (_grouped(rows if quota else (), level, bar) for level in LEVELS)
    enough = (groups for groups in cuts if sum(min(LEAST, len(own)) for own in groups.values()) <= quota)
    groups = next(enough, None) or _grouped(rows if quota else (), LEVELS[-1], bar)
    shares = allot({key: len(own) for key, own in sorted(groups.items())}, quota)
    return [(key, groups[key], share) for key, share in shares.items()]


def _grouped(rows: Sequence[Row], level: Sequence[str], bar: float) -> dict[Key, list[Row]]:
    groups: defaultdict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        groups[_key(row, level, bar)].append(row)
    return groups


def allot(sizes: Mapping[Key, int], quota: int) -> dict[Key, int]:
    """How many of each stratum: `LEAST` of each (all, where there are fewer), the others in proportion to size by the
    method of Sainte-Laguë. Never more than there are.

    >>> allot({("kept", "A", ""): 90, ("kept", "B", ""): 30, ("kept", "C", ""): 1}, 13)
    {('kept', 'A', ''): 9, ('kept', 'B', ''): 3, ('kept', 'C', ''): 1}
    """
    shares = {key: min(LEAST if len(sizes) * LEAST <= quota else 1, size) for key, size in sizes.items()}
    while sum(shares.values()) < min(quota, sum(sizes.values())):
        open_ = [key for key in sizes if shares[key] < sizes[key]]
        shares[max(open_, key=lambda key: sizes[key] / (shares[key] + 0.5))] += 1
    return shares


def _key(row: Row, level: Sequence[str], bar: float) -> Key:
    band: Band = "no grade" if row.grade is None else "below the bar" if row.grade < bar else "at the bar or above"
    side = "dropped" if row.outcome == "dropped" else "accepted"
    return (
        row.outcome if "outcome" in level else side,
        row.shown.label if "label" in level else "",
        band if "band" in level else "",
    )


def _place(row: Row, seed: int) -> tuple[str, ...]:
    return row.dropped_by, row.outcome, row.shown.label, row.shown.cell, digest([seed, "place", row.shown.id])


def _every(rows: Sequence[Row], count: int, generator: random.Random) -> list[Row]:
    """`count` rows at equal steps from a random start (systematic sampling)."""
    step = len(rows) / count
    start = generator.random() * step
    return [rows[min(len(rows) - 1, int(start + place * step))] for place in range(count)]
