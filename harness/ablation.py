"""What was each filter worth? A finished run again with one filter off at a time, on the candidates it has.

No call is made: the candidates are the run's, and a row that only now comes to a judge that may drop data is not
graded. Every side, the one with all filters too, goes through the same steps: sieve, self-training, sieve again, train
the student on the seeds and the accepted rows, predict dev. So the sides differ in one filter and what follows from it.

Leakage stays on: a row that copies a dev item would make its absence look good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.ablationreport import ALL, RESULT, VERSION, Ablation, FilterAblation, ablation_of, inputs_of
from harness.bench import Bench, Harvest
from harness.errors import DataError
from harness.filters import enabled, without
from harness.filters.base import Filter
from harness.filters.consistency import ConsistencyFilter
from harness.filters.judge import NO_BUDGET, JudgeFilter
from harness.filters.leakage import LeakageFilter
from harness.llm.client import open_client
from harness.llm.noted import read_calls
from harness.loop import call_scope, closed_rounds, finished, run_id, set_up
from harness.progress import OTHER, Progress, Watch
from harness.records import Comparison, Decision, Estimate, Example, Role
from harness.rounds import resieve
from harness.scoring import score, train_rows
from harness.spec import Budget, Spec
from harness.store import Artefact, Store, write_json
from harness.timing import TimedLlm

KEPT_ON = (LeakageFilter.name,)


def ablate(spec: Spec, base: Path, progress: Progress) -> Ablation:
    """Ablate the filters of the finished run of `spec`, or read what was found before.

    Raises `DataError` where the run is not finished, and the errors of `harness.errors`.
    """
    store, (ident, _) = Store(spec.runtime.store), run_id(spec, base)
    if finished(spec, base) is None:
        raise DataError(
            f"no finished run of this spec ({ident}) is in {str(spec.runtime.store)!r}: make it with `harness run`, "
            "then say `harness ablate` with the same file and settings."
        )
    known = ablation_of(store, ident, spec.seed)
    if known is not None:
        return known
    watch = Watch(progress)
    # None of the calls that are not in the cache may be made, whatever the run's own budget still allows.
    nothing = spec.model_copy(update={"budget": Budget().model_copy(update={"calls": 0})})
    with watch.timed(OTHER), open_client(nothing, store.root, scope=call_scope(spec, base)) as llm:
        found = asyncio.run(_ablate(spec, base, store, TimedLlm(llm, watch), watch, ident))
    store.once(
        "ablation",
        VERSION,
        lambda folder: write_json(folder / RESULT, Ablation, found),
        inputs=inputs_of(),
        parents={"run": ident},
        seed=spec.seed,
    )
    return found


async def _ablate(spec: Spec, base: Path, store: Store, llm: TimedLlm, watch: Watch, ident: str) -> Ablation:
    bench = await set_up(spec, base, store, llm, watch, ident, "")
    rounds, _, _ = await closed_rounds(bench)
    last = rounds[-1].harvest
    whole = await resieve(bench, last)
    sides: dict[str, Harvest] = {ALL: whole}
    for item in enabled(bench.spec.filters):
        if item.name not in KEPT_ON:
            own = _without(bench, item)
            sides[item.name] = await resieve(own, last)
    adapters = {name: adapter for name, side in sides.items() if (adapter := _trained(bench, name, side, whole))}
    if ALL not in adapters:
        raise DataError(f"with all filters on no student can be trained: {'; '.join(watch.notes)}")
    reports, against = _scored(bench, adapters, whole)
    calls = len(read_calls(store.find(last.verdicts).path))
    return Ablation(
        run=ident,
        metric=spec.evaluate.metric,
        candidates=len(last.candidates),
        rows=len(whole.material(bench.data).accepted),
        score=reports[ALL],
        filters=tuple(
            _found(bench, item, whole, sides[item.name], reports.get(item.name), against.get(item.name), calls)
            for item in enabled(bench.spec.filters)
            if item.name in sides
        ),
    )


def _without(bench: Bench, item: Filter) -> Bench:
    return replace(
        bench,
        spec=without(bench.spec, [item.name]),
        fitted=None if item.name == ConsistencyFilter.name else bench.fitted,
        asks=False,
    )


def _trained(bench: Bench, name: str, side: Harvest, whole: Harvest) -> Artefact | None:
    """The adapter of a side; None where its rows are those of the side with all filters, or lack a label."""
    if side is not whole and side.sieved.accepted == whole.sieved.accepted:
        return None
    rows: list[Example] = [*bench.data.examples[Role.SEEDS], *side.material(bench.data).accepted]
    return train_rows(bench, name if side is whole else f"without {name}", rows, side.dataset)


def _scored(
    bench: Bench, adapters: Mapping[str, Artefact], whole: Harvest
) -> tuple[dict[str, Estimate], dict[str, Comparison]]:
    """(score by side, all filters − the side by its filter) on dev."""
    others = [name for name in adapters if name != ALL]
    scored = score(
        bench,
        Role.DEV,
        bench.data.examples[Role.DEV],
        adapters,
        whole.material(bench.data),
        (),
        claims=[(ALL, name) for name in others],
    )
    metric = bench.spec.evaluate.metric
    return {name: one.score(metric) for name, one in scored.reports.items()}, {one.b: one for one in scored.comparisons}


def _found(
    bench: Bench,
    item: Filter,
    whole: Harvest,
    side: Harvest,
    reached: Estimate | None,
    comparison: Comparison | None,
    calls: int,
) -> FilterAblation:
    own = [verdict for verdict in whole.sieved.verdicts if verdict.filter == item.name]
    same = side.sieved.accepted == whole.sieved.accepted
    rule = bench.spec.filters.consistency
    return FilterAblation(
        filter=item.name,
        dropped=sum(verdict.decision is Decision.DROP for verdict in own),
        relabelled=sum(verdict.decision is Decision.RELABEL for verdict in own),
        rows=len(side.material(bench.data).accepted),
        score=reached,
        comparison=comparison,
        calls=calls if item.name == JudgeFilter.name else 0,
        trainings=rule.folds + rule.passes * rule.pass_folds if item.name == ConsistencyFilter.name else 0,
        note=_note(bench, item.name, side, same=same, trained=reached is not None),
    )


def _note(bench: Bench, name: str, side: Harvest, *, same: bool, trained: bool) -> str:
    if same:
        return "the same rows come through without it"
    if not trained:
        return "without it no student can be trained: a label has no row"
    notes: list[str] = []
    if name == ConsistencyFilter.name and bench.spec.filters.difficulty.enabled:
        notes.append("difficulty abstains too, since it asks the same students")
    ungraded = sum(one.filter == JudgeFilter.name and one.reason == NO_BUDGET for one in side.sieved.verdicts)
    if ungraded:
        notes.append(f"not graded, since only now they come to the judge: {ungraded:,}")
    return "; ".join(notes)
