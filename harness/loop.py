"""START HERE. One run, top to bottom: split, rounds of (plan → generate → filter → train → evaluate → feed back), test.

Every step is an artefact of the store, found again by what it was made of. So a killed run goes on where it was, and
a finished one is only read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from harness import answerjudge, cells, probe, real, rounds, scoring
from harness.bench import Bench, Harvest, Spender, students_of
from harness.controls import run_control
from harness.decisions import gate_of, keep_plan, steer, with_cells
from harness.embed import SentenceEmbedder
from harness.errors import StoreError
from harness.filters import TABLE
from harness.filters.judge import NO_BUDGET
from harness.filterspec import keyed
from harness.final import final_report
from harness.generate import feedback, produce
from harness.generate.feedback import first_plan
from harness.generate.fitting import fitted
from harness.generate.prompts import templates_digest
from harness.humanlabels import read_labels
from harness.labelling import CrossFitted
from harness.llm.client import Llm, open_client
from harness.machine import device_of, use_threads
from harness.observe import faults_of, funnel_of, samples_of
from harness.probe import ask_probe, probe_verdict
from harness.progress import OTHER, Progress, Watch
from harness.real import RealData, load_real, source_digest
from harness.records import Cost, Plan, Role
from harness.reports import RoundReport, RunReport
from harness.rounds import harvest
from harness.scoring import score, train_arms, trained_arms
from harness.spec import Budget, Spec
from harness.specfile import resolved
from harness.stopping import Round, best_round, evidence_of, gain_of, judged, stop_reason
from harness.store import Store, read_json, write_json
from harness.timing import TimedEmbedder, TimedLlm, embedded_by
from harness.train import students
from harness.train.causal_base import find_base
from harness.train.students import Students, student_digest
from harness.train.writers import Writers
from harness.voting import Voters

VERSION = 2
REPORT = "report.json"
STAGE_VERSIONS = {
    "split": real.VERSION,
    "cells": cells.VERSION,
    "generate": produce.VERSION,
    "feedback": feedback.VERSION,
    "sieve": rounds.SIEVE_VERSION,
    "dataset": rounds.DATASET_VERSION,
    "probe": probe.VERSION,
    "train": students.TRAIN_VERSION,
    "predict": students.PREDICT_VERSION,
    "evaluation": scoring.VERSION,
    "ratings": answerjudge.VERSION,
    **{f"filter {item.name}": item.version for item in TABLE},
}
"""A stage that is mended makes every finished run another one, so that no wrong number outlives its cause."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What had been spent, in calls and in seconds by kind of stage, when a round began."""

    spent: Cost
    seconds: Mapping[str, float]


def run_id(spec: Spec, base: Path) -> tuple[str, str]:
    """(id, key) of the run that this spec and the content of its data give. Reads the data's bytes, loads no model."""
    return Store.id_of("run", VERSION, _identity(spec, base), {}, spec.seed)


def _identity(spec: Spec, base: Path) -> dict[str, object]:
    """What makes a run: the spec, the bytes of its data and of its student, and the versions of all stages."""
    labels = read_labels(spec, base)
    return {
        "spec": {name: value for name, value in resolved(spec).items() if name != "collapse"}
        | {"filters": keyed(spec.filters)},
        **({"human_labels": labels.sha256} if labels else {}),
        "source": source_digest(spec, base),
        "student": find_base(spec.causal.model, base).digest if spec.task.answer else student_digest(spec, base),
        "versions": {**STAGE_VERSIONS, "templates": templates_digest(answers=spec.task.answer is not None)},
    }


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
    try:
        return read_json(artefact / REPORT, RunReport)
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"the report of {artefact.id} is damaged. Delete {str(artefact.path)!r}, then run the experiment again: "
            "the report is made anew from the stages that are there."
        ) from error


