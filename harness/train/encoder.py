"""A frozen `transformers` encoder, cut in two: lower layers computed once per text, upper layers that LoRA adapts.

With the lower layers frozen their output for a text never changes, so it is kept and shared by every step, arm and
round of a process. `upper_layers=None` keeps only the embeddings below the cut.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import DataError


class PassThrough(nn.Module):
    """Stands where a frozen layer was: hands its first tensor on. Keeps the layers' numbers, and so PEFT's names."""

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden


class Encoder:
    """The encoder in `folder`. Hidden states of the cut are cached in memory per text (float32, tokens × width).

    Raises `DataError` for a model that is not built like BERT.
    """

    def __init__(self, folder: Path, *, upper_layers: int | None, max_length: int, device: str) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.device = torch.device(device)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._max_length = max_length
        model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(self.device).eval()
        model.requires_grad_(False)
        layers = getattr(getattr(model, "encoder", None), "layer", None)
        if layers is None:
            raise DataError(
                f"train.model: {str(folder)!r} is a {type(model).__name__}, whose layers cannot be told apart. Take an "
                "encoder built like BERT (BERT, MiniLM, RoBERTa, MPNet, ELECTRA …), or 'embedded'."
            )
        self.cut = 0 if upper_layers is None else max(0, len(layers) - upper_layers)
        self.depth = len(layers)
        self._lower = model
        self._upper = copy.deepcopy(model)
        # On a processor the backward pass of fused attention over short texts costs more than the plain one: a
        # training step took 0.15 s of CPU time against 0.21-0.26 s (32 questions, one core). The lower part keeps the
        # fused one, which gives a text the same bits in every batch; the plain one does not.
        if self.device.type == "cpu":
            self._upper.set_attn_implementation("eager")
        self._lower.encoder.layer = layers[: self.cut]
        self._upper.embeddings = nn.Identity()
        for index in range(self.cut):
            self._upper.encoder.layer[index] = PassThrough()
        self._states: dict[str, Tensor] = {}

    @property
    def width(self) -> int:
        return int(self._upper.config.hidden_size)

    def fresh_upper(self, precision: torch.dtype = torch.float32) -> Any:
        """A copy of the model with its upper layers, ready to be adapted; its `encoder` takes the cached states."""
        return copy.deepcopy(self._upper).to(precision)

    def states(self, texts: Sequence[str], batch_size: int = 128) -> list[Tensor]:
        """Hidden states at the cut, one (tokens × width) tensor per text.

        A text's state does not depend on what else is asked for: a resumed run asks for other texts together, and must
        train the same model. So batches hold one token count (padding changes the last bits, by up to 5e-6 in our
        trial), and one thread computes them (the split of the work over several depends on the batch).
        """
        missing = sorted({text for text in texts if text not in self._states}, key=lambda text: (len(text), text))
        with one_thread(), torch.no_grad():
            for block in self._equal_lengths(missing, batch_size):
                encoded = self._tokenizer(block, truncation=True, max_length=self._max_length, return_tensors="pt")
                hidden = self._lower(**encoded.to(self.device)).last_hidden_state
                self._states.update(zip(block, (row.clone() for row in hidden), strict=True))
        return [self._states[text] for text in texts]

    def _equal_lengths(self, texts: Sequence[str], batch_size: int) -> Iterator[list[str]]:
        """Batches of one token count each, shortest first."""
        if not texts:
            return
        tokens = self._tokenizer(list(texts), truncation=True, max_length=self._max_length)["input_ids"]
        by_length: dict[int, list[str]] = {}
        for text, ids in zip(texts, tokens, strict=True):
            by_length.setdefault(len(ids), []).append(text)
        for length in sorted(by_length):
            group = by_length[length]
            yield from (group[start : start + batch_size] for start in range(0, len(group), batch_size))


@contextmanager
def one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
