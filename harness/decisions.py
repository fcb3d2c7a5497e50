"""What is decided once and kept, so that a resumed run does not decide anew: the tags of the seeds, the judge's gate,
each round's plan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness import cells
from harness.bench import Bench, Spender
from harness.cells import CellTagger, Column
from harness.embed import Embedder
from harness.errors import BudgetError
from harness.filters.gate import closed_gate, gate_calls, open_gate
from harness.filters.leakage import overlaps
from harness.filterspec import keyed
from harness.generate import feedback
from harness.generate.feedback import next_plan
from harness.humanlabels import HumanLabels
from harness.llm.client import Llm
from harness.llm.noted import Noted, read_calls, write_calls
from harness.progress import Watch
from harness.real import RealData
from harness.records import DevReport, EvalReport, Example, Plan, Role
from harness.reports import GateReport
from harness.spec import Spec
from harness.store import Store, read_json, write_json

GATE_VERSION = 1


async def with_cells(
    spec: Spec, data: RealData, embedder: Embedder, llm: Spender, store: Store, watch: Watch
) -> RealData:
    """The data with the matrix's dimensions as slices of every role (test: by `data.tagged`, once it is opened).

    Seeds are tagged once and kept. The split stays as it is, so that who tags cannot move an item. Raises
    `EndpointError`; a budget that ends here leaves the tags to the embedder.
    """
    if spec.data.slices.cells == "off" or not spec.matrix.dimensions:
        return data
    seeds = data.examples[Role.SEEDS]
    parents = {"split": data.artefact.id}
    inputs: dict[str, object] = {
        "dimensions": [[one.name, one.use, list(one.values)] for one in spec.matrix.dimensions],
        "embedder": embedder.id,
    }
    if cells.asks_judge(spec):
        tree = spec.model_dump(mode="json")
        inputs |= {"judge": judge_identity(spec), "noun": spec.task.noun, "budget": tree["budget"]}
    ident, _ = store.id_of("cells", cells.VERSION, inputs, parents, spec.seed)
    noted = Noted(llm)
    columns = () if ident in store else await _columns(spec, seeds, embedder, noted, watch)

    def build(folder: Path) -> None:
        write_json(folder / "columns.json", tuple[Column, ...], columns)
        write_calls(folder, noted)

    kept = store.once("cells", cells.VERSION, build, inputs=inputs, parents=parents, seed=spec.seed)
    llm.use(read_calls(kept.path))
    tagger = CellTagger(
        read_json(kept / "columns.json", tuple[Column, ...]),
        {one.name: cells.values_of(one) for one in cells.by_opening(spec)},
        seeds,
        embedder,
        kept.id,
    )
    return replace(data, examples={role: tagger(own) for role, own in data.examples.items()}, tagger=tagger)


async def _columns(
    spec: Spec, seeds: Sequence[Example], embedder: Embedder, llm: Llm, watch: Watch
) -> tuple[Column, ...]:
    """All dimensions that are slices, in the matrix's order."""
    wanted = cells.by_tag(spec)
    made = [Column(one.name, "column") for one in cells.by_column(spec)]
    made += [Column(one.name, "first words") for one in cells.by_opening(spec)]
    made += await _tagged(spec, seeds, embedder, llm, watch) if wanted else ()
    order = [one.name for one in spec.matrix.dimensions]
    return tuple(sorted(made, key=lambda column: order.index(column.name)))


async def _tagged(
    spec: Spec, seeds: Sequence[Example], embedder: Embedder, llm: Llm, watch: Watch
) -> tuple[Column, ...]:
    wanted = cells.by_tag(spec)
    if not cells.asks_judge(spec):
        return cells.tag_by_embedder(seeds, wanted, embedder)
    with watch.stage("judging", "tag the seeds", len(seeds)) as advance:
        try:
            columns = await cells.tag_seeds(seeds, wanted, spec, llm, advance)
        except BudgetError as error:
            watch.note(f"{error} The seeds were tagged by the embedder instead of the judge.")
            return cells.tag_by_embedder(seeds, wanted, embedder)
    for column in columns:
        if column.failed:
            watch.note(
                f"{column.name}: the judge gave no usable value for {column.failed} of {len(seeds)} seeds; they and "
                "the items nearest to them are `unclear`."
            )
    return columns


