"""Generations of a model from scratch, trained on their own output: `harness collapse run` as a person types it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.generations import REPORT, GenerationsReport
from harness.packaged import read_trec
from harness.store import Store, read_json
from harness.texts import normalise

pytestmark = pytest.mark.timeout(600)

SPEC = """\
name: tiny
seed: 1
task:
  noun: question
  labels: {HUM: asking for a person, LOC: asking for a place}
data:
  source: {kind: file, path: questions.csv}
  slices: {clusters: 0, cells: "off", columns: [fine]}
  split: {seeds: 120, dev: 1, anchor: 40, test: 1, balance_seeds: false}
causal: {format: plain, lora: null, steps: 25, learning_rate: 3.0e-3, batch_size: 16}
train: {steps: 30}
collapse:
  tiny: {layers: 2, width: 64, vocabulary: 600}
  generations: 2
  items: 60
  max_tokens: 16
  arms: [replace, accumulate, anchored, filtered, verified]
  real_share: 0.25
  rare_share: 0.15
  probe: {items: 50, batches: 4}
runtime: {store: runs, threads: 1}
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


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which a run has ended well, and what it printed."""
    folder = tmp_path_factory.mktemp("generations")
    texts = {normalise(str(row["text"])): row for row in read_trec().rows if row["label"] in ("HUM", "LOC")}
    with (folder / "questions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(row["text"], row["label"], row["fine"]) for row in list(texts.values())[:220]]
        csv.writer(file).writerows([("text", "label", "fine"), *rows])
    (folder / "tiny.yaml").write_text(SPEC, encoding="utf-8")
    ended = harness(folder, "collapse", "run", "tiny.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder, ended.stdout


def report_of(folder: Path) -> GenerationsReport:
    store = Store(folder / "runs")
    (ident,) = store.ids("collapse")
    return read_json(store.find(ident) / REPORT, GenerationsReport)


def test_every_arm_is_trained_on_what_it_says(done: tuple[Path, str]) -> None:
    arms = {arm.arm: arm for arm in report_of(done[0]).arms}
    assert list(arms) == ["replace", "accumulate", "anchored", "filtered", "verified"]
    for arm in arms.values():
        assert (arm.stock[0].rows, arm.stock[0].real) == (120, 120)
    # A model this small now and then writes nothing at all, and that is handed on to nobody.
    for name in ("replace", "accumulate", "anchored"):
        assert all(one.drawn == 60 and 50 <= one.kept <= 60 for one in arms[name].stock[1:])
    assert [(one.rows, one.real) for one in arms["replace"].stock[1:]] == [
        (one.kept, 0) for one in arms["replace"].stock[1:]
    ]
    first, second = arms["accumulate"].stock[1:]
    assert (first.rows, first.real) == (120 + first.kept, 120)
    assert (second.rows, second.real) == (120 + first.kept + second.kept, 120)
    for one in arms["anchored"].stock[1:]:
        assert (one.rows, one.real) == (one.kept, round(0.25 * one.kept))
    for name in ("filtered", "verified"):
        for one in arms[name].stock[1:]:
            assert one.drawn == 120
            assert 0 < one.kept <= 60
            assert (one.rows, one.real) == (one.kept, 0)
    # Generation 0 is one model, which all arms share.
    assert len({arm.stock[0].adapter for arm in arms.values()}) == 1
    assert len({arm.stock[1].adapter for arm in arms.values()}) == 5


def test_loss_and_statistics_are_there_by_generation(done: tuple[Path, str]) -> None:
    for arm in report_of(done[0]).arms:
        assert len(arm.nll) == len(arm.entropy) == 3
        assert all(value > 0 for value in (*arm.nll, *arm.entropy))
        assert len(arm.examples) == 3
        assert arm.probe.verdict.generations == 3
        assert arm.probe.verdict.batches == 4
        names = [one.name for one in arm.probe.verdict.confirmations]
        assert names == ["real NLL", "anchor entropy", "rare slices"]
        assert arm.probe.verdict.slices
        assert all(one.name.startswith(("fine=", "all rare")) for one in arm.probe.verdict.slices)
        assert all(len(one.course) == 3 and one.before.n >= 3 for one in arm.probe.verdict.slices)
        assert arm.kept.verdict.slices == ()
        assert len(arm.probe.verdict.confirmations[0].changes) == 2
    # An hour of training is not to be told from a minute here, but real rows in training have to show in the loss.
    losses = {arm.arm: arm.nll[-1] for arm in report_of(done[0]).arms}
    assert losses["accumulate"] < losses["replace"]


def test_the_terminal_shows_arms_verdicts_and_advice(done: tuple[Path, str]) -> None:
    for words in (
        "loss on 40 real anchors",
        "share of the anchors of rare slices",
        "replace: each generation learns only",
        "next (",
        "Shumailov",
        "report:",
        "compare:",
    ):
        assert words in done[1]


def test_the_page_shows_arms_figures_and_texts_side_by_side(done: tuple[Path, str]) -> None:
    report = report_of(done[0])
    folder = done[0] / "runs" / "reports" / report.id
    page = (folder / "report.html").read_text(encoding="utf-8")
    for arm in report.arms:
        assert f'<section id="{arm.arm}">' in page
    for words in ("loss on 40 real anchors", "nnR", "Texts to the same prompts", "generation 2", "Do it again"):
        assert words in page
    assert page.count("data:image/png;base64,") == 1
    assert (folder / "figures" / "arms.png").read_bytes().startswith(b"\x89PNG")


def test_mlflow_has_a_run_per_arm_with_its_series(done: tuple[Path, str]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{done[0] / 'runs' / 'mlflow.db'}")
    (place,) = [one for one in client.search_experiments() if one.name == "tiny"]
    runs = {run.data.tags["variant"]: run for run in client.search_runs([place.experiment_id])}
    report = report_of(done[0])
    assert set(runs) == {arm.arm for arm in report.arms}
    for arm in report.arms:
        series = client.get_metric_history(runs[arm.arm].info.run_id, "collapse/real_nll")
        assert [(one.step, one.value) for one in sorted(series, key=lambda one: one.step)] == list(enumerate(arm.nll))
        assert [one.step for one in client.get_metric_history(runs[arm.arm].info.run_id, "collapse/probe/nnr")] != []


def test_a_second_call_reads_and_trains_nothing(done: tuple[Path, str]) -> None:
    folder, printed = done
    before = sorted(Store(folder / "runs").ids("generation"))
    again = harness(folder, "collapse", "run", "tiny.yaml")
    assert again.returncode == 0
    # The first call told of its progress besides.
    assert printed.endswith(again.stdout)
    assert "train " not in again.stdout
    assert sorted(Store(folder / "runs").ids("generation")) == before


def test_another_arm_takes_up_what_is_there(done: tuple[Path, str]) -> None:
    folder, _ = done
    before = set(Store(folder / "runs").ids("generation"))
    again = harness(folder, "collapse", "run", "tiny.yaml", "--set", "collapse.arms=[replace]", "--seeds", "1")
    assert again.returncode == 0, again.stderr
    assert set(Store(folder / "runs").ids("generation")) == before
