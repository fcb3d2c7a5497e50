"""Drawing primitives of the report's pictures: one style, Matplotlib through its objects, no global figure.

Colours are from the palette of Okabe & Ito (2008) and a ramp of one hue, which people with a colour-vision deficiency
can tell apart; marks differ in shape as well.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from harness.records import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILLION, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#6B7280"
INK, LINE = "#1F2933", "#D9DEE4"
WIDTH = 5.2
DPI = 190

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    # A label such as "$5 or $6" is a text of the user's, not a formula.
    "text.parse_math": False,
}


@contextmanager
def canvas(height: float) -> Generator[tuple[Figure, io.BytesIO]]:
    """A figure to draw on; on leaving, the buffer holds its PNG without date or program version."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    png = io.BytesIO()
    settings: dict[Any, Any] = {key: mpl.rcParamsDefault[key] for key in mpl.rcParamsDefault if key != "backend"}
    settings.update(_STYLE)
    with warnings.catch_warnings(), mpl.rc_context(settings):
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")
        warnings.filterwarnings("ignore", category=mpl.MatplotlibDeprecationWarning)
        figure = Figure(figsize=(WIDTH, max(1.6, height)), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, png
        figure.savefig(png, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})


def line(axes: Axes, series: list[tuple[int, Estimate]], colour: str, mark: str, name: str, shift: float) -> None:
    """A series over rounds with its intervals; `shift` keeps two series apart."""
    places = [number + shift for number, _ in series]
    axes.plot(places, [each.value or 0.0 for _, each in series], color=colour, marker=mark, label=name, linewidth=1.8)
    for place, (_, each) in zip(places, series, strict=True):
        if each.low is not None and each.high is not None:
            axes.plot([place, place], [each.low, each.high], color=colour, linewidth=1.2)


def dot(axes: Axes, estimate: Estimate, row: float, colour: str, *, filled: bool) -> None:
    """A value with its interval on a row; a hollow one is the lesser of two."""
    if estimate.value is None:
        return
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=1.6 if filled else 1.0)
    axes.plot(
        [estimate.value],
        [row],
        marker="o" if filled else "s",
        color=colour,
        markerfacecolor=colour if filled else "white",
        markersize=6.5 if filled else 5,
        linestyle="none",
    )


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names the rows 0, 1, … from the top down."""
    axes.set_yticks(range(len(names)), [short(name, 30) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", linewidth=0.7)


def percent_axis(axes: Axes, axis: Literal["x", "y"], suffix: str = " %") -> None:
    """Shares as percent (or, without the suffix, as points)."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def write(value: float, _: int | None) -> str:
        return f"{100 * value:.3g}{suffix}"

    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_locator(MaxNLocator(6))
    chosen.set_major_formatter(FuncFormatter(write))
    axes.grid(visible=True, axis=axis, linewidth=0.7)


def heat(
    axes: Axes,
    values: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    top: float | None = None,
) -> None:
    """A labelled heat map; `top` is the value of the brightest colour, the largest one when not given."""
    highest = top or max((value for row in values for value in row), default=1.0) or 1.0
    axes.imshow(values, cmap="Blues", vmin=0.0, vmax=highest, aspect="auto")
    size = 9 if len(columns) <= 9 else 6.5
    for y, row in enumerate(texts):
        for x, text in enumerate(row):
            dark = values[y][x] > 0.55 * highest
            axes.text(x, y, text, ha="center", va="center", fontsize=size, color="white" if dark else "black")
    slanted = sum(len(short(name, 18)) for name in columns) > 52
    axes.set_xticks(
        range(len(columns)),
        [short(name, 18) for name in columns],
        rotation=40 if slanted else 0,
        ha="right" if slanted else "center",
        fontsize=size,
    )
    axes.set_yticks(range(len(rows)), [short(name, 22) for name in rows], fontsize=9)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def stacked(axes: Axes, parts: Sequence[tuple[str, str, Sequence[float]]]) -> None:
    """Horizontal bars 0, 1, …, each of the parts (name, colour, amount per bar)."""
    left = [0.0] * len(parts[0][2])
    for name, colour, amounts in parts:
        axes.barh(range(len(amounts)), amounts, left=left, color=colour, height=0.6, label=name)
        left = [start + amount for start, amount in zip(left, amounts, strict=True)]
    if len(parts) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1.08), fontsize=9, handlelength=1)


def short(text: str, most: int = 28) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
