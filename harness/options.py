"""Arguments that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import HarnessError
from harness.plaintext import printable

File = Annotated[Path, typer.Argument(help="The experiment's YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key, e.g. `--set seed=3`. May be given again.")
]

StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the store (`runtime.store` of the runs).")]
DEFAULT_STORE = Path("runs")


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


def positive_numbers(option: str, text: str) -> list[int]:
    """The numbers of an option such as `--sizes 1000,1000000`. Raises `HarnessError` for anything else."""
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if re.fullmatch("[1-9][0-9]{0,11}", part)]
    if len(numbers) != len(parts):
        raise HarnessError(
            f"{option} {text[:100]!r}: give whole numbers from 1 to 999,999,999,999, without blanks or dots and "
            "with commas between them, e.g. 100000,1000000."
        )
    return numbers


LONGEST_REASON = 300


def reason_given(text: str | None) -> str:
    """The reason for a further look at test items on one line, "" where none is asked for. Raises `HarnessError`."""
    reason = " ".join(printable(text or "").split())
    if text is not None and not 0 < len(reason) <= LONGEST_REASON:
        raise HarnessError(
            f"--reopen-test {reason[:100]!r}: say in 1 to {LONGEST_REASON} characters why these test items have to be "
            'looked at again, e.g. --reopen-test "comparison of three filters, all decided beforehand".'
        )
    return reason
