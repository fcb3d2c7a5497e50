"""The student of a suite's best variant, for MLflow's model registry: which one it is, and why."""

from __future__ import annotations

from pathlib import Path

from harness.comparewords import verdict_word
from harness.comparison import Comparison, Line, compare_suite
from harness.errors import DataError
from harness.records import Role
from harness.registry import Registered, in_words, register
from harness.scorewords import score_name
from harness.served import base_model
from harness.spec import Spec
from harness.suitefile import LoadedSuite
from harness.suiterun import SuiteState

STANDS = {
    "base": "it is the base",
    "better": "better than the base",
    "worse": "worse than the base, which has no finished run to take",
    "unclear": "not told apart from the base",
    "unknown": "there is no base to compare it with",
}


def check_tracking(suite: LoadedSuite) -> None:
    """Raise `DataError` where the suite's runs are not to be shown in MLflow."""
    if not next(iter(suite.base.specs.values())).runtime.tracking.enabled:
        raise DataError(
            f"--register puts a model into MLflow, and the suite {suite.name!r} has runtime.tracking.enabled: false. "
            "Leave --register out, or add `--set runtime.tracking.enabled=true`."
        )


def register_best(state: SuiteState, name: str) -> tuple[str, Registered]:
    """(which student and why, what came of it): the variant that is first on dev, whatever the test says, so that the
    test stays a measure of it; of its seeds the first. Raises as `harness.registry.register`."""
    suite = state.suite
    found = compare_suite(suite, state.finished, state.faults, state.store)
    line = found.lines[0]
    seed = line.seeds[0]
    spec = next(one for one in suite.variants if one.name == line.variant).specs[seed]
    registered = register(
        state.finished[line.variant][seed],
        state.store,
        suite.arm,
        state.tracking,
        name=name,
        base=_base(spec),
        folder=suite.folder,
        more={"suite": suite.name, "variant": line.variant},
    )
    return reason(found, line), registered


def _base(spec: Spec) -> str:
    """The base model's folder where the spec names one in full: reports hold its last part only."""
    model = base_model(spec)
    return model if Path(model).is_absolute() else ""


def reason(found: Comparison, line: Line) -> str:
    """Which student is taken and what speaks for it."""
    metric = score_name(found.metric)
    place = f"best of {len(found.lines)} variants on {Role.DEV.value}" if len(found.lines) > 1 else "the only variant"
    seeds = f"; seed {line.seeds[0]}, the first of {len(line.seeds)}: no seed is picked by its score"
    return (
        f"chosen: {found.arm} of {line.variant}, {place} ({metric} {in_words(line.score.items)}; "
        f"{STANDS[verdict_word(line)]}{seeds if len(line.seeds) > 1 else ''})."
    )
