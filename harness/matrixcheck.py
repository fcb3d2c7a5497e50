"""Whether the variation matrix of a spec can be planned: names that exist, and a cell left for every label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.spec import Matrix
from harness.specwords import Finding, show, suggest
from harness.yamlfile import Key, inline

Labels = Mapping[str, str]
Rule = Mapping[str, frozenset[str]]
"""Dimension → values; a cell that matches in all of them is not allowed."""
Axes = Mapping[str, list[str]]
"""Dimension → all of its values, `label` included."""


def value_lists(tree: Mapping[str, Any], raw: Mapping[Key, str]) -> Iterator[Finding]:
    """Dimension values given as a list: they have to be distinct texts, before each is given the weight 1."""
    matrix = tree.get("matrix")
    dimensions = matrix.get("dimensions") if isinstance(matrix, dict) else None
    for index, dimension in enumerate(dimensions if isinstance(dimensions, list) else []):
        values = dimension.get("values") if isinstance(dimension, dict) else None
        key: Key = ("matrix", "dimensions", index, "values")
        seen: set[str] = set()
        for place, value in enumerate(values if isinstance(values, list) else []):
            if not isinstance(value, str):
                shown = show(value, raw.get((*key, place)))
                yield (*key, place), f"{shown} is not text; put it in quotes, or write `value: weight` lines"
            elif value in seen:
                yield (*key, place), f"{value!r} stands twice; give it a weight instead (`{value}: 2`)"
            else:
                seen.add(value)


def dimensions(matrix: Matrix) -> Iterator[Finding]:
    """Names are unique, `label` is taken, values are plain lines of text."""
    names: list[str] = []
    for index, dimension in enumerate(matrix.dimensions):
        key: Key = ("matrix", "dimensions", index)
        if dimension.name == "label":
            yield (*key, "name"), "'label' is always the first dimension; its weights stand in matrix.label_weights"
        elif dimension.name in names:
            yield (*key, "name"), f"{dimension.name!r} is the name of an earlier dimension too; names are unique"
        names.append(dimension.name)
        for value in dimension.values:
            yield from one_line((*key, "values", value), value)


def label_weights(matrix: Matrix, labels: Labels) -> Iterator[Finding]:
    for label in matrix.label_weights:
        if label not in labels:
            yield ("matrix", "label_weights", label), _no_such("label", label, list(labels))


def rule_names(matrix: Matrix, labels: Labels) -> Iterator[Finding]:
    """Every rule names dimensions and values that exist."""
    axes = _axes(matrix, labels)
    for index, rule in enumerate(matrix.forbid):
        if not rule:
            yield ("matrix", "forbid", index), "is empty; name at least one dimension and its value"
        yield from _names(("matrix", "forbid", index), rule, axes)
    for index, rule in enumerate(matrix.require):
        yield from _names(("matrix", "require", index, "when"), rule.when, axes)
        yield from _names(("matrix", "require", index, "then"), rule.then, axes)


def impossible(matrix: Matrix, labels: Labels) -> Iterator[Finding]:
    """Labels that the rules leave without any cell, with a smallest set of rules that does so."""
    axes = _axes(matrix, labels)
    rules = _rules(matrix, axes)
    blocked: dict[tuple[Key, ...], list[str]] = {}
    for label in axes["label"]:
        culprits = _culprits(label, axes, rules)
        if culprits:
            blocked.setdefault(culprits, []).append(label)
    for culprits, stuck in blocked.items():
        names = f"{'label' if len(stuck) == 1 else 'labels'} {', '.join(map(repr, stuck))}"
        written = " and ".join(_as_written(matrix, place) for place in culprits)
        verb = "rules" if len(culprits) == 1 else "together rule"
        yield culprits[0], f"no cell is left for {names}: {written} {verb} out every combination"


def one_line(key: Key, text: str) -> Iterator[Finding]:
    """A text that goes into prompts as one line."""
    if not text.strip():
        yield key, "is blank; write a line of text"
    elif len(text.splitlines()) > 1 or text != text.strip():
        yield key, f"{show(text)} has line breaks or blanks around it; one plain line is needed (`>-` folds lines)"


def _no_such(what: str, name: str, allowed: Sequence[str]) -> str:
    return f"no {what} {name!r}{suggest(name, allowed) or '.'} Allowed: {', '.join(map(repr, allowed))}"


def _axes(matrix: Matrix, labels: Labels) -> dict[str, list[str]]:
    return {"label": list(labels), **{axis.name: list(axis.values) for axis in matrix.dimensions}}


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values


def _names(key: Key, rule: Mapping[str, str | list[str]], axes: Axes) -> Iterator[Finding]:
    for name, values in rule.items():
        if name not in axes:
            yield (*key, name), _no_such("dimension", name, list(axes))
            continue
        if not values:
            yield (*key, name), "is empty; name at least one value"
        unknown = [value for value in _listed(values) if value not in axes[name]]
        if unknown:
            what = "label" if name == "label" else f"value of {name!r}"
            yield (*key, name), "; ".join(_no_such(what, value, axes[name]) for value in unknown)


def _rules(matrix: Matrix, axes: Axes) -> dict[Key, list[Rule]]:
    """Where each rule stands, and the combinations that it takes away. `require` takes away, for each dimension
    that it speaks of, all other values."""
    rules: dict[Key, list[Rule]] = {}
    for index, rule in enumerate(matrix.forbid):
        if rule and all(name in axes for name in rule):
            rules["matrix", "forbid", index] = [_sets(rule)]
    for index, rule in enumerate(matrix.require):
        if all(name in axes for name in (*rule.when, *rule.then)):
            when = _sets(rule.when)
            others = {name: frozenset(axes[name]) - values for name, values in _sets(rule.then).items()}
            rules["matrix", "require", index] = [
                {**when, name: values & when.get(name, values)} for name, values in others.items()
            ]
    return rules


def _sets(rule: Mapping[str, str | list[str]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(_listed(values)) for name, values in rule.items()}


def _as_written(matrix: Matrix, place: Key) -> str:
    _, kind, index = place
    if kind == "forbid":
        return f"forbid[{index}] {inline(matrix.forbid[int(index)])}"
    return f"require[{index}] {inline(matrix.require[int(index)].model_dump())}"


def _culprits(label: str, axes: Axes, rules: Mapping[Key, Sequence[Rule]]) -> tuple[Key, ...]:
    """The places of a smallest set of rules that leaves a label without a cell; empty if it has one."""
    left: dict[Key, list[Rule]] = {}
    for place, taken in rules.items():
        for rule in taken:
            if label in rule.get("label", (label,)):
                left.setdefault(place, []).append({n: values for n, values in rule.items() if n != "label"})
    if _has_cell(axes, [rule for taken in left.values() for rule in taken]):
        return ()
    for place in list(left):
        without = {other: taken for other, taken in left.items() if other != place}
        if not _has_cell(axes, [rule for taken in without.values() for rule in taken]):
            left = without
    return tuple(left)


def _has_cell(axes: Axes, rules: Sequence[Rule]) -> bool:
    """Whether some combination breaks no rule. A value that no rule names is as good as any, so it is tried alone."""
    if not rules:
        return True
    if not all(rules):
        return False
    name = next(iter(rules[0]))
    named = frozenset[str]().union(*(rule.get(name, frozenset[str]()) for rule in rules))
    free = [value for value in axes[name] if value not in named]
    for value in free[:1] or axes[name]:
        still: list[Rule] = [
            {other: values for other, values in rule.items() if other != name}
            for rule in rules
            if name not in rule or value in rule[name]
        ]
        if _has_cell(axes, still):
            return True
    return False
