"""The pictures of a comparison, as PNG bytes, drawn like those of a run's report (`harness.canvas`)."""

from __future__ import annotations

from collections.abc import Sequence

from harness.canvas import BLUE, GREEN, GREY, ORANGE, VERMILLION, canvas, dot, name_rows, percent_axis, short
from harness.comparewords import deciding, verdict_word
from harness.comparison import Comparison, Line
from harness.scorewords import score_name

COLOURS = {"better": GREEN, "worse": VERMILLION, "unclear": GREY, "base": BLUE, "unknown": GREY}


def compare_figures(found: Comparison) -> dict[str, bytes]:
    """`differences` (− base with intervals) and `pareto` (score against cost), where there is something to draw."""
    drawn = {"differences": differences(found), "pareto": pareto(found)}
    return {name: png for name, png in drawn.items() if png is not None}


def differences(found: Comparison) -> bytes | None:
    """Each variant − the base with the interval that decides, ranked; None without a variant to compare."""
    lines = [line for line in found.lines if line.against is not None]
    if not lines:
        return None
    with canvas(0.9 + 0.42 * len(lines)) as (figure, png):
        axes = figure.subplots()
        axes.axvline(0, color=BLUE, linewidth=1.2)
        for row, line in enumerate(lines):
            if line.against is not None:
                dot(axes, deciding(line.against), row, COLOURS[verdict_word(line)], filled=True)
        name_rows(axes, [line.variant for line in lines])
        percent_axis(axes, "x", suffix="")
        axes.set_xlabel(f"points of {score_name(found.metric)} against the base (line)")
    return png.getvalue()


def pareto(found: Comparison) -> bytes | None:
    """Score against what a run costs: US dollars where any are asked for, else calls. The variants that no other one
    beats in both are joined. None for fewer than two variants or without a cost."""
    shown = [line for line in found.lines if line.score.items.value is not None and line.runs]
    paid = any(line.used.usd for line in shown)
    costs = [_cost(line, paid=paid) for line in shown]
    if len(shown) < 2 or not any(costs):
        return None
    scores = [line.score.items.value or 0.0 for line in shown]
    best = frontier(costs, scores)
    from matplotlib.ticker import MaxNLocator

    with canvas(3.4) as (figure, png):
        axes = figure.subplots()
        axes.plot([costs[i] for i in best], [scores[i] for i in best], color=ORANGE, linewidth=1.4, zorder=1)
        for index, (line, cost, score) in enumerate(zip(shown, costs, scores, strict=True)):
            colour = COLOURS[verdict_word(line)]
            own = line.score.items
            if own.low is not None and own.high is not None:
                axes.plot([cost, cost], [own.low, own.high], color=colour, linewidth=1.0, alpha=0.6)
            mark = "D" if line.variant == "base" else "o"
            axes.plot([cost], [score], color=colour, marker=mark, linestyle="none", markersize=6.5)
            axes.annotate(
                short(line.variant, 24),
                (cost, score),
                xytext=(6, 4 if index % 2 == 0 else -11),
                textcoords="offset points",
                fontsize=8.5,
            )
        percent_axis(axes, "y")
        axes.margins(x=0.25)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=not paid))
        axes.set_xlabel("US dollars a run needs" if paid else "calls a run needs (nothing is paid for)")
        axes.set_ylabel(score_name(found.metric))
    return png.getvalue()


def frontier(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Places of those that no other one beats: none is as cheap and better, or as good and cheaper; by cost.

    >>> frontier([1, 2, 3, 2], [0.5, 0.7, 0.6, 0.4])
    [0, 1]
    """
    out: list[int] = []
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        if not out or scores[place] > scores[out[-1]]:
            out.append(place)
    return out


def _cost(line: Line, *, paid: bool) -> float:
    return (line.used.usd if paid else float(line.used.calls)) / len(line.runs)
