"""Variants × seeds of a suite laid side by side: scores, paired differences to the base, cost. Figures only, no words.

All variants of a seed are scored on the same real items. Over seeds they are pooled as `harness.replicates` pools runs:
noise between items and noise between training seeds are kept apart (`eval.intervals.Pooled`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from eval.claims import holm_where_known, pooled_detectable, pooled_p_value
from eval.intervals import Pooled
from eval.outcomes import Metric, ScoredRun
from eval.score import compare, pooled_paired_difference, pooled_score
from harness.errors import DataError
from harness.records import Cost, Prediction, Role
from harness.replicates import scored_run
from harness.reports import Opening, RunReport
from harness.store import Store, digest
from harness.suitefile import LoadedSuite, Variant
from harness.suitespec import BASE

LAYOUT = 2
"""Version of what a comparison holds."""

Finished = Mapping[str, Mapping[int, RunReport]]
"""Variant → seed → its finished run."""


@dataclass(frozen=True, slots=True)
class AgainstBase:
    """A variant − the base on the same items. Over several seeds `p_value` and `detectable` allow for items and seeds,
    with one seed they are those of `eval.score.compare`; `p_holm` is adjusted for the number of variants. `p_by_seed`
    holds the p of each seed alone, over its items."""

    difference: Pooled
    p_value: float | None
    p_holm: float | None
    detectable: float | None
    p_by_seed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A variant with at least one finished run. `used` is what the answers that its runs stand on cost, `paid` what
    these runs paid themselves, both over its `seeds`; `seconds` are theirs as they ran here, `rounds` the mean number.
    `against` is None for the base. `note` is why a line is to be read with care."""

    variant: str
    changes: Mapping[str, str]
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    score: Pooled
    against: AgainstBase | None
    used: Cost
    paid: Cost
    accepted_share: float | None
    rounds: float
    seconds: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A suite's result. `lines` are ranked by score; `missing` says of variant and seed why there is no run; `looks`
    are all looks at the test items of each seed, none where the comparison is on dev."""

    id: str
    name: str
    role: Role
    metric: Metric
    arm: str
    resamples: int
    seeds: tuple[int, ...]
    lines: tuple[Line, ...]
    missing: Mapping[str, str]
    looks: Mapping[int, tuple[Opening, ...]]

    @property
    def base(self) -> Line | None:
        return next((line for line in self.lines if line.variant == BASE), None)

    @property
    def used(self) -> Cost:
        return sum((line.used for line in self.lines), Cost())

    @property
    def paid(self) -> Cost:
        return sum((line.paid for line in self.lines), Cost())


@dataclass(frozen=True, slots=True)
class Opened:
    """The sealed test, opened for all variants of a seed together: the items with every variant's predictions."""

    scored: ScoredRun
    looks: tuple[Opening, ...]


def compare_suite(
    suite: LoadedSuite,
    finished: Finished,
    faults: Mapping[tuple[str, int], str],
    store: Store,
    opened: Mapping[int, Opened] | None = None,
) -> Comparison:
    """Lay the finished runs side by side: on dev, or on test where it was `opened`. Raises `DataError` where variants
    of one seed were scored on other items, `StoreError` for predictions that cannot be read."""
    rule = next(iter(suite.base.specs.values())).evaluate
    role = Role.TEST if opened else Role.DEV
    check_same_items(finished, role)
    by_seed = {seed: one.scored for seed, one in opened.items()} if opened else _on_dev(suite.arm, finished, store)
    lines = [
        _line(suite, variant, finished, by_seed, rule.metric, rule.resamples)
        for variant in suite.variants
        if finished.get(variant.name)
    ]
    lines = _adjusted(lines)
    ids = [[line.variant, list(line.runs)] for line in lines]
    return Comparison(
        id=f"suite-{digest([LAYOUT, suite.name, suite.arm, role, rule.metric, rule.resamples, ids])[:16]}",
        name=suite.name,
        role=role,
        metric=rule.metric,
        arm=suite.arm,
        resamples=rule.resamples,
        seeds=suite.seeds,
        lines=tuple(sorted(lines, key=_rank)),
        missing={f"{name}, seed {seed}": fault for (name, seed), fault in faults.items()},
        looks={seed: one.looks for seed, one in (opened or {}).items()},
    )


