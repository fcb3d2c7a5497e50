"""What each round gained, what changed in its prompts and what became of what it steered, in rows for the report."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from harness.generate.matrix import in_slice
from harness.records import Comparison, Plan, SliceScore
from harness.reports import RoundReport, RunReport

VISIBLE = 0.01
"""A share of the candidates that moved by less is not shown as steering."""
MORE_SHOTS = 1.05
"""A slice whose seeds are drawn less than so much more often is not shown as steering."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A round against the best one before it; `counts` says whether the stop rule took it for better, None where the
    report does not hold the rule."""

    comparison: Comparison
    counts: bool | None


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """How one label's prompt differs from the round before: (" ", "+" or "-", line)."""

    label: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """A slice that a round steered: how, and what `mixed` scored on it on dev before and after."""

    slice: str
    how: tuple[str, ...]
    before: float | None
    after: SliceScore


def gains(report: RunReport) -> list[Gain]:
    """The paired gains that the stop rule looked at, round by round; none for the first round."""
    least = least_gain(report)
    return [
        Gain(one.gain, None if least is None else (one.gain.difference.value or 0.0) > least)
        for one in report.rounds
        if one.gain is not None
    ]


def least_gain(report: RunReport) -> float | None:
    """The gain that has to be exceeded (`stop.min_gain`); None where the report's spec does not hold it."""
    rule = cast("Mapping[str, Any]", report.spec.get("stop") or {})
    found = rule.get("min_gain")
    return None if found is None else float(found)


def prompt_diffs(report: RunReport) -> dict[int, list[PromptDiff]]:
    """Round → labels whose prompt changed against the round before."""
    out: dict[int, list[PromptDiff]] = {}
    for before, after in pairwise(report.rounds):
        out[after.round] = diffs_between(before.prompts, after.prompts)
    return out


def diffs_between(before: Mapping[str, str], after: Mapping[str, str]) -> list[PromptDiff]:
    """How the prompts `after` differ from those of the same labels `before`; equal ones are left out."""
    return [
        PromptDiff(label, lines) for label, text in after.items() if (lines := _line_diff(before.get(label, ""), text))
    ]


def _line_diff(before: str, after: str) -> tuple[tuple[str, str], ...]:
    """(" ", "+" or "-", line) of two texts; nothing where they are equal."""
    if before == after:
        return ()
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return tuple((line[0], line[2:]) for line in lines if line[0] in " +-")


def effects(report: RunReport) -> dict[int, list[Effect]]:
    """Round → what its plan steered against the round before, with dev accuracy before and after, most changed first.

    Only slices that dev was scored on after that round. A label or value is steered where its share of the candidates
    moved, a label also by guidance, doubt or surplus, a slice of seeds by being drawn more often.
    """
    return {after.round: _effects(before, after) for before, after in pairwise(report.rounds)}


def _effects(before: RoundReport, after: RoundReport) -> list[Effect]:
    old = {one.slice: one.value for one in _scores(before)}
    steered = _steering(before.plan, after.plan)
    found = [
        Effect(one.slice, how, old.get(one.slice), one)
        for one in _scores(after)
        if (how := tuple(words for (name, value), words in steered if _meant(one.slice, name, value)))
    ]
    return sorted(found, key=lambda one: -abs((one.after.value or 0.0) - (one.before or 0.0)))


def _meant(found: str, name: str, value: str) -> bool:
    kind, _, rest = found.partition("=")
    return kind == name and in_slice(rest, value)


def _scores(each: RoundReport) -> tuple[SliceScore, ...]:
    mixed = each.dev.get("mixed")
    return mixed.slices if mixed else ()


def _steering(before: Plan, now: Plan) -> list[tuple[tuple[str, str], str]]:
    """((dimension, value), what was done), in the order of the policies."""
    out: list[tuple[tuple[str, str], str]] = []
    old, new = _shares(before), _shares(now)
    for key in {**old, **new}:
        was, share = old.get(key, 0.0), new.get(key, 0.0)
        if abs(share - was) >= VISIBLE:
            out.append((key, f"{100 * was:.0f} % → {100 * share:.0f} % of the candidates"))
    for one in now.guidance:
        beside = f"shown beside {one.other}" if one.kind == "contrast" else "a hint in its prompts"
        out.append((("label", one.label), beside))
    for said, golds in now.channel.items():
        out.append((("label", said), f"doubted in favour of {', '.join(golds)}"))
    for label, factor in now.surplus.items():
        out.append((("label", label), f"{factor:.1f} times its share drawn, the hardest kept"))
    for name, weight in now.shots.items():
        if weight >= MORE_SHOTS:
            kind, _, value = name.partition("=")
            out.append(((kind, value), f"its seeds shown {weight:.1f} times as often"))
    return out


def _shares(plan: Plan) -> dict[tuple[str, str], float]:
    """(dimension, value) → share of the plan's candidates."""
    counts: dict[tuple[str, str], int] = {}
    for quota in plan.quotas:
        for key in quota.cell.values.items():
            counts[key] = counts.get(key, 0) + quota.candidates
    return {key: count / max(1, plan.candidates) for key, count in counts.items()}
