"""Generative students that write whole texts: the generations of `harness.generations`, as stages of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.causalspec import CausalTrain
from harness.collapsespec import TinyModel
from harness.progress import PREDICTION, TRAINING, Watch
from harness.records import Example
from harness.spec import Spec
from harness.store import Artefact, Store, digest, read_lines, write_lines
from harness.train.causal_base import Base, find_base, load_base
from harness.train.sequences import Row

if TYPE_CHECKING:
    from harness.train.generative import Student, Surprise

TRAIN_VERSION = 1
WRITE_VERSION = 1
TEXTS, SURPRISES = "texts.jsonl", "surprises.jsonl"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for a prompt about `label`; `finished` unless the length ended it."""

    label: str
    text: str
    finished: bool


@dataclass(frozen=True, slots=True)
class Surprised:
    """Nats per token of a real text, and the mean entropy of the model's next-token distribution along it (nats)."""

    nll: float
    entropy: float


def author_prompt(label: str, spec: Spec) -> str:
    """What a text of this label follows."""
    return f"{spec.task.noun.capitalize()} {spec.task.labels[label]}:"


class Authors:
    """Trains, asks and measures the generations of one spec. A relative `causal.model` starts from `folder`; `real` are
    the texts that a model from scratch takes its tokenizer from."""

    def __init__(
        self, spec: Spec, store: Store, device: str, watch: Watch, folder: Path, real: Sequence[Example]
    ) -> None:
        self._spec = spec
        self._store = store
        self._device = device
        self._watch = watch
        self._folder = folder
        self._real = real

    @cached_property
    def _base(self) -> Base:
        shape = self._spec.collapse.tiny
        if shape is None:
            return load_base(find_base(self._recipe.model, self._folder), self._device)
        return _tiny(shape, [self._row(one) for one in self._real], self._spec.seed)

    @cached_property
    def weights(self) -> str:
        """Digest of what each generation starts from."""
        shape = self._spec.collapse.tiny
        return self._base.digest if shape else find_base(self._recipe.model, self._folder).digest

    @property
    def _recipe(self) -> CausalTrain:
        return self._spec.causal

    def _row(self, example: Example) -> Row:
        return Row(author_prompt(example.label, self._spec), example.text)

    def train(self, name: str, rows: Sequence[Example], seed: int) -> Artefact:
        """A fresh copy of the base model, trained on these texts after the prompts of their labels."""
        table = [self._row(one) for one in rows]
        inputs = {
            "recipe": self._recipe.key(),
            "base": self.weights,
            "rows": digest([asdict(row) for row in table]),
        }
        unfinished = self._store.root / "checkpoints" / f"{digest([inputs, seed])[:16]}.safetensors"

        def build(folder: Path) -> None:
            from harness.train import causal

            with self._watch.stage(TRAINING, f"train {name}", self._recipe.steps_for(len(table))) as advance:
                student, curve = causal.train(
                    table,
                    self._base,
                    self._recipe,
                    seed=seed,
                    on_step=lambda _step, _steps: advance(1),
                    checkpoint=unfinished,
                )
            student.save(folder, title=f"{self._spec.name}, {name}", rows=len(rows), seed=seed, curve=curve)

        kept = self._store.once("generation", TRAIN_VERSION, build, inputs=inputs, seed=seed)
        unfinished.unlink(missing_ok=True)
        return kept

    def write(self, name: str, author: Artefact, labels: Sequence[str], seed: int) -> list[Written]:
        """One sampled text per label, in their order; kept in the store."""
        rule = self._spec.collapse

        def build(folder: Path) -> None:
            from harness.train.decoding import Sampling

            prompts = [author_prompt(label, self._spec) for label in labels]
            with self._watch.stage(PREDICTION, f"{name}: write", len(prompts)) as advance:
                answers = self._student(author).generate(
                    prompts,
                    max_new_tokens=rule.max_tokens,
                    sampling=Sampling(temperature=rule.temperature),
                    seed=seed,
                )
                advance(len(prompts))
            found = [
                Written(label, " ".join(one.text.split()), one.finished)
                for label, one in zip(labels, answers, strict=True)
            ]
            write_lines(folder / TEXTS, Written, found)

        inputs = {
            "labels": digest(list(labels)),
            "prompts": digest({label: author_prompt(label, self._spec) for label in self._spec.task.labels}),
            "temperature": rule.temperature,
            "max_tokens": rule.max_tokens,
        }
        kept = self._store.once(
            "written", WRITE_VERSION, build, inputs=inputs, parents={"author": author.id}, seed=seed
        )
        return read_lines(kept / TEXTS, Written)

    def surprise(self, author: Artefact, examples: Sequence[Example]) -> list[Surprised]:
        """How surprised a generation is by real texts, after the prompts of their labels; kept in the store."""
        table = [self._row(one) for one in examples]

        def build(folder: Path) -> None:
            with self._watch.timed(PREDICTION):
                found = self._student(author).nll(table)
            write_lines(folder / SURPRISES, Surprised, [_per_token(one) for one in found])

        inputs = {"rows": digest([asdict(row) for row in table])}
        kept = self._store.once("surprise", WRITE_VERSION, build, inputs=inputs, parents={"author": author.id})
        return read_lines(kept / SURPRISES, Surprised)

    def _student(self, author: Artefact) -> Student:
        from harness.train.generative import Student

        return Student.load(author.path, self._base, self._recipe)


def _per_token(one: Surprise) -> Surprised:
    return Surprised(one.nll / one.tokens, one.entropy)


def _tiny(shape: TinyModel, rows: Sequence[Row], seed: int) -> Base:
    from harness.train.tiny import Tiny, tiny_base

    texts = [f"{row.prompt} {row.answer}" for row in rows]
    return tiny_base(texts, Tiny(**shape.model_dump()), seed=seed)