def run(spec: Spec, base: Path, progress: Progress, reopen: str = "") -> RunReport:
    """Run the closed loop of `spec`; `base` is the folder its relative paths start from.

    `reopen` is the reason for a further look at test items that another run has seen (see `harness.seal`); without it
    such a run ends with `LeakageError` before it has spent anything. Raises the errors of `harness.errors`. Whatever
    was finished before an error stays in the store.
    """
    known = finished(spec, base)
    if known is not None:
        return known
    watch = Watch(progress)
    store = Store(spec.runtime.store)
    ident, _ = run_id(spec, base)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    store.sweep()
    with watch.timed(OTHER), _client(spec, base, store) as llm:
        report = asyncio.run(_closed_loop(spec, base, store, TimedLlm(llm, watch), watch, ident, started, reopen))
    store.once(
        "run",
        VERSION,
        lambda folder: write_json(folder / REPORT, RunReport, report),
        inputs=_identity(spec, base),
        seed=spec.seed,
    )
    return read_run(store, ident)


def call_scope(spec: Spec, base: Path) -> str:
    """What spending is counted for: the run without its budget. Who raises the budget goes on, not again from zero."""
    scope, _ = run_id(spec.model_copy(update={"budget": Budget()}), base)
    return scope


def _client(spec: Spec, base: Path, store: Store) -> AbstractContextManager[Spender]:
    return open_client(spec, store.root, scope=call_scope(spec, base))


async def _closed_loop(
    spec: Spec, base: Path, store: Store, llm: Spender, watch: Watch, ident: str, started: str, reopen: str
) -> RunReport:
    bench = await set_up(spec, base, store, llm, watch, ident, reopen)
    done, best, stop = await closed_rounds(bench)
    controls = [await run_control(bench, name, done) for name in spec.evaluate.controls]
    return await final_report(bench, judged(done, best, stop), best, controls, ident, started, reopen)


async def closed_rounds(bench: Bench) -> tuple[list[Round], int, str]:
    """(the rounds, the best one's place, why it stopped). Of a finished run everything is read from the store."""
    spec, llm, watch = bench.spec, bench.llm, bench.watch
    mark = _Mark(llm.first_spent("start"), {})
    done: list[Round] = []
    best = 0
    while True:
        plan, plan_id = await _plan(bench, done)
        done.append(await _round(bench, plan, plan_id, done, best, mark))
        mark = _Mark(llm.first_spent(_end_of(done[-1].harvest)), watch.seconds)
        best = best_round(done, best, spec)
        stop = stop_reason(done, best, spec)
        evidence = evidence_of(done, best, spec, mark.spent)
        done[-1] = replace(done[-1], report=replace(done[-1].report, evidence=evidence))
        if stop:
            return done, best, stop


async def set_up(spec: Spec, base: Path, store: Store, llm: Spender, watch: Watch, ident: str, reopen: str) -> Bench:
    """Real data, embedder, students, labeller and the judge's gate."""
    device = device_of(spec)
    use_threads(spec.runtime.threads)
    embedder = TimedEmbedder(SentenceEmbedder(store.root, device, progress=embedded_by(watch)), watch)
    with watch.stage("data", "load and split the real data", 1) as advance:
        data = load_real(spec, base, store, embedder)
        advance(1)
    if spec.evaluate.test:
        data.test.check(store, ident, reopen, _identity(spec, base))
    for warning in data.warnings:
        watch.note(warning)
    data = await with_cells(spec, data, embedder, llm, store, watch)
    if spec.matrix.fit:
        spec = spec.model_copy(update={"matrix": fitted(spec.matrix, data.examples[Role.SEEDS])})
    students = students_of(spec, store, embedder, device, watch, base)
    labellers = _fitted(spec, students, data)
    labels = read_labels(spec, base)
    gate = await gate_of(spec, data.examples[Role.SEEDS], data.artefact.id, llm, store, watch, labels)
    return Bench(spec, store, data, embedder, students, labellers, gate, llm, watch)


