"""The report in a real Chromium: its own style applies, nothing is requested, nothing scrolls sideways on a phone.

Needs Debian's `chromium` (`apt-get install chromium`) or Chrome; run with `scripts/test -m browser`.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from factories import make_eval, make_round, make_run_report, make_slice
from suite_cases import finish_suite, make_detail, make_suite

from harness.comparefigures import compare_figures
from harness.comparepage import render_comparison
from harness.comparison import compare_suite
from harness.records import Role
from harness.report import write_report
from harness.store import Store

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--window-size=1400,1000",
)

MEASURE = """<!doctype html><html><head><link rel="icon" href="data:,"><title>measure</title></head><body>
<iframe id="f" src="/%(page)s" style="border:0;width:%(width)dpx;height:4000px"></iframe><pre id="out"></pre><script>
window.addEventListener("load", () => {
  const view = document.getElementById("f").contentWindow, page = view.document;
  page.querySelectorAll("details").forEach(each => { each.open = true; });
  const all = selector => [...page.querySelectorAll(selector)];
  const style = each => view.getComputedStyle(each);
  const right = each => each.getBoundingClientRect().right;
  const columns = selector => all(selector).map(each => style(each).gridTemplateColumns.split(" ").length);
  document.getElementById("out").textContent = JSON.stringify({
    width: view.innerWidth,
    scroll: page.documentElement.scrollWidth,
    outside: all("body *").filter(each => !each.closest(".scroll, pre") && right(each) > view.innerWidth + 1)
      .map(each => each.outerHTML.slice(0, 120)),
    pictures: [...page.images].map(each => each.naturalWidth),
    shown: [...page.images].map(each => each.getBoundingClientRect().width),
    scrolling: all(".scroll").filter(each => each.scrollWidth > each.clientWidth).map(each => each.ariaLabel),
    pair: columns(".pair"),
    samples: columns(".samples"),
    smallest: Math.min(...all("main *").map(each => parseFloat(style(each).fontSize))),
    heading: page.querySelector("h1")?.textContent.trim(),
    family: style(page.body).fontFamily,
    scripts: page.scripts.length,
    alerted: Boolean(view.alerted),
    text: page.body.innerText,
  });
});
</script></body></html>"""


@dataclass
class Site:
    """A folder served on loopback, and which paths were asked for."""

    folder: Path
    port: int
    asked: list[str]

    def measure(self, page: str, width: int, profile: Path) -> tuple[dict[str, Any], str]:
        """What Chromium makes of a page in a frame of `width` CSS pixels, and what it logged."""
        (self.folder / "measure.html").write_text(MEASURE % {"page": page, "width": width}, encoding="utf-8")
        self.asked.clear()
        done = subprocess.run(
            [
                chromium(),
                *FLAGS,
                f"--user-data-dir={profile}",
                "--dump-dom",
                f"http://127.0.0.1:{self.port}/measure.html",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, flags=re.DOTALL)
        assert found, done.stdout[-2000:] + done.stderr[-2000:]
        return json.loads(unescape(found.group(1))), done.stderr


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    raise FileNotFoundError("no chromium on this machine; `apt-get install chromium`, or leave out `-m browser`")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    write_report(make_run_report(), folder)
    yield Site(folder, server.server_port, asked)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_nothing_scrolls_sideways_and_every_picture_shows(site: Site, tmp_path: Path, width: int) -> None:
    seen, _ = site.measure("report.html", width, tmp_path)
    assert seen["width"] == width
    assert seen["scroll"] <= width
    assert seen["outside"] == []
    assert len(seen["pictures"]) == 8
    assert min(seen["pictures"]) > 900
    assert min(seen["shown"]) > 280
    assert max(seen["shown"]) <= min(width, 620)
    assert seen["smallest"] >= 11


def test_on_a_phone_there_is_one_column_and_tables_scroll_in_their_box(site: Site, tmp_path: Path) -> None:
    phone, _ = site.measure("report.html", 360, tmp_path / "a")
    desk, _ = site.measure("report.html", 1280, tmp_path / "b")
    assert set(phone["pair"] + phone["samples"]) == {1}
    assert set(desk["pair"]) == {2}
    assert "Scores on the sealed test split, with intervals" in phone["scrolling"]
    assert desk["scrolling"] == []


def test_own_style_applies_and_nothing_else_is_requested(site: Site, tmp_path: Path) -> None:
    seen, log = site.measure("report.html", 1280, tmp_path)
    assert seen["family"].startswith("system-ui")
    assert seen["heading"] == "Adding the synthetic data helped"
    assert sorted(site.asked) == ["/measure.html", "/report.html"]
    assert "Content Security Policy" not in log
    assert seen["scripts"] == 0


def test_hostile_texts_are_shown_and_do_nothing(site: Site, tmp_path: Path) -> None:
    evil = "<img src='/evil.png' onerror='alerted=1'><script>alerted=1</script>"
    one = make_round(1, shortfall=evil)
    sample = replace(one.samples[0], text=evil, asked_label=evil, final_label=evil)
    report = make_run_report(warnings=(evil,), stop=evil, rounds=(replace(one, samples=(sample,)),), best_round=1)
    write_report(report, site.folder / "evil")
    seen, _ = site.measure("evil/report.html", 1280, tmp_path)
    assert not seen["alerted"]
    assert seen["text"].count(evil) >= 4
    assert "/evil.png" not in site.asked


def test_long_words_and_many_slices_stay_inside_a_phone(site: Site, tmp_path: Path) -> None:
    word = "Donaudampfschifffahrtsgesellschaft" * 8
    dev = {
        arm: replace(
            make_eval(arm, Role.DEV, 0.6), slices=tuple(make_slice(f"{word}={i}", 30, 0.5 + i / 200) for i in range(60))
        )
        for arm in ("seeds", "mixed")
    }
    one = make_round(1, dev=dev, shortfall=word)
    samples = tuple(replace(each, text=word, asked_label=word, cell={word: word}) for each in one.samples)
    plan = replace(one.plan, changes=(word,))
    report = make_run_report(
        name=word, warnings=(word,), rounds=(replace(one, samples=samples, plan=plan),), best_round=1
    )
    write_report(report, site.folder / "long")
    seen, _ = site.measure("long/report.html", 360, tmp_path)
    assert seen["scroll"] <= 360
    assert seen["outside"] == []


@pytest.mark.parametrize("width", [360, 1280])
def test_a_comparison_of_many_variants_fits_and_is_harmless(site: Site, tmp_path: Path, width: int) -> None:
    evil = "<script>alerted=1</script>"
    names = ["base", evil, "Donaudampfschifffahrtsgesellschaft" * 3, *(f"variant_{number}" for number in range(6))]
    right = {name: {0: 60 + place, 1: 61} for place, name in enumerate(names)}
    store = Store(tmp_path / "runs")
    found = compare_suite(make_suite(right, tmp_path), finish_suite(store, right), {(evil, 2): evil}, store)
    page = render_comparison(found, make_detail(found), compare_figures(found))
    (site.folder / "compare.html").write_text(page, encoding="utf-8")
    seen, log = site.measure("compare.html", width, tmp_path / "profile")
    assert seen["scroll"] <= width
    assert seen["outside"] == []
    assert len(seen["pictures"]) == 2
    assert min(seen["pictures"]) > 900
    assert seen["smallest"] >= 11
    assert not seen["alerted"]
    assert evil in seen["text"]
    assert sorted(site.asked) == ["/compare.html", "/measure.html"]
    assert "Content Security Policy" not in log


def test_the_measure_can_fail(site: Site, tmp_path: Path) -> None:
    (site.folder / "wide.html").write_text("<body><p style='width:900px'>wide</p><img src='/missing.png'></body>")
    seen, _ = site.measure("wide.html", 360, tmp_path)
    assert seen["scroll"] > 360
    assert seen["outside"]
    assert seen["pictures"] == [0]
    assert "/missing.png" in site.asked
