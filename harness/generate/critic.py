"""The critic: asked from aggregates alone what sets two labels apart, its sentence checked before it is used."""

from __future__ import annotations

import re

from harness.generate.prompts import one_line, render
from harness.llm.client import Answer, Request
from harness.spec import Spec

MAX_HINT_WORDS = 30
CRITIC = """\
{{ noun | capitalize }}s {{ about }} are often mistaken for {{ noun }}s {{ other }}.
What sets the first kind apart, in one sentence: They"""


def critic_request(gold: str, said: str, spec: Spec) -> Request:
    """The question about a label and the one it is taken for; only their descriptions go in."""
    values = {"noun": spec.task.noun, "about": spec.task.labels[gold], "other": spec.task.labels[said]}
    text = render(CRITIC, values)
    chat = spec.llm.critic.chat
    return Request(
        role="critic",
        prompt=(("user", text),) if chat else text,
        temperature=0.0,
        max_tokens=48,
        stop=() if chat else ("\n",),
        seed=spec.seed,
    )


def read_hint(answer: object) -> str:
    """The critic's first sentence, or "" where the call failed. The prompt ends in "They", which it may repeat."""
    if not isinstance(answer, Answer) or not answer.choices:
        return ""
    text = one_line(answer.choices[0].text)
    sentence = re.match(r".*?\.(?=\s+[^a-z]|\s*$)", text)
    text = sentence[0] if sentence else text
    return f"They {text}" if text[:1].islower() else text


def hint_fault(text: str) -> str:
    """Why a hint cannot go into a prompt, or ""."""
    if not text:
        return "no answer"
    if len(text.split()) > MAX_HINT_WORDS:
        return f"longer than {MAX_HINT_WORDS} words"
    return "" if text.endswith(".") else "not a whole sentence"
