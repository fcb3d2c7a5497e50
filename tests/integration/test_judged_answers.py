"""Who sees held-out items when the judge rates the students' answers: nobody by default; where it is asked for, the
judge alone, dev only while the test is sealed, and test items only after their opening stands on record.

Every real question carries a token of its own, every gold answer another. The runs are processes of their own, against
an endpoint on a real socket; they share a store, so that only the first one trains.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint import Call, ScriptedEndpoint, good

from harness.loop import read_run
from harness.records import Decision, Role
from harness.reports import RunReport
from harness.seal import openings, read_examples, role_file
from harness.store import Store

pytestmark = pytest.mark.timeout(600)

TOKEN = re.compile(r"zq7item\d{4}|vw3gold\d{4}")
WORDS = [
    *("who", "where", "river", "author", "captain", "island", "year", "price"),
    *("queen", "valley", "harbour", "height", "city", "painter", "miles"),
]
SPEC = """\
name: judged
task:
  noun: question
  labels: {fact: about a fact}
  answer: {about: one word}
data:
  source: {kind: file, path: items.csv}
  columns: {text: question, answer: answer}
  split: {seeds: 20, dev: 60, anchor: 15, test: 40, near_duplicate: 0.999}
matrix: {dimensions: []}
generate: {accepted_per_round: 8, over_generation: 2, samples_per_call: 2, max_waves: 1}
filters:
  consistency: {enabled: false}
  duplicates: {threshold: 0.999}
  leakage: {threshold: 0.999}
  judge: {enabled: false}
