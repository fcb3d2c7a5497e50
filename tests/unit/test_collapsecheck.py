"""`harness collapse check` on files: what it reads, says, writes and refuses, and its exit codes."""

from __future__ import annotations

import csv
import json
import signal
import sys
import zlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from collapse_cases import unit

from harness import cli, embed
from harness.collapsecheck import CollapseCheck, check
from harness.collapsefiles import read_generation
from harness.collapsewords import advice, check_lines, check_tables
from harness.errors import DataError
from harness.progress import Silent
from harness.store import read_json

TOPICS = 40


class TopicEmbedder:
    """A text's vector is that of its topic, a number in it, and a little of its other words."""

    id = "topics@0"

    def __init__(self, *_: object) -> None:
        self._centres = unit(np.random.default_rng(0).normal(size=(TOPICS, 24)))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self._row(text) for text in texts], dtype=np.float32).reshape(len(texts), 24)

    def _row(self, text: str) -> np.ndarray:
        topic = next((int(word[1:]) for word in text.split() if word[:1] == "t" and word[1:].isdigit()), 0)
        noise = np.random.default_rng(zlib.crc32(text.encode())).normal(size=24)
        row = self._centres[topic % TOPICS] + 0.1 * noise
        return row / np.linalg.norm(row)


def texts(seed: int, count: int = 80, topics: int = TOPICS, lead: str = "what is the") -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{lead} t{rng.integers(topics)} x{rng.integers(10**6)} y{rng.integers(10**6)}" for _ in range(count)]


def write(path: Path, rows: Sequence[str | None], column: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([[column, "n"], *([row or "", 1] for row in rows)])
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({column: list(rows)}), path)
    else:
        path.write_text("".join(json.dumps({column: row}) + "\n" for row in rows), encoding="utf-8")
    return path


def generation_0(folder: Path, batches: int = 8, count: int = 80) -> Path:
    for number in range(batches):
        write(folder / "gen0" / f"batch{number}.jsonl", texts(100 + number, count))
    return folder / "gen0"


def checked(paths: Sequence[Path], anchors: Path | None = None, trained: Path | None = None) -> CollapseCheck:
    return check(paths, anchors=anchors, trained=trained, column="text", embed=TopicEmbedder(), progress=Silent())


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return write(tmp_path / "anchors.csv", texts(999, 60))


def test_batches_of_generation_0_and_files_of_three_kinds(tmp_path: Path, real: Path) -> None:
    later = [write(tmp_path / f"gen{number}{end}", texts(number)) for number, end in enumerate((".csv", ".parquet"), 1)]
    found = checked([generation_0(tmp_path), *later], real)
    assert found.verdict.status == "ok"
    assert (found.verdict.batches, found.verdict.size, found.verdict.anchors) == (8, 80, 60)
    assert found.reference == "anchors"
    assert [(one.name, one.items, one.distinct) for one in found.generations][1:] == [
        ("gen1.csv", 80, 80),
        ("gen2.parquet", 80, 80),
    ]
    assert found.cautions == ()
    assert len(found.profiles) == 3


def test_fewer_topics_alarm_and_the_words_say_what_to_do(tmp_path: Path, real: Path) -> None:
    later = [write(tmp_path / f"gen{number}.jsonl", texts(number, topics=8)) for number in (1, 2, 3)]
    found = checked([generation_0(tmp_path), *later], real)
    assert (found.verdict.status, found.verdict.first_alarm) == ("alarm", 2)
    lines = check_lines(found)
    assert lines[0].startswith("verdict: ALARM since generation 2. ")
    assert "Go back to generation 0" in "\n".join(lines)
    for lever in ("real data", "Accumulate", "Stop training"):
        assert lever in "\n".join(advice(found.verdict))
    courses, explained = check_tables(found)
    assert [row[-1] for row in courses.rows] == ["baseline", "beyond a limit", "alarm", "beyond a limit"]
    assert all(len(row) == len(table.columns) for table in (courses, explained) for row in table.rows)


def test_one_file_is_a_generation_0_of_one_set_and_without_anchors_a_part_is_held_back(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"gen{number}.jsonl", texts(number, 300)) for number in range(3)]
    found = checked(paths)
    assert found.verdict.status == "ok"
    assert (found.reference, found.verdict.batches, found.verdict.size) == ("generation 0", 1, 150)
    assert any("150 texts of generation 0 were held back to stand in for them" in one for one in found.cautions)
    assert any("too few to see how much they vary" in note for note in found.verdict.notes)
    small = checked([write(tmp_path / f"small{number}.jsonl", texts(number, 60)) for number in range(2)])
    assert small.reference == "none"
    assert any("too small to hold back" in one for one in small.cautions)
    assert small.verdict.statistic == "log RKE"


