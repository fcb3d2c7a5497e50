"""What reviews say: precision with intervals, agreement, what the filters lost; by command and in Python."""

from __future__ import annotations

import re
import stat
import sys
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from review_cases import Made, make_made, truthful

from harness import Run, cli, reviewcli
from harness.reviewrows import rows_of
from harness.reviews import Desk, Review
from harness.reviewserver import ReviewServer
from harness.reviewsummary import summarise, summary_lines
from harness.store import Store


class Done(NamedTuple):
    code: int
    out: str
    err: str


Typed = Callable[..., Done]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_made(Store(tmp_path / "runs"), 1000, graded=True)


@pytest.fixture
def desk(made: Made) -> Desk:
    return made.desk(200)


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return Done(int(str(caught.value.code)), *capsys.readouterr())

    return run


def shares(made: Made) -> tuple[float, float]:
    """The share of right rows among the accepted and among the dropped, of the whole run."""
    rows = rows_of(made.report, made.store)
    sides = [
        [row.shown.id in made.right for row in rows if (row.outcome == "dropped") is side] for side in (False, True)
    ]
    return sum(sides[0]) / len(sides[0]), sum(sides[1]) / len(sides[1])


def test_a_reviewer_who_is_right_finds_the_truth_within_the_intervals(made: Made, desk: Desk) -> None:
    desk.add("ana", truthful(desk.sample, made.right))
    (one,) = summarise(desk).opinions
    accepted, dropped = shares(made)
    assert one.powered is not None
    for found, truth in ((one.precision, accepted), (one.powered.score, accepted), (one.lost, dropped)):
        assert found.low < truth < found.high
    assert (one.precision.n, one.lost.n) == (140, 60)
    # The judge's grades follow the truth here, so they help.
    assert one.powered.weight > 0.3
    alone, helped = one.precision, one.powered.score
    assert helped.high - helped.low < alone.high - alone.low
    assert sum(n for _, n in one.dropped_right.values()) == 60
    assert set(one.dropped_right) == {"consistency", "duplicates", "judge"}
    assert one.judge.n == sum(item.grade is not None for item in desk.sample.items)


def test_relabelled_rows_count_as_wrong(made: Made, desk: Desk) -> None:
    said = truthful(desk.sample, made.right)
    desk.add("ana", said)
    others = {
        item.shown.id: next(label for label in desk.sample.labels if label != item.shown.label)
        for item in desk.sample.items
    }
    changed = [
        replace(one, decision="relabel", new_label=others[one.item]) if one.decision == "reject" else one
        for one in said
    ]
    desk.add("ben", changed)
    ana, ben = summarise(desk).opinions
    assert ana.precision == ben.precision
    assert ben.words["relabel"] == ana.words["reject"]


def test_two_reviewers_give_kappa_over_what_both_decided(made: Made, desk: Desk) -> None:
    said = truthful(desk.sample, made.right)
    flipped = [
        replace(one, decision="accept" if one.decision == "reject" else "reject") if place % 10 == 0 else one
        for place, one in enumerate(said)
    ]
    desk.add("ana", said[:150])
    desk.add("ben", flipped[50:])
    (pair,) = summarise(desk).agreements
    assert (pair.a, pair.b, pair.right.n) == ("ana", "ben", 100)
    assert pair.right.value is not None
    assert 0.6 < pair.right.low < pair.right.value < pair.right.high < 1
    assert pair.decision.value == pytest.approx(pair.right.value)
    desk.add("cleo", said[:20])
    assert len(summarise(desk).agreements) == 3


def test_another_label_is_another_decision(made: Made, desk: Desk) -> None:
    items = [item.shown for item in desk.sample.items[:60]]
    others = [[label for label in desk.sample.labels if label != item.label] for item in items]
    desk.add("ana", [Review(item.id, "relabel", other[0]) for item, other in zip(items, others, strict=True)])
    desk.add("ben", [Review(item.id, "relabel", other[1]) for item, other in zip(items, others, strict=True)])
    (pair,) = summarise(desk).agreements
    assert pair.right.value is None
    assert pair.decision.value is not None
    assert pair.decision.value < 0


def test_few_decisions_are_insufficient_and_notes_are_none(made: Made, desk: Desk) -> None:
    assert summary_lines(summarise(desk))[-1] == "nobody has decided anything yet"
    desk.add("ana", [Review(desk.sample.items[0].shown.id, "", note="?")])
    assert summarise(desk).opinions == ()
    desk.add("ana", truthful(desk.sample, made.right, 8))
    (one,) = summarise(desk).opinions
    assert one.precision.note.startswith("insufficient")
    assert summary_lines(summarise(desk))


def test_without_ratings_there_is_no_powered_figure(tmp_path: Path, made: Made, desk: Desk) -> None:
    bare = Desk(made.store, replace(desk.sample, rater="", rated=0.0))
    bare.add("ana", truthful(desk.sample, made.right))
    assert summarise(bare).opinions[0].powered is None
    assert "ratings of" not in "\n".join(summary_lines(summarise(bare)))


