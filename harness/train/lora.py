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
LEVELS = 2**16


def lean(upper: Any, linear: type) -> Any:
    """Let every layer of the class `linear` (PEFT's) in `upper` compute by `lora_linear`. Returns `upper`."""
    for module in upper.modules():
        if isinstance(module, linear):
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


def dropped(shape: torch.Size, share: float, device: torch.device) -> tuple[Tensor, float]:
    """(mask that is True where an element is dropped, the share that is dropped: `share` to 1/65536).

    Four elements share one draw of 64 bits: drawing each by itself took a tenth of a training step.
    """
    limit = round(share * LEVELS)
    count = shape.numel()
    bits = torch.empty((count + 3) // 4, dtype=torch.int64, device=device).random_(-(2**63), None)
    return (bits.view(torch.int16)[:count] < limit - LEVELS // 2).view(shape), limit / LEVELS


class _LowRank(torch.autograd.Function):
    """Forward and backward pass by hand: what is kept for the backward pass is the input, its mask and A dropout(x)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float, p: float
    ) -> Tensor:
        rows = hidden.reshape(-1, hidden.shape[-1])
        mask, share = dropped(rows.shape, p, rows.device) if p else (None, 0.0)
        seen = rows if mask is None else rows.masked_fill(mask, 0)
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
            to_hidden += through if mask is None else through.masked_fill_(mask, 0)
            to_hidden = to_hidden.view(*gradients[0].shape[:-1], -1)
        to_down = (inner.t() @ seen).float()
        to_up = (out.t() @ low).float() * ctx.scale
        return to_hidden, None, None, to_down, to_up, None, None
