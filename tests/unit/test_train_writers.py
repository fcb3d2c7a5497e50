"""Students that answer in text, as stages of the store, with a tiny model from scratch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from answer_cases import EMMA, FORM, row, spec

from harness.errors import DataError
from harness.progress import Silent, Watch
from harness.records import Example, Prediction, Status
from harness.spec import Spec
from harness.store import Artefact, Store
from harness.train.writers import Writers, student_prompt

COLOURS = ("red", "green", "blue", "white")
ROWS = [
    replace(row(place, f"Which colour has number {place % 4} ?", COLOURS[place % 4], "", real=True))
    for place in range(8)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that a spec can name."""
    from harness.train.tiny import Tiny, tiny_base

    base = tiny_base([f"{one.text} {one.answer} unknown" for one in ROWS], Tiny(width=64, layers=2), seed=0)
    folder = tmp_path_factory.mktemp("model")
    base.model.save_pretrained(folder / "student")
    base.tokenizer.save_pretrained(folder / "student")
    return folder


def of(**causal: object) -> Spec:
    recipe = {"model": "student", "format": "plain", "lora": None, "steps": 100, "learning_rate": 5e-3, "batch_size": 8}
    return spec(causal=recipe | causal)


def writers(folder: Path, store: Path, using: Spec | None = None) -> Writers:
    return Writers(using or of(), Store(store), "cpu", Watch(Silent()), folder)


def test_the_prompt_holds_the_rule_the_passage_and_the_question_and_ends_before_the_answer() -> None:
    prompt = student_prompt(row(1, "Who  wrote\nEmma ?", "Jane Austen"), of())
    assert prompt == (
        f"The shortest words of the passage that answer it.\nPassage: {EMMA}\nQuestion: Who wrote Emma ?\nAnswer:"
    )
    assert "Jane Austen" not in student_prompt(row(1, "Who ?", "Jane Austen", ""), of())
    assert student_prompt(row(1, "Who ?", "x", ""), spec(FORM)) == "JSON with the type.\nQuestion: Who ?\nForm:"


def test_what_was_learnt_is_answered_and_kept(folder: Path, tmp_path: Path) -> None:
    one = writers(folder, tmp_path / "runs")
    adapter = one.train("seeds", ROWS, 0, {"split": "split-1"})
    said = one.answers(adapter, ROWS)
    assert said == [example.answer for example in ROWS]
    assert [answer.status for answer in one.predict(adapter, ROWS)] == [Status.OK] * 8
    likely = one.likelihood(adapter, ROWS)
    assert likely.shape == (8,)
    assert ((likely > 0.5) & (likely <= 1)).all()
    wrong = [replace(example, answer="white" if example.answer != "white" else "red") for example in ROWS]
    assert (one.likelihood(adapter, wrong) < likely).all()
    again = writers(folder, tmp_path / "runs")
    assert again.train("seeds", ROWS, 0, {"split": "split-1"}).built is False
    assert again.answers(adapter, ROWS) == said
    assert not list((tmp_path / "runs" / "checkpoints").glob("*"))


def test_the_untrained_model_answers_without_an_adapter(folder: Path, tmp_path: Path) -> None:
    found = writers(folder, tmp_path / "runs").untrained(ROWS[:2])
    assert [one.example for one in found] == [example.id for example in ROWS[:2]]
    assert all(one.answer is not None for one in found)


def trained(folder: Path, store: Path, rows: list[Example], seed: int = 0, **causal: object) -> Artefact:
    return writers(folder, store, of(steps=2, **causal)).train("mixed", rows, seed, {})


def test_whatever_changes_a_student_changes_its_id(folder: Path, tmp_path: Path) -> None:
    made = [row(9, "Which colour is made ?", "grey", "")]
    ids = {
        trained(folder, tmp_path, ROWS).id,
        trained(folder, tmp_path, ROWS, seed=1).id,
        trained(folder, tmp_path, ROWS, learning_rate=1e-3).id,
        trained(folder, tmp_path, [*ROWS, *made]).id,
        trained(folder, tmp_path, [replace(ROWS[0], answer="black"), *ROWS[1:]]).id,
        trained(folder, tmp_path, [replace(ROWS[0], context=EMMA), *ROWS[1:]]).id,
    }
    assert len(ids) == 6
    assert trained(folder, tmp_path, ROWS, checkpoint_every=1).id in ids


def test_no_rows_are_refused_with_advice(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'mixed' has no training row.*ease the filters"):
        trained(folder, tmp_path, [])


@pytest.mark.parametrize(
    ("said", "status", "label"),
    [
        ('{"type": "HUM"}', Status.OK, "HUM"),
        ('{"type": "HUM", "more": "' + "word " * 50 + '"}', Status.OK, "HUM"),
        ('{"type": "WHO"}', Status.UNPARSABLE, None),
        ('{"type": "HUM"', Status.UNPARSABLE, None),
        ("", Status.UNPARSABLE, None),
    ],
)
def test_an_answer_of_another_form_is_unparsable_and_a_long_one_merely_wrong(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, status: Status, label: str | None
) -> None:
    one = writers(folder, tmp_path, spec(FORM))
    monkeypatch.setattr(Writers, "answers", lambda *_: [said])
    adapter = Artefact("adapter-1", tmp_path, built=True)
    assert one.predict(adapter, ROWS[:1]) == [Prediction(ROWS[0].id, status, label, None, said)]


def test_likelihoods_are_probabilities_also_of_an_untrained_guess(folder: Path, tmp_path: Path) -> None:
    one = writers(folder, tmp_path, of(steps=1))
    adapter = one.train("seeds", ROWS, 0, {})
    found = one.likelihood(adapter, ROWS)
    assert np.all((found > 0) & (found < 1))
    assert one.likelihood(adapter, []).shape == (0,)
