"""The tables of `harness plan --scale`. `harness.scale` has the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.forecast import Table, usd
from harness.pages import duration
from harness.scale import DAY, Limit, Machine, Needs, Rates

WORK = (
    ("candidates", "candidates"),
    ("calls", "calls"),
    ("prompt tokens", "prompt_tokens"),
    ("answer tokens", "completion_tokens"),
    ("USD", "usd"),
    ("texts embedded", "texts"),
    ("training steps", "steps"),
    ("items × students predicted", "predicted"),
    ("candidates × passes through the filters", "sifted"),
    ("vectors compared with vectors", "pairs"),
    ("steps of one epoch over accepted rows", "epoch"),
)
"""Name in the table, and in `Work`."""


def scale_tables(
    sizes: Sequence[Needs], rates: Rates, machine: Machine, limits: Sequence[Limit], actual: Mapping[str, float] | None
) -> list[Table]:
    """`sizes[0]` is the spec as it is; `actual` what its run took (`scalerates.actual_of`), where it is finished."""
    heads = tuple(_count(one.work.candidates) for one in sizes)
    columns = (
        "candidates",
        f"{heads[0]} (this spec)",
        *heads[1:],
        *(("its run took", "forecast ÷ taken") if actual else ()),
    )
    rows = [
        *(
            _row(label, name, [getattr(one.work, name) for one in sizes], actual, usd if name == "usd" else _count)
            for label, name in WORK[1:]
        ),
        *_times(sizes, actual),
        *(_row(f"disk: {part}", "", [one.disk[part] for one in sizes], actual, _bytes) for part in sizes[0].disk),
        _row("disk", "disk", [sum(one.disk.values()) for one in sizes], actual, _bytes),
        *(_row(f"memory: {part}", "", [one.memory[part] for one in sizes], actual, _bytes) for part in sizes[0].memory),
        _row("memory", "memory", [sum(one.memory.values()) for one in sizes], actual, _bytes),
    ]
    return [
        Table("At other sizes", columns, tuple(rows)),
        Table(
            f"What gives way first, on this machine ({_bytes(machine.memory)} of memory and {_bytes(machine.disk)} of "
            f"disk free; a day for each stage)",
            ("part", "limited by", "bears candidates", "beyond that"),
            tuple((one.part, one.resource, _round(one.candidates), one.instead) for one in limits),
        ),
        Table("What these numbers rest on", ("",), tuple((note,) for note in _notes(rates, sizes))),
    ]


def _times(sizes: Sequence[Needs], actual: Mapping[str, float] | None) -> list[tuple[str, ...]]:
    rows = [
        _row(f"time: {part}", f"seconds/{part}", [one.seconds[part] for one in sizes], actual, _time)
        for part in sizes[0].seconds
    ]
    totals = [None if None in one.seconds.values() else sum(filter(None, one.seconds.values())) for one in sizes]
    return [*rows, _row("time", "seconds", totals, actual, _time)]


def _row(
    label: str,
    name: str,
    values: Sequence[float | None],
    actual: Mapping[str, float] | None,
    show: Callable[[float], str],
) -> tuple[str, ...]:
    cells = ["–" if value is None else show(value) for value in values]
    if actual is None:
        return label, *cells
    took, forecast = actual.get(name), values[0]
    if took is None:
        return label, *cells, "", ""
    ratio = f"{forecast / took:.2f}" if forecast is not None and took else ""
    return label, *cells, show(took), ratio


def _time(seconds: float) -> str:
    """
    >>> _time(90.0), _time(90_000_000.0)
    ('1 min 30 s', '1,042 days')
    """
    return duration(seconds) if seconds < 2 * DAY else f"{seconds / DAY:,.0f} days"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value < 1e9 else f"{value:.1e}"


def _round(value: float) -> str:
    """
    >>> _round(1_234_567.0), _round(812.0)
    ('1,200,000', '810')
    """
    digits = max(0, len(str(int(value))) - 2)
    return f"{round(value / 10**digits) * 10**digits:,}"


def _bytes(value: float) -> str:
    """
    >>> _bytes(1_500_000.0), _bytes(2.5e12)
    ('1.5 MB', '2.5 TB')
    """
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value / 1e3:,.1f} kB"


def _notes(rates: Rates, sizes: Sequence[Needs]) -> list[str]:
    notes = [
        "Calls, tokens, texts, steps and predictions follow from the spec; training steps do not grow with the rows, "
        "so at other sizes look at those of one epoch.",
        f"A part gives way where it alone takes all the memory or disk that is free, or a day ({DAY:,} s). Limits are "
        "extrapolated and rounded to two digits.",
        "The exact search for duplicates compares each candidate with all before it, so its work grows with the "
        "square; all else grows in proportion. Real data, frozen probe and gate do not grow.",
        f"Measured here, now: {rates.pair * 1e9:.1f} ns to compare two vectors, {rates.line * 1e6:.0f} µs to write and "
        f"read a verdict, {rates.record / 1e3:.1f} kB of memory for a row and a verdict.",
    ]
    if not rates.runs:
        return [
            *notes,
            "No finished run in this store has this spec's student, endpoints and task, so times of models are not "
            "known, and bytes are assumed: run it once at a small size (`--set generate.accepted_per_round=…`).",
        ]
    each = ", ".join(f"{kind} {spent:.3g} s" for kind, spent in rates.seconds.items() if spent is not None)
    notes.append(f"From {len(rates.runs)} finished run(s) with the same student and endpoints, per unit: {each}.")
    unknown = [part for part, spent in sizes[0].seconds.items() if spent is None]
    if unknown:
        notes.append(f"Those runs did none of this, so its time is not known: {', '.join(unknown)}.")
    if not rates.corrections:
        notes.append("None of them did all of its work itself, so counts are as forecast, uncorrected.")
    return notes
