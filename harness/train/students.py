"""Training and predicting as stages of the store: what was trained once is never trained again.

The encoder is loaded on the first thing that is not in the store yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.dynamics import dynamics_of, write_dynamics
from harness.embed import Embedder, model_folder
from harness.errors import DataError
from harness.generate.prompts import render
from harness.progress import PREDICTION, TRAINING, Watch
from harness.records import Example, Origin, Prediction, Status
from harness.spec import Spec
from harness.store import Artefact, Store, digest, file_digest, read_lines, write_lines

if TYPE_CHECKING:
    from harness.train.encoder import Encoder

TRAIN_VERSION = 5
PREDICT_VERSION = 4
PREDICTIONS = "predictions.jsonl"

CARD = """\
---
base_model: {{ base }}
library_name: peft
---
# {{ arm }} of {{ name }} (seed {{ seed }})

LoRA adapter (rank {{ lora.rank }}, α {{ lora.alpha }}, {{ layers }}) and linear head for the labels {{ labels }}.
Trained on {{ real }} real and {{ synthetic }} synthetic rows, {{ steps }} steps of {{ recipe.batch_size }},
learning rate {{ recipe.learning_rate }}.
Base weights sha256: {{ weights }}.

Files: `adapter_model.safetensors` and `adapter_config.json` (PEFT), `head.safetensors` (weight, bias on the
unit-norm mean of the last hidden states × 10). Measured quality stands in the run's report, on real held-out items.
"""


class Students:
    """Trains and asks students of one spec. A relative `train.model` starts from `folder`."""

    def __init__(
        self, spec: Spec, store: Store, embedder: Embedder, device: str, watch: Watch, folder: Path = Path()
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._store = store
        self._embedder = embedder
        self._device = device
        self._watch = watch
        self.labels = list(spec.task.labels)

    @cached_property
    def weights(self) -> str:
        """What the student starts from, see `student_digest`."""
        return student_digest(self._spec, self._folder)

    @property
    def base(self) -> Path:
        return student_folder(self._spec, self._folder)

    @property
    def _base_name(self) -> str:
        model = self._spec.train.model
        return "sentence-transformers/all-MiniLM-L6-v2" if model == "embedded" else model

    @cached_property
    def encoder(self) -> Encoder:
        from harness.train.encoder import Encoder

        recipe = self._spec.train
        return Encoder(
            self.base, upper_layers=recipe.lora.upper_layers, max_length=recipe.max_length, device=self._device
        )

    def train(self, arm: str, rows: Sequence[Example], seed: int, parents: Mapping[str, str]) -> Artefact:
        """The adapter trained on `rows` (real ones weigh `real_weight` where there are synthetic ones too).

        Raises `DataError` when a label has no row.
        """
        missing = sorted(set(self.labels) - {row.label for row in rows})
        if missing:
            raise DataError(
                f"arm {arm!r} has no training row for {missing!r} among its {len(rows)}. Where rows are synthetic, too "
                "few candidates of these labels came through: raise generate.accepted_per_round or generate.max_waves, "
                "or ease the filters that drop them. Where they are real, raise data.split.seeds or data.split.pool."
            )
        mixed = len({row.origin for row in rows}) == 2
        weighed = [
            (row.text, row.label, self._spec.train.real_weight if mixed and row.origin is Origin.REAL else 1.0)
            for row in rows
        ]
        inputs = {
            "recipe": self._spec.train.model_dump(mode="json", exclude={"model", "real_weight"}),
            "labels": self.labels,
            "base": self.weights,
            "rows": digest(weighed),
        }

        def build(folder: Path) -> None:
            from harness.train import classifier

            index = {label: i for i, label in enumerate(self.labels)}
            table = [classifier.Row(text, index[label], weight) for text, label, weight in weighed]
            with self._watch.stage(TRAINING, f"train {arm}", self._spec.train.steps) as advance:
                student, curve = classifier.train(
                    table,
                    len(self.labels),
                    self.encoder,
                    self._spec.train,
                    seed=seed,
                    on_step=lambda _step, _steps: advance(1),
                )
            student.save(folder, self._base_name)
            write_dynamics(folder, [dynamics_of(seen) for seen in curve.seen])
            self._card(folder, arm, rows, seed, curve.steps)

        return self._store.once("adapter", TRAIN_VERSION, build, inputs=inputs, parents=parents, seed=seed)

    def probabilities(self, adapter: Artefact, texts: Sequence[str]) -> NDArray[np.float64]:
        """Class probabilities, n × labels in the spec's order; kept in the store."""

        def build(folder: Path) -> None:
            from harness.train import classifier

            with self._watch.timed(PREDICTION):
                student = classifier.Student.load(adapter.path, self.encoder, self._spec.train)
                np.save(folder / "probabilities.npy", student.probabilities(texts))
            self._watch.count(PREDICTION, len(texts))

        artefact = self._store.once(
            "probabilities",
            PREDICT_VERSION,
            build,
            inputs={"texts": digest(list(texts)), "max_length": self._spec.train.max_length},
            parents={"adapter": adapter.id},
        )
        return np.load(artefact / "probabilities.npy", allow_pickle=False)

    def predict(self, adapter: Artefact, examples: Sequence[Example]) -> list[Prediction]:
        return self._answers(examples, self.probabilities(adapter, [example.text for example in examples]))

    def untrained(self, examples: Sequence[Example]) -> list[Prediction]:
        """The arm `base`: each text goes to the label whose description is nearest in the frozen encoder."""
        about = self._embedder(list(self._spec.task.labels.values()))
        texts = self._embedder([example.text for example in examples])
        logits = 10.0 * (texts @ about.T).astype(np.float64)
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        return self._answers(examples, exp / exp.sum(axis=1, keepdims=True))

    def _answers(self, examples: Sequence[Example], matrix: NDArray[np.float64]) -> list[Prediction]:
        return [label_prediction(one.id, self.labels, row) for one, row in zip(examples, matrix, strict=True)]

    def _card(self, folder: Path, arm: str, rows: Sequence[Example], seed: int, steps: int) -> None:
        recipe = self._spec.train
        real = sum(row.origin is Origin.REAL for row in rows)
        upper = recipe.lora.upper_layers
        values: dict[str, Any] = {
            "base": self._base_name,
            "arm": arm,
            "name": self._spec.name,
            "seed": seed,
            "lora": recipe.lora,
            "layers": "all layers" if upper is None else f"the upper {upper} layers",
            "labels": ", ".join(self.labels),
            "real": real,
            "synthetic": len(rows) - real,
            "steps": steps,
            "recipe": recipe,
            "weights": self.weights,
        }
        (folder / "README.md").write_text(render(CARD, values) + "\n", encoding="utf-8")


def label_prediction(item: str, labels: Sequence[str], row: NDArray[np.float64]) -> Prediction:
    """The most probable label, with its probability."""
    return Prediction(item, Status.OK, labels[int(row.argmax())], float(row.max()))


def student_folder(spec: Spec, folder: Path) -> Path:
    """Where the student's base model lies; a relative path starts from `folder`, the YAML file's."""
    return model_folder() if spec.train.model == "embedded" else folder / spec.train.model


def student_digest(spec: Spec, folder: Path) -> str:
    """sha256 over base weights, configuration and tokenizer. Raises `DataError` where the folder lacks one."""
    base = student_folder(spec, folder)
    files = [base / "model.safetensors", base / "config.json", base / "tokenizer.json"]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise DataError(
            f"train.model: {str(base)!r} has no {' and no '.join(missing)}. It must be a folder written by "
            "`save_pretrained` of a transformers encoder and its fast tokenizer, or 'embedded'."
        )
    return digest([file_digest(file) for file in files])


def write_predictions(folder: Path, predictions: Sequence[Prediction]) -> None:
    write_lines(folder / PREDICTIONS, Prediction, predictions)


def read_predictions(folder: Path) -> list[Prediction]:
    return read_lines(folder / PREDICTIONS, Prediction)
