"""Reports as pandas data frames: one row per arm, round, slice, cell or variant; shares are fractions of 1.

An estimate becomes the columns `x`, `x_low` and `x_high`: the value and the ends of its 95 % interval, NaN where it
cannot be had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from eval.intervals import Pooled
from harness.ablationreport import Ablation
from harness.comparewords import verdict_word
from harness.comparison import Comparison as SuiteComparison
from harness.comparison import Line
from harness.coverage import coverage_of
from harness.records import Comparison, Cost, Estimate, Example, Prediction, SliceScore
from harness.reports import RunReport

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, object]


def frame(rows: Iterable[Row], index: str | list[str] | None = None) -> pd.DataFrame:
    """The rows as a data frame; `index` names the columns that a row is known by. None becomes NaN in numbers."""
    import pandas as pd

    found = pd.DataFrame(list(rows))
    return found if index is None or found.empty else found.set_index(index)


def scores(report: RunReport) -> pd.DataFrame:
    """By arm: `n`, training rows and every score on the sealed test; on dev of the best round where the test stays
    sealed (`role` says which)."""
    best = next((each.dev for each in report.rounds if each.is_best), {})
    return frame(
        (
            {"arm": arm, "role": scored.role.value, "n": scored.n, "training_rows": report.training_rows.get(arm)}
            | _flat(scored.scores)
            for arm, scored in (report.test or best).items()
        ),
        "arm",
    )


def comparisons(report: RunReport) -> pd.DataFrame:
    """Paired differences of two arms on the same test items, with p-values and what could have been detected."""
    return frame((_difference(one) for one in report.comparisons), ["a", "b", "metric"])


def gaps(report: RunReport) -> pd.DataFrame:
    """The three synthetic-vs-real gaps by round, on dev; the last row, round `final`, is on the sealed test."""
    rows: list[Row] = [{"round": each.round, **_gap_columns(each.gap)} for each in report.rounds]
    return frame([*rows, *([{"round": "final", **_gap_columns(report.gap)}] if report.test else [])], "round")


def rounds(report: RunReport) -> pd.DataFrame:
    """By round: planned, generated, parsed and accepted candidates, dev scores of `mixed`, gain over the best round
    before, calls, money and seconds by kind of stage."""
    return frame(
        (
            {
                "round": each.round,
                "planned": each.planned,
                "generated": each.generated,
                "parsed": each.parsed,
                "accepted": each.accepted,
                "accepted_total": each.accepted_total,
                "best": each.is_best,
                **(_flat(each.dev["mixed"].scores) if "mixed" in each.dev else {}),
                **_columns("gain", each.gain.difference if each.gain else None),
                **asdict(each.cost),
                **{f"seconds_{kind}": spent for kind, spent in each.seconds.items()},
            }
            for each in report.rounds
        ),
        "round",
    )


def slices(report: RunReport, arm: str = "mixed") -> pd.DataFrame:
    """Accuracy of an arm per slice of real items: by round on dev, and `final` on the sealed test."""
    found: list[tuple[object, Sequence[SliceScore]]] = [
        (each.round, each.dev[arm].slices) for each in report.rounds if arm in each.dev
    ]
    if arm in report.test:
        found.append(("final", report.test[arm].slices))
    return frame(
        (
            {"slice": one.slice, "round": when, "n": one.n, "accuracy": one.value, "accuracy_low": one.low,
             "accuracy_high": one.high, "unparsable": one.n_unparsable, "error": one.n_error}
            for when, slices_ in found for one in slices_
        ),
        ["slice", "round"],
    )  # fmt: skip


def funnel(report: RunReport) -> pd.DataFrame:
    """By round and cell of the matrix: how many candidates were left after each stage."""
    return frame(
        ({"round": each.round, "cell": row.cell, **row.values, **row.counts} for each in report.rounds
         for row in each.funnel),
        ["round", "cell"],
    )  # fmt: skip


def coverage(report: RunReport) -> pd.DataFrame:
    """Every pair of values that the matrix allows, over all rounds: candidates planned, generated, rows
    that passed the filters, rows accepted, and whether it starved (planned, nothing passed)."""
    found = coverage_of(report)
    return frame(
        ({**{f"{part}_{name}": text for part, pair in zip(("a", "b"), one.values, strict=True)
             for name, text in zip(("dimension", "value"), pair, strict=True)},
          "planned": one.planned, "generated": one.generated, "passed": one.passed,
          "accepted": one.accepted, "starved": one.starved}
         for one in (found.pairs if found else ())),
        ["a_dimension", "a_value", "b_dimension", "b_value"],
    )  # fmt: skip


def ambiguous(report: RunReport) -> pd.DataFrame:
    """The candidates that the students agreed on least, by the last round's reading: text, label it came with, what
    they said, doubt from 0 to 1."""
    found = report.rounds[-1].ambiguity if report.rounds else None
    return frame((asdict(one) for one in (found.items if found else ())), ["id"])


def dynamics(report: RunReport) -> pd.DataFrame:
    """The training rows of the delivered student (a random part of very many): origin, label, confidence (mean p(its
    label) over training), variability (its standard deviation)."""
    return frame((asdict(one) for one in (report.dynamics.rows if report.dynamics else ())), ["id"])


def ablation(found: Ablation | None) -> pd.DataFrame:
    """By filter: what it dropped and relabelled, synthetic rows, score and worth (all filters − without it) on dev."""
    return frame(
        ({"filter": one.filter, "dropped": one.dropped, "relabelled": one.relabelled, "rows": one.rows,
          **_columns("score", one.score), **_columns("worth", one.comparison and one.comparison.difference),
          "p_holm": one.comparison.p_holm if one.comparison else None, "note": one.note}
         for one in (found.filters if found else ())),
        "filter",
    )  # fmt: skip


def drops(report: RunReport) -> pd.DataFrame:
    """Why candidates went, over all cells: round, filter and reason with their number, most frequent first."""
    counts: dict[tuple[int, str], int] = {}
    for each in report.rounds:
        for row in each.funnel:
            for reason, count in row.reasons.items():
                counts[each.round, reason] = counts.get((each.round, reason), 0) + count
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
    return frame({"round": round_, "reason": reason, "count": count} for (round_, reason), count in ordered if count)


def filters(report: RunReport) -> pd.DataFrame:
    """By round and filter: φ, ψ and p* on seeds with planted wrong labels (`harness.reports.FilterWorth`)."""
    return frame(
        ({"round": each.round, **asdict(one)} for each in report.rounds for one in each.worth), ["round", "filter"]
    )


def controls(report: RunReport) -> pd.DataFrame:
    """The loop (`closed`) and the loops that lack a part: calls, rows, score, and closed − control."""
    return frame(
        (
            {"control": one.name, "calls": one.calls, "candidates": one.candidates, "accepted": one.accepted,
             "rows": one.rows, "role": one.role.value, **_columns("score", one.score),
             **(_verdict(one.comparison) if one.comparison else {})}
            for one in report.controls
        ),
        "control",
    )  # fmt: skip


def failure_modes(report: RunReport) -> pd.DataFrame:
    """What each detector of a known failure mode says: its figure on seeds, anchors and synthetic rows, and whether it
    `fired` (None: cannot be told)."""
    return frame(
        (
            {"mode": one.name, "family": one.family, "fired": one.fired, "seeds": one.seeds.value,
             "real": one.real.value, "synthetic": one.synthetic.value, **_columns("difference", one.difference),
             "least": one.least, "verdict": one.verdict}
            for one in report.modes
        ),
        "mode",
    )  # fmt: skip


def collapse(report: RunReport) -> pd.DataFrame:
    """The frozen probe: each primary statistic by generation (0 is round 1), the limit where a warning starts and
    whether the value lies beyond it; empty without a probe."""
    courses = report.collapse.probe.verdict.courses if report.collapse else ()
    return frame(
        (
            {"statistic": course.statistic, "generation": look.generation, "value": look.value, "limit": look.limit,
             "baseline": course.baseline, "beyond": look.beyond}
            for course in courses for look in course.looks
        ),
        ["statistic", "generation"],
    )  # fmt: skip


def rows(examples: Sequence[Example]) -> pd.DataFrame:
    """Examples: id, text, context and answer where there are any, label, and a column per slice dimension."""
    wide = any(one.answer for one in examples)
    return frame(
        (
            {"id": one.id, "text": one.text}
            | ({"context": one.context, "answer": one.answer} if wide else {})
            | {"label": one.label}
            | {f"slice_{name}": value for name, value in one.slices.items()}
            for one in examples
        ),
        "id",
    )


def predictions(examples: Sequence[Example], answers: Sequence[Prediction], right: Sequence[bool]) -> pd.DataFrame:
    """Items with a model's answers beside them: `predicted`, `score` (its probability), `status`, `right`."""
    found = rows(examples)
    found["predicted"] = [one.answer if one.answer is not None else one.label for one in answers]
    found["score"] = [one.score for one in answers]
    found["status"] = [one.status.value for one in answers]
    found["right"] = list(right)
    return found


