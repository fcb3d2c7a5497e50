"""A task that answers in text, for tests: questions about passages, answered from them or `unknown`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from factories import make_spec
from fakes import HashEmbedder, ScriptedLlm, nobody
from filter_cases import Held

from harness.filters.base import Context, Filter, Standing, Votes
from harness.records import Candidate, Example, Origin, Verdict
from harness.spec import Spec

KINDS = {"answerable": "that the passage answers", "unknown": "that the passage does not answer"}
RULE = {"about": "the shortest words of the passage that answer it", "context": "passage"}
TASK = {"noun": "question", "labels": KINDS, "answer": RULE}
FORM = {
    "noun": "question",
    "labels": {"HUM": "about a person", "LOC": "about a place"},
    "answer": {
        "noun": "form",
        "about": "JSON with the type",
        "kind_field": "type",
        "json_schema": {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]},
    },
}
EMMA = "Emma is a novel by Jane Austen."
ROME = "Rome was not built in a day."


def spec(task: Mapping[str, object] = TASK, **changes: Any) -> Spec:
    return make_spec(**{"task": task, "matrix": {"dimensions": []}, **changes})


def row(number: int, text: str, answer: str, about: str = EMMA, *, real: bool = False) -> Example:
    label = "unknown" if answer == "unknown" else "answerable"
    ident = f"real-{number}" if real else f"syn-{number:012x}"
    return Example(ident, text, label, {"label": label}, Origin.REAL if real else Origin.SYNTHETIC, answer, about)


def made(*examples: Example) -> list[Candidate]:
    return [Candidate(one.id, f"label={one.label}", one, 1, 0, "call", 0, ()) for one in examples]


def context(rows: Sequence[Candidate], of: Spec | None = None, **changes: Any) -> Context:
    parts: dict[str, Any] = {
        "spec": of or spec(),
        "candidates": rows,
        "seeds": [],
        "guard": Held(),
        "embedder": HashEmbedder(),
        "labeller": None,
        "difficulty": None,
        "llm": ScriptedLlm(nobody),
        "gate": None,
    }
    return Context(**(parts | changes))


def votes(answers: Sequence[Sequence[str]], out_of_fold: Sequence[str] = (), likelihood: Sequence[float] = ()) -> Votes:
    import numpy as np

    likely = np.array(likelihood or [0.5] * len(answers), dtype=np.float64)
    return Votes(tuple(map(tuple, answers)), likely, tuple(out_of_fold))


def verdicts(item: Filter, given: Context) -> list[Verdict]:
    standing = [Standing(i, one, one.example.label, one.example.answer) for i, one in enumerate(given.candidates)]
    return asyncio.run(item(standing, given))
