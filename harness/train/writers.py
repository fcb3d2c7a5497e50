"""Students that answer in text: training and asking them as stages of the store, as `students.py` does for labels.

The base model is loaded on the first thing that is not in the store yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.answers import answer_fault, kind_of
from harness.errors import DataError
from harness.generate.prompts import one_line, render
from harness.progress import PREDICTION, TRAINING, Watch
from harness.records import Example, Origin, Prediction, Status
from harness.spec import Spec
from harness.store import Artefact, Store, digest, read_lines, write_lines
from harness.taskspec import AnswerRule, Task
from harness.train.causal_base import Base, BaseFiles, find_base, load_base
from harness.train.sequences import Row

if TYPE_CHECKING:
    from harness.train.generative import Student

Builder = Callable[[Path], None]
TRAIN_VERSION = 1
ANSWER_VERSION = 1
ANSWERS, LIKELIHOOD = "answers.jsonl", "likelihood.npy"

PROMPT = """\
{{ rule }}.
{% if context %}{{ context_noun }}: {{ context }}
{% endif %}{{ noun }}: {{ text }}
{{ answer_noun }}:"""


def student_prompt(example: Example, spec: Spec) -> str:
    """What the student reads before it answers; the same for real and synthetic items."""
    rule = _rule_of(spec.task)
    values = {
        "rule": rule.about[:1].upper() + rule.about[1:].rstrip("."),
        "noun": spec.task.noun.capitalize(),
        "answer_noun": rule.noun.capitalize(),
        "context_noun": (rule.context or "").capitalize(),
        "context": one_line(example.context),
        "text": one_line(example.text),
    }
    return render(PROMPT, values)


def longest_answer(spec: Spec) -> int:
    """Tokens that a student may write."""
    return 4 * _rule_of(spec.task).max_words


def answer_prediction(item: str, said: str, task: Task) -> Prediction:
    """An answer without words or of another form than the schema's is unparsable; one too long is merely wrong."""
    rule = _rule_of(task).model_copy(update={"max_words": len(said.split()) + 1})
    kind = None if answer_fault(said, rule) else kind_of(said, task)
    status = Status.UNPARSABLE if kind is None else Status.OK
    return Prediction(item, status, kind, None, said)


def _rule_of(task: Task) -> AnswerRule:
    if task.answer is None:
        raise ValueError("the task has no `answer`")
    return task.answer


class Writers:
    """Trains and asks students of one spec. A relative `causal.model` starts from `folder`."""

    def __init__(self, spec: Spec, store: Store, device: str, watch: Watch, folder: Path = Path()) -> None:
        self._spec = spec
        self._folder = folder
        self._store = store
        self._device = device
        self._watch = watch
        self.labels = list(spec.task.labels)

    @cached_property
    def _files(self) -> BaseFiles:
        return find_base(self._spec.causal.model, self._folder)

    @cached_property
    def weights(self) -> str:
        """sha256 of what the student starts from."""
        return self._files.digest

    @cached_property
    def _base(self) -> Base:
        return load_base(self._files, self._device)

    def train(self, arm: str, rows: Sequence[Example], seed: int, parents: Mapping[str, str]) -> Artefact:
        """The adapter trained on `rows`; real ones weigh `train.real_weight` where there are synthetic ones too. Raises
        `DataError` where there is no row."""
        if not rows:
            raise DataError(
                f"arm {arm!r} has no training row. Where rows are synthetic, no candidate came through: raise "
                "generate.accepted_per_round or generate.max_waves, or ease the filters that drop them."
            )
        mixed = len({row.origin for row in rows}) == 2
        table = [
            Row(
                student_prompt(row, self._spec),
                row.answer,
                self._spec.train.real_weight if mixed and row.origin is Origin.REAL else 1.0,
            )
            for row in rows
        ]
        recipe = self._spec.causal
        inputs = {"recipe": recipe.key(), "base": self.weights, "rows": digest([asdict(row) for row in table])}
        unfinished = self._store.root / "checkpoints" / f"{digest([inputs, seed])[:16]}.safetensors"

        def build(folder: Path) -> None:
            from harness.train import causal

            with self._watch.stage(TRAINING, f"train {arm}", recipe.steps_for(len(table))) as advance:
                student, curve = causal.train(
                    table,
                    self._base,
                    recipe,
                    seed=seed,
                    on_step=lambda _step, _steps: advance(1),
                    checkpoint=unfinished,
                )
            student.save(folder, title=self._title(arm, rows), rows=len(rows), seed=seed, curve=curve)

        kept = self._store.once("adapter", TRAIN_VERSION, build, inputs=inputs, parents=parents, seed=seed)
        unfinished.unlink(missing_ok=True)
        return kept

    def answers(self, adapter: Artefact | None, examples: Sequence[Example]) -> list[str]:
        """Greedy answers, kept in the store; of the base model without an adapter."""
        prompts = [student_prompt(example, self._spec) for example in examples]
        most = longest_answer(self._spec)

        def build(folder: Path) -> None:
            with self._watch.stage(PREDICTION, "answer", len(prompts)) as advance:
                said = self._student(adapter).generate(prompts, max_new_tokens=most)
                advance(len(prompts))
            write_lines(folder / ANSWERS, str, [one.text for one in said])

        kept = self._once("answers", ANSWER_VERSION, build, adapter, {"prompts": digest(prompts), "most": most})
        return read_lines(kept / ANSWERS, str)

    def likelihood(self, adapter: Artefact, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Geometric mean of the probabilities of each example's own answer's tokens, shape (n,); kept in the store."""
        table = [Row(student_prompt(example, self._spec), example.answer) for example in examples]

        def build(folder: Path) -> None:
            with self._watch.timed(PREDICTION):
                found = self._student(adapter).nll(table)
            self._watch.count(PREDICTION, len(table))
            np.save(folder / LIKELIHOOD, np.exp([-one.nll / one.tokens for one in found]))

        inputs = {"rows": digest([asdict(row) for row in table])}
        kept = self._once("likelihood", ANSWER_VERSION, build, adapter, inputs)
        return np.load(kept / LIKELIHOOD, allow_pickle=False)

    def predict(self, adapter: Artefact, examples: Sequence[Example]) -> list[Prediction]:
        return self._predictions(examples, self.answers(adapter, examples))

    def untrained(self, examples: Sequence[Example]) -> list[Prediction]:
        """The arm `base`: the base model reads the same prompts."""
        return self._predictions(examples, self.answers(None, examples))

    def _once(
        self, stage: str, version: int, build: Builder, adapter: Artefact | None, inputs: Mapping[str, object]
    ) -> Artefact:
        recipe = self._spec.causal
        shape = {"format": recipe.format, "max_length": recipe.max_length, "base": self.weights}
        parents = {} if adapter is None else {"adapter": adapter.id}
        return self._store.once(stage, version, build, inputs={**shape, **inputs}, parents=parents)

    def _student(self, adapter: Artefact | None) -> Student:
        from harness.train.generative import Student

        recipe = self._spec.causal
        return Student(self._base, recipe) if adapter is None else Student.load(adapter.path, self._base, recipe)

    def _predictions(self, examples: Sequence[Example], answers: Sequence[str]) -> list[Prediction]:
        return [answer_prediction(one.id, said, self._spec.task) for one, said in zip(examples, answers, strict=True)]

    def _title(self, arm: str, rows: Sequence[Example]) -> str:
        real = sum(row.origin is Origin.REAL for row in rows)
        return f"{arm} of {self._spec.name}: {real} real and {len(rows) - real} synthetic rows"
