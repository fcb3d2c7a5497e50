"""What may stand in a suite's YAML file: one base, a table of explicit overrides, seeds. Data only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue

from harness.spec import ArmName
from harness.taskspec import Section

BASE = "base"
"""The variant that every other one is compared with: the base's own spec."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._=,+-]{0,63}$"

Seed = Annotated[int, Field(ge=0, lt=2**32)]
VariantName = Annotated[str, Field(pattern=NAME)]
Overrides = dict[str, JsonValue]
"""Key → value: dotted keys (`filters.judge.enabled: false`) or nested mappings; a list is replaced as a whole."""


class Suite(Section):
    """Variants of one experiment, to be compared on the same real items."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    """The file's name where it is not given."""
    base: Path
    """The experiment's YAML file, relative to the suite's."""
    set: Overrides = {}
    """Overrides for all variants and the base."""
    variants: dict[VariantName, dict[str, JsonValue]] = {}
    """Name → what differs from the base."""
    grid: dict[str, Annotated[list[JsonValue], Field(min_length=1)]] = {}
    """Dotted key → values; every combination is a variant that is named by them."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    """Each variant runs once under each."""
    arm: ArmName = "mixed"
    """The arm whose scores are compared."""


ALLOWED: dict[str, str] = {
    "name": "a name of at most 64 letters, digits, '.', '_' and '-' that begins with a letter or digit",
    "base": "the path of an experiment's YAML file, relative to this file",
    "set": "`key: value` lines, e.g. `stop.max_rounds: 1`",
    "variants": "`name: {key: value}` lines; a name has at most 64 letters, digits and '._=,+-'",
    "grid": "`key: [value, value]` lines",
    "seeds": "a list of different whole numbers below 2^32, e.g. [0, 1, 2]",
    "arm": "one of 'base', 'seeds', 'synthetic', 'mixed', 'real', 'all_real'",
}
"""What each key takes, in words."""
