"""Where a model fails: accuracy per slice, and what changed between two models.

Slices are the labels (`label=HUM`) and the values that each example carries (`length=short (≤ 8 words)`,
`first_word=what`, `fine=HUM:ind`). They overlap: an item counts once in every column. Pairs of slices of two columns
(`label=HUM & first_word=what`) find failures that neither half shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from eval.intervals import (
    MIN_ITEMS,
    benjamini_hochberg,
    insufficient,
    mcnemar_exact,
    non_inferior,
    paired_shares,
    wilson,
)
from eval.outcomes import FloatArray, IntArray, align, is_right, rights
from harness.records import Change, Estimate, Example, Prediction, SliceChange, SliceScore, Status

MAX_VALUES = 50
MIN_PAIR = 20
"""Items that a pair of slices needs."""
MAX_PARENTS = 100
MAX_PAIRS = 200
FALSE_DISCOVERIES = 0.05
REST = "… "
"""Begins the value of the slice that stands for a column's less frequent values."""
AND = " & "
"""Between the two halves of a pair's name."""


def is_rest(name: str) -> bool:
    """Whether a slice is the remainder of a column: true for `fine=… 12 more values`."""
    return name.partition("=")[2].startswith(REST)


def slice_members(
    examples: Sequence[Example], labels: Collection[str] = (), max_values: int = MAX_VALUES
) -> dict[str, IntArray]:
    """Slice name → positions of its examples, ascending.

    Labels come first, in the order of `labels` (those without an example too, as empty slices), then gold labels
    that are not listed; then the columns in the order in which the examples first show them, each column's values
    by falling frequency and then by name. Of a column with more than `max_values` values the most frequent
    are kept, and its last slice, `column=… 12 more values`, holds the items of all others together. A column
    called `label` is left to the label itself; an empty value is shown as `(empty)`. Raises ValueError unless
    max_values ≥ 1.
    """
    if max_values < 1:
        raise ValueError(f"slice_members: max_values {max_values!r} must be at least 1")
    by_label: dict[str, list[int]] = {label: [] for label in labels}
    columns: dict[str, dict[str, list[int]]] = {}
    for position, example in enumerate(examples):
        by_label.setdefault(example.label, []).append(position)
        for column, value in example.slices.items():
            if column != "label":
                columns.setdefault(column, {}).setdefault(value or "(empty)", []).append(position)
    members = {f"label={label}": positions for label, positions in by_label.items()}
    for column, values in columns.items():
        order = sorted(values, key=lambda value: (-len(values[value]), value))
        members.update({f"{column}={value}": values[value] for value in order[:max_values]})
        if rest := order[max_values:]:
            name = f"{column}={REST}{len(rest)} more value{'s' if len(rest) > 1 else ''}"
            members[name] = sorted(position for value in rest for position in values[value])
    return {name: np.array(positions, dtype=np.int64) for name, positions in members.items()}


def slice_pairs(
    members: Mapping[str, IntArray], min_items: int = MIN_PAIR, max_pairs: int = MAX_PAIRS
) -> dict[str, IntArray]:
    """Pairs of slices of two different columns: `first_word=what & length=short (≤ 8 words)` → positions, ascending.

    `members` are those of `slice_members`. A pair with fewer than `min_items` items is left out, and so is one that
    holds the same items as one of its parents or as a slice before it, because it would say the same twice. To
    bound the work, only the 100 largest slices are paired (a column's remainder, `… 12 more values`, never is), and
    of the pairs the `max_pairs` largest are kept: a choice by size alone, which the models' answers cannot move.
    Raises ValueError unless min_items ≥ 1 and max_pairs ≥ 0.
    """
    if min_items < 1 or max_pairs < 0:
        raise ValueError(f"slice_pairs: min_items {min_items!r} must be at least 1, max_pairs {max_pairs!r} at least 0")
    large = [name for name, positions in members.items() if len(positions) >= min_items and not is_rest(name)]
    parents = set(sorted(large, key=lambda name: -len(members[name]))[:MAX_PARENTS])
    names = [name for name in large if name in parents]
    inside = _indicators([members[name] for name in names])
    shared = (inside @ inside.T).astype(np.int64)
    size = [len(members[name]) for name in names]
    candidates = [
        (int(shared[one, other]), one, other)
        for one in range(len(names))
        for other in range(one + 1, len(names))
        if min_items <= shared[one, other] < min(size[one], size[other])
        and names[one].partition("=")[0] != names[other].partition("=")[0]
    ]
    seen = {positions.tobytes() for positions in members.values()}
    pairs: dict[str, IntArray] = {}
    for _, one, other in sorted(candidates, key=lambda pair: -pair[0]):
        if len(pairs) == max_pairs:
            break
        both = np.intersect1d(members[names[one]], members[names[other]], assume_unique=True)
        name = f"{names[one]}{AND}{names[other]}"
        if both.tobytes() not in seen and name not in members:
            seen.add(both.tobytes())
            pairs[name] = both
    return pairs


