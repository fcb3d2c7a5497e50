"""A comparison as one self-contained HTML page, its pictures, `compare.json` and the spec of every variant.

Like a run's page it loads nothing and escapes everything (`harness.report`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from harness.comparedetail import Detail
from harness.comparefigures import compare_figures
from harness.comparewords import (
    compare_lines,
    deciding,
    headline,
    line_verdict,
    sharing,
    verdict_word,
)
from harness.comparison import Comparison
from harness.deliver import report_folder
from harness.pages import environment, inline, page_folder
from harness.redact import cleaned, redact
from harness.scorewords import p_source, score_name
from harness.specfile import dump
from harness.store import Store, write_json
from harness.suitefile import LoadedSuite
from harness.suitespec import BASE

PAGE, FILE = "compare.html", "compare.json"
PICTURES = {
    "differences": (
        "Each variant against the base, ranked",
        "Points with 95 % intervals; the line is the base. Green and red stand, adjusted for the number of variants.",
    ),
    "pareto": (
        "Quality against cost",
        "What no other variant beats in both is joined. Vertical lines: intervals over items.",
    ),
}


def write_comparison(found: Comparison, detail: Detail, suite: LoadedSuite, store: Store) -> Path:
    """Write the page's folder `<store>/reports/<id>`; return the page's path. The same runs give the same bytes.

    Raises `StoreError` where it cannot be written.
    """
    found, detail = cleaned(found), cleaned(detail)
    folder = report_folder(store, found.id)
    pictures = compare_figures(found)
    page = render_comparison(found, detail, pictures)
    advice = "The runs themselves are safe; free some space, then run the same command again."
    with page_folder(folder, pictures, "comparison", advice):
        (folder / "specs").mkdir(exist_ok=True)
        for one in suite.variants:
            text = redact(dump(one.specs[suite.seeds[0]]))
            (folder / "specs" / f"{one.name}.yaml").write_text(text, encoding="utf-8")
        write_json(folder / FILE, Comparison, found)
        (folder / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE


def render_comparison(found: Comparison, detail: Detail, pictures: Mapping[str, bytes]) -> str:
    """The HTML page; `pictures` maps the names of `PICTURES` to PNG bytes."""
    keys = list(dict.fromkeys(key for line in found.lines for key in line.changes))
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            c=found,
            d=detail,
            headline=headline(found),
            said=compare_lines(found),
            sharing=sharing(found),
            metric=score_name(found.metric),
            p_source=p_source,
            base=BASE,
            keys=keys,
            word=verdict_word,
            verdict=line_verdict,
            deciding=deciding,
            pictures=inline(pictures, PICTURES),
            anchor=_anchor,
        )
    )


def _anchor(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)
