"""The model that a generative student starts from: the packaged SmolLM2, a folder, or a GGUF file. Never the hub."""

from __future__ import annotations

import json
import struct
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from harness.catalogue import SMOLLM, locate
from harness.errors import DataError
from harness.store import digest, file_digest

WANTED = (
    "It must be 'embedded', the folder of a causal `transformers` model and its tokenizer as `save_pretrained` writes "
    "them (safetensors only), or a '.gguf' file."
)
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True, slots=True)
class BaseFiles:
    """Where a base model lies. `weights` and `settings` are all the files that can change what it answers."""

    name: str
    """For cards: the public name, or what the person wrote."""
    folder: Path
    gguf: str | None
    weights: tuple[Path, ...]
    settings: tuple[Path, ...]

    @property
    def digest(self) -> str:
        """sha256 over names and bytes of the weights, configuration and tokenizer."""
        return digest([(file.name, file_digest(file)) for file in (*self.weights, *self.settings)])


@dataclass(frozen=True, slots=True)
class Base:
    """A causal model in float32, not to be changed, and its tokenizer."""

    name: str
    digest: str
    model: Any
    tokenizer: Any

    @property
    def context(self) -> int:
        """Tokens that the model can see at once."""
        return int(self.model.config.max_position_embeddings)

    @property
    def start(self) -> int:
        """The token before a text that has no prompt."""
        found = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if found is None else found)

    @property
    def end(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def pad(self) -> int:
        found = self.tokenizer.pad_token_id
        return self.end if found is None else int(found)


def find_base(model: str, folder: Path = Path()) -> BaseFiles:
    """The files of `causal.model`; a relative path starts from `folder`, the YAML file's. Loads nothing.

    Raises `DataError` where something is missing, `MissingPackageError` where the packaged model is.
    """
    if model == "embedded":
        (path,) = locate(SMOLLM)
        return BaseFiles("HuggingFaceTB/SmolLM2-135M-Instruct", path.parent, path.name, (path,), ())
    path = folder / model
    if path.suffix == ".gguf" and path.is_file():
        return BaseFiles(model, path.parent, path.name, (path,), ())
    if not path.is_dir():
        raise DataError(f"causal.model: {str(path)!r} is no folder and no '.gguf' file. {WANTED}")
    weights = tuple(sorted(path.glob("*.safetensors")))
    missing = [name for name in ("config.json", "tokenizer.json") if not (path / name).is_file()]
    if not weights:
        missing.insert(0, "model.safetensors")
    if missing:
        raise DataError(f"causal.model: {str(path)!r} has no {' and no '.join(missing)}. {WANTED}")
    settings = tuple(path / name for name in ("config.json", *TOKENIZER) if (path / name).is_file())
    return BaseFiles(model, path, None, weights, settings)


def load_base(files: BaseFiles, device: str = "cpu") -> Base:
    """Read the model into memory, in float32 (SmolLM2: 540 MB, about 20 s of CPU time, most of it to parse the GGUF).

    Raises `DataError` for a damaged file, for a model that is not causal and for a tokenizer without an end token.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": True}
    packed: dict[str, Any] = {}
    if files.gguf is None:
        _refuse_unless_causal(files)
    else:
        options["gguf_file"] = files.gguf
        packed["quantization_config"] = GgufConfig(dequantize=True)
    try:
        # The progress bar of de-quantisation has no switch.
        with redirect_stderr(StringIO()):
            tokenizer: Any = AutoTokenizer.from_pretrained(files.folder, **options)
            model: Any = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32, **options, **packed)
    except Exception as error:  # a damaged file makes the readers raise whatever it led them to
        raise DataError(f"causal.model: {_path(files)!r} cannot be read: {error}. {WANTED}") from error
    if tokenizer.eos_token_id is None:
        raise DataError(
            f"causal.model: the tokenizer of {_path(files)!r} has no end token (eos_token), so answers would never "
            "stop. Set one in its tokenizer_config.json."
        )
    if files.gguf is not None:
        _make_plain(model)
        _split_digits(tokenizer, files.folder / files.gguf)
    return Base(files.name, files.digest, model.to(device).eval().requires_grad_(False), tokenizer)


def _path(files: BaseFiles) -> str:
    return str(files.folder if files.gguf is None else files.folder / files.gguf)


def _refuse_unless_causal(files: BaseFiles) -> None:
    built = json.loads((files.folder / "config.json").read_text(encoding="utf-8")).get("architectures") or ["unknown"]
    if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in built):
        raise DataError(f"causal.model: {_path(files)!r} holds a {built[0]}, which writes no text. {WANTED}")


def _make_plain(model: Any) -> None:
    """Forget that the weights were packed once: they are plain numbers now, and may be saved."""
    model.hf_quantizer = None
    model.is_quantized = False
    model.config.__dict__.pop("quantization_config", None)


def _split_digits(tokenizer: Any, path: Path) -> None:
    """Split SmolLM's texts at every digit before anything else, as its own tokenizer and llama.cpp do: transformers
    reads the vocabulary of a GGUF file but not this rule, and blanks before a number then come out otherwise."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    if gguf_text(path, "tokenizer.ggml.pre") == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        )


def gguf_text(path: Path, key: str) -> str | None:
    """One text of a GGUF file's metadata; `gguf`'s own reader parses all 49,152 tokens first, 6 s for SmolLM2."""
    text = 8
    sought = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", text)
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        place = content.find(sought)
        if place < 0:
            return None
        start = place + len(sought) + 8
        (length,) = struct.unpack("<Q", content[start - 8 : start])
        return content[start : start + length].decode("utf-8")
