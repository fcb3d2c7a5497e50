"""What a run would take, before anything is spent: cells, calls, tokens, money, trainings (`harness plan x.yaml`).

Counts of calls follow from the spec; tokens are estimated on prompts rendered as a run would render them. "Expected"
is every round's first wave. "At most" is a bound: a yield so low that all refill waves are drawn in full, every answer
as long as it may be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.callcount import RoleCalls, count_calls
from harness.clean import Item
from harness.controls import CONTROLS, LOOP
from harness.dataset import HELD_OUT_SHARE
from harness.dryrun import Rehearsal, assumed_tokens, rehearse
from harness.generate.matrix import count_cells
from harness.humanlabels import HumanLabels
from harness.llm.wire import RoleName
from harness.records import Cost, Plan, Role
from harness.scoring import trained_arms
from harness.spec import Spec
from harness.split import sizes_of

TRAINED_ONCE = ("seeds", "all_real")
"""Arms of real rows that are the same in every round."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of the budget beside what the run would take of it; `limit` None is no limit."""

    name: str
    limit: float | None
    expected: float
    most: float

    @property
    def verdict(self) -> str:
        """What the limit means for the run, in words."""
        if self.limit is None:
            return "no limit"
        if self.most <= self.limit:
            return "enough, even at most"
        if self.expected <= self.limit:
            return "enough as expected; a hard stop if much more is needed"
        return "too little: a hard stop before the last round ends"


