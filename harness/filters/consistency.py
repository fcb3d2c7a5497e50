"""Does a student that learnt only from the seeds give the label, or the answer, that the row came with?

Small generators often write a good text for another label. Relabelling those, rather than dropping them, is what
PromptMix (Sahu et al., arXiv 2310.14192) found decisive. Consistency is not correctness: φ and ψ, measured on
seeds that the student did not see, say how far to trust it. Where the task is to answer in text, several students
answer and the largest group of equal answers decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.answers import clusters, same
from eval.worth import filter_worth
from harness.answers import kind_of
from harness.filters.base import Context, Labeller, Stamp, Standing, Votes
from harness.records import Example, Verdict
from harness.reports import FilterWorth
from harness.spec import Spec


class ConsistencyFilter:
    """Keep where label and students agree, relabel where they are sure of another, drop the rest."""

    name = "consistency"
    version = 3

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        if context.votes is not None:
            return [self._by_votes(item, context.votes, context.spec) for item in standing]
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

    def _by_votes(self, item: Standing, votes: Votes, spec: Spec) -> Verdict:
        """The largest group of equal answers against the row's own one."""
        stamp, rule, said = Stamp(self.name, self.version), spec.filters.consistency, votes.answers[item.row]
        groups = clusters(said)
        best, top = said[groups[0][0]], len(groups[0]) / len(said)
        own = sum(same(item.answer, answer) for answer in said) / len(said)
        kind = kind_of(best, spec.task)
        if same(item.answer, best):
            keep = top >= rule.keep_at
            return stamp.keep(item.candidate, own) if keep else stamp.drop(item.candidate, "unsure of the answer", own)
        if rule.relabel_at <= top and rule.relabel_at < 1 and kind is not None:
            return stamp.relabel(item.candidate, kind, "answered otherwise", top, best)
        return stamp.drop(item.candidate, "answer not confirmed", own)

    def worth(self, context: Context) -> FilterWorth | None:
        """Seeds under their own label should be kept, under any other label not; both from out-of-fold answers.

        "Kept" means that the row enters training with the label it came with; a relabelled planted error is caught.
        """
        if context.votes is not None:
            return self._worth_of_votes(context.votes, context.seeds)
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

    def _worth_of_votes(self, votes: Votes, seeds: Sequence[Example]) -> FilterWorth | None:
        """Each seed with its own answer and with that of another seed, by one student that saw neither."""
        gold = [seed.answer for seed in seeds]
        wrong = [(said, other) for said, own, other in _planted(votes.out_of_fold, gold) if not same(own, other)]
        kept_right = sum(same(own, said) for own, said in zip(gold, votes.out_of_fold, strict=True))
        kept_wrong = sum(same(other, said) for said, other in wrong)
        phi, psi, p_star = filter_worth(kept_right, len(gold), kept_wrong, len(wrong))
        if phi is None or psi is None or p_star is None:
            return None
        how = f"{len(gold)} seeds out of fold with their own answer, {len(wrong)} with that of the next seed"
        return FilterWorth(self.name, phi, psi, p_star, len(gold), f"{how}; one student's vote, not the majority's")


def _planted(said: Sequence[str], gold: Sequence[str]) -> list[tuple[str, str, str]]:
    """(answer given, right answer, the next item's answer)"""
    return [
        (answer, own, gold[(place + 1) % len(gold)]) for place, (answer, own) in enumerate(zip(said, gold, strict=True))
    ]


def _required(context: Context) -> Labeller:
    if context.labeller is None:
        raise ValueError("the consistency filter is on, but the context has no labeller")
    return context.labeller
