"""One collapse statistic over the generations: values, limits, p, and when it warned, alarmed, drifted or trended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eval.sequential import (
    MIN_POINTS,
    Rule,
    cusum,
    rising_trend,
    second_in_succession,
    upper_limit,
    upper_p,
)

Name = Literal["nnR", "log RKE"]
SIGN: dict[Name, float] = {"nnR": 1.0, "log RKE": -1.0}
"""Which way collapse moves a statistic."""
TREND = 0.05
"""Mann-Kendall's level over all looks of a run (Bonferroni)."""


@dataclass(frozen=True, slots=True)
class Look:
    """One statistic at one generation. `limit` is where a warning starts and `beyond` whether it was passed, `p`
    one-sided towards collapse, `effect` in percent of the baseline (for log RKE of the number of modes, its
    exponential). `trend` is Mann-Kendall's p."""

    generation: int
    value: float
    limit: float
    p: float
    beyond: bool
    effect: float | None
    cusum: float
    trend: float | None


@dataclass(frozen=True, slots=True)
class Course:
    """One statistic over the generations that could be judged, and its mean over generation 0's batches. The first
    generation of each event, None where it did not happen. Not judged: no looks, and `why`."""

    statistic: Name
    baseline: float | None
    looks: tuple[Look, ...]
    first_warning: int | None = None
    first_alarm: int | None = None
    first_drift: int | None = None
    first_cusum: int | None = None
    first_trend: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """The value of one generation, and the standard error of its difference to the baseline's mean."""

    generation: int
    value: float
    error: float


def course(
    name: Name, mean: float, start: float, points: Sequence[Point], df: float, level: float, rule: Rule
) -> Course:
    """One statistic over the generations, judged against the baseline's `mean`; `df` are those of the errors.

    `start` stands for generation 0 in the trend: a value that varies as much as those of the points.
    """
    sign = SIGN[name]
    t_values = [sign * (point.value - mean) / point.error for point in points]
    sums = cusum(t_values, rule.cusum_k)
    series = [sign * start, *(sign * point.value for point in points)]
    looks = tuple(
        Look(
            generation=point.generation,
            value=point.value,
            limit=mean + sign * upper_limit(level, df) * point.error,
            p=upper_p(t, df),
            beyond=upper_p(t, df) <= level,
            effect=_effect(name, point.value, mean),
            cusum=total,
            trend=rising_trend(series[: place + 2]),
        )
        for place, (point, t, total) in enumerate(zip(points, t_values, sums, strict=True))
    )
    trend_level = TREND / max(1, max(rule.planned, len(looks)) + 2 - MIN_POINTS)
    return Course(
        name,
        mean,
        looks,
        first_warning=next((look.generation for look in looks if look.beyond), None),
        first_alarm=_second(looks, [look.beyond for look in looks]),
        first_drift=_second(looks, [upper_p(-t, df) <= level for t in t_values]),
        first_cusum=next((look.generation for look in looks if look.cusum > rule.cusum_h), None),
        first_trend=next((one.generation for one in looks if one.trend is not None and one.trend <= trend_level), None),
    )


def _second(looks: Sequence[Look], flags: Sequence[bool]) -> int | None:
    place = second_in_succession(flags)
    return None if place is None else looks[place].generation


def _effect(name: Name, value: float, mean: float) -> float | None:
    if name == "log RKE":
        return 100 * math.expm1(value - mean)
    return 100 * (value / mean - 1) if mean > 0 else None


def figure(found: Course, look: Look) -> str:
    """`nnR is 0.612 in generation 3 (0.522 in generation 0, +17.2 %, p .003)`."""
    what = " of its modes" if found.statistic == "log RKE" else ""
    effect = "" if look.effect is None else f", {look.effect:+.1f} %{what}"
    p = "p < .001" if look.p < 0.001 else f"p {look.p:.3f}".replace("0.", ".", 1)
    return (
        f"{found.statistic} is {look.value:.3f} in generation {look.generation} "
        f"({found.baseline or 0.0:.3f} in generation 0{effect}, {p})"
    )


def remarks(found: Course) -> list[str]:
    """What else there is to say of one statistic: why it is missing, drift the other way, CUSUM, trend."""
    name = found.statistic
    if not found.looks:
        return [f"{name} is not judged: {found.why}."]
    said: list[str] = []
    if found.first_drift is not None:
        way = "nearer to the anchors" if name == "nnR" else "more spread out"
        said.append(
            f"{name} moved the other way from generation {found.first_drift} on: the items are {way} than generation "
            "0. That is drift, not collapse, and never alarms."
        )
    if found.first_cusum is not None:
        said.append(f"CUSUM of {name} is beyond its limit from generation {found.first_cusum} on.")
    if found.first_trend is not None:
        said.append(f"{name} has a trend towards collapse (Mann-Kendall) from generation {found.first_trend} on.")
    return said
