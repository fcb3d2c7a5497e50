"""Takes secrets out of what others will read: the report and what goes to MLflow."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from harness.reports import RunReport
from harness.store import adapter

T = TypeVar("T")

_SECRETS = (
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
    re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/-]{8,}=*"),
    re.compile(r"(?i)(?<=[?&]key=)[^&\s]+|(?<=api_key=)[^&\s]+|(?<=api-key=)[^&\s]+|(?<=token=)[^&\s]+"),
)


def redacted(report: RunReport) -> RunReport:
    """The report without what looks like a secret, e.g. the password of `https://me:secret@host/v1`."""
    return cleaned(report, key_values(report.spec))


def cleaned(value: T, secrets: Sequence[str] = ()) -> T:
    """A record without what looks like a secret and without the known `secrets`."""
    codec = adapter(type(value))
    return codec.validate_python(redact(codec.dump_python(value, mode="json"), secrets))


def redact(value: Any, secrets: Sequence[str] = ()) -> Any:
    """A JSON value in which every secret is replaced by `[redacted]`; `secrets` are known ones.

    >>> redact({"base_url": "https://me:secret@host/v1"})
    {'base_url': 'https://[redacted]@host/v1'}
    """
    if isinstance(value, Mapping):
        return {key: redact(each, secrets) for key, each in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [redact(each, secrets) for each in cast("Sequence[Any]", value)]
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, "[redacted]")
    for pattern in _SECRETS:
        value = pattern.sub("[redacted]", value)
    return value


def key_values(spec: Mapping[str, object]) -> list[str]:
    """The API keys that the spec's `api_key_env` variables hold right now."""
    roles = spec.get("llm")
    if not isinstance(roles, Mapping):
        return []
    names = [dict(role).get("api_key_env") for role in cast("Mapping[str, Mapping[str, Any]]", roles).values()]
    values = {os.environ.get(name, "") for name in names if isinstance(name, str)}
    # A variable that holds a short word would black out half of the report.
    return sorted(value for value in values if len(value) >= 8)
