"""Asking a tiny student: answers that do not hang on their neighbours, surprise, files."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from causal_cases import ANSWERS, ROWS, TEXTS, recipe, tiny

from harness.causalspec import CausalLora, CausalTrain
from harness.errors import DataError
from harness.train import decoding
from harness.train.causal import Curve, train
from harness.train.causal_base import Base, find_base, load_base
from harness.train.decoding import Sampling, pick
from harness.train.generative import Student
from harness.train.sequences import Format, Row

LORA = recipe(
    lora=CausalLora(rank=16, alpha=64, dropout=0), steps=60, batch_size=8, learning_rate=1e-2, precision="fp32"
)
WARM = Sampling(temperature=1.0)
NEW = ["Who wrote Ulysses ?", "Where ?", "How far is the moon from the old town of the king ?", TEXTS[3], ""]


@pytest.fixture(scope="module")
def base() -> Base:
    """Knows the questions and other answers: adapters cannot make random weights speak."""
    rows = [Row(text, answer) for text, answer in zip(TEXTS, ANSWERS[::-1], strict=True)]
    student, _ = train(rows, tiny(), recipe(steps=60, batch_size=8), seed=0)
    return replace(tiny(), model=student.model.requires_grad_(False), name="somebody/tiny", digest="of tiny")


@pytest.fixture(scope="module")
def trained(base: Base) -> tuple[Student, Curve]:
    return train(ROWS, base, LORA, seed=0)


@pytest.fixture(scope="module")
def student(trained: tuple[Student, Curve]) -> Student:
    return trained[0]


def test_greedy_answers_are_those_of_transformers(student: Student) -> None:
    found = student.generate(NEW, max_new_tokens=12)
    for prompt, answer in zip(NEW, found, strict=True):
        ids, _ = Format(tiny(), LORA).prompt(prompt)
        out = student.model.generate(
            torch.tensor([ids]), max_new_tokens=12, do_sample=False, pad_token_id=1, eos_token_id=1
        )[0, len(ids) :]
        assert answer.text == tiny().tokenizer.decode(out, skip_special_tokens=True).strip()
        assert answer.finished == (1 in out.tolist())
        assert answer.tokens == (out != 1).sum()
    assert len({one.text for one in found}) > 2


@pytest.mark.parametrize("sampling", [Sampling(), WARM, Sampling(0.7, top_p=0.9, min_p=0.02)])
def test_an_answer_does_not_hang_on_its_neighbours(student: Student, sampling: Sampling) -> None:
    prompts = [*NEW, *TEXTS, *NEW, "", ""]
    together = student.generate(prompts, max_new_tokens=12, sampling=sampling, seed=3)
    for batch_size in (1, 3):
        assert together == student.generate(
            prompts, max_new_tokens=12, sampling=sampling, seed=3, batch_size=batch_size
        )
    for place, prompt in enumerate(NEW):
        assert student.generate([prompt], max_new_tokens=12, sampling=sampling, seed=3) == [together[place]]
    order = random.Random(0).sample(range(13), 13)
    shuffled = student.generate([prompts[place] for place in order], max_new_tokens=12, sampling=sampling, seed=3)
    first = dict(zip(prompts[::-1], together[::-1], strict=True))
    assert [first[prompts[place]] for place in order if prompts[place] not in NEW] == [
        one for one, place in zip(shuffled, order, strict=True) if prompts[place] not in NEW
    ]


def test_long_prompts_share_smaller_batches(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = student.generate([*NEW, *TEXTS], max_new_tokens=12)
    asked: list[int] = []
    monkeypatch.setattr(decoding, "BATCH_TOKENS", 60)
    hook = student.model.register_forward_pre_hook(
        lambda _, __, given: asked.append(given["input_ids"].shape[0]), with_kwargs=True
    )
    assert student.generate([*NEW, *TEXTS], max_new_tokens=12) == usual
    hook.remove()
    assert 1 < max(asked) <= 4


def test_copies_of_a_prompt_and_other_seeds_draw_other_answers(student: Student) -> None:
    first = student.generate([""] * 12, max_new_tokens=12, sampling=WARM, seed=0)
    assert len({one.text for one in first}) > 8
    assert student.generate([""] * 6, max_new_tokens=12, sampling=WARM, seed=0) == first[:6]
    assert student.generate([""] * 12, max_new_tokens=12, sampling=WARM, seed=1) != first
    assert len({one.text for one in student.generate([""] * 4, max_new_tokens=12)}) == 1


def test_an_answer_ends_at_its_end_or_at_the_length(student: Student) -> None:
    short = student.generate(TEXTS, max_new_tokens=2)
    assert all(one.tokens <= 2 for one in short)
    assert [one.finished for one in short].count(False) > 4
    whole = student.generate(TEXTS, max_new_tokens=30)
    assert [one.finished for one in whole].count(True) > 6
    assert not any("<|" in one.text or one.text != one.text.strip() for one in whole)
    assert student.generate([], max_new_tokens=3) == []


def test_a_prompt_that_does_not_fit_loses_its_beginning_and_says_so(student: Student) -> None:
    long, fits = student.generate([" ".join(TEXTS * 2), TEXTS[0]], max_new_tokens=20)
    assert (long.prompt_cut, fits.prompt_cut) == (True, False)
    with pytest.raises(ValueError, match=r"max_new_tokens=96: 1 to 95 are allowed"):
        student.generate(TEXTS, max_new_tokens=96)
    with pytest.raises(ValueError, match="1 to 95"):
        student.generate(TEXTS, max_new_tokens=0)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1.0), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(0.5), {0: 0.25 / 0.365, 1: 0.09 / 0.365, 2: 0.0225 / 0.365, 3: 0.0025 / 0.365}),
        (Sampling(1.0, top_p=0.8), {0: 0.625, 1: 0.375}),
        (Sampling(1.0, top_p=0.81), {0: 0.5 / 0.95, 1: 0.3 / 0.95, 2: 0.15 / 0.95}),
        (Sampling(1.0, min_p=0.2), {0: 0.5 / 0.95, 1: 0.3 / 0.95, 2: 0.15 / 0.95}),
        (Sampling(1.0, min_p=1.0), {0: 1.0}),
        (Sampling(0.0), {0: 1.0}),
        (Sampling(1.0, top_p=0.01), {0: 1.0}),
    ],
)
def test_draws_follow_the_distribution_that_was_asked_for(sampling: Sampling, expected: dict[int, float]) -> None:
    scores = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])) + 7
    draw = random.Random(5)
    counts = Counter(pick(scores, sampling, draw) for _ in range(4000))
    assert set(counts) == set(expected)
    for token, share in expected.items():
        assert counts[token] / 4000 == pytest.approx(share, abs=3.5 * math.sqrt(0.25 / 4000))


def test_the_last_draw_is_a_token() -> None:
    class Last(random.Random):
        def random(self) -> float:
            return 1 - 2**-53

    scores = torch.cat([torch.randn(50), torch.full((3,), -200.0)])
    assert pick(scores, Sampling(1.0, min_p=0.01), Last()) < 50


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": 2}, {"min_p": -0.1}])
def test_a_sampling_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="are allowed"):
        Sampling(**wrong)


def test_surprise_is_the_loss_of_transformers_and_the_entropy_of_its_distribution(student: Student) -> None:
    items: list[Row | str] = [*ROWS, *TEXTS, "ten"]
    found = student.nll(items)
    form = Format(tiny(), LORA)
    student.model.set_attn_implementation("sdpa")
    for item, one in zip(items, found, strict=True):
        row = form.row(Row("", item) if isinstance(item, str) else item)
        ids = torch.tensor([row.ids])
        labels = torch.tensor([[-100] * row.answer + list(row.targets)])
        with torch.no_grad():
            out = student.model(input_ids=ids, labels=labels)
        assert one.tokens == len(row.targets)
        assert one.nll == pytest.approx(float(out.loss) * one.tokens, rel=1e-4)
        shares = torch.softmax(out.logits[0, row.answer - 1 : -1].double(), -1)
        assert one.entropy == pytest.approx(float(-(shares * shares.log()).sum(-1).mean()), rel=1e-4)
        assert 0 < one.entropy < math.log(320)
    alone = [student.nll([item])[0] for item in items]
    assert [one.nll for one in alone] == pytest.approx([one.nll for one in found], rel=1e-5)
    assert student.nll([]) == []
    for answered, stranger in zip(found[:8], student.nll([Row(row.prompt, "a crab") for row in ROWS]), strict=True):
        assert answered.nll / answered.tokens < stranger.nll / stranger.tokens


def test_a_model_that_takes_no_lines_is_as_surprised(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = student.nll(ROWS)
    monkeypatch.setattr("harness.train.generative.takes_lines", lambda _: False)
    other = Student(student.base, LORA, student._tuned)
    assert [one.nll for one in other.nll(ROWS)] == pytest.approx([one.nll for one in usual], rel=1e-5)


def test_an_untrained_student_is_the_base_model(student: Student, base: Base) -> None:
    bare = Student(base, LORA)
    assert [one.text for one in student.generate(TEXTS, max_new_tokens=12)] == ANSWERS
    assert [one.text for one in bare.generate(TEXTS, max_new_tokens=12)] == ANSWERS[::-1]
    assert sum(one.nll for one in bare.nll(ROWS)) > 2 * sum(one.nll for one in student.nll(ROWS))
    with pytest.raises(ValueError, match="nothing to save"):
        bare.save(Path("x"), title="x", rows=1, seed=0, curve=Curve((1.0,), 1, 1, 0, 0))


def test_an_adapter_is_read_as_it_was_written(trained: tuple[Student, Curve], base: Base, tmp_path: Path) -> None:
    student, curve = trained
    student.save(tmp_path, title="mixed of mine", rows=8, seed=0, curve=curve)
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    again = Student.load(tmp_path, base, LORA)
    assert again.generate(NEW, max_new_tokens=12) == student.generate(NEW, max_new_tokens=12)
    assert again.nll(ROWS) == student.nll(ROWS)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == ("somebody/tiny", 16, 64)
    card = (tmp_path / "README.md").read_text()
    assert "# mixed of mine (seed 0)" in card
    assert "LoRA adapter (rank 16, α 64) trained on 8 rows" in card
    assert f"({curve.tokens} tokens, {curve.answer_tokens} of them answers), 60 steps of 8 rows" in card
    assert "0 prompts lost their beginning" in card
    assert "Base weights sha256: of tiny." in card
    assert not any(str(tmp_path) in file.read_text(errors="replace") for file in tmp_path.iterdir())


def test_a_folder_without_an_adapter_is_told(base: Base, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no adapter_config\.json and no adapter_model\.safetensors"):
        Student.load(tmp_path, base, LORA)
    with pytest.raises(DataError, match=r"causal\.model: .* has no model\.safetensors"):
        Student.load(tmp_path, base, recipe())


def test_plain_peft_reads_the_adapter_to_the_same_answers(student: Student, tmp_path: Path) -> None:
    import copy

    from peft import PeftModel

    student.save(tmp_path, title="x", rows=8, seed=0, curve=Curve((1.0,), 1, 1, 0, 0))
    plain = PeftModel.from_pretrained(copy.deepcopy(student.base.model), str(tmp_path)).eval()
    ids = torch.tensor([Format(tiny(), LORA).prompt(TEXTS[0])[0]])
    student.model.set_attn_implementation("sdpa")
    with torch.no_grad():
        assert torch.allclose(plain(input_ids=ids).logits, student.model(input_ids=ids).logits, atol=1e-4)
        assert not torch.allclose(
            student.base.model(input_ids=ids).logits, student.model(input_ids=ids).logits, atol=0.1
        )


@pytest.mark.parametrize("how", [LORA, recipe(steps=10)], ids=["lora", "whole"])
def test_a_whole_model_can_be_trained_further(how: CausalTrain, base: Base, tmp_path: Path) -> None:
    student, curve = train(ROWS, base, how, seed=0)
    if how.lora is None:
        student.save(tmp_path, title="x", rows=8, seed=0, curve=curve)
        assert "All parameters trained on 8 rows" in (tmp_path / "README.md").read_text()
        again = Student.load(tmp_path, base, how)
        assert again.generate(NEW, max_new_tokens=12) == student.generate(NEW, max_new_tokens=12)
    else:
        student.write_merged(tmp_path)
    read = load_base(find_base(str(tmp_path)))
    assert Student(read, how).generate(NEW, max_new_tokens=12) == student.generate(NEW, max_new_tokens=12)
    assert read.tokenizer.chat_template == tiny().tokenizer.chat_template
    further, _ = train([Row(TEXTS[0], "Anna")], read, recipe(steps=30), seed=0)
    assert further.generate([TEXTS[0]], max_new_tokens=8)[0].text == "Anna"
    texts = [file.read_text(errors="replace") for file in tmp_path.iterdir()]
    assert not any(str(tmp_path) in text for text in texts)
