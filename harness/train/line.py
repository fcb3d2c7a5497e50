"""Rows one after another in one line of tokens, so that no padding goes through the linear layers.

Attention is within each row. Only there are the rows put side by side, each filled up at its end: tokens of a causal
model see none that come later, so what fills up changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.train.sequences import Encoded

NAME = "harness_line"
TOLERANCE = 1e-3
"""Largest difference of logits that is put down to rounding."""


@dataclass(frozen=True, slots=True)
class Line:
    """`ids` and `positions` 1 × tokens; `beside` rows × longest row: where each row's tokens stand in the line;
    `back` tokens: where each token of the line stands in `beside`, flattened; `before` answers: where the token before
    each token of an answer stands in the line; `targets` answers: those tokens; `owner` answers: their rows."""

    ids: Tensor
    positions: Tensor
    beside: Tensor
    back: Tensor
    before: Tensor
    targets: Tensor
    owner: Tensor


def line(rows: Sequence[Encoded], device: torch.device) -> Line:
    """The line of one row or more."""
    lengths = [len(row.ids) for row in rows]
    starts = [sum(lengths[:place]) for place in range(len(rows))]
    longest = max(lengths)
    spread = [list(range(start, start + length)) for start, length in zip(starts, lengths, strict=True)]
    tensors = (
        [[one for row in rows for one in row.ids]],
        [[place for length in lengths for place in range(length)]],
        [own + [0] * (longest - len(own)) for own in spread],
        [place * longest + step for place, length in enumerate(lengths) for step in range(length)],
        [at for row, own in zip(rows, spread, strict=True) for at in own[row.answer - 1 : -1]],
        [one for row in rows for one in row.targets],
        [place for place, row in enumerate(rows) for _ in row.targets],
    )
    return Line(*(torch.tensor(one, device=device) for one in tensors))


def logits(model: Any, rows: Line, *, joined: bool) -> Tensor:
    """Logits of the tokens of the answers, answers × vocabulary, float32. `joined` says that the model attends by
    `attend_in_line`; otherwise the line must hold one row."""
    where = {"beside": rows.beside, "back": rows.back} if joined else {}
    out = model(
        input_ids=rows.ids, position_ids=rows.positions, logits_to_keep=rows.before, use_cache=False, **where
    ).logits
    return out[0].float()


def attend_in_line(model: Any) -> None:
    """Let the model take lines of several rows."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    model.set_attn_implementation(NAME)


def attend_apart(model: Any) -> None:
    """Back to the attention that the model comes with."""
    try:
        model.set_attn_implementation("sdpa")
    except ValueError:
        model.set_attn_implementation("eager")


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    beside: Tensor,
    back: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """1 × heads × tokens × width each → 1 × tokens × heads × width. Several query heads may share one of the keys."""
    rows, longest = beside.shape
    groups, width = key.shape[1], query.shape[-1]

    def spread(one: Tensor) -> Tensor:
        """rows × groups × (heads of the group · longest) × width"""
        own = one[0][:, beside.view(-1)].view(groups, -1, rows, longest, width)
        return own.permute(2, 0, 1, 3, 4).reshape(rows, groups, -1, width)

    asked, keys, values = spread(query), spread(key), spread(value)
    scores = torch.matmul(asked, keys.transpose(2, 3)) * (width**-0.5 if scaling is None else scaling)
    later = torch.ones(longest, longest, dtype=torch.bool, device=query.device).triu(1)
    shape = (rows, groups, -1, longest, longest)
    shares = scores.view(shape).masked_fill(later, float("-inf")).softmax(-1, dtype=torch.float32).to(query.dtype)
    shares = torch.nn.functional.dropout(shares, dropout, module.training)
    out = torch.matmul(shares.view(scores.shape), values).view(rows, groups, -1, longest, width)
    return out.permute(0, 3, 1, 2, 4).reshape(rows * longest, -1, width)[back][None], None


def takes_lines(model: Any) -> bool:
    """Whether the model (float32, in evaluation mode) answers rows in a line as it answers them one by one."""
    device = next(model.parameters()).device
    ids = [tuple((7 * place + 3) % model.config.vocab_size for place in range(length)) for length in (9, 14)]
    rows = [Encoded(own, 1) for own in ids]
    attend_apart(model)
    with torch.inference_mode():
        singly = torch.cat([logits(model, line([row], device), joined=False) for row in rows])
        try:
            attend_in_line(model)
            together = logits(model, line(rows, device), joined=True)
        except (TypeError, ValueError, RuntimeError):
            return False
        finally:
            attend_apart(model)
    return bool((together - singly).abs().max() < TOLERANCE)
