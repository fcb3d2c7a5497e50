"""The whole loop, real in every part: two rounds on a slice of TREC with the embedded LLM and the embedded student.

The runs are processes of their own, as a person starts them.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from harness.ablationreport import ablation_of
from harness.errors import DataError
from harness.filters import TABLE
from harness.loop import read_run
from harness.modekinds import KINDS
from harness.packaged import read_trec
from harness.records import Role
from harness.reports import RunReport
from harness.rowfiles import accepted_rows, write_rows
from harness.seal import openings, read_examples, role_file
from harness.store import Store, file_digest
from harness.texts import normalise

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(900)]

SPEC = """\
name: slice
seed: 3
task:
  noun: question
  labels:
    HUM: asking for a person or a group of people
    LOC: asking for a place
    NUM: asking for a number
data:
  source: {kind: file, path: questions.csv}
  columns: {text: question, label: kind}
  split: {seeds: 30, dev: 90, anchor: 20, test: 120, pool: 40}
matrix:
  dimensions:
    - {name: opening, use: opening, values: {any: 2, Who: 1, Where: 1, How: 1}}
    - {name: length, use: shots, values: [short, long]}
    - {name: topic, values: [any, history]}
  forbid:
    - {label: HUM, opening: [Where, How]}
    - {label: LOC, opening: [Who, How]}
    - {label: NUM, opening: [Who, Where]}
generate: {accepted_per_round: 24, over_generation: 2, max_waves: 2}
filters:
  consistency: {folds: 2, pass_folds: 2}
  judge: {gate_items: 10, audit: 2}
train: {steps: 20}
evaluate: {resamples: 200, controls: [static, raw], probe: {enabled: false}}
stop: {max_rounds: 2, patience: 2}
runtime: {store: runs, threads: 1, llm_threads: 1, tracking: {enabled: true}}
"""


def harness(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in `folder`, the network of other machines shut out by HF_HUB_OFFLINE alone."""
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )


def write_case(folder: Path) -> None:
    """390 distinct TREC questions of three labels, as a user's csv."""
    table = read_trec()
    seen: set[str] = set()
    by_label: dict[str, list[str]] = {"HUM": [], "LOC": [], "NUM": []}
    for row in table.rows:
        text, label = str(row["text"]), str(row["label"])
        if label in by_label and len(by_label[label]) < 130 and normalise(text) not in seen:
            seen.add(normalise(text))
            by_label[label].append(text)
    with (folder / "questions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "kind"])
        writer.writerows([text, label] for label, texts in by_label.items() for text in texts)
    (folder / "slice.yaml").write_text(SPEC, encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """A folder in which `harness run slice.yaml` has ended well."""
    folder = tmp_path_factory.mktemp("loop")
    write_case(folder)
    (folder / "runs").mkdir()
    (folder / "runs" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    done = harness(folder, "run", "slice.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def report_of(folder: Path) -> RunReport:
    store = Store(folder / "runs")
    return read_run(store, next(store.ids("run")))


def contents(folder: Path) -> Mapping[str, str]:
    """Hash of every data set's and adapter's file, by artefact id and name."""
    store = Store(folder / "runs")
    return {
        f"{ident}/{path.relative_to(store.find(ident).path)}": file_digest(path)
        for stage in ("dataset", "candidates", "split", "adapter")
        for ident in store.ids(stage)
        for path in sorted(store.find(ident).path.rglob("*"))
        if path.is_file()
    }


def calls(folder: Path) -> int:
    with sqlite3.connect(folder / "runs" / "calls.sqlite") as database:
        return int(database.execute("SELECT COUNT(*) FROM calls").fetchone()[0])


def test_the_report_counts_the_work_that_was_done_and_a_plan_lays_it_beside_its_forecast(finished: Path) -> None:
    report = report_of(finished)
    assert report.units["calls"] == report.cost.calls == report.used.calls
    assert report.units["training"] % 20 == 0
    assert report.units["embedding"] > 300
    assert report.memory > 300_000_000
    assert sum(report.seed_values["label"].values()) == 30
    said = harness(finished, "plan", "slice.yaml", "--scale", "--sizes", "5000")
    assert said.returncode == 0, said.stderr
    assert "its run took" in said.stdout
    assert "5,000" in said.stdout
    # The run itself is no base of its own forecast.
    assert "run it once at a small size" in " ".join(said.stdout.split())


def test_two_rounds_run_and_every_arm_is_scored(finished: Path) -> None:
    report = report_of(finished)
    assert len(report.rounds) == 2
    assert report.stop == "round limit of 2"
    assert set(report.test) == {
        "base",
        "seeds",
        "synthetic",
        "mixed",
        "real",
        "all_real",
        "closed",
        "static",
        "raw",
    } | (set(report.test) & {"synthetic_equal"})
    assert all(scored.n == 120 == scored.n_ok for scored in report.test.values())
    assert all(sum(sum(row.values()) for row in scored.confusion.values()) == 120 for scored in report.test.values())
    assert report.cost.calls > 0
    assert report.cost.usd == 0


def test_each_filter_off_in_turn_on_the_same_candidates_and_without_a_call(finished: Path) -> None:
    report, before = report_of(finished), calls(finished)
    said = harness(finished, "ablate", "slice.yaml")
    assert said.returncode == 0, said.stderr
    assert calls(finished) == before
    found = ablation_of(Store(finished / "runs"), report.id, report.seed)
    assert found is not None
    assert [one.filter for one in found.filters] == [item.name for item in TABLE if item.name != "leakage"]
    assert found.candidates == sum(each.parsed for each in report.rounds)
    by_name = {one.filter: one for one in found.filters}
    # The judge of this run was refused, so nothing changes without it and nothing is trained for it.
    assert (by_name["judge"].dropped, by_name["judge"].comparison) == (0, None)
    assert by_name["judge"].note == "the same rows come through without it"
    without = by_name["consistency"]
    assert without.dropped + without.relabelled > 0
    assert without.comparison is not None
    assert without.comparison.difference.n == 90
    assert without.comparison.p_holm is not None
    assert "difficulty abstains too" in without.note
    assert by_name["quota"].rows > found.rows
    page = (finished / "runs" / "reports" / report.id / "report.html").read_text("utf-8")
    assert "What was each filter worth?" in page
    assert (finished / "runs" / "reports" / report.id / "figures" / "ablation.png").exists()
    adapters = list(Store(finished / "runs").ids("adapter"))
    again = harness(finished, "ablate", "slice.yaml")
    title = "What each filter was worth"
    assert again.stdout.partition(title)[2] == said.stdout.partition(title)[2] != ""
    assert list(Store(finished / "runs").ids("adapter")) == adapters


def test_a_run_that_was_never_made_has_nothing_to_ablate(finished: Path) -> None:
    said = harness(finished, "ablate", "slice.yaml", "--set", "seed=77")
    assert said.returncode == 2
    assert "no finished run of this spec" in said.stderr
    assert "make it with `harness run`" in said.stderr


def test_controls_have_the_loops_calls_and_rows(finished: Path) -> None:
    report = report_of(finished)
    assert [one.name for one in report.controls] == ["closed", "static", "raw"]
    drawn = sum(each.planned for each in report.rounds)
    assert {one.candidates for one in report.controls} == {drawn}
    assert len({one.rows for one in report.controls}) == 1
    assert {one.name: one.score for one in report.controls} == {
        one.name: report.test[one.name].accuracy for one in report.controls
    }
    sizes = {arm: report.training_rows[arm] for arm in ("closed", "static", "raw")}
    assert set(sizes.values()) == {report.controls[0].rows + 30}
    claims = [(one.a, one.b) for one in report.comparisons if one.p_holm is not None]
    assert claims == [("mixed", "seeds"), ("closed", "static"), ("closed", "raw")]


def test_the_gaps_are_read_and_the_detectors_heard(finished: Path) -> None:
    report = report_of(finished)
    assert [one.gap for one in report.readings] == ["transfer", "source", "recovered"]
    assert report.diagnosis is not None
    assert report.diagnosis.leak is not None
    assert report.diagnosis.dev_test is not None
    assert [one.name for one in report.modes] == list(KINDS)
    assert "Known failure modes" in (finished / "runs" / "reports" / report.id / "report.html").read_text("utf-8")
    assert {"label=HUM", "label=LOC", "label=NUM"} <= {one.slice for one in report.changes}
    assert report.rounds[1].gain is not None
    assert report.rounds[1].evidence
    assert set(report.rounds[0].prompts) == {"HUM", "LOC", "NUM"}


def test_the_funnel_adds_up(finished: Path) -> None:
    for each in report_of(finished).rounds:
        for row in each.funnel:
            counts = list(row.counts.values())
            assert counts == sorted(counts, reverse=True)
            assert row.counts["planned"] - row.counts["accepted"] == sum(row.reasons.values())
        assert sum(row.counts["accepted"] for row in each.funnel) == each.accepted_total


def test_feedback_changed_the_second_plan_and_says_why(finished: Path) -> None:
    first, second = report_of(finished).rounds
    assert second.plan.parents[0] == first.plan_id
    assert second.plan.changes
    assert second.plan.changes != first.plan.changes


def test_no_held_out_text_left_the_machine_room(finished: Path) -> None:
    split = Store(finished / "runs").find(report_of(finished).artefacts["split"])
    held = [
        example.text
        for role in (Role.DEV, Role.ANCHOR, Role.TEST)
        for example in read_examples(split / role_file(role))
    ]
    with sqlite3.connect(finished / "runs" / "calls.sqlite") as database:
        bodies = [
            json.dumps(json.loads(row[0]), ensure_ascii=False) for row in database.execute("SELECT request FROM calls")
        ]
    assert len(bodies) > 20
    assert [text for text in held if any(json.dumps(text, ensure_ascii=False)[1:-1] in body for body in bodies)] == []


def test_the_test_split_was_opened_once(finished: Path) -> None:
    report = report_of(finished)
    assert [one.run for one in report.openings] == [report.id]
    assert report.openings == openings(Store(finished / "runs"))


def test_a_second_run_calls_nothing_and_trains_nothing(finished: Path) -> None:
    before, asked = contents(finished), calls(finished)
    probe = (
        "import atexit, sys; from harness import cli; sys.argv = ['harness', 'run', 'slice.yaml']; "
        "atexit.register(lambda: print([name for name in ('torch', 'mlflow', 'openai', 'peft', 'xllamacpp') "
        "if name in sys.modules])); cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=finished, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "report:" in done.stdout
    assert (contents(finished), calls(finished)) == (before, asked)


@pytest.mark.slow
def test_the_same_spec_and_seed_give_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    write_case(tmp_path)
    done = harness(tmp_path, "run", "slice.yaml", "--set", "runtime.tracking.enabled=false", PYTHONHASHSEED="7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(tmp_path) == contents(finished)
    assert report_of(tmp_path).test == report_of(finished).test


def test_the_data_set_loads_with_datasets(finished: Path) -> None:
    from datasets import load_dataset

    store = Store(finished / "runs")
    folder = store.find(report_of(finished).rounds[-1].dataset).path
    loaded = load_dataset(str(folder), cache_dir=str(finished / "cache"))
    assert set(loaded) == {"train", "validation"}
    rows = [row for part in loaded.values() for row in part]
    assert len(rows) == report_of(finished).rounds[-1].accepted_total
    assert all(row["call"] and row["shots"] and row["label"] in ("HUM", "LOC", "NUM") for row in rows)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_the_rows_leave_as_a_file_with_the_seeds_where_asked_for(finished: Path, tmp_path: Path, ending: str) -> None:
    found = report_of(finished)
    store = Store(finished / "runs")
    rows = accepted_rows(found, store)
    seeds = read_examples(store.find(found.artefacts["split"]) / role_file(Role.SEEDS))
    to = tmp_path / "new" / f"rows{ending}"
    done = harness(finished, "rows", found.id, "--to", str(to), "--with-seeds")
    assert done.stdout == f"{to}: {len(rows) + 30} rows\n", done.stderr
    read = {
        ".csv": pd.read_csv,
        ".tsv": lambda path: pd.read_csv(path, sep="\t"),
        ".jsonl": lambda path: pd.read_json(path, lines=True),
        ".parquet": pd.read_parquet,
    }
    back = read[ending](to)
    back = back if "id" in back else back.reset_index()
    real, made = (back[back["origin"] == origin] for origin in ("real", "synthetic"))
    assert dict(zip(real["text"], real["label"], strict=True)) == {one.text: one.label for one in seeds}
    assert list(zip(made["id"], made["text"], made["label"], made["split"], strict=True)) == list(
        zip(rows.index, rows["text"], rows["label"], rows["split"], strict=True)
    )
    shown = made["shots"].iloc[0]
    assert set(shown.split() if isinstance(shown, str) else shown) == set(rows["shots"].iloc[0]) <= set(real["id"])
    assert [path.name for path in to.parent.iterdir()] == [to.name]


def test_rows_overwrite_no_file_and_need_an_ending_that_is_known(finished: Path, tmp_path: Path) -> None:
    found, store, to = report_of(finished), Store(finished / "runs"), tmp_path / "rows.csv"
    assert write_rows(found, store, to) == len(accepted_rows(found, store))
    before = to.read_bytes()
    with pytest.raises(DataError, match=r"rows\.csv' is there already"):
        write_rows(found, store, to, seeds=True)
    assert to.read_bytes() == before
    with pytest.raises(DataError, match=r"allowed are \.csv, \.tsv, \.jsonl, \.parquet"):
        write_rows(found, store, tmp_path / "rows.xlsx")


def test_the_report_page_and_mlflow_are_there_and_can_be_made_again(finished: Path) -> None:
    report = report_of(finished)
    page = finished / "runs" / "reports" / report.id / "report.html"
    first = page.read_bytes()
    page.unlink()
    assert harness(finished, "report", report.id).returncode == 0
    assert page.read_bytes() == first
    assert harness(finished, "track", report.id).returncode == 0
    with sqlite3.connect(finished / "runs" / "mlflow.db") as database:
        names = {row[0] for row in database.execute("SELECT key FROM metrics WHERE key LIKE 'gap/%'")}
        tracked = database.execute("SELECT COUNT(*) FROM tags WHERE key = 'harness.run'").fetchone()[0]
    assert "gap/recovered" in names
    assert tracked >= 1


def test_show_leads_from_a_row_to_its_prompt_and_seeds(finished: Path) -> None:
    store = Store(finished / "runs")
    lines = (store.find(next(store.ids("candidates"))) / "candidates.jsonl").read_text().splitlines()
    one = json.loads(lines[0])
    shown = harness(finished, "show", one["id"])
    assert shown.returncode == 0, shown.stderr
    for expected in (one["id"], one["call"][:12], one["shots"][0], "Question:"):
        assert expected in shown.stdout


SERVER = """
import sys, time
from pathlib import Path
import xllamacpp
from harness.llm.embedded import find_model
params = xllamacpp.CommonParams()
params.model.path = str(find_model())
params.n_parallel, params.n_ctx, params.hostnames, params.port = 8, 8 * 1024, ["127.0.0.1"], 0
params.model_alias = {"tiny-chat"}
params.api_keys = ["a-key-for-the-test"]
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_an_endpoint_over_http_needs_only_url_model_and_key(finished: Path, tmp_path: Path) -> None:
    write_case(tmp_path)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        address = next(line for line in server.stdout if line.startswith("http")).strip()
        done = harness(
            tmp_path,
            "run",
            "slice.yaml",
            *("--set", f"llm.generator.base_url={address}/v1", "--set", "llm.generator.model=tiny-chat"),
            *("--set", "llm.generator.api_key_env=TINY_KEY", "--set", "stop.max_rounds=1"),
            *("--set", "runtime.tracking.enabled=false", "--set", "filters.judge.enabled=false"),
            TINY_KEY="a-key-for-the-test",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert report_of(tmp_path).rounds[0].parsed > 0
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path for path in written if b"a-key-for-the-test" in path.read_bytes()] == []
    finally:
        server.kill()
        server.wait()
