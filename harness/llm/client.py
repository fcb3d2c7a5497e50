"""Calls to LLM endpoints: cached, retried, paced and within the budget. Stages take the protocol `Llm`.

The embedded LLM and a paid one are called through the same code. `ask_many` may be used from several event loops, one
after another: connections live as long as the outermost `ask_many`, rate limits as long as the loop, cool-downs and
what is known of an endpoint's health as long as the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from harness import spec
from harness.errors import BudgetError, EndpointError
from harness.llm.batch import Batch
from harness.llm.budget import Budget, Reservation
from harness.llm.cache import CALLS_FILE, CallCache, Entry
from harness.llm.draining import Draining
from harness.llm.embedded import MODEL, SLOTS, Address, EmbeddedServer
from harness.llm.endpoint import Connections, address_of
from harness.llm.faults import Fault
from harness.llm.lane import Health, Lane
from harness.llm.pacing import Backoff, Rate
from harness.llm.wire import (
    Answer,
    CallFailure,
    Choice,
    Reply,
    Request,
    RoleName,
    material,
    prompt_estimate,
    public_url,
    usage_of,
)
from harness.llm.worktime import worktime
from harness.llm.writes import Writes
from harness.locks import claimed
from harness.records import Cost
from harness.store import LOCKS, digest

__all__ = [
    "Answer", "CallFailure", "Choice", "Client", "Llm", "OnDone", "OnEach", "Outcome", "Request", "StreamingLlm",
    "open_client",
]  # fmt: skip

Outcome = Answer | CallFailure
KEYS = 1024
"""Requests whose keys are remembered, with their prompts: a small wave needs each of its keys three times."""
OnDone = Callable[[Outcome], None]
OnEach = Callable[[int, Outcome], None]
"""Is told a request's place and its outcome."""


class Llm(Protocol):
    """What stages take; unit tests pass a fake."""

    def key(self, request: Request) -> str: ...

    async def ask_many(self, requests: Sequence[Request], on_done: OnDone | None = None) -> list[Outcome]: ...


class StreamingLlm(Llm, Protocol):
    """What generation takes, whose answers are too many to be in memory at once."""

    async def ask_each(self, requests: Sequence[Request], on_each: OnEach) -> None: ...


async def in_order(llm: StreamingLlm, requests: Sequence[Request], on_done: OnDone | None = None) -> list[Outcome]:
    """`ask_many` by means of `ask_each`."""
    outcomes: dict[int, Outcome] = {}

    def keep(place: int, outcome: Outcome) -> None:
        outcomes[place] = outcome
        if on_done:
            on_done(outcome)

    await llm.ask_each(requests, keep)
    return [outcomes[place] for place in range(len(requests))]


class Server(Protocol):
    """What answers for `base_url: embedded`; starts at the first `address()`."""

    @property
    def identity(self) -> Mapping[str, str]: ...

    def address(self) -> Address: ...


@dataclass(slots=True)
class _Session:
    """What is bound to one event loop. `settled` is set, and replaced, whenever a call in flight ends."""

    loop: asyncio.AbstractEventLoop
    writes: Writes
    users: int = 0
    lanes: dict[RoleName, Lane] = field(default_factory=dict[RoleName, Lane])
    connections: Connections = field(default_factory=Connections)
    embedded_slot: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    draining: Draining = field(init=False)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.draining = Draining(self.loop)


