"""The page of a `harness collapse run`: arms side by side, verdicts, statistics, examples by generation, advice."""

from __future__ import annotations

from pathlib import Path

import yaml

from harness.collapsefigures import arms_figure
from harness.collapsewords import check_lines, check_tables
from harness.generations import GenerationsReport
from harness.generationwords import ABOUT, arm_lines, arm_tables
from harness.pages import environment, inline, page_folder
from harness.redact import cleaned
from harness.store import write_json

PICTURES = {
    "arms": (
        "Arms by generation",
        "Above: mean loss on real anchors. Below: the two statistics of the frozen probe; dotted: where a warning "
        "starts. All arms share generation 0.",
    )
}


def write_generations(report: GenerationsReport, folder: Path) -> Path:
    """Write `report.html`, `report.json` and `figures/arms.png` into `folder`; return the page's path.

    The same report gives the same bytes. Raises `StoreError` where the folder cannot be written.
    """
    report = cleaned(report)
    pictures = {
        "arms": arms_figure({one.arm: one.nll for one in report.arms}, {one.arm: one.probe for one in report.arms})
    }
    page = render(report, pictures)
    advice = "The run itself is safe; free some space, then run the same command again."
    with page_folder(folder, pictures, "report", advice):
        write_json(folder / "report.json", GenerationsReport, report)
        (folder / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


def render(report: GenerationsReport, pictures: dict[str, bytes]) -> str:
    """The HTML page; `pictures` maps the names of `PICTURES` to PNG bytes."""
    summary, *_ = arm_tables(report)
    last = max(len(arm.examples) for arm in report.arms)
    return (
        environment()
        .get_template("generations.html.j2")
        .render(
            r=report,
            headline=headline(report),
            about=ABOUT,
            summary=summary,
            lines=arm_lines(report),
            check_lines=check_lines,
            check_tables=check_tables,
            names=[f"generation {place}" for place in range(last)],
            pictures=inline(pictures, PICTURES),
            spec=yaml.safe_dump(dict(report.spec), sort_keys=False, allow_unicode=True, width=100),
        )
    )


def headline(report: GenerationsReport) -> str:
    """`Collapse seen under replace; not under accumulate, anchored`."""
    alarmed = [one.arm for one in report.arms if one.probe.verdict.status == "alarm"]
    others = [one.arm for one in report.arms if one.arm not in alarmed]
    if not alarmed:
        return "No collapse seen"
    return f"Collapse seen under {', '.join(alarmed)}" + (f"; not under {', '.join(others)}" if others else "")
