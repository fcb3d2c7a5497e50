"""What a gap means in words that need no manual: one sentence, the likely cause, which detector says so, what to try.

A cause is named only where its detector's interval speaks against "no effect"; of several the one with the largest
effect comes first. All of it rests on real anchors and dev items as numbers; no text of theirs is in a reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Estimate, Gap
from harness.reports import Diagnosis, Reading

SMALL = 0.05
"""A share below this is no cause worth naming."""
TOLD_APART = 0.65
"""An AUC whose interval starts below this is no dialect worth naming."""
ADVICE = {
    "dialect": (
        "show more seeds per prompt (generate.shots), take openings and lengths from real slices (`use: opening`, "
        "`use: shots`) rather than described traits, or ask a larger generator"
    ),
    "coverage": (
        "add matrix values for what is missing (the weakest slices below name it), draw few-shot seeds from weak "
        "slices (feedback policy `shots`), or add a few dozen seeds there"
    ),
    "label noise": (
        "raise filters.consistency.keep_at and relabel_at, or have a person check the accepted rows that the labeller "
        "was least sure of"
    ),
    "unknown": "look at the samples and at the weakest slices; no detector points to a cause",
    "none": "",
}


@dataclass(frozen=True, slots=True)
class _Cause:
    name: str
    effect: float
    said: str


def readings(gap: Gap, diagnosis: Diagnosis | None) -> tuple[Reading, ...]:
    """One reading per gap, in the order transfer, source, recovered."""
    causes = _causes(diagnosis)
    return (
        _reading("transfer", _transfer(gap.transfer), _open(gap.transfer), causes),
        _reading("source", _source(gap.source), _open(gap.source), causes),
        _reading("recovered", _recovered(gap.recovered), _unfinished(gap.recovered), causes),
    )


def _reading(name: str, sentence: str, wanting: bool, causes: Sequence[_Cause]) -> Reading:
    if not wanting:
        return Reading(name, sentence, "none", "", "")
    if not causes:
        return Reading(name, sentence, "unknown", "no detector speaks against chance", ADVICE["unknown"])
    first, *others = causes
    more = f" Beside it {' and '.join(other.said for other in others)}." if others else ""
    return Reading(name, sentence, first.name, f"{first.said}.{more}", ADVICE[first.name])


def _causes(found: Diagnosis | None) -> list[_Cause]:
    """Detectors whose interval lies on the side of an effect, the largest effect first."""
    if found is None:
        return []
    causes: list[_Cause] = []
    auc, missed = found.dialect, found.coverage.difference
    if _above(auc, TOLD_APART):
        said = f"a linear classifier tells synthetic rows from real anchors with an AUC of {_span(auc)} (.5 is chance)"
        causes.append(_Cause("dialect", 2 * (auc.value or 0.5) - 1, said))
    if _above(missed, 0.0) and (missed.value or 0.0) > SMALL:
        said = (
            f"{_percent(found.coverage.missed.value)} of the real anchors have no synthetic row near them, "
            f"{_percent(found.coverage.reference.value)} have no real one among as many"
        )
        causes.append(_Cause("coverage", missed.value or 0.0, said))
    wrong = found.label_noise.wrong if found.label_noise else None
    if wrong and _above(wrong, 0.0) and (wrong.value or 0.0) > SMALL:
        said = f"an estimated share of {_span(wrong)} of the synthetic answers or labels is wrong"
        causes.append(_Cause("label noise", wrong.value or 0.0, said))
    return sorted(causes, key=lambda cause: -cause.effect)


def _above(found: Estimate, bound: float) -> bool:
    return found.value is not None and found.low is not None and found.low > bound


def _transfer(gap: Estimate) -> str:
    if gap.value is None:
        return f"Not measured: {gap.note}."
    if not _open(gap):
        return "The model does about as well on real items as on synthetic ones it never saw: no dialect shows."
    return (
        f"The model that learnt from synthetic rows is {_points(gap.value)} points better on synthetic items that it "
        "never saw than on real ones: part of what it learnt is how the generator writes."
    )


def _source(gap: Estimate) -> str:
    if gap.value is None:
        return f"Not measured: {gap.note}."
    if not _open(gap):
        return "As training rows, the synthetic ones are not measurably worse than as many real ones."
    return (
        f"As many real rows would have taught the model {_points(gap.value)} points more than the synthetic rows did: "
        "that is what is missing in them."
    )


def _recovered(gap: Estimate) -> str:
    if gap.value is None:
        return f"Not measured: {gap.note}."
    if not _open(gap):
        return (
            "The loop shows no gain over the real seeds alone: of the way to all real data it has covered about "
            "nothing that could be told from chance."
        )
    rest = max(0.0, 1 - gap.value)
    covered = f"The loop has covered {_percent(gap.value)} of the way from the seeds to all real data"
    return f"{covered}; {_percent(rest)} is left."


def _open(gap: Estimate) -> bool:
    return _above(gap, 0.0)


def _unfinished(gap: Estimate) -> bool:
    return gap.value is not None and (gap.low is None or gap.low < 1)


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _percent(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.0f} %"


def _span(found: Estimate) -> str:
    ends = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{ends}"