class Client:
    """Implements `Llm` over the endpoints of a spec; use `open_client` unless the parts are needed singly.

    Of several processes that share a cache and need the same call one asks it; the others wait for its answer.
    """

    def __init__(
        self,
        llm: spec.Llm,
        limits: Mapping[RoleName, spec.Limits],
        cache: CallCache,
        budget: Budget,
        server: Server,
        *,
        scope: str,
        backoff: Backoff | None = None,
    ) -> None:
        self._llm = llm
        self._limits = limits
        self._cache = cache
        self._budget = budget
        self._server = server
        self._scope = scope
        self._backoff = backoff or Backoff()
        self._health: dict[str, Health] = {}
        self._session: _Session | None = None
        self._counted: set[str] = set()
        self._used = Cost()
        self._remembered = lru_cache(KEYS)(self._key)

    @property
    def spent(self) -> Cost:
        """What this run has spent, earlier processes included."""
        return self._budget.spent

    def first_spent(self, point: str) -> Cost:
        """What this run had spent when it first came to this point, so that a resumed run tells costs by round as one
        that was never stopped does."""
        return self._cache.first_spent(self._scope, point)

    @property
    def used(self) -> Cost:
        """What the answers that `use` was told of cost, each once, whoever paid for them."""
        return self._used

    def use(self, keys: Iterable[str]) -> None:
        """The run stands on the answers with these keys, whether it asked for them or found what was made of them.

        A call without an answer counts for nothing.
        """
        for key in keys:
            stored = None if key in self._counted else self._cache.answer_of(key)
            if stored is not None:
                self._counted.add(key)
                self._used += Cost(1, 0, 0, stored["prompt_tokens"], stored["completion_tokens"], stored["usd"])

    def key(self, request: Request) -> str:
        """64 hex digits that stand for everything that can change the answer. Raises `MissingPackageError`."""
        # A schema is a dictionary, which cannot be looked up by.
        return self._remembered(request) if request.json_schema is None else self._key(request)

    def _key(self, request: Request) -> str:
        return digest(self._material(request))

    async def ask_many(self, requests: Sequence[Request], on_done: OnDone | None = None) -> list[Outcome]:
        """Outcomes in the order of the requests; `on_done` sees each as soon as it is there.

        Equal requests are asked once. A call that fails for good is a `CallFailure` in the list.

        Raises:
            BudgetError: the next call could exceed a limit. Calls in flight were awaited, their answers are cached.
            EndpointError: the endpoint cannot be used at all; the message says what to do. Answers are kept, too.
            KeyboardInterrupt: Ctrl-C or SIGTERM; calls in flight were awaited, as above. A second Ctrl-C does not wait.
        """
        return await in_order(self, requests, on_done)

    async def ask_each(self, requests: Sequence[Request], on_each: OnEach) -> None:
        """`ask_many` that keeps no outcome: `on_each` sees each with its request's place, as soon as it is there.

        Requests are looked up by place when their turn comes, so they may be made, or read, only then.
        """
        places: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault(self.key(request), []).append(place)
        missing: list[str] = []
        known: list[int] = []
        for key, where in places.items():
            stored = self._cache.answer_of(key)
            if stored is None:
                missing.append(key)
                continue
            known.append(where[0])
            for place in where:
                on_each(place, _from_cache(key, stored))
        if missing and known:
            # What fails for its prompt is asked first when a run goes on, and would look like the endpoint's fault.
            self._health_of(requests[known[0]].role).answers += len(known)
        batch = Batch()

        async def ask(key: str) -> None:
            first, *copies = places[key]
            outcome = await self._ask(batch, key, requests[first])
            on_each(first, outcome)
            for place in copies:
                on_each(place, _copy_of(outcome))

        if missing:
            async with self._connected(batch):
                await batch.run(self._workers(batch, [(key, requests[places[key][0]].role) for key in missing], ask))

    def _workers(
        self, batch: Batch, missing: Sequence[tuple[str, RoleName]], ask: Callable[[str], Awaitable[None]]
    ) -> list[Coroutine[Any, Any, None]]:
        """For each role as many as it may have calls in flight; they share its calls. A task for each call would be
        thousands that wait for a slot."""
        queues: dict[RoleName, list[str]] = {}
        for key, role in missing:
            queues.setdefault(role, []).append(key)
        found: list[Coroutine[Any, Any, None]] = []
        for role, keys in queues.items():
            shared = iter(keys)
            found += [batch.work(shared, ask) for _ in range(min(len(keys), self._width(role)))]
        return found

    def _width(self, role: RoleName) -> int:
        """Calls in flight. One at a time for the embedded LLM: only then do its answers repeat."""
        return 1 if self._embedded(role) else (self._limits.get(role) or spec.Limits()).concurrency

    async def _ask(self, batch: Batch, key: str, request: Request) -> Outcome:
        """One logical call, once a slot is free."""
        self._check(request)
        lane = self._lane(request.role)
        async with lane.slot:
            with batch.stopped_by_error():
                return await self._call(batch, lane, key, request)

    async def _call(self, batch: Batch, lane: Lane, key: str, request: Request) -> Outcome:
        """Room in the budget, attempts, then the cache; the answer is on disk before anybody sees it."""
        prompt, completion = prompt_estimate(request), request.n * request.max_tokens
        reservation = await self._reserve(prompt + completion, _usd(lane.endpoint.price, prompt, completion))
        cost = Cost()
        try:
            async with claimed(self._cache.path.parent / LOCKS / f"call-{key[:32]}.lock"):
                stored = self._cache.answer_of(key)
                if stored is not None:
                    # Another process has asked it since.
                    return _from_cache(key, stored)
                reply = await lane.answer(batch, key, request)
                cost = self._cost(request, reply)
                with batch.unstopped():
                    await self._here().writes.put(Entry(key, self._material(request), _to_cache(reply, cost), cost))
            return Answer(key, reply.choices, cost)
        except Fault as fault:
            cost = Cost(failed=1)
            self._cache.spend(self._scope, cost)
            return CallFailure(key, fault.message, cost)
        finally:
            self._budget.settle(reservation, cost)
            self._wake()

    def _check(self, request: Request) -> None:
        """Raise `EndpointError` for what the embedded LLM cannot do."""
        if not self._embedded(request.role):
            return
        model = self._endpoint(request.role).model
        if model != MODEL:
            raise EndpointError(
                f"llm.{request.role}.model: the embedded LLM is {MODEL!r}, not {model!r}. Remove the key, or set "
                f"`llm.{request.role}.base_url` to an endpoint that has {model!r}."
            )
        if request.n > SLOTS:
            raise EndpointError(
                f"the embedded LLM gives at most {SLOTS} answers per call, {request.n} were asked for. Set "
                f"`generate.samples_per_call` to {SLOTS} or less."
            )

    def _endpoint(self, role: RoleName) -> spec.Endpoint:
        return getattr(self._llm, role)

    def _embedded(self, role: RoleName) -> bool:
        return self._endpoint(role).base_url == "embedded"

    def _material(self, request: Request) -> dict[str, Any]:
        endpoint = self._endpoint(request.role)
        embedded = self._embedded(request.role)
        identity = dict(self._server.identity) if embedded else {"base_url": public_url(endpoint.base_url)}
        return material(request, {**identity, "model": endpoint.model})

    async def _address(self, role: RoleName) -> Address:
        if self._embedded(role):
            return await asyncio.to_thread(self._server.address)
        return address_of(role, self._endpoint(role))

    def _lane(self, role: RoleName) -> Lane:
        session = self._here()
        if role not in session.lanes:
            endpoint, limits = self._endpoint(role), self._limits.get(role) or spec.Limits()
            # The embedded LLM's one call at a time is so over all roles.
            slot = session.embedded_slot if self._embedded(role) else asyncio.Semaphore(self._width(role))
            session.lanes[role] = Lane(
                role,
                endpoint,
                limits,
                slot,
                Rate(limits),
                self._health_of(role),
                session.connections,
                lambda: self._address(role),
                self._backoff,
            )
        return session.lanes[role]

    def _health_of(self, role: RoleName) -> Health:
        return self._health.setdefault(self._endpoint(role).base_url, Health())

    def _here(self) -> _Session:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.loop is not loop:
            self._session = _Session(loop, Writes(self._cache, self._scope))
        return self._session

    @asynccontextmanager
    async def _connected(self, batch: Batch) -> AsyncGenerator[None]:
        session = self._here()
        session.users += 1
        try:
            with session.draining.of(batch):
                yield
        finally:
            session.users -= 1
            if not session.users:
                await session.connections.close()

    def _cost(self, request: Request, reply: Reply) -> Cost:
        prompt, completion = usage_of(request, reply, embedded=self._embedded(request.role))
        usd = _usd(self._endpoint(request.role).price, prompt, completion)
        return Cost(calls=1, prompt_tokens=prompt, completion_tokens=completion, usd=usd)

    async def _reserve(self, tokens: int, usd: float) -> Reservation:
        """Room for one call; while calls in flight hold more than they will take, wait for them to end."""
        while True:
            try:
                return self._budget.reserve(tokens, usd, lambda: self._cache.spent(self._scope))
            except BudgetError:
                if not self._budget.in_flight:
                    raise
            await self._here().settled.wait()

    def _wake(self) -> None:
        session = self._here()
        session.settled.set()
        session.settled = asyncio.Event()