@dataclass(frozen=True, slots=True)
class Forecast:
    """See the module's docstring. `drawn[dimension][value]` are candidates of round 1; `items` is None where the source
    was not read; `trainings` says for what how many adapters are trained, of `steps` optimiser steps at most each."""

    name: str
    sizes: Mapping[Role, int]
    items: int | None
    cells: int
    exact: bool
    plan: Plan
    drawn: Mapping[str, Mapping[str, int]]
    calls: tuple[RoleCalls, ...]
    limits: tuple[Limit, ...]
    trainings: Mapping[str, int]
    steps: int
    notes: tuple[str, ...]

    @property
    def expected(self) -> Cost:
        return sum((one.expected for one in self.calls), Cost())

    @property
    def most(self) -> Cost:
        return sum((one.most for one in self.calls), Cost())


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` have one cell per column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def forecast(spec: Spec, items: Sequence[Item] = (), labels: HumanLabels | None = None) -> Forecast:
    """What a run of `spec` would take. `items` (`dryrun.read_source`) give the texts' lengths; without them a length is
    assumed. `labels` are people's for the judge's gate; without them it is assumed to be full. Raises `SpecError`
    when the matrix leaves a label without a cell."""
    rehearsal = rehearse(spec, items, labels)
    cells, exact = count_cells(list(spec.task.labels), spec.matrix)
    calls = tuple(count_calls(spec, rehearsal))
    expected = sum((one.expected for one in calls), Cost())
    most = sum((one.most for one in calls), Cost())
    budget = spec.budget
    return Forecast(
        name=spec.name,
        sizes=sizes_of(spec.data.split),
        items=len(items) or None,
        cells=cells,
        exact=exact,
        plan=rehearsal.plan,
        drawn=_drawn(rehearsal.plan, spec),
        calls=calls,
        limits=(
            Limit("calls", budget.calls, expected.calls, most.calls),
            Limit("tokens", budget.tokens, _tokens(expected), _tokens(most)),
            Limit("usd", budget.usd, expected.usd, most.usd),
        ),
        trainings=trainings(spec),
        steps=_steps(spec),
        notes=tuple(_notes(spec, rehearsal, len(items))),
    )


def _drawn(plan: Plan, spec: Spec) -> dict[str, dict[str, int]]:
    counts: Counter[tuple[str, str]] = Counter()
    for quota in plan.quotas:
        for name, value in quota.cell.values.items():
            counts[name, value] += quota.candidates
    values = {"label": list(spec.task.labels)} | {one.name: list(one.values) for one in spec.matrix.dimensions}
    return {name: {value: counts[name, value] for value in known} for name, known in values.items()}


def _tokens(cost: Cost) -> int:
    return cost.prompt_tokens + cost.completion_tokens


def trainings(spec: Spec) -> dict[str, int]:
    """How many adapters a run of the spec trains, and for what."""
    rounds, rule, arms = spec.stop.max_rounds, spec.filters.consistency, spec.evaluate.arms
    out = {"labellers, on folds of the seeds": rule.folds} if rule.enabled else {}
    passes = rule.passes * rule.pass_folds * rule.enabled
    out |= {"self-training, each round": rounds * passes} if passes else {}
    out |= {f"{arm}, once": 1 for arm in TRAINED_ONCE if arm in arms}
    often = trained_arms(spec, each_round=True)
    out |= {f"{arm}, for the test": 1 for arm in trained_arms(spec) if arm not in (*TRAINED_ONCE, *often)}
    each_round = [arm for arm in often if arm not in (*TRAINED_ONCE, "synthetic_equal")]
    out |= {f"{arm}, each round": rounds for arm in each_round}
    if cut := _cut_rounds(spec):
        out["synthetic cut to the pool's size"] = cut
    own = [name for name in spec.evaluate.controls if CONTROLS[name].own_calls]
    out |= {f"control {name}, each round": rounds * (1 + passes) for name in own}
    return out | {f"{name} at equal rows": 1 for name in (LOOP, *spec.evaluate.controls) if spec.evaluate.controls}


def _steps(spec: Spec) -> int:
    """Optimiser steps of the largest training, at most."""
    if spec.task.answer is None:
        return spec.train.steps
    rows = spec.data.split.seeds + max(spec.data.split.pool, spec.generate.accepted_per_round * spec.stop.max_rounds)
    return spec.causal.steps_for(rows)


def _cut_rounds(spec: Spec) -> int:
    """Rounds in which there will be more synthetic training rows than pool rows, if each round reaches its target."""
    if "synthetic_equal" not in trained_arms(spec, each_round=True):
        return 0
    rows = spec.generate.accepted_per_round * (HELD_OUT_SHARE - 1) / HELD_OUT_SHARE
    return sum(rows * number > spec.data.split.pool for number in range(1, spec.stop.max_rounds + 1))


def _notes(spec: Spec, rehearsal: Rehearsal, items: int) -> list[str]:
    generate, rounds = spec.generate, spec.stop.max_rounds
    mean = f"{rehearsal.text_tokens:.0f} tokens"
    length = (
        f"the mean text of the source has {mean}"
        if items
        else f"the source is not read here, so texts of {assumed_tokens(spec)} tokens (half of "
        "generate.sampling.max_tokens) are assumed"
    )
    notes = [
        f"Tokens are estimates, one per four bytes: {len(rehearsal.first) + len(rehearsal.later)} generator prompts "
        f"were rendered as a run would; {length}.",
        f"Expected: the first wave of each of {rounds} round(s). Stop rules may end the run earlier.",
        "At most: hardly a row passes the filters, so that every refill wave is drawn in full "
        f"(generate.max_waves is {generate.max_waves}, generate.max_candidates "
        f"{generate.max_candidates or 'not set'}), and every answer has its full length.",
        "Answers that are in the call cache already cost nothing; what an interrupted run of this spec has spent "
        "counts towards its budget.",
    ]
    if spec.filters.judge.enabled:
        judge = "be refused and to grade the audit's rows only" if spec.llm.judge.embedded else "pass its gate"
        notes.append(f"The judge is expected to {judge}; which of the two happens shows in the run.")
    if spec.budget.minutes is not None:
        notes.append(
            f"budget.minutes is {spec.budget.minutes:g}: no call goes out after so much work on the run. What it takes "
            "is not forecast here; `harness plan --scale` does, once a run of this kind is finished."
        )
    return notes + _free(spec, rehearsal)


def _free(spec: Spec, rehearsal: Rehearsal) -> list[str]:
    """A sentence per endpoint whose calls are counted as free though nobody said that they are."""
    used: dict[RoleName, bool] = {
        "generator": True,
        "judge": bool(rehearsal.gate or rehearsal.tags),
        "critic": bool(rehearsal.critic),
    }
    return [
        f"llm.{role}.price is 0, so calls to {endpoint.model!r} are counted as free; give its US dollars per million "
        "tokens to see what they cost."
        for role, endpoint in zip(used, (spec.llm.generator, spec.llm.judge, spec.llm.critic), strict=True)
        if used[role] and not endpoint.embedded and not (endpoint.price.input or endpoint.price.output)
    ]


def tables(forecast: Forecast) -> list[Table]:
    """What `harness plan` shows, in reading order. Cells may hold text from the spec; see `plaintext.printable`."""
    return [
        _real(forecast),
        _matrix(forecast),
        _calls(forecast),
        Table("Budget", ("limit", "set to", "expected", "at most", "so"), tuple(map(_limit, forecast.limits))),
        _trained(forecast),
        Table("What these numbers rest on", ("",), tuple((note,) for note in forecast.notes)),
    ]


def _real(forecast: Forecast) -> Table:
    rows = [(role.value, f"{size:,}") for role, size in forecast.sizes.items()]
    rows.append(("asked for", f"{sum(forecast.sizes.values()):,}"))
    rows.append(("distinct in the source", "not read yet" if forecast.items is None else f"{forecast.items:,}"))
    return Table("Real items", ("role", "items"), tuple(rows))


def _matrix(forecast: Forecast) -> Table:
    cells = f"{forecast.cells:,} allowed cells" if forecast.exact else f"{forecast.cells:,} cells before the rules"
    total = forecast.plan.candidates
    title = f"Round 1: {total:,} candidates from {len(forecast.plan.quotas):,} of {cells}"
    rows = [
        ("" if index else name, value, f"{count:,}", f"{count / total:.1%}")
        for name, counts in forecast.drawn.items()
        for index, (value, count) in enumerate(counts.items())
    ]
    return Table(title, ("dimension", "value", "candidates", "share"), tuple(rows))


def _calls(forecast: Forecast) -> Table:
    columns = (
        "role",
        "for",
        "model",
        "calls",
        "prompt tokens",
        "answer tokens",
        "USD",
        "at most: calls",
        "tokens",
        "USD",
    )
    rows = [(one.role, one.purpose, one.model, *_spent(one.expected), *_bound(one.most)) for one in forecast.calls]
    rows.append(("together", "", "", *_spent(forecast.expected), *_bound(forecast.most)))
    return Table("Calls (estimated; expected, then at most)", columns, tuple(rows))


def _spent(cost: Cost) -> tuple[str, ...]:
    return f"{cost.calls:,}", f"{cost.prompt_tokens:,}", f"{cost.completion_tokens:,}", usd(cost.usd)


def _bound(cost: Cost) -> tuple[str, ...]:
    return f"{cost.calls:,}", f"{cost.prompt_tokens + cost.completion_tokens:,}", usd(cost.usd)


def usd(amount: float) -> str:
    """
    >>> usd(0.0), usd(0.00123), usd(1234.5)
    ('0', '0.0012', '1,234.50')
    """
    if amount == 0:
        return "0"
    return f"{amount:.4f}" if amount < 1 else f"{amount:,.2f}"


def _limit(one: Limit) -> tuple[str, ...]:
    def shown(value: float | None) -> str:
        if value is None:
            return "–"
        return usd(value) if one.name == "usd" else f"{value:,.0f}"

    return one.name, shown(one.limit), shown(one.expected), shown(one.most), one.verdict


def _trained(forecast: Forecast) -> Table:
    rows = [(what, f"{count:,}") for what, count in forecast.trainings.items()]
    total = sum(forecast.trainings.values())
    rows.append(("together", f"{total:,} of at most {forecast.steps:,} steps each"))
    return Table("Trainings", ("arm", "adapters"), tuple(rows))
