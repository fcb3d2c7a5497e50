"""A small valid spec to spoil, and how to see what `load` says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import Problem, SpecError
from harness.specfile import load

SMALL = """\
name: small
task:
  labels: {yay: good news, nay: bad news}
data:
  source: {kind: packaged, name: sentiment}
"""


def write(folder: Path, text: str | bytes = SMALL) -> Path:
    path = folder / "small.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(folder: Path, text: str | bytes, overrides: Sequence[str] = ()) -> tuple[Problem, ...]:
    """The problems of a spec that must not load."""
    with pytest.raises(SpecError) as caught:
        load(write(folder, text), overrides)
    assert caught.value.problems
    return caught.value.problems


def only(folder: Path, text: str | bytes, overrides: Sequence[str] = ()) -> Problem:
    """The problem of a spec that has exactly one."""
    problems = refused(folder, text, overrides)
    assert len(problems) == 1, problems
    return problems[0]
