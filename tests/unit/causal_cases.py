"""A causal model of a few thousand parameters, made from scratch, and rows to train it on."""

from __future__ import annotations

from functools import cache
from typing import Any

from harness.causalspec import CausalTrain
from harness.train.causal_base import Base
from harness.train.sequences import Row
from harness.train.tiny import Tiny, tiny_base

TEXTS = [
    "Who wrote Emma ?",
    "Who was the first man on the moon ?",
    "Where is the capital of Portugal ?",
    "How many legs has a crab ?",
    "When was the old bridge of the town built ?",
    "What is the longest river in the world ?",
    "Why do storks fly south in the autumn ?",
    "Which king lived in this palace ?",
]
ANSWERS = ["Jane Austen", "Neil Armstrong", "Lisbon", "ten", "1786", "the Nile", "it is cold", "nobody knows"]
ROWS = [Row(text, answer) for text, answer in zip(TEXTS, ANSWERS, strict=True)]
TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SHAPE = Tiny(vocabulary=320, width=32, layers=2, heads=2, context=96)


@cache
def tiny(template: str | None = TEMPLATE) -> Base:
    base = tiny_base([*TEXTS, *ANSWERS], SHAPE, seed=0)
    base.tokenizer.chat_template = template
    return base


def recipe(**changes: Any) -> CausalTrain:
    """All parameters, a few steps."""
    plain: dict[str, Any] = {"lora": None, "steps": 6, "batch_size": 4, "format": "plain", "learning_rate": 1e-2}
    return CausalTrain(**{**plain, **changes})
