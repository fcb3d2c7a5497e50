"""The whole loop on a task that answers in text: the embedded LLM writes, a small causal model from scratch learns.

The student is tiny, so that the test takes a minute; `experiments/extraction.yaml` is the same with SmolLM2.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.loop import read_run
from harness.packaged import read_trec_fields
from harness.records import Role
from harness.reports import RunReport
from harness.seal import read_examples, role_file
from harness.store import Store
from harness.texts import normalise

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

SPEC = """\
name: forms
seed: 3
task:
  noun: question
  labels:
    HUM: asking for a person or a group of people
    LOC: asking for a place
  answer:
    noun: form
    about: JSON with the type of what the question asks for
    kind_field: type
    json_schema:
      type: object
      properties: {type: {enum: [HUM, LOC]}, entity: {type: string}}
      required: [type, entity]
data:
  source: {kind: file, path: questions.csv}
  columns: {text: question, answer: form}
  split: {seeds: 40, dev: 60, anchor: 20, test: 80}
matrix:
  dimensions:
    - {name: opening, use: opening, values: {any: 2, Who: 1, Where: 1}}
generate: {accepted_per_round: 16, over_generation: 2, max_waves: 1, sampling: {max_tokens: 64}}
filters:
  consistency: {folds: 2, passes: 1, pass_folds: 2}
  judge: {enabled: false}
causal: {model: student, format: plain, lora: null, steps: 40, learning_rate: 3.0e-3, batch_size: 8}
evaluate: {resamples: 200, metric: json_fields, arms: [base, seeds, mixed], controls: [], probe: {enabled: false}}
stop: {max_rounds: 2, patience: 2}
runtime: {store: runs, threads: 1, tracking: {enabled: false}}
"""


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )


def write_case(folder: Path) -> None:
    """280 TREC questions with their forms, and a student from scratch that has read others."""
    from harness.train.tiny import Tiny, tiny_base

    seen: set[str] = set()
    rows: list[tuple[str, str]] = []
    for row in read_trec_fields().rows:
        text, key = str(row["text"]), normalise(str(row["text"]))
        if row["type"] in ("HUM", "LOC") and key not in seen and sum(one[1] == row["type"] for one in rows) < 140:
            seen.add(key)
            rows.append((text, str(row["answer"])))
    rows = rows[:280]
    with (folder / "questions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "form"), *rows])
    base = tiny_base([f"{text} {form}" for text, form in rows], Tiny(layers=2), seed=0)
    base.model.save_pretrained(folder / "student")
    base.tokenizer.save_pretrained(folder / "student")
    (folder / "forms.yaml").write_text(SPEC, encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    write_case(folder)
    done = harness(folder, "run", "forms.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def report_of(folder: Path) -> RunReport:
    store = Store(folder / "runs")
    return read_run(store, next(store.ids("run")))


def test_a_run_ends_with_scores_of_answers(finished: Path) -> None:
    report = report_of(finished)
    assert len(report.rounds) == 2
    assert set(report.test) == {"base", "seeds", "mixed"}
    seeds = report.test["seeds"]
    assert list(seeds.scores) == ["accuracy", "token_f1", "rouge_l", "json_fields", "macro_f1"]
    # An untrained tiny model writes no form at all; one that has read 40 of them does.
    assert report.test["base"].n_unparsable == 80
    assert seeds.n_unparsable < 80
    assert (seeds.score("json_fields").value or 0) > 0
    assert {one.metric for one in report.comparisons} == {"json_fields"}


def test_accepted_rows_are_forms_that_the_schema_allows(finished: Path) -> None:
    import pyarrow.parquet as pq

    store = Store(finished / "runs")
    report = report_of(finished)
    rows = pq.read_table(store.find(report.artefacts["dataset"]) / "data" / "train.parquet").to_pylist()
    assert rows
    for row in rows:
        form = json.loads(row["answer"])
        assert form["type"] == row["label"]
        assert row["label"] in ("HUM", "LOC")
        assert row["text"]


def test_no_held_out_text_or_answer_reaches_the_store_of_calls(finished: Path) -> None:
    store = Store(finished / "runs")
    split = store.find(report_of(finished).artefacts["split"])
    calls = (finished / "runs" / "calls.sqlite").read_bytes().decode("utf-8", "replace")
    seeds = read_examples(split / role_file(Role.SEEDS))
    assert sum(one.text in calls for one in seeds) > 20
    for role in (Role.DEV, Role.TEST, Role.ANCHOR):
        for one in read_examples(split / role_file(role)):
            assert one.text not in calls


def test_the_report_page_shows_questions_with_their_forms(finished: Path) -> None:
    report = report_of(finished)
    page = (finished / "runs" / "reports" / report.id / "report.html").read_text(encoding="utf-8")
    for words in ("exact match", "JSON fields", "macro-F1 of kinds", "&#34;type&#34;"):
        assert words in page


def test_reading_it_again_asks_and_trains_nothing(finished: Path) -> None:
    before = sorted(Store(finished / "runs").ids("adapter"))
    done = harness(finished, "run", "forms.yaml")
    assert done.returncode == 0, done.stderr
    assert "train " not in done.stderr
    assert sorted(Store(finished / "runs").ids("adapter")) == before


def test_plan_and_validate_read_the_same_file(finished: Path) -> None:
    planned = harness(finished, "plan", "forms.yaml")
    assert planned.returncode == 0, planned.stderr
    assert "of at most 40 steps each" in planned.stdout.replace("\n", " ")
    assert harness(finished, "validate", "forms.yaml").returncode == 0
