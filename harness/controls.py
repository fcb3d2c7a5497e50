"""The controls: the same loop with one part taken out, at the same number of generator calls and of accepted rows.

A rising curve proves only that more data helps. Whether the feedback, the filters or the matrix earned it, shows
against a loop that lacks just that. A control has the loop's split, seeds, student and recipe; where it makes calls of
its own, every round draws as many candidates as the loop drew, in waves of the same sizes. For the comparison each side
trains on the seeds and the same number of rows, drawn at random from what its last round had accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from harness.arms import draw
from harness.bench import Bench, Harvest
from harness.decisions import keep_plan, steer
from harness.errors import DataError
from harness.filters import TABLE, without
from harness.generate.feedback import first_plan
from harness.llm.client import Llm
from harness.records import Comparison, Estimate, EvalReport, Example, Plan, Role
from harness.reports import ControlReport
from harness.rounds import harvest, resieve
from harness.scoring import score, train_arms
from harness.spec import ControlName, Matrix, Spec
from harness.stopping import Round

LOOP = "closed"
"""The arm of the loop itself at the controls' number of rows."""


@dataclass(frozen=True, slots=True)
class Control:
    """What a control is, and the spec it runs under.

    `wrong_names` permutes the names in the dev report. Without `own_calls` it takes the loop's candidates; with
    `shares_first_round` its first round is the loop's, found in the store.
    """

    about: str
    change: Callable[[Spec], Spec]
    wrong_names: bool = False
    own_calls: bool = True
    shares_first_round: bool = True


def _static(spec: Spec) -> Spec:
    return spec.model_copy(update={"feedback": spec.feedback.model_copy(update={"policies": []})})


def _naive(spec: Spec) -> Spec:
    return _static(spec).model_copy(update={"matrix": Matrix(label_weights=spec.matrix.label_weights)})


def _raw(spec: Spec) -> Spec:
    """Leakage stays on: a row that copies a test item would make this control look good."""
    return without(spec, [item.name for item in TABLE if item.name != "leakage"])


CONTROLS: Mapping[ControlName, Control] = {
    "static": Control("the same loop without feedback: every round follows the first plan's weights", _static),
    "shuffled": Control("the same loop, its feedback under permuted slice names", lambda spec: spec, wrong_names=True),
    "raw": Control("the loop's own candidates, none filtered out but copies of held-out texts", _raw, own_calls=False),
    "naive": Control(
        "no matrix and no feedback: “more like this” from seeds of each label", _naive, shares_first_round=False
    ),
}


@dataclass(frozen=True, slots=True)
class ControlRun:
    """What a control has made by its last round, and how it did on dev after each."""

    name: ControlName
    harvest: Harvest
    dev: tuple[EvalReport, ...]


async def run_control(bench: Bench, name: ControlName, closed: Sequence[Round]) -> ControlRun:
    """Run the control beside the finished rounds of the loop. What fails for want of rows ends in a short run."""
    control = CONTROLS[name]
    own = replace(bench, spec=control.change(bench.spec))
    if not control.own_calls:
        own = replace(own, fitted=None, gate=None)
        return ControlRun(name, await resieve(own, closed[-1].harvest), ())
    now = Harvest()
    dev: list[EvalReport] = []
    parents = [bench.data.artefact.id]
    for one in closed:
        plan, plan_id = await _plan(own, now.plans, parents, dev, wrong_names=control.wrong_names)
        now = await harvest(own, plan, plan_id, now, one.sizes)
        if now.out_of_budget:
            bench.watch.note(
                f"The control {name!r} is not comparable: the budget ended in its round {one.report.round}."
            )
            break
        material = now.material(bench.data)
        try:
            adapters = train_arms(own, ["seeds", "mixed"], material, now.dataset)
        except DataError as error:
            bench.watch.note(f"The control {name!r} ended in round {one.report.round}: {error}")
            break
        scored = score(own, Role.DEV, bench.data.examples[Role.DEV], adapters, material, ())
        dev.append(scored.reports["mixed"])
        parents = [plan_id, scored.artefact]
    return ControlRun(name, now, tuple(dev))


async def _plan(
    bench: Bench, earlier: Sequence[Plan], parents: Sequence[str], dev: Sequence[EvalReport], *, wrong_names: bool
) -> tuple[Plan, str]:
    async def make(llm: Llm) -> Plan:
        if not dev:
            return first_plan(bench.spec, parents)
        return await steer(bench, llm, dev[-1], earlier, parents, wrong_names=wrong_names)

    return await keep_plan(bench, len(earlier) + 1, parents, make, wrong_names=wrong_names)


def equal_rows(bench: Bench, closed: Round, controls: Sequence[ControlRun]) -> dict[str, list[Example]]:
    """Arm → training rows: the seeds and as many rows from each side as the poorest has accepted."""
    seeds = list(bench.data.examples[Role.SEEDS])
    sides = {LOOP: closed.harvest, **{one.name: one.harvest for one in controls}}
    accepted = {name: harvest.material(bench.data).accepted for name, harvest in sides.items()}
    size = min(map(len, accepted.values()))
    return {name: [*seeds, *draw(rows, size, bench.spec.seed)] for name, rows in accepted.items()}


def side_report(
    name: str,
    harvest: Harvest,
    dev: Sequence[EvalReport],
    role: Role,
    rows: int,
    comparison: Comparison | None,
    score: Estimate | None,
) -> ControlReport:
    """What the report says of one side: scored and compared on the items of `role`, trained on so many synthetic
    `rows`."""
    about = next((control.about for known, control in CONTROLS.items() if known == name), "the loop itself")
    return ControlReport(
        name=name,
        about=about,
        calls=len({one.call for one in chain(harvest.candidates, harvest.failures)}),
        candidates=sum(quota.candidates for quota in harvest.quotas),
        accepted=len(harvest.sieved.accepted),
        rows=rows,
        dataset=harvest.dataset,
        dev=tuple(dev),
        comparison=comparison,
        role=role,
        score=score,
    )
