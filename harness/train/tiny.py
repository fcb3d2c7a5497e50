"""Small causal models from scratch, with a tokenizer of their own: for statistics that need hundreds of trainings.

What Gerstgrasser et al. (arXiv 2404.01413) did with a GPT-2 of 9 million parameters on TinyStories, smaller still.
Recipes for them have `lora: null`, so that every parameter is trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import DataError
from harness.store import digest
from harness.train.causal_base import Base

START, END = "<|start|>", "<|end|>"


@dataclass(frozen=True, slots=True)
class Tiny:
    """Shape of a Llama-like model. With the defaults and a full vocabulary 1.05 million parameters."""

    vocabulary: int = 2048
    """Tokens at most; fewer where the texts do not give as many."""
    width: int = 128
    layers: int = 4
    heads: int = 4
    context: int = 256


def tiny_base(texts: Sequence[str], shape: Tiny = Tiny(), *, seed: int) -> Base:
    """An untrained model with a byte-level BPE tokenizer (Sennrich et al., arXiv 1508.07909) trained on `texts`.

    Same texts, shape and seed: same tokenizer and weights. Raises `DataError` without texts, or for a width that the
    heads do not share evenly.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if not any(text.strip() for text in texts):
        raise DataError("a tokenizer cannot be trained on no text.")
    if shape.width % (2 * shape.heads):
        raise DataError(f"a tiny model's width {shape.width!r} must be a multiple of twice its {shape.heads!r} heads.")
    tokenizer = _tokenizer(texts, shape.vocabulary)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=3 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM(config)
    weights = hashlib.sha256()
    for tensor in model.state_dict().values():
        weights.update(tensor.numpy().tobytes())
    identity = digest([asdict(shape), weights.hexdigest(), tokenizer.backend_tokenizer.to_str()])
    return Base("tiny", identity, model.eval().requires_grad_(False), tokenizer)


def _tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    backend: Any = Tokenizer(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START, END],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=START, eos_token=END, pad_token=END)