async def gate_of(
    spec: Spec,
    seeds: Sequence[Example],
    split: str,
    llm: Spender,
    store: Store,
    watch: Watch,
    labels: HumanLabels | None = None,
) -> GateReport | None:
    """The judge's gate, opened once and kept: a resumed run must not decide anew. None where the judge is off.

    `labels` are people's (`humanlabels.read_labels`) in place of seeds with planted errors.
    """
    if not spec.filters.judge.enabled:
        return None
    for note in labels.notes if labels else ():
        watch.note(note)
    tree = spec.model_dump(mode="json")
    inputs: dict[str, object] = {
        "filter": keyed(spec.filters)["judge"],
        "judge": judge_identity(spec),
        "task": tree["task"],
        "budget": tree["budget"],
    }
    if labels:
        inputs["labels"] = labels.sha256
    ident, _ = store.id_of("gate", GATE_VERSION, inputs, {"split": split}, spec.seed)
    report, noted = None, Noted(llm)
    if ident not in store:
        items = len(labels.items if labels else seeds)
        with watch.stage("judging", "judge's gate", gate_calls(items, spec)) as advance:
            try:
                report = await open_gate(seeds, noted, spec, advance, labels)
            except BudgetError as error:
                watch.note(str(error))
                report = closed_gate("the budget ended before its gate was through", spec, labels)

    def build(folder: Path) -> None:
        if report is None:
            raise AssertionError("the gate was neither in the store nor opened")
        write_json(folder / "gate.json", GateReport, report)
        write_calls(folder, noted)

    kept = store.once("gate", GATE_VERSION, build, inputs=inputs, parents={"split": split}, seed=spec.seed)
    llm.use(read_calls(kept.path))
    return read_json(kept / "gate.json", GateReport)


def judge_identity(spec: Spec) -> dict[str, object]:
    return spec.llm.judge.model_dump(mode="json", exclude={"api_key_env", "price"})


async def keep_plan(
    bench: Bench,
    number: int,
    parents: Sequence[str],
    make: Callable[[Llm], Awaitable[Plan]],
    *,
    wrong_names: bool = False,
) -> tuple[Plan, str]:
    """The plan of round `number`, made once from its parents and kept: a resumed run must not ask the critic anew.

    The first plan does not depend on feedback, so loops that differ in feedback alone share it and all that follows.
    """
    inputs = {**bench.section("task", "matrix", "generate", "budget"), "round": number}
    if number > 1:
        critic = bench.spec.llm.critic.model_dump(mode="json", exclude={"api_key_env", "price"})
        inputs |= {**bench.section("feedback"), "critic": critic, "wrong_names": wrong_names}
    named = {f"parent {index}": parent for index, parent in enumerate(parents)}
    ident, _ = bench.store.id_of("plan", feedback.VERSION, inputs, named, bench.spec.seed)
    noted = Noted(bench.llm)
    plan = await make(noted) if ident not in bench.store else None

    def build(folder: Path) -> None:
        if plan is None:
            raise AssertionError("the plan was neither in the store nor made")
        write_json(folder / "plan.json", Plan, plan)
        write_calls(folder, noted)

    kept = bench.store.once("plan", feedback.VERSION, build, inputs=inputs, parents=named, seed=bench.spec.seed)
    bench.llm.use(read_calls(kept.path))
    return read_json(kept / "plan.json", Plan), kept.id


async def steer(
    bench: Bench,
    llm: Llm,
    report: EvalReport,
    earlier: Sequence[Plan],
    parents: Sequence[str],
    *,
    wrong_names: bool = False,
) -> Plan:
    """The dev report, and nothing else of dev, becomes the plan after the `earlier` ones.

    Slices whose tags are guesses of the embedder are reported, but do not steer.
    """
    weak = bench.data.tagger.weak if bench.data.tagger else frozenset[str]()
    firm = tuple(score for score in report.slices if score.slice.partition("=")[0] not in weak)

    def overlap(text: str) -> str:
        guard = bench.data.guard()
        held = bench.embedder([held for _, _, held in guard.pairs()])
        rule = bench.spec.filters.leakage
        return overlaps(text, guard, rule.ngram, bench.embedder([text])[0], held, rule.threshold)

    return await next_plan(
        DevReport(replace(report, slices=firm)),
        bench.spec,
        len(earlier) + 1,
        parents,
        llm,
        overlap,
        wrong_names=wrong_names,
        earlier=earlier,
    )
