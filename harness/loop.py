"""START HERE. One run, top to bottom: split, rounds of (plan → generate → filter → train → evaluate → feed back), test.

Every step is an artefact of the store, found again by what it was made of. So a killed run goes on where it was, and
a finished one is only read.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.embed import SentenceEmbedder
from harness.errors import StoreError
from harness.filters.leakage import overlaps
from harness.generate.feedback import first_plan, next_plan
from harness.labelling import CrossFitted
from harness.llm.client import open_client
from harness.progress import Progress, Watch
from harness.real import load_real, source_digest
from harness.records import Cost, DevReport, EvalReport, Plan, Role, RoundReport, RunReport
from harness.rounds import Bench, Harvest, Spender, funnel_of, gate_of, harvest, keep_plan, samples_of
from harness.scoring import DEV_ARMS, Scored, decision_of, score, train_arms
from harness.spec import Spec
from harness.specfile import resolved
from harness.store import Artefact, Store, read_json, write_json
from harness.train.students import Students

VERSION = 1
REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class Round:
    """A finished round: its report, its rows and its adapters."""

    report: RoundReport
    harvest: Harvest
    scored: Scored
    adapters: dict[str, Artefact]


def run_id(spec: Spec, base: Path) -> tuple[str, str]:
    """(id, key) of the run that this spec and the content of its data give. Reads the data's bytes, loads no model."""
    return Store.id_of("run", VERSION, _identity(spec, base), {}, spec.seed)


def _identity(spec: Spec, base: Path) -> dict[str, object]:
    return {"spec": resolved(spec), "source": source_digest(spec, base)}


def finished(spec: Spec, base: Path) -> RunReport | None:
    """The report of this run if it is in the store."""
    store = Store(spec.runtime.store)
    ident, _ = run_id(spec, base)
    return read_run(store, ident) if ident in store else None


def read_run(store: Store, ident: str) -> RunReport:
    """The report of a finished run by its id (or the beginning of it). Raises `StoreError`."""
    artefact = store.find(ident)
    if not artefact.id.startswith("run-"):
        raise StoreError(f"{artefact.id!r} is no run. Runs in {str(store.root)!r}: {list(store.ids('run'))!r}.")
    return read_json(artefact / REPORT, RunReport)


def run(spec: Spec, base: Path, progress: Progress) -> RunReport:
    """Run the closed loop of `spec`; `base` is the folder its relative paths start from.

    Raises the errors of `harness.errors`. Whatever was finished before an error stays in the store.
    """
    known = finished(spec, base)
    if known is not None:
        return known
    watch = Watch(progress)
    store = Store(spec.runtime.store)
    ident, _ = run_id(spec, base)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with _client(spec, store, ident) as llm:
        report = asyncio.run(_closed_loop(spec, base, store, llm, watch, ident, started))
    store.once(
        "run",
        VERSION,
        lambda folder: write_json(folder / REPORT, RunReport, report),
        inputs=_identity(spec, base),
        seed=spec.seed,
    )
    return read_run(store, ident)


def _client(spec: Spec, store: Store, ident: str) -> AbstractContextManager[Spender]:
    return open_client(spec, store.root, scope=ident)


async def _closed_loop(
    spec: Spec, base: Path, store: Store, llm: Spender, watch: Watch, ident: str, started: str
) -> RunReport:
    bench = await _set_up(spec, base, store, llm, watch)
    rounds: list[Round] = []
    best = 0
    plan = first_plan(spec, [bench.data.artefact.id])
    while True:
        current = rounds[-1].adapters["mixed"] if rounds else None
        done = await _round(bench, plan, rounds, current)
        better = not rounds or _dev(done, spec) > _dev(rounds[best], spec) + spec.stop.min_gain
        best = len(rounds) if better else best
        rounds.append(replace(done, report=replace(done.report, is_best=better)))
        stop = _stop(rounds, best, spec)
        rounds[-1] = replace(rounds[-1], report=replace(rounds[-1].report, stop=stop))
        if stop:
            break
        plan = await _next(bench, rounds[-1])
    return _test(bench, rounds, best, ident, started)


async def _set_up(spec: Spec, base: Path, store: Store, llm: Spender, watch: Watch) -> Bench:
    """Real data, embedder, students, labeller and the judge's gate."""
    device = _device(spec)
    threads = None if spec.runtime.threads == "auto" else spec.runtime.threads
    _use_threads(threads)
    embedder = SentenceEmbedder(store.root, device)
    with watch.stage("data", "load and split the real data", 1) as advance:
        data = load_real(spec, base, store, embedder)
        advance(1)
    for warning in data.warnings:
        watch.note(warning)
    students = Students(spec, store, embedder, device, watch)
    rule = spec.filters.consistency
    seeds = data.examples[Role.SEEDS]
    fitted = CrossFitted(students, seeds, rule.folds, spec.seed, data.artefact.id) if rule.enabled else None
    gate = await gate_of(spec, seeds, llm, watch)
    return Bench(spec, store, data, embedder, students, fitted, gate, llm, watch)


