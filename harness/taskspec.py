"""What the task is, as a person writes it in a YAML file; part of `harness.spec`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class Section(BaseModel):
    """Base of every spec section: frozen, no unknown keys, no silent type coercion from strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class AnswerRule(Section):
    """The answers of a task that maps a text to a text."""

    about: str = Field(min_length=1)
    """One line that says how to answer, e.g. `the shortest words of the passage that answer it`. It goes into prompts,
    the student's too."""
    noun: str = "answer"
    """What an answer is called in prompts."""
    context: str | None = None
    """What the column `data.columns.context` is called in prompts, e.g. `passage`; without it items have no context.
    Synthetic items are written about the contexts of seeds."""
    max_words: PositiveInt = 30
    """Longer answers are dropped by the format filter."""
    json_schema: dict[str, Any] | None = None
    """JSON schema of structured answers; one that breaks it is dropped by the format filter, and counts as wrong."""
    kind_field: str | None = None
    """The field of a structured answer that holds its label."""


class Task(Section):
    """What is learnt: a label for a text, or with `answer` a text for a text."""

    noun: str = "text"
    """What one item is called in prompts, e.g. `question`."""
    labels: dict[str, str] = Field(min_length=1)
    """Label → one line that describes it; the line goes into prompts. With `answer` labels are kinds of items, which
    are planned, balanced and scored as labels are: an item's label is what `answer.kind_field` of its answer says, else
    the label that its answer names (`unknown`), else the first one."""
    answer: AnswerRule | None = None
    """Given where the task is to answer in text; the student is then a causal language model."""

    @model_validator(mode="after")
    def _two_labels(self) -> Task:
        if self.answer is None and len(self.labels) < 2:
            raise ValueError("labels: a classifier needs two or more; name them all, or give the task an `answer`")
        return self
