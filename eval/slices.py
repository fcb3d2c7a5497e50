"""Where a model fails: accuracy per slice, and what changed between two models.

Slices are the labels (`label=HUM`) and the values that each example carries (`length=short (≤ 8 words)`,
`first_word=what`, `fine=HUM:ind`). They overlap: an item counts once in every column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

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
from eval.outcomes import IntArray, align, is_right, rights
from harness.records import Estimate, Example, Prediction, SliceScore, Status

MAX_VALUES = 50
FALSE_DISCOVERIES = 0.05
REST = "… "
"""Begins the value of the slice that stands for a column's less frequent values."""

Change = Literal["improved", "regressed", "unclear", "insufficient"]


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


@dataclass(frozen=True, slots=True)
class SliceChange:
    """One slice under two models. `difference` = after − before with its paired interval.

    `p_value` is exact McNemar's, `q_value` that after Benjamini-Hochberg over the slices with n ≥ 10; both are
    None below that, and `change` is then "insufficient". `held` says whether the slice is shown not to have lost
    more than the margin (None: not known), which is another question than whether it changed.
    """

    slice: str
    n: int
    before: float | None
    after: float | None
    difference: Estimate
    p_value: float | None
    q_value: float | None
    change: Change
    held: bool | None


def slice_changes(
    examples: Sequence[Example],
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    labels: Collection[str] = (),
    margin: float = 0.05,
    max_values: int = MAX_VALUES,
) -> tuple[SliceChange, ...]:
    """What improved and what regressed between two models on the same items, slice by slice.

    A slice counts as changed at q ≤ .05. `margin` is the loss of accuracy that "no slice regressed" would
    tolerate. Slices overlap, so their tests are dependent; Benjamini-Hochberg holds where the dependence is
    positive. Raises ValueError as `eval.outcomes.align` does and unless margin > 0.
    """
    old, new = rights(examples, before), rights(examples, after)
    members = slice_members(examples, labels, max_values)
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
