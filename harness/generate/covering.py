"""Covering designs: few cells in which every allowed combination of values occurs. Only this module uses covertable.

A design of strength t holds every allowed combination of t values (covering arrays; Cohen, Dalal, Fredman & Patton,
IEEE TSE 1997). Where the full product is far too large to be paid for, pairs (t = 2) take some dozens of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, product
from typing import Any

from harness.spec import Matrix

Combination = tuple[tuple[str, str], ...]
"""Values by dimension, in the matrix's order: `(("label", "HUM"), ("length", "short"))`."""
Allowed = Callable[[Mapping[str, str]], bool]


def axes_of(labels: Sequence[str], matrix: Matrix) -> dict[str, list[str]]:
    """Dimension → values, `label` first."""
    return {"label": list(labels), **{one.name: list(one.values) for one in matrix.dimensions}}


def design(labels: Sequence[str], matrix: Matrix, allowed: Allowed) -> list[dict[str, str]]:
    """Cells that hold every combination of `matrix.cover` values that some allowed cell has; the same each time.

    `allowed` says whether some values break no rule. A matrix with fewer dimensions than that is given as a whole.
    """
    import covertable

    axes = axes_of(labels, matrix)
    rows: Any = covertable.make(
        {name: sorted(values) for name, values in axes.items()},
        strength=min(matrix.cover, len(axes)),
        constraints=[_constraint(names, allowed) for names in _ruled(matrix)],
    )
    return [{name: row[name] for name in axes} for row in rows]


def _ruled(matrix: Matrix) -> Iterator[tuple[str, ...]]:
    """The dimensions that each rule speaks of."""
    for rule in matrix.forbid:
        yield tuple(rule)
    for rule in matrix.require:
        for name in rule.then:
            yield tuple(dict.fromkeys([*rule.when, name]))


def _constraint(names: Sequence[str], allowed: Allowed) -> dict[str, Any]:
    return {"operator": "fn", "requires": list(names), "evaluate": partial(_holds, names, allowed)}


def _holds(names: Sequence[str], allowed: Allowed, row: Mapping[str, str]) -> bool:
    return allowed({name: row[name] for name in names})


def combinations_of(values: Mapping[str, str], strength: int) -> Iterator[Combination]:
    """The combinations of `strength` values in a cell.

    >>> [*combinations_of({"label": "HUM", "length": "short", "tone": "calm"}, 2)][0]
    (('label', 'HUM'), ('length', 'short'))
    """
    return combinations(values.items(), strength)


def all_combinations(axes: Mapping[str, Sequence[str]], strength: int) -> Iterator[Combination]:
    """Every combination of `strength` values, allowed or not."""
    for names in combinations(axes, strength):
        for values in product(*(axes[name] for name in names)):
            yield tuple(zip(names, values, strict=True))
