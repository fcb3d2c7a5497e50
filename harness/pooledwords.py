"""What runs pooled over seeds came to, in rows and sentences for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from harness.forecast import Table
from harness.pages import p_value
from harness.records import Estimate, Role
from harness.replicates import PooledDifference, Replicates

COLUMNS = ("comparison", "mean", "over items", "with seed noise", "p", "p, adjusted", "detectable", "by seed")
HOW = (
    "p and detectable allow for items and training seeds, as the interval with seed noise does; adjusted (Holm) are "
    "the {claims} claims."
)
ON_DEV = (
    "The test splits stayed sealed (evaluate.test is false), so this is dev, which steered the rounds: it flatters the "
    "loop. Good for choosing between variants, no result."
)


def pooled_tables(pooled: Replicates) -> list[Table]:
    """The arms against seeds and, where there are any, the controls with what each side took."""
    count = len(pooled.runs)
    title = f"{count} seeds pooled, {pooled.metric} on {pooled.role.value}, points (95 % intervals)"
    tables = [Table(title, COLUMNS, tuple(map(_row, pooled.differences.values())))]
    if not pooled.controls:
        return tables
    rows = tuple(map(_row, pooled.controls.values()))
    tables.append(Table(f"Controls at equal calls and rows, {count} seeds pooled, points", COLUMNS, rows))
    spent = tuple(map(_spent, pooled.controls.values()))
    tables.append(
        Table(
            "What each side took, by seed: the loop / the control",
            ("control", "synthetic rows trained on", "generator calls"),
            spent,
        )
    )
    return tables


def pooled_lines(pooled: Replicates) -> list[str]:
    """How the figures are meant, what each control says, and the gap recovered."""
    said = [] if pooled.role is Role.TEST else [ON_DEV]
    said += [HOW.format(claims=pooled.claims), *(pooled_verdict(one) for one in pooled.controls.values())]
    share = pooled.recovered
    if share.items.value is None or share.items.low is None or share.items.high is None:
        return [*said, f"gap recovered: {share.items.note}"]
    by_seed = " ".join("–" if one is None else f"{one:.2f}" for one in share.per_run)
    said.append(f"gap recovered: {share.items.value:.2f} [{_share(share.items)}]; by seed {by_seed}")
    if share.total.low is not None:
        said.append(f"  with seed noise as well: [{_share(share.total)}]")
    return said


def pooled_verdict(one: PooledDifference) -> str:
    """One sentence for a control, whichever way it falls; it goes by the interval with seed noise."""
    total, name = one.pooled.total, f"{one.a} − {one.b}"
    if total.value is None or total.low is None or total.high is None:
        return f"{name}: not known, {total.note or 'there is no interval'}."
    figure = f"{points_of(total.value)} points [{points_of(total.low)}, {points_of(total.high)}]"
    sure = one.p_holm is not None and one.p_holm <= 0.05
    if total.low > 0 or total.high < 0:
        which = "more" if total.low > 0 else "less"
        doubt = "" if sure else ", though adjusted for the number of claims it could be chance"
        return f"{name}: the loop scores {which} than {one.b}{doubt}: {figure}."
    least = "" if one.detectable is None else f"; less than {100 * one.detectable:.1f} would usually not show"
    return f"{name}: no measurable effect: {figure}{least}."


def _row(one: PooledDifference) -> tuple[str, ...]:
    items, total = one.pooled.items, one.pooled.total
    return (
        f"{one.a} − {one.b}",
        points_of(items.value),
        span_of(items),
        span_of(total),
        p_words(one.p_value),
        p_words(one.p_holm),
        "–" if one.detectable is None else f"{100 * one.detectable:.1f}",
        " ".join(map(points_of, one.pooled.per_run)),
    )


def _spent(one: PooledDifference) -> tuple[str, str, str]:
    return one.b, _pairs(one.rows), _pairs(one.calls)


def _pairs(pairs: Iterable[tuple[int | None, int | None]]) -> str:
    return ", ".join(" / ".join("–" if each is None else f"{each:,}" for each in pair) for pair in pairs)


def span_of(one: Estimate) -> str:
    """`+1.0 to +3.2`, in points"""
    return "–" if one.low is None or one.high is None else f"{points_of(one.low)} to {points_of(one.high)}"


def _share(one: Estimate) -> str:
    return ", ".join("–" if end is None else f"{end:.2f}" for end in (one.low, one.high))


def p_words(value: float | None) -> str:
    """`.012`, `< .001`, or a dash"""
    return "–" if value is None else p_value(value)


def points_of(value: float | None) -> str:
    """`+3.2` for .032"""
    return "–" if value is None else f"{100 * value:+.1f}"
