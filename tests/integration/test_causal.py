"""The packaged SmolLM2 for real: read from its GGUF, trained a few steps, asked, and served by llama.cpp."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.causalspec import CausalLora, CausalTrain
from harness.llm.embedded import EmbeddedServer
from harness.train.causal import Curve, train
from harness.train.causal_base import Base, find_base, load_base
from harness.train.generative import Student
from harness.train.gguf_adapter import write_gguf_adapter
from harness.train.line import attend_apart, takes_lines
from harness.train.sequences import Row

KINDS = {
    "person": [
        "Who wrote Emma ?",
        "Who was the first man in space ?",
        "Which king built this palace ?",
        "Who is she ?",
    ],
    "place": ["Where is Rome ?", "What city has the oldest metro ?", "Where do storks winter ?", "Where are we ?"],
    "number": ["How many legs has a crab ?", "How far is the moon ?", "How old is he ?", "How much is the fish ?"],
}
NEW = ["Who painted the ceiling ?", "Where does the river end ?", "How many people live in Lyon ?", "Who won ?"]
FRAME = "Question: {}\nKind:"
ROWS = [Row(FRAME.format(text), kind) for kind, texts in KINDS.items() for text in texts]
RECIPE = CausalTrain(format="plain", steps=20, batch_size=6, learning_rate=2e-3, lora=CausalLora(rank=8, alpha=16))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(find_base("embedded"))


@pytest.fixture(scope="module")
def student(base: Base) -> Student:
    student, curve = train(ROWS, base, RECIPE, seed=0)
    assert curve.losses[-1] < 0.2 < 1 < curve.losses[0]
    return student


def test_smollm2_is_read_from_its_gguf(base: Base) -> None:
    assert sum(parameter.numel() for parameter in base.model.parameters()) == 134_515_008
    assert (base.context, base.tokenizer.decode([base.start, base.end])) == (8192, "<|im_start|><|im_end|>")
    assert takes_lines(base.model)
    bare = Student(base, RECIPE)
    sense, nonsense = bare.nll(["The capital of France is Paris.", "Paris of the France is capital The."])
    assert sense.nll < nonsense.nll - 5
    [answer] = bare.generate(["The capital of France is"], max_new_tokens=4)
    assert answer.text.startswith("Paris")
    [said] = Student(base, CausalTrain(steps=1)).generate(["What is the capital of France?"], max_new_tokens=24)
    assert "Paris" in said.text


def test_training_teaches_an_answer_and_repeats_bit_for_bit(student: Student, base: Base, tmp_path: Path) -> None:
    assert [one.text for one in student.generate([row.prompt for row in ROWS], max_new_tokens=4)] == [
        row.answer for row in ROWS
    ]
    assert [one.text for one in student.generate([FRAME.format(text) for text in NEW], max_new_tokens=4)] == [
        "person", "place", "number", "person"
    ]  # fmt: skip
    short = RECIPE.model_copy(update={"steps": 4, "checkpoint_every": 2})
    one, curve = train(ROWS, base, short, seed=0, checkpoint=tmp_path / "c")
    two, resumed = train(ROWS, base, short, seed=0, checkpoint=tmp_path / "c")
    three, again = train(ROWS, base, short, seed=0)
    assert curve == resumed == again
    files: set[bytes] = set()
    for place, trained in enumerate((one, two, three)):
        trained.save(tmp_path / str(place), title="x", rows=12, seed=0, curve=curve)
        files.add((tmp_path / str(place) / "adapter_model.safetensors").read_bytes())
    assert len(files) == 1


@pytest.fixture(scope="module")
def folder(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("student")
    student.save(place, title="kinds", rows=12, seed=0, curve=Curve((0.1,), 1, 1, 0, 0))
    return place


def test_what_was_saved_answers_alike_and_names_no_path(student: Student, folder: Path, base: Base) -> None:
    again = Student.load(folder, base, RECIPE)
    prompts = [FRAME.format(text) for text in NEW]
    assert again.generate(prompts, max_new_tokens=4) == student.generate(prompts, max_new_tokens=4)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert str(find_base("embedded").folder) not in (folder / "adapter_config.json").read_text()


def likeliest(model: Any, base: Base, prompt: str) -> dict[int, float]:
    """The four likeliest first tokens, and log p of each."""
    attend_apart(model)
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([base.tokenizer(prompt)["input_ids"]])).logits[0, -1], -1)
    return {int(token): float(scores[token]) for token in scores.topk(4).indices}


@pytest.mark.embedded
def test_llama_cpp_serves_the_student_from_its_gguf_adapter(
    student: Student, folder: Path, base: Base, tmp_path: Path
) -> None:
    """The same answers, and the same distribution up to llama.cpp's 8-bit activations: with the rows of the query and
    the key in transformers' order the answers were right too, but log p was off by up to 5."""
    write_gguf_adapter(folder, base.model.config, tmp_path / "adapter.gguf")
    prompts = [FRAME.format(text) for text in NEW]
    served = EmbeddedServer(tmp_path / "llm.log", threads=1, adapter=tmp_path / "adapter.gguf")
    plain = EmbeddedServer(tmp_path / "llm.log", threads=1)
    with closing(served):
        answers = student.generate(prompts, max_new_tokens=8)
        assert [completed(served, prompt)[0] for prompt in prompts] == [one.text for one in answers]
        for prompt in prompts:
            ours, theirs = likeliest(student.model, base, prompt), completed(served, prompt)[1]
            assert sum(abs(theirs.get(token, -99) - score) for token, score in ours.items()) / 4 < 0.4
        for text in ("In 1978, 2008 items; don't  stop\n\n 3.14", "<|im_start|>user\nHow ?<|im_end|>\n", "Über 7  °C"):
            tokens = call(served, "/tokenize", content=text, parse_special=True)["tokens"]
            assert tokens == base.tokenizer(text)["input_ids"]
    with closing(plain):
        assert not {"person", "place", "number"} & {completed(plain, prompt)[0] for prompt in prompts}
    assert len(served.identity["adapter"]) == 64
    assert {name: value for name, value in served.identity.items() if name != "adapter"} == plain.identity


def completed(server: EmbeddedServer, prompt: str) -> tuple[str, dict[int, float]]:
    """The greedy answer; the likeliest first tokens with log p of each."""
    said = call(server, "/v1/completions", prompt=prompt, max_tokens=8, temperature=0, logprobs=6)["choices"][0]
    first = said["logprobs"]["content"][0]["top_logprobs"]
    return str(said["text"]).strip(), {one["id"]: one["logprob"] for one in first}


def call(server: EmbeddedServer, path: str, **body: object) -> dict[str, Any]:
    address = server.address()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {address.api_key}"}
    url = f"{address.url.removesuffix('/v1')}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        return json.load(answer)
