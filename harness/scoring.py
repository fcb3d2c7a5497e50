"""Train the arms, score them on real items of one role, compare them with `seeds`, and take the three gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eval.gap import gap, source_gap
from eval.intervals import holm
from eval.score import compare, evaluate
from harness.arms import Material, rows_of
from harness.bench import Bench
from harness.errors import DataError
from harness.records import Comparison, EvalReport, Example, Gap, Prediction, Role
from harness.spec import Spec
from harness.store import Artefact, digest, read_json, write_json
from harness.train.students import Students, read_predictions, write_predictions
from harness.train.writers import Writers

VERSION = 5
REFERENCE = "seeds"
"""The arm that every other one is compared with."""
NEEDED_ARMS = (REFERENCE, "mixed")
"""Without these there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Arms on one split. `predictions` are kept for pooling over seeds."""

    artefact: str
    reports: Mapping[str, EvalReport]
    comparisons: tuple[Comparison, ...]
    gap: Gap
    adapters: Mapping[str, str]
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Saved:
    reports: Mapping[str, EvalReport]
    comparisons: tuple[Comparison, ...]
    gap: Gap


def trained_arms(spec: Spec, *, each_round: bool = False) -> list[str]:
    """The arms that need training, in all or after each round. Where synthetic and pool rows are compared, there is a
    cut one for equal size."""
    rule = spec.evaluate
    asked = rule.each_round if each_round and rule.each_round is not None else rule.arms
    arms = [arm for arm in rule.arms if arm != "base" and (arm in asked or arm in NEEDED_ARMS)]
    return [*arms, *(["synthetic_equal"] if {"synthetic", "real"} <= set(arms) else [])]


def train_arms(bench: Bench, arms: Sequence[str], material: Material, dataset: str) -> dict[str, Artefact]:
    """One adapter per arm that has rows; only arms with synthetic rows descend from the data set."""
    out: dict[str, Artefact] = {}
    for arm in arms:
        rows = rows_of(arm, material, bench.spec.seed)
        adapter = None if rows is None else train_rows(bench, arm, rows, dataset)
        if adapter is not None:
            out[arm] = adapter
    return out


def train_rows(bench: Bench, arm: str, rows: Sequence[Example], dataset: str) -> Artefact | None:
    """The adapter of an arm; None, with a note, where its rows lack a label. Raises `DataError` if it is an arm without
    which there is nothing to say."""
    parents = {"split": bench.data.artefact.id}
    if arm not in ("seeds", "real", "all_real"):
        parents["dataset"] = dataset
    try:
        return bench.students.train(arm, rows, bench.spec.seed, parents)
    except DataError as error:
        if arm in NEEDED_ARMS:
            raise
        # The calls are paid for and the other arms can be trained: one that lacks a label costs only itself.
        bench.watch.note(f"Left out: {error}")
        return None


def score(
    bench: Bench,
    role: Role,
    examples: Sequence[Example],
    adapters: Mapping[str, Artefact],
    material: Material,
    held_out: Sequence[Example],
    *,
    with_base: bool = False,
    claims: Sequence[tuple[str, str]] = (),
) -> Scored:
    """Predict and score all arms together.

    Every arm is compared with `seeds`, if that is there; `claims` are the pairs whose p-values are adjusted for their
    number, those that are not among the former are compared too. Raises ValueError where two arms answered for
    different items.
    """
    rule, seed = bench.spec.evaluate, bench.spec.seed
    inputs = {
        "rule": {"metric": rule.metric, "resamples": rule.resamples},
        "role": role,
        "items": digest([[*one.content, dict(one.slices)] for one in examples]),
        "held_out": digest([one.content for one in held_out]),
        "base": with_base,
        "claims": [list(pair) for pair in claims],
    }
    parents = {"split": bench.data.artefact.id, **{arm: adapter.id for arm, adapter in adapters.items()}}

    def build(folder: Path) -> None:
        answers = _answers(bench.students, examples, adapters, with_base=with_base)
        on_synthetic = (
            bench.students.predict(adapters["synthetic"], held_out) if held_out and "synthetic" in adapters else None
        )
        for arm, predictions in answers.items():
            (folder / arm).mkdir()
            write_predictions(folder / arm, predictions)
        reports = {
            arm: evaluate(
                arm,
                role,
                bench.data.info.hashes[role],
                adapters[arm].id if arm in adapters else "",
                examples,
                predictions,
                bench.students.labels,
                rule.resamples,
                seed,
            )
            for arm, predictions in answers.items()
        }
        others = [arm for arm in answers if arm not in (REFERENCE, "base") and arm not in _sides(claims)]
        shown = [(arm, REFERENCE) for arm in others if REFERENCE in answers]
        comparisons = with_holm(
            [
                compare(a, b, examples, answers[a], answers[b], rule.metric, rule.resamples, seed)
                for a, b in dict.fromkeys([*shown, *claims])
            ],
            claims,
        )
        gaps = gap(
            rule.metric,
            rule.resamples,
            seed,
            examples=examples,
            loop=answers.get("mixed"),
            seeds=answers.get(REFERENCE),
            synthetic=answers.get("synthetic"),
            real=answers.get("real"),
            all_real=answers.get("all_real"),
            synthetic_examples=held_out,
            synthetic_on_synthetic=on_synthetic,
        )
        if "synthetic_equal" in answers:
            # At equal training size: where there are more synthetic rows than pool rows, the cut arm stands in.
            cut = answers["synthetic_equal"]
            source = source_gap(rule.metric, examples, answers.get("real"), cut, resamples=rule.resamples, seed=seed)
            gaps = replace(gaps, source=source)
        write_json(folder / "scores.json", _Saved, _Saved(reports, tuple(comparisons), gaps))

    artefact = bench.store.once("evaluation", VERSION, build, inputs=inputs, parents=parents, seed=seed)
    saved = read_json(artefact / "scores.json", _Saved)
    sizes = {arm: len(rows) for arm in adapters if (rows := rows_of(arm, material, seed)) is not None}
    ids = {arm: adapter.id for arm, adapter in adapters.items()}
    return Scored(artefact.id, saved.reports, saved.comparisons, saved.gap, ids, sizes)


def _sides(claims: Sequence[tuple[str, str]]) -> set[str]:
    """Arms that exist for a claim alone."""
    return {arm for pair in claims if REFERENCE not in pair for arm in pair}


def with_holm(comparisons: Sequence[Comparison], claims: Sequence[tuple[str, str]]) -> list[Comparison]:
    """The comparisons, those among `claims` with their p-value adjusted for the number of claims (Holm 1979)."""
    places = [place for place, one in enumerate(comparisons) if (one.a, one.b) in claims]
    adjusted = dict(zip(places, holm([comparisons[place].p_value for place in places]), strict=True))
    return [replace(one, p_holm=adjusted.get(place)) for place, one in enumerate(comparisons)]


def _answers(
    students: Students | Writers, examples: Sequence[Example], adapters: Mapping[str, Artefact], *, with_base: bool
) -> dict[str, list[Prediction]]:
    answers = {"base": students.untrained(examples)} if with_base else {}
    return answers | {arm: students.predict(adapter, examples) for arm, adapter in adapters.items()}


def predictions_of(folder: Path) -> dict[str, list[Prediction]]:
    """Predictions by arm of an evaluation artefact's folder."""
    return {arm.name: read_predictions(arm) for arm in sorted(folder.iterdir()) if arm.is_dir()}


def decision_of(adapters: Mapping[str, str]) -> str:
    """Digest of what is fixed before the test split is opened: which model stands for which arm."""
    return digest(dict(sorted(adapters.items())))
