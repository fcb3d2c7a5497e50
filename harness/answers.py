"""What an answer in text is, by the spec's `task.answer`: its kind, and whether it has the form that was asked for."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from eval.answers import json_object, tokens
from harness.taskspec import AnswerRule, Task


def kind_of(answer: str, task: Task) -> str | None:
    """The label of an item with this answer (see `Task.labels`); None where a structured answer names none.

    With the labels `answerable` and `unknown`, `"Unknown."` is `unknown` and `"Emma"` is `answerable`.
    """
    if task.answer is None:
        raise ValueError("the task has no `answer`, so answers have no kinds")
    if task.answer.kind_field:
        named = (json_object(answer) or {}).get(task.answer.kind_field)
        return named if isinstance(named, str) and named in task.labels else None
    words = tokens(answer)
    return next((label for label in task.labels if tokens(label) == words), next(iter(task.labels)))


def answer_fault(answer: str, rule: AnswerRule) -> str:
    """Why a text is no answer of the form that the spec asks for, or "". Reasons are few, since they are counted."""
    if not answer.strip():
        return "no answer"
    if len(answer.split()) > rule.max_words:
        return "answer too long"
    if rule.json_schema is None:
        return ""
    value = json_object(answer)
    if value is None:
        return "answer is no JSON object"
    return "" if _validator(json.dumps(rule.json_schema)).is_valid(value) else "answer breaks the schema"


def schema_fault(schema: dict[str, Any]) -> str:
    """What is wrong with a JSON schema, or ""."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"{'.'.join(map(str, error.absolute_path)) or 'the schema'}: {error.message}"
    return ""


@cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))