def _fitted(spec: Spec, students: Students | Writers, data: RealData) -> CrossFitted | Voters | None:
    """Who reads the candidates: students on folds of the seeds."""
    rule, seeds, split = spec.filters.consistency, data.examples[Role.SEEDS], data.artefact.id
    if not rule.enabled:
        return None
    if isinstance(students, Writers):
        return Voters(students, seeds, rule.folds, spec.seed, split)
    return CrossFitted(students, seeds, rule.folds, spec.seed, split)


async def _round(bench: Bench, plan: Plan, plan_id: str, earlier: Sequence[Round], best: int, mark: _Mark) -> Round:
    """Generate, filter, train and evaluate on dev. Cost and time count from `mark`, the end of the round before."""
    spec = bench.spec
    before = earlier[-1].harvest if earlier else Harvest()
    now = await harvest(bench, plan, plan_id, before)
    answers = await ask_probe(bench, plan.round)
    material = now.material(bench.data)
    adapters = train_arms(bench, trained_arms(spec, each_round=True), material, now.dataset)
    scored = score(bench, Role.DEV, bench.data.examples[Role.DEV], adapters, material, now.held_out())
    own = [wave for wave in now.waves if wave.round == plan.round]
    report = RoundReport(
        round=plan.round,
        plan=plan,
        plan_id=plan_id,
        dataset=now.dataset,
        adapters=scored.adapters,
        planned=sum(quota.candidates for wave in own for quota in wave.quotas),
        generated=sum(wave.answered for wave in own),
        parsed=sum(len(wave.candidates) for wave in own),
        accepted=sum(row.candidate.round == plan.round for row in now.accepted()),
        accepted_total=len(now.sieved.accepted),
        target=spec.generate.accepted_per_round * plan.round,
        shortfall=now.shortfall,
        out_of_budget=now.out_of_budget or (spec.filters.judge.enabled and _ungraded(now)),
        funnel=funnel_of(now, spec),
        worth=now.worth,
        calibration=now.calibration,
        gate=bench.gate,
        dev=scored.reports,
        comparisons=scored.comparisons,
        gap=scored.gap,
        cost=_since(bench.llm.first_spent(_end_of(now)), mark.spent),
        samples=samples_of(now),
        is_best=False,
        stop="",
        seconds={kind: spent - mark.seconds.get(kind, 0.0) for kind, spent in bench.watch.seconds.items()},
        gain=gain_of(bench, plan.round, scored, earlier[best] if earlier else None),
        prompts=produce.prompt_views(plan, bench.data.examples[Role.SEEDS], spec),
        collapse=probe_verdict(bench, [*(one.probe for one in earlier), answers]),
        ambiguity=now.ambiguity,
    )
    for fault in faults_of(own, now, spec):
        bench.watch.note(fault)
    return Round(report, now, scored, adapters, answers)


async def _plan(bench: Bench, done: Sequence[Round]) -> tuple[Plan, str]:
    """The next plan and its artefact: the first from the spec, a later one from the last dev report."""
    parents = [done[-1].report.plan_id, done[-1].scored.artefact] if done else [bench.data.artefact.id]

    async def make(llm: Llm) -> Plan:
        if not done:
            return first_plan(bench.spec, parents)
        return await steer(bench, llm, done[-1].scored.reports["mixed"], done[-1].harvest.plans, parents)

    return await keep_plan(bench, len(done) + 1, parents, make)


def _ungraded(harvest: Harvest) -> bool:
    return any(one.reason == NO_BUDGET for one in harvest.sieved.verdicts)


def _end_of(harvest: Harvest) -> str:
    """The end of a round as a point of the run's spending. With more budget a round ends with another data set, and so
    at another point."""
    return f"round {len(harvest.plans)} {harvest.dataset}"


def _since(now: Cost, before: Cost) -> Cost:
    return Cost(
        now.calls - before.calls,
        now.cached - before.cached,
        now.failed - before.failed,
        now.prompt_tokens - before.prompt_tokens,
        now.completion_tokens - before.completion_tokens,
        now.usd - before.usd,
    )
