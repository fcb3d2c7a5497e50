"""How hard an endpoint is pressed: rate limits, a shared cool-down, calls at a time, back-off. No answer changes."""

from __future__ import annotations

import asyncio
import email.utils
import math
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiolimiter import AsyncLimiter

from harness import spec

LONGEST_WAIT_S = 600.0
"""An endpoint that asks for more than this ends the run instead of stalling it."""
FASTER = 0.25
"""Calls a second that each answer adds to the rate."""
SLOWER = 0.9
"""Share of what an endpoint was seen to bear that it gets after it has refused a call."""
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

    @property
    def on(self) -> bool:
        return self.until > time.monotonic()

    async def over(self) -> None:
        # Others may extend it meanwhile, so one sleep is not enough.
        while (left := self.until - time.monotonic()) > 0:  # noqa: ASYNC110 - waits for a clock, not for an event
            await asyncio.sleep(left)


@dataclass(slots=True)
class Window:
    """How many calls an endpoint gets at a time (`size`) and a second (`rate`). No bound until it says that it gets too
    much. Then half of what was open and a little less than what it answered since it last said so, and from there up by
    a step for each answer (additive increase, multiplicative decrease: Chiu & Jain 1989).
    """

    size: float = math.inf
    rate: float = math.inf
    cuts: int = 0
    _answers: int = 0
    _since: float = field(default_factory=time.monotonic)
    _next: float = 0.0
    _idle_since: float = field(default_factory=time.monotonic)
    _open: int = 0
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque[asyncio.Future[None]])

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[None]:
        """Be one of the calls that are open, first come first served."""
        if self._waiting or not self._has_room():
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self._leave()
                elif turn in self._waiting:
                    self._waiting.remove(turn)
                raise
        else:
            self._take()
        try:
            yield
        finally:
            self._leave()

    async def turn(self) -> None:
        """Wait until the rate allows one more call."""
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + 1 / self.rate
        if at > now:
            await asyncio.sleep(at - now)

    def answered(self) -> None:
        """A call was answered well."""
        self._answers += 1
        self.size += 1 / self.size
        self.rate += FASTER
        self._admit()

    def overloaded(self, cuts: int) -> None:
        """A call that was sent after so many `cuts` was refused. Calls that were out together cut once."""
        if cuts != self.cuts:
            return
        self.cuts += 1
        self.size = max(1.0, min(self.size, self._open) / 2)
        now = time.monotonic()
        if self._answers:
            borne = max(FASTER, SLOWER * self._answers / max(1e-3, now - self._since))
            # An endpoint that is closed for a while answers little on average, and still bears more than that.
            least = 0.0 if math.isinf(self.rate) else self.rate / 2
            self.rate = max(least, min(self.rate, borne))
        self._answers, self._since = 0, now

    def _has_room(self) -> bool:
        return self._open + 1 <= self.size

    def _take(self) -> None:
        if not self._open:
            # While nothing was asked, nothing could be answered.
            self._since += time.monotonic() - self._idle_since
        self._open += 1

    def _leave(self) -> None:
        self._open -= 1
        if not self._open:
            self._idle_since = time.monotonic()
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.done():
                self._take()
                turn.set_result(None)


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

    A date counts from the answer's own `Date`, since the clock here may be wrong.

    >>> retry_after({"retry-after": "2"})
    2.0
    >>> retry_after({"retry-after": "Sat, 28 Nov 2026 15:00:09 GMT", "date": "Sat, 28 Nov 2026 15:00:00 GMT"})
    9.0
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
    until, now = _moment(value), _moment(headers.get("date"))
    return None if until is None else max(0.0, until - (time.time() if now is None else now))


def _moment(value: str | None) -> float | None:
    """Seconds since 1970 of a date as HTTP writes it; None without one, or where it is none."""
    try:
        return email.utils.parsedate_to_datetime(value or "").timestamp()
    except (OverflowError, ValueError):
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
