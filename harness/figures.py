"""The report's pictures, as PNG bytes. The same report gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from harness.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    VERMILLION,
    canvas,
    dot,
    heat,
    line,
    name_rows,
    percent_axis,
    short,
    stacked,
)
from harness.collapsefigures import courses_figure
from harness.progress import OTHER
from harness.records import Estimate, EvalReport, Origin, SliceScore
from harness.reports import FunnelRow, RoundReport, RunReport
from harness.scorewords import named_scores

MOST_SLICES = 24
MOST_CONFUSED = 20
ARM_COLOURS = {
    "mixed": BLUE,
    "closed": BLUE,
    "seeds": VERMILLION,
    "synthetic": SKY,
    "real": GREEN,
    "all_real": GREEN,
    **dict.fromkeys(("static", "shuffled", "raw", "naive"), ORANGE),
}


def all_figures(report: RunReport) -> dict[str, bytes]:
    """Name → PNG of every picture for which the report holds data, in the order of the page.

    Names: `arms`, `gap`, `controls`, `slices`, `confusion`, `funnel`, `coverage`,
    `dynamics`, `collapse`, `cost`.
    """
    drawings: dict[str, Callable[[RunReport], bytes | None]] = {
        "arms": arms,
        "gap": gap_by_round,
        "controls": controls_by_round,
        "slices": slices_before_after,
        "confusion": confusion,
        "funnel": funnel,
        "coverage": coverage,
        "dynamics": dynamics,
        "collapse": lambda report: report.collapse and courses_figure(report.collapse.probe, first=1),
        "cost": cost,
    }
    pictures = {name: draw(report) for name, draw in drawings.items()}
    return {name: png for name, png in pictures.items() if png is not None}


def arms(report: RunReport) -> bytes | None:
    """Two scores of every arm on test with their intervals: accuracy (filled) and macro-F1 (hollow), or exact match and
    token F1; None without a test."""
    scored = [evaluation for evaluation in report.test.values() if evaluation.accuracy.value is not None]
    if not scored:
        return None
    with canvas(0.75 + 0.5 * len(scored)) as (figure, png):
        axes = figure.subplots()
        for row, evaluation in enumerate(scored):
            colour = ARM_COLOURS.get(evaluation.arm, GREY)
            dot(axes, evaluation.accuracy, row - 0.14, colour, filled=True)
            dot(axes, list(evaluation.scores.values())[1], row + 0.18, colour, filled=False)
            written = f"{100 * (evaluation.accuracy.value or 0):.1f} %"
            axes.text(1.02, row, written, va="center", transform=axes.get_yaxis_transform())
        seeds = report.test.get("seeds")
        if seeds is not None and seeds.accuracy.value is not None:
            axes.axvline(seeds.accuracy.value, color=VERMILLION, linewidth=1, linestyle=(0, (4, 3)))
        name_rows(axes, [evaluation.arm for evaluation in scored])
        percent_axis(axes, "x")
        filled, hollow, *_ = named_scores(scored[0])
        axes.set_xlabel(f"filled: {filled}; hollow: {hollow}; dashed: seeds only")
    return png.getvalue()


def gap_by_round(report: RunReport) -> bytes | None:
    """The three gaps on dev, round by round, with intervals; None where no round has any."""
    panels = (
        ("In points: smaller is better", (("transfer", BLUE, "o"), ("source", VERMILLION, "s"))),
        ("Recovered: larger is better", (("recovered", GREEN, "D"),)),
    )
    drawn = [
        (title, [(name, colour, mark, series) for name, colour, mark in lines if (series := _series(report, name))])
        for title, lines in panels
    ]
    drawn = [(title, lines) for title, lines in drawn if lines]
    if not drawn:
        return None
    numbers = [each.round for each in report.rounds]
    with canvas(2.1 * len(drawn)) as (figure, png):
        for axes, (title, lines) in zip(figure.subplots(len(drawn), squeeze=False)[:, 0], drawn, strict=True):
            for offset, (name, colour, mark, series) in enumerate(lines):
                line(axes, series, colour, mark, name, (offset - (len(lines) - 1) / 2) * 0.06)
            axes.axhline(0, color=GREY, linewidth=0.8)
            axes.set_title(title)
            axes.set_xticks(numbers, [f"round {number}" if len(numbers) <= 5 else str(number) for number in numbers])
            axes.set_xlim(min(numbers) - 0.4, max(numbers) + 0.4)
            percent_axis(axes, "y", suffix="" if "points" in title else " %")
            if len(lines) > 1:
                axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=len(lines), fontsize=9)
    return png.getvalue()


def controls_by_round(report: RunReport) -> bytes | None:
    """Accuracy of `mixed` on dev by round, the loop and its controls; None where fewer than two sides have rounds."""
    sides = [one for one in report.controls if one.dev]
    if len(sides) < 2:
        return None
    marks = "osD^v"
    colours = (BLUE, VERMILLION, GREEN, ORANGE, SKY)
    with canvas(3.0) as (figure, png):
        axes = figure.subplots()
        for place, one in enumerate(sides):
            series = [(number, each.accuracy) for number, each in enumerate(one.dev, start=1)]
            series = [(number, each) for number, each in series if each.value is not None]
            line(axes, series, colours[place % 5], marks[place % 5], one.name, (place - (len(sides) - 1) / 2) * 0.06)
        numbers = range(1, max(len(one.dev) for one in sides) + 1)
        axes.set_xticks(numbers, [f"round {number}" for number in numbers])
        percent_axis(axes, "y")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=len(sides), fontsize=9)
    return png.getvalue()


def slices_before_after(report: RunReport) -> bytes | None:
    """Dev accuracy per slice: seeds only (before) and mixed in the best round (after), with Wilson intervals.

    At most `MOST_SLICES` slices, those that changed most; the report's table has all of them.
    """
    before, after = before_and_after(report)
    pairs = paired_slices(before, after)
    if not pairs:
        return None
    shown = sorted(pairs, key=lambda pair: -abs(_change(pair)))[:MOST_SLICES]
    shown = [pair for pair in pairs if pair in shown]
    with canvas(0.9 + 0.36 * len(shown)) as (figure, png):
        axes = figure.subplots()
        for row, (old, new) in enumerate(shown):
            axes.plot([old.value or 0, new.value or 0], [row - 0.13, row + 0.13], color=GREY, linewidth=1)
            dot(axes, _as_estimate(old), row - 0.13, VERMILLION, filled=False)
            dot(axes, _as_estimate(new), row + 0.13, BLUE, filled=True)
        name_rows(axes, [f"{short(new.slice, 22)} ({new.n})" for _, new in shown])
        percent_axis(axes, "x")
        axes.set_xlabel("hollow: seeds only; filled: mixed; (n)")
    return png.getvalue()


def confusion(report: RunReport) -> bytes | None:
    """Counts of gold (rows) against predicted labels (columns) of the mixed arm on test; None without it.

    Colour is the share of the row. With more than `MOST_CONFUSED` labels only those with most errors are drawn.
    """
    evaluation = report.test.get("mixed")
    if evaluation is None or not evaluation.confusion:
        return None
    labels = confused_labels(evaluation.confusion)
    answers = [*labels, ""] if any("" in row for row in evaluation.confusion.values()) else labels
    counts = [[evaluation.confusion.get(gold, {}).get(answer, 0) for answer in answers] for gold in labels]
    totals = [sum(evaluation.confusion.get(gold, {}).values()) for gold in labels]
    shares = [[count / max(1, total) for count in row] for row, total in zip(counts, totals, strict=True)]
    with canvas(1.3 + _row(len(labels)) * len(labels)) as (figure, png):
        axes = figure.subplots()
        texts = [[str(count) if count else "" for count in row] for row in counts]
        heat(axes, shares, texts, labels, [answer or "no answer" for answer in answers], top=1.0)
        axes.set_xlabel("predicted label")
        axes.set_ylabel("true label")
    return png.getvalue()


def funnel(report: RunReport) -> bytes | None:
    """How many candidates of all rounds and cells were left after each stage; None without a funnel."""
    totals = funnel_totals(last_funnel(report))
    if not totals:
        return None
    first = max(1, next(iter(totals.values())))
    with canvas(0.6 + 0.38 * len(totals)) as (figure, png):
        axes = figure.subplots()
        colours = [GREEN if stage == "accepted" else BLUE for stage in totals]
        axes.barh(range(len(totals)), list(totals.values()), color=colours, height=0.68)
        for row, count in enumerate(totals.values()):
            axes.text(count, row, f" {count:,} ({count / first:.0%})", va="center")
        name_rows(axes, list(totals))
        axes.set_xlim(0, max(first, *totals.values()) * 1.36)
        axes.set_xlabel("candidates left, all rounds")
    return png.getvalue()


def coverage(report: RunReport) -> bytes | None:
    """Label × value of every other dimension: accepted / planned candidates of all rounds, colour = accepted."""
    rows = last_funnel(report)
    wanted = _spec_order(report)
    labels = _in_order((row.values["label"] for row in rows), wanted.get("label", ()))
    dimensions = [name for name in dict.fromkeys(key for row in rows for key in row.values) if name != "label"]
    if not rows:
        return None
    with canvas((1.1 + _row(len(labels)) * len(labels)) * max(1, len(dimensions))) as (figure, png):
        grid = figure.subplots(max(1, len(dimensions)), squeeze=False)[:, 0]
        for axes, dimension in zip(grid, dimensions or [""], strict=True):
            values = _in_order((row.values.get(dimension, "") for row in rows), wanted.get(dimension, ()))
            cells = coverage_counts(rows, dimension)
            counts = [[cells.get((label, value), (0, 0)) for value in values] for label in labels]
            wide = len(values) > 9
            texts = [[str(done) if wide else f"{done} / {plan}" for done, plan in row] for row in counts]
            heat(axes, [[float(done) for done, _ in row] for row in counts], texts, labels, values)
            axes.set_title(f"label × {dimension}: accepted{'' if wide else ' / planned'}" if dimension else "accepted")
    return png.getvalue()


def dynamics(report: RunReport) -> bytes | None:
    """The training rows of the delivered student, by how sure it became of them and how unsteadily."""
    found = report.dynamics
    if found is None or not found.rows:
        return None
    with canvas(3.6) as (figure, png):
        axes = figure.subplots()
        for origin, colour, size in ((Origin.SYNTHETIC, BLUE, 9), (Origin.REAL, VERMILLION, 14)):
            own = [row for row in found.rows if row.origin is origin]
            axes.scatter(
                [row.variability for row in own],
                [row.confidence for row in own],
                s=size,
                color=colour,
                marker="o" if origin is Origin.SYNTHETIC else "^",
                alpha=0.55,
                linewidths=0,
                label=f"{origin} ({len(own):,})",
            )
        axes.set_xlabel("variability of p(its label)")
        axes.set_ylabel("confidence: mean p(its label)")
        axes.set_ylim(-0.03, 1.03)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1.03), fontsize=9)
    return png.getvalue()


def cost(report: RunReport) -> bytes | None:
    """Tokens, money (where any was paid) and minutes per round; None without rounds."""
    if not report.rounds:
        return None
    costs = [(each.round, each.cost) for each in report.rounds]
    panels: list[tuple[str, list[tuple[str, str, list[float]]]]] = [
        (
            "Thousand tokens",
            [
                ("prompt", SKY, [spent.prompt_tokens / 1000 for _, spent in costs]),
                ("answer", BLUE, [spent.completion_tokens / 1000 for _, spent in costs]),
            ],
        )
    ]
    if report.cost.usd:
        panels.append(("US dollars", [("paid", ORANGE, [spent.usd for _, spent in costs])]))
    times = _minutes(report)
    if times:
        panels.append(("Minutes", times))
    with canvas((0.85 + 0.34 * len(costs)) * len(panels)) as (figure, png):
        for axes, (title, parts) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
            stacked(axes, parts)
            name_rows(axes, [f"round {number}" for number, _ in costs])
            axes.set_title(title)
    return png.getvalue()


def _minutes(report: RunReport) -> list[tuple[str, str, list[float]]]:
    """(kind of stage, colour, minutes per round): the kinds that took longest, what is left of the time in grey."""
    total: dict[str, float] = {}
    for each in report.rounds:
        for kind, spent in each.seconds.items():
            total[kind] = total.get(kind, 0.0) + spent
    shown = sorted(total.keys() - {OTHER}, key=lambda kind: (-total[kind], kind))[:5]
    bars = [
        (kind, colour, [each.seconds.get(kind, 0.0) / 60 for each in report.rounds])
        for kind, colour in zip(shown, (BLUE, ORANGE, GREEN, VERMILLION, SKY), strict=False)
    ]
    if total.keys() - set(shown):
        rest = [sum(spent for kind, spent in each.seconds.items() if kind not in shown) for each in report.rounds]
        bars.append((OTHER, GREY, [seconds / 60 for seconds in rest]))
    return bars


def before_and_after(report: RunReport) -> tuple[EvalReport | None, EvalReport | None]:
    """(seeds only, mixed in the best round) on dev."""
    if not report.rounds:
        return None, None
    best = next((each for each in report.rounds if each.round == report.best_round), report.rounds[-1])
    return report.rounds[0].dev.get("seeds"), best.dev.get("mixed")


def paired_slices(before: EvalReport | None, after: EvalReport | None) -> list[tuple[SliceScore, SliceScore]]:
    """Slices that both reports could score, in the order of the first."""
    if before is None or after is None:
        return []
    new = {score.slice: score for score in after.slices if score.value is not None}
    return [(old, new[old.slice]) for old in before.slices if old.value is not None and old.slice in new]


def last_funnel(report: RunReport) -> Sequence[FunnelRow]:
    """The funnel of the last round, which counts the candidates of all rounds."""
    return report.rounds[-1].funnel if report.rounds else ()


def funnel_totals(rows: Sequence[FunnelRow]) -> dict[str, int]:
    """Stage → candidates left, over all cells, in the stages' order."""
    totals: dict[str, int] = {}
    for row in rows:
        for stage, count in row.counts.items():
            totals[stage] = totals.get(stage, 0) + count
    return totals


