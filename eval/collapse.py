"""Is a generator collapsing? Two statistics over generations, judged against what generation 0 does by chance.

    baseline = Baseline.of(batches_of_generation_0, anchors)
    readings = [measure(vectors, anchors, baseline.size) for vectors in later_generations]
    verdict = judge(baseline, readings)

*nnR*, the mean distance of real anchors to their nearest synthetic item, grows when the tails go; *log RKE*, the log of
how many modes there are, falls when what is left sharpens (`eval.diversity`). Baseline: M independent batches of
generation 0, 8 if you can. A value beyond the one-sided t prediction limit sd·√(1/k + 1/M) in collapse's direction
warns, two in succession alarm; `eval.sequential` computes how often a run without change does, and tightens the level
where that would exceed .05. CUSUM and Mann-Kendall stand beside it and never alarm, nor does a move the other way: nnR
falling or log RKE growing is drift, and `notes` says so.

Give it the answers to a *frozen probe*: the same prompts, decoding, length limit and number of items in each
generation, never edited by feedback. On a working set steering itself moves both statistics.

Where generation 0 has fewer than 4 batches, their spread cannot be seen. They are cut at random into parts of one size;
of fewer than 8 parts the spread is worked out from the items by the jackknife: limit z·√(v_g/k + v_0/M). Either way it
is the noise between *items*, sound for a generator that stays the same and for items that do not come in groups (eight
answers to one prompt). What retraining alone would move is in no baseline of one model; give batches of M retrained
models to have it in.

How often unchanged toy runs of 8 generations alarm is measured in `tests/unit/test_collapse_rates.py` and by
`scripts/bench collapse`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from eval.confirm import Confirmation, RareSlices, SliceRecall, confirm_paired, confirm_slices
from eval.course import SIGN, Course, Look, Name, Point, course, figure, remarks
from eval.outcomes import FloatArray, IntArray
from eval.readings import MIN_ANCHORS, MIN_BATCHES, Baseline, Batch, Readings, matched_size, measure, nnr_variance
from eval.sequential import TINY, Rule, prediction_error, run_level, varies

__all__ = [
    "Baseline",
    "Confirmation",
    "Course",
    "Look",
    "RareSlices",
    "Readings",
    "Rule",
    "SliceRecall",
    "Verdict",
    "judge",
    "matched_size",
    "measure",
]

Status = Literal["ok", "warn", "alarm", "insufficient"]
VERBATIM = 1e-3
"""An anchor this near to an item is that item: float32 rows of one text differ by up to 5e-4 here."""
MEANING: dict[Name, str] = {
    "nnR": "Some of what the anchors are about is hardly written any more.",
    "log RKE": "The items crowd together: fewer kinds of them are written.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the detector says after the last generation, and the look that says it.

    `alarm` stays once it was raised; `warn` and `ok` are about the last generation; `insufficient` is never ok. `level`
    is the p that warns, `run_rate` an upper bound on how often a run of this many generations (or as many as planned)
    alarms without any change. `left_out` are positions of anchors that stand verbatim in a generation, `not_judged`
    says why of each generation that was skipped.
    """

    status: Status
    reason: str
    statistic: Name | None = None
    generation: int | None = None
    value: float | None = None
    baseline: float | None = None
    p: float | None = None
    effect: float | None = None
    first_warning: int | None = None
    first_alarm: int | None = None
    level: float | None = None
    run_rate: float | None = None
    generations: int = 0
    batches: int = 0
    size: int = 0
    anchors: int = 0
    left_out: tuple[int, ...] = ()
    courses: tuple[Course, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()
    slices: tuple[SliceRecall, ...] = ()
    not_judged: Mapping[int, str] = field(default_factory=dict[int, str])
    notes: tuple[str, ...] = ()


def judge(
    baseline: Baseline,
    generations: Sequence[Readings],
    *,
    rule: Rule = Rule(),  # noqa: B008 - frozen
    nll: FloatArray | None = None,
    entropy: FloatArray | None = None,
    slices: RareSlices | None = None,
) -> Verdict:
    """The verdict after the last of `generations`, which follow generation 0 in order and were measured at the
    baseline's size against its anchors.

    `nll` and `entropy` confirm: one row per real anchor (any anchors), one column per generation, 0 first; NaN where an
    item failed. `slices` are rare groups of anchors named beforehand. None of the three changes the status. Raises
    ValueError where readings and baseline have other anchors or numbers of columns.
    """
    skipped = {place: _why(one) for place, one in enumerate(generations, start=1) if not one.batches}
    verdict = _verdict(baseline, generations, rule)
    verdict = replace(
        verdict,
        generations=len(generations) + 1,
        not_judged=skipped,
        notes=_notes(verdict, baseline, skipped),
    )
    first = verdict.first_alarm if verdict.first_alarm is not None else verdict.first_warning
    confirmations = [
        confirm_paired(name, values, len(generations) + 1, first, rule.level)
        for name, values in (("real NLL", nll), ("anchor entropy", entropy))
        if values is not None
    ]
    recalls: tuple[SliceRecall, ...] = ()
    if slices is not None:
        recalled, recalls = confirm_slices(slices, baseline, generations, verdict.left_out, first)
        confirmations.append(recalled)
    return replace(verdict, confirmations=tuple(confirmations), slices=recalls)


def _verdict(baseline: Baseline, generations: Sequence[Readings], rule: Rule) -> Verdict:
    """The verdict by the two statistics alone."""
    if baseline.why:
        return Verdict("insufficient", baseline.why)
    if not generations:
        return Verdict("insufficient", "There is one generation; collapse can be seen from 2 on.")
    judged = [(place, one) for place, one in enumerate(generations, start=1) if one.batches]
    if not judged:
        return Verdict("insufficient", f"No generation after the first can be judged: {_why(generations[-1])}.")
    usable, left_out = _anchors([*baseline.batches, *(batch for _, one in judged for batch in one.batches)])
    samples = {place: _samples(one.batches, usable, baseline.size) for place, one in judged}
    base = _samples(baseline.batches, usable, baseline.size)
    why = {name: _why_not(base[name], name, baseline, usable) for name in SIGN}
    able = [name for name in SIGN if not why[name]]
    if not able:
        reasons = "; ".join(f"{name}: {why[name]}" for name in SIGN)
        return Verdict("insufficient", f"No statistic can be judged; {reasons}.", left_out=left_out)
    df = math.inf if baseline.by_items else len(baseline.batches) - 1
    parts = tuple(len(one.batches) for _, one in judged)
    level, bound = run_level(rule, len(baseline.batches), parts, df, len(able))

    def one_course(name: Name) -> Course:
        if why[name]:
            return Course(name, None, (), why=why[name])
        now = [(place, samples[place][name]) for place, _ in judged]
        error = error_by_items if baseline.by_items else error_by_batches
        points = [Point(place, float(one.values.mean()), error(base[name], one)) for place, one in now]
        # Generation 0 enters the trend with as many batches as generation 1, so that it varies as much.
        start = float(base[name].values[: parts[0]].mean())
        return course(name, float(base[name].values.mean()), start, points, df, level, rule)

    courses = tuple(one_course(name) for name in SIGN)
    return replace(
        _told(courses, generations),
        courses=courses,
        level=level,
        run_rate=bound,
        batches=len(baseline.batches),
        size=baseline.size,
        anchors=len(usable),
        left_out=left_out,
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """One statistic in the batches of a generation: values and their variances from the items, both of shape (k,)."""

    values: FloatArray
    variances: FloatArray


def error_by_batches(base: Sample, now: Sample) -> float:
    return prediction_error(len(now.values), base.values.tolist())


def error_by_items(base: Sample, now: Sample) -> float:
    return math.sqrt(
        float(base.variances.mean()) / len(base.variances) + float(now.variances.mean()) / len(now.variances)
    )


def _why(one: Readings) -> str:
    return one.why or "no items"


def _anchors(batches: Sequence[Batch]) -> tuple[IntArray, tuple[int, ...]]:
    """Positions of the anchors that count, and of those that stand verbatim in a batch: their distance of 0 says that
    they were copied, in one generation perhaps and not in the next, and nothing of what else is covered."""
    counts = {len(batch.nearest) for batch in batches}
    if len(counts) > 1:
        raise ValueError(
            f"judge: distances to {sorted(counts)!r} anchors; measure all generations against the same ones"
        )
    copied = np.array([batch.nearest for batch in batches]).min(axis=0) < VERBATIM
    return np.flatnonzero(~copied).astype(np.int64), tuple(int(one) for one in np.flatnonzero(copied))


def _samples(batches: Sequence[Batch], usable: IntArray, size: int) -> dict[Name, Sample]:
    """Both statistics by batch; nnR without anchors is empty."""
    near = np.array([batch.nearest for batch in batches])[:, usable]
    return {
        "nnR": Sample(near.mean(axis=1), np.array([nnr_variance(batch, usable, size) for batch in batches]))
        if len(usable)
        else Sample(np.zeros(0), np.zeros(0)),
        "log RKE": Sample(
            np.array([batch.log_rke for batch in batches]), np.array([batch.variance for batch in batches])
        ),
    }


def _why_not(base: Sample, name: Name, baseline: Baseline, usable: IntArray) -> str:
    """Why a statistic cannot be judged, "" where it can."""
    given = len(baseline.batches[0].nearest)
    if name == "nnR" and not given:
        return "there are no anchors"
    if name == "nnR" and len(usable) < MIN_ANCHORS:
        return f"{len(usable)} of {given} anchors do not stand verbatim in a generation; {MIN_ANCHORS} are needed"
    if baseline.by_items:
        return "" if float(base.variances.mean()) > TINY**2 else "the items of generation 0 do not differ"
    return "" if varies(base.values.tolist()) else "the batches of generation 0 do not differ"


def _told(courses: Sequence[Course], generations: Sequence[Readings]) -> Verdict:
    """Status, reason and the look that gives them."""
    last = len(generations)
    warned = min((one.first_warning for one in courses if one.first_warning is not None), default=None)
    alarmed = min((one.first_alarm for one in courses if one.first_alarm is not None), default=None)
    speaking = [one for one in courses if alarmed is None or one.first_alarm == alarmed]
    shown = last if alarmed is None else alarmed
    looks = [(look, one) for one in speaking for look in one.looks if look.generation == shown]
    if not looks:
        why = f"The last generation ({last}) cannot be judged: {_why(generations[-1])}."
        return Verdict("insufficient", why, first_warning=warned)
    look, found = min(looks, key=lambda pair: pair[0].p)
    status: Status = "alarm" if alarmed is not None else "warn" if look.beyond else "ok"
    return Verdict(
        status,
        _reason(status, look, found, courses),
        statistic=found.statistic,
        generation=look.generation,
        value=look.value,
        baseline=found.baseline,
        p=look.p,
        effect=look.effect,
        first_warning=warned,
        first_alarm=alarmed,
    )


def _reason(status: Status, look: Look, found: Course, courses: Sequence[Course]) -> str:
    if status == "warn":
        return f"{figure(found, look)}: beyond the limit. A second generation in succession would alarm."
    if status == "ok":
        which = "Neither statistic is" if all(one.looks for one in courses) else "The one statistic to be had is not"
        return f"{which} beyond its limit in the last generation; nearest to it: {figure(found, look)}."
    said = [f"{figure(found, look)}: beyond the limit twice in succession. {MEANING[found.statistic]}"]
    said += [
        f"{one.statistic} alarms too, from generation {one.first_alarm} on."
        for one in courses
        if one is not found and one.first_alarm is not None
    ]
    if not any(one.looks[-1].beyond for one in courses if one.looks):
        said.append("In the last generation it is back within the limit.")
    return " ".join(said)


def _notes(verdict: Verdict, baseline: Baseline, skipped: Mapping[int, str]) -> tuple[str, ...]:
    said = [line for one in verdict.courses for line in remarks(one)]
    said += [f"Generation {place} is not judged: {why}." for place, why in skipped.items()]
    if verdict.left_out:
        said.append(
            f"{len(verdict.left_out)} of {verdict.anchors + len(verdict.left_out)} anchors stand verbatim in a "
            "generation and are left out of nnR in all of them."
        )
    if baseline.cut and verdict.courses:
        said.append(
            f"Generation 0 has fewer than {MIN_BATCHES} batches of its own, too few to see how much they vary, so the "
            "limits hold the noise between items only. Eight independent batches would be better."
        )
    if verdict.first_warning is not None and verdict.status == "ok":
        said.append(f"Generation {verdict.first_warning} was beyond a limit once.")
    return tuple(said)
