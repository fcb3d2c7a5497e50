import re
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from licences import TABLE, installed, packaged, read, table

ROOT = Path(__file__).resolve().parents[2]


def made_up(folder: Path, *lines: str) -> Distribution:
    own = folder / "thing-1.0.dist-info"
    own.mkdir()
    (own / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", "Name: thing", "Version: 1.0", *lines]) + "\n")
    return Distribution.at(own)


def test_everything_installed_may_be_used() -> None:
    found = installed()
    assert len(found) > 100
    assert [(one.name, one.problem) for one in found if one.problem] == []


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        (("License-Expression: MIT OR Apache-2.0",), "MIT OR Apache-2.0"),
        (("Classifier: License :: OSI Approved :: BSD License",), "BSD-3-Clause"),
        (("Classifier: License :: OSI Approved", "License: Apache 2.0"), "Apache-2.0"),
        (
            (
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: BSD License",
            ),
            "MIT AND BSD-3-Clause",
        ),
    ],
)
def test_metadata_is_read_as_spdx(tmp_path: Path, lines: tuple[str, ...], licence: str) -> None:
    found = read(made_up(tmp_path, *lines))
    assert (found.licence, found.problem) == (licence, "")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("License-Expression: GPL-3.0-only",), "'GPL-3.0-only' is not among the allowed"),
        (("License-Expression: MIT AND (AGPL-3.0-only OR BSD-3-Clause)",), "'AGPL-3.0-only' is not among"),
        (("Classifier: License :: OSI Approved :: GNU General Public License (GPL)",), "is not among"),
        ((), "says no licence"),
    ],
)
def test_a_licence_that_is_missing_or_not_allowed_is_a_problem(
    tmp_path: Path, lines: tuple[str, ...], problem: str
) -> None:
    assert problem in read(made_up(tmp_path, *lines)).problem


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="the table lists what Linux with 3.11 installs"
)
def test_the_table_is_up_to_date() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(installed(), packaged()), "run scripts/audit --offline"


def test_what_is_read_by_hand_says_nothing_itself() -> None:
    assert "License-Expression" not in distribution("skops").metadata


@pytest.mark.parametrize("name", ["lock.txt", "torch.txt", "no-deps.txt", "audit.txt"])
def test_every_requirement_is_pinned_with_a_checksum(name: str) -> None:
    text = re.sub(r"\\\n", " ", (ROOT / "requirements" / name).read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    assert [line[:60] for line in lines if "==" not in line.split("--hash")[0] or "--hash=sha256:" not in line] == []
