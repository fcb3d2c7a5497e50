"""A client of the harness in a process of its own: `python -m faultlist.asker JSON` asks calls and prints what came of
them as JSON. `ask` starts it and waits, `start` only starts it."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultlist.trial import KEY_VARIABLE, environment

if TYPE_CHECKING:
    from harness.llm.wire import RoleName

LONGEST_S = 300


@dataclass(frozen=True)
class Wish:
    """What to ask: `calls` chat calls (their texts begin at number `first`) of `n` answers each, by the `roles` in
    turn. `scope` is what the budget is counted for."""

    url: str
    store: str
    calls: int
    first: int = 0
    n: int = 1
    roles: Sequence[RoleName] = ("generator",)
    scope: str = "run"
    limits: dict[str, Any] = field(default_factory=dict[str, Any])
    budget: dict[str, Any] = field(default_factory=dict[str, Any])
    tell: bool = True
    """Whether the answers themselves are told."""
    warm: bool = False
    """Ask the first call beforehand, so that loading libraries counts neither as time nor as memory."""


@dataclass
class Told:
    """`answers`: key → [text, finish reason] of each choice."""

    answers: dict[str, list[list[str]]]
    failures: dict[str, str]
    cached: int
    spent: dict[str, float]
    error: str
    seconds: float
    grown_mb: float


def ask(wish: Wish, tenant: str = "asker", **more: str) -> Told:
    """Ask in another process; `more` are variables of its environment."""
    return told_by(start(wish, tenant, **more))


def start(wish: Wish, tenant: str = "asker", **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "faultlist.asker", json.dumps(asdict(wish))]
    variables = environment(**{KEY_VARIABLE: tenant, **more})
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told_by(process: subprocess.Popen[str]) -> Told:
    """What a client that was started says in the end. Raises `SystemExit` where it fails."""
    try:
        said, wrong = process.communicate(timeout=LONGEST_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise SystemExit(f"scripts/faults: a client ended with exit code {process.returncode}:\n{wrong[-3000:]}")
    return Told(**json.loads(said))


def answered(wish: Wish) -> Told:
    from harness import spec
    from harness.errors import HarnessError
    from harness.llm.client import Answer, CallFailure, Outcome, Request, open_client

    place = spec.Endpoint(
        base_url=wish.url, model="model-a", api_key_env=KEY_VARIABLE, price=spec.Price(input=1, output=2)
    )
    limits = spec.Limits.model_validate(wish.limits)
    settings = spec.Spec.model_construct(
        llm=spec.Llm(generator=place, judge=place),
        runtime=spec.Runtime(limits=dict.fromkeys(wish.roles, limits)),
        budget=spec.Budget.model_validate(wish.budget),
    )
    requests = [
        Request(wish.roles[number % len(wish.roles)], (("user", f"Write question {number}."),), 0.9, 40, n=wish.n)
        for number in range(wish.first, wish.first + wish.calls)
    ]
    told = Told({}, {}, 0, {}, "", 0.0, 0.0)

    def note(outcome: Outcome) -> None:
        if isinstance(outcome, CallFailure):
            told.failures[outcome.key] = outcome.reason
            return
        told.cached += outcome.cost.cached
        if wish.tell:
            told.answers[outcome.key] = [[choice.text, choice.finish_reason] for choice in outcome.choices]

    with open_client(settings, Path(wish.store), scope=wish.scope) as client:
        if wish.warm:
            asyncio.run(client.ask_many(requests[:1]))
        before, began = _peak_mb(), time.monotonic()
        try:
            for outcome in asyncio.run(client.ask_many(requests)):
                assert isinstance(outcome, Answer | CallFailure)
                note(outcome)
        except HarnessError as error:
            told.error = f"{type(error).__name__}: {error}"
        told.seconds = time.monotonic() - began
        told.grown_mb = _peak_mb() - before
        told.spent = asdict(client.spent)
    return told


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(asdict(answered(Wish(**json.loads(sys.argv[1]))))))
