"""The variation matrix: which combinations are allowed, and how many candidates each one gets.

The first dimension is always `label`. A round can pay for far fewer calls than the full product has cells, so values
are dealt like cards: per label every dimension gets a deck that holds each value in proportion to its weight, and
each call takes one card of each deck. So marginals match the weights closely however few calls there are.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from harness.errors import Problem, SpecError
from harness.generate.covering import Combination, combinations_of, design
from harness.records import Cell, Quota
from harness.spec import Dimension, Matrix

MAX_PRODUCT = 200_000
"""Cells that are counted exactly; a larger product is only dealt from, never listed."""


def make_cell(values: Mapping[str, str]) -> Cell:
    """`Cell("label=HUM|opening=Who", …)`: the id says what the cell is."""
    return Cell("|".join(f"{name}={value}" for name, value in values.items()), dict(values))


def allowed(values: Mapping[str, str], matrix: Matrix) -> bool:
    """Whether no rule speaks against these values. A rule applies once all of its dimensions have a value."""
    if any(_matches(values, rule) for rule in matrix.forbid):
        return False
    return not any(
        _matches(values, rule.when) and name in values and not _matches(values, {name: wanted})
        for rule in matrix.require
        for name, wanted in rule.then.items()
    )


def _matches(values: Mapping[str, str], rule: Mapping[str, str | list[str]]) -> bool:
    return all(
        name in values and values[name] in ([wanted] if isinstance(wanted, str) else wanted)
        for name, wanted in rule.items()
    )


def in_slice(found: str, value: str) -> bool:
    """Whether a matrix value names a slice of the real data. Slices of numbers carry their bounds.

    >>> in_slice("short (≤ 8 words)", "short"), in_slice("shortish", "short")
    (True, False)
    """
    return found == value or found.startswith(f"{value} (")


def count_cells(labels: Sequence[str], matrix: Matrix) -> tuple[int, bool]:
    """(number of allowed cells, exact?). Products above `MAX_PRODUCT` are not walked: all of their cells count."""
    product = len(labels) * math.prod(len(dimension.values) for dimension in matrix.dimensions)
    if product > MAX_PRODUCT:
        return product, False
    partial: list[dict[str, str]] = [{"label": label} for label in labels]
    for dimension in matrix.dimensions:
        partial = [{**values, dimension.name: value} for values in partial for value in dimension.values]
    return sum(allowed(values, matrix) for values in partial), True


def apportion(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Whole shares that add up to `total` (largest remainder; ties go to the first).

    >>> apportion(10, {"a": 1, "b": 1, "c": 1})
    {'a': 4, 'b': 3, 'c': 3}
    """
    mass = sum(weights.values())
    exact = {name: total * weight / mass for name, weight in weights.items()}
    shares = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: shares[name] - exact[name])
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


def deal(
    candidates: int,
    per_call: int,
    label_weights: Mapping[str, float],
    matrix: Matrix,
    generator: random.Random,
    planned: Collection[Combination] = (),
) -> tuple[Quota, ...]:
    """Quotas for about `candidates` answers in calls of `per_call`, sorted by cell id; at least one call per label.

    Where `matrix.cover` asks for a covering design, its cells come first, those without a combination that is not
    `planned` already left out; decks give the rest. Raises `SpecError` when the rules leave a label without any cell.
    """
    calls = max(len(label_weights), math.ceil(candidates / per_call))
    drawn: Counter[str] = Counter()
    cells: dict[str, Cell] = {}
    wanted = _design(tuple(label_weights), matrix, set(planned)) if matrix.cover > 1 else {}
    for label, share in _one_at_least(apportion(calls, label_weights)).items():
        decks = {dimension.name: _deck(label, dimension, share, matrix, generator) for dimension in matrix.dimensions}
        first = wanted.get(label, [])[:share]
        for values in first:
            for name, deck in decks.items():
                if values[name] in deck:
                    deck.remove(values[name])
        for cell in [*map(make_cell, first), *(_take(label, matrix, decks) for _ in range(share - len(first)))]:
            cells[cell.id] = cell
            drawn[cell.id] += per_call
    return tuple(Quota(cells[ident], drawn[ident]) for ident in sorted(cells))


def _design(labels: Sequence[str], matrix: Matrix, planned: set[Combination]) -> dict[str, list[dict[str, str]]]:
    """Label → cells of the covering design that bring a combination which is not planned yet, most of them first."""
    left = [{**row} for row in design(labels, matrix, lambda values: allowed(values, matrix))]
    out: dict[str, list[dict[str, str]]] = {label: [] for label in labels}
    while left:
        news = [sum(one not in planned for one in combinations_of(row, matrix.cover)) for row in left]
        best = max(range(len(left)), key=lambda place: news[place])
        if not news[best]:
            break
        row = left.pop(best)
        planned |= set(combinations_of(row, matrix.cover))
        out[row["label"]].append(row)
    return out


def possible(values: Mapping[str, str], labels: Sequence[str], matrix: Matrix) -> bool:
    """Whether some allowed cell has these values."""
    if not allowed(values, matrix):
        return False
    none: dict[str, list[str]] = {
        one.name: [values[one.name]] if one.name in values else [] for one in matrix.dimensions
    }
    narrowed = [
        one.model_copy(update={"values": {values[one.name]: 1.0}}) if one.name in values else one
        for one in matrix.dimensions
    ]
    own = [values["label"]] if "label" in values else labels
    return any(_complete({"label": label}, narrowed, matrix, none) is not None for label in own)


def _one_at_least(shares: dict[str, int]) -> dict[str, int]:
    """A label without a call could never be trained on; it takes one from the label with the most."""
    for name in [name for name, share in shares.items() if not share]:
        richest = max(shares, key=lambda other: shares[other])
        shares[richest] -= 1
        shares[name] = 1
    return shares


def _deck(label: str, dimension: Dimension, size: int, matrix: Matrix, generator: random.Random) -> list[str]:
    weights = {
        value: weight
        for value, weight in dimension.values.items()
        if allowed({"label": label, dimension.name: value}, matrix)
    }
    if not weights:
        raise SpecError("matrix", [_impossible(label)])
    # Values that share a weight must not always lose the rounding to those written before them.
    mixed = generator.sample(sorted(weights), len(weights))
    cards = [
        value
        for value, count in apportion(size, {value: weights[value] for value in mixed}).items()
        for _ in range(count)
    ]
    generator.shuffle(cards)
    return cards


def _take(label: str, matrix: Matrix, decks: Mapping[str, list[str]]) -> Cell:
    """One allowed card of each deck; where the deck has none, any allowed value by weight."""
    values = _complete({"label": label}, matrix.dimensions, matrix, decks)
    if values is None:
        raise SpecError("matrix", [_impossible(label)])
    for name, deck in decks.items():
        if values[name] in deck:
            deck.remove(values[name])
    return make_cell(values)


def _complete(
    values: Mapping[str, str], dimensions: Sequence[Dimension], matrix: Matrix, decks: Mapping[str, list[str]]
) -> Mapping[str, str] | None:
    if not dimensions:
        return values
    first, rest = dimensions[0], dimensions[1:]
    by_weight = sorted(first.values, key=lambda value: -first.values[value])
    for value in dict.fromkeys([*decks[first.name], *by_weight]):
        extended = {**values, first.name: value}
        if allowed(extended, matrix):
            complete = _complete(extended, rest, matrix, decks)
            if complete is not None:
                return complete
    return None


def _impossible(label: str) -> Problem:
    return Problem(
        "matrix.forbid",
        f"the rules leave no cell for label {label!r}; remove a rule or allow more values",
    )
