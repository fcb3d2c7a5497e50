"""What a unit of work takes: in the finished runs of a store, and on this machine now. For `harness.scale`."""

from __future__ import annotations

import sqlite3
import time
import tracemalloc
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from harness.clean import Item
from harness.embed import CACHE, DIMENSIONS
from harness.filters import enabled
from harness.forecast import forecast
from harness.llm.cache import CALLS_FILE
from harness.progress import CALLS, EMBEDDING, PREDICTION, TRAINING
from harness.records import Decision, Example, Origin, Verdict
from harness.reports import RunReport
from harness.scale import Rates, Work, work_of
from harness.spec import Spec
from harness.store import Store, adapter, dumps

FILTERING = "filtering"
SHARES = {CALLS: "calls", EMBEDDING: "texts", TRAINING: "steps", PREDICTION: "predicted"}
"""Kinds of stages whose units are counted, and the names of those units in `Work`."""
SHORTEST = 1.0
"""Seconds of a kind from which on a rate is taken from it."""
VECTORS = 20_000
RECORDS = 5_000
ARTEFACTS = 50
"""Most artefacts of a kind that are looked at for their size."""
WEIGHTS = 500_000_000
"""Bytes of a process that holds torch and the packaged models; used until a run was measured."""
DISK = {"call": 2_500.0, "text": 1_700.0, "candidate": 700.0, "verdict": 200.0, "adapter": 3e6, "fixed": 0.0}
"""Bytes per unit until a store was measured."""


@dataclass(frozen=True, slots=True)
class Here:
    """This machine now: seconds to compare two vectors, and to write and read a verdict; bytes of a record."""

    pair: float
    line: float
    record: float


def finished_like(spec: Spec, reports: Iterable[RunReport], but: str) -> list[RunReport]:
    """Those runs whose units of work are like this spec's: the same student, recipe and endpoints. The run `but`, the
    spec's own, is left out, and so are runs of a version that counted no units."""
    return [
        report
        for report in reports
        if report.id != but and report.units and (other := spec_of(report)) is not None and _alike(spec, other)
    ]


def _alike(spec: Spec, other: Spec) -> bool:
    return (
        all(getattr(spec, name) == getattr(other, name) for name in ("llm", "train", "causal", "task"))
        and spec.generate.samples_per_call == other.generate.samples_per_call
    )


def spec_of(report: RunReport) -> Spec | None:
    """The spec of a run, None where another version wrote it."""
    try:
        return Spec.model_validate({**report.spec, "runtime": {}})
    except ValidationError:
        return None


def rates_of(spec: Spec, reports: Sequence[RunReport], items: Sequence[Item], store: Path, here: Here) -> Rates:
    """Rates from these runs (see `finished_like`) and the files of their store. `items` are the source's, used where a
    run has the same one. Without runs all but what this machine takes is assumed or None."""
    plain = _plain(here)
    done = [
        _Done(report, known, items if known.data.source == spec.data.source else ())
        for report in reports
        if (known := spec_of(report)) is not None
    ]
    if not done:
        return plain
    seconds = {
        kind: _each([(one.report.seconds.get(kind, 0.0), one.report.units.get(kind, 0)) for one in done])
        for kind in SHARES
    }
    works = [one.work(plain) for one in done]
    sifted = [(one.report.seconds.get(FILTERING, 0.0), work.sifted) for one, work in zip(done, works, strict=True)]
    seconds[FILTERING] = _each(sifted, least=0.0)
    lines = [work.sifted * len(enabled(one.spec.filters)) * here.line for one, work in zip(done, works, strict=True)]
    fixed = [max(0.0, one.rest - spent) for one, spent in zip(done, lines, strict=True)]
    peaks = [one.report.memory - work.candidates * here.record for one, work in zip(done, works, strict=True)]
    own = [pair for pair in zip(done, works, strict=True) if pair[0].alone]
    return Rates(
        runs=tuple(one.report.id for one in done),
        corrections=_corrections(own),
        seconds=seconds,
        pair=here.pair,
        line=here.line,
        fixed=sum(fixed) / len(fixed),
        standing=_share(done, "duplicates"),
        kept=_share(done, ""),
        disk=disk_of(store, len(done)),
        record=here.record,
        memory=max(WEIGHTS, *peaks),
    )


def _plain(here: Here) -> Rates:
    none: dict[str, float | None] = dict.fromkeys((*SHARES, FILTERING))
    return Rates((), {}, none, here.pair, here.line, 0.0, 1.0, 1.0, DISK, here.record, WEIGHTS)


@dataclass(frozen=True, slots=True)
class _Done:
    report: RunReport
    spec: Spec
    items: Sequence[Item]

    def work(self, rates: Rates) -> Work:
        """What was to be expected of the run beforehand."""
        found = forecast(self.spec, self.items)
        return work_of(self.spec, found, len(self.items) or sum(found.sizes.values()), rates)

    @property
    def alone(self) -> bool:
        """Whether the run did all that it stands on, in one go: it found nothing that another run had paid for."""
        return self.report.cost.calls == self.report.used.calls == self.report.units.get(CALLS)

    @property
    def rest(self) -> float:
        """Seconds of stages that are not counted by units."""
        return sum(spent for kind, spent in self.report.seconds.items() if kind not in (*SHARES, FILTERING))


