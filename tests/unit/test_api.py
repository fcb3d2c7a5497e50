"""The Python API as a newcomer meets it: names, mistakes, what a notebook shows."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from factories import make_run_report
from run_cases import finish

import harness
from harness import Run, api, load, run
from harness.errors import HarnessError, SpecError
from harness.store import Store

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "experiments" / "quickstart.yaml"
PNG = b"\x89PNG"


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    store = Store(tmp_path / "runs")
    return Run(finish(store, 0, {"seeds": 50, "mixed": 62}), store, tmp_path / "report.html")


def test_importing_the_package_loads_nothing() -> None:
    code = "import harness, sys; print([n for n in ('torch', 'pandas', 'mlflow', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_told_which_there_are() -> None:
    with pytest.raises(AttributeError, match=r"it offers .*compare, load, run"):
        harness.runn  # noqa: B018 - asking is the point


def test_the_functions_stay_what_they_are_whatever_was_imported_before() -> None:
    import harness.comparison
    import harness.running

    assert harness.compare is api.compare
    assert harness.run is api.run
    assert harness.load is api.load


def test_overrides_take_python_values() -> None:
    found = load(QUICKSTART, {"stop.max_rounds": 1, "evaluate.arms": ["seeds", "mixed"], "train.steps": 7}, seed=5)
    assert found.spec.seed == 5
    assert found.spec.stop.max_rounds == 1
    assert found.spec.evaluate.arms == ["seeds", "mixed"]
    assert found.spec.train.steps == 7


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        load(QUICKSTART, {"train.stepz": 7, "stop.max_rounds": 0})
    assert "stepz" in str(caught.value)
    assert "max_rounds" in str(caught.value)


def test_a_plan_is_tables_and_works_inside_an_event_loop() -> None:
    async def cell() -> dict[str, object]:
        return dict(load(QUICKSTART).plan())

    tables = asyncio.run(cell())
    assert tables
    assert all(len(table) for table in tables.values())  # type: ignore[arg-type]


def test_the_loop_around_is_there_again_afterwards_and_after_an_error() -> None:
    async def broken() -> float:
        return 1 / 0

    async def cell() -> bool:
        around = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError), api._no_loop_around():
            asyncio.run(broken())
        return asyncio.get_running_loop() is around

    assert asyncio.run(cell())


def test_a_run_shows_itself(finished: Run) -> None:
    assert finished.id in repr(finished)
    assert finished.headline in repr(finished)
    shown = finished._repr_html_()
    assert "<table" in shown
    assert "mixed" in shown


def test_what_came_from_data_is_escaped_in_a_notebook(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    found = Run(make_run_report(name=evil, stop=evil), Store(tmp_path), tmp_path / "report.html")
    assert "<script" not in found._repr_html_()
    assert "&lt;script" in found._repr_html_()


def test_figures_are_pictures_with_names(finished: Run, tmp_path: Path) -> None:
    assert "arms" in finished.figures
    figure = finished.figure("arms")
    assert figure._repr_png_().startswith(PNG)
    assert figure.save(tmp_path / "arms.png").read_bytes() == figure.png
    with pytest.raises(KeyError, match=r"there is no figure 'arm'; there are .*arms"):
        finished.figure("arm")


def test_predictions_are_those_that_were_scored(finished: Run) -> None:
    table = finished.predictions("mixed")
    assert len(table) == 100
    assert table["right"].sum() == 62
    with pytest.raises(ValueError, match="nobody"):
        finished.predictions("nobody")


def test_a_reason_for_a_further_look_must_fit() -> None:
    with pytest.raises(HarnessError, match="--reopen-test"):
        run(load(QUICKSTART), reopen_test="x" * 400)