async def _round(bench: Bench, plan: Plan, earlier: Sequence[Round], current: Artefact | None) -> Round:
    """Generate, filter, train and evaluate on dev."""
    spec = bench.spec
    spent = bench.llm.spent
    plan_id = keep_plan(bench, plan).id
    before = earlier[-1].harvest if earlier else Harvest()
    now = await harvest(bench, plan, plan_id, before, current)
    material = now.material(bench.data)
    wanted = [arm for arm in DEV_ARMS if arm in (*spec.evaluate.arms, "synthetic", "synthetic_equal")]
    if "real" not in spec.evaluate.arms:
        wanted.remove("synthetic_equal")
    adapters = train_arms(bench, wanted, material, now.dataset)
    if "all_real" in spec.evaluate.arms:
        adapters |= train_arms(bench, ["all_real"], material, now.dataset)
    scored = score(bench, Role.DEV, bench.data.examples[Role.DEV], adapters, material, now.held_out())
    own = [wave for wave in now.waves if wave.artefact not in {one.artefact for one in before.waves}]
    report = RoundReport(
        round=plan.round,
        plan=plan,
        plan_id=plan_id,
        dataset=now.dataset,
        adapters=scored.adapters,
        planned=sum(quota.candidates for wave in own for quota in wave.quotas),
        generated=sum(len(wave.candidates) + len(wave.failures) for wave in own),
        parsed=sum(len(wave.candidates) for wave in own),
        accepted=len(now.sieved.accepted) - len(before.sieved.accepted),
        accepted_total=len(now.sieved.accepted),
        target=spec.generate.accepted_per_round * plan.round,
        shortfall=now.shortfall,
        funnel=funnel_of(now, spec),
        worth=now.worth,
        calibration=now.calibration,
        gate=bench.gate,
        dev=scored.reports,
        comparisons=scored.comparisons,
        gap=scored.gap,
        cost=_since(bench.llm.spent, spent),
        samples=samples_of(now),
        is_best=False,
        stop="",
        seconds=dict(bench.watch.seconds),
    )
    return Round(report, now, scored, adapters)


async def _next(bench: Bench, done: Round) -> Plan:
    """The dev report, and nothing else of dev, becomes the next plan."""
    report = DevReport(done.scored.reports["mixed"])
    number = done.report.round + 1
    parents = [done.report.plan_id, done.scored.artefact]

    def overlap(text: str) -> str:
        guard = bench.data.guard()
        held = bench.embedder([held for _, _, held in guard.pairs()])
        rule = bench.spec.filters.leakage
        return overlaps(text, guard, rule.ngram, bench.embedder([text])[0], held, rule.threshold)

    return await next_plan(report, bench.spec, number, parents, bench.llm, overlap)


def _dev(done: Round, spec: Spec) -> float:
    return metric_of(done.scored.reports["mixed"], spec.evaluate.metric)


def metric_of(report: EvalReport, metric: str) -> float:
    """The score that decides, 0 where it cannot be had."""
    return (report.accuracy if metric == "accuracy" else report.macro_f1).value or 0.0


def _stop(rounds: Sequence[Round], best: int, spec: Spec) -> str:
    """Why the run ends after the last of `rounds`, or ""."""
    rule, last = spec.stop, rounds[-1]
    reached = _dev(last, spec)
    since_best = len(rounds) - 1 - best
    if rule.target is not None and reached >= rule.target:
        return f"target reached: dev {spec.evaluate.metric} {reached:.3f} ≥ {rule.target:.3f}"
    if last.harvest.out_of_budget:
        return "the budget ended"
    if len(rounds) >= rule.max_rounds:
        return f"round limit of {rule.max_rounds}"
    if since_best >= rule.patience:
        return f"no gain above {rule.min_gain:g} on dev for {since_best} round(s)"
    return ""


def _test(bench: Bench, rounds: Sequence[Round], best: int, ident: str, started: str) -> RunReport:
    """Fix every decision, train what is missing, open the test split, score all arms together."""
    spec, chosen = bench.spec, rounds[best]
    material = chosen.harvest.material(bench.data)
    arms = [arm for arm in (*spec.evaluate.arms, "synthetic", "synthetic_equal") if arm != "base"]
    adapters = train_arms(bench, list(dict.fromkeys(arms)), material, chosen.harvest.dataset)
    decision = decision_of({arm: adapter.id for arm, adapter in adapters.items()})
    opened = bench.data.test.open(bench.store, ident, decision)
    warnings = [*bench.data.warnings]
    if opened.others:
        warnings.append(
            f"These test items were opened by {opened.others} other run(s) of this store before; choices made after "
            "looking at those results make this one flatter itself."
        )
    with_base = "base" in spec.evaluate.arms
    final = score(bench, Role.TEST, opened.examples, adapters, material, chosen.harvest.held_out(), with_base=with_base)
    return RunReport(
        id=ident,
        name=spec.name,
        seed=spec.seed,
        spec=resolved(spec),
        data=bench.data.info,
        rounds=tuple(one.report for one in rounds),
        best_round=best + 1,
        stop=rounds[-1].report.stop,
        test=final.reports,
        comparisons=final.comparisons,
        gap=final.gap,
        cost=bench.llm.spent,
        warnings=tuple(dict.fromkeys([*warnings, *bench.watch.notes])),
        training_rows=final.rows,
        artefacts={
            "split": bench.data.artefact.id,
            "dataset": chosen.harvest.dataset,
            "evaluation": final.artefact,
            **{f"adapter/{arm}": adapter for arm, adapter in final.adapters.items()},
        },
        versions=_versions(),
        started=started,
        seconds=dict(bench.watch.seconds),
    )


def _since(now: Cost, before: Cost) -> Cost:
    return Cost(
        now.calls - before.calls,
        now.cached - before.cached,
        now.failed - before.failed,
        now.prompt_tokens - before.prompt_tokens,
        now.completion_tokens - before.completion_tokens,
        now.usd - before.usd,
    )


def _device(spec: Spec) -> str:
    if spec.runtime.device != "auto":
        return spec.runtime.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _use_threads(threads: int | None) -> None:
    from harness.train.classifier import free_cores, set_threads

    set_threads(threads or free_cores())


def _versions() -> dict[str, str]:
    names = ("synthetic-data-harness", "torch", "transformers", "peft", "xllamacpp", "openai", "numpy")
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
