"""The guards that `scripts/faults --guards` breaks: their places are there, and a test that misses nothing shows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from faultlist import guards
from faultlist.guardlist import GUARDS
from faultlist.guards import Guard, broken, measure
from faultlist.trial import ROOT

TERMINAL = next(guard for guard in GUARDS if guard.file == "harness/plaintext.py")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.about)
def test_each_guard_stands_once_in_its_file_and_its_tests_are_there(guard: Guard) -> None:
    text = (ROOT / guard.file).read_text(encoding="utf-8")
    assert broken(text, guard) != text
    file, _, names = guard.test.partition("::")
    defined = re.findall(r"^def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"), flags=re.MULTILINE)
    for name in re.split(r" (?:or|and) ", names):
        assert name.startswith("numbers") or any(name in one for one in defined), name


def test_a_guard_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="stands there 0 times"):
        broken("other text", TERMINAL)


def test_a_test_that_does_not_miss_its_guard_is_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless = replace(TERMINAL, about="nothing", new=f"{TERMINAL.old}  # as before")
    assert measure([TERMINAL, harmless], tmp_path / "guards.md") == 1
    table = (tmp_path / "guards.md").read_text(encoding="utf-8")
    assert "`test_markup_and_control_characters_are_shown_and_not_obeyed` |" in table
    assert table.count("**none**") == 1
    assert "1 of 2 guards proved" in table
    assert "nothing: NOT CAUGHT" in capsys.readouterr().out


def test_tests_that_fail_with_their_guard_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "tests", lambda folder, guard: (guards.FAILED, ("test_a",)))
    with pytest.raises(SystemExit, match="fails as it is: test_a"):
        measure([TERMINAL], tmp_path / "guards.md")
