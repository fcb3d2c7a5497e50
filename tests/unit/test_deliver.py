"""What follows a run: the page from the store, and MLflow, which may be down."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import make_spec
from run_cases import finish

import harness.report
import harness.tracking
from harness.deliver import TRACKED, deliver, deliver_report, prompt_texts, report_folder, track_report, tracking_uri
from harness.errors import StoreError
from harness.reports import RunReport
from harness.spec import Spec, Tracking
from harness.store import Store, read_json

RIGHT = {"seeds": 60, "mixed": 70}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def report(store: Store) -> RunReport:
    return finish(store, 0, RIGHT)


@pytest.fixture
def plain_page(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders for which a page was made; the page itself is a word."""
    made: list[Path] = []

    def write(report: RunReport, folder: Path, _ablation: object = None) -> Path:
        made.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text("page")
        return folder / "report.html"

    monkeypatch.setattr(harness.report, "write_report", write)
    return made


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was handed to MLflow."""
    calls: list[dict[str, Any]] = []

    def track(report: RunReport, **parts: Any) -> str:
        calls.append({"report": report, **parts})
        return "parent"

    monkeypatch.setattr(harness.tracking, "track", track)
    return calls


def spec_of(store: Store, **tracking: Any) -> Spec:
    return make_spec(runtime={"store": store.root, "tracking": tracking})


def broken_uri(store: Store) -> str:
    """A database that cannot be opened, because it is a folder."""
    folder = store.root / "no-database"
    folder.mkdir()
    return f"sqlite:///{folder}"


def test_an_mlflow_out_of_reach_is_a_note_and_costs_nothing(store: Store, report: RunReport, plain_page: Any) -> None:
    page, uri, fault = deliver(report, spec_of(store, uri=broken_uri(store)), store)
    assert page.read_text() == "page"
    assert uri == ""
    assert "cannot be used" in fault
    assert f"`harness track {report.id}` repeats only this step" in fault
    assert not (report_folder(store, report.id) / TRACKED).exists()
    assert store.damaged(report.id) == []


def test_once_it_is_back_the_same_run_is_shown(store: Store, report: RunReport, plain_page: Any, tracked: Any) -> None:
    tracked_uri = deliver(report, spec_of(store), store)[1]
    assert tracked_uri == f"sqlite:///{store.root.resolve()}/mlflow.db"
    assert len(tracked) == 1


def test_a_marker_saves_the_second_look(store: Store, report: RunReport, plain_page: Any, tracked: Any) -> None:
    first = deliver(report, spec_of(store), store)
    assert deliver(report, spec_of(store), store) == first
    assert len(tracked) == 1
    assert len(plain_page) == 1


def test_the_marker_keeps_mlflow_from_being_loaded(store: Store, report: RunReport, plain_page: Any, tracked: Any):
    deliver(report, spec_of(store), store)
    probe = (
        "import json, sys; from pathlib import Path; from harness.deliver import deliver; "
        "from harness.loop import read_run; from harness.spec import Spec; from harness.store import Store; "
        "spec = Spec.model_validate(json.loads(sys.argv[1])); store = Store(spec.runtime.store); "
        "print(deliver(read_run(store, sys.argv[2]), spec, store)[1:]); "
        "print([name for name in ('mlflow', 'matplotlib', 'torch') if name in sys.modules])"
    )
    content = json.dumps(spec_of(store).model_dump(mode="json"))
    done = subprocess.run(
        [sys.executable, "-c", probe, content, report.id], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines() == [repr((tracking_uri(Tracking(), store), "")), "[]"]


@pytest.mark.parametrize(
    "change",
    [
        lambda report, store, monkeypatch: track_report(report, store, Tracking(), again=True),
        lambda report, store, monkeypatch: track_report(report, store, Tracking(uri="http://127.0.0.1:9")),
        lambda report, store, monkeypatch: track_report(report, store, Tracking(experiment="another")),
        lambda report, store, monkeypatch: (
            monkeypatch.setattr(harness.tracking, "LAYOUT", harness.tracking.LAYOUT + 1),
            track_report(report, store, Tracking()),
        ),
    ],
    ids=["asked again", "another server", "another experiment", "another layout"],
)
def test_the_marker_is_good_for_one_view_only(
    change: Callable[..., object],
    store: Store,
    report: RunReport,
    plain_page: Any,
    tracked: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deliver(report, spec_of(store), store)
    change(report, store, monkeypatch)
    assert len(tracked) == 2


def test_a_marker_that_cannot_be_written_costs_nothing(
    store: Store, report: RunReport, plain_page: Any, tracked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        assert path.name == TRACKED
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert deliver(report, spec_of(store), store)[2] == ""


def test_mlflow_gets_the_models_data_sets_prompts_and_the_page(
    store: Store, report: RunReport, plain_page: Any, tracked: Any
) -> None:
    deliver(report, spec_of(store, experiment="all of them"), store)
    (call,) = tracked
    assert call["report"] == report
    assert call["experiment"] == "all of them"
    assert call["report_folder"] == plain_page[0] == store.root / "reports" / report.id
    assert {name: (folder / "README.md").read_text() for name, folder in call["adapters"].items()} == {
        "seeds": "# seeds",
        "mixed": "# mixed",
    }
    assert list(call["datasets"]) == [each.dataset for each in report.rounds]
    assert all((folder / "README.md").exists() for folder in call["datasets"].values())
    assert call["prompts"] == prompt_texts()


def test_a_model_that_was_deleted_is_a_note(store: Store, report: RunReport, plain_page: Any, tracked: Any) -> None:
    gone = store.find(report.artefacts["adapter/mixed"]).path
    (gone / "manifest.json").unlink()
    fault = deliver(report, spec_of(store), store)[2]
    assert report.artefacts["adapter/mixed"] in fault
    assert tracked == []


def test_a_defect_is_not_hidden_as_a_note(
    store: Store, report: RunReport, plain_page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: Any, **__: Any) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(harness.tracking, "track", defect)
    with pytest.raises(ZeroDivisionError):
        deliver(report, spec_of(store), store)


def test_tracking_that_is_off_stays_off(store: Store, report: RunReport, plain_page: Any, tracked: Any) -> None:
    page, uri, fault = deliver(report, spec_of(store, enabled=False), store)
    assert page.exists()
    assert (uri, fault, tracked) == ("", "", [])


def test_a_report_made_again_is_the_same(store: Store, report: RunReport) -> None:
    page = deliver_report(report, store)
    first = {path: path.read_bytes() for path in sorted(page.parent.rglob("*")) if path.is_file()}
    assert read_json(page.parent / "report.json", RunReport) == report
    page.write_text("scribbled over")
    assert deliver_report(report, store) == page
    assert page.read_text() == "scribbled over"
    assert deliver_report(report, store, again=True) == page
    assert {path: path.read_bytes() for path in sorted(page.parent.rglob("*")) if path.is_file()} == first


def test_a_place_that_cannot_be_written_is_an_error_to_mend(store: Store, report: RunReport) -> None:
    (store.root / "reports").write_text("a file in the way")
    with pytest.raises(StoreError, match="cannot write the report"):
        deliver_report(report, store)


def test_prompts_go_along_as_templates() -> None:
    texts = prompt_texts()
    assert sorted(texts) == [
        "critic",
        "generator_completion",
        "generator_system",
        "generator_user",
        "judge_pair_system",
        "judge_pair_user",
        "judge_system",
        "judge_user",
    ]
    assert all(text.strip() for text in texts.values())
    assert "{{" in texts["generator_user"]
