"""What the reviews of a run say: how much of the accepted set is right, what the filters lost, how far reviewers agree.

A row is right when the reviewer accepts it; one that is rejected or gets another label would have been trained on
wrongly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from eval.intervals import insufficient
from eval.powered import Powered
from eval.survey import Strata, powered_share, stratified_share
from eval.worth import kappa
from harness.frames import frame
from harness.humanlabels import DECISIONS
from harness.pages import interval
from harness.records import Estimate
from harness.reviewrows import Item, Sampled
from harness.reviews import Desk, Review

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Opinion:
    """One reviewer. `precision` is the share of all accepted rows that is right, from the accepted rows that they
    decided on; `powered` the same with the help of `Sampled.rater`, None where no filter rated most rows. `lost` is the
    share of dropped rows that is right, `dropped_right[filter]` = (right, decided) of those. `judge` is Cohen's κ of
    the judge's verdict with the reviewer's, over rows that have both."""

    reviewer: str
    words: Mapping[str, int]
    precision: Estimate
    powered: Powered | None
    lost: Estimate
    dropped_right: Mapping[str, tuple[int, int]]
    judge: Estimate


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cohen's κ of two reviewers over the rows that both decided: of right or not, and of the whole decision with the
    other label."""

    a: str
    b: str
    right: Estimate
    decision: Estimate


@dataclass(frozen=True, slots=True)
class Summary:
    sample: Sampled
    opinions: tuple[Opinion, ...]
    agreements: tuple[Agreement, ...]


def summarise(desk: Desk) -> Summary:
    """The figures of all reviewers who have decided anything. Raises `StoreError`."""
    decided = {name: own for name in desk.reviewers() if (own := desk.decided(name))}
    return Summary(
        desk.sample,
        tuple(_opinion(name, own, desk.sample) for name, own in decided.items()),
        tuple(_agreement(a, b, decided[a], decided[b]) for a, b in combinations(decided, 2)),
    )


def _opinion(reviewer: str, decided: Mapping[str, Review], sample: Sampled) -> Opinion:
    said = [(item, decided[item.shown.id].decision == "accept") for item in sample.items if item.shown.id in decided]
    accepted = [(item, right) for item, right in said if sample.strata[item.stratum].accepted]
    dropped = [(item, right) for item, right in said if not sample.strata[item.stratum].accepted]
    right_of = Counter(item.dropped_by for item, right in dropped if right)
    seen_of = Counter(item.dropped_by for item, _ in dropped)
    graded = [(item.grade >= sample.bar, right) for item, right in said if item.grade is not None]
    return Opinion(
        reviewer=reviewer,
        words=Counter(one.decision for one in decided.values()),
        precision=_share(accepted, sample, accepted_side=True),
        powered=_powered(accepted, sample),
        lost=_share(dropped, sample, accepted_side=False),
        dropped_right={name: (right_of[name], count) for name, count in sorted(seen_of.items())},
        judge=kappa([said for said, _ in graded], [right for _, right in graded]),
    )


def _share(said: Sequence[tuple[Item, bool]], sample: Sampled, *, accepted_side: bool) -> Estimate:
    places, design = _design(sample, accepted_side=accepted_side)
    if not design.sizes:
        return insufficient("no such rows in the sample", 0)
    return stratified_share([float(right) for _, right in said], [places[item.stratum] for item, _ in said], design)


def _powered(said: Sequence[tuple[Item, bool]], sample: Sampled) -> Powered | None:
    places, design = _design(sample, accepted_side=True)
    if not sample.rater or not design.sizes:
        return None
    return powered_share(
        [float(right) for _, right in said],
        [places[item.stratum] for item, _ in said],
        design,
        [item.rating for item, _ in said],
        sample.rated,
    )


def _design(sample: Sampled, *, accepted_side: bool) -> tuple[dict[int, int], Strata]:
    """Number in the sample → number in the design, and the design of one side."""
    own = [place for place, one in enumerate(sample.strata) if one.accepted == accepted_side]
    strata = [sample.strata[place] for place in own]
    design = Strata(tuple(one.size for one in strata), tuple(one.drawn for one in strata))
    return {place: number for number, place in enumerate(own)}, design


def _agreement(a: str, b: str, of_a: Mapping[str, Review], of_b: Mapping[str, Review]) -> Agreement:
    both = [(of_a[ident], of_b[ident]) for ident in of_a if ident in of_b]
    right = kappa([one.decision == "accept" for one, _ in both], [other.decision == "accept" for _, other in both])
    return Agreement(a, b, right, kappa([_whole(one) for one, _ in both], [_whole(other) for _, other in both]))


