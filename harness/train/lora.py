"""The low-rank update of a linear layer as one operation (Hu et al., arXiv 2106.09685, eq. 3).

PEFT holds the parameters, their names and their files; here is only the arithmetic, y = Wx + b + α/r · B A dropout(x).
PEFT's own forward pass is a dozen small operations and casts a layer, each kept for the backward pass: on a processor
and 15-token texts they cost as much as the matrix products.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

ADAPTER = "default"
LANES = {torch.bfloat16: (torch.int16, 16), torch.float16: (torch.int16, 16), torch.float32: (torch.int32, 32)}


def lean(upper: Any, linear: type) -> Any:
    """Let every layer of the class `linear` (PEFT's) in `upper` compute by `lora_linear`. Returns `upper`.

    Layers whose weights lie the other way round (GPT-2's `Conv1D`) keep PEFT's own arithmetic.
    """
    for module in upper.modules():
        if isinstance(module, linear) and isinstance(getattr(module, "base_layer", None), torch.nn.Linear):
            module.forward = partial(lora_linear, module)
    return upper


def lora_linear(module: Any, hidden: Tensor) -> Tensor:
    """What PEFT's LoRA layer gives for `hidden` (… × in): … × out, in the precision of the frozen weights."""
    base, dropout = module.base_layer, module.lora_dropout[ADAPTER]
    share = getattr(dropout, "p", 0.0) if dropout.training else 0.0
    return _LowRank.apply(  # type: ignore[no-any-return]
        hidden,
        base.weight,
        base.bias,
        module.lora_A[ADAPTER].weight,
        module.lora_B[ADAPTER].weight,
        module.scaling[ADAPTER],
        share,
    )


def kept(shape: torch.Size, share: float, like: Tensor) -> tuple[Tensor, float]:
    """(integers as wide as the elements of `like`: all bits set where an element is kept, none where it is dropped;
    the share that is dropped: `share` to 1/32768).

    A draw of 64 bits serves several elements and a mask is applied with "and": torch's own dropout, which draws each
    element by itself, took a tenth of a training step.
    """
    lane, width = LANES[like.dtype]
    limit = round(share * 2 ** (width - 1))
    words = -(-shape.numel() * width // 64)
    bits = torch.empty(words, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    mask = bits.view(lane)[: shape.numel()].view(shape)
    # Without its sign a number is uniform over 0 … 2^(width−1) − 1; less `limit` its sign says whether it is dropped.
    mask.bitwise_and_(2 ** (width - 1) - 1).sub_(limit).bitwise_right_shift_(width - 1).bitwise_not_()
    return mask, limit / 2 ** (width - 1)


def masked_(rows: Tensor, mask: Tensor) -> Tensor:
    """`rows` with zeros, in place, where `kept` says so."""
    rows.view(mask.dtype).bitwise_and_(mask)
    return rows


class _LowRank(torch.autograd.Function):
    """Forward and backward pass by hand: what is kept for the backward pass is the input, its mask and A dropout(x)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float, p: float
    ) -> Tensor:
        rows = hidden.reshape(-1, hidden.shape[-1])
        mask, share = kept(rows.shape, p, rows) if p else (None, 0.0)
        seen = rows if mask is None else masked_(rows.clone(), mask)
        a, b = down.to(rows.dtype), (up * (scale / (1 - share))).to(rows.dtype)
        low = seen @ a.t()
        out = torch.nn.functional.linear(rows, weight, bias).addmm_(low, b.t())
        ctx.save_for_backward(weight, a, b, seen, low, mask)
        ctx.scale = scale / (1 - share)
        return out.view(*hidden.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        weight, a, b, seen, low, mask = ctx.saved_tensors
        out = gradients[0].reshape(-1, gradients[0].shape[-1])
        inner = out @ b
        to_hidden = None
        if ctx.needs_input_grad[0]:
            through = inner @ a
            to_hidden = out @ weight
            to_hidden += through if mask is None else masked_(through, mask)
            to_hidden = to_hidden.view(*gradients[0].shape[:-1], -1)
        to_down = (inner.t() @ seen).float()
        to_up = (out.t() @ low).float() * ctx.scale
        return to_hidden, None, None, to_down, to_up, None, None