def test_one_generation_is_insufficient(tmp_path: Path, real: Path) -> None:
    found = checked([generation_0(tmp_path)], real)
    assert (found.verdict.status, found.verdict.reason) == (
        "insufficient",
        "There is one generation; collapse can be seen from 2 on.",
    )
    assert check_tables(found)
    assert "Give two or more generations" in "\n".join(check_lines(found))


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        ([], "insufficient", "0 items, and 80 are compared"),
        (["", "  ", None] * 30, "insufficient", "0 items, and 80 are compared"),
        (texts(1, 9), "insufficient", "9 items, and 80 are compared"),
        (texts(1, 50), "ok", "50 texts compared"),
        (["the same t3 every time"] * 80, "warn", "log RKE is"),
        (texts(1, lead="was ist die und wo ist der"), "insufficient", "its texts are Latin, German and generation 0's"),
        (["т1 что это такое и где оно"] * 80, "insufficient", "its texts are Cyrillic and generation 0's are Latin"),
        (texts(1, lead="what is the " * 20), "ok", "median text has 63 words and generation 0's 6"),
        (texts(100), "ok", "80 of 80 texts of generation 1 stand in an earlier one already"),
    ],
)
def test_awkward_generations_have_a_status_and_a_reason(
    tmp_path: Path, real: Path, rows: Sequence[str | None], status: str, said: str
) -> None:
    found = checked([generation_0(tmp_path), write(tmp_path / "gen1.jsonl", rows)], real)
    tables = check_tables(found)
    words = " ".join([*check_lines(found), tables[0].title, *(" ".join(row) for row in tables[0].rows)])
    assert found.verdict.status == status
    assert said in words
    assert "nan" not in words.lower().split()


def test_identical_texts_from_the_start_are_insufficient(tmp_path: Path, real: Path) -> None:
    for number in range(8):
        write(tmp_path / "gen0" / f"{number}.jsonl", ["the t1 is it"] * 60)
    found = checked([tmp_path / "gen0", write(tmp_path / "gen1.jsonl", ["the t1 is it"] * 60)], real)
    assert found.verdict.status == "insufficient"
    assert "the batches of generation 0 do not differ" in found.verdict.reason


def test_anchors_that_stand_elsewhere_are_left_out_and_counted(tmp_path: Path) -> None:
    sound = texts(999, 60)
    trained = write(tmp_path / "trained.jsonl", [text.upper() for text in sound[:10]])
    later = write(tmp_path / "gen1.jsonl", [*sound[10:15], *texts(1, 75)])
    anchors = write(tmp_path / "anchors.jsonl", [*sound, sound[0], ""])
    found = checked([generation_0(tmp_path), later], anchors, trained)
    assert found.verdict.anchors == 45
    assert found.verdict.left_out == ()
    said = " ".join(found.cautions)
    assert "1 anchors stand more than once" in said
    assert "15 of 60 anchors stand verbatim elsewhere (10 in the training texts, 5 in generation 1)" in said
    all_of_them = checked([generation_0(tmp_path), write(tmp_path / "gen2.jsonl", texts(999, 80))], anchors)
    assert all_of_them.reference == "none"
    assert "nnR is not judged: there are no anchors." in all_of_them.verdict.notes


def test_anchors_of_another_language_are_left_out(tmp_path: Path) -> None:
    anchors = write(tmp_path / "anchors.jsonl", texts(999, 60, lead="was ist die und wo ist der"))
    found = checked([generation_0(tmp_path), write(tmp_path / "gen1.jsonl", texts(1))], anchors)
    assert found.reference == "none"
    assert any("The anchors are Latin, German and generation 0 is Latin, English" in one for one in found.cautions)


def test_few_files_of_generation_0_are_put_together(tmp_path: Path, real: Path) -> None:
    found = checked([generation_0(tmp_path, batches=3), write(tmp_path / "gen1.jsonl", texts(1))], real)
    assert (found.verdict.batches, found.verdict.size) == (3, 80)
    assert any("Generation 0's 3 files are put together" in one for one in found.cautions)
    whole = checked(
        [generation_0(tmp_path / "other", batches=2, count=400), write(tmp_path / "b.jsonl", texts(2))], real
    )
    assert (whole.verdict.batches, whole.verdict.size) == (10, 80)


