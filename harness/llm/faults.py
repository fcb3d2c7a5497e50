"""What can go wrong with a call, which of it is worth a retry, and what to tell the user when it is not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, cast

from harness import spec
from harness.errors import EndpointError
from harness.llm.wire import public_url, whole

RETRIED_STATUS = (408, 409, 429)
OVERLOADED_STATUS = (429, 503, 529)
"""Too many calls, not a wrong one: 529 is what some gateways say for 503."""


class Kind(StrEnum):
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    STATUS = "status"
    BODY = "body"
    """A 200 whose body is not the protocol."""
    REPORTED = "reported"
    """A 200 whose body is an error in the protocol's own words."""


class Fault(Exception):  # noqa: N818 - one attempt's outcome; users see EndpointError or CallFailure
    """One attempt that brought no answer. `retry_after` is in seconds, None where the endpoint named none."""

    def __init__(
        self, kind: Kind, message: str, status: int | None = None, code: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.code = code
        self.retry_after = retry_after

    def redacted(self, secrets: Iterable[str]) -> Fault:
        """The same fault without the secrets in its message."""
        return Fault(self.kind, redact(self.message, secrets), self.status, self.code, self.retry_after)

    @property
    def retryable(self) -> bool:
        if self.kind is not Kind.STATUS:
            return True
        return self.status in RETRIED_STATUS or (self.status or 0) >= 500

    @property
    def overloaded(self) -> bool:
        """Whether fewer calls at a time would help."""
        return self.status in OVERLOADED_STATUS

    @property
    def wrong_model(self) -> bool:
        return self.status == 404 or self.code == "model_not_found"

    @property
    def wrong_key(self) -> bool:
        return self.status in (401, 403)

    @property
    def no_credit(self) -> bool:
        return self.status == 402 or self.code in ("insufficient_quota", "billing_hard_limit_reached")

    @property
    def fatal(self) -> bool:
        """No other call would fare better, so the run stops at once."""
        return self.wrong_model or self.wrong_key or self.no_credit


def status_fault(status: int, body: object, retry_after: float | None) -> Fault:
    """The fault of an HTTP error; `body` is decoded JSON, text or None."""
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    inner: Any = fields.get("error", fields)
    code = str(inner.get("code") or inner.get("type") or "") if isinstance(inner, dict) else ""
    said: Any = inner.get("message") if isinstance(inner, dict) else inner
    text = said if isinstance(said, str) and said else body if isinstance(body, str) else ""
    return Fault(Kind.STATUS, f"HTTP {status}{_quoted(text)}", status, code, retry_after)


def _quoted(text: str) -> str:
    text = " ".join(re.sub(r"<[^>]*>", " ", whole(text)).split())
    return f": {text[:300]}" if text else ""


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with each secret replaced, longest first, so that no piece of one stays.

    >>> redact("wrong key sk-123", ["sk-123"])
    'wrong key ***'
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


class Explain:
    """The messages about one endpoint; `role` is the role whose call failed."""

    def __init__(self, role: str, endpoint: spec.Endpoint) -> None:
        self.endpoint = endpoint
        self.key = f"llm.{role}"
        self.place = f"{public_url(endpoint.base_url)} ({self.key}, model {endpoint.model!r})"

    def fatal(self, fault: Fault, models: Sequence[str] | None) -> EndpointError:
        """`models` is what the endpoint says it has, None where it did not say."""
        if fault.wrong_model:
            return self._wrong_model(fault, models)
        if fault.no_credit:
            return EndpointError(
                f"{self.place} has no credit left: {fault.message}. Top up the account, then run the same command "
                "again; every answer so far is kept."
            )
        variable = self.endpoint.api_key_env
        advice = (
            f"check the value of the environment variable {variable!r}, and that this key may use the model"
            if variable
            else f"name the environment variable that holds a key in `{self.key}.api_key_env`"
        )
        return EndpointError(f"{self.place} refuses the call: {fault.message}. To go on, {advice}.")

    def _wrong_model(self, fault: Fault, models: Sequence[str] | None) -> EndpointError:
        if models:
            more = f" and {len(models) - 20} more" if len(models) > 20 else ""
            listed = (
                f"It has {', '.join(repr(name) for name in models[:20])}{more}. Set `{self.key}.model` to one of them."
            )
        else:
            listed = (
                f"It lists no models under /models either, so check `{self.key}.base_url` first: it usually ends in "
                "'/v1'."
            )
        return EndpointError(f"{self.place} does not know the model or the path: {fault.message}. {listed}")

    def no_variable(self) -> EndpointError:
        return EndpointError(
            f"{self.place} wants the API key in the environment variable {self.endpoint.api_key_env!r}, which is not "
            f"set. Run `export {self.endpoint.api_key_env}=…` first, or remove `{self.key}.api_key_env` if no key is "
            "needed."
        )

    def no_ascii(self) -> EndpointError:
        return EndpointError(
            f"the API key in the environment variable {self.endpoint.api_key_env!r}, for {self.place}, has letters or "
            f"signs that no HTTP header can carry. Copy the key again: `export {self.endpoint.api_key_env}=…`."
        )

    def unreachable(self, fault: Fault, attempts: int) -> EndpointError:
        return EndpointError(
            f"cannot reach {self.place}: {fault.message}, {attempts} attempts. Start that server or correct "
            f"`{self.key}.base_url`, then run the same command again; every answer so far is kept."
        )

    def no_protocol(self, fault: Fault, attempts: int) -> EndpointError:
        return EndpointError(
            f"{self.place} does not speak the OpenAI protocol: {fault.message}, {attempts} attempts. Check "
            f"`{self.key}.base_url` (it usually ends in '/v1'; a login page or a proxy may stand in between)."
        )

    def nothing_works(self, fault: Fault, calls: int) -> EndpointError:
        return EndpointError(
            f"the first {calls} calls to {self.place} all failed, the last with {fault.message}. If a setting is "
            "refused, change it in the spec (`generate.samples_per_call: 1` for endpoints that do not know `n`); then "
            "run the same command again."
        )

    def wait_too_long(self, seconds: float) -> EndpointError:
        return EndpointError(
            f"{self.place} asks to wait {seconds:.0f} seconds before the next call. Run the same command again "
            "after that; every answer so far is kept."
        )
