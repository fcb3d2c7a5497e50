"""What `harness collapse run` found, in tables and sentences for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from eval.collapse import Verdict
from harness.collapsewords import advice, check_tables
from harness.forecast import Table
from harness.generations import ArmReport, GenerationsReport
from harness.records import Estimate

ABOUT = {
    "replace": "each generation learns only what the one before wrote",
    "accumulate": "each generation learns the real rows and all that was written before",
    "anchored": "each generation learns what the one before wrote, a share of it replaced by real rows",
    "filtered": "as replace, without duplicates and malformed texts",
    "verified": "as replace, only texts that an outside classifier gives the label they were written for",
}
REPORTED = (
    "Reported at scale: loss on real text rises under replace, hardly with 10 % real rows kept (Shumailov et al., "
    "Nature 2024, OPT-125m), and does not under accumulate (Gerstgrasser et al., arXiv 2404.01413)."
)


def arm_tables(report: GenerationsReport) -> list[Table]:
    """Loss on real anchors by arm and generation, then each arm's statistics of the probe."""
    last = max(len(arm.nll) for arm in report.arms)
    columns = ("arm", *(f"gen {place}" for place in range(last)), "last − first, paired", "probe", "texts handed on")
    rows = tuple(
        (
            arm.arm,
            *(f"{value:.3f}" for value in arm.nll),
            *("–" for _ in range(last - len(arm.nll))),
            change_words(loss_change(arm)),
            says(arm.probe.verdict),
            says(arm.kept.verdict),
        )
        for arm in report.arms
    )
    title = f"{report.name}, seed {report.seed}: loss on {report.anchors} real anchors, nats per token"
    tables = [Table(title, columns, rows)]
    for arm in report.arms:
        first, *_ = check_tables(arm.probe)
        tables.append(Table(f"{arm.arm}: {ABOUT[arm.arm]}. Frozen probe", first.columns, first.rows))
        tables += rare_tables(arm)
    return tables


def rare_tables(arm: ArmReport) -> list[Table]:
    """Recall of the rare slices by generation; none where nothing was rare."""
    found = arm.probe.verdict.slices
    if not found:
        return []
    last = max(len(one.course) for one in found)
    columns = ("rare slice", "anchors", *(f"gen {place}" for place in range(last)), "q", "lost")
    rows = tuple(
        (
            one.name,
            str(one.before.n),
            *("–" if value is None else f"{value:.2f}" for value in one.course),
            "–" if one.q is None else f"{one.q:.3f}",
            "lost" if one.lost else "",
        )
        for one in found
    )
    title = f"{arm.arm}: share of the anchors of rare slices that a text of the frozen probe is near to"
    return [Table(title, columns, rows)]


def arm_lines(report: GenerationsReport) -> list[str]:
    """The verdict of each arm and what to do."""
    said: list[str] = []
    for arm in report.arms:
        verdict = arm.probe.verdict
        seen = "".join(f" {one.reason}" for one in verdict.confirmations if one.name in ("real NLL", "rare slices"))
        said.append(f"{arm.arm}: {says(verdict)}. {verdict.reason}{seen}")
    worst = next((arm for arm in report.arms if arm.probe.verdict.status == "alarm"), report.arms[0])
    said += [f"next ({worst.arm}): {step}" for step in advice(worst.probe.verdict)]
    return [*said, REPORTED]


def says(verdict: Verdict) -> str:
    """`ALARM since generation 3`"""
    since = f" since generation {verdict.first_alarm}" if verdict.status == "alarm" else ""
    return f"{verdict.status.upper()}{since}"


def loss_change(arm: ArmReport) -> Estimate | None:
    """Loss of the last generation − loss of generation 0, anchor by anchor."""
    found = next((one for one in arm.probe.verdict.confirmations if one.name == "real NLL"), None)
    return found.changes[-1] if found and found.changes else None


def change_words(change: Estimate | None) -> str:
    if change is None or change.value is None or change.low is None or change.high is None:
        return "–"
    return f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"


def seeds_table(reports: Sequence[GenerationsReport]) -> Table:
    """Change of the loss by arm over seeds: mean, its interval (Student's t over seeds), and each seed."""
    rows: list[tuple[str, ...]] = []
    for arm in reports[0].arms:
        own = [loss_change(one) for report in reports for one in report.arms if one.arm == arm.arm]
        values = [one.value for one in own if one is not None and one.value is not None]
        verdicts = [one.probe.verdict.status for report in reports for one in report.arms if one.arm == arm.arm]
        rows.append((arm.arm, _mean(values), " ".join(f"{value:+.3f}" for value in values), ", ".join(verdicts)))
    title = f"Loss on real anchors, last generation − generation 0, {len(reports)} seeds (95 % interval over seeds)"
    return Table(title, ("arm", "mean", "by seed", "probe"), tuple(rows))


def _mean(values: Sequence[float]) -> str:
    import numpy as np
    from scipy.stats import t

    if not values:
        return "–"
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:+.3f}"
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"