def test_a_file_that_is_much_smaller_than_its_neighbours_is_no_batch(tmp_path: Path, real: Path) -> None:
    folder = generation_0(tmp_path)
    write(folder / "rest.jsonl", texts(7, 5))
    (folder / "README.md").write_text("no data")
    found = checked([folder, write(tmp_path / "gen1.jsonl", texts(1))], real)
    assert (found.verdict.batches, found.verdict.size) == (8, 80)
    assert "1 of generation 0's 9 files are much smaller than the others and left out." in found.cautions


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nothing.jsonl", "is not there. A generation is a file (.csv, .tsv"),
        (lambda folder: write(folder / "a.jsonl", ["x"]).rename(folder / "a.xyz"), "is none. A generation is a file"),
        (lambda folder: folder, "has no such file in it"),
        (lambda folder: write(folder / "b.csv", ["x"], "body"), "no column 'text'. Its columns: 'body', 'n'"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_generation(make(tmp_path), "text")
    assert message in str(caught.value)


def test_a_column_without_texts_is_named(tmp_path: Path) -> None:
    path = tmp_path / "numbers.jsonl"
    path.write_text('{"text": "a"}\n{"text": 5}\n')
    with pytest.raises(DataError, match=r"column 'text' holds 5, which is no text \(line 2\)"):
        read_generation(path, "text")


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Generator[Callable[..., Done]]:
    """Runs `harness collapse check …` in this process, with an embedder that needs no model."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embed, "SentenceEmbedder", TopicEmbedder)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["harness", "collapse", "check", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert isinstance(caught.value.code, int)
        return Done(caught.value.code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGINT, before)


def test_the_command_prints_tables_verdict_and_advice_and_writes_json(
    tmp_path: Path, real: Path, typed: Callable[..., Done]
) -> None:
    first, second = generation_0(tmp_path), write(tmp_path / "gen1.jsonl", texts(1))
    done = typed(first, second, "--anchors", real, "--json", "found.json")
    assert (done.code, done.err) == (0, "")
    for shown in ("Collapse: 2 generations", "What explains it", "verdict: OK.", "next: Go on", "figures: found.json"):
        assert shown in done.out
    assert not list(tmp_path.glob("**/*.sqlite"))
    content = (tmp_path / "found.json").read_text()
    assert "NaN" not in content
    again = read_json(tmp_path / "found.json", CollapseCheck)
    assert again.verdict.status == "ok"
    assert (tmp_path / "found.json").read_bytes() == content.encode()
    assert typed(first, second, "--anchors", real, "--json", "twice.json").code == 0
    assert (tmp_path / "twice.json").read_bytes() == content.encode()


@pytest.mark.parametrize(
    ("topics", "count", "codes"),
    [
        (TOPICS, 2, {None: 0, "alarm": 0, "warn": 0, "insufficient": 0}),
        (6, 1, {None: 0, "alarm": 0, "warn": 1, "insufficient": 1}),
        (6, 2, {None: 0, "alarm": 1, "warn": 1, "insufficient": 1}),
        (6, 0, {None: 0, "alarm": 0, "warn": 0, "insufficient": 1}),
    ],
)
def test_exit_codes(
    tmp_path: Path, real: Path, typed: Callable[..., Done], topics: int, count: int, codes: dict[str | None, int]
) -> None:
    later = [write(tmp_path / f"gen{number}.jsonl", texts(number, topics=topics)) for number in range(1, count + 1)]
    paths = [generation_0(tmp_path), *later, "--anchors", real]
    for wanted, code in codes.items():
        assert typed(*paths, *(["--fail-on", wanted] if wanted else [])).code == code, wanted


def test_what_cannot_be_done_is_one_paragraph_with_exit_code_2(
    tmp_path: Path, real: Path, typed: Callable[..., Done]
) -> None:
    first, second = generation_0(tmp_path), write(tmp_path / "gen1.jsonl", texts(1))
    for arguments, message in (
        ([first, "nowhere"], "error: 'nowhere' is not there."),
        ([first, second, "--text", "body"], "has no column 'body'"),
        ([first, second, "--anchors", "none.csv"], "error: 'none.csv' is not there."),
        ([first, second, "--json", "no/such/folder.json"], "error: cannot write 'no/such/folder.json'"),
    ):
        done = typed(*arguments)
        assert done.code == 2
        assert message in done.err
        assert "Traceback" not in done.err
    assert typed().code == 2
    assert typed(first, "--fail-on", "ok").code == 2