def coverage_counts(rows: Sequence[FunnelRow], dimension: str) -> dict[tuple[str, str], tuple[int, int]]:
    """(label, value) → (accepted, planned), over all cells that share them."""
    cells: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        key = (row.values["label"], row.values.get(dimension, ""))
        accepted, planned = cells.get(key, (0, 0))
        cells[key] = (accepted + row.counts.get("accepted", 0), planned + row.counts.get("planned", 0))
    return cells


def confused_labels(matrix: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The gold labels, or the `MOST_CONFUSED` with most errors, in the matrix's order."""
    errors = {gold: sum(count for answer, count in row.items() if answer != gold) for gold, row in matrix.items()}
    worst = set(sorted(errors, key=lambda gold: -errors[gold])[:MOST_CONFUSED])
    return [gold for gold in matrix if gold in worst]


def _spec_order(report: RunReport) -> dict[str, list[str]]:
    """Dimension → its values as the spec lists them; funnel rows come in the order of cell ids."""
    spec = cast("Mapping[str, Any]", report.spec)
    order = {"label": list(spec.get("task", {}).get("labels", {}))}
    for dimension in spec.get("matrix", {}).get("dimensions", []):
        order[str(dimension["name"])] = list(dimension["values"])
    return order


def _in_order(found: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """The distinct values found: first those of `wanted` in its order, then others as they came."""
    present = list(dict.fromkeys(found))
    return [value for value in wanted if value in present] + [value for value in present if value not in wanted]


def _series(report: RunReport, name: str) -> list[tuple[int, Estimate]]:
    found = [(each.round, _gap(each, name)) for each in report.rounds]
    return [(number, estimate) for number, estimate in found if estimate.value is not None]


def _gap(each: RoundReport, name: str) -> Estimate:
    return {"transfer": each.gap.transfer, "source": each.gap.source, "recovered": each.gap.recovered}[name]


def _row(count: int) -> float:
    """Height of one of `count` rows of a heat map, in inches."""
    return 0.32 if count <= 15 else 0.19


def _as_estimate(score: SliceScore) -> Estimate:
    return Estimate(score.value, score.low, score.high, score.n, "Wilson")


def _change(pair: tuple[SliceScore, SliceScore]) -> float:
    return (pair[1].value or 0.0) - (pair[0].value or 0.0)
