"""The part of a round that makes data: generate and filter in waves until the target is met, save the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import dataset
from harness.ambiguity import ambiguity_of
from harness.bench import Bench, Harvest, Wave
from harness.decisions import judge_identity
from harness.errors import BudgetError
from harness.filters import enabled
from harness.filters.base import Context, Labeller, Votes
from harness.filters.duplicates import calibrate
from harness.filters.funnel import Sieved, sieve
from harness.filterspec import keyed
from harness.generate import produce, prompts
from harness.generate.made import KeptRows
from harness.labelling import CrossTrained, cross_train, labeller
from harness.lines import Joined, Kept, Lines
from harness.llm.client import Llm
from harness.llm.noted import Noted, read_calls, write_calls
from harness.records import Candidate, Example, ParseFailure, Plan, Quota, Role, Verdict
from harness.refills import missing_rows, spread
from harness.reports import Ambiguity, Calibration, FilterWorth
from harness.spec import Spec
from harness.store import Artefact, digest, read_json, write_json, write_lines
from harness.train.writers import Writers
from harness.voting import CrossVoters, Voters, cross_vote

SIEVE_VERSION = 6
DATASET_VERSION = 2
CANDIDATES, FAILURES, VERDICTS, ACCEPTED = "candidates.jsonl", "failures.jsonl", "verdicts.jsonl", "accepted.jsonl"


@dataclass(frozen=True, slots=True)
class _Calibrated:
    value: Calibration | None


@dataclass(frozen=True, slots=True)
class _Doubts:
    value: Ambiguity | None


async def harvest(
    bench: Bench,
    plan: Plan,
    plan_id: str,
    before: Harvest,
    sizes: Sequence[int] | None = None,
) -> Harvest:
    """Generate in waves until the target of this round is reached, the cap is, or the money is gone; then self-train,
    and go on where that costs rows.

    `sizes` (candidates of each wave) takes the place of target and cap: a control draws what the loop drew, no more and
    no less.
    """
    waves = list(before.waves)
    plans = (*before.plans, plan)
    quotas: Sequence[Quota] = plan.quotas
    now = before
    drawn = 0
    while quotas:
        number = len(waves) - len(before.waves)
        waves.append(await _wave(bench, plan, plan_id, quotas, number))
        drawn += sum(quota.candidates for quota in quotas)
        now = await _sieve(bench, waves, plans, before.cross)
        if now.out_of_budget:
            quotas = ()
        elif sizes is None:
            quotas = missing_rows(plan, now, number + 1, drawn, bench.spec)
        else:
            calls = [size // bench.spec.generate.samples_per_call for size in sizes[number + 1 : number + 2]]
            quotas = spread(plan, sum(calls), bench.spec, len(waves))
        if not quotas:
            now = await _self_trained(bench, now)
            if sizes is None and not now.out_of_budget:
                quotas = missing_rows(plan, now, number + 1, drawn, bench.spec)
    target = bench.spec.generate.accepted_per_round * plan.round
    return _with_dataset(bench, now, plan.round, "" if sizes is not None else _shortfall(now, target, bench.spec))


async def _self_trained(bench: Bench, now: Harvest) -> Harvest:
    for _ in range(bench.spec.filters.consistency.passes if bench.fitted and now.sieved.accepted else 0):
        now = await _sieve(bench, now.waves, now.plans, _cross_trained(bench, now))
    return now


def _cross_trained(bench: Bench, now: Harvest) -> CrossTrained | CrossVoters:
    students = bench.students
    given = (
        bench.data.examples[Role.SEEDS],
        [row for row in now.sieved.accepted if not dataset.is_held_out(row.id)],
        [one.id for one in now.candidates],
        bench.spec.filters.consistency.pass_folds,
        bench.spec.seed,
        {"split": bench.data.artefact.id, "verdicts": now.verdicts},
    )
    return cross_vote(students, *given) if isinstance(students, Writers) else cross_train(students, *given)


async def resieve(bench: Bench, now: Harvest) -> Harvest:
    """The candidates of a finished harvest through the filters of `bench`'s spec, as a data set of its own.

    Self-trained students are trained anew on what these filters let through.
    """
    again = await _self_trained(bench, await _sieve(bench, now.waves, now.plans, None))
    return _with_dataset(bench, again, now.plans[-1].round, "")


def _shortfall(now: Harvest, target: int, spec: Spec) -> str:
    accepted = len(now.sieved.accepted)
    if accepted >= target:
        return ""
    why = (
        "the budget ended"
        if now.out_of_budget
        else f"the attempt cap was reached ({spec.generate.max_waves} waves"
        + (f", {spec.generate.max_candidates} candidates" if spec.generate.max_candidates else "")
        + " a round)"
    )
    return f"{accepted} of {target} rows: {why}. The funnel says where the rest was lost."


async def _wave(bench: Bench, plan: Plan, plan_id: str, quotas: Sequence[Quota], number: int) -> Wave:
    """Ask the generator for these quotas, or read what it answered before."""
    artefact = await _asked(bench, plan, plan_id, quotas, number)
    candidates = Lines(artefact / CANDIDATES, Candidate)
    failures = Lines(artefact / FAILURES, ParseFailure)
    bench.llm.use(one.call for one in chain(candidates, failures))
    return Wave(
        artefact.id,
        plan.round,
        tuple(quotas),
        candidates,
        failures,
        any(failure.reason == produce.NOT_ASKED for failure in failures),
    )


async def _asked(bench: Bench, plan: Plan, plan_id: str, quotas: Sequence[Quota], number: int) -> Artefact:
    """The rows of a wave as an artefact. In memory is what its calls in flight need, and of the others their keys."""
    with Kept(bench.store.root, produce.Draw) as draws:
        keys: list[str] = []
        for draw in produce.each_draw(quotas, plan, bench.data.examples[Role.SEEDS], bench.spec, wave=number):
            draws.append(draw)
            keys.append(bench.llm.key(draw.request))
        with KeptRows(bench.store.root, len(draws)) as made:
            return await _rows_of(bench, plan, plan_id, number, draws, digest(keys), made)


async def _rows_of(
    bench: Bench, plan: Plan, plan_id: str, number: int, draws: Sequence[produce.Draw], calls: str, made: KeptRows
) -> Artefact:
    inputs = {
        **bench.section("task", "generate", "budget"),
        "calls": calls,
        "templates": prompts.templates_digest(answers=bench.spec.task.answer is not None),
        "wave": number,
    }
    parents = {"split": bench.data.artefact.id, "plan": plan_id}
    ident, _ = bench.store.id_of("candidates", produce.VERSION, inputs, parents, bench.spec.seed)
    if ident not in bench.store:
        name = f"round {plan.round}: generate" + (f", wave {number + 1}" if number else "")
        total = sum(draw.request.n for draw in draws)
        with bench.watch.stage("generation", name, total) as advance:
            await ask(bench, draws, made, plan.round, number, advance)

    def build(folder: Path) -> None:
        made.write(folder / CANDIDATES, folder / FAILURES)

    return bench.store.once("candidates", produce.VERSION, build, inputs=inputs, parents=parents, seed=bench.spec.seed)


async def ask(
    bench: Bench,
    draws: Sequence[produce.Draw],
    made: produce.Made,
    round_: int,
    wave: int,
    advance: produce.OnAnswers,
) -> None:
    """The answers to `draws`, in `made`; those that a spent budget leaves unasked are failures that say so.

    All are asked for at once: the client knows how many calls an endpoint takes at a time, and no slot of it stands
    empty before the last call.
    """
    try:
        return await produce.ask(draws, bench.llm, bench.spec.task, made, round_=round_, wave=wave, on_answers=advance)
    except BudgetError as error:
        bench.watch.note(str(error))
    for place, draw in enumerate(draws):
        if place not in made:
            made[place] = await _paid_for(bench, draw, round_, wave)
    return None


async def _paid_for(bench: Bench, draw: produce.Draw, round_: int, wave: int) -> produce.Batch:
    """After the budget's end: an answer that there is already comes from the cache, what there is not is not asked."""
    try:
        return await produce.generate([draw], bench.llm, bench.spec.task, round_=round_, wave=wave)
    except BudgetError:
        return produce.not_asked([draw], bench.llm, round_=round_, wave=wave)


