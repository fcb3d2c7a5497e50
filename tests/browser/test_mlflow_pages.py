"""A suite in MLflow's own pages, in a real Chromium: variants, their series and the views are there.

Needs Debian's `chromium` (`apt-get install chromium`) or Chrome; run with `scripts/test -m browser`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from factories import make_run_report
from pictures.browser import Page, browser
from pictures.pages import CLOSED, Shown, open_comparison, open_results, open_rounds, open_runs, shown_suite
from pictures.server import MlflowServer
from suite_cases import finish_suite

from harness.deliver import deliver_report, track_report
from harness.mlflowstore import default_uri
from harness.spec import Tracking
from harness.store import Store
from harness.suitetracking import label_runs

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

RIGHT = {"base": {0: 70, 1: 72}, "no_consistency": {0: 90, 1: 60}}
NAMES = ["base-seed0", "base-seed1", "no_consistency-seed0", "no_consistency-seed1"]
SIZE = (1400, 1000)
GAPS = ("recovered", "transfer", "source")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Iterator[Shown]:
    """Two variants × two seeds of two rounds each, on a server."""
    folder = tmp_path_factory.mktemp("pages")
    store = Store(folder / "runs")
    shutil.copy(mlflow_template, store.root / "mlflow.db")
    uri = default_uri(store.root)
    for name, by_seed in finish_suite(store, RIGHT).items():
        for report in by_seed.values():
            deliver_report(report, store)
            track_report(report, store, Tracking(uri=uri, experiment="trial"))
            label_runs(uri, "trial", "filters", {report.id: name})
    with MlflowServer(folder, uri) as server:
        yield shown_suite(server.url, "filters")


def look(go: Callable[[Page], Awaitable[object]], ask: str = "document.body.innerText") -> object:
    """What the page answers once `go` has opened it."""

    async def visit() -> object:
        async with browser() as page:
            await page.first(CLOSED)
            await go(page)
            return await page.ask(ask)

    return asyncio.run(visit())


def test_the_run_list_names_variants_and_leaves_rounds_out(shown: Shown) -> None:
    text = str(look(lambda page: open_runs(page, shown, *SIZE)))
    assert all(name in text for name in NAMES)
    assert "4 matching runs" in text
    assert "-round1" not in text
    assert "What variants came to" in text
    assert "final/dev/mixed" in text


def test_the_charts_by_round_draw_an_unsmoothed_line_a_variant(shown: Shown) -> None:
    drawn = """(() => {
      const lines = one => one.data.filter(line => line.mode === "lines+markers").map(line => [line.x, line.y]);
      return {text: document.body.innerText, charts: [...document.querySelectorAll(".js-plotly-plot")].map(lines)};
    })()"""

    async def go(page: Page) -> None:
        await open_rounds(page, shown, *SIZE)
        await page.wait('document.querySelectorAll(".js-plotly-plot").length >= 3')

    seen = look(go, drawn)
    assert isinstance(seen, dict)
    assert "Variants by round" in seen["text"]
    assert all(f"{variant} (gap/{name})" in seen["text"] for variant in RIGHT for name in GAPS)
    rounds = make_run_report().rounds
    for name, lines in zip(GAPS, seen["charts"], strict=False):
        series = [getattr(each.gap, name).value for each in rounds]
        assert lines == [[[1, 2], pytest.approx(series)]] * len(RIGHT)


def test_results_are_parallel_coordinates_of_all_runs(shown: Shown) -> None:
    text = str(look(lambda page: open_results(page, shown, *SIZE)))
    assert "Results on dev\n(1)" in text
    assert "Parallel Coordinates" in text
    assert "Showing all runs" in text


def test_the_comparison_page_lays_the_chosen_runs_side_by_side(shown: Shown) -> None:
    text = str(look(lambda page: open_comparison(page, shown, [NAMES[0], NAMES[2]], *SIZE)))
    assert "Comparing 2 Runs from 1 Experiment" in text
    assert NAMES[2] in text
    assert NAMES[1] not in text


def test_what_is_not_there_is_not_seen(shown: Shown) -> None:
    async def wait(page: Page) -> None:
        await open_runs(page, shown, *SIZE)
        await page.wait("document.body.innerText.includes('third-seed0')", patience_s=1)

    with pytest.raises(TimeoutError, match=r"(?s)never true.*base-seed0"):
        look(wait)
    with pytest.raises(LookupError, match="no runs of a suite 'other'"):
        shown_suite(shown.url, "other")
