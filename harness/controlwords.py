"""What the controls came to and what to do where nothing was gained, in words for the report and the terminal."""

from __future__ import annotations

from harness.controls import LOOP
from harness.pages import p_value
from harness.records import Comparison
from harness.reports import ControlReport, RunReport

QUESTIONS = {
    "static": "feedback",
    "shuffled": "the content of the feedback",
    "raw": "filtering",
    "naive": "steering by matrix and feedback",
}
"""What a control lacks, as the subject of a sentence."""
MANY_SEEDS = 1000
"""From about so many real examples on no gain is reported (Kazdan et al., arXiv 2410.16713: up to 1,024 they help)."""


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
    doubt = could_be_chance(found)
    if low is not None and low > 0:
        return f"{what.capitalize()} {f'may help; {doubt}' if doubt else 'helps'}: {figure}."
    if high is not None and high < 0:
        return f"{what.capitalize()} {f'may do harm here; {doubt}' if doubt else 'does harm here'}: {figure}."
    if low is None or high is None or found.mdd is None:
        return f"Not known: {figure}, {found.difference.note or 'without an interval'}."
    return f"No measurable effect of {what}: {figure}; less than {100 * found.mdd:.1f} would usually not show."


def could_be_chance(found: Comparison) -> str:
    """Why a difference may be chance although its interval leaves out 0, as half a sentence; "" where p is at most .05
    after the adjustment, by itself where it is no claim. Test and interval rest on different approximations, so that p
    may be above .05 with no adjustment to blame."""
    if found.p_value > 0.05:
        return f"the interval leaves out 0, but with a p of {p_value(found.p_value)} it could be chance"
    if found.p_holm is not None and found.p_holm > 0.05:
        return "adjusted for the number of claims it could be chance"
    return ""


def nothing_gained(report: RunReport, main: Comparison | None) -> str:
    """What to say where no gain of mixed over seeds is shown, or ""."""
    if main is None or main.difference.low is None or main.difference.high is None:
        return ""
    doubt = could_be_chance(main)
    if main.difference.low > 0:
        return f"The synthetic rows may have helped; {doubt}." if doubt else ""
    if main.difference.high < 0 and doubt:
        return f"The synthetic rows may have done harm; {doubt}. Look at filters and samples before you train on them."
    if main.difference.high < 0:
        return "The synthetic rows did harm. Do not train on them; look at the filters and at the samples first."
    least = "" if main.mdd is None else f"; a gain below {100 * main.mdd:.1f} points would usually not show"
    seeds = next((size for role, size in report.data.sizes.items() if role.value == "seeds"), 0)
    said = (
        f"On these {main.difference.n:,} items the synthetic rows bought nothing that could be told from chance{least}."
    )
    if seeds >= MANY_SEEDS:
        said += (
            f" With {seeds:,} real seeds that is what to expect: synthetic rows are reported to help only while real "
            "ones number about a thousand at most (Kazdan et al., arXiv 2410.16713, on fine-tuned language models)."
        )
    return f"{said} More rounds of the same are not worth their cost: collect real rows, first for the weakest slices."


def control_lines(report: RunReport) -> list[str]:
    """One line per control for a terminal."""
    return [f"{one.name}: {control_verdict(one)}" for one in report.controls if one.name != LOOP]


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")
