"""What the controls, the stop rule and the feedback came to, in words and rows for the report and the terminal."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from harness.controls import LOOP
from harness.records import Comparison
from harness.reports import ControlReport, RoundReport, RunReport

QUESTIONS = {
    "static": "feedback",
    "shuffled": "the content of the feedback",
    "raw": "filtering",
    "naive": "steering by matrix and feedback",
}
"""What a control lacks, as the subject of a sentence."""
MANY_SEEDS = 1000
"""From about so many real examples on the literature reports no gain (Kazdan et al., arXiv 2410.16713: up to 1,024)."""


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """How one label's prompt differs from the round before: (" ", "+" or "-", line)."""

    label: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """Dev accuracy of a label under `mixed` before and after a steered round."""

    label: str
    n: int
    before: float | None
    after: float | None


def control_verdict(one: ControlReport) -> str:
    """One sentence, whichever way it falls; nothing for the loop itself."""
    if one.name == LOOP:
        return ""
    what, found = QUESTIONS.get(one.name, one.name), one.comparison
    if found is None or found.difference.value is None:
        return f"Not known: there is no comparison of {LOOP} with {one.name}."
    value, low, high = found.difference.value, found.difference.low, found.difference.high
    ends = "" if low is None or high is None else f" [{_points(low)}, {_points(high)}]"
    figure = f"{LOOP} − {one.name} {_points(value)} points{ends}"
    if low is not None and low > 0:
        sure = found.p_holm is not None and found.p_holm <= 0.05
        claim = "helps" if sure else "may help; adjusted for the number of claims it could be chance"
        return f"{what.capitalize()} {claim}: {figure}."
    if high is not None and high < 0:
        return f"{what.capitalize()} does harm here: {figure}."
    least = f"{100 * found.mdd:.1f}"
    return f"No measurable effect of {what}: {figure}; less than {least} would usually not show."


def nothing_gained(report: RunReport, main: Comparison | None) -> str:
    """What to say where the interval of mixed − seeds holds 0, or ""."""
    if main is None or main.difference.low is None or main.difference.high is None or main.difference.low > 0:
        return ""
    if main.difference.high < 0:
        return "The synthetic rows did harm. Do not train on them; look at the filters and at the samples first."
    seeds = next((size for role, size in report.data.sizes.items() if role.value == "seeds"), 0)
    said = (
        f"On these {main.difference.n:,} items the synthetic rows bought nothing that could be told from chance; a "
        f"gain below {100 * main.mdd:.1f} points would usually not show."
    )
    if seeds >= MANY_SEEDS:
        said += (
            f" With {seeds:,} real seeds that is what to expect: reported gains end at about a thousand real examples "
            "(Kazdan et al., arXiv 2410.16713)."
        )
    return f"{said} More rounds of the same are not worth their cost: collect real rows, first for the weakest slices."


def prompt_diffs(report: RunReport) -> dict[int, list[PromptDiff]]:
    """Round → labels whose prompt changed against the round before."""
    out: dict[int, list[PromptDiff]] = {}
    for before, after in zip(report.rounds, report.rounds[1:], strict=False):
        found = [
            PromptDiff(label, lines)
            for label, text in after.prompts.items()
            if (lines := _diff(before.prompts.get(label, ""), text))
        ]
        out[after.round] = found
    return out


def _diff(before: str, after: str) -> tuple[tuple[str, str], ...]:
    if before == after:
        return ()
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return tuple((line[0], line[2:]) for line in lines if line[0] in " +-")


def effects(report: RunReport) -> dict[int, list[Effect]]:
    """Round → dev accuracy of each label before and after it, the most changed first."""
    out: dict[int, list[Effect]] = {}
    for before, after in zip(report.rounds, report.rounds[1:], strict=False):
        old, new = _labels(before), _labels(after)
        found = [Effect(name, n, old.get(name, (None, 0))[0], value) for name, (value, n) in new.items()]
        out[after.round] = sorted(found, key=lambda one: -abs((one.after or 0.0) - (one.before or 0.0)))
    return out


def _labels(each: RoundReport) -> dict[str, tuple[float | None, int]]:
    mixed = each.dev.get("mixed")
    scores = mixed.slices if mixed else ()
    return {one.slice.removeprefix("label="): (one.value, one.n) for one in scores if one.slice.startswith("label=")}


def control_lines(report: RunReport) -> list[str]:
    """One line per control for a terminal."""
    return [f"{one.name}: {control_verdict(one)}" for one in report.controls if one.name != LOOP]


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")
