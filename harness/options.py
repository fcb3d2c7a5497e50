"""Arguments that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import HarnessError

File = Annotated[Path, typer.Argument(help="The experiment's YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key, e.g. `--set seed=3`. May be given again.")
]


def seed_numbers(text: str) -> list[int]:
    """The numbers of `--seeds 0,1,2`. Raises `HarnessError` for anything else, and for a number given twice."""
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if re.fullmatch("[0-9]{1,9}", part)]
    if len(set(numbers)) != len(parts):
        raise HarnessError(
            f"--seeds {text[:100]!r}: give different whole numbers of at most nine digits with commas between them, "
            "e.g. 0,1,2."
        )
    return numbers
