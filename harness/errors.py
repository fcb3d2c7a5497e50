"""What can go wrong, as types. Every message says what was wrong, where, what is allowed and what to do next.

The command line turns a `HarnessError` into one paragraph and exit code 2 and lets everything else
through as a traceback, so a traceback always means a defect of the harness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class HarnessError(Exception):
    """Base of every error that a user can mend."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a spec: `where` is a dotted key, `line` a 1-based line of the file."""

    where: str
    message: str
    line: int | None = None

    def render(self, file: str) -> str:
        """`my.yaml:12: llm.generator.styel: unknown key …`"""
        place = file if self.line is None else f"{file}:{self.line}"
        return f"{place}: {self.where}: {self.message}" if self.where else f"{place}: {self.message}"


class SpecError(HarnessError):
    """A YAML file that cannot be run; carries all of its problems at once."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.render(file) for problem in self.problems))


class DataError(HarnessError):
    """Real data that cannot be used: a missing column, an unknown label, too few rows."""


class LeakageError(HarnessError):
    """Held-out text or a held-out report was about to go where it must not."""


class BudgetError(HarnessError):
    """The next call would exceed the budget in calls, tokens, money or minutes."""


class EndpointError(HarnessError):
    """An LLM endpoint that is down, refuses the key, lacks the model or speaks another protocol."""


class ClusterError(HarnessError):
    """A Ray cluster that is not there, lacks what a run needs, or whose nodes do not see the same store and code."""


class StoreError(HarnessError):
    """An artefact that is missing, damaged or cannot be written (disk full, read-only folder)."""


class MissingPackageError(HarnessError):
    """A package or packaged file that this machine lacks; the message says how to get it."""
