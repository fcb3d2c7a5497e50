"""Run as: scripts/screenshots STORE SUITE [--to FOLDER]."""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from PIL import Image

from harness.comparison import Comparison
from harness.mlflowstore import default_uri
from harness.store import read_json
from pictures.browser import Page, browser
from pictures.pages import CLOSED, Shown, open_comparison, open_results, open_rounds, open_runs, shown_suite
from pictures.server import MlflowServer

SETTLE_S = 3.0
"""Charts are drawn, axes and legends then still move."""
DESK, PHONE = (1400, 900), (390, 844)
MOST_BYTES = 150_000
OPENERS: dict[str, Callable[[Page, Shown, int, int], Awaitable[None]]] = {
    "mlflow_runs": open_runs,
    "mlflow_rounds": open_rounds,
    "mlflow_results": open_results,
}


def small(png: bytes) -> bytes:
    """The picture with a palette, of as many colours as `MOST_BYTES` allow. Raises ValueError where 16 are too many."""
    whole = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32, 16):
        kept = io.BytesIO()
        whole.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            kept, "PNG", optimize=True
        )
        if kept.tell() <= MOST_BYTES:
            return kept.getvalue()
    raise ValueError(f"a picture of {kept.tell():,} bytes in 16 colours: take less of the page")


def comparison_page(store: Path, suite: str) -> Path:
    """The newest `compare.html` of the suite. Raises `FileNotFoundError`."""
    found = [
        path.with_name("compare.html")
        for path in store.glob("reports/suite-*/compare.json")
        if read_json(path, Comparison).name == suite
    ]
    if not found:
        raise FileNotFoundError(f"no comparison of a suite {suite!r} in {store}; run `harness compare` first")
    return max(found, key=lambda path: path.stat().st_mtime)


async def take(url: str, suite: str, own_page: str) -> dict[str, bytes]:
    """Pictures by name: MLflow's run list, charts and comparison, and our own page at a desk and on a phone."""
    shown = shown_suite(url, suite)
    seed = next(iter(shown.runs.values())).rpartition("-")[2]
    found: dict[str, bytes] = {}

    async def keep(name: str, page: Page) -> None:
        await asyncio.sleep(SETTLE_S)
        found[name] = small(await page.picture())

    async with browser() as page:
        await page.first(CLOSED)
        for name, opener in OPENERS.items():
            await opener(page, shown, *DESK)
            await keep(name, page)
        await open_comparison(page, shown, [one for one in shown.runs.values() if one.endswith(f"-{seed}")], *DESK)
        await keep("mlflow_compare", page)
        for name, size in (("compare_desk", DESK), ("compare_phone", PHONE)):
            await page.open(own_page, *size)
            await page.wait("document.images.length > 0 && [...document.images].every(one => one.complete)")
            await keep(name, page)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description="Pictures of a finished suite's pages.")
    parser.add_argument("store", type=Path, help="folder of the store (`runtime.store`) that holds the suite's runs")
    parser.add_argument("suite", help="name of the suite, as its file is called")
    parser.add_argument("--to", type=Path, default=Path("experiments/figures"), help="folder for the pictures")
    given = parser.parse_args()
    try:
        own_page = comparison_page(given.store, given.suite)
        with tempfile.TemporaryDirectory() as scratch, MlflowServer(Path(scratch), default_uri(given.store)) as server:
            pictures = asyncio.run(take(server.url, given.suite, own_page.resolve().as_uri()))
    except (LookupError, FileNotFoundError, TimeoutError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    given.to.mkdir(parents=True, exist_ok=True)
    for name, png in pictures.items():
        path = given.to / f"{name}.png"
        path.write_bytes(png)
        print(f"{path}: {len(png) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
