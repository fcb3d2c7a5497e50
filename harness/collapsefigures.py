"""Pictures of a collapse check: each statistic by generation with its limit, and the arms of a generational run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eval.collapse import Course
from harness.canvas import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION, canvas
from harness.collapsecheck import CollapseCheck

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (VERMILLION, BLUE, GREEN, ORANGE, SKY)
MARKS = "osD^v"
BAD = {"nnR": "nnR: up is bad", "log RKE": "log RKE: down is bad"}


def courses_figure(found: CollapseCheck, first: int = 0) -> bytes | None:
    """Both statistics of one check, generation 0 to the last, dotted where a warning starts; None where neither could
    be judged. `first` is what generation 0 is called on the axis: rounds begin with 1."""
    courses = [one for one in found.verdict.courses if one.looks]
    if not courses:
        return None
    with canvas(2.1 * len(courses)) as (figure, png):
        for axes, one in zip(figure.subplots(len(courses), squeeze=False)[:, 0], courses, strict=True):
            places, values = _values(one)
            shown = [place + first for place in places]
            axes.plot(shown, values, color=BLUE, marker="o", linewidth=1.8)
            limits = [look.limit for look in one.looks]
            _limit(axes, shown[1:], limits)
            beyond = [(look.generation + first, look.value) for look in one.looks if look.beyond]
            for place, value in beyond:
                axes.plot([place], [value], "o", color=VERMILLION, markersize=9, fillstyle="none")
            _finish(axes, BAD[one.statistic], shown)
    return png.getvalue()


def arms_figure(nll: Mapping[str, Sequence[float]], checks: Mapping[str, CollapseCheck]) -> bytes:
    """Loss on real anchors by arm and generation, then both statistics of the frozen probe; dotted is where a warning
    starts in the first arm, since all have the same generation 0."""
    with canvas(6.6) as (figure, png):
        top, *others = figure.subplots(3, squeeze=False)[:, 0]
        for place, (arm, values) in enumerate(nll.items()):
            _line(top, range(len(values)), values, place, arm)
        _finish(top, "Loss on real anchors, nats per token: up is bad", range(max(map(len, nll.values()))))
        top.legend(loc="upper left", bbox_to_anchor=(1, 1.05), fontsize=9)
        for axes, statistic in zip(others, BAD, strict=True):
            longest: Sequence[int] = ()
            for place, (arm, check) in enumerate(checks.items()):
                own = [one for one in check.verdict.courses if one.statistic == statistic and one.looks]
                for one in own:
                    places, values = _values(one)
                    _line(axes, places, values, place, arm)
                    if not longest:
                        _limit(axes, places[1:], [look.limit for look in one.looks])
                    longest = max(longest, places, key=len)
            _finish(axes, BAD[statistic], longest)
    return png.getvalue()


def _values(one: Course) -> tuple[list[int], list[float]]:
    places = [0, *(look.generation for look in one.looks)]
    return places, [one.baseline or 0.0, *(look.value for look in one.looks)]


def _line(axes: Axes, places: Sequence[int], values: Sequence[float], number: int, name: str) -> None:
    style = number % len(COLOURS)
    axes.plot(list(places), list(values), color=COLOURS[style], marker=MARKS[style], linewidth=1.8, label=name)


def _limit(axes: Axes, places: Sequence[int], limits: Sequence[float]) -> None:
    """A short dotted stroke at each generation: limits differ where batches do."""
    for place, limit in zip(places, limits, strict=True):
        axes.plot([place - 0.4, place + 0.4], [limit, limit], color=GREY, linewidth=1.6, linestyle=(0, (1.5, 1.5)))


def _finish(axes: Axes, title: str, places: Sequence[int]) -> None:
    axes.set_title(title)
    axes.set_xticks(list(places))
    axes.grid(visible=True, axis="y", linewidth=0.7)