def variants(found: SuiteComparison) -> pd.DataFrame:
    """The ranking of a suite, best first: score, paired difference to the base with its interval over items and, over
    several seeds, with seed noise (`difference_total_…`), p-values, cost, accepted share, rounds, seconds."""
    return frame((_variant(place, line) for place, line in enumerate(found.lines, start=1)), "variant")


def _variant(place: int, line: Line) -> dict[str, object]:
    one = line.against
    difference: dict[str, object] = {}
    if one is not None:
        difference = _pooled("difference", one.difference) | {
            "p_value": one.p_value,
            "p_holm": one.p_holm,
            "detectable": one.detectable,
        }
    return {
        "variant": line.variant,
        "rank": place,
        "seeds": len(line.seeds),
        **_pooled("score", line.score),
        **difference,
        "verdict": verdict_word(line),
        **_costs("needed", line.used),
        **_costs("paid", line.paid),
        "accepted_share": line.accepted_share,
        "rounds": line.rounds,
        "seconds": line.seconds,
        "changes": "; ".join(f"{key} = {value}" for key, value in line.changes.items()),
        "note": line.note,
    }


def _pooled(name: str, value: Pooled) -> dict[str, object]:
    several = len(value.per_run) > 1
    return _columns(name, value.items) | (
        {f"{name}_total_low": value.total.low, f"{name}_total_high": value.total.high} if several else {}
    )


def _costs(name: str, cost: Cost) -> dict[str, object]:
    return {f"calls_{name}": cost.calls, f"usd_{name}": cost.usd}


def _columns(name: str, estimate: Estimate | None) -> dict[str, object]:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _flat(estimates: Mapping[str, Estimate]) -> dict[str, object]:
    return {key: value for name, one in estimates.items() for key, value in _columns(name, one).items()}


def _gap_columns(gap: Any) -> dict[str, object]:
    return _flat({"transfer": gap.transfer, "source": gap.source, "recovered": gap.recovered})


def _difference(one: Comparison) -> dict[str, object]:
    return {"a": one.a, "b": one.b, "metric": one.metric, **_verdict(one)}


def _verdict(one: Comparison) -> dict[str, object]:
    return _columns("difference", one.difference) | {
        "p_value": one.p_value,
        "p_holm": one.p_holm,
        "detectable": one.mdd,
    }
