"""What a suite would take, before anything is spent (`harness compare suite.yaml --dry-run`), and what is shared.

Two variants share a call where the stages would send the same request. The requests are rendered as `harness plan`
renders them; those of later rounds depend on what each variant's dev report steers, so what of them is shared cannot be
known beforehand: "at least" counts them as shared, "at most" as every variant's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from harness.clean import Item
from harness.dryrun import Rehearsal, rehearse
from harness.forecast import Forecast, Table, forecast, trainings, usd
from harness.llm.wire import Request
from harness.records import Cost
from harness.reports import RunReport
from harness.spec import Spec
from harness.store import digest
from harness.suitefile import LoadedSuite

SHARED_TRAININGS = ("labellers, on folds of the seeds", "seeds, once", "all_real, once")
"""Trainings on real rows, which variants with the same student and recipe have in common."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds per call and per training, from the finished runs of the store; None where it has none."""

    runs: int
    call: float | None
    training: float | None


@dataclass(frozen=True, slots=True)
class VariantForecast:
    """`alone` is what one run takes by itself, as expected; `least` and `most` what it adds to the variants before it.
    `state` says how many of its runs are finished already."""

    name: str
    finished: int
    seeds: int
    alone: Cost
    least: Cost
    most: Cost
    trainings: int
    new_trainings: int


@dataclass(frozen=True, slots=True)
class SuiteForecast:
    name: str
    seeds: int
    variants: tuple[VariantForecast, ...]
    rates: Rates
    notes: tuple[str, ...]


@dataclass
class _Seen:
    """What the variants before took, by what makes it the same."""

    certain: set[str] = field(default_factory=set[str])
    possible: set[str] = field(default_factory=set[str])


def forecast_suite(
    suite: LoadedSuite, items: Sequence[Item], finished: Mapping[str, Collection[int]], rates: Rates
) -> SuiteForecast:
    """Per variant and for one seed; seeds share nothing but the packages. `finished` are the seeds that each variant
    has finished runs of."""
    calls, trained = _Seen(), set[str]()
    out: list[VariantForecast] = []
    for variant in suite.variants:
        spec = variant.specs[suite.seeds[0]]
        found, rehearsal = forecast(spec, items), rehearse(spec, items)
        least, most = _added(spec, found, rehearsal, calls)
        total, new = _trainings(spec, found, trained)
        done = len(finished.get(variant.name, ()))
        out.append(VariantForecast(variant.name, done, len(suite.seeds), found.expected, least, most, total, new))
    return SuiteForecast(suite.name, len(suite.seeds), tuple(out), rates, tuple(_notes(rates)))


def rates_of(reports: Sequence[RunReport]) -> Rates:
    """What calls and trainings took in finished runs; a training's time is a run's by the adapters that it made."""
    paid = [report for report in reports if report.cost.calls]
    calls = sum(report.cost.calls for report in paid)
    seconds = sum(report.seconds.get("calls", 0.0) for report in paid)
    made = sum(_adapters(report) for report in paid)
    training = sum(report.seconds.get("training", 0.0) for report in paid)
    return Rates(len(paid), seconds / calls if calls else None, training / made if made else None)


def _adapters(report: RunReport) -> int:
    """Adapters that a run trained, as its spec forecasts them: the report names only those that it delivers."""
    from pydantic import ValidationError

    try:
        spec = Spec.model_validate({**report.spec, "runtime": {}})
    except ValidationError:
        return 0
    return sum(trainings(spec).values())


def _added(spec: Spec, found: Forecast, rehearsal: Rehearsal, seen: _Seen) -> tuple[Cost, Cost]:
    """(at least, at most) what this variant's calls add to those before."""
    least, most = Cost(), Cost()
    for one in found.calls:
        certain, key = _sameness(spec, rehearsal, one.role, one.purpose)
        known = seen.certain if certain else seen.possible
        if key not in known:
            least += one.expected
        if not certain or key not in known:
            most += one.expected
        known.add(key)
    return least, most


def _sameness(spec: Spec, rehearsal: Rehearsal, role: str, purpose: str) -> tuple[bool, str]:
    """Whether it is certain before the run that variants with the same key make the same calls, and the key."""
    endpoint = getattr(spec.llm, role).model_dump(mode="json", exclude={"api_key_env", "price"})
    if purpose == "round 1":
        return True, digest([purpose, endpoint, _requests(rehearsal.first)])
    if purpose == "frozen probe":
        asked = [spec.evaluate.probe, spec.task, spec.matrix, spec.generate.sampling]
        parts = [one.model_dump(mode="json") for one in asked]
        return True, digest([purpose, endpoint, parts, spec.generate.shots, spec.stop.max_rounds])
    if purpose.startswith("round") or purpose == "control static":
        steered = bool(spec.feedback.policies) and purpose != "control static"
        rendered = rehearsal.first if purpose == "control static" else rehearsal.later
        return not steered, digest([purpose, endpoint, _requests(rendered), spec.stop.max_rounds])
    if purpose.startswith("control"):
        return purpose == "control naive", digest([purpose, endpoint, _requests(rehearsal.first)])
    if purpose.startswith("gate"):
        return True, digest([purpose, endpoint, _requests(rehearsal.gate)])
    if purpose.startswith("tags"):
        return True, digest([purpose, endpoint, _requests(rehearsal.tags)])
    return False, digest([purpose, endpoint, spec.task.model_dump(mode="json")])


