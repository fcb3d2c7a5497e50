"""What a run takes at any size, from what finished runs took: counts, time, disk, memory; and which stage gives way
first (`harness plan x.yaml --scale`).

Counts follow from the spec (`harness.forecast`) and are corrected by what finished runs really did of what was
forecast for them. A unit of work (a call, a text, a training step …) takes what it took in those runs
(`harness.scalerates`). Beyond the sizes that were run this is extrapolation: linear in all but the comparison of
every candidate with every other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.controls import CONTROLS
from harness.embed import DIMENSIONS
from harness.filters import enabled
from harness.forecast import Forecast
from harness.records import Cost, Role
from harness.spec import Spec

DAY = 86_400
"""Seconds that a stage may take before it counts as one that gave way."""
MOST = 10**13
"""Candidates up to which limits are looked for."""
CORRECTED = ("calls", "prompt_tokens", "completion_tokens", "texts", "steps", "predicted")
"""Counts that finished runs correct; their names in `Work`."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a run does. `texts` are embedded, `steps` are an optimiser's, `predicted` are items × students, `sifted`
    candidates × passes through the filters, `pairs` vectors compared by the duplicates filter, `epoch` the steps that
    one pass over the accepted rows would take."""

    candidates: float
    calls: float
    prompt_tokens: float
    completion_tokens: float
    usd: float
    texts: float
    steps: float
    predicted: float
    sifted: float
    pairs: float
    adapters: float
    epoch: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What finished runs (`runs`, their ids) and this machine take for a unit of work.

    `corrections` are done ÷ forecast, by the names in `CORRECTED`. `seconds` per unit by kind of stage, None where no
    run has done any; `pair` and `line` are seconds for a comparison of two vectors, and to write and read a verdict.
    `fixed` are a run's other seconds. `standing` and `kept` are the shares of candidates that reach the duplicates
    filter and that are accepted. Bytes: `disk` by kind of file and unit, `record` of a row and a verdict in
    memory, `memory` of a process that holds the models and nothing else.
    """

    runs: tuple[str, ...]
    corrections: Mapping[str, float]
    seconds: Mapping[str, float | None]
    pair: float
    line: float
    fixed: float
    standing: float
    kept: float
    disk: Mapping[str, float]
    record: float
    memory: float


@dataclass(frozen=True, slots=True)
class Needs:
    """What a size takes: `work`, and by part `seconds` (None: not measured), bytes of `disk` and of `memory`."""

    work: Work
    seconds: Mapping[str, float | None]
    disk: Mapping[str, float]
    memory: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is: bytes of memory and disk that are free."""

    memory: int
    disk: int


@dataclass(frozen=True, slots=True)
class Limit:
    """How many candidates a part bears by `resource` (`time`, `memory`, `disk`), and what takes its place beyond."""

    part: str
    resource: str
    candidates: float
    instead: str


def work_of(spec: Spec, found: Forecast, items: int, rates: Rates, candidates: float | None = None) -> Work:
    """The work of a run with so many candidates over all rounds; as many as the spec plans if None. `items` are the
    source's distinct texts."""
    rounds, planned = spec.stop.max_rounds, float(found.plan.candidates * spec.stop.max_rounds)
    times = 1.0 if candidates is None else candidates / planned
    per_round = planned * times / rounds
    cost = sum((_grown(one.expected, times, one.purpose) for one in found.calls), Cost())
    passes = 1 + spec.filters.consistency.passes * spec.filters.consistency.enabled
    seen = [passes * per_round * number for number in range(1, rounds + 1)]
    own = [name for name in spec.evaluate.controls if CONTROLS[name].own_calls]
    sides = 1 + len(own)
    standing = rates.standing * spec.filters.duplicates.enabled
    plain = Work(
        candidates=planned * times,
        calls=cost.calls,
        prompt_tokens=cost.prompt_tokens,
        completion_tokens=cost.completion_tokens,
        usd=cost.usd,
        texts=items + sides * planned * times,
        steps=sum(found.trainings.values()) * found.steps,
        predicted=_predicted(spec, found, sides, seen),
        sifted=sides * sum(seen),
        pairs=sides * sum((standing * one / passes) ** 2 / 2 * passes for one in seen),
        adapters=sum(found.trainings.values()),
        epoch=rates.kept * planned * times / _batch(spec),
    )
    right = {name: getattr(plain, name) * rates.corrections.get(name, 1.0) for name in CORRECTED}
    tokens = plain.prompt_tokens + plain.completion_tokens
    paid = (right["prompt_tokens"] + right["completion_tokens"]) / tokens if tokens else 1.0
    return replace(plain, usd=plain.usd * paid, **right)


def _grown(cost: Cost, times: float, purpose: str) -> Cost:
    """Calls of rounds and grades of rows grow with the candidates; gate, tags, hints and the frozen probe do not."""
    if not purpose.startswith(("round", "control", "grades")):
        return cost
    return Cost(
        calls=round(cost.calls * times),
        prompt_tokens=round(cost.prompt_tokens * times),
        completion_tokens=round(cost.completion_tokens * times),
        usd=cost.usd * times,
    )


