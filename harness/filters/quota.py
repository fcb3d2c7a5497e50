"""Exactly as many rows as were asked for: `generate.accepted_per_round` a round, shared out over the matrix as planned.

The last filter, so that the target counts rows after all the others. Which of the rows that passed stay is decided by
the highest averages of Sainte-Laguë (Balinski & Young 1982, *Fair Representation*): cell by cell in proportion to the
plan, as far as each has rows. Within a cell those with the better grade of a judge that passed its gate come first,
the rest by lot. The lot and not the students' probability: the surest rows are the easiest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.filters.base import Context, Stamp, Standing
from harness.records import Verdict
from harness.reports import FilterWorth
from harness.store import digest

BEYOND_TARGET = "beyond the target"


class QuotaFilter:
    name = "quota"
    version = 1

    async def __call__(self, standing: Sequence[Standing], context: Context) -> list[Verdict]:
        stamp = Stamp(self.name, self.version)
        rounds = max((one.round for one in context.candidates), default=0)
        target = context.spec.generate.accepted_per_round * rounds
        order = ranked(standing, context.planned, context.spec.seed)
        chosen = {item.candidate.id for item in order[:target]}
        return [
            stamp.keep(item.candidate) if item.candidate.id in chosen else stamp.drop(item.candidate, BEYOND_TARGET)
            for item in standing
        ]

    def worth(self, context: Context) -> FilterWorth | None:  # noqa: ARG002 - a quota says nothing of correctness
        return None


def ranked(standing: Sequence[Standing], planned: Mapping[tuple[int, str], int], seed: int) -> list[Standing]:
    """The rows in the order in which places are given. `planned` holds candidates by round and cell.

    Each round weighs the same, and in it a cell by its share of the round's plan. A row of a cell that no plan names
    comes last.
    """
    of_round: dict[int, int] = {}
    for (round_, _), candidates in planned.items():
        of_round[round_] = of_round.get(round_, 0) + candidates
    groups: dict[tuple[int, str], list[Standing]] = {}
    for item in sorted(standing, key=lambda item: (-(item.grade or 0.0), digest([seed, item.candidate.id]))):
        groups.setdefault((item.candidate.round, item.candidate.cell), []).append(item)
    places: list[tuple[float, str, Standing]] = []
    for (round_, cell), rows in groups.items():
        share = planned.get((round_, cell), 0) / max(1, of_round.get(round_, 0))
        for index, item in enumerate(rows):
            average = (index + 0.5) / share if share else float("inf")
            places.append((average, digest([seed, item.candidate.id]), item))
    return [item for _, _, item in sorted(places, key=lambda place: place[:2])]
