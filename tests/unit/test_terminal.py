"""Progress as lines and bars, tables and trees; and that nothing in the data can steer a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from harness import terminal
from harness.provenance import Node
from harness.terminal import Bars, Lines, print_table, print_tree, watching

EVIL = "[red]x[/red] :smile: \x1b[2J\u202eb\x07"
SHOWN = "[red]x[/red] :smile: \\x1b[2J\\u202eb\\x07"


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=found))
    return found


class Screen(io.StringIO):
    """A terminal that keeps what was written to it."""

    def isatty(self) -> bool:
        return True


def open_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Called by the test itself: pytest puts its own stdout in place after the fixtures."""
    found = Screen()
    monkeypatch.setattr(sys, "stdout", found)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_lines_say_stage_count_rate_and_what_is_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    advance = lines.stage("round 1, wave 0", 40)
    clock.now += 4
    advance(8)
    clock.now += 6
    advance(12)
    clock.now += 1
    advance(1)
    clock.now += 9
    advance(19)
    lines.done("round 1, wave 0")
    assert capsys.readouterr().out.splitlines() == [
        "round 1, wave 0: 0/40",
        "round 1, wave 0: 20/40, 2.0/s, 10 s, 10 s left",
        "round 1, wave 0: 40/40, 2.0/s, 20 s, 0 s left",
        "round 1, wave 0: done, 40/40, 2.0/s, 20 s",
    ]


def test_a_stage_that_ended_early_is_not_called_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.stage("train mixed", 300)(3)
    clock.now += 2
    lines.done("train mixed")
    assert capsys.readouterr().out.splitlines()[-1] == "train mixed: ended, 3/300, 1.5/s, 2 s"


def test_a_stage_of_no_time_divides_by_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.stage("quick", 0)
    lines.done("quick")
    assert capsys.readouterr().out.splitlines() == ["quick: 0/0", "quick: done, 0/0, 0.0/s, 0 s"]


def test_lines_of_two_stages_at_once_keep_their_counts(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    first, second = lines.stage("a", 2), lines.stage("b", 3)
    second(3)
    first(2)
    clock.now += 1
    lines.done("b")
    lines.done("a")
    assert capsys.readouterr().out.splitlines()[2:] == ["b: done, 3/3, 3.0/s, 1 s", "a: done, 2/2, 2.0/s, 1 s"]


def test_notes_and_names_in_lines_are_plain(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.note(EVIL)
    lines.stage(EVIL, 1)
    lines.done(EVIL)
    out = capsys.readouterr().out
    assert out.splitlines()[:2] == [f"note: {SHOWN}", f"{SHOWN}: 0/1"]
    assert "\x1b" not in out


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with watching() as progress:
        assert isinstance(progress, Lines)
        progress.note("mind this")
    assert capsys.readouterr().out == "note: mind this\n"


def test_in_a_terminal_there_are_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = open_screen(monkeypatch)
    with watching() as progress:
        assert isinstance(progress, Bars)
        progress.stage("train mixed", 4)(4)
        progress.done("train mixed")
        progress.done("never begun")
        progress.note("mind this")
    out = screen.getvalue()
    assert "\x1b[" in out
    assert "train mixed" in out
    assert "4/4" in out
    assert "note: mind this" in out


def test_names_and_notes_in_bars_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = open_screen(monkeypatch)
    with watching() as progress:
        progress.stage(EVIL, 1)
        progress.note(EVIL)
    out = screen.getvalue()
    assert out.count(SHOWN) >= 2
    assert "\x1b[2J" not in out
    assert "\u202e" not in out


def test_bars_end_also_when_the_run_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = open_screen(monkeypatch)

    def fail() -> None:
        with watching() as progress:
            progress.stage("train", 2)(1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    # The cursor that the bars hide comes back.
    assert screen.getvalue().rstrip("\n").endswith("\x1b[?25h")


def test_a_table_has_a_title_and_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("seeds", "+1,200", "3 %"), ("mixed", "−2", "12.5%")]
    print_table("A title that is longer than its table is wide, and is not broken", ("arm", "rows", "share"), rows)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "A title that is longer than its table is wide, and is not broken"
    assert [line for line in lines if "seeds" in line or "mixed" in line] == [
        "  seeds   +1,200     3 %",
        "  mixed       −2   12.5%",
    ]


def test_a_table_without_rows_or_heads_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("none", ("arm",), [])
    print_table("notes", ("",), [("one note",)])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line] == ["none", "arm", "─────", "notes", "one note"]


def tree(text: str) -> Node:
    child = Node("split-1", "split", text, link=text, damaged=(text,))
    return Node("run-1", "run", text, facts=((text, f"{text}\nsecond line"),), children=(child,))


@pytest.mark.parametrize("where", ["pipe", "terminal"])
@pytest.mark.parametrize(
    "show",
    [lambda text: print_table(text, (text, text), [(text, 1)]), lambda text: print_tree(tree(text))],
    ids=["table", "tree"],
)
def test_markup_and_control_characters_are_shown_and_not_obeyed(
    show: Callable[[str], None], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = open_screen(monkeypatch) if where == "terminal" else io.StringIO()
    monkeypatch.setattr(sys, "stdout", target)
    show(EVIL)
    out = target.getvalue()
    assert out.count(SHOWN) >= 4
    assert "\x1b[2J" not in out
    assert "\u202e" not in out
    assert "\x07" not in out
    if where == "pipe":
        assert "\x1b" not in out


def test_a_tree_shows_facts_parents_and_damage(capsys: pytest.CaptureFixture[str]) -> None:
    split = Node("split-1", "split", "40 items", link="split", repeated=True)
    dataset = Node("dataset-1", "dataset", "3 rows", link="dataset", children=(split,), damaged=("README.md", "data"))
    print_tree(Node("run-1", "run", "ended well", facts=(("prompt", "first\nsecond"),), children=(dataset,)))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "run-1  ended well",
        "├── prompt: first",
        "│   second",
        "└── dataset: dataset-1  3 rows  damaged: README.md, data",
        "    └── split: split-1  40 items  (shown above)",
    ]
