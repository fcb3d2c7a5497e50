"""A trained student as files: what they are, that they answer as the student in the store does, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from answer_cases import TASK
from causal_cases import ROWS, TEXTS, recipe, tiny
from factories import make_run_report, make_spec
from gguf import GGUFReader
from typer.testing import CliRunner

from harness.causalspec import CausalLora, CausalTrain
from harness.cli import app
from harness.errors import DataError
from harness.export import export
from harness.reports import RunReport
from harness.store import Store
from harness.train.causal import train
from harness.train.causal_base import find_base, load_base
from harness.train.generative import Student


class Case:
    """A store with one trained student, its report, and the folder of its base model."""

    def __init__(self, folder: Path, lora: CausalLora | None) -> None:
        self.base = folder / "base"
        tiny().model.save_pretrained(self.base)
        tiny().tokenizer.save_pretrained(self.base)
        files = find_base(str(self.base))
        self.recipe: CausalTrain = recipe(lora=lora, model=str(self.base))
        self.model = load_base(files)
        self.store = Store(folder / "runs")

        def build(place: Path) -> None:
            student, curve = train(ROWS, self.model, self.recipe, seed=0)
            student.save(place, title="mixed of x", rows=8, seed=0, curve=curve)

        self.adapter = self.store.once("adapter", 1, build, inputs={"base": files.digest})
        spec = make_spec(task=TASK).model_dump(mode="json") | {"causal": self.recipe.model_dump(mode="json")}
        self.report: RunReport = make_run_report(spec=spec, artefacts={"adapter/mixed": self.adapter.id})

    def answers(self) -> list[str]:
        student = Student.load(self.adapter.path, self.model, self.recipe)
        return [one.text for one in student.generate(TEXTS, max_new_tokens=8)]

    def exported_answers(self, folder: Path) -> list[str]:
        whole = load_base(find_base(str(folder)))
        return [one.text for one in Student(whole, self.recipe).generate(TEXTS, max_new_tokens=8)]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("export"), CausalLora(rank=4, alpha=64))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_adapters_are_copied_as_they_are(case: Case, tmp_path: Path) -> None:
    to = export(case.report, case.store, "mixed", tmp_path / "a" / "b")
    kept = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert names(to) == {*kept, "prompt.txt"}
    for name in kept:
        assert (to / name).read_bytes() == (case.adapter / name).read_bytes()
    assert names(tmp_path / "a") == {"b"}
    assert (to / "prompt.txt").read_text(encoding="utf-8") == (
        "The shortest words of the passage that answer it.\nPassage: {context}\nQuestion: {text}\nAnswer:"
    )


def test_a_merged_model_answers_as_the_student_does_and_not_as_its_base(case: Case, tmp_path: Path) -> None:
    to = export(case.report, case.store, "mixed", tmp_path / "merged", merge=True)
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names(to)
    assert "adapter_config.json" not in names(to)
    assert case.exported_answers(to) == case.answers()
    assert case.exported_answers(case.base) != case.answers()
    card = (to / "README.md").read_text(encoding="utf-8")
    assert "library_name: transformers" in card
    assert "merged into the base model's weights" in card


def test_gguf_stands_beside_the_adapters_or_the_merged_model(case: Case, tmp_path: Path) -> None:
    to = export(case.report, case.store, "mixed", tmp_path / "gguf", gguf=True)
    assert {"adapter_config.json", "adapter_model.safetensors", "adapter.gguf"} <= names(to)
    assert len(GGUFReader(to / "adapter.gguf").tensors) == 2 * 7 * 2
    both = export(case.report, case.store, "mixed", tmp_path / "both", gguf=True, merge=True)
    assert (both / "adapter.gguf").read_bytes() == (to / "adapter.gguf").read_bytes()
    assert "model.safetensors" in names(both)


def test_a_student_without_adapters_is_whole_already(tmp_path: Path) -> None:
    case = Case(tmp_path, None)
    to = export(case.report, case.store, "mixed", tmp_path / "whole", merge=True)
    assert case.exported_answers(to) == case.answers()
    with pytest.raises(DataError, match=r"without adapters \(causal.lora: null\)"):
        export(case.report, case.store, "mixed", tmp_path / "none", gguf=True)


def test_another_base_is_refused_and_the_right_one_may_lie_elsewhere(case: Case, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    tiny().model.save_pretrained(moved)
    tiny().tokenizer.save_pretrained(moved)
    export(case.report, case.store, "mixed", tmp_path / "one", merge=True, base=str(moved))
    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    with pytest.raises(DataError, match=r"is not the model that adapter-.* was trained on"):
        export(case.report, case.store, "mixed", tmp_path / "two", merge=True, base=str(moved))
    assert names(tmp_path) == {"moved", "one"}


def test_what_is_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no trained student of an arm 'mixd'; there are mixed"):
        export(case.report, case.store, "mixd", tmp_path / "x")
    with pytest.raises(DataError, match="is there already"):
        export(case.report, case.store, "mixed", tmp_path)
    labels = replace(case.report, spec={**case.report.spec, "task": make_spec().model_dump(mode="json")["task"]})
    with pytest.raises(DataError, match="trained classifiers"):
        export(labels, case.store, "mixed", tmp_path / "x", merge=True)
    plain = names(export(labels, case.store, "mixed", tmp_path / "x"))
    assert "adapter_config.json" in plain
    assert "prompt.txt" not in plain


def test_the_command_says_what_it_wrote(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.loop.read_run", lambda _store, _ident: case.report)
    arguments = ["export", "run-0", "mixed", "--to", str(tmp_path / "out"), "--store", str(case.store.root)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "adapter_model.safetensors" in done.output
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
