"""What of MLflow is looked at: a suite's runs, its charts, its runs compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mlflow import MlflowClient

from harness.mlflowviews import RESULTS, ROUNDS, view_path
from pictures.browser import Page

CLOSED = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""
"""MLflow's assistant opens on the first visit and takes a quarter of the page; this is its close button."""
DRAWN = """
(() => {
  const plots = [...document.querySelectorAll(".js-plotly-plot")];
  return plots.length > 0 && plots.every(one => one.querySelector(".main-svg, .parcoords"));
})()
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A suite in MLflow: the experiment, and the runs of its variants (id → name)."""

    url: str
    experiment: str
    runs: dict[str, str]


def shown_suite(url: str, suite: str) -> Shown:
    """Where a suite is. Raises `LookupError` where it is not in MLflow."""
    client = MlflowClient(tracking_uri=url)
    places = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(places, f"tags.suite = '{suite}' and tags.kind = 'run'", order_by=["start_time"])
    if not found:
        raise LookupError(f"no runs of a suite {suite!r} in this store's MLflow; `harness compare` shows them there")
    names = {run.info.run_id: str(run.info.run_name) for run in found}
    return Shown(url, found[0].info.experiment_id, names)


async def open_runs(page: Page, shown: Shown, width: int, height: int) -> None:
    """The run list."""
    path = view_path(shown.experiment, RESULTS).replace("&compareRunsMode=CHART", "")
    await page.open(f"{shown.url}{path}", width, height)
    await _wait_for(page, list(shown.runs.values())[-1:])


async def open_rounds(page: Page, shown: Shown, width: int, height: int) -> None:
    """Charts by round, one line a variant."""
    await page.open(f"{shown.url}{view_path(shown.experiment, ROUNDS)}", width, height)
    await _wait_for(page, ["By round"])
    await page.wait(DRAWN)


async def open_results(page: Page, shown: Shown, width: int, height: int) -> None:
    """Parallel coordinates of all runs."""
    await page.open(f"{shown.url}{view_path(shown.experiment, RESULTS)}", width, height)
    await _wait_for(page, ["Results on dev"])
    await page.wait("document.querySelector('.parcoords') !== null || document.querySelector('canvas') !== null")


async def open_comparison(page: Page, shown: Shown, names: Sequence[str], width: int, height: int) -> None:
    """MLflow's own page that lays runs side by side."""
    chosen = [ident for ident, name in shown.runs.items() if name in names]
    query = f"runs={json.dumps(chosen)}&experiments={json.dumps([shown.experiment])}"
    await page.open(f"{shown.url}/#/compare-runs?{query}&workflowType=machine_learning", width, height)
    await _wait_for(page, names)


async def _wait_for(page: Page, words: Sequence[str]) -> None:
    for word in words:
        await page.wait(f"document.body !== null && document.body.innerText.includes({json.dumps(word)})")
