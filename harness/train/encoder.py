"""A frozen `transformers` encoder, cut in two: lower layers computed once per text, upper layers that LoRA adapts.

With the lower layers frozen their output for a text never changes, so it is kept and shared by every step, arm and
round of a process. `upper_layers=None` keeps only the embeddings below the cut.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import DataError

SCALE = 10.0
"""Norm of the pooled vector before the head: with unit rows a linear head could not become confident."""


class PassThrough(nn.Module):
    """Stands where a frozen part was: hands its first tensor on. Keeps the layers' numbers, and so PEFT's names."""

    def forward(self, hidden: Tensor | None = None, *_: Any, **named: Any) -> Tensor:
        return named["inputs_embeds"] if hidden is None else hidden


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
        self._upper.embeddings = PassThrough()
        for index in range(self.cut):
            self._upper.encoder.layer[index] = PassThrough()
        self._states: dict[str, Tensor] = {}

    @property
    def width(self) -> int:
        return int(self._upper.config.hidden_size)

    def fresh_upper(self, precision: torch.dtype = torch.float32) -> Any:
        """A copy of the upper layers, ready to be adapted; it takes the cached states as `inputs_embeds`."""
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


def pad(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(batch × longest × width, batch × longest mask) of states of unequal length."""
    hidden = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
    lengths = torch.tensor([len(state) for state in states], device=hidden.device)
    mask = (torch.arange(hidden.shape[1], device=hidden.device)[None, :] < lengths[:, None]).long()
    return hidden, mask


def pooled(upper: Any, states: Sequence[Tensor]) -> Tensor:
    """Mean of the last hidden states over a text's tokens, scaled to norm `SCALE`: batch × width, float32."""
    hidden, mask = pad(states)
    last = upper(inputs_embeds=hidden.to(upper.dtype), attention_mask=mask).last_hidden_state.float()
    weights = mask[:, :, None].float()
    mean = (last * weights).sum(1) / weights.sum(1)
    return SCALE * nn.functional.normalize(mean, dim=-1)


def length_grouped(lengths: Sequence[int], batch_size: int, order: Iterable[int]) -> list[list[int]]:
    """Batches of similar lengths: `order` is cut into stretches of 8 batches, each sorted by length.

    >>> length_grouped([5, 1, 5, 1], 2, [0, 1, 2, 3])
    [[1, 3], [0, 2]]
    """
    indices = list(order)
    stretch = 8 * batch_size
    batches: list[list[int]] = []
    for start in range(0, len(indices), stretch):
        block = sorted(indices[start : start + stretch], key=lambda index: lengths[index])
        batches.extend(block[i : i + batch_size] for i in range(0, len(block), batch_size))
    return batches