def _predicted(spec: Spec, found: Forecast, sides: int, seen: list[float]) -> float:
    """Items × students: candidates by those of the seeds' folds and of self-training, dev and test by the arms."""
    rule, split = spec.filters.consistency, spec.data.split
    passes = 1 + rule.passes * rule.enabled
    total = float(sum(found.trainings.values()))
    readers = rule.folds * rule.enabled
    trained = spec.stop.max_rounds * rule.passes * rule.pass_folds * rule.enabled * sides
    arms = max(0.0, total - readers - trained)
    looked = arms * split.dev + len(spec.evaluate.arms) * (split.test if spec.evaluate.test else 0)
    candidates = readers * sides * seen[-1] / passes
    again = rule.passes * rule.pass_folds * rule.enabled * sides * sum(seen) / passes
    return looked + readers * split.seeds + (2 if spec.task.answer else 1) * (candidates + again)


def _batch(spec: Spec) -> int:
    return spec.causal.batch_size if spec.task.answer else spec.train.batch_size


def needs_of(spec: Spec, work: Work, rates: Rates) -> Needs:
    """Seconds, bytes on disk and bytes of memory that `work` takes."""
    held = sum(int(getattr(spec.data.split, role)) for role in (Role.DEV, Role.ANCHOR, Role.TEST))
    verdicts = work.sifted * len(enabled(spec.filters))
    sifting = rates.seconds.get("filtering")
    seconds = {
        "generation": _times(work.calls, rates.seconds.get("calls")),
        "embedding": _times(work.texts, rates.seconds.get("embedding")),
        "training": _times(work.steps, rates.seconds.get("training")),
        "prediction": _times(work.predicted, rates.seconds.get("prediction")),
        "duplicates": work.pairs * rates.pair,
        "other filters": None if sifting is None else work.sifted * sifting,
        "verdict files": verdicts * rates.line,
        "statistics, start": rates.fixed if rates.runs else None,
    }
    vector = 4 * DIMENSIONS
    return Needs(
        work,
        seconds,
        {
            "call cache": work.calls * rates.disk["call"],
            "vector cache": work.texts * rates.disk["text"],
            "candidates": work.candidates * rates.disk["candidate"],
            "verdict files": verdicts * rates.disk["verdict"],
            "adapters": work.adapters * rates.disk["adapter"],
            "probabilities": work.predicted * 8 * len(spec.task.labels),
            "other": rates.disk["fixed"],
        },
        {
            "models": rates.memory,
            # Candidates stay on disk: a filter's verdicts while it works, the rows that students are trained on.
            "rows and verdicts": work.candidates * rates.record,
            # Those of all candidates, their copies by text in the cache's answer, and those that stand for a group.
            "vectors": work.candidates * vector * 3,
            "cosines to held-out texts": work.candidates * held * 4,
        },
    )


def _times(units: float, each: float | None) -> float | None:
    return None if each is None else units * each


REPLACED = (
    ("generation", "time", "several endpoints behind one address (vLLM, data-parallel), runtime.limits raised"),
    ("embedding", "time", "embedding on several machines (--engine ray) or a GPU: runtime.device: cuda"),
    ("prediction", "time", "a GPU; or fewer students: filters.consistency.folds, passes"),
    (
        "duplicates",
        "time",
        "the index of the extra `scale`, which takes over from 100,000 rows on; its time is not in here",
    ),
    ("verdict files", "time", "columnar verdicts (Parquet), written once per wave"),
    ("training", "time", "a GPU; steps are set by the spec and do not grow with the rows"),
    ("rows and verdicts", "memory", "training rows read in blocks from the data set, not a list in one process"),
    ("vectors", "memory", "vectors in a memory-mapped file, read in blocks"),
    ("cosines to held-out texts", "memory", "the product in blocks of rows, with only the largest cosine kept"),
    ("call cache", "disk", "a call cache per worker, or an object store: one sqlite file has one writer"),
    ("vector cache", "disk", "float16 vectors, or no cache: embedding again may cost less than reading"),
    ("verdict files", "disk", "verdicts of new candidates only, instead of all in every pass"),
)
"""Part, resource, and what takes its place where it gives way."""


def limits(machine: Machine, needs: Callable[[float], Needs]) -> list[Limit]:
    """How many candidates each part bears on this machine, those that give way first in front. A part may take all the
    memory or disk that is free, or a day. Parts that were not measured are left out."""

    def taken(part: str, resource: str, candidates: float) -> float | None:
        found = needs(candidates)
        return {"time": found.seconds, "memory": found.memory, "disk": found.disk}[resource].get(part)

    there = {"time": float(DAY), "memory": float(machine.memory), "disk": float(machine.disk)}
    out = [
        Limit(part, resource, _largest(lambda n, p=part, r=resource: taken(p, r, n) or 0.0, there[resource]), instead)
        for part, resource, instead in REPLACED
        if taken(part, resource, 1.0) is not None
    ]
    return sorted((one for one in out if one.candidates < MOST), key=lambda one: one.candidates)


def _largest(taken: Callable[[float], float], limit: float) -> float:
    """The largest number of candidates that takes no more than `limit`; `taken` does not fall.

    >>> round(_largest(lambda n: 2.0 * n, 100.0))
    50
    """
    low, high = 0.0, float(MOST)
    if taken(high) <= limit:
        return high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if taken(middle) <= limit else (low, middle)
    return low
