"""Run as: scripts/bench NAME [options]. A new benchmark is a module and a line in `TABLE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from benchmarks import (
    collapse,
    duplicates,
    engine,
    failuremodes,
    generation,
    generative,
    lead,
    overhead,
    scale,
    statistics,
    training,
)

TABLE: dict[str, ModuleType] = {
    "training": training,
    "generative": generative,
    "generation": generation,
    "overhead": overhead,
    "statistics": statistics,
    "collapse": collapse,
    "lead": lead,
    "failure-modes": failuremodes,
    "scale": scale,
    "duplicates": duplicates,
    "engine": engine,
}


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="scripts/bench", description="Measure how fast the harness is here.")
    names = whole.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in TABLE.items():
        about = str(module.__doc__)
        one = names.add_parser(name, help=about.partition("\n")[0], description=about.partition("\n")[0])
        module.add_options(one)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return TABLE[options.name].run(options)


if __name__ == "__main__":
    sys.exit(main())
