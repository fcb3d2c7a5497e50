import asyncio
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factories import make_spec
from filter_cases import candidate

from harness.generate.made import KeptRows
from harness.generate.produce import Batch, Draw, ask
from harness.lines import Kept
from harness.llm.client import Answer, Choice, OnDone, OnEach, Outcome, Request
from harness.records import Candidate, Cell, Cost, ParseFailure
from harness.store import read_lines

FEW, MANY = 200, 1200
SAMPLES = 8
CELL = Cell("label=ALPHA", {"label": "ALPHA"})


def failure(number: int) -> ParseFailure:
    return ParseFailure(f"syn-f{number}", CELL.id, 1, 0, "call", number, "refusal", "no")


def test_rows_are_written_in_the_order_of_the_calls_whatever_the_order_of_answers(tmp_path: Path) -> None:
    rows = [candidate(number, f"text {number}") for number in range(5)]
    with KeptRows(tmp_path, 4) as made:
        made[2] = Batch(tuple(rows[3:]), ())
        made[0] = Batch(tuple(rows[:2]), (failure(0),))
        assert [place in made for place in range(4)] == [True, False, True, False]
        made[3] = Batch((), (failure(2), failure(1)))
        made[1] = Batch((rows[2],), ())
        made.write(tmp_path / "candidates", tmp_path / "failures")
    assert read_lines(tmp_path / "candidates", Candidate) == rows
    assert read_lines(tmp_path / "failures", ParseFailure) == [failure(0), failure(2), failure(1)]


class Endless:
    """Answers whatever it is asked, and keeps nothing of it."""

    def key(self, request: Request) -> str:
        return f"{request.sample:064x}"

    async def ask_many(self, requests: Sequence[Request], on_done: OnDone | None = None) -> list[Outcome]:
        raise AssertionError("answers of a wave are too many for a list")

    async def ask_each(self, requests: Sequence[Request], on_each: OnEach) -> None:
        for place, request in enumerate(requests):
            choices = tuple(Choice(f"What is the {index}th of {place} ?", "stop") for index in range(request.n))
            on_each(place, Answer(self.key(request), choices, Cost()))


def most_memory(folder: Path, calls: int) -> int:
    """Bytes that a wave of so many calls holds at most, from its prompts to its rows on disk."""
    task: Any = make_spec().task

    async def wave() -> None:
        with Kept(folder, Draw) as draws, KeptRows(folder, calls) as made:
            for place in range(calls):
                request = Request("generator", f"Question {place}: " * 50, 0.9, 40, n=SAMPLES, sample=place)
                draws.append(Draw(CELL, ("real-a", "real-b"), request, ""))
            await ask(draws, Endless(), task, made, round_=1, wave=0)
            made.write(folder / "candidates", folder / "failures")

    tracemalloc.start()
    try:
        asyncio.run(wave())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_prompts_answers_and_rows_of_a_wave_are_never_all_in_memory(tmp_path: Path) -> None:
    most_memory(tmp_path, FEW)  # what is made once, such as codecs
    more = most_memory(tmp_path, MANY) - most_memory(tmp_path, FEW)
    rows = (MANY - FEW) * SAMPLES
    assert len(read_lines(tmp_path / "candidates", Candidate)) == FEW * SAMPLES
    # A prompt alone takes 100 bytes a row here, a row 500.
    assert more / rows < 80