def check_same_items(finished: Finished, role: Role) -> None:
    """Raise `DataError` unless all runs of a seed have the same items of the role."""
    for seed in sorted({seed for runs in finished.values() for seed in runs}):
        hashes = {name: runs[seed].data.hashes[role] for name, runs in finished.items() if seed in runs}
        splits = {name: runs[seed].data.id for name, runs in finished.items() if seed in runs}
        first = next(iter(hashes))
        other = next((name for name, sha in hashes.items() if sha != hashes[first]), None)
        if other is not None:
            raise DataError(
                f"the variants {first!r} and {other!r} have other {role.value} items under seed {seed} "
                f"({splits[first]} and {splits[other]}): what is scored on different items cannot be paired. Variants "
                "of one suite have the same data, task and seed; delete these two runs from the store and run the "
                "suite again with one version of the harness."
            )


def _on_dev(arm: str, finished: Finished, store: Store) -> dict[int, ScoredRun]:
    """Seed → dev items and, by variant, the predictions of the arm."""
    out: dict[int, ScoredRun] = {}
    for name, runs in finished.items():
        for seed, report in runs.items():
            found = scored_run(report, store)
            try:
                predictions = found.arm(arm)
            except ValueError as error:
                raise DataError(
                    f"variant {name!r}, seed {seed}: {error}. Choose another `arm` for the suite, or add it to "
                    "`evaluate.arms` of the base."
                ) from error
            known: Mapping[str, Sequence[Prediction]] = out[seed].predictions if seed in out else {}
            out[seed] = ScoredRun(found.examples, {**known, name: predictions})
    return out


def _line(
    suite: LoadedSuite,
    variant: Variant,
    finished: Finished,
    by_seed: Mapping[int, ScoredRun],
    metric: Metric,
    resamples: int,
) -> Line:
    own = {seed: finished[variant.name][seed] for seed in suite.seeds if seed in finished[variant.name]}
    reports = list(own.values())
    drawn = sum(each.generated for report in reports for each in report.rounds)
    accepted = sum(each.accepted for report in reports for each in report.rounds)
    both = [seed for seed in own if seed in finished.get(BASE, {})]
    paired = [by_seed[seed] for seed in both]
    return Line(
        variant=variant.name,
        changes=variant.changes,
        seeds=tuple(own),
        runs=tuple(report.id for report in reports),
        score=pooled_score([by_seed[seed] for seed in own], variant.name, metric, resamples, 0),
        against=None if variant.name == BASE or not paired else against(paired, variant.name, metric, resamples),
        used=sum((report.used for report in reports), Cost()),
        paid=sum((report.cost for report in reports), Cost()),
        accepted_share=accepted / drawn if drawn else None,
        rounds=sum(len(report.rounds) for report in reports) / len(reports),
        seconds=sum(sum(report.seconds.values()) for report in reports),
        note=_note(suite, own),
    )


def against(runs: Sequence[ScoredRun], variant: str, metric: Metric, resamples: int) -> AgainstBase:
    """The variant − the base over these runs, one a seed. `p_holm` is not known yet."""
    pooled = pooled_paired_difference(runs, variant, BASE, metric, resamples, 0)
    single = [
        compare(variant, BASE, run.examples, run.arm(variant), run.arm(BASE), metric, resamples, 0) for run in runs
    ]
    several = len(runs) > 1
    return AgainstBase(
        replace(pooled, items=single[0].difference) if not several else pooled,
        pooled_p_value(pooled) if several else single[0].p_value,
        None,
        pooled_detectable(pooled) if several else single[0].mdd,
        tuple(one.p_value for one in single),
    )


def _adjusted(lines: Sequence[Line]) -> list[Line]:
    """Each variant against the base is a claim: Holm over all of them."""
    places = [place for place, line in enumerate(lines) if line.against is not None]
    values = holm_where_known([one.p_value for place in places if (one := lines[place].against)])
    adjusted = dict(zip(places, values, strict=True))
    return [
        line if line.against is None else replace(line, against=replace(line.against, p_holm=adjusted[place]))
        for place, line in enumerate(lines)
    ]


def _note(suite: LoadedSuite, own: Mapping[int, RunReport]) -> str:
    said: list[str] = []
    if lacking := [seed for seed in suite.seeds if seed not in own]:
        said.append(f"no run under seed {', '.join(map(str, lacking))}")
    cut = [seed for seed, report in own.items() if any(each.out_of_budget for each in report.rounds)]
    if cut:
        said.append(
            f"cut by its budget under seed {', '.join(map(str, cut))}: what other variants had paid came free to it, "
            "so it is not comparable"
        )
    return "; ".join(said)


def _rank(line: Line) -> tuple[bool, float, str]:
    """Best first; what is not comparable stands at the end."""
    value = line.score.items.value
    return bool(line.note), -(value if value is not None else -1.0), line.variant
