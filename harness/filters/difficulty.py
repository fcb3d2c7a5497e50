"""Is there something to learn from it? p(label) under the current student, kept in a band.

Below the band lie mostly label errors, above it what the student knows already.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.filters.base import Context, Stamp, Standing
from harness.records import FilterWorth, Verdict


class DifficultyFilter:
    name = "difficulty"
    version = 1

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        band = context.spec.filters.difficulty
        stamp = Stamp(self.name, self.version)
        if context.difficulty is None:
            return [stamp.abstain(item.candidate, "no student yet") for item in standing]
        labels = list(context.spec.task.labels)
        verdicts: list[Verdict] = []
        for item in standing:
            score = float(context.difficulty[item.row, labels.index(item.label)])
            if score < band.low:
                verdicts.append(stamp.drop(item.candidate, "too hard", score))
            elif score > band.high:
                verdicts.append(stamp.drop(item.candidate, "too easy", score))
            else:
                verdicts.append(stamp.keep(item.candidate, score))
        return verdicts

    def worth(self, context: Context) -> FilterWorth | None:  # noqa: ARG002 - difficulty says nothing of correctness
        return None