def _whole(one: Review) -> str:
    return f"{one.decision} {one.new_label.casefold()}"


def summary_lines(found: Summary) -> list[str]:
    """Sentences for the terminal, one figure each."""
    sample = found.sample
    (kept, of_kept), (gone, of_gone) = (_counts(sample, accepted=side) for side in (True, False))
    lines = [
        f"{sample.name} ({sample.run}): a sample of {kept} of {of_kept:,} accepted and {gone} of {of_gone:,} dropped "
        f"rows, seed {sample.seed}, in {len(sample.strata)} strata"
    ]
    for one in found.opinions:
        lines += _opinion_lines(one, found.sample)
    for pair in found.agreements:
        lines += [
            f"{pair.a} and {pair.b}: κ {interval(pair.right, 'number')} of right or not over {pair.right.n} rows that "
            f"both decided, κ {interval(pair.decision, 'number')} of the whole decision"
        ]
    return lines if found.opinions else [*lines, "nobody has decided anything yet"]


def _counts(sample: Sampled, *, accepted: bool) -> tuple[int, int]:
    """Rows drawn, and rows there are, of one side."""
    own = [one for one in sample.strata if one.accepted is accepted]
    return sum(one.drawn for one in own), sum(one.size for one in own)


def _opinion_lines(one: Opinion, sample: Sampled) -> list[str]:
    of_kept, of_gone = (_counts(sample, accepted=side)[1] for side in (True, False))
    words = ", ".join(f"{one.words.get(word, 0)} {word}" for word in DECISIONS)
    lines = [
        f"{one.reviewer}: {sum(one.words.values())} of {len(sample.items)} rows decided ({words})",
        f"  precision of the accepted set: {interval(one.precision)}, n = {one.precision.n} of {of_kept:,}"
        f"{_note(one.precision)}",
    ]
    if one.powered is not None:
        score = one.powered.score
        lines.append(
            f"  with the ratings of {sample.rater} for all of it: {interval(score)}, λ = {one.powered.weight:.2f}"
            f"{_note(score)}"
        )
    by = "; ".join(f"{name or 'no filter'} {right} of {n}" for name, (right, n) in one.dropped_right.items())
    lines.append(
        f"  right among the dropped: {interval(one.lost)}, n = {one.lost.n} of {of_gone:,}{f' ({by})' if by else ''}"
    )
    if one.judge.n:
        lines.append(f"  the judge with {one.reviewer}: κ {interval(one.judge, 'number')}, n = {one.judge.n}")
    return lines


def _note(found: Estimate) -> str:
    return f" ({found.note})" if found.note and found.value is not None else ""


def summary_frame(found: Summary) -> pd.DataFrame:
    """A row for each reviewer: counts, precision of the accepted set by their labels alone and with ratings, the share
    of right rows among the dropped, κ of the judge with them; ends of intervals beside each."""
    return frame(
        (
            {"reviewer": one.reviewer, "decided": sum(one.words.values()), **{word: one.words.get(word, 0) for word in
             DECISIONS}, "n": one.precision.n, **_ends("precision", one.precision),
             **_ends("powered", one.powered.score if one.powered else None), **_ends("lost", one.lost),
             **_ends("judge_kappa", one.judge)}
            for one in found.opinions
        ),
        "reviewer",
    )  # fmt: skip


def _ends(name: str, found: Estimate | None) -> dict[str, object]:
    ends = (None, None, None) if found is None else (found.value, found.low, found.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def review_frame(desk: Desk) -> pd.DataFrame:
    """A row for each row and reviewer who decided on it or left a note: what was shown, what they said, and what the
    run had made of it (`outcome`, `dropped_by`, the judge's `grade`); `probability` is its chance to be drawn."""
    sample, items = desk.sample, desk.sample.by_id()
    return frame(
        (
            {"id": ident, "reviewer": name, "decision": one.decision, "new_label": one.new_label, "note": one.note,
             "at": one.at, "text": item.shown.text, "label": item.shown.label, "answer": item.shown.answer,
             "outcome": item.outcome, "dropped_by": item.dropped_by, "grade": item.grade,
             "probability": sample.strata[item.stratum].probability}
            for name in desk.reviewers() for ident, one in desk.read(name).items() for item in (items[ident],)
        ),
        ["id", "reviewer"],
    )  # fmt: skip