def _each(pairs: Sequence[tuple[float, float]], least: float = SHORTEST) -> float | None:
    seconds, units = (sum(column) for column in zip(*pairs, strict=True))
    return seconds / units if units and seconds >= least else None


def _corrections(own: Sequence[tuple[_Done, Work]]) -> dict[str, float]:
    """Done ÷ forecast, over all runs that did all their work themselves."""
    done: dict[str, float] = dict.fromkeys(("prompt_tokens", "completion_tokens", *SHARES.values()), 0.0)
    for one, _ in own:
        done["prompt_tokens"] += one.report.cost.prompt_tokens
        done["completion_tokens"] += one.report.cost.completion_tokens
        for kind, name in SHARES.items():
            done[name] += one.report.units.get(kind, 0)
    forecasts = {name: sum(float(getattr(work, name)) for _, work in own) for name in done}
    return {name: value / forecasts[name] for name, value in done.items() if value and forecasts[name]}


def _share(done: Sequence[_Done], filter_: str) -> float:
    """Share of candidates that come to this filter, or through all of them ("")."""
    planned = arrived = 0
    for one in done:
        names = ["parsed", *(item.name for item in enabled(one.spec.filters)), "accepted"]
        before = names[names.index(filter_) - 1] if filter_ in names else "accepted" if not filter_ else "parsed"
        for row in one.report.rounds[-1].funnel:
            planned += row.counts.get("planned", 0)
            arrived += row.counts.get(before, 0)
    return arrived / planned if planned else 1.0


def disk_of(root: Path, runs: int) -> dict[str, float]:
    """Bytes per unit in the store at `root`, which holds so many runs."""
    store = Store(root)
    out = dict(DISK)
    for kind, name, table in (("call", CALLS_FILE, "calls"), ("text", CACHE, "vectors")):
        rows = _rows(root / name, table)
        if rows:
            out[kind] = sum(path.stat().st_size for path in root.glob(f"{name}*")) / rows
    for kind, stage, file in (
        ("candidate", "candidates", "candidates.jsonl"),
        ("verdict", "verdicts", "verdicts.jsonl"),
    ):
        found = [store.find(ident).path for ident in list(store.ids(stage))[:ARTEFACTS]]
        lines = sum(len((path / file).read_bytes().splitlines()) for path in found)
        if lines:
            out[kind] = sum(map(_size, found)) / lines
    adapters = [_size(store.find(ident).path) for ident in list(store.ids("adapter"))[:ARTEFACTS]]
    if adapters:
        out["adapter"] = sum(adapters) / len(adapters)
    counted = {"candidates", "verdicts", "adapter", "probabilities"}
    rest = [path for path in (root / "artefacts").glob("*") if path.name not in counted]
    return out | {"fixed": sum(map(_size, rest)) / runs}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _rows(path: Path, table: str) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - names of ours


def measure_here() -> Here:
    """Half a second of work: vectors compared one with many, as the duplicates filter does; records made, written and
    read."""
    vectors = np.random.default_rng(0).standard_normal((VECTORS, DIMENSIONS), dtype=np.float32)
    pair = min(_compared(vectors) for _ in range(5)) / VECTORS
    lines = [dumps(Verdict, _verdict(number)) for number in range(RECORDS)]
    codec = adapter(Verdict)
    start = time.perf_counter()
    for line in lines:
        dumps(Verdict, codec.validate_json(line))
    spent = (time.perf_counter() - start) / RECORDS
    return Here(pair, spent, _record_bytes())


def _compared(vectors: np.ndarray) -> float:
    start = time.perf_counter()
    (vectors @ vectors[0]).argmax()
    return time.perf_counter() - start


def _record_bytes() -> float:
    """Bytes of a row to train on and of a verdict, as they are read from disk."""
    rows = [dumps(Example, _row(number)) for number in range(RECORDS)]
    verdicts = [dumps(Verdict, _verdict(number)) for number in range(RECORDS)]
    tracemalloc.start()
    try:
        held: list[object] = [adapter(Example).validate_json(line) for line in rows]
        held += [adapter(Verdict).validate_json(line) for line in verdicts]
        return tracemalloc.get_traced_memory()[0] / RECORDS
    finally:
        tracemalloc.stop()


def _row(number: int) -> Example:
    return Example(f"syn-{number:012}", f"text {number} of " + 10 * "words ", "label", {}, Origin.SYNTHETIC)


def _verdict(number: int) -> Verdict:
    return Verdict(
        f"syn-{number:012}", "duplicates", 1, Decision.KEEP, "", 0.5, evidence=f"cosine .5 to syn-{number:012}"
    )


def actual_of(report: RunReport) -> Mapping[str, float]:
    """What a finished run took, under the names of `Work` and of `Needs`: to be laid beside the forecast."""
    named = {name: float(report.units.get(kind, 0)) for kind, name in SHARES.items()}
    kinds = {CALLS: "generation", EMBEDDING: "embedding", TRAINING: "training", PREDICTION: "prediction"}
    return {
        **named,
        "prompt_tokens": report.cost.prompt_tokens,
        "completion_tokens": report.cost.completion_tokens,
        "usd": report.cost.usd,
        **{f"seconds/{name}": report.seconds.get(kind, 0.0) for kind, name in kinds.items()},
        "seconds": sum(report.seconds.values()),
        "memory": report.memory,
    }
