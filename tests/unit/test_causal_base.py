"""Where a generative student starts from: files, their digest, what is refused; and tiny models from scratch."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from causal_cases import ANSWERS, SHAPE, TEXTS, tiny

from harness.catalogue import SMOLLM
from harness.errors import DataError
from harness.train.causal_base import find_base, gguf_text, load_base
from harness.train.tiny import Tiny, tiny_base

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    tiny().model.save_pretrained(place)
    tiny().tokenizer.save_pretrained(place)
    return place


def test_a_saved_model_is_found_and_read(folder: Path) -> None:
    files = find_base("model", folder.parent)
    assert (files.name, files.folder, files.gguf) == ("model", folder, None)
    assert files == find_base(str(folder)).__class__("model", folder, None, files.weights, files.settings)
    base = load_base(files)
    assert base.digest == files.digest
    assert base.context == 96
    assert (base.start, base.end, base.pad) == (0, 1, 1)
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    for one, other in zip(base.model.parameters(), tiny().model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_any_changed_file_is_another_base(folder: Path) -> None:
    before = find_base(str(folder)).digest
    (folder / "README.md").write_text("a card")
    assert find_base(str(folder)).digest == before
    seen = {before}
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        seen.add(find_base(str(folder)).digest)
        (folder / name).write_bytes(content)
    assert len(seen) == 6
    assert find_base(str(folder)).digest == before


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        (
            "model.safetensors",
            r"causal\.model: '.*model' has no model\.safetensors\. It must be 'embedded', the folder",
        ),
        ("config.json", r"has no config\.json"),
        ("tokenizer.json", r"has no tokenizer\.json"),
    ],
)
def test_a_missing_file_is_named_with_what_is_allowed(folder: Path, gone: str, told: str) -> None:
    (folder / gone).rename(folder / f"{gone}.bin")
    with pytest.raises(DataError, match=told):
        find_base(str(folder))


def test_what_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"causal\.model: '.*nowhere' is no folder and no '\.gguf' file"):
        find_base("nowhere", tmp_path)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03\x00\x00\x00 and no more")
    with pytest.raises(DataError, match=r"'.*broken\.gguf' cannot be read"):
        load_base(find_base("broken.gguf", tmp_path))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"'.*model' cannot be read"):
        load_base(find_base(str(folder)))


def test_an_encoder_and_a_tokenizer_without_an_end_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    with pytest.raises(DataError, match=r"holds a BertModel, which writes no text"):
        load_base(find_base(str(folder)))
    (folder / "config.json").write_text(json.dumps(config))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(DataError, match=r"has no end token \(eos_token\).*Set one in its tokenizer_config\.json"):
        load_base(find_base(str(folder)))


def test_the_packaged_model_is_found_by_its_name() -> None:
    files = find_base("embedded")
    assert files.name == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert files.folder / str(files.gguf) == files.weights[0]
    assert files.weights[0].as_posix().endswith(next(iter(SMOLLM.files)))
    assert gguf_text(files.weights[0], "tokenizer.ggml.pre") == "smollm"
    assert gguf_text(files.weights[0], "general.nothing") is None


def test_a_text_of_a_gguf_file_is_read_without_the_rest(tmp_path: Path) -> None:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + text("a.name") + struct.pack("<I", 8) + text("grün") + text("a.nam") + b"\4\0\0\0")
    assert gguf_text(path, "a.name") == "grün"
    assert gguf_text(path, "a.nam") is None


def test_a_tiny_model_has_the_shape_that_was_asked_for_and_reads_any_text() -> None:
    base = tiny()
    assert (base.context, base.model.config.num_hidden_layers, len(base.tokenizer)) == (96, 2, 320)
    for text in [*TEXTS, "Ein Käfer — 1786 🐞\n\n", "  two  blanks "]:
        assert base.tokenizer.decode(base.tokenizer(text)["input_ids"]) == text
    large = tiny_base(TEXTS * 40, seed=0)
    assert sum(parameter.numel() for parameter in large.model.parameters()) < 1_100_000
    with pytest.raises(DataError, match="no text"):
        tiny_base(["", " "], seed=0)
    with pytest.raises(DataError, match="width 30 must be a multiple of twice its 4 heads"):
        tiny_base(TEXTS, Tiny(width=30), seed=0)


MAKE = """
import sys
sys.path[:0] = ["tests/unit"]
from causal_cases import ANSWERS, SHAPE, TEXTS
from harness.train.tiny import tiny_base
print(tiny_base([*TEXTS, *ANSWERS], SHAPE, seed=0).digest)
"""


def test_the_same_texts_and_seed_give_the_same_tiny_model_in_another_process() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert tiny_base([*TEXTS, *ANSWERS], SHAPE, seed=0).digest == tiny().digest
    assert torch.equal(torch.get_rng_state(), before)
    environment = {**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", MAKE], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == tiny().digest
    others = {
        tiny_base([*TEXTS, *ANSWERS], SHAPE, seed=1).digest,
        tiny_base(TEXTS, SHAPE, seed=0).digest,
        tiny_base([*TEXTS, *ANSWERS], Tiny(320, 32, 1, 2, 96), seed=0).digest,
        tiny().digest,
    }
    assert len(others) == 4
