"""Finished runs in a store, made by hand: a split, the test predictions of some arms, adapters and data sets with
nothing but a card, the opening and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from factories import LABELS, make_run_report, sha

from harness.clusters import Clusters
from harness.loop import REPORT
from harness.records import Example, Origin, Prediction, Role, Status
from harness.reports import RunReport, SplitInfo
from harness.scoring import decision_of
from harness.seal import TestSeal, role_file, write_examples
from harness.store import Store, write_json
from harness.texts import Slicer
from harness.train.students import write_predictions

ITEMS = 100
NAMES = list(LABELS)


def finish(store: Store, seed: int, right: Mapping[str, int], *, sealed: bool = False, variant: str = "") -> RunReport:
    """A finished run of `seed` in which arm `a` is right on the first `right[a]` of 100 test items of its own; of 100
    dev items where the test stayed `sealed`. Runs of one seed that differ in `variant` have the same items."""
    role = Role.DEV if sealed else Role.TEST
    examples = tuple(
        Example(f"real-{seed:04}{i:08}", f"test item {seed} {i}", NAMES[i % 3], {}, Origin.REAL) for i in range(ITEMS)
    )
    split = store.once("split", 1, lambda folder: _write_split(folder, seed, role, examples), inputs={}, seed=seed)
    evaluation = store.once(
        "evaluation", 1, lambda folder: _write_predictions(folder, examples, right), inputs=dict(right), seed=seed
    )
    adapters = {arm: _adapter(store, f"{variant}{arm}", seed) for arm in right}
    plain = make_run_report()
    draft = replace(
        plain,
        seed=seed,
        rounds=tuple(replace(each, dataset=_dataset(store, each.round, seed)) for each in plain.rounds),
        test={} if sealed else {arm: replace(plain.test["mixed"], arm=arm) for arm in right},
        artefacts={"split": split.id, "evaluation": evaluation.id}
        | {f"adapter/{arm}": ident for arm, ident in adapters.items()},
    )
    inputs = {"variant": variant} if variant else {}
    ident, _ = store.id_of("run", 1, inputs, {}, seed)
    report = replace(draft, id=ident)
    store.once("run", 1, lambda folder: write_json(folder / REPORT, RunReport, report), inputs=inputs, seed=seed)
    if not sealed:
        TestSeal(split.id, sha(str(seed)), split / role_file(Role.TEST)).open(store, ident, decision_of(adapters))
    return report


def _adapter(store: Store, arm: str, seed: int) -> str:
    return store.once(
        "adapter", 1, lambda folder: (folder / "README.md").write_text(f"# {arm}"), inputs={"arm": arm}, seed=seed
    ).id


def _dataset(store: Store, number: int, seed: int) -> str:
    return store.once(
        "dataset", 1, lambda folder: (folder / "README.md").write_text("# rows"), inputs={"round": number}, seed=seed
    ).id


def _write_split(folder: Path, seed: int, scored: Role, examples: tuple[Example, ...]) -> None:
    sizes = {role: len(examples) if role is scored else 0 for role in Role}
    hashes = {role: sha(str(seed)) for role in Role}
    write_json(folder / "info.json", SplitInfo, SplitInfo("split-x", sizes, hashes, {}, {}))
    write_json(folder / "warnings.json", tuple[str, ...], ())
    write_json(folder / "slicer.json", Slicer, Slicer(None, None))
    write_json(folder / "clusters.json", Clusters, Clusters())
    for role in Role:
        write_examples(folder / role_file(role), examples if role is scored else ())


def _write_predictions(folder: Path, examples: tuple[Example, ...], right: Mapping[str, int]) -> None:
    for arm, count in right.items():
        (folder / arm).mkdir()
        answers = [
            Prediction(one.id, Status.OK, one.label if i < count else NAMES[(NAMES.index(one.label) + 1) % 3], 0.9)
            for i, one in enumerate(examples)
        ]
        write_predictions(folder / arm, answers)