@contextmanager
def open_client(settings: spec.Spec, store_root: Path, *, scope: str | None = None) -> Generator[Client]:
    """A client over `<store_root>/calls.sqlite`. The embedded LLM starts at the first call that misses the cache.

    `scope` names what the budget is counted for (a run's id); without it, the spec without `budget` and `runtime`.
    """
    if scope is None:
        scope = f"spec-{digest(settings.model_dump(mode='json', exclude={'budget', 'runtime'}))[:16]}"
    server = EmbeddedServer(store_root / "llm.log", settings.runtime.llm_threads)
    try:
        with CallCache(store_root / CALLS_FILE) as cache, worktime(cache, scope) as worked:
            budget = Budget(settings.budget, cache.spent(scope), worked)
            yield Client(settings.llm, settings.runtime.limits, cache, budget, server, scope=scope)
    finally:
        server.close()


def _usd(price: spec.Price, prompt_tokens: int, completion_tokens: int) -> float:
    return (prompt_tokens * price.input + completion_tokens * price.output) / 1_000_000


def _to_cache(reply: Reply, cost: Cost) -> dict[str, Any]:
    return {
        "choices": [[choice.text, choice.finish_reason] for choice in reply.choices],
        "model": reply.model,
        "prompt_tokens": cost.prompt_tokens,
        "completion_tokens": cost.completion_tokens,
        "usd": cost.usd,
    }


def _from_cache(key: str, stored: Mapping[str, Any]) -> Answer:
    return Answer(key, tuple(Choice(text, reason) for text, reason in stored["choices"]), Cost(cached=1))


def _copy_of(outcome: Outcome) -> Outcome:
    """The outcome for a request that equals one just asked."""
    if isinstance(outcome, Answer):
        return Answer(outcome.key, outcome.choices, Cost(cached=1))
    return CallFailure(outcome.key, outcome.reason, Cost(failed=1))
