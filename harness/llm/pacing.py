"""How fast an endpoint is pressed: rate limits, one shared cool-down, back-off. Nothing here changes an answer."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiolimiter import AsyncLimiter

from harness import spec

LONGEST_WAIT_S = 600.0
"""An endpoint that asks for more than this ends the run instead of stalling it."""
TOKEN_WINDOWS = 6
"""Parts of a minute that the token limit is kept in, so that a burst cannot use two minutes' worth at once."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with full jitter drawn from the call's key: spread over calls, the same in every run. Seconds."""

    base: float = 0.5
    cap: float = 30.0

    def delay(self, key: str, attempt: int) -> float:
        """Seconds to wait after the `attempt`-th failure (1-based): between half of the step and all of it."""
        step = min(self.cap, self.base * 2 ** (attempt - 1))
        return step * random.Random(f"{key}/{attempt}").uniform(0.5, 1.0)


@dataclass(slots=True)
class CoolDown:
    """Until when nobody may call this endpoint; one clock for all calls of all roles."""

    until: float = 0.0

    def extend(self, seconds: float) -> None:
        self.until = max(self.until, time.monotonic() + seconds)

    async def over(self) -> None:
        # Others may extend it meanwhile, so one sleep is not enough.
        while (left := self.until - time.monotonic()) > 0:  # noqa: ASYNC110 - waits for a clock, not for an event
            await asyncio.sleep(left)


@dataclass(slots=True)
class Rate:
    """Requests and tokens per minute of one role. Requests are spaced evenly, so no minute exceeds the limit."""

    limits: spec.Limits
    _requests: AsyncLimiter | None = field(init=False)
    _tokens: AsyncLimiter | None = field(init=False)

    def __post_init__(self) -> None:
        per_minute, tokens = self.limits.requests_per_minute, self.limits.tokens_per_minute
        self._requests = None if per_minute is None else AsyncLimiter(1, 60 / per_minute)
        self._tokens = None if tokens is None else AsyncLimiter(max(1, tokens / TOKEN_WINDOWS), 60 / TOKEN_WINDOWS)

    async def admit(self, tokens: int) -> None:
        """Wait until a request of so many tokens may go out."""
        if self._tokens is not None:
            left = float(tokens)
            while left > 0:
                part = min(left, self._tokens.max_rate)
                await self._tokens.acquire(part)
                left -= part
        if self._requests is not None:
            await self._requests.acquire()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` (RFC 9110, 10.2.3: seconds or a date) or `retry-after-ms` asks for; None without.

    >>> retry_after({"retry-after": "2"})
    2.0
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
