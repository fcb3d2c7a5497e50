"""The LoRA layer written as one operation against PEFT's own, on a layer of a few units."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from harness.train.lora import kept, lean, masked_


class Two(nn.Module):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8, bias=bias), nn.Linear(8, 5, bias=bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(hidden)))


def adapted(*, bias: bool = True, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=12, lora_dropout=dropout, target_modules=["first", "second"])
    model = get_peft_model(Two(bias=bias), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model


def answer_and_gradients(model: Any, hidden: Tensor) -> list[Tensor]:
    hidden = hidden.clone().requires_grad_()
    out = model(hidden)
    (out.float() ** 2).sum().backward()
    own = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert len(own) == 4
    assert all(one is not None for one in own)
    assert hidden.grad is not None
    return [out.detach(), hidden.grad, *own]


@pytest.mark.parametrize("bias", [True, False])
def test_answers_and_gradients_are_pefts(bias: bool) -> None:
    plain = adapted(bias=bias)
    ours = lean(copy.deepcopy(plain), LoraLinear)
    hidden = torch.randn(2, 4, 6)
    for one, other in zip(answer_and_gradients(ours, hidden), answer_and_gradients(plain, hidden), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert all(parameter.grad is None for name, parameter in ours.named_parameters() if "base_layer" in name)


def test_frozen_weights_in_bfloat16_leave_the_adapters_in_float32() -> None:
    plain = adapted()
    ours = copy.deepcopy(plain)
    for name, parameter in ours.named_parameters():
        if "lora" not in name:
            parameter.data = parameter.data.bfloat16()
    hidden = torch.randn(2, 4, 6)
    found = answer_and_gradients(lean(ours, LoraLinear), hidden.bfloat16())
    assert [one.dtype for one in found] == [torch.bfloat16] * 2 + [torch.float32] * 4
    for one, other in zip(found, answer_and_gradients(plain, hidden), strict=True):
        assert torch.nn.functional.cosine_similarity(one.float().flatten(), other.flatten(), dim=0) > 0.999


def test_dropout_is_on_in_training_only_and_its_gradient_is_that_of_what_was_computed() -> None:
    ours = lean(adapted(dropout=0.5), LoraLinear).train()
    hidden = torch.randn(7, 6)
    torch.manual_seed(3)
    one = answer_and_gradients(ours, hidden)
    torch.manual_seed(4)
    assert not torch.allclose(ours(hidden), one[0])
    still = ours.eval()(hidden)
    assert torch.equal(still, ours(hidden))
    ours.train()

    step = torch.randn(7, 6) * 1e-3

    def loss(moved: Tensor) -> float:
        torch.manual_seed(3)
        return float((ours(moved).detach() ** 2).sum())

    slope = (loss(hidden + step) - loss(hidden - step)) / 2
    assert slope == pytest.approx(float((one[1] * step).sum()), rel=0.02)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_mask_drops_the_share_it_says_and_leaves_the_rest(precision: torch.dtype) -> None:
    rows = torch.randn(333, 301, dtype=precision) + 5
    torch.manual_seed(0)
    mask, share = kept(rows.shape, 0.05, rows)
    assert share == pytest.approx(0.05, abs=2e-5)
    left = masked_(rows.clone(), mask)
    assert torch.equal(left[left != 0], rows[left != 0])
    gone = (left == 0).float()
    assert float(gone.mean()) == pytest.approx(0.05, abs=0.003)
    by_place = [float(gone.flatten()[place::4].mean()) for place in range(4)]
    assert by_place == pytest.approx([0.05] * 4, abs=0.006)
    torch.manual_seed(0)
    assert torch.equal(kept(rows.shape, 0.05, rows)[0], mask)
    assert float((masked_(rows.clone(), kept(rows.shape, 0.9, rows)[0]) == 0).float().mean()) == pytest.approx(
        0.9, abs=0.005
    )