causal: {model: student, format: plain, lora: null, steps: 8, batch_size: 4}
evaluate: {resamples: 200, arms: [base, seeds, mixed], controls: [], judge: {labelled: 30}}
stop: {max_rounds: 1}
runtime: {store: runs, threads: 1, tracking: {enabled: false}}
"""
JUDGE = ("--set", "evaluate.judge.enabled=true")
SEALED = ("--set", "evaluate.test=false")


class Case:
    """A folder with data, spec and a student from scratch, and what came to the endpoint in each run."""

    def __init__(self, folder: Path) -> None:
        from harness.train.tiny import Tiny, tiny_base

        self.folder = folder
        rng = random.Random(1)
        rows = [(f"{' '.join(rng.sample(WORDS, 7))} zq7item{n:04}", f"vw3gold{n:04}") for n in range(140)]
        with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("question", "answer"), *rows])
        (folder / "judged.yaml").write_text(SPEC, encoding="utf-8")
        base = tiny_base([" ".join(row) for row in rows], Tiny(layers=1, width=32, heads=2), seed=0)
        base.model.save_pretrained(folder / "student")
        base.tokenizer.save_pretrained(folder / "student")
        self.drawn = 0
        self.prose = False
        self.early: list[str] = []
        self.endpoint = ScriptedEndpoint(otherwise=self._answer)

    def _answer(self, handler: Any, call: Call) -> None:
        sent = sent_by(call)
        if not openings(Store(self.folder / "runs")):
            self.early.append(sent)
        if "Grade a question" in sent:
            graded = json.dumps(dict.fromkeys(("relevance", "correctness", "adherence"), 1))
            texts = ["A fine question, I would give it 4 of 5." if self.prose else graded]
        else:
            rng = random.Random(self.drawn)
            self.drawn += 1
            texts = [f"Question: {' '.join(rng.sample(WORDS, 8))} ?\nAnswer: {w}" for w in WORDS[: call.body["n"]]]
        choices = [
            {"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for index, text in enumerate(texts)
        ]
        good(choices=choices)(handler, call)

    def run(self, *arguments: str) -> list[str]:
        """What `harness run judged.yaml …` sent."""
        before = len(self.endpoint.calls)
        roles = [
            part
            for role in ("generator", "judge")
            for part in ("--set", f"llm.{role}={{base_url: '{self.endpoint.url}', model: model-a}}")
        ]
        done = subprocess.run(
            [sys.executable, "-m", "harness.cli", "run", "judged.yaml", *roles, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=540,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [sent_by(call) for call in self.endpoint.calls[before:]]

    def tokens(self, *roles: Role) -> set[str]:
        """Of the questions and of the gold answers."""
        store = Store(self.folder / "runs")
        split = store.find(next(store.ids("split")))
        examples = [one for role in roles for one in read_examples(split / role_file(role))]
        return set(TOKEN.findall(" ".join(f"{one.text} {one.answer}" for one in examples)))

    def report(self, *, judged: int) -> RunReport:
        store = Store(self.folder / "runs")
        (found,) = [one for one in (read_run(store, ident) for ident in store.ids("run")) if len(one.judged) == judged]
        return found


def sent_by(call: Call) -> str:
    return "\n".join(message["content"] for message in call.body["messages"])


def seen(bodies: list[str]) -> set[str]:
    return set(TOKEN.findall("\n".join(bodies)))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    found = Case(tmp_path_factory.mktemp("judged"))
    with found.endpoint:
        yield found


def test_by_default_no_held_out_item_goes_out(case: Case) -> None:
    sent = case.run(*SEALED)
    assert len(sent) >= 8
    assert seen(sent) & case.tokens(Role.SEEDS)
    assert not seen(sent) & case.tokens(Role.DEV, Role.ANCHOR, Role.TEST)


def test_where_it_is_asked_for_the_judge_alone_sees_dev_and_no_gold_answer(case: Case) -> None:
    sent = case.run(*SEALED, *JUDGE)
    assert sent
    assert all("Grade a question" in body for body in sent)
    shown = case.tokens(Role.DEV) & seen(sent)
    assert len(shown) > 30
    assert all(token.startswith("zq7item") for token in shown)
    assert not seen(sent) & case.tokens(Role.SEEDS, Role.ANCHOR, Role.TEST)
    report = case.report(judged=2)
    assert [(one.role, one.arm) for one in report.judged] == [(Role.DEV, "seeds"), (Role.DEV, "mixed")]
    assert any("60 dev items were shown to the judge (model-a, at http" in warning for warning in report.warnings)


def test_test_items_go_to_the_judge_only_after_they_were_opened(case: Case) -> None:
    assert openings(Store(case.folder / "runs")) == ()
    sent = case.run(*JUDGE)
    shown = case.tokens(Role.TEST) & seen(sent)
    assert len(shown) > 20
    assert all(token.startswith("zq7item") for token in shown)
    assert len(openings(Store(case.folder / "runs"))) == 1
    assert case.early
    assert not seen(case.early) & case.tokens(Role.TEST)
    report = case.report(judged=4)
    assert [one.role for one in report.judged] == [Role.DEV, Role.DEV, Role.TEST, Role.TEST]
    # A student of 8 steps is right in nothing and the judge says so: agreement that no chance-corrected figure shows.
    assert {one.score.value for one in report.judged} == {None}
    page = (case.folder / "runs" / "reports" / report.id / "report.html").read_text(encoding="utf-8")
    assert "refused by its gate" in page


def test_a_judge_that_answers_in_prose_is_refused_by_its_gate_and_nothing_is_lost(case: Case) -> None:
    case.prose = True
    rule = "{enabled: true, gate_items: 10, audit: 4}"
    sent = case.run(*SEALED, "--set", f"filters.judge={rule}")
    case.prose = False
    # The gate, three of its items a second time, and the audit's rows.
    assert len(sent) == 10 + 3 + 4
    assert all("Grade a question" in body for body in sent)
    store = Store(case.folder / "runs")
    reports = [read_run(store, ident) for ident in store.ids("run")]
    (plain,) = [one for one in reports if not one.judged and one.rounds[0].gate is None]
    (report,) = [one for one in reports if one.rounds[0].gate is not None]
    gate = report.rounds[0].gate
    assert gate is not None
    reason = "graded only 0 of 10 gate items (10: answer is not the JSON that was asked for)"
    assert (gate.passed, gate.reason) == (False, reason)
    assert report.rounds[0].accepted == plain.rounds[0].accepted > 0
    verdicts = [one for sample in report.rounds[0].samples for one in sample.verdicts if one.filter == "judge"]
    assert {one.decision for one in verdicts} == {Decision.ABSTAIN}
    page = (store.root / "reports" / report.id / "report.html").read_text(encoding="utf-8")
    assert "The judge may not drop data" in page
    assert "answer is not the JSON that was asked for" in page


def test_reading_it_again_asks_nothing(case: Case) -> None:
    assert case.run(*JUDGE) == []


def test_a_student_of_a_finished_run_is_exported(case: Case) -> None:
    report = case.report(judged=4)
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "export", report.id, "mixed", "--to", "out", "--merge"],
        cwd=case.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (case.folder / "out" / "prompt.txt").read_text(encoding="utf-8") == "One word.\nQuestion: {text}\nAnswer:"
    assert (case.folder / "out" / "model.safetensors").is_file()