def _requests(requests: Sequence[Request]) -> str:
    return digest([[repr(one)] for one in requests])


def _trainings(spec: Spec, found: Forecast, seen: set[str]) -> tuple[int, int]:
    """(all, those that no variant before has made)"""
    total = sum(found.trainings.values())
    recipe = spec.causal if spec.task.answer else spec.train
    new = total
    for what in SHARED_TRAININGS:
        count = found.trainings.get(what, 0)
        folds = spec.filters.consistency.folds if what == SHARED_TRAININGS[0] else 0
        key = digest([what, count, folds, recipe.model_dump(mode="json")])
        if key in seen:
            new -= count
        seen.add(key)
    return total, new


def _notes(rates: Rates) -> list[str]:
    notes = [
        "Figures are for one seed but in the last row, and as expected: every round's first wave (`harness plan` on "
        "the base says what they rest on).",
        "At least: what a later round asks is the same in all variants that steer alike. At most: feedback words every "
        "variant's later rounds otherwise, and nothing of them is shared.",
        "Trainings on real rows (labellers, seeds, all_real) are made once for all variants of a seed and student.",
    ]
    if rates.call is None or rates.training is None:
        return [*notes, "Time is not forecast: this store has no finished run to measure calls and trainings by."]
    return [
        *notes,
        f"Time: {rates.call:.2f} s a call and {rates.training:.1f} s a training, as in {rates.runs} finished run(s) of "
        "this store; one run at a time; embedding, filters and scoring not counted.",
    ]


def suite_tables(found: SuiteForecast) -> list[Table]:
    """What `--dry-run` shows."""
    columns = ("variant", "runs left", "calls alone", "new calls", "new tokens", "new USD", "trainings", "new", "time")
    rows = [_row(one, found.rates) for one in found.variants]
    total = _total(found)
    alone = sum(one.alone.calls * one.seeds for one in found.variants)
    title = f"Suite {found.name}: {len(found.variants)} variants × {found.seeds} seed(s)"
    first = found.variants[0].alone.calls * found.seeds
    shared = (
        f"All seeds: {alone:,} calls if nothing were shared; {_range(total[0].calls, total[1].calls)} as it is, "
        f"{_range(total[0].calls / first, total[1].calls / first, 2)} times the base's own {first:,}."
    )
    return [
        Table(title, columns, (*rows, _last(found, total))),
        Table("What these numbers rest on", ("",), tuple((note,) for note in (shared, *found.notes))),
    ]


def _total(found: SuiteForecast) -> tuple[Cost, Cost]:
    def times(cost: Cost) -> Cost:
        return sum((cost for _ in range(found.seeds)), Cost())

    least = sum((times(one.least) for one in found.variants), Cost())
    return least, sum((times(one.most) for one in found.variants), Cost())


def _row(one: VariantForecast, rates: Rates) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.seeds - one.finished} of {one.seeds}",
        f"{one.alone.calls:,}",
        *_costs(one.least, one.most),
        f"{one.trainings:,}",
        f"{one.new_trainings:,}",
        _time(one.least.calls, one.most.calls, one.new_trainings, rates),
    )


def _last(found: SuiteForecast, total: tuple[Cost, Cost]) -> tuple[str, ...]:
    left = sum(one.seeds - one.finished for one in found.variants)
    made = sum(one.new_trainings for one in found.variants) * found.seeds
    return (
        "together, all seeds",
        f"{left} of {len(found.variants) * found.seeds}",
        f"{sum(one.alone.calls for one in found.variants) * found.seeds:,}",
        *_costs(*total),
        f"{sum(one.trainings for one in found.variants) * found.seeds:,}",
        f"{made:,}",
        _time(total[0].calls, total[1].calls, made, found.rates),
    )


def _costs(least: Cost, most: Cost) -> tuple[str, str, str]:
    low, high = (one.prompt_tokens + one.completion_tokens for one in (least, most))
    money = usd(least.usd) if least.usd == most.usd else f"{usd(least.usd)} to {usd(most.usd)}"
    return _range(least.calls, most.calls), _range(low, high), money


def _range(low: float, high: float, digits: int = 0) -> str:
    return f"{low:,.{digits}f}" if low == high else f"{low:,.{digits}f} to {high:,.{digits}f}"


def _time(least: int, most: int, trainings: int, rates: Rates) -> str:
    if rates.call is None or rates.training is None:
        return "–"
    low, high = (count * rates.call + trainings * rates.training for count in (least, most))
    return f"{low / 60:.0f} min" if round(low / 60) == round(high / 60) else f"{low / 60:.0f} to {high / 60:.0f} min"
