"""What an ablation came to: a table, sentences and a picture, for the terminal and the report."""

from __future__ import annotations

from harness.ablationreport import ALL, Ablation, FilterAblation
from harness.canvas import BLUE, GREY, VERMILLION, canvas, dot, name_rows, percent_axis
from harness.forecast import Table
from harness.pages import interval, p_value
from harness.records import Estimate

COLUMNS = ("filter", "dropped", "relabelled", "rows without it", "score without it", "worth", "p, adjusted", "cost")
ON_DEV = (
    "Worth is all filters − without it, in points on dev, one training a side: dev steered the rounds, and the noise "
    "of a training is not in the interval. For a claim, give the variants to `harness compare` with several seeds."
)


def ablation_table(found: Ablation) -> Table:
    """A row per filter, in the order in which candidates meet them; the first row is the side with all of them."""
    first = (ALL, "", "", f"{found.rows:,}", interval(found.score), "", "", "")
    on = f"{found.metric} on dev (n = {found.score.n:,})"
    title = f"What each filter was worth: {found.candidates:,} candidates, {on}"
    return Table(title, COLUMNS, (first, *(_row(one) for one in found.filters)))


def _row(one: FilterAblation) -> tuple[str, ...]:
    compared = one.comparison
    return (
        one.filter,
        f"{one.dropped:,}",
        f"{one.relabelled:,}",
        f"{one.rows:,}",
        "–" if one.score is None else interval(one.score),
        "–" if compared is None else interval(compared.difference, "points"),
        "–" if compared is None or compared.p_holm is None else p_value(compared.p_holm),
        cost(one),
    )


def cost(one: FilterAblation) -> str:
    """`"8 trainings"`, `"120 calls in the last round"` or `"nothing to speak of"`."""
    if one.trainings:
        return f"{one.trainings} trainings a round"
    if one.calls:
        return f"{one.calls:,} calls in the last round"
    return "nothing to speak of"


def ablation_lines(found: Ablation) -> list[str]:
    """One sentence per filter, then how the figures are meant."""
    return [*(f"{one.filter}: {verdict(one)}" for one in found.filters), ON_DEV]


def verdict(one: FilterAblation) -> str:
    """One sentence, whichever way it falls."""
    compared = one.comparison
    if compared is None or compared.difference.value is None:
        return f"Not measured: {one.note or 'there is no comparison'}."
    figure = interval(compared.difference, "points")
    more = f" ({one.note})" if one.note else ""
    return f"{_claim(compared.difference, compared.p_holm)}: {figure}{more}."


def _claim(difference: Estimate, adjusted: float | None) -> str:
    sure = adjusted is not None and adjusted <= 0.05
    if difference.low is not None and difference.low > 0:
        return "Earned its place" if sure else "May have earned its place"
    if difference.high is not None and difference.high < 0:
        return "Did harm here" if sure else "May have done harm here"
    return "No measurable effect"


def ablation_figure(found: Ablation) -> bytes | None:
    """What each filter was worth, with its interval; None where nothing could be compared."""
    rows = [(one.filter, one.comparison.difference) for one in found.filters if one.comparison is not None]
    if not rows:
        return None
    with canvas(0.9 + 0.42 * len(rows)) as (figure, png):
        axes = figure.subplots()
        for place, (_, difference) in enumerate(rows):
            harmful = difference.high is not None and difference.high < 0
            dot(axes, difference, place, VERMILLION if harmful else BLUE, filled=True)
        axes.axvline(0, color=GREY, linewidth=0.8)
        name_rows(axes, [name for name, _ in rows])
        percent_axis(axes, "x", suffix="")
        axes.set_xlabel("all filters − without it, points on dev")
    return png.getvalue()
