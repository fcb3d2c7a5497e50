"""Is there something to learn from it? p(label) under the current student, kept in a band.

Below the band lie mostly label errors, above it what the student knows already. Where feedback drew a label beyond its
share (policy `surplus`), its easiest rows go, so that the hardest fill the share.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.filters.base import Context, Stamp, Standing
from harness.records import Verdict
from harness.reports import FilterWorth

TOO_HARD, TOO_EASY = "too hard", "too easy"


class DifficultyFilter:
    name = "difficulty"
    version = 2

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        band = context.spec.filters.difficulty
        stamp = Stamp(self.name, self.version)
        scores = _scores(standing, context)
        if scores is None:
            return [stamp.abstain(item.candidate, "no student yet") for item in standing]
        spare = _easier_than_share(standing, scores, context)
        verdicts: list[Verdict] = []
        for item, score in zip(standing, scores, strict=True):
            if score < band.low:
                verdicts.append(stamp.drop(item.candidate, TOO_HARD, score))
            elif score > band.high:
                verdicts.append(stamp.drop(item.candidate, TOO_EASY, score))
            elif item.candidate.id in spare:
                verdicts.append(stamp.drop(item.candidate, "easier than the rest of its label", score))
            else:
                verdicts.append(stamp.keep(item.candidate, score))
        return verdicts

    def worth(self, context: Context) -> FilterWorth | None:  # noqa: ARG002 - difficulty says nothing of correctness
        return None


def _scores(standing: Sequence[Standing], context: Context) -> list[float] | None:
    """p(label) of each row; for answers in text that of the answer's tokens, of the answer that the row came with."""
    if context.votes is not None:
        return [float(context.votes.likelihood[item.row]) for item in standing]
    if context.difficulty is None:
        return None
    labels = list(context.spec.task.labels)
    return [float(context.difficulty[item.row, labels.index(item.label)]) for item in standing]


def _easier_than_share(standing: Sequence[Standing], scores: Sequence[float], context: Context) -> set[str]:
    """Ids of the rows that a label drawn `factor` times its share can spare: all but the hardest 1/factor a round."""
    spare: set[str] = set()
    for round_, factors in context.surplus.items():
        for label, factor in factors.items():
            own = [
                (score, item.candidate.id)
                for item, score in zip(standing, scores, strict=True)
                if item.candidate.round == round_ and item.label == label
            ]
            keep = round(len(own) / factor)
            spare |= {ident for _, ident in sorted(own)[keep:]}
    return spare
