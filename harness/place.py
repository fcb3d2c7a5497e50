"""The choice of where a suite's runs go on. Needs the standard library only, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from harness.errors import HarnessError

Engine = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a suite's runs go on: in processes of this machine, or as tasks on Ray (`harness.rayengine`). `address` is
    a running cluster's HOST:PORT; without it a Ray is started here for as long as the suite runs.

    Raises `HarnessError` for an engine that there is not, and for an address without Ray.
    """

    engine: Engine = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in get_args(Engine):
            raise HarnessError(f"engine {self.engine!r} is unknown; there are {', '.join(get_args(Engine))}.")
        if self.address is not None and self.engine != "ray":
            raise HarnessError(
                f"address {self.address!r} is that of a Ray cluster, but the engine is {self.engine!r}: add "
                '`--engine ray` (in Python `engine="ray"`), or leave the address out.'
            )
