"""No held-out text leaves the split: every real text carries a token of its own, and after whole runs against an
endpoint on a real socket the tokens are looked for in all that went out, was printed or was written.

The runs are processes of their own, as a person starts them.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from endpoint import Call, ScriptedEndpoint, good

from harness.loop import read_run
from harness.records import Example, Role
from harness.reports import RunReport
from harness.seal import openings, read_examples, role_file
from harness.store import Store

pytestmark = pytest.mark.timeout(900)

HIDDEN = (Role.DEV, Role.ANCHOR, Role.TEST, Role.POOL)
CANARY = re.compile(r"zq7item\d{4}")
ABOUT = {"HUM": "asking for a person", "LOC": "asking for a place", "NUM": "asking for a number"}
WORDS = {
    "HUM": ["who", "author", "painter", "queen", "captain", "inventor"],
    "LOC": ["where", "river", "city", "island", "harbour", "valley"],
    "NUM": ["how", "many", "years", "miles", "height", "price"],
}
TAKEN_FOR = {"HUM": "LOC", "LOC": "HUM", "NUM": "NUM"}
FILLER = ["old", "green", "quiet", "famous", "northern", "lost", "early", "wooden", "open", "narrow", "royal", "silver"]
START = "from harness import cli\ncli.main()"
HINT = "name a person by deed or office, never a spot on a map."
SPEC = """\
name: canary
task:
  noun: question
  labels: {HUM: asking for a person, LOC: asking for a place, NUM: asking for a number}
data:
  source: {kind: file, path: items.csv}
  split: {seeds: 30, dev: 135, anchor: 15, test: 30, pool: 15, near_duplicate: 0.999}
matrix:
  dimensions:
    - {name: length, use: shots, values: [short, long]}
    - {name: first_word, use: opening, values: [any, who, where]}
generate: {accepted_per_round: 12, over_generation: 2, samples_per_call: 2, max_waves: 1, shots: 4}
filters:
  consistency: {folds: 2}
  duplicates: {threshold: 0.999}
  leakage: {threshold: 0.999}
  judge: {gate_items: 30}
  quota: {enabled: false}
