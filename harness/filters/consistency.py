"""Does a student that learnt only from the seeds give the label that was asked for?

Small generators often write a good text for another label. Relabelling those, rather than dropping them, is what
PromptMix (Sahu et al., arXiv 2310.14192) found decisive. Consistency is not correctness: φ and ψ, measured on
seeds that the student did not see, say how far to trust it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.worth import filter_worth
from harness.filters.base import Context, Labeller, Stamp, Standing
from harness.records import Verdict
from harness.reports import FilterWorth


class ConsistencyFilter:
    """Keep where label and students agree, relabel where they are sure of another, drop the rest."""

    name = "consistency"
    version = 2

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        labeller = _required(context)
        rule = context.spec.filters.consistency
        stamp = Stamp(self.name, self.version)
        verdicts: list[Verdict] = []
        for item in standing:
            row = labeller.probabilities[item.row]
            best = labeller.labels[int(row.argmax())]
            own, top = float(row[labeller.labels.index(item.label)]), float(row.max())
            if best == item.label and own >= rule.keep_at:
                verdicts.append(stamp.keep(item.candidate, own))
            elif best == item.label:
                verdicts.append(stamp.drop(item.candidate, "unsure of the label", own))
            elif rule.relabel_at <= top and rule.relabel_at < 1:
                verdicts.append(stamp.relabel(item.candidate, best, f"reads as {best}", top))
            else:
                verdicts.append(stamp.drop(item.candidate, "label not confirmed", own))
        return verdicts

    def worth(self, context: Context) -> FilterWorth | None:
        """Seeds under their own label should be kept, under any other label not; both from out-of-fold answers.

        "Kept" means that the row enters training with the label it came with; a relabelled planted error is caught.
        """
        labeller = _required(context)
        rule = context.spec.filters.consistency
        guess = labeller.out_of_fold.argmax(axis=1)
        sure = labeller.out_of_fold.max(axis=1) >= rule.keep_at
        own = np.array([labeller.labels.index(seed.label) for seed in context.seeds])
        kept_right = int(((guess == own) & sure).sum())
        kept_wrong = int(((guess != own) & sure).sum())
        n, wrong = len(own), len(own) * (len(labeller.labels) - 1)
        phi, psi, p_star = filter_worth(kept_right, n, kept_wrong, wrong)
        if phi is None or psi is None or p_star is None:
            return None
        how = f"{n} seeds out of fold under their own label, and under each of the {len(labeller.labels) - 1} others"
        if labeller.probabilities is not labeller.seeds_only:
            how += "; the self-trained students, which have half of the say, are not in this figure"
        return FilterWorth(self.name, phi, psi, p_star, n, how)


def _required(context: Context) -> Labeller:
    if context.labeller is None:
        raise ValueError("the consistency filter is on, but the context has no labeller")
    return context.labeller
