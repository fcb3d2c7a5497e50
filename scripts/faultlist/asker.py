"""A client of the harness in a process of its own: `python -m faultlist.asker JSON` asks calls and prints what came of
them as JSON. `ask` starts it."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from faultlist.trial import KEY_VARIABLE, environment

LONGEST_S = 300


@dataclass(frozen=True)
class Wish:
    """What to ask: `calls` chat calls (their texts begin at number `first`) of `n` answers each."""

    url: str
    store: str
    calls: int
    first: int = 0
    n: int = 1
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


def ask(wish: Wish, tenant: str = "asker") -> Told:
    command = [sys.executable, "-m", "faultlist.asker", json.dumps(asdict(wish))]
    done = subprocess.run(
        command,
        env=environment(**{KEY_VARIABLE: tenant}),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"scripts/faults: a client ended with exit code {done.returncode}:\n{done.stderr[-3000:]}")
    return Told(**json.loads(done.stdout))


def answered(wish: Wish) -> Told:
    from harness import spec
    from harness.errors import HarnessError
    from harness.llm.client import Answer, CallFailure, Outcome, Request, open_client

    place = spec.Endpoint(
        base_url=wish.url, model="model-a", api_key_env=KEY_VARIABLE, price=spec.Price(input=1, output=2)
    )
    limits = spec.Limits.model_validate(wish.limits)
    settings = spec.Spec.model_construct(
        llm=spec.Llm(generator=place),
        runtime=spec.Runtime(limits={"generator": limits}),
        budget=spec.Budget.model_validate(wish.budget),
    )
    requests = [
        Request("generator", (("user", f"Write question {number}."),), 0.9, 40, n=wish.n)
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

    with open_client(settings, Path(wish.store), scope="run") as client:
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
