"""Items that even the students do not agree on, and the cells of the matrix that make them.

For labels an item is ambiguous if the entropy of the students' mean answer is above that of 19 in 20 real seeds, each
read by the student that did not see it; for answers in text if no group of equal answers holds more than half of the
votes. A cell is ambiguous if it makes such items more often than the other cells do: Fisher's exact test, with at most
5 % of the cells that are named named wrongly (Benjamini & Hochberg), however many there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval.answers import clusters
from eval.intervals import benjamini_hochberg, wilson
from harness.filters.base import Context, Labeller, Votes
from harness.observe import HIDDEN
from harness.records import Decision, Verdict
from harness.reports import Ambiguity, AmbiguousCell, AmbiguousItem

SEEDS_BELOW = 0.95
FEWEST = 10
"""Items of a cell from which on it is judged."""
SIGNIFICANT = 0.05
SHOWN = 30


def ambiguity_of(context: Context, verdicts: Sequence[Verdict]) -> Ambiguity | None:
    """None where no students read the candidates, or where there are none of either. Texts that the `verdicts` say are
    copies of held-out ones are not shown."""
    rows = context.candidates
    if not rows:
        return None
    if context.votes is not None:
        doubt, bar = _split(context.votes), 0.5
        said = [_commonest(answers) for answers in context.votes.answers]
    elif context.labeller is not None and len(context.labeller.out_of_fold):
        doubt, bar = entropy(context.labeller.probabilities), _bar(context.labeller)
        said = [_two_likeliest(context.labeller, row) for row in range(len(rows))]
    else:
        return None
    flagged = doubt > bar if context.votes is None else doubt >= bar
    worst = sorted(np.flatnonzero(flagged).tolist(), key=lambda row: (-doubt[row], rows[row].id))
    copies = {one.candidate for one in verdicts if one.filter == "leakage" and one.decision is Decision.DROP}
    items = tuple(
        AmbiguousItem(
            rows[row].id,
            rows[row].cell,
            HIDDEN if rows[row].id in copies else rows[row].example.text,
            rows[row].example.label,
            said[row],
            float(doubt[row]),
        )
        for row in worst[:SHOWN]
    )
    cells = _cells([one.cell for one in rows], flagged)
    return Ambiguity(bar, len(worst), len(rows), items, cells)


def entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy of each row of n × labels, by that of an even guess: 0 is sure, 1 knows nothing.

    >>> entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [0.0, 1.0]
    """
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    # Adding 0.0 makes a plain zero of -0.0.
    return -(probabilities * logs).sum(axis=1) / np.log(probabilities.shape[1]) + 0.0


def _bar(labeller: Labeller) -> float:
    return float(np.quantile(entropy(labeller.out_of_fold), SEEDS_BELOW))


def _split(votes: Votes) -> NDArray[np.float64]:
    """Share of votes that are not in the largest group of equal answers."""
    return np.array([1 - len(clusters(said)[0]) / len(said) for said in votes.answers])


def _commonest(answers: tuple[str, ...]) -> str:
    return " / ".join(f"{answers[group[0]]} ({len(group)} of {len(answers)})" for group in clusters(answers)[:2])


def _two_likeliest(labeller: Labeller, row: int) -> str:
    chances = labeller.probabilities[row]
    return " / ".join(f"{labeller.labels[place]} {chances[place]:.2f}" for place in np.argsort(-chances)[:2])


def _cells(cells: list[str], flagged: NDArray[np.bool_]) -> tuple[AmbiguousCell, ...]:
    drawn = Counter(cells)
    doubtful = Counter(cell for cell, is_so in zip(cells, flagged, strict=True) if is_so)
    judged = sorted(cell for cell in drawn if drawn[cell] >= FEWEST)
    q_values = benjamini_hochberg(
        [_chance(doubtful[cell], drawn[cell], doubtful.total(), len(cells)) for cell in judged]
    )
    found = [
        AmbiguousCell(cell, doubtful[cell], drawn[cell], wilson(doubtful[cell], drawn[cell]).low or 0.0)
        for cell, q in zip(judged, q_values, strict=True)
        if q <= SIGNIFICANT
    ]
    return tuple(sorted(found, key=lambda one: (-one.low, one.cell))[:SHOWN])


def _chance(doubtful: int, n: int, all_doubtful: int, all_n: int) -> float:
    """One-sided p of Fisher's exact test, this cell against the others. A binomial test against the others' share would
    take that share for known; where there are two cells of 10, it would name one by chance in half of the runs."""
    from scipy.stats import hypergeom

    return min(1.0, float(hypergeom.sf(doubtful - 1, all_n, all_doubtful, n)))
