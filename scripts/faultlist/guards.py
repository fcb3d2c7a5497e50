"""What each guard is worth: break it in a copy of the project, and its tests have to fail.

A test that passes with its guard and without it would prove nothing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import facts

from faultlist.trial import ROOT, environment

FAILED, PASSED = 1, 0
"""Exit codes of pytest."""
LONGEST_TEST_S = 300
HEAD = """\
# Each guard, broken

Written by `scripts/faults --guards`: in a copy of the project one guard at a time is taken out, as the third column
says, and the tests named beside it run. They passed with the guard; a guard is proved where they fail without it.

| row | guard | broken by | in | tests that failed without it |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Guard:
    """In `file` the text `old`, which stands there once, becomes `new`; `test` is a file and the names to run of it.
    `row` is the fault of the list that it guards against, "" for what is on no row."""

    row: str
    about: str
    file: str
    old: str
    new: str
    test: str


@dataclass(frozen=True)
class Outcome:
    guard: Guard
    failed: tuple[str, ...]

    @property
    def proved(self) -> bool:
        return bool(self.failed)


def copy_of_project(folder: Path) -> Path:
    """The files that git knows, with the changes that are not committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S607
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return folder


def broken(text: str, guard: Guard) -> str:
    """The file's text without the guard. Raises `ValueError` where the place is not found, or more than once."""
    if text.count(guard.old) != 1:
        raise ValueError(f"{guard.file}: {guard.old!r} stands there {text.count(guard.old)} times, not once")
    return text.replace(guard.old, guard.new)


def tests(folder: Path, guard: Guard) -> tuple[int, tuple[str, ...]]:
    """Exit code of the guard's tests in that copy, and the names of those that failed."""
    file, _, names = guard.test.partition("::")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rf", file, "-k", names]
    done = subprocess.run(
        words, cwd=folder, env=environment(PYTHONPATH=str(folder)), capture_output=True, text=True,
        timeout=LONGEST_TEST_S, check=False,
    )  # fmt: skip
    found = re.findall(r"^FAILED \S+?::(\w+)", done.stdout, flags=re.MULTILINE)
    if done.returncode not in (FAILED, PASSED):
        raise SystemExit(f"scripts/faults: pytest ended with {done.returncode} on {guard.test}:\n{done.stdout[-2000:]}")
    return done.returncode, tuple(dict.fromkeys(found))


def outcomes(guards: Sequence[Guard]) -> Iterator[Outcome]:
    """Break one after another. Ends the program where a guard's tests fail while it is in place."""
    with tempfile.TemporaryDirectory(prefix="guards-") as name:
        folder = copy_of_project(Path(name))
        for guard in guards:
            code, failed = tests(folder, guard)
            if code != PASSED:
                raise SystemExit(f"scripts/faults: {guard.test} fails as it is: {', '.join(failed)}")
            path = folder / guard.file
            whole = path.read_text(encoding="utf-8")
            path.write_text(broken(whole, guard), encoding="utf-8")
            try:
                yield Outcome(guard, tests(folder, guard)[1])
            finally:
                path.write_text(whole, encoding="utf-8")


def measure(guards: Sequence[Guard], out: Path) -> int:
    """Try all, print each, write the table. The exit code: 1 where a guard's tests do not miss it."""
    done: list[Outcome] = []
    for one in outcomes(guards):
        done.append(one)
        said = f"caught by {', '.join(one.failed)}" if one.proved else "NOT CAUGHT"
        print(f"{one.guard.row or '-':>3} {one.guard.about}: {said}", flush=True)
    proved = sum(one.proved for one in done)
    lines = [_line(one) for one in done]
    end = f"\n{proved} of {len(done)} guards proved, at {facts.commit()}.\n"
    out.write_text(HEAD + "".join(lines) + end, encoding="utf-8")
    print(f"{proved} of {len(done)} guards proved; table: {out}")
    return int(proved < len(done))


def _line(one: Outcome) -> str:
    how = f"{_code(one.guard.old)} → {_code(one.guard.new)}"
    failed = ", ".join(f"`{name}`" for name in one.failed) or "**none**"
    return f"| {one.guard.row} | {one.guard.about} | {how} | `{one.guard.file}` | {failed} |\n"


def _code(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|")
    return f"`{flat}`" if flat else "nothing"
