"""The command line: what it prints, what it refuses and with which exit code, and what it loads."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from factories import make_run_report
from run_cases import finish

import harness.loop
import harness.report
import harness.specfile
import harness.tracking
from harness import cli
from harness.errors import EndpointError
from harness.reports import RunReport
from harness.spec import Spec
from harness.store import Store

HEAVY = (
    *("torch", "mlflow", "openai", "pydantic", "numpy", "scipy", "pandas", "pyarrow", "transformers", "peft"),
    *("datasets", "sentence_transformers", "matplotlib", "jinja2", "yaml", "sklearn", "xllamacpp"),
)
SETTINGS = ("OMP_WAIT_POLICY", "MLFLOW_DISABLE_TELEMETRY", "TOKENIZERS_PARALLELISM", "TQDM_DISABLE")
QUIET = ("--set", "runtime.tracking.enabled=false")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Place:
    """A folder in which commands are typed, in this process."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments: str) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert isinstance(caught.value.code, int)
        return Done(caught.value.code, *self.capsys.readouterr())

    def task(self) -> Path:
        """my-task/my-task.yaml of `harness init` with a smaller split, and a csv of 40 rows of each label."""
        assert self("init", "my-task").code == 0
        path = self.folder / "my-task" / "my-task.yaml"
        text = path.read_text(encoding="utf-8")
        for role, size in FITTING.items():
            text = re.sub(rf"^    {role}: \d+ ", f"    {role}: {size} ", text, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")
        with (self.folder / "my-task" / "examples.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            rows.writerows(
                [f"text {i} of the {label}: {7919 * i % 1000}", label]
                for i in range(40)
                for label in ("first_label", "second_label")
            )
        return path


FITTING = {"seeds": 32, "dev": 15, "anchor": 7, "test": 25}


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Generator[Place]:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.chdir(tmp_path)
    for name in (*SETTINGS, "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    yield Place(tmp_path, capsys, monkeypatch)
    signal.signal(signal.SIGINT, before)


def started(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own, as a person starts it."""
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(done: Done) -> str:
    """The one paragraph of a command that a person can mend."""
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.startswith("error: ")
    assert done.err.endswith("\n")
    assert "\n\n" not in done.err
    return done.err.removeprefix("error: ").rstrip("\n")


def loaded(folder: Path, *arguments: str) -> list[str]:
    """Which heavy packages a command loads."""
    probe = (
        "import sys\nfrom harness import cli\nsys.argv = ['harness', *sys.argv[2:]]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, "harness", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return eval(done.stdout.splitlines()[-1])  # noqa: S307 - a list of names that this test printed


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded(tmp_path, "--help") == []
    # typer itself looks at pydantic for a command's options, where it is installed.
    assert set(loaded(tmp_path, "run", "--help")) <= {"pydantic"}


def test_checking_a_file_loads_no_model_and_no_mlflow(place: Place) -> None:
    found = loaded(place.folder, "validate", str(place.task()))
    assert "pydantic" in found
    assert set(found) <= {"pydantic", "yaml", "jinja2", "numpy"}


def test_showing_a_store_loads_no_model_and_no_mlflow(tmp_path: Path) -> None:
    finish(Store(tmp_path / "runs"), 0, {"seeds": 60, "mixed": 70})
    assert not {"torch", "mlflow", "openai", "transformers", "peft", "matplotlib"} & set(loaded(tmp_path, "show"))


def test_a_plan_reads_the_human_labels_and_names_what_is_wrong_with_them(place: Place) -> None:
    path = place.task()
    plan = ("plan", str(path), "--set", "filters.judge.human_labels=reviews.csv")
    assert "human_labels=reviews.csv: no file " in refused(place(*plan))
    reviews = path.parent / "reviews.csv"
    reviews.write_text("id,text,label,decision\nsyn-1,Fine.,first_label,acept\n")
    assert refused(place(*plan)).startswith("reviews.csv:2: decision 'acept' is not one of 'accept', 'reject'")
    reviews.write_text("id,text,label,decision\nsyn-1,Fine.,first_label,accept\nsyn-2,Bad.,first_label,reject\n")
    done = place(*plan)
    assert done.code == 0
    # Two items, one of them twice.
    (row,) = [line.split() for line in done.out.splitlines() if "gate, once per run" in line]
    assert "3" in row


def suite_of(place: Place, variants: str) -> Path:
    path = place.folder / "suite.yaml"
    path.write_text(
        f"base: my-task/{place.task().name}\nset: {{runtime.tracking.enabled: false}}\nvariants: {variants}\n"
    )
    return path


def test_a_bad_suite_is_refused_before_anything_runs(place: Place) -> None:
    done = place("compare", str(suite_of(place, "{a: {filters.judg.enabled: false}, b: {}}")))
    assert done.code == 2
    assert "unknown key 'judg'; did you mean 'judge'?" in done.err
    assert not (place.folder / "runs").exists()


def test_the_forecast_of_a_suite_loads_no_model_and_runs_nothing(place: Place) -> None:
    suite = suite_of(place, "{a: {filters.judge.enabled: false}}")
    found = loaded(place.folder, "compare", str(suite), "--dry-run")
    assert not {"torch", "mlflow", "openai", "transformers", "peft", "matplotlib"} & set(found)
    done = place("compare", str(suite), "--dry-run", "--only", "a")
    assert done.code == 0
    assert "runs left" in done.out
    assert "together, all seeds" in done.out
    assert list(Store(place.folder / "runs").ids()) == []


def test_a_further_look_of_a_suite_needs_words(place: Place) -> None:
    done = place("compare", str(suite_of(place, "{a: {train.steps: 7}}")), "--reopen-test", " ")
    assert done.code == 2
    assert "--reopen-test ''" in done.err


def test_help_names_every_command(place: Place) -> None:
    done = place("--help")
    assert done.code == 0
    for name in ("init", "validate", "plan", "run", "compare", "show", "report", "review", "track"):
        assert f" {name} " in done.out
    assert place().code == 2


def test_from_init_to_plan(place: Place) -> None:
    done = place("init", "my-task")
    assert done.code == 0
    assert f"wrote {place.folder / 'my-task' / 'my-task.yaml'}" in done.out
    assert "columns `text` and `label`" in done.out
    (place.folder / "my-task" / "my-task.yaml").unlink()
    file = str(place.task().relative_to(place.folder))
    done = place("validate", file)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{file}: valid. Name my-task, 2 labels, seed 0.\nNext: harness plan {file}\n"
    done = place("plan", file)
    assert (done.code, done.err) == (0, "")
    words = " ".join(done.out.split())
    for shown in (
        "distinct in the source 80",
        "Round 1: 720 candidates from 18 of 18 allowed cells",
        "label first_label 360 50.0%",
        "generator round 1 SmolLM2-135M-Instruct 90",
        "prompt tokens answer tokens USD",
        "Budget limit set to expected at most so",
        "mixed, each round 2",
        "Look at this first test: 25 items; 500 or more are advised.",
    ):
        assert shown in words, shown
    assert not (place.folder / "runs").exists()


def test_a_plan_of_more_items_than_there_are_is_refused_with_sizes_that_fit(place: Place) -> None:
    done = place("plan", str(place.task()), "--set", "data.split={seeds: 120, dev: 300, anchor: 150, test: 500}")
    assert done.out == ""
    said = refused(done)
    assert "data.split asks for 1,070 items" in said
    assert "the data has 80 distinct ones. Add rows, or set lower sizes, e.g. `split: {seeds: 32, dev: 15, " in said


def test_plan_shows_money_where_tokens_cost_some(place: Place) -> None:
    endpoint = "{base_url: 'http://127.0.0.1:9/v1', model: some-model, price: {input: 1.0, output: 2.0}}"
    done = place("plan", str(place.task()), "--set", f"llm.generator={endpoint}", "--set", "budget.usd=0.001")
    assert done.code == 0
    (line,) = [line.split() for line in done.out.splitlines() if line.split()[:1] == ["usd"]]
    assert line[1] == "0.0010"
    assert float(line[2]) > 0.001
    assert "too little: a hard stop" in " ".join(line)


def test_a_seed_can_be_set_from_the_command_line(place: Place) -> None:
    assert "seed 41." in place("validate", str(place.task()), "--set", "seed=41").out


def test_all_mistakes_of_a_file_come_at_once_with_their_lines(place: Place) -> None:
    file = place.task()
    lines = file.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("seed:"))
    lines[at] = "sede: 0"
    lines.append("budget2: {}")
    file.write_text("\n".join(lines))
    name = str(file.relative_to(place.folder))
    text = refused(place("validate", name))
    assert f"{name}:{at + 1}: sede: unknown key; did you mean 'seed'?" in text.replace(" 'sede'", "")
    assert f"{name}:{len(lines)}: budget2: unknown key" in text.replace(" 'budget2'", "")
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "nothing.yaml"], "nothing.yaml: no such file; `harness init NAME` writes a commented one"),
        (["plan", "nothing.yaml"], "nothing.yaml: no such file"),
        (["run", "nothing.yaml"], "nothing.yaml: no such file"),
        (["validate", "."], ".: is a folder"),
        (["init", "../up"], "../up: '../up' cannot name a task"),
        (["show"], "no store in 'runs'. Name the folder that the run used"),
        (["show", "run-1", "--store", "nowhere"], "no store in 'nowhere'"),
        (["report", "run-1"], "no store in 'runs'"),
        (["track", "run-1"], "no store in 'runs'"),
    ],
)
def test_what_is_not_there_is_said_and_not_made(place: Place, arguments: list[str], message: str) -> None:
    assert refused(place(*arguments)).startswith(message)
    assert list(place.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: is not of the form a.b=value"),
        ("sede=3", "--set sede=3: unknown key 'sede'; did you mean 'seed'?"),
        ("stop.max_rounds=many", "--set stop.max_rounds=many: 'many' is not a whole number"),
        ("seed=[", "--set seed=["),
    ],
)
def test_overrides_that_cannot_be_used(place: Place, override: str, message: str) -> None:
    file = str(place.task())
    for command in ("validate", "plan", "run"):
        assert message in refused(place(command, file, "--set", override))
    assert not (place.folder / "runs").exists()


@pytest.mark.parametrize("seeds", ["", ",", "1,", "a", "1,2,x", "-1", "1.5", "1,1", "1,01", "²", "9" * 5000])
def test_seeds_that_are_no_list_of_numbers(place: Place, seeds: str) -> None:
    text = refused(place("run", str(place.task()), f"--seeds={seeds}"))
    assert text.startswith(f"--seeds {seeds[:100]!r}: give different whole numbers")
    assert len(text) < 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["--bogus"], "No such option: --bogus"),
        (["run", "x.yaml", "--bogus"], "No such option: --bogus"),
        (["run"], "Missing argument"),
        (["validate", "a.yaml", "b.yaml"], "unexpected extra argument"),
        (["run", "x.yaml", "--seeds"], "requires an argument"),
    ],
)
def test_mistyped_commands_are_refused(place: Place, arguments: list[str], message: str) -> None:
    done = place(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in " ".join(done.err.split())
    assert "Traceback" not in done.err


@pytest.fixture
def run_there(place: Place) -> RunReport:
    """A finished run in runs/."""
    return finish(Store(place.folder / "runs"), 0, {"seeds": 60, "mixed": 70, "all_real": 90})


def test_show_lists_runs_and_leads_to_ancestors(place: Place, run_there: RunReport) -> None:
    done = place("show")
    assert (done.code, done.err) == (0, "")
    assert run_there.id in done.out
    assert "1 finished run(s)" in done.out
    done = place("show", run_there.artefacts["evaluation"][:14])
    assert done.code == 0
    assert run_there.artefacts["evaluation"] in done.out
    assert f"belongs to: {run_there.id}" in done.out


@pytest.mark.parametrize("command", ["show", "report", "track"])
@pytest.mark.parametrize("ident", ["dataset-0123456789abcdef", "nothing", "../../etc", "", "\x1b[2J"])
def test_ids_that_are_not_in_the_store(place: Place, run_there: RunReport, command: str, ident: str) -> None:
    text = refused(place(command, ident))
    assert repr(ident) in text
    assert "\x1b" not in text


@pytest.mark.parametrize("command", ["report", "track"])
def test_only_runs_have_reports(place: Place, run_there: RunReport, command: str) -> None:
    text = refused(place(command, run_there.artefacts["split"]))
    assert text.startswith(f"{run_there.artefacts['split']!r} is no run. Runs in 'runs': [{run_there.id!r}]")


def stub_page(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A page that takes no pictures to make; returns the ids of the runs that one was made for."""
    made: list[str] = []

    def write(report: RunReport, folder: Path, _ablation: object = None) -> Path:
        made.append(report.id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text("page")
        return folder / "report.html"

    monkeypatch.setattr(harness.report, "write_report", write)
    return made


def test_report_makes_the_page_again_each_time(place: Place, run_there: RunReport) -> None:
    made = stub_page(place.monkeypatch)
    page = f"{Path('runs') / 'reports' / run_there.id / 'report.html'}\n"
    assert place("report", run_there.id) == Done(0, page, "")
    assert place("report", run_there.id[:8]) == Done(0, page, "")
    assert made == [run_there.id] * 2


def test_track_asks_mlflow_each_time_and_says_how_to_look(place: Place, run_there: RunReport) -> None:
    asked: list[tuple[str, str]] = []

    def track(report: RunReport, *, uri: str, experiment: str, **_: object) -> str:
        asked.append((uri, experiment))
        return "parent"

    stub_page(place.monkeypatch)
    place.monkeypatch.setattr(harness.tracking, "track", track)
    own = f"sqlite:///{place.folder}/runs/mlflow.db"
    for _ in range(2):
        done = place("track", run_there.id)
        assert done == Done(0, f"compare: mlflow ui --backend-store-uri {own} --host 127.0.0.1\n", "")
    done = place("track", run_there.id, "--uri", "http://127.0.0.1:5000", "--experiment", "mine")
    assert done == Done(0, "compare: http://127.0.0.1:5000\n", "")
    assert asked == [(own, run_there.name)] * 2 + [("http://127.0.0.1:5000", "mine")]


def test_an_mlflow_that_is_down_fails_track_with_a_sentence(place: Place, run_there: RunReport) -> None:
    stub_page(place.monkeypatch)
    (place.folder / "a-folder").mkdir()
    text = refused(place("track", run_there.id, "--uri", f"sqlite:///{place.folder}/a-folder"))
    assert f"`harness track {run_there.id}` repeats only this step" in text


def use_finished(place: Place, reports: Mapping[int, RunReport]) -> None:
    """`harness run` finds these reports by their seeds."""
    place.monkeypatch.setattr(harness.loop, "finished", lambda spec, base: reports[spec.seed])


def test_run_of_a_finished_run_only_reads_it(place: Place) -> None:
    report = make_run_report()
    made = stub_page(place.monkeypatch)
    use_finished(place, {0: report})
    done = place("run", str(place.task()), *QUIET)
    assert (done.code, done.err) == (0, "")
    assert f"factory-test, seed 7 ({report.id})\nMixed beat seeds only by 7.0 points of accuracy" in done.out
    page = Path("runs") / "reports" / report.id / "report.html"
    assert done.out.endswith(f"report: {page}\nrows: harness rows {report.id} --to factory-test.csv\n")
    assert made == [report.id]


def test_a_run_is_not_lost_where_mlflow_is_down(place: Place) -> None:
    report = finish(Store(place.folder / "runs"), 0, {"seeds": 60, "mixed": 70})
    stub_page(place.monkeypatch)
    use_finished(place, {0: report})
    (place.folder / "a-folder").mkdir()
    uri = f"sqlite:///{place.folder}/a-folder"
    done = place("run", str(place.task()), "--set", f"runtime.tracking.uri={uri}")
    assert (done.code, done.err) == (0, "")
    assert f"({report.id})" in done.out
    assert "report: runs/" in done.out
    (note,) = [line for line in done.out.splitlines() if line.startswith("note: not in MLflow yet: ")]
    assert f"harness track {report.id}" in note
    assert "compare:" not in done.out


def test_several_seeds_are_run_and_pooled(place: Place) -> None:
    store = Store(place.folder / "runs")
    reports = {
        seed: finish(store, seed, {"seeds": 60, "mixed": mixed, "all_real": 90}) for seed, mixed in ((3, 70), (5, 80))
    }
    stub_page(place.monkeypatch)
    use_finished(place, reports)
    done = place("run", str(place.task()), *QUIET, "--seeds", "3, 5")
    assert (done.code, done.err) == (0, "")
    assert done.out.index(reports[3].id) < done.out.index(reports[5].id) < done.out.index("2 seeds pooled, accuracy")
    (row,) = [line.split() for line in done.out.splitlines() if line.strip().startswith("mixed − seeds")]
    assert (row[3], row[-2:]) == ("+15.0", ["+10.0", "+20.0"])
    (file,) = (store.root / "reports").glob("pooled-*/pooled.json")
    assert done.out.endswith(f"pooled: {file.relative_to(place.folder)}\n")
    assert json.loads(file.read_bytes())["differences"][0]["pooled"]["items"]["value"] == pytest.approx(0.15)
    assert "gap recovered: 0.50 [" in done.out
    assert "; by seed 0.33 0.67" in done.out
    assert "with seed noise as well: [" in done.out


def test_a_mistake_in_one_seed_is_found_before_any_runs(place: Place) -> None:
    def nobody(spec: Spec, base: Path) -> RunReport:
        raise AssertionError("nothing may run yet")

    place.monkeypatch.setattr(harness.loop, "finished", nobody)
    assert "sede" in refused(place("run", str(place.task()), "--seeds", "1,2", "--set", "sede=1"))


@pytest.mark.parametrize(("source", "offline"), [("file", "1"), ("hub", "0")])
def test_a_run_that_needs_no_hub_looks_for_none(place: Place, source: str, offline: str) -> None:
    seen: list[str] = []

    def run(spec: Spec, base: Path, progress: Any, reopen: str) -> RunReport:
        assert reopen == ""
        seen.append(os.environ["HF_HUB_OFFLINE"])
        progress.note("at work")
        return make_run_report()

    stub_page(place.monkeypatch)
    place.monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    place.monkeypatch.setattr(harness.loop, "finished", lambda spec, base: None)
    place.monkeypatch.setattr(harness.loop, "run", run)
    sources = {"file": [], "hub": ["--set", "data.source={kind: hub, name: some/set}"]}
    done = place("run", str(place.task()), *QUIET, *sources[source])
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("note: at work\n")
    assert seen == [offline]


def test_the_reason_for_a_further_look_reaches_every_seed(place: Place) -> None:
    store = Store(place.folder / "runs")
    reports = {seed: finish(store, seed, {"seeds": 60, "mixed": 70}) for seed in (3, 5)}
    seen: list[tuple[int, str]] = []

    def run(spec: Spec, base: Path, progress: Any, reopen: str) -> RunReport:
        seen.append((spec.seed, reopen))
        return reports[spec.seed]

    stub_page(place.monkeypatch)
    place.monkeypatch.setattr(harness.loop, "finished", lambda spec, base: None)
    place.monkeypatch.setattr(harness.loop, "run", run)
    done = place(
        "run", str(place.task()), *QUIET, "--seeds", "3,5", "--reopen-test", " replicates \n on one split\x1b "
    )
    assert (done.code, done.err) == (0, "")
    assert seen == [(3, "replicates on one split\\x1b"), (5, "replicates on one split\\x1b")]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 301])
def test_a_further_look_needs_words(place: Place, reason: str) -> None:
    assert refused(place("run", str(place.task()), "--reopen-test", reason)).startswith("--reopen-test '")


def test_runs_that_left_the_test_sealed_are_pooled_on_dev_and_say_so(place: Place) -> None:
    store = Store(place.folder / "runs")
    stub_page(place.monkeypatch)
    use_finished(place, {seed: finish(store, seed, {"seeds": 60, "mixed": 70}, sealed=True) for seed in (0, 1)})
    done = place("run", str(place.task()), *QUIET, "--seeds", "0,1")
    assert (done.code, done.err) == (0, "")
    assert "2 seeds pooled, accuracy on dev" in done.out
    assert "no result" in done.out


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def test_ctrl_c_says_that_nothing_is_lost(place: Place) -> None:
    place.monkeypatch.setattr(harness.specfile, "load", failing(KeyboardInterrupt()))
    done = place("run", "x.yaml")
    assert (done.code, done.out) == (130, "")
    assert done.err == "\nstopped. What was finished is kept: the same command goes on from here.\n"


def test_ctrl_c_does_not_wait_for_the_loop_to_come_up_for_air(place: Place) -> None:
    def run(spec: Spec, base: Path, progress: Any, reopen: str) -> RunReport:
        async def train() -> RunReport:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("training went on")

        return asyncio.run(train())

    signal.signal(signal.SIGINT, signal.default_int_handler)
    place.monkeypatch.setattr(harness.loop, "finished", lambda spec, base: None)
    place.monkeypatch.setattr(harness.loop, "run", run)
    done = place("run", str(place.task()), *QUIET)
    assert done.code == 130
    assert "the same command goes on from here" in done.err


def test_a_real_signal_ends_it_the_same_way(tmp_path: Path) -> None:
    probe = (
        "import signal, sys, time\nimport harness.specfile\nfrom harness import cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def load(*_):\n    print('ready', flush=True)\n    time.sleep(100)\n"
        "harness.specfile.load = load\nsys.argv = ['harness', 'run', 'x.yaml']\ncli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", probe], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert err == "\nstopped. What was finished is kept: the same command goes on from here.\n"


def test_errors_of_others_words_are_shown_and_not_obeyed(place: Place) -> None:
    said = "the endpoint says: \x1b[2J[red]x[/red]\u202e"
    place.monkeypatch.setattr(harness.specfile, "load", failing(EndpointError(said)))
    assert refused(place("run", "x.yaml")) == "the endpoint says: \\x1b[2J[red]x[/red]\\u202e"


def test_a_defect_stays_a_traceback(place: Place) -> None:
    place.monkeypatch.setattr(harness.specfile, "load", failing(ZeroDivisionError("a defect")))
    place.monkeypatch.setattr(sys, "argv", ["harness", "run", "x.yaml"])
    with pytest.raises(ZeroDivisionError, match="a defect"):
        cli.main()


def test_a_process_with_a_defect_prints_the_whole_traceback(tmp_path: Path) -> None:
    probe = (
        "import sys\nimport harness.specfile\nfrom harness import cli\n"
        "harness.specfile.load = lambda *_: 1 / 0\nsys.argv = ['harness', 'run', 'x.yaml']\ncli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_as_a_process_it_refuses_and_answers_alike(tmp_path: Path) -> None:
    done = started(tmp_path, "validate", "nothing.yaml")
    assert refused(Done(done.returncode, done.stdout, done.stderr)).startswith("nothing.yaml: no such file")
    done = started(tmp_path, "init", "my-task")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "my-task" / "my-task.yaml").exists()


def test_a_log_that_lacks_a_character_costs_no_result(place: Place) -> None:
    done = started(place.folder, "plan", str(place.task()), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2013" in done.stdout
    assert "What these numbers rest on" in done.stdout


def test_a_reader_that_goes_away_is_no_traceback(place: Place) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "plan", str(place.task())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()
