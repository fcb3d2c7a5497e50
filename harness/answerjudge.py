"""The judge rates the students' answers to real items (`evaluate.judge`), and what that is worth.

Off by default, because the judge then sees dev items and, once they are opened, test items: nothing else in a run sends
these to a model. Nothing that it says steers: it is asked at the end, after every decision is fixed.

A judge's score is no result by itself. On a random part of the items its verdicts are held against the truth (the gold
answer; a reviewer's labels can take its place). Where that gate refuses the judge there is no score. Where it passes,
the score is the prediction-powered share of right answers (`eval.powered`), not the share that the judge likes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eval.intervals import insufficient, wilson
from eval.outcomes import align, rights
from eval.powered import powered_mean
from harness.bench import Bench
from harness.decisions import judge_identity
from harness.filters.gate import measured, retested
from harness.filters.judge import calls_per_item, grade_within_budget
from harness.filters.rubric import Grade, Item
from harness.filterspec import HOW_ASKED, keyed
from harness.llm.noted import Noted, read_calls, write_calls
from harness.llm.wire import public_url
from harness.records import Example, Prediction, Role, Status
from harness.reports import JudgedAnswers
from harness.spec import Spec
from harness.store import Artefact, digest, read_json, write_json

VERSION = 1
STAGE = "ratings"
GOLD = "exact match with the gold answer"
LEAST_GRADED = 0.9
"""With a smaller share of answers graded there is no score: what is missing is hardly a random part."""

Labels = Mapping[str, bool]
"""Id of an item → whether the arm's answer to it is right, for the items that were looked at."""


@dataclass(frozen=True, slots=True)
class Ratings:
    """The judge's grades of an arm's answers by item's id, and second grades of some. Answers of no usable form are in
    neither: they are wrong without asking."""

    first: Mapping[str, Grade]
    again: Mapping[str, Grade]


async def judge_answers(
    bench: Bench,
    role: Role,
    examples: Sequence[Example],
    adapters: Mapping[str, Artefact],
    *,
    labels: Mapping[str, Labels] | None = None,
    gold: str = GOLD,
) -> tuple[JudgedAnswers, ...]:
    """One entry for each arm of `evaluate.judge.arms` that has a model; none where the judge is off.

    `labels` are a reviewer's, by arm, for a random part of the items, and `gold` says whose they are; without them it
    is the gold answers of `evaluate.judge.labelled` items drawn at random. Grades are kept in the store. Raises
    `EndpointError`; a budget that ends leaves answers without a grade.
    """
    rule, students = bench.spec.evaluate.judge, bench.students
    arms = [arm for arm in rule.arms if arm == "base" or arm in adapters]
    if not rule.enabled or not arms or not examples:
        return ()
    bench.watch.note(_shown(bench.spec, role, len(examples), arms))
    drawn = labelled_part(examples, rule.labelled, bench.spec.seed)
    out: list[JudgedAnswers] = []
    for arm in arms:
        said = students.untrained(examples) if arm == "base" else students.predict(adapters[arm], examples)
        right = dict(zip([one.id for one in examples], rights(examples, said).tolist(), strict=True))
        truth = {ident: right[ident] for ident in drawn} if labels is None else labels.get(arm, {})
        ratings = await _ratings(bench, f"{role} {arm}", examples, said, list(truth))
        found = judged(arm, role, [one.id for one in examples], ratings, truth, bench.spec, gold)
        known = wilson(sum(right.values()), len(right)) if labels is None and found.gate.passed else None
        out.append(replace(found, known=known))
    return tuple(out)


def labelled_part(examples: Sequence[Example], count: int, seed: int) -> list[str]:
    """Ids of `count` items drawn by `seed`: the interval supposes that the labelled items are a random part."""
    return sorted((one.id for one in examples), key=lambda ident: digest([seed, "labelled", ident]))[:count]


