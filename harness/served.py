"""A registered student as MLflow loads it: its files, what it starts from, and predictions for a table of texts.

`mlflow.pyfunc.load_model` imports this module from the model's own folder and calls `_load_pyfunc`; it needs neither
the store nor a network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import DataError
from harness.records import Example, Origin, Prediction
from harness.spec import Spec
from harness.store import read_json
from harness.train.causal_base import find_base
from harness.train.students import label_prediction, student_digest, student_folder
from harness.train.writers import answer_prediction, longest_answer, student_prompt

if TYPE_CHECKING:
    import pandas as pd

STUDENT = "student.json"
SECTIONS = ("name", "seed", "task", "data", "train", "causal")
"""What of a spec a student needs to answer."""
SETTINGS = {"base": "", "device": "cpu"}
"""What `load_model(…, model_config=…)` may set: where the base model lies, if not where it lay; torch's device."""


@dataclass(frozen=True, slots=True)
class Card:
    """What `student.json` holds: the spec's `SECTIONS`, and the base model's sha256 and folder ("" where it comes in a
    package)."""

    spec: Mapping[str, Any]
    base_sha256: str
    base_folder: str


class Student(Protocol):
    """Answers items given as texts (and their contexts)."""

    def __call__(self, items: Sequence[Example]) -> list[Prediction]: ...


class Served:
    """What MLflow asks. `predict` takes a data frame with `text` (and `context`) and gives one with `label` and
    `score`, for a task that answers in text with `answer` and `label`, under the same index."""

    def __init__(self, spec: Spec, student: Student) -> None:
        self._spec = spec
        self._student = student

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        columns = ("text", "context") if has_context(self._spec) else ("text",)
        rows = zip(*(model_input[column] for column in columns), strict=True)
        items = [_item(place, dict(zip(columns, row, strict=True))) for place, row in enumerate(rows)]
        said = self._student(items)
        if self._spec.task.answer:
            table = {"answer": [one.answer for one in said], "label": [one.label or "" for one in said]}
        else:
            table = {"label": [one.label for one in said], "score": [one.score for one in said]}
        return pd.DataFrame(table, index=model_input.index)


def _item(place: int, row: Mapping[str, object]) -> Example:
    for column, value in row.items():
        # MLflow takes {"text": [a, b]} for one row, and hands the list on.
        if not isinstance(value, str):
            raise DataError(
                f"row {place}, column {column!r}: {value!r} is no text. Give a data frame, or a list of rows like "
                f"{dict.fromkeys(row, '…')}."
            )
    return Example(str(place), str(row["text"]), "", {}, Origin.REAL, "", str(row.get("context", "")))


def has_context(spec: Spec) -> bool:
    return spec.task.answer is not None and spec.task.answer.context is not None


def base_digest(spec: Spec, folder: Path) -> str:
    """sha256 of the base model; a relative path starts from `folder`. Raises `DataError` where it is not there."""
    return find_base(spec.causal.model, folder).digest if spec.task.answer else student_digest(spec, folder)


def base_model(spec: Spec) -> str:
    """What the spec names as its student's base model: `embedded`, or a path."""
    return spec.causal.model if spec.task.answer else spec.train.model


def base_folder(spec: Spec, folder: Path) -> Path | None:
    """Folder or file of the base model, None where it comes in a package."""
    model = base_model(spec)
    return None if model == "embedded" else (folder / model).resolve()


def with_base(spec: Spec, base: str) -> Spec:
    """The spec with its student's base model taken from `base`, where that is given."""
    section = "causal" if spec.task.answer else "train"
    changed = getattr(spec, section).model_copy(update={"model": base}) if base else getattr(spec, section)
    return spec.model_copy(update={section: changed})


def load_served(folder: Path, base: str = "", device: str = "cpu") -> Served:
    """The student in `folder`, on the base model that its card names or in `base`. Raises `DataError` where that is
    missing or is another model."""
    card = read_json(folder / STUDENT, Card)
    spec = with_base(Spec.model_validate(card.spec), base or card.base_folder)
    found = base_digest(spec, Path())
    if found != card.base_sha256:
        raise DataError(
            f"the base model {base or card.base_folder or 'of the package'!r} is not the one that this student was "
            f"trained on (sha256 {found[:12]}…, needed {card.base_sha256[:12]}…). Name its folder: "
            "load_model(…, model_config={'base': FOLDER})."
        )
    return Served(spec, _writer(folder, spec, device) if spec.task.answer else _labeller(folder, spec, device))


def _labeller(folder: Path, spec: Spec, device: str) -> Student:
    from harness.train.classifier import Student as Classifier
    from harness.train.encoder import Encoder

    recipe, labels = spec.train, list(spec.task.labels)
    base = student_folder(spec, Path())
    encoder = Encoder(base, upper_layers=recipe.lora.upper_layers, max_length=recipe.max_length, device=device)
    student = Classifier.load(folder, encoder, recipe)

    def answer(items: Sequence[Example]) -> list[Prediction]:
        rows = student.probabilities([one.text for one in items])
        return [label_prediction(one.id, labels, row) for one, row in zip(items, rows, strict=True)]

    return answer


def _writer(folder: Path, spec: Spec, device: str) -> Student:
    from harness.train.causal_base import load_base
    from harness.train.generative import Student as Writer

    student = Writer.load(folder, load_base(find_base(spec.causal.model), device), spec.causal)

    def answer(items: Sequence[Example]) -> list[Prediction]:
        said = student.generate([student_prompt(one, spec) for one in items], max_new_tokens=longest_answer(spec))
        return [answer_prediction(one.id, each.text, spec.task) for one, each in zip(items, said, strict=True)]

    return answer


def _load_pyfunc(data_path: str, model_config: Mapping[str, str]) -> Served:  # pyright: ignore[reportUnusedFunction]
    """The entry point that MLflow looks for."""
    return load_served(Path(data_path), model_config["base"], model_config["device"])