async def _sieve(
    bench: Bench, waves: Sequence[Wave], plans: Sequence[Plan], cross: CrossTrained | CrossVoters | None
) -> Harvest:
    """All candidates so far through all filters."""
    artefact = await _sifted(bench, waves, plans, cross)
    bench.llm.use(read_calls(artefact.path))
    for note in read_json(artefact / "notes.json", tuple[str, ...]):
        bench.watch.note(note)
    return Harvest(
        tuple(waves),
        Sieved(Lines(artefact / VERDICTS, Verdict), Lines(artefact / ACCEPTED, Example)),
        read_json(artefact / "worth.json", tuple[FilterWorth, ...]),
        read_json(artefact / "calibration.json", _Calibrated).value,
        tuple(plans),
        artefact.id,
        cross=cross,
        ambiguity=read_json(artefact / "ambiguity.json", _Doubts).value,
    )


async def _sifted(
    bench: Bench, waves: Sequence[Wave], plans: Sequence[Plan], cross: CrossTrained | CrossVoters | None
) -> Artefact:
    """The verdicts, and what the filters found on the way, as an artefact."""
    spec, seeds = bench.spec, bench.data.examples[Role.SEEDS]
    count = sum(len(wave.candidates) for wave in waves)
    filters = enabled(spec.filters)
    inputs = {
        **bench.section("task"),
        "filters": keyed(spec.filters),
        "versions": {item.name: item.version for item in filters},
        "judge": judge_identity(spec),
        "embedder": bench.embedder.id,
        "gate": None if bench.gate is None else bench.gate.passed,
        "steering": [
            [dict(plan.surplus) for plan in plans],
            {key: dict(row) for key, row in plans[-1].channel.items()},
        ],
    }
    if bench.gate and bench.gate.labels:
        inputs["labels"] = bench.gate.labels
    if spec.filters.judge.enabled and not bench.asks:
        # Rows that would be new to the judge stay ungraded; a run that may ask must not take them over.
        inputs["asks"] = False
    parents = {f"wave {index}": wave.artefact for index, wave in enumerate(waves)}
    if bench.fitted:
        parents |= {f"labeller {index}": ident for index, ident in enumerate(bench.fitted.adapters)}
    if cross is not None:
        parents |= {f"self-trained {index}": ident for index, ident in enumerate(cross.adapters)}
    ident, _ = bench.store.id_of("verdicts", SIEVE_VERSION, inputs, parents, spec.seed)
    if ident in bench.store:
        return bench.store.find(ident)
    noted = Noted(bench.llm)
    with Kept(bench.store.root, Verdict) as kept:
        with bench.watch.stage("filtering", f"filter {count} candidates", len(filters)) as advance:
            context = _context(bench, noted, waves, plans, cross)
            sieved = await sieve(filters, context, lambda _name, _left: advance(1), kept)
            worth = tuple(found for item in filters if (found := item.worth(context)))
            doubts = _Doubts(ambiguity_of(context, kept))
            calibration = _Calibrated(None)
            if spec.filters.duplicates.enabled:
                vectors = bench.embedder([seed.text for seed in seeds])
                calibration = _Calibrated(calibrate(seeds, vectors, spec.filters.duplicates.threshold))

        def build(folder: Path) -> None:
            kept.write(folder / VERDICTS)
            write_lines(folder / ACCEPTED, Example, sieved.accepted)
            write_json(folder / "worth.json", tuple[FilterWorth, ...], worth)
            write_json(folder / "calibration.json", _Calibrated, calibration)
            write_json(folder / "notes.json", tuple[str, ...], tuple(context.notes))
            write_json(folder / "ambiguity.json", _Doubts, doubts)
            write_calls(folder, noted)

        return bench.store.once("verdicts", SIEVE_VERSION, build, inputs=inputs, parents=parents, seed=spec.seed)


