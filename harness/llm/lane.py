"""One role's way to its endpoint: how a call is tried again, when it is given up, and when the whole run is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from harness import spec
from harness.llm.batch import Batch
from harness.llm.embedded import Address
from harness.llm.endpoint import Connections
from harness.llm.faults import Explain, Fault, Kind
from harness.llm.pacing import LONGEST_WAIT_S, Backoff, CoolDown, Rate, Window
from harness.llm.wire import Reply, Request, prompt_estimate

MAX_COOL_DOWNS = 20
"""Times that one call follows a Retry-After without using up a retry."""
FORBIDDEN = 403
HOPELESS = 5
"""So many failed calls before the first success end the run."""
TOLERATED = 10
"""Failed calls in a row that may be about their prompts: one for so many answers that the endpoint has given."""
DOWN = 3
"""So many calls in a row that could not connect end the run, even if the endpoint answered before."""


@dataclass(slots=True)
class Health:
    """What is known of one endpoint, over all roles that use it. `answers` are those of earlier processes too."""

    cool_down: CoolDown = field(default_factory=CoolDown)
    window: Window = field(default_factory=Window)
    answers: int = 0
    failed_in_a_row: int = 0
    refused_in_a_row: int = 0

    @property
    def trusted(self) -> bool:
        """Whether a call that fails for good says something of its prompt rather than of the endpoint."""
        return self.answers > 0 and self.failed_in_a_row <= max(HOPELESS, self.answers // TOLERATED)

    def success(self) -> None:
        self.answers += 1
        self.failed_in_a_row = self.refused_in_a_row = 0

    def failure(self, fault: Fault) -> None:
        self.failed_in_a_row += 1
        self.refused_in_a_row = self.refused_in_a_row + 1 if fault.kind is Kind.CONNECTION else 0


@dataclass(slots=True)
class Lane:
    """`slot` bounds the calls in flight; `address` starts the embedded LLM if need be."""

    role: str
    endpoint: spec.Endpoint
    limits: spec.Limits
    slot: asyncio.Semaphore
    rate: Rate
    health: Health
    connections: Connections
    address: Callable[[], Awaitable[Address]]
    backoff: Backoff

    async def answer(self, batch: Batch, key: str, request: Request) -> Reply:
        """Try until there is a reply. Raises the last `Fault`, or `EndpointError` where no call would fare better."""
        kinds: list[Kind] = []
        cool_downs = 0
        while True:
            await self.rate.admit(prompt_estimate(request) + request.n * request.max_tokens)
            try:
                reply = await self._admitted(batch, key, request)
            except Fault as fault:
                kinds.append(fault.kind)
                asked = self._asked_to_wait(fault)
                if asked is not None and cool_downs < MAX_COOL_DOWNS and not batch.stopped:
                    cool_downs += 1
                    self.health.cool_down.extend(asked)
                    continue
                failures = len(kinds) - cool_downs
                if batch.stopped or not fault.retryable or failures > self.limits.max_retries:
                    self._give_up(fault, kinds)
                    raise
                await self._wait(fault, self.backoff.delay(key, failures))
            else:
                self.health.success()
                return reply

    async def _admitted(self, batch: Batch, key: str, request: Request) -> Reply:
        """Send it once the endpoint takes one more call. Who waits for the cool-down counts as open: else all that
        waited would go out together when it ends."""
        window = self.health.window
        async with window.entered():
            await self.health.cool_down.over()
            await window.turn()
            while self.health.cool_down.on:
                await self.health.cool_down.over()
                await window.turn()
            cuts = window.cuts
            try:
                reply = await self._send(batch, key, request)
            except Fault as fault:
                if fault.overloaded:
                    window.overloaded(cuts)
                raise
            window.answered()
            return reply

    async def _send(self, batch: Batch, key: str, request: Request) -> Reply:
        with batch.on_the_wire():
            address = await self.address()
            try:
                return await self.connections.send(address, self.endpoint, request, key, self.limits.timeout_s)
            except Fault as fault:
                # A moderated prompt is forbidden too, where others are answered.
                if not fault.fatal or (fault.status == FORBIDDEN and self.health.trusted):
                    raise
                models = await self.connections.models(address) if fault.wrong_model else None
                raise self._explain.fatal(fault, models) from fault

    async def _wait(self, fault: Fault, seconds: float) -> None:
        if fault.overloaded:
            self.health.cool_down.extend(seconds)
        else:
            await asyncio.sleep(seconds)

    def _asked_to_wait(self, fault: Fault) -> float | None:
        """Seconds of a Retry-After that came with an overload."""
        asked = fault.retry_after if fault.overloaded else None
        if asked is not None and asked > LONGEST_WAIT_S:
            raise self._explain.wait_too_long(asked) from fault
        return asked

    def _give_up(self, fault: Fault, kinds: list[Kind]) -> None:
        """Raise `EndpointError` if this failed call means that the others would fail too."""
        health = self.health
        health.failure(fault)
        if set(kinds) == {Kind.BODY} and not health.trusted:
            raise self._explain.no_protocol(fault, len(kinds)) from fault
        if fault.kind is Kind.CONNECTION and (not health.answers or health.refused_in_a_row >= DOWN):
            raise self._explain.unreachable(fault, len(kinds)) from fault
        if not health.answers and health.failed_in_a_row >= HOPELESS:
            raise self._explain.nothing_works(fault, health.failed_in_a_row) from fault

    @property
    def _explain(self) -> Explain:
        return Explain(self.role, self.endpoint)
