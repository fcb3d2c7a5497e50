"""Short texts side by side in one row, so that no padding is computed (Krell et al., arXiv 2107.02027).

A batch of 32 questions of 14 tokens becomes 7 rows of 64. Attention is masked between texts. Only the layers above the
embeddings may see such rows: positions are in the hidden states already, and a relative one is the same in any place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ROW = 64
"""Tokens that a row aims at: longer ones waste less at their ends and more on masked attention."""
SCALE = 10.0
"""Norm of the pooled vector before the head: with unit rows a linear head could not become confident."""


@dataclass(frozen=True, slots=True)
class Packed:
    """`hidden` rows × tokens × width; `mask` rows × 1 × tokens × tokens, added to attention scores: 0 between tokens of
    one text; `means` texts × (rows · tokens), float32: takes tokens to the mean of each text's own."""

    hidden: Tensor
    mask: Tensor
    means: Tensor


def rows_of(lengths: Sequence[int]) -> list[list[int]]:
    """Which texts share a row, so that rows are about equally long: the longest text goes first, each into the shortest
    row (Graham 1969).

    >>> rows_of([40, 30, 60, 20])
    [[2, 3], [0, 1]]
    """
    longest = max(ROW, *lengths)
    rows: list[list[int]] = [[] for _ in range(-(-sum(lengths) // longest))]
    filled = [0] * len(rows)
    for text in sorted(range(len(lengths)), key=lambda text: -lengths[text]):
        shortest = filled.index(min(filled))
        rows[shortest].append(text)
        filled[shortest] += lengths[text]
    return rows


def pack(states: Sequence[Tensor], precision: torch.dtype) -> Packed:
    """Rows of the hidden states (tokens × width) of one text or more."""
    rows = rows_of([len(state) for state in states])
    device, width = states[0].device, states[0].shape[-1]
    filled = [[states[text] for text in row] for row in rows]
    tokens = max(sum(len(state) for state in row) for row in filled)
    owner = torch.full((len(rows), tokens), -1)
    for place, row in enumerate(rows):
        start = 0
        for text in row:
            owner[place, start : start + len(states[text])] = text
            start += len(states[text])
    hidden = nn.utils.rnn.pad_sequence([torch.cat(row) for row in filled], batch_first=True).to(precision)
    owner = owner.to(device)
    apart = owner[:, None, :, None] != owner[:, None, None, :]
    mask = torch.zeros(apart.shape, dtype=precision, device=device).masked_fill_(apart, torch.finfo(precision).min)
    own = (owner.view(1, -1) == torch.arange(len(states), device=device)[:, None]).float()
    return Packed(hidden.view(len(rows), tokens, width), mask, own / own.sum(1, keepdim=True))


def pooled(upper: Any, states: Sequence[Tensor]) -> Tensor:
    """Mean of the last hidden states over a text's tokens, scaled to norm `SCALE`: texts × width, float32."""
    packed = pack(states, next(upper.encoder.parameters()).dtype)
    last = upper.encoder(packed.hidden, attention_mask=packed.mask)[0].float()
    return SCALE * nn.functional.normalize(packed.means @ last.flatten(0, 1), dim=-1)