train: {steps: 20, batch_size: 16, learning_rate: 0.003}
evaluate: {resamples: 200, arms: [seeds, mixed, all_real], controls: [shuffled, raw], probe: {items: 50}}
feedback: {policies: [quotas, contrast, shots, critic, relabel, surplus]}
stop: {max_rounds: 2, patience: 2}
runtime: {store: runs, log_level: debug, threads: 1}
"""


def text_of(label: str, number: int, canary: str = "") -> str:
    """Eleven words, some of them typical of the label; one in five HUM and LOC texts looks like the other one,
    so that any student that has learnt something confuses the two in both directions."""
    rng = random.Random(f"{label} {number} {canary}")
    looks = TAKEN_FOR[label] if canary and number % 5 == 0 else label
    words = [*rng.sample(WORDS[looks], 4), *rng.sample(FILLER, 6)]
    return " ".join([words[0], *rng.sample(words[1:], 9), *([canary] if canary else [f"no{rng.randrange(10**6)}"])])


class Impostor:
    """Answers for all three roles. It writes questions with no token in them, grades as somebody would who knows the
    truth, and as critic of HUM against LOC it says a dev text, whole, in an otherwise decent sentence."""

    def __init__(self, folder: Path, truth: Mapping[str, str]) -> None:
        self.folder = folder
        self.truth = truth
        self.said: list[str] = []

    def __call__(self, call: Call) -> list[str]:
        sent = "\n".join(message["content"] for message in call.body["messages"])
        if "<item>" in sent:
            return [self._grade(sent)]
        if "What sets the first kind apart" in sent:
            return [self._criticise(sent)]
        assert sent.startswith("You write realistic training data."), sent
        (label,) = [name for name, about in ABOUT.items() if f"new question {about}." in sent]
        # From what was asked and not from a count of calls, whose order concurrent calls do not keep.
        asked = zlib.crc32(json.dumps(call.body, sort_keys=True).encode())
        return [text_of(label, asked + index) for index in range(call.body["n"])]

    def _grade(self, sent: str) -> str:
        about, text = re.search(r"Description: a question (.*)\n<item>(.*)</item>", sent).groups()  # type: ignore[union-attr]
        right = ABOUT.get(self.truth.get(text, "")) == about if CANARY.search(text) else True
        return json.dumps(dict.fromkeys(("relevance", "correctness", "adherence"), 5 if right else 1))

    def _criticise(self, sent: str) -> str:
        if sent.startswith(f"Questions {ABOUT['HUM']}"):
            self.said.append(split_of(self.folder)[Role.DEV][0].text)
            return f"often read like {self.said[-1]} and so on."
        return HINT


def split_of(folder: Path) -> Mapping[Role, tuple[Example, ...]]:
    store = Store(folder / "runs")
    split = store.find(next(store.ids("split")))
    return {role: read_examples(split / role_file(role)) for role in Role}


class Case:
    """A folder with a spec and data, the endpoint that its runs use, and what they sent and printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed: list[str] = []
        rows = [
            (text_of(label, number, f"zq7item{3 * number + place:04}"), label)
            for number in range(80)
            for place, label in enumerate(ABOUT)
        ]
        with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        (folder / "canary.yaml").write_text(SPEC, encoding="utf-8")
        self.impostor = Impostor(folder, dict(rows))
        self.endpoint = ScriptedEndpoint(otherwise=self._answer)

    def _answer(self, handler: Any, call: Call) -> None:
        choices = [
            {"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for index, text in enumerate(self.impostor(call))
        ]
        good(choices=choices)(handler, call)

    def run(self, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
        """`harness run canary.yaml …` after the Python code `before`."""
        roles = [
            part
            for role in ("generator", "judge", "critic")
            for part in ("--set", f"llm.{role}={{base_url: '{self.endpoint.url}', model: model-a}}")
        ]
        done = subprocess.run(
            [sys.executable, "-c", f"{before}\n{START}", "run", "canary.yaml", *roles, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=840,
            check=False,
        )
        self.printed += [*done.stdout.splitlines(), *done.stderr.splitlines()]
        return done

    @property
    def bodies(self) -> list[str]:
        return [json.dumps(call.body, ensure_ascii=False) for call in self.endpoint.calls]

    def canaries(self, *roles: Role) -> set[str]:
        split = split_of(self.folder)
        found = [CANARY.search(example.text) for role in roles for example in split[role]]
        assert found
        assert all(found)
        return {match[0] for match in found if match}

    def reports(self) -> list[RunReport]:
        store = Store(self.folder / "runs")
        return [read_run(store, ident) for ident in store.ids("run")]

    def leaks(self) -> dict[str, set[str]]:
        """Where tokens of texts that no prompt may hold were found, and which."""
        places = {f"body {index}": body for index, body in enumerate(self.bodies)}
        places |= {"printed": "\n".join(self.printed)} | written(self.folder / "runs")
        hidden = self.canaries(*HIDDEN)
        seen = {place: hidden & set(CANARY.findall(text)) for place, text in places.items()}
        return {place: tokens for place, tokens in seen.items() if tokens}


def written(store: Path) -> dict[str, str]:
    """What every file of a store holds, as text. Left out are the split's own tables, and of the call cache the
    critic's answers: the critic said what it said, the question is whether it went any further."""
    places: dict[str, str] = {}
    for path in sorted(path for path in store.rglob("*") if path.is_file()):
        name = path.relative_to(store).as_posix()
        if name.startswith("artefacts/split/") and path.suffix == ".parquet":
            continue
        if name.startswith("calls.sqlite"):
            if path.suffix == ".sqlite":
                places[name] = "\n".join(_calls(path))
        elif path.suffix == ".parquet":
            places[name] = str(pq.read_table(path).to_pylist())
        elif path.suffix in (".sqlite", ".db"):
            with closing(sqlite3.connect(path)) as database:
                places[name] = "\n".join(database.iterdump())
        else:
            places[name] = path.read_bytes().decode("latin-1")
    return places


def _calls(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT request, answer FROM calls").fetchall()
    return [request if "What sets the first kind apart" in request else request + answer for request, answer in rows]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Iterator[Case]:
    """Two rounds with feedback, critic, judge, report and MLflow have ended well."""
    found = Case(tmp_path_factory.mktemp("canary"))
    (found.folder / "runs").mkdir()
    (found.folder / "runs" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    with found.endpoint:
        done = found.run()
        assert done.returncode == 0, done.stdout + done.stderr
        yield found


def test_the_run_did_all_that_could_leak(case: Case) -> None:
    (report,) = case.reports()
    assert len(report.rounds) == 2
    gate = report.rounds[0].gate
    assert gate is not None
    assert gate.passed, gate.reason
    kinds = {guidance.kind for each in report.rounds for guidance in each.plan.guidance}
    assert kinds == {"contrast", "hint"}
    assert any(HINT in body for body in case.bodies)
    said = [verdict.filter for each in report.rounds for sample in each.samples for verdict in sample.verdicts]
    assert {"leakage", "judge"} <= set(said)


def test_the_critics_copy_of_a_dev_text_is_dropped_and_only_its_id_is_told(case: Case) -> None:
    (report,) = case.reports()
    assert case.impostor.said
    first = split_of(case.folder)[Role.DEV][0]
    changes = [change for each in report.rounds for change in each.plan.changes]
    (dropped,) = {change for change in changes if "was not used" in change}
    assert f"words with dev item {first.id}" in dropped


def test_no_canary_of_a_held_out_text_is_anywhere_but_in_the_split(case: Case) -> None:
    assert len(case.bodies) > 60
    assert case.leaks() == {}


def test_the_scan_sees_the_seeds_which_do_go_out(case: Case) -> None:
    seen = set(CANARY.findall("\n".join(case.bodies)))
    assert len(seen) > 20
    assert seen <= case.canaries(Role.SEEDS)
    assert set(CANARY.findall(written(case.folder / "runs")["calls.sqlite"])) == seen


def test_without_the_guard_the_scan_finds_the_dev_text(tmp_path: Path) -> None:
    broken = Case(tmp_path)
    no_guard = (
        "import harness.filters.leakage as leakage\nassert callable(leakage.overlaps)\n"
        "leakage.overlaps = lambda *_, **__: ''"
    )
    quick = (
        "filters.judge.enabled=false",
        "runtime.tracking.enabled=false",
        "evaluate.test=false",
        "evaluate.arms=[seeds, mixed]",
        "evaluate.controls=[]",
    )
    with broken.endpoint:
        done = broken.run(*(part for each in quick for part in ("--set", each)), before=no_guard)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The test split stayed sealed; on dev, mixed reached" in done.stdout
    assert openings(Store(tmp_path / "runs")) == ()
    leaks = broken.leaks()
    assert broken.impostor.said
    token = CANARY.search(broken.impostor.said[0])
    assert token is not None
    assert set.union(*leaks.values()) == {token[0]}
    places = {re.sub(r"[ /].*", "", place) if "artefacts" not in place else place.split("/")[1] for place in leaks}
    assert {"body", "calls.sqlite", "plan", "run", "reports"} <= places


FEWER = ("--set", "evaluate.arms=[seeds, mixed]")


def test_a_changed_run_may_not_open_the_same_test_items_unasked(case: Case) -> None:
    (report,) = case.reports()
    asked = len(case.bodies)
    done = case.run(*FEWER)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: the test items of {report.data.id} were looked at before, by {report.id} (")
    assert "Since then changed: evaluate.arms [" in done.stderr
    assert "--reopen-test REASON" in done.stderr
    assert len(case.bodies) == asked
    assert case.reports() == [report]


def test_a_further_look_that_is_asked_for_is_written_down_everywhere(case: Case) -> None:
    (first,) = [report for report in case.reports() if report.test]
    done = case.run(*FEWER, "--reopen-test", "fewer arms")
    assert done.returncode == 0, done.stdout + done.stderr
    (second,) = [report for report in case.reports() if report.test and report.id != first.id]
    assert [(look.run, look.count, look.reopened) for look in second.openings] == [
        (first.id, 1, ""),
        (second.id, 2, "fewer arms"),
    ]
    page = (case.folder / "runs" / "reports" / second.id / "report.html").read_text(encoding="utf-8")
    assert "Not the first look at these test items" in page
    with closing(sqlite3.connect(case.folder / "runs" / "mlflow.db")) as database:
        tags = {row[0] for row in database.execute("SELECT value FROM tags WHERE key = 'test_openings'")}
    assert tags == {"1", "2"}
    again = case.run()
    assert again.returncode == 0, again.stderr
    assert first.id in again.stdout


def test_after_all_of_it_nothing_has_leaked(case: Case) -> None:
    assert case.leaks() == {}
