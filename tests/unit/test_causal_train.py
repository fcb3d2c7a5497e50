"""Training a tiny model: it learns, repeats bit for bit, and goes on after a kill as if there had been none."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from causal_cases import ANSWERS, ROWS, TEXTS, recipe, tiny
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from harness.causalspec import CausalLora, CausalTrain
from harness.errors import DataError, StoreError
from harness.train.causal import one_cycle, train
from harness.train.generative import Student
from harness.train.line import attend_apart
from harness.train.sequences import Row

LORA = recipe(lora=CausalLora(rank=4, alpha=8, dropout=0.1), precision="fp32")
WHOLE = recipe()


def weights(student: Student) -> dict[str, bytes]:
    model = student._tuned
    return {name: one.detach().numpy().tobytes() for name, one in model.named_parameters() if one.requires_grad}


@pytest.mark.parametrize("how", [LORA, WHOLE], ids=["lora", "whole"])
def test_training_twice_gives_the_same_bytes_and_another_seed_others(how: CausalTrain) -> None:
    before = {name: one.clone() for name, one in tiny().model.state_dict().items()}
    first, curve = train(ROWS, tiny(), how, seed=1)
    torch.manual_seed(99)
    again, _ = train(ROWS, tiny(), how, seed=1)
    other, _ = train(ROWS, tiny(), how, seed=2)
    assert weights(first) == weights(again)
    assert all(one != weights(first)[name] for name, one in weights(other).items() if "norm" not in name)
    assert curve.steps == len(curve.losses) == 6
    assert all(torch.equal(one, before[name]) for name, one in tiny().model.state_dict().items())


def test_it_learns_the_answers_and_only_them() -> None:
    how = recipe(steps=120, batch_size=8)
    student, curve = train(ROWS, tiny(), how, seed=0)
    assert curve.losses[0] > 3
    assert curve.losses[-1] < 0.1
    assert [one.text for one in student.generate(TEXTS, max_new_tokens=16)] == ANSWERS
    questions = [Row("", text) for text in TEXTS]
    assert sum(one.nll for one in student.nll(questions)) > 0.8 * sum(
        one.nll for one in Student(tiny(), how).nll(questions)
    )


def test_a_row_without_a_prompt_teaches_the_text() -> None:
    student, _ = train([Row("", text) for text in TEXTS], tiny(), recipe(steps=120, batch_size=8), seed=0)
    per_token = [one.nll / one.tokens for one in student.nll(TEXTS)]
    assert sum(per_token) / 8 < 1.0
    assert student.generate([""], max_new_tokens=40)[0].text in TEXTS


class Killed(BaseException):
    pass


def killed_at(last: int) -> Any:
    def on_step(step: int, _: int) -> None:
        if step == last:
            raise Killed

    return on_step


@pytest.mark.parametrize("how", [LORA, WHOLE], ids=["lora", "whole"])
@pytest.mark.parametrize("last", [1, 3, 5])
def test_a_killed_training_goes_on_to_the_same_bytes(how: CausalTrain, last: int, tmp_path: Path) -> None:
    how = how.model_copy(update={"checkpoint_every": 2})
    whole, curve = train(ROWS, tiny(), how, seed=1)
    file = tmp_path / "new" / "checkpoint"
    with pytest.raises(Killed):
        train(ROWS, tiny(), how, seed=1, on_step=killed_at(last), checkpoint=file)
    assert file.exists() == (last > 2)
    told: list[tuple[int, int]] = []
    again, resumed = train(ROWS, tiny(), how, seed=1, on_step=lambda step, of: told.append((step, of)), checkpoint=file)
    assert told == [(step, 6) for step in range(1 + (last - 1) // 2 * 2, 7)]
    assert weights(again) == weights(whole)
    assert resumed == curve
    finished, same = train(ROWS, tiny(), how, seed=1, on_step=killed_at(6), checkpoint=file)
    assert (weights(finished), same) == (weights(whole), curve)


def test_how_often_a_checkpoint_is_written_changes_nothing(tmp_path: Path) -> None:
    often = LORA.model_copy(update={"checkpoint_every": 1})
    with pytest.raises(Killed):
        train(ROWS, tiny(), often, seed=1, on_step=killed_at(4), checkpoint=tmp_path / "c")
    assert weights(train(ROWS, tiny(), LORA, seed=1, checkpoint=tmp_path / "c")[0]) == weights(
        train(ROWS, tiny(), LORA, seed=1)[0]
    )
    train(ROWS, tiny(), LORA.model_copy(update={"checkpoint_every": 0}), seed=1, checkpoint=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    how = LORA.model_copy(update={"checkpoint_every": 3})
    train(ROWS, tiny(), how, seed=1, checkpoint=file)
    others = [
        (ROWS[1:], how, 1),
        ([Row(ROWS[0].prompt, ROWS[0].answer, 2.0), *ROWS[1:]], how, 1),
        (ROWS, how, 2),
        (ROWS, how.model_copy(update={"learning_rate": 0.02}), 1),
        (ROWS, how.model_copy(update={"steps": 7}), 1),
    ]
    for rows, other, seed in others:
        with pytest.raises(StoreError, match=r"checkpoint of another training .* Delete it to start anew"):
            train(rows, tiny(), other, seed=seed, checkpoint=file)


def test_a_damaged_checkpoint_is_told_and_the_rest_of_a_killed_writer_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    how = LORA.model_copy(update={"checkpoint_every": 3})
    (tmp_path / ".checkpoint.unfinished").write_bytes(b"half")
    train(ROWS, tiny(), how, seed=1, checkpoint=file)
    whole = file.read_bytes()
    assert not (tmp_path / ".checkpoint.unfinished").exists()
    for damaged in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"'.*checkpoint' is damaged: .*Delete it to start anew"):
            train(ROWS, tiny(), how, seed=1, checkpoint=file)
    file.write_bytes(whole)
    tensors = load_file(file)
    tensors.pop("3.exp_avg")
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        told = opened.metadata()
    save_file(tensors, file, metadata=told)
    with pytest.raises(StoreError, match="is damaged"):
        train(ROWS, tiny(), how, seed=1, checkpoint=file)


def test_passes_add_up_to_the_step(tmp_path: Path) -> None:
    one, curve = train(ROWS, tiny(), recipe(batch_size=8, pass_tokens=4096), seed=0)
    many, small = train(ROWS, tiny(), recipe(batch_size=8, pass_tokens=1), seed=0)
    assert small.losses == pytest.approx(curve.losses, abs=1e-4)
    for left, right in zip(one._tuned.parameters(), many._tuned.parameters(), strict=True):
        assert torch.allclose(left, right, atol=2e-3)


def test_a_weight_moves_the_answer() -> None:
    said = []
    for weight in (0.01, 100.0):
        rows = [Row(TEXTS[0], "yes", 1.0), Row(TEXTS[0], "no", weight)]
        student, _ = train(rows, tiny(), recipe(steps=40, batch_size=2), seed=0)
        said.append(student.generate([TEXTS[0]], max_new_tokens=8)[0].text)
    assert said == ["yes", "no"]


def test_what_is_cut_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = [*ROWS, Row(" ".join(TEXTS), "yes"), Row("", " ".join(TEXTS)), Row("Why ?", " ".join(TEXTS))]
    with caplog.at_level(logging.WARNING):
        _, curve = train(rows, tiny(), recipe(steps=1, max_length=48), seed=0)
    assert (curve.prompts_cut, curve.answers_cut) == (1, 2)
    assert "48 tokens cut the beginning of 1 prompts and the end of 2 answers, of 11 rows" in caplog.text
    assert curve.tokens > curve.answer_tokens > 0
    caplog.clear()
    _, curve = train(ROWS, tiny(), recipe(steps=1), seed=0)
    assert (curve.prompts_cut, curve.answers_cut, caplog.text) == (0, 0, "")


def test_only_what_the_recipe_names_is_trained() -> None:
    upper = recipe(lora=CausalLora(targets=["q_proj", "down_proj"], upper_layers=1), steps=1)
    student, _ = train(ROWS, tiny(), upper, seed=0)
    assert {name.rsplit(".lora_", 1)[0] for name in weights(student)} == {
        "base_model.model.model.layers.1.self_attn.q_proj",
        "base_model.model.model.layers.1.mlp.down_proj",
    }
    with pytest.raises(DataError, match=r"causal\.lora\.targets: \['query'\] .*Layers of this model: .*\bq_proj\b"):
        train(ROWS, tiny(), recipe(lora=CausalLora(targets=["query"])), seed=0)
    with pytest.raises(DataError, match="on no rows"):
        train([], tiny(), WHOLE, seed=0)


def test_a_model_of_another_build_is_trained_and_merged(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_positions=96, bos_token_id=0, eos_token_id=1)
    base = replace(tiny(), model=GPT2LMHeadModel(config).eval().requires_grad_(False))
    how = LORA.model_copy(update={"lora": CausalLora(rank=4, alpha=64, targets=["c_attn", "c_proj"], upper_layers=1)})
    student, curve = train(ROWS, base, how, seed=0)
    assert {name.split(".lora_")[0] for name in weights(student)} == {
        f"base_model.model.transformer.h.1.{name}" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_proj")
    }
    assert curve.losses[-1] < curve.losses[0]
    ids = torch.tensor([[0, *base.tokenizer(TEXTS[0])["input_ids"]]])
    attend_apart(student._tuned)
    with torch.no_grad():
        merged, apart, bare = (one(input_ids=ids).logits for one in (student.model, student._tuned, base.model))
    assert torch.allclose(merged, apart, atol=1e-4)
    assert not torch.allclose(merged, bare, atol=1e-2)
    with pytest.raises(DataError, match=r"Layers of this model: .*\bc_attn\b"):
        train(ROWS, base, LORA, seed=0)


def test_bfloat16_is_for_the_frozen_weights_only() -> None:
    student, curve = train(ROWS, tiny(), LORA.model_copy(update={"precision": "bf16"}), seed=1)
    exact = train(ROWS, tiny(), LORA, seed=1)[1]
    assert {str(one.dtype) for one in student._tuned.parameters() if one.requires_grad} == {"torch.float32"}
    assert {str(one.dtype) for one in student._tuned.parameters() if not one.requires_grad} == {"torch.bfloat16"}
    assert str(student.model.dtype) == "torch.float32"
    assert curve.losses != exact.losses
    assert curve.losses == pytest.approx(exact.losses, rel=0.02)


def test_the_learning_rate_rises_and_falls() -> None:
    for steps in (1, 2, 7, 40, 400):
        shares = [one_cycle(step, steps) for step in range(steps)]
        top = shares.index(max(shares))
        assert max(shares) == 1
        assert top == round(steps / 10)
        assert shares[:top] == sorted(shares[:top])
        assert shares[top:] == sorted(shares[top:], reverse=True)
        assert min(shares) > 0


def test_a_recipe_says_steps_or_epochs() -> None:
    assert recipe(steps=7).steps_for(1000) == 7
    assert [recipe(steps=None, epochs=epochs).steps_for(10) for epochs in (0.1, 1, 2.5)] == [1, 3, 8]
    for wrong in ({"steps": None, "epochs": None}, {"steps": 3, "epochs": 1}):
        with pytest.raises(ValidationError, match="give steps or epochs, one of the two"):
            recipe(**wrong)
    for wrong in ({"typo": 1}, {"format": "xml"}, {"learning_rate": 0}, {"batch_size": 0}):
        with pytest.raises(ValidationError):
            recipe(**wrong)
    assert recipe(checkpoint_every=1, model="x").key() == recipe().key() != recipe(max_length=9).key()
