"""Writing answers token by token, several at a time.

Prompts of about one length share a batch, filled up on the left. What an answer is does not depend on the others in
its batch but through the last bits of the logits; a draw depends on its own seed only.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BATCH_TOKENS = 8192
"""Of SmolLM2's keys and values so many take 380 MB."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """`temperature` 0 takes the likeliest token. `top_p` (Holtzman et al., arXiv 1904.09751) and `min_p` (a token needs
    so much of the likeliest one's probability) cut the tail of the distribution that is drawn from."""

    temperature: float = 0.0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1:
            raise ValueError(f"{self!r}: temperature >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1 are allowed")


@dataclass(frozen=True, slots=True)
class Continuation:
    """Tokens after a prompt, without the one that ended them; `finished` unless the length did."""

    ids: tuple[int, ...]
    finished: bool


def continued(
    model: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    stops: frozenset[int],
    pad: int,
    sampling: Sampling,
    max_new_tokens: int,
    batch_size: int,
) -> list[Continuation]:
    """What `model` writes after each prompt (one token or more), in the callers' order."""
    found: dict[int, Continuation] = {}
    for places in _together([len(prompt) + max_new_tokens for prompt in prompts], batch_size):
        batch = _Batch(model, [prompts[place] for place in places], [seeds[place] for place in places], pad, sampling)
        with torch.inference_mode():
            written = batch.write(max_new_tokens, stops)
        found |= dict(zip(places, written, strict=True))
    return [found[place] for place in range(len(prompts))]


def _together(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Places of the prompts that share a batch, those of about one length together: at most `batch_size`, and at most
    `BATCH_TOKENS` tokens once all are written, so that a batch of long prompts has room for what is kept of them."""
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    while order:
        most = max(1, min(batch_size, BATCH_TOKENS // lengths[order[0]]))
        yield order[:most]
        order = order[most:]


class _Batch:
    """Prompts that are continued together. Rows that have ended are taken out once they are half of the batch."""

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], seeds: Sequence[int], pad: int, sampling: Sampling
    ) -> None:
        from transformers import DynamicCache

        self._model = model
        self._sampling = sampling
        self._draws = [random.Random(seed) for seed in seeds]
        self._cache = DynamicCache(config=model.config)
        longest = max(len(prompt) for prompt in prompts)
        device = model.device
        self._next = torch.tensor([[pad] * (longest - len(one)) + list(one) for one in prompts], device=device)
        self._mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts], device=device)
        self._active = list(range(len(prompts)))
        """Which prompt each row of the cache belongs to."""

    def write(self, most: int, stops: frozenset[int]) -> list[Continuation]:
        ids: list[list[int]] = [[] for _ in self._active]
        finished: set[int] = set()
        for _ in range(most):
            scores = self._step()
            tokens = [
                pick(row, self._sampling, self._draws[place]) for row, place in zip(scores, self._active, strict=True)
            ]
            for place, token in zip(self._active, tokens, strict=True):
                if token in stops:
                    finished.add(place)
                elif place not in finished:
                    ids[place].append(token)
            if len(finished) == len(ids):
                break
            self._go_on(tokens, finished)
        return [Continuation(tuple(own), place in finished) for place, own in enumerate(ids)]

    def _step(self) -> Tensor:
        """Logits of the next token, active rows × vocabulary, float32."""
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -self._next.shape[1] :]
        return (
            self._model(
                input_ids=self._next,
                attention_mask=self._mask,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
            .logits[:, -1]
            .float()
        )

    def _go_on(self, tokens: Sequence[int], finished: set[int]) -> None:
        self._next = torch.tensor(tokens, device=self._next.device)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(self._next)], dim=1)
        kept = [row for row, place in enumerate(self._active) if place not in finished]
        if len(kept) <= len(self._active) // 2:
            rows = torch.tensor(kept, device=self._next.device)
            self._cache.batch_select_indices(rows)
            self._next, self._mask = self._next[rows], self._mask[rows]
            self._active = [self._active[row] for row in kept]


def pick(scores: Tensor, sampling: Sampling, draw: random.Random) -> int:
    """The next token, from logits (vocabulary)."""
    if sampling.temperature == 0:
        return int(scores.argmax())
    shares = torch.softmax(scores.double() / sampling.temperature, dim=-1)
    if sampling.min_p:
        shares[shares < sampling.min_p * shares.max()] = 0
    if sampling.top_p < 1:
        ordered, places = shares.sort(descending=True, stable=True)
        # A token goes where those before it hold the share already; the first one always stays.
        shares[places[ordered.cumsum(0) - ordered >= sampling.top_p * ordered.sum()]] = 0
    bounds = shares.cumsum(0)
    whole = float(bounds[-1])
    below = min(draw.random() * whole, math.nextafter(whole, 0.0))
    return int(torch.searchsorted(bounds, below, right=True))
