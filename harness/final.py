"""The end of a run: fix every decision, train what is missing, open the test split once, score all arms together."""

from __future__ import annotations

from collections.abc import Sequence

from eval.joint import joint_slices
from eval.slices import slice_changes, slice_members
from harness.answerjudge import judge_answers
from harness.arms import Material, rows_of
from harness.bench import Bench
from harness.controls import LOOP, ControlRun, equal_rows, side_report
from harness.diagnosis import diagnose
from harness.dynamics import Dynamics, read_dynamics
from harness.failuremodes import failure_modes
from harness.generate.fitting import placed
from harness.machine import peak_memory, versions
from harness.probe import probe_report
from harness.reading import readings
from harness.records import Comparison, Estimate, Example, Gap, Role
from harness.reports import ControlReport, RunReport
from harness.scoring import (
    REFERENCE,
    Scored,
    decision_of,
    predictions_of,
    score,
    train_arms,
    train_rows,
    trained_arms,
)
from harness.specfile import resolved
from harness.stopping import Round
from harness.store import Artefact

LOOKED_BEFORE = (
    "These test items were looked at {times} time(s) before this run; choices made after looking at those results make "
    "this one flatter itself."
)
UNOPENED = Estimate(None, None, None, 0, "none", "insufficient: the test split stayed sealed (evaluate.test is false)")
SEALED = Gap(UNOPENED, UNOPENED, UNOPENED)


async def final_report(
    bench: Bench,
    rounds: Sequence[Round],
    best: int,
    controls: Sequence[ControlRun],
    ident: str,
    started: str,
    reopen: str,
) -> RunReport:
    """The report of a finished run. `rounds[best]` is the one whose data set and adapters stand for the run.

    Where the test stays sealed (`evaluate.test: false`) the controls are compared on dev.
    """
    spec, chosen = bench.spec, rounds[best]
    material = chosen.harvest.material(bench.data)
    adapters = train_arms(bench, trained_arms(spec), material, chosen.harvest.dataset)
    equal = equal_rows(bench, rounds[-1], controls) if controls else {}
    adapters |= _train_equal(bench, equal, rounds[-1], controls)
    role, examples, looks = Role.DEV, bench.data.examples[Role.DEV], ()
    if spec.evaluate.test:
        decision = decision_of({arm: adapter.id for arm, adapter in adapters.items()})
        opened = bench.data.test.open(bench.store, ident, decision, reopen)
        role, examples, looks = Role.TEST, bench.data.tagged(opened.examples), opened.looks
    final = score(
        bench,
        role,
        examples,
        adapters,
        material,
        chosen.harvest.held_out(),
        with_base="base" in spec.evaluate.arms,
        claims=[("mixed", REFERENCE), *((LOOP, one.name) for one in controls if {LOOP, one.name} <= set(adapters))],
    )
    sealed = not spec.evaluate.test
    answers = predictions_of(bench.store.find(final.artefact).path)
    diagnosis = diagnose(bench, material.accepted, adapters, () if sealed else examples, answers)
    labels, before, after = bench.students.labels, answers[REFERENCE], answers["mixed"]
    members, resamples = slice_members(examples, labels), spec.evaluate.resamples
    judged = await judge_answers(bench, Role.DEV, bench.data.examples[Role.DEV], adapters)
    if not sealed:
        judged += await judge_answers(bench, Role.TEST, examples, adapters)
    looked = [LOOKED_BEFORE.format(times=len(looks) - 1)] if len(looks) > 1 else []
    return RunReport(
        id=ident,
        name=spec.name,
        seed=spec.seed,
        spec=resolved(spec),
        data=bench.data.info,
        rounds=tuple(one.report for one in rounds),
        best_round=best + 1,
        stop=rounds[-1].report.stop,
        test={} if sealed else final.reports,
        comparisons=() if sealed else final.comparisons,
        gap=SEALED if sealed else final.gap,
        # Not what this process spent: another one may have made part of the calls at the same time.
        cost=bench.llm.first_spent(f"end {ident}"),
        warnings=tuple(dict.fromkeys([*bench.data.warnings, *looked, *bench.watch.notes])),
        training_rows={**final.rows, **{arm: len(rows) for arm, rows in equal.items()}},
        artefacts={
            "split": bench.data.artefact.id,
            "dataset": chosen.harvest.dataset,
            "evaluation": final.artefact,
            **{f"adapter/{arm}": adapter for arm, adapter in final.adapters.items()},
        },
        versions=versions(),
        started=started,
        seconds=bench.watch.seconds,
        openings=looks,
        changes=slice_changes(examples, before, after, labels, pairs=True),
        worst=joint_slices(examples, before, after, members, resamples=resamples, seed=spec.seed).after,
        diagnosis=diagnosis,
        readings=readings(SEALED if sealed else final.gap, diagnosis),
        clusters=bench.data.clusters.described() if bench.data.clusters.found else {},
        controls=_sides(bench, rounds, controls, equal, final, role),
        collapse=probe_report(bench, [one.probe for one in rounds], rounds[-1].harvest),
        judged=judged,
        used=bench.llm.used,
        modes=failure_modes(bench, material.accepted),
        units=bench.watch.units,
        memory=peak_memory(),
        seed_values=_seed_values(bench),
        dynamics=_dynamics(bench, material, adapters["mixed"]),
    )


def _dynamics(bench: Bench, material: Material, adapter: Artefact) -> Dynamics | None:
    rows = rows_of("mixed", material, bench.spec.seed)
    return None if rows is None else read_dynamics(adapter.path, rows, bench.spec.seed)


def _seed_values(bench: Bench) -> dict[str, dict[str, int]]:
    seeds = bench.data.examples[Role.SEEDS]
    labels = {label: sum(seed.label == label for seed in seeds) for label in bench.spec.task.labels}
    return {"label": labels, **{one.name: placed(one, seeds) for one in bench.spec.matrix.dimensions}}


def _train_equal(
    bench: Bench, equal: dict[str, list[Example]], last: Round, controls: Sequence[ControlRun]
) -> dict[str, Artefact]:
    """One adapter per side of the comparison with controls."""
    datasets = {LOOP: last.harvest.dataset, **{one.name: one.harvest.dataset for one in controls}}
    out: dict[str, Artefact] = {}
    for arm, rows in equal.items():
        adapter = train_rows(bench, arm, rows, datasets[arm])
        if adapter is not None:
            out[arm] = adapter
    return out


def _sides(
    bench: Bench,
    rounds: Sequence[Round],
    controls: Sequence[ControlRun],
    equal: dict[str, list[Example]],
    final: Scored,
    role: Role,
) -> tuple[ControlReport, ...]:
    """The loop and its controls at equal calls and rows; nothing where there are no controls."""
    if not controls:
        return ()
    seeds = len(bench.data.examples[Role.SEEDS])
    dev = [one.report.dev["mixed"] for one in rounds]
    metric = bench.spec.evaluate.metric

    def score_of(name: str) -> Estimate | None:
        scored = final.reports.get(name)
        return None if scored is None else scored.score(metric)

    sides = [(LOOP, rounds[-1].harvest, dev), *((one.name, one.harvest, one.dev) for one in controls)]
    return tuple(
        side_report(name, harvest, on_dev, role, len(equal[name]) - seeds, _against(final, name), score_of(name))
        for name, harvest, on_dev in sides
    )


def _against(final: Scored, control: str) -> Comparison | None:
    return next((one for one in final.comparisons if (one.a, one.b) == (LOOP, control)), None)
