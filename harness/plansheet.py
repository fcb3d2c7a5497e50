"""A forecast as tables of plain text, which the command line prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.forecast import Forecast, Limit
from harness.records import Cost


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` have one cell per column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(forecast: Forecast) -> list[Table]:
    """What `harness plan` shows, in reading order. Cells may hold text from the spec; see `plaintext.printable`."""
    return [
        _real(forecast),
        _matrix(forecast),
        _calls(forecast),
        Table("Budget", ("limit", "set to", "expected", "at most", "so"), tuple(map(_limit, forecast.limits))),
        _trainings(forecast),
        Table("What these numbers rest on", ("",), tuple((note,) for note in forecast.notes)),
    ]


def _real(forecast: Forecast) -> Table:
    rows = [(role.value, f"{size:,}") for role, size in forecast.sizes.items()]
    rows.append(("asked for", f"{sum(forecast.sizes.values()):,}"))
    rows.append(("distinct in the source", "not read yet" if forecast.items is None else f"{forecast.items:,}"))
    return Table("Real items", ("role", "items"), tuple(rows))


def _matrix(forecast: Forecast) -> Table:
    cells = f"{forecast.cells:,} allowed cells" if forecast.exact else f"{forecast.cells:,} cells before the rules"
    total = forecast.plan.candidates
    title = f"Round 1: {total:,} candidates from {len(forecast.plan.quotas):,} of {cells}"
    rows = [
        (name if first else "", value, f"{count:,}", f"{count / total:.1%}")
        for name, counts in forecast.drawn.items()
        for first, (value, count) in _marked(counts.items())
    ]
    return Table(title, ("dimension", "value", "candidates", "share"), tuple(rows))


def _marked(pairs: Iterable[tuple[str, int]]) -> list[tuple[bool, tuple[str, int]]]:
    return [(index == 0, pair) for index, pair in enumerate(pairs)]


def _calls(forecast: Forecast) -> Table:
    columns = (
        "role",
        "for",
        "model",
        "calls",
        "prompt tokens",
        "answer tokens",
        "USD",
        "at most: calls",
        "tokens",
        "USD",
    )
    rows = [(one.role, one.purpose, one.model, *_spent(one.expected), *_bound(one.most)) for one in forecast.calls]
    rows.append(("together", "", "", *_spent(forecast.expected), *_bound(forecast.most)))
    return Table("Calls (estimated; expected, then at most)", columns, tuple(rows))


def _spent(cost: Cost) -> tuple[str, ...]:
    return f"{cost.calls:,}", f"{cost.prompt_tokens:,}", f"{cost.completion_tokens:,}", usd(cost.usd)


def _bound(cost: Cost) -> tuple[str, ...]:
    return f"{cost.calls:,}", f"{cost.prompt_tokens + cost.completion_tokens:,}", usd(cost.usd)


def usd(amount: float) -> str:
    """
    >>> usd(0.0), usd(0.00123), usd(1234.5)
    ('0', '0.0012', '1,234.50')
    """
    if amount == 0:
        return "0"
    return f"{amount:.4f}" if amount < 1 else f"{amount:,.2f}"


def _limit(one: Limit) -> tuple[str, ...]:
    def shown(value: float | None) -> str:
        if value is None:
            return "–"
        return usd(value) if one.name == "usd" else f"{value:,.0f}"

    return one.name, shown(one.limit), shown(one.expected), shown(one.most), one.verdict


def _trainings(forecast: Forecast) -> Table:
    rows = [(what, f"{count:,}") for what, count in forecast.trainings.items()]
    total = sum(forecast.trainings.values())
    rows.append(("together", f"{total:,} of at most {forecast.steps:,} steps each"))
    return Table("Trainings", ("arm", "adapters"), tuple(rows))
