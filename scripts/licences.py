"""Licences of everything that is installed or loaded, checked against those that this project can be used under.

Run as `scripts/audit`. Each installed distribution says its licence in its metadata (`License-Expression`, else
classifiers, else `License`); what it says is read as SPDX ids, each of which has to stand in `ALLOWED`. Data and models
are those of the catalogue. The table goes to `requirements/licences.md`.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "requirements" / "licences.md"

ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "ISC",
        "LLVM-exception",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Zlib",
    }
)
"""Permissive licences, and MPL-2.0, whose copyleft ends at the file."""

WORDS: Mapping[str, str] = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""What metadata says in words instead of SPDX ids."""

READ_BY_HAND: Mapping[str, str] = {"huey": "MIT", "skops": "MIT"}
"""Distributions whose metadata names no licence, as the LICENSE file in them has it."""

NO_LICENCE = ("OSI Approved", "DFSG approved")
"""Classifiers that name none."""
JOINED = re.compile(r"\s+(?:AND|OR|WITH)\s+|[()]")


@dataclass(frozen=True, slots=True)
class Licensed:
    """A distribution or a packaged data set or model, and its licence as SPDX ids where it could be read."""

    name: str
    version: str
    licence: str
    problem: str = ""


def read(distribution: Distribution) -> Licensed:
    """The licence of an installed distribution; a `problem` where there is none or one that is not allowed."""
    name, version = distribution.metadata["Name"], distribution.version
    said = READ_BY_HAND.get(name.lower()) or _said(distribution)
    if not said:
        return Licensed(name, version, "", "says no licence: read its LICENSE file and put it into READ_BY_HAND")
    ids = [part.strip() for part in JOINED.split(said) if part.strip()]
    wrong = sorted(set(ids) - ALLOWED)
    problem = f"{', '.join(map(repr, wrong))} is not among the allowed {', '.join(sorted(ALLOWED))}" if wrong else ""
    return Licensed(name, version, said, problem)


def _said(distribution: Distribution) -> str:
    """As an SPDX expression: several classifiers are joined with AND, the stricter reading."""
    metadata = distribution.metadata
    expression = metadata.get("License-Expression", "")
    if expression:
        return expression
    heads = [one.split(" :: ") for one in metadata.get_all("Classifier") or [] if one.startswith("License ::")]
    named = [parts[-1] for parts in heads if parts[-1] not in NO_LICENCE]
    lines = [line.strip() for line in metadata.get("License", "").splitlines() if line.strip()]
    return " AND ".join(WORDS.get(one.lower(), one) for one in (named or lines[:1]))


def packaged() -> Iterator[Licensed]:
    """Data and models of the catalogue, as it states their licences: of the content, not of the wheel."""
    from harness.catalogue import CATALOGUE

    for one in CATALOGUE.values():
        yield Licensed(one.name, f"{one.package} {one.version}", one.licence)


def installed() -> list[Licensed]:
    """All distributions of this Python but the project itself and pip, which comes with Python, by name."""
    # Not all of sys.path: a library that was imported may have put its own copies of others there.
    found = {one.metadata["Name"].lower(): one for one in distributions(path=[sysconfig.get_path("purelib")])}
    for name in ("synthetic-data-harness", "pip"):
        found.pop(name, None)
    return [read(found[name]) for name in sorted(found)]


def table(libraries: Iterable[Licensed], contents: Iterable[Licensed]) -> str:
    """The markdown of `requirements/licences.md`."""
    lines = [
        "# Licences",
        "",
        "Written by `scripts/audit`, which also checks them. Libraries as installed on Linux with Python 3.11.",
        "",
        "| data or model | carried by | licence of the content |",
        "|---|---|---|",
        *(f"| {one.name} | {one.version} | {one.licence} |" for one in contents),
        "",
        "| library | version | licence |",
        "|---|---|---|",
        *(f"| {one.name} | {one.version} | {one.licence} |" for one in libraries),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    libraries = installed()
    TABLE.write_text(table(libraries, packaged()), encoding="utf-8")
    problems = [one for one in libraries if one.problem]
    for one in problems:
        print(f"licences: {one.name} {one.version}: {one.problem}", file=sys.stderr)
    print(f"licences: {len(libraries)} libraries, {len(problems)} with a problem; {TABLE.relative_to(ROOT)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