def test_data_frames(made: Made, desk: Desk) -> None:
    found = Run(made.report, made.store, Path("report.html"))
    assert found.reviews().empty
    assert found.review_summary().empty
    desk.add("ana", truthful(desk.sample, made.right))
    desk.add("ben", truthful(desk.sample, made.right, 30))
    table = found.reviews()
    assert len(table) == 230
    assert (1 / table.loc[(slice(None), "ana"), "probability"]).sum() == pytest.approx(1000)
    assert set(table["outcome"]) == {"kept", "relabelled", "dropped"}
    summary = found.review_summary()
    assert list(summary.index) == ["ana", "ben"]
    assert summary.loc["ana", "precision_low"] < summary.loc["ana", "precision"] < summary.loc["ana", "precision_high"]


def test_the_commands(made: Made, typed: Typed, tmp_path: Path) -> None:
    ident = made.report.id[:10]
    done = typed("review", ident, "--items", "40", "--reviewer", "ana", "--export", "ana.csv")
    assert (done.code, done.err) == (0, "")
    assert done.out == "wrote ana.csv: 40 rows, 0 of them decided by ana\n"
    path = tmp_path / "ana.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",,,,ana\n", ",accept,,,ana\n"), encoding="utf-8")
    assert path.read_text(encoding="utf-8").count(",accept,") == 40
    done = typed("review", ident, "--reviewer", "ana", "--import", "ana.csv", "--summary")
    assert done.code == 0
    assert "ana.csv: 40 new decisions of ana, 0 changed, 0 as before, 0 rows left empty" in done.out
    assert re.search(r"a sample of 28 of \d+ accepted and 12 of \d+ dropped rows, seed 0", done.out)
    assert "ana: 40 of 40 rows decided (40 accept, 0 reject, 0 relabel)" in done.out
    assert re.search(r"precision of the accepted set: 100\.0.% \(\d\d\.\d to 100\.0\), n = 28 of \d+", done.out)


def test_a_bad_command_is_one_paragraph(made: Made, typed: Typed, tmp_path: Path) -> None:
    for arguments, message in (
        (("run-none",), "no artefact 'run-none'"),
        ((made.report.id, "--reviewer", "../x"), "--reviewer '../x'"),
        ((made.report.id, "--import", "nothing.csv"), "--import 'nothing.csv': cannot be read"),
        ((made.report.id, "--store", "nowhere"), "no store in 'nowhere'"),
    ):
        done = typed("review", *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err
        assert "Traceback" not in done.err


def test_serving_prints_the_address_and_ends_on_an_interrupt(
    made: Made, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, str, int]] = []

    def browser(address: str) -> None:
        page = Path(urllib.request.url2pathname(address.removeprefix("file://")))
        opened.append((address, page.read_text(encoding="utf-8"), stat.S_IMODE(page.stat().st_mode)))

    monkeypatch.setattr(reviewcli.webbrowser, "open", browser)
    monkeypatch.setenv("DISPLAY", ":0")
    seen: list[int] = []

    def serve_then_stop(self: ReviewServer, poll_interval: float = 0.5) -> None:
        """The real loop in a thread; then Ctrl-C."""
        thread = threading.Thread(target=super(ReviewServer, self).serve_forever, args=(0.05,))
        thread.start()
        with urllib.request.urlopen(self.url, timeout=20) as answer:
            seen.append(answer.status)
        self.shutdown()
        thread.join()
        raise KeyboardInterrupt

    monkeypatch.setattr(ReviewServer, "serve_forever", serve_then_stop)
    done = typed("review", made.report.id, "--items", "10")
    assert (done.code, done.err, seen) == (0, "", [200])
    (address,) = re.findall(r"^review as reviewer: (http://127\.0\.0\.1:\d+/\S+/)$", done.out, re.MULTILINE)
    ((page, content, mode),) = opened
    assert page.startswith("file:///")
    assert address.split("/")[3] not in page
    assert f'content="0; url={address}"' in content
    assert mode == 0o600
    assert not list(made.store.root.rglob("open-*"))
    assert done.out.endswith("0 of 10 rows decided. `--summary` shows what they say.\n")
    typed("review", made.report.id, "--no-open")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(reviewcli.sys, "platform", "linux")
    typed("review", made.report.id)
    assert len(opened) == 1


def test_a_page_that_cannot_be_written_is_one_paragraph(
    made: Made, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reviewcli.tempfile, "mkstemp", full)
    monkeypatch.setenv("DISPLAY", ":0")
    done = typed("review", made.report.id, "--items", "10")
    assert done.code == 2
    assert "cannot be written: [Errno 28] No space left on device. `--no-open` needs no page there." in done.err


def test_a_torn_line_is_told(made: Made, desk: Desk, typed: Typed) -> None:
    desk.add("ana", truthful(desk.sample, made.right, 2))
    with (desk.folder / "ana.jsonl").open("ab") as file:
        file.write(b'{"it')
    done = typed("review", made.report.id, "--reviewer", "ana", "--summary")
    assert done.code == 0
    assert "a torn last line of ana's decisions was set aside" in done.out
    assert "ana: 2 of 200 rows decided" in done.out
