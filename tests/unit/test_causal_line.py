"""Rows in a line of tokens against rows one by one and rows filled up, for several kinds of models."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from causal_cases import ROWS, TEXTS, recipe, tiny
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from harness.train.causal import Fit
from harness.train.line import attend_apart, attend_in_line, line, logits, takes_lines
from harness.train.sequences import Encoded, Format, Row

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "pad_token_id": 1,
}
ENCODED = [Format(tiny(), recipe()).row(row) for row in [*ROWS, Row("", TEXTS[2])]]


def built(config: PretrainedConfig) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def singly(model: Any, rows: list[Encoded]) -> torch.Tensor:
    attend_apart(model)
    return torch.cat([logits(model, line([row], model.device), joined=False) for row in rows])


@pytest.mark.parametrize("kind", [LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config, Phi3Config])
def test_rows_in_a_line_do_not_see_each_other(kind: type[PretrainedConfig]) -> None:
    model = built(kind(**SMALL))
    assert takes_lines(model)
    with torch.no_grad():
        alone = singly(model, ENCODED)
        attend_in_line(model)
        together = logits(model, line(ENCODED, model.device), joined=True)
    assert alone.shape == (sum(len(row.targets) for row in ENCODED), 320)
    assert torch.allclose(together, alone, atol=1e-5)
    assert alone.std() > 0.01


def test_gpt2_takes_lines_and_what_has_positions_of_its_own_does_not() -> None:
    assert takes_lines(built(GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_positions=96)))
    # Bloom's attention is biased by the distance in the line, and it takes no positions.
    bloom = built(BloomConfig(vocab_size=320, hidden_size=32, n_layer=2, n_head=2))
    assert not takes_lines(bloom)


def padded(model: Any, rows: list[Encoded], weights: list[float]) -> torch.Tensor:
    """The loss as it is commonly computed: rows filled up on the right, the prompt's labels ignored."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[1] * (longest - len(row.ids))] for row in rows])
    mask = torch.tensor([[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows])
    labels = [[-100] * row.answer + [*row.targets] + [-100] * (longest - len(row.ids)) for row in rows]
    attend_apart(model)
    scores = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    wanted = torch.tensor(labels)[:, 1:]
    each = nn.functional.cross_entropy(scores.transpose(1, 2), wanted, reduction="none", ignore_index=-100)
    share = torch.tensor(weights)[:, None]
    return (each * share).sum() / ((wanted != -100) * share).sum()


@pytest.mark.parametrize("pass_tokens", [1, 40, 4096])
def test_the_loss_and_its_gradients_are_those_of_rows_filled_up(pass_tokens: int) -> None:
    weights = [1.0, 2.0, 1.0, 0.5, 1.0, 1.0, 3.0, 1.0, 1.0]
    ours, theirs = (copy.deepcopy(tiny().model).requires_grad_(True) for _ in range(2))
    fit = Fit(ours, tiny(), ENCODED, weights, recipe(pass_tokens=pass_tokens), 0)
    loss = fit.gradients(range(9))
    expected = padded(theirs, ENCODED, weights)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)
    assert max(float(parameter.grad.abs().max()) for parameter in ours.parameters()) > 1e-3


def test_a_model_that_takes_no_lines_learns_the_same_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.train.causal.takes_lines", lambda _: False)
    model = copy.deepcopy(tiny().model).requires_grad_(True)
    loss = Fit(model, tiny(), ENCODED, [1.0] * 9, recipe(), 0).gradients(range(9))
    assert loss == pytest.approx(padded(copy.deepcopy(tiny().model), ENCODED, [1.0] * 9).item(), abs=1e-5)
