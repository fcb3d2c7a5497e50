"""What the stages of a run work with, and what they have gathered so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from harness.arms import Material
from harness.dataset import Accepted, is_held_out
from harness.embed import Embedder
from harness.filters.funnel import Sieved
from harness.generate import produce
from harness.labelling import CrossFitted, CrossTrained
from harness.lines import Joined
from harness.llm.client import StreamingLlm
from harness.progress import Watch
from harness.real import RealData
from harness.records import Candidate, Cost, Example, ParseFailure, Plan, Quota, Role
from harness.reports import Ambiguity, Calibration, FilterWorth, GateReport
from harness.spec import Spec
from harness.store import Store
from harness.train.students import Students
from harness.train.writers import Writers
from harness.voting import CrossVoters, Voters


class Spender(StreamingLlm, Protocol):
    """The LLM client. `spent` is what this run has paid so far (earlier processes included), `first_spent` what it had
    when it first came to a point, `used` what the answers that it was told to `use` cost, whoever paid for them."""

    @property
    def spent(self) -> Cost: ...

    def first_spent(self, point: str) -> Cost: ...

    @property
    def used(self) -> Cost: ...

    def use(self, keys: Iterable[str]) -> None: ...


def students_of(
    spec: Spec, store: Store, embedder: Embedder, device: str, watch: Watch, base: Path
) -> Students | Writers:
    """Who trains and predicts for the task of `spec`; relative paths start at `base`."""
    if spec.task.answer:
        return Writers(spec, store, device, watch, base)
    return Students(spec, store, embedder, device, watch, base)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every stage of a run works with. Without `asks` no call may be made whose answer is not in the cache."""

    spec: Spec
    store: Store
    data: RealData
    embedder: Embedder
    students: Students | Writers
    fitted: CrossFitted | Voters | None
    gate: GateReport | None
    llm: Spender
    watch: Watch
    asks: bool = True

    def section(self, *names: str) -> dict[str, object]:
        """Parts of the spec as JSON, for artefact keys."""
        tree = self.spec.model_dump(mode="json", include=set(names))
        return {name: tree[name] for name in names}


@dataclass(frozen=True, slots=True)
class Wave:
    """One wave of generation and its artefact."""

    artefact: str
    round: int
    quotas: tuple[Quota, ...]
    candidates: Sequence[Candidate]
    failures: Sequence[ParseFailure]
    out_of_budget: bool

    @property
    def answered(self) -> int:
        """Answers asked for and paid, parsed or not; what a spent budget left unasked is none."""
        return len(self.candidates) + sum(failure.reason != produce.NOT_ASKED for failure in self.failures)


@dataclass(frozen=True, slots=True)
class Harvest:
    """Everything asked for so far, over all rounds, and what the last sieve said of it."""

    waves: tuple[Wave, ...] = ()
    sieved: Sieved = field(default_factory=lambda: Sieved((), ()))
    worth: tuple[FilterWorth, ...] = ()
    calibration: Calibration | None = None
    plans: tuple[Plan, ...] = ()
    verdicts: str = ""
    dataset: str = ""
    shortfall: str = ""
    ambiguity: Ambiguity | None = None
    cross: CrossTrained | CrossVoters | None = field(default=None, compare=False)

    @property
    def candidates(self) -> Sequence[Candidate]:
        return Joined(wave.candidates for wave in self.waves)

    @property
    def failures(self) -> Sequence[ParseFailure]:
        return Joined(wave.failures for wave in self.waves)

    @property
    def quotas(self) -> list[Quota]:
        return [quota for wave in self.waves for quota in wave.quotas]

    @property
    def out_of_budget(self) -> bool:
        return any(wave.out_of_budget for wave in self.waves)

    def accepted(self) -> Iterable[Accepted]:
        """The accepted rows with their candidates, read anew each time they are gone through."""
        return _AcceptedRows(self.candidates, self.sieved.accepted)

    def material(self, data: RealData) -> Material:
        """Training rows of the arms; what is kept for the transfer gap is in none of them."""
        return Material(
            seeds=data.examples[Role.SEEDS],
            pool=data.examples.get(Role.POOL, ()),
            accepted=list(_sharing(one for one in self.sieved.accepted if not is_held_out(one.id))),
        )

    def held_out(self) -> list[Example]:
        """Accepted synthetic rows that no arm is trained on."""
        return list(_sharing(one for one in self.sieved.accepted if is_held_out(one.id)))


@dataclass(frozen=True, slots=True)
class _AcceptedRows:
    """Candidates and those of them that were accepted, in the same order."""

    candidates: Sequence[Candidate]
    examples: Sequence[Example]

    def __iter__(self) -> Iterator[Accepted]:
        candidates = iter(self.candidates)
        for example in self.examples:
            yield Accepted(example, next(one for one in candidates if one.id == example.id))


def _sharing(examples: Iterable[Example]) -> Iterator[Example]:
    """The same examples with one copy of the slices that those of a cell have in common."""
    known: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
    for one in examples:
        yield replace(one, slices=known.setdefault(tuple(one.slices.items()), one.slices))
