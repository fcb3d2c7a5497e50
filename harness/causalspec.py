"""The recipe of a generative student: what a person may write about it. Frozen, unknown keys are refused.

The section `causal` of a spec.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from harness.taskspec import Section

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class CausalLora(Section):
    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Share = 0.05
    targets: list[str] = LINEAR
    """Names of the linear layers that get adapters; these are those of Llama, Mistral, Qwen and their like."""
    upper_layers: PositiveInt | None = None
    """Adapt only so many upper layers; no gradient is then computed below. `null` adapts every layer."""


class CausalTrain(Section):
    """A generative student and its recipe; every arm is trained with it."""

    model: str = "embedded"
    """`embedded` (SmolLM2-135M-Instruct), the folder of a causal `transformers` model and its tokenizer, or a `.gguf`
    file."""
    format: Literal["chat", "plain"] = "chat"
    """How a prompt and its answer become one text. `chat`: the model's own chat template, one user turn and one answer.
    `plain`: the prompt, a blank unless it ends with a line break, the answer."""
    lora: CausalLora | None = CausalLora()
    """`null` trains every parameter, for small models made from scratch."""
    learning_rate: PositiveFloat = 1e-3
    steps: PositiveInt | None = None
    """Optimiser steps; the same for every arm, so that no arm is merely trained longer."""
    epochs: PositiveFloat | None = None
    """Instead of `steps`: passes over the rows."""
    batch_size: PositiveInt = 16
    """Rows per optimiser step."""
    pass_tokens: PositiveInt = 512
    """At most so many tokens go through the model at once, or one row where it is longer; a step makes as many passes
    as its rows need and adds up their gradients. Bounds the memory."""
    max_length: PositiveInt = 512
    """Tokens of prompt and answer together. Longer prompts lose their beginning; an answer that does not fit by itself
    loses its end, and both are counted."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the frozen weights. `auto` computes in bfloat16 where the processor has instructions for it. Without adapters
    always float32."""
    checkpoint_every: Count = 50
    """Steps between two checkpoints, where the caller gives a file for them; 0 writes none. Changes no result."""

    @model_validator(mode="after")
    def _one_length_of_training(self) -> CausalTrain:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"give steps or epochs, one of the two; here steps={self.steps!r}, epochs={self.epochs!r}")
        return self

    def steps_for(self, rows: int) -> int:
        """Optimiser steps of a training on so many rows: `CausalTrain(epochs=3).steps_for(120)` is 24."""
        if self.steps is not None:
            return self.steps
        per_epoch = -(-rows // self.batch_size)
        return max(1, round((self.epochs or 0) * per_epoch))

    def key(self) -> dict[str, object]:
        """What of the recipe can change the student; the base model's weights have a digest of their own."""
        return self.model_dump(mode="json", exclude={"model", "checkpoint_every"})