def _indicators(slices: Sequence[IntArray]) -> FloatArray:
    """Positions of several slices → 0 or 1, shape (slices, items)."""
    table = np.zeros((len(slices), 1 + max((int(one.max()) for one in slices), default=0)))
    for row, positions in enumerate(slices):
        table[row, positions] = 1.0
    return table


def slice_scores(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: Collection[str] = (),
    max_values: int = MAX_VALUES,
) -> tuple[SliceScore, ...]:
    """Accuracy with its Wilson interval on every slice of `slice_members`, in its order.

    A missing or failed prediction counts as wrong and under its status. An empty slice has value None. Raises
    ValueError as `eval.outcomes.align` does.
    """
    answers = align(examples, predictions)
    right = [is_right(example, answer) for example, answer in zip(examples, answers, strict=True)]
    rows: list[SliceScore] = []
    for name, positions in slice_members(examples, labels, max_values).items():
        status = Counter(answers[position].status for position in positions)
        share = wilson(sum(right[position] for position in positions), len(positions))
        rows.append(
            SliceScore(
                name,
                len(positions),
                status[Status.OK],
                status[Status.UNPARSABLE],
                status[Status.ERROR],
                share.value,
                share.low,
                share.high,
            )
        )
    return tuple(rows)


def slice_changes(
    examples: Sequence[Example],
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    labels: Collection[str] = (),
    margin: float = 0.05,
    max_values: int = MAX_VALUES,
    *,
    pairs: bool = False,
) -> tuple[SliceChange, ...]:
    """What improved and what regressed between two models on the same items, slice by slice.

    A slice counts as changed at q ≤ .05. `margin` is the loss of accuracy that "no slice regressed" would
    tolerate. With `pairs`, the pairs of `slice_pairs` follow the slices and share their correction. Slices overlap, so
    their tests are dependent; Benjamini-Hochberg holds where the dependence is positive. Raises ValueError as
    `eval.outcomes.align` does and unless margin > 0.
    """
    old, new = rights(examples, before), rights(examples, after)
    members = slice_members(examples, labels, max_values)
    if pairs:
        members |= slice_pairs(members)
    p_values = {
        name: mcnemar_exact(new[positions], old[positions])
        for name, positions in members.items()
        if len(positions) >= MIN_ITEMS
    }
    q_values = dict(zip(p_values, benjamini_hochberg(list(p_values.values())), strict=True))
    rows: list[SliceChange] = []
    for name, positions in members.items():
        n, was, now = len(positions), old[positions], new[positions]
        if n >= MIN_ITEMS:
            difference = paired_shares(int(np.sum(now & ~was)), int(np.sum(was & ~now)), n)
        else:
            gain = float(now.mean() - was.mean()) if n else None
            difference = insufficient(f"{n} items; a slice needs at least {MIN_ITEMS}", n, gain)
        rows.append(
            SliceChange(
                name,
                n,
                float(was.mean()) if n else None,
                float(now.mean()) if n else None,
                difference,
                p_values.get(name),
                q_values.get(name),
                _change(difference, q_values.get(name)),
                non_inferior(difference, margin),
            )
        )
    return tuple(rows)


def _change(difference: Estimate, q_value: float | None) -> Change:
    if q_value is None or difference.value is None:
        return "insufficient"
    if q_value > FALSE_DISCOVERIES or difference.value == 0:
        return "unclear"
    return "improved" if difference.value > 0 else "regressed"
