"""The table of failure modes: what each figure is, how large a difference must be to matter, the verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.records import Estimate
from harness.reports import FailureMode

SYCOPHANCY, FORMAT, SHIFT = "sycophancy", "format over substance", "distribution shift"
UNITS = {"percent": " %", "points": " points", "number": ""}
ADVICE = {
    SYCOPHANCY: (
        "ask for plain items in the prompt, show more seeds (generate.shots), and drop such rows with a judge rubric"
    ),
    FORMAT: (
        "take openings and lengths from real slices (`use: opening`, `use: shots`), show more seeds per prompt, or ask "
        "a larger generator: a model may learn the template instead of the task"
    ),
    SHIFT: (
        "add matrix values for what real items are about, draw few-shot seeds from what is missed (feedback policy "
        "`shots`), or add seeds there"
    ),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One detector. `least` is the smallest difference that matters, in the figure's own scale; `says` is the verdict
    where it fires."""

    name: str
    family: str
    about: str
    least: float
    unit: str
    difference_unit: str
    says: str

    def named(self, name: str) -> Kind:
        return replace(self, name=name)


_KINDS = (
    Kind(
        "hedging",
        SYCOPHANCY,
        "Phrases that take back what is said (“perhaps”, “I think”, “it seems”), per 100 words.",
        1.0,
        "number",
        "number",
        "Synthetic rows hedge more than real ones do.",
    ),
    Kind(
        "position-taking",
        SYCOPHANCY,
        "Phrases that agree, flatter or take a stance (“you are right”, “good point”, “in my view”), per 100 words.",
        1.0,
        "number",
        "number",
        "Synthetic rows take sides or agree more than real ones do.",
    ),
    Kind(
        "politeness",
        SYCOPHANCY,
        "Polite phrases (“please”, “could you”, “thank you”), per 100 words.",
        1.0,
        "number",
        "number",
        "Synthetic rows are politer than real ones.",
    ),
    Kind(
        "length inflation",
        SYCOPHANCY,
        "Mean number of words; the difference is that of the means, relative to the real one.",
        0.3,
        "number",
        "percent",
        "Synthetic rows are padded: they are longer than real ones.",
    ),
    Kind(
        "label from the template",
        FORMAT,
        "Share of labels that a cross-validated classifier finds from function words, punctuation and skeleton alone.",
        0.15,
        "percent",
        "points",
        "The label of synthetic rows can be read off the template far more than that of real ones.",
    ),
    Kind(
        "repeated openings",
        FORMAT,
        "Share of rows with the commonest opening of one, two or three words.",
        0.15,
        "percent",
        "points",
        "Synthetic rows open alike far more often than real ones.",
    ),
    Kind(
        "repeated skeletons",
        FORMAT,
        "Chance that two rows have the same skeleton: function words and punctuation, content words left blank.",
        0.03,
        "percent",
        "points",
        "Synthetic rows share a few skeletons far more often than real ones.",
    ),
    Kind(
        "content shift",
        SHIFT,
        "Can a linear classifier tell rows from real anchors by their content words alone? AUC, cross-validated; .5 is "
        "chance, and the difference is to it.",
        0.15,
        "number",
        "number",
        "Synthetic rows are about other things than real ones.",
    ),
    Kind(
        "missed content",
        SHIFT,
        "Share of real anchors without a row of like content near them; the difference is to as many real dev items.",
        0.10,
        "percent",
        "points",
        "Parts of the real data have no synthetic row near them.",
    ),
)
KINDS = {one.name: one for one in _KINDS}


def judged(
    kind: Kind,
    seeds: Estimate,
    real: Estimate,
    synthetic: Estimate,
    difference: Estimate,
    evidence: Sequence[str] = (),
    elsewhere: str = "",
) -> FailureMode:
    """Fires where the interval of the difference lies above 0 and its value is at least `kind.least`, or where
    `elsewhere` says, in words, in which part of the data it does."""
    if difference.value is None or difference.low is None:
        fired, verdict = None, f"Cannot be told: {difference.note.removeprefix('insufficient: ')}."
    elif difference.low > 0 and difference.value >= kind.least:
        fired, verdict = True, kind.says
    elif difference.low > 0:
        fired, verdict = (
            False,
            f"No alarm: the difference is beyond chance but below {least_of(kind)}, the least that matters here.",
        )
    else:
        fired, verdict = False, "No alarm: no difference beyond chance."
    if elsewhere and not fired:
        fired, verdict = True, f"{kind.says.removesuffix('.')}, in part: {elsewhere}."
    return FailureMode(
        kind.name,
        kind.family,
        kind.about,
        kind.unit,
        kind.difference_unit,
        seeds,
        real,
        synthetic,
        difference,
        kind.least,
        fired,
        verdict,
        tuple(evidence),
    )


def cautions(modes: Sequence[FailureMode]) -> list[str]:
    """One sentence for each family that fired: what was found, and what to try."""
    found: list[str] = []
    for family, advice in ADVICE.items():
        fired = [one for one in modes if one.fired and one.family == family]
        if fired:
            said = " ".join(f"{one.verdict.removesuffix('.')} ({one.name})." for one in fired)
            warning = f"What the model learns from them may not hold on real items; {advice}."
            found.append(f"{family.capitalize()}: {said} {warning}")
    return found


def least_of(mode: FailureMode | Kind) -> str:
    """`15 points`, `30 %`, `1`: the smallest difference that matters."""
    scale = 1 if mode.difference_unit == "number" else 100
    return f"{scale * mode.least:g}{UNITS[mode.difference_unit]}"