def _context(
    bench: Bench, llm: Llm, waves: Sequence[Wave], plans: Sequence[Plan], cross: CrossTrained | CrossVoters | None
) -> Context:
    by_wave = [wave.candidates for wave in waves]
    planned = {(plan.round, quota.cell.id): quota.candidates for plan in plans for quota in plan.quotas}
    says: Labeller | None = None
    votes: Votes | None = None
    difficulty: NDArray[np.float64] | None = None
    if isinstance(bench.fitted, Voters):
        votes = bench.fitted.votes(cross if isinstance(cross, CrossVoters) else None, by_wave)
    elif bench.fitted:
        cross = cross if isinstance(cross, CrossTrained) else None
        says = labeller(bench.fitted, bench.students.labels, cross, by_wave, plans[-1].channel)
        # What a student was trained on it finds easy; neither kind of student was trained on what it answers for.
        difficulty = says.seeds_only
        if cross is not None:
            difficulty = np.concatenate([cross.probabilities(wave) for wave in by_wave])
    return Context(
        spec=bench.spec,
        candidates=Joined(by_wave),
        seeds=bench.data.examples[Role.SEEDS],
        guard=bench.data.guard(),
        embedder=bench.embedder,
        labeller=says,
        difficulty=difficulty,
        votes=votes,
        llm=llm,
        gate=bench.gate,
        surplus={plan.round: plan.surplus for plan in plans if plan.surplus},
        planned=planned,
    )


def _with_dataset(bench: Bench, now: Harvest, round_: int, shortfall: str) -> Harvest:
    names = [item.name for item in enabled(bench.spec.filters)]
    rows = now.accepted()
    artefact = bench.store.once(
        "dataset",
        DATASET_VERSION,
        lambda folder: dataset.write_dataset(folder, rows, bench.spec, round_, names),
        inputs={"round": round_, **bench.section("name", "task")},
        parents={"verdicts": now.verdicts},
    )
    return replace(now, dataset=artefact.id, shortfall=shortfall)