def judged(
    arm: str, role: Role, items: Sequence[str], ratings: Ratings, truth: Labels, spec: Spec, gold: str = GOLD
) -> JudgedAnswers:
    """What ratings of the answers to `items` (ids) are worth beside `truth`, the labels of a random part of them.

    The gate counts answers that were both graded and labelled; answers of no usable form say nothing of the judge. In
    the score they count as rejected, and answers without a grade as missing.
    """
    graded = {ident: mark for ident, mark in ratings.first.items() if mark.score is not None}
    both = [*ratings.again, *(ident for ident in truth if ident in ratings.first and ident not in ratings.again)]
    gate = measured(
        [ratings.first[ident] for ident in both], [truth[ident] for ident in both], [*ratings.again.values()], spec
    )
    gate = replace(gate, truth=gold)
    if gate.passed and len(graded) < LEAST_GRADED * len(ratings.first):
        why = f"graded only {len(graded)} of {len(ratings.first)} answers"
        gate = replace(gate, passed=False, reason=why)
    counts = (len(items), len(ratings.first), len(graded), sum(ident in truth for ident in items))
    if not gate.passed:
        return JudgedAnswers(arm, role, *counts, gold, gate, insufficient(f"refused by its gate: {gate.reason}", 0))
    bar = spec.filters.judge.min_score
    accepted = {ident: (mark.score or 0.0) >= bar for ident, mark in graded.items()}
    used = [ident for ident in items if ident in graded or ident not in ratings.first]
    found = powered_mean(
        [float(accepted.get(ident, False)) for ident in used],
        [float(truth[ident]) if ident in truth else None for ident in used],
    )
    return JudgedAnswers(arm, role, *counts, gold, gate, found.score, found.labels_alone, found.rated, found.weight)


async def _ratings(
    bench: Bench, name: str, examples: Sequence[Example], said: Sequence[Prediction], labelled: Sequence[str]
) -> Ratings:
    """The judge's grades, asked once and kept: a resumed run must not be judged anew."""
    items = {
        one.id: Item(one.text, "", answer.answer or "", one.context)
        for one, answer in zip(examples, align(examples, said), strict=True)
        if answer.status is Status.OK
    }
    known = [ident for ident in labelled if ident in items]
    twice = known[: retested(len(known))]
    inputs = {
        **bench.section("task", "budget"),
        "judge": judge_identity(bench.spec),
        "answers": digest([[ident, one.text, one.answer, one.context] for ident, one in items.items()]),
        "twice": digest(twice),
    }
    rule = keyed(bench.spec.filters)["judge"]
    if asked := {name: rule[name] for name in HOW_ASKED if name in rule}:
        inputs["asked"] = asked
    parents = {"split": bench.data.artefact.id}
    ident, _ = bench.store.id_of(STAGE, VERSION, inputs, parents, bench.spec.seed)
    found, llm, spec = None, Noted(bench.llm), bench.spec
    if ident not in bench.store:
        calls = (len(items) + len(twice)) * calls_per_item(spec)
        with bench.watch.stage("judging", f"judge answers, {name}", calls) as advance:
            first = await grade_within_budget(list(items.values()), llm, spec, on_call=advance)
            again = await grade_within_budget([items[one] for one in twice], llm, spec, again=True, on_call=advance)
        found = Ratings(dict(zip(items, first, strict=True)), dict(zip(twice, again, strict=True)))

    def build(folder: Path) -> None:
        if found is None:
            raise AssertionError("the answers' grades were neither in the store nor asked for")
        write_json(folder / "ratings.json", Ratings, found)
        write_calls(folder, llm)

    kept = bench.store.once(STAGE, VERSION, build, inputs=inputs, parents=parents, seed=bench.spec.seed)
    bench.llm.use(read_calls(kept.path))
    return read_json(kept / "ratings.json", Ratings)


def _shown(spec: Spec, role: Role, items: int, arms: Sequence[str]) -> str:
    judge = spec.llm.judge
    where = "which runs here" if judge.embedded else f"at {public_url(judge.base_url)}"
    return (
        f"evaluate.judge is on: {items:,} {role} items were shown to the judge ({judge.model}, {where}) with the "
        f"answers of {', '.join(arms)}. They have left the split, and stand in the store's cache of calls."
    )
