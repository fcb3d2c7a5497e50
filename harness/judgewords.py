"""What the judge says of the students' answers, in words for the report and the terminal: never without its gate."""

from __future__ import annotations

from harness.records import Estimate
from harness.reports import PLANTED, GateReport, JudgedAnswers, RunReport


def judge_lines(report: RunReport) -> list[str]:
    """A line per arm and role; none where no answer was judged."""
    return [f"Judge on {one.role}, {one.arm}: {judge_verdict(one)} ({gate_words(one.gate)})" for one in report.judged]


def judge_verdict(one: JudgedAnswers) -> str:
    """The share of right answers with where it comes from, or why there is none."""
    if one.score.value is None:
        return (
            f"refused by its gate: {one.gate.reason}" if not one.gate.passed else f"no score, {one.score.note}"
        ) + f"; {one.graded} of {one.asked} answers graded"
    how = one.score.note or f"{one.score.method}, λ = {one.weight or 0:.2f}"
    known = "" if one.known is None else f"; by all gold answers {_percent(one.known)}"
    return (
        f"{_percent(one.score)} of {one.items:,} answers are right, from {one.graded:,} ratings and {one.labelled:,} "
        f"labels ({how}); the judge alone accepts {100 * (one.accepted or 0):.1f} %, the labels alone say "
        f"{_percent(one.labels_alone)}{known}"
    )


def gate_words(gate: GateReport) -> str:
    """`κ 0.81 [0.69, 0.90], φ 0.97, ψ 0.12, p* 0.89, same verdict twice 0.93, n = 100`"""
    kappa = gate.kappa
    ends = "" if kappa.low is None or kappa.high is None else f" [{kappa.low:.2f}, {kappa.high:.2f}]"
    figures = [f"κ {_figure(kappa.value)}{ends}", f"φ {_figure(gate.phi)}", f"ψ {_figure(gate.psi)}"]
    return ", ".join(
        [*figures, f"p* {_figure(gate.p_star)}", f"same verdict twice {_figure(gate.retest)}", f"n = {gate.n}"]
    )


def gate_facts(gate: GateReport) -> list[str]:
    """What the judge was asked, what it was held to, and how much the order of two texts mattered to it."""
    file = f" (file {gate.labels[:12]}…)" if gate.labels else ""
    truth = "seeds, half of them with planted errors" if gate.truth == PLANTED else f"{gate.truth}{file}"
    out = [f"Asked: {gate.asked}." if gate.asked else "", f"Held to {truth}, n = {gate.n}."]
    if gate.flips is not None:
        share = f"{100 * gate.flips:.0f} % of {gate.pairs:,} comparisons"
        out.append(f"Position bias: {share} came out otherwise when the two texts changed places; those count as ties.")
    return [line for line in out if line]


def _percent(share: Estimate | None) -> str:
    if share is None or share.value is None:
        return "–"
    ends = "" if share.low is None or share.high is None else f" [{100 * share.low:.1f}, {100 * share.high:.1f}]"
    return f"{100 * share.value:.1f} %{ends}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
