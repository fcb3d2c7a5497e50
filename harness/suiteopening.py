"""The sealed test of a suite: opened once a seed, for all variants together, after every run is finished.

Variants run with their test sealed, so nothing of theirs was chosen by it. The opening is one look, whose decision is
the models of all variants: another variant, or a changed one, would be a further look at the same items and has to be
asked for with a reason (`harness.seal`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.outcomes import ScoredRun
from eval.score import evaluate
from harness.bench import students_of
from harness.comparison import Finished, Opened
from harness.deliver import adapters_of
from harness.embed import SentenceEmbedder
from harness.errors import DataError
from harness.machine import device_of, use_threads
from harness.openings import SUITE
from harness.progress import Progress, Watch
from harness.real import RealData, read_split
from harness.records import EvalReport, Example, Prediction, Role
from harness.reports import RunReport
from harness.scoring import decision_of, predictions_of
from harness.store import Artefact, Store, digest, write_json
from harness.suitefile import LoadedSuite
from harness.suitespec import BASE
from harness.train.students import write_predictions

VERSION = 1
SCORES = "scores.json"

Reports = Mapping[str, EvalReport]


def open_together(
    suite: LoadedSuite, finished: Finished, store: Store, progress: Progress, reopen: str
) -> dict[int, Opened]:
    """Seed → the test items with what every variant's model predicts for them, after the look is on record.

    `reopen` is the reason for a further look. Raises `DataError` where a run is missing or two seeds share their test
    items, and what `TestSeal.open` does; none is open then.
    """
    lacking = [
        f"{one.name}, seed {seed}"
        for one in suite.variants
        for seed in suite.seeds
        if seed not in finished.get(one.name, {})
    ]
    if lacking:
        raise DataError(
            f"the test stays sealed: there is no finished run of {'; '.join(lacking[:5])}. It is opened for all "
            "variants of a suite together. Mend these runs, or leave variants out with `--only`."
        )
    sides = [_side(suite, seed, finished, store) for seed in suite.seeds]
    _check_apart(sides)
    # All or none: what one seed may not look at must not cost the others their first look.
    for side in sides:
        side.split.test.ask(store, side.look, side.decision, reopen)
    return {side.seed: _open(suite, side, store, progress, reopen) for side in sides}


@dataclass(frozen=True, slots=True)
class _Side:
    """What is fixed of a seed before its test is opened: by variant the run and its model."""

    seed: int
    runs: Mapping[str, RunReport]
    models: Mapping[str, str]
    split: RealData
    look: str

    @property
    def decision(self) -> str:
        return decision_of(self.models)


def _side(suite: LoadedSuite, seed: int, finished: Finished, store: Store) -> _Side:
    runs = {one.name: finished[one.name][seed] for one in suite.variants}
    models = {name: _model(suite.arm, name, report) for name, report in runs.items()}
    split = read_split(store.find(runs[BASE].artefacts["split"]))
    look = f"{SUITE}{digest([suite.name, suite.arm, seed, sorted(report.id for report in runs.values())])[:16]}"
    return _Side(seed, runs, models, split, look)


def _check_apart(sides: Sequence[_Side]) -> None:
    """Raise `DataError` where two seeds have the same test items: each would be a further look at them."""
    seeds: dict[str, list[int]] = {}
    for side in sides:
        seeds.setdefault(side.split.test.sha, []).append(side.seed)
    if shared := [same for same in seeds.values() if len(same) > 1]:
        listed = " and ".join(map(str, shared[0]))
        raise DataError(
            f"the test stays sealed: seeds {listed} have the same test items, so that opening them would be "
            f"{len(shared[0])} looks at one test. Take data.split.seed out of the base, so that every seed draws its "
            "own, or give the suite one seed."
        )


def _open(suite: LoadedSuite, side: _Side, store: Store, progress: Progress, reopen: str) -> Opened:
    opened = side.split.test.open(store, side.look, side.decision, reopen)
    kept = _predicted(suite, side.seed, side.runs, side.models, opened.examples, store, progress)
    return Opened(ScoredRun(opened.examples, predictions_of(kept.path)), opened.looks)


def _model(arm: str, variant: str, report: RunReport) -> str:
    adapters = adapters_of(report)
    if arm not in adapters:
        raise DataError(
            f"variant {variant!r} has no model for the arm {arm!r}, only for {', '.join(sorted(adapters))}. Choose "
            "another `arm` for the suite."
        )
    return adapters[arm]


def _predicted(
    suite: LoadedSuite,
    seed: int,
    runs: Mapping[str, RunReport],
    models: Mapping[str, str],
    examples: tuple[Example, ...],
    store: Store,
    progress: Progress,
) -> Artefact:
    """One evaluation for all variants, so that a record of openings that is lost counts it as the one look it was."""
    rule = suite.base.specs[seed].evaluate
    sha = runs[BASE].data.hashes[Role.TEST]
    inputs = {"suite": suite.name, "role": Role.TEST, "rule": {"metric": rule.metric, "resamples": rule.resamples}}

    def build(folder: Path) -> None:
        answers = _answers(suite, seed, models, examples, store, progress)
        reports: dict[str, EvalReport] = {}
        for name, predictions in answers.items():
            (folder / name).mkdir()
            write_predictions(folder / name, predictions)
            labels = list(suite.base.specs[seed].task.labels)
            reports[name] = evaluate(
                name, Role.TEST, sha, models[name], examples, predictions, labels, rule.resamples, seed
            )
        write_json(folder / SCORES, Mapping[str, Reports], {"reports": reports})

    parents = {"split": runs[BASE].artefacts["split"]} | {f"model {name}": ident for name, ident in models.items()}
    return store.once("evaluation", VERSION, build, inputs=inputs, parents=parents, seed=seed)


def _answers(
    suite: LoadedSuite,
    seed: int,
    models: Mapping[str, str],
    examples: tuple[Example, ...],
    store: Store,
    progress: Progress,
) -> dict[str, list[Prediction]]:
    watch = Watch(progress)
    out: dict[str, list[Prediction]] = {}
    with watch.stage("prediction", f"open the test, seed {seed}", len(models)) as advance:
        for one in suite.variants:
            spec = one.specs[seed]
            device = device_of(spec)
            use_threads(spec.runtime.threads)
            students = students_of(spec, store, SentenceEmbedder(store.root, device), device, watch, suite.folder)
            out[one.name] = students.predict(store.find(models[one.name]), examples)
            advance(1)
    return out
