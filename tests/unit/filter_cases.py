"""Candidates and a context for filters, and how to run one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from factories import LABELS, make_spec
from fakes import HashEmbedder, ScriptedLlm, WordStudents, nobody

from harness.filters.base import Context, Filter, Labeller, Standing
from harness.records import Candidate, Example, Origin, Role, Verdict
from harness.reports import GateReport

CELL = "label=ALPHA|length=short"


class Held:
    """Held-out items by role and id, as `HeldOutTexts` gives them."""

    def __init__(self, texts: Mapping[str, str] | None = None, answers: Mapping[str, str] | None = None) -> None:
        self._answers = answers or {}
        self._texts = {"real-dev": "nothing like the candidates at all ?"} if texts is None else texts

    def pairs(self) -> list[tuple[Role, str, str]]:
        return [(Role.DEV, ident, text) for ident, text in self._texts.items()]

    def answers(self) -> list[tuple[Role, str, str]]:
        return [(Role.DEV, ident, text) for ident, text in self._answers.items()]


def candidate(number: int, text: str, label: str = "ALPHA", cell: str = CELL, round_: int = 1) -> Candidate:
    ident = f"syn-{number:012x}"
    example = Example(ident, text, label, {"label": label, "length": "short"}, Origin.SYNTHETIC)
    return Candidate(ident, cell, example, round_, 0, f"call{number}", 0, ("real-a",))


def candidates(*texts: str | tuple[str, str]) -> list[Candidate]:
    """Texts, or (text, label) pairs, numbered from 1."""
    pairs = [(text, "ALPHA") if isinstance(text, str) else text for text in texts]
    return [candidate(number, text, label) for number, (text, label) in enumerate(pairs, 1)]


def seed(number: int, text: str, label: str = "ALPHA") -> Example:
    return Example(f"real-{number}", text, label, {}, Origin.REAL)


def context(
    rows: Sequence[Candidate], *, seeds: Sequence[Example] = (), held: Mapping[str, str] | None = None, **changes: Any
) -> Context:
    """A context over `rows`; `filters=` are sections of the spec, other keywords replace parts of the context."""
    students = WordStudents(list(LABELS), [one.text for one in seeds])
    answers = students([one.example.text for one in rows])
    parts: dict[str, Any] = {
        "spec": make_spec(filters=changes.pop("filters", {})),
        "candidates": rows,
        "seeds": seeds,
        "guard": Held(held),
        "embedder": HashEmbedder(),
        "labeller": Labeller(tuple(LABELS), answers, answers, students.out_of_fold()),
        "difficulty": None,
        "llm": ScriptedLlm(nobody),
        "gate": None,
    }
    return Context(**(parts | changes))


def verdicts(item: Filter, given: Context, grades: Mapping[str, float] | None = None) -> list[Verdict]:
    """The filter's verdicts for all candidates of the context, which are exactly one each, in order."""
    standing = [
        Standing(row, one, one.example.label, grade=(grades or {}).get(one.id))
        for row, one in enumerate(given.candidates)
    ]
    found = list(asyncio.run(item(standing, given)))
    assert [verdict.candidate for verdict in found] == [one.id for one in given.candidates]
    assert {(verdict.filter, verdict.version) for verdict in found} <= {(item.name, item.version)}
    return found


def said(found: Sequence[Verdict]) -> list[str]:
    """`["keep", "drop: too short"]`"""
    return [f"{one.decision}: {one.reason}" if one.reason else str(one.decision) for one in found]


def passed_gate(**changes: Any) -> GateReport:
    from harness.records import Estimate

    parts: dict[str, Any] = {
        "passed": True,
        "kappa": Estimate(0.9, 0.8, 0.95, 100, "made up"),
        "phi": 0.9,
        "psi": 0.1,
        "p_star": 0.9,
        "retest": 1.0,
        "n": 100,
        "reason": "",
    }
    return GateReport(**(parts | changes))
