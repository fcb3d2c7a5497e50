"""How many of a cell's candidates come through, learnt while a run draws: the over-generation that a refill needs.

A cell has few candidates, so its yield is drawn towards its label's and that towards the whole run's (empirical Bayes
with a fixed prior weight, as for the error rates of `harness.generate.rates`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from harness.bench import Harvest
from harness.records import Cell

PRIOR = 16
"""Weight of what is known of the wider group, in candidates."""
LEAST = 0.05
"""A yield is never taken for less: 20 candidates a row at most."""


def yields(now: Harvest) -> Callable[[Cell], float]:
    """Cell → the share of its candidates that is expected to come through, `LEAST` to 1.

    What the budget left unasked counts as drawn: it was planned, and asking for more would not help.
    """
    label_of = {quota.cell.id: quota.cell.values["label"] for quota in now.quotas}
    drawn: Counter[str] = Counter()
    for quota in now.quotas:
        drawn[quota.cell.id] += quota.candidates
    passed = Counter(row.candidate.cell for row in now.accepted())
    drawn_label, passed_label = _by_label(drawn, label_of), _by_label(passed, label_of)
    overall = max(len(now.sieved.accepted) / max(1, drawn.total()), LEAST)

    def expected(cell: Cell) -> float:
        label = cell.values["label"]
        wider = (passed_label[label] + PRIOR * overall) / (drawn_label[label] + PRIOR)
        return max(LEAST, (passed[cell.id] + PRIOR * wider) / (drawn[cell.id] + PRIOR))

    return expected


def _by_label(of_cell: Counter[str], label_of: dict[str, str]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for cell, count in of_cell.items():
        sums[label_of[cell]] += count
    return sums
