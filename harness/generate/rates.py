"""Aggregates of a dev report, as the feedback policies read them: rates per slice, confused pairs, weights.

Nothing in here sees a text: an `EvalReport` holds counts only.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from eval.slices import is_rest
from harness.errors import LeakageError
from harness.records import DevReport, Role, SliceScore

MIN_CONFUSIONS = 5
"""A pair confused less often on dev could be told apart as single items."""


@dataclass(frozen=True, slots=True)
class Rate:
    """An error rate on dev: raw counts and its shrunk value."""

    errors: int
    n: int
    shrunk: float


def dev_report(report: DevReport) -> DevReport:
    """Refuse anything but a report on dev: the type says it, this makes sure. Raises `LeakageError`."""
    if report.role is not Role.DEV:
        raise LeakageError(f"feedback was handed a report on {report.role.value!r}; only dev may steer")
    return report


def shrunk_rates(report: DevReport, name: str, kappa: float) -> dict[str, Rate]:
    """Error rate per value of the slices called `name` ("label", "first_word", …), shrunk towards the overall rate.

    (errors + κ·p̄)/(n + κ), empirical Bayes with a fixed prior weight: a slice of five items does not grab the budget.
    """
    overall = 1 - (report.accuracy.value or 0.0)
    rates: dict[str, Rate] = {}
    for score in report.slices:
        head, _, value = score.slice.partition("=")
        if head == name and not is_rest(score.slice) and score.value is not None and score.n:
            errors = round((1 - score.value) * score.n)
            rates[value] = Rate(errors, score.n, (errors + kappa * overall) / (score.n + kappa))
    return rates


def reweigh(static: Mapping[str, float], rates: Mapping[str, Rate], exploration: float) -> dict[str, float]:
    """Mix the static weights with weights in proportion to the shrunk error rates.

    >>> weights = reweigh({"a": 1, "b": 1}, {"a": Rate(9, 10, 0.6), "b": Rate(1, 10, 0.2)}, 0.5)
    >>> [round(value, 3) for value in weights.values()]
    [0.625, 0.375]
    """
    known = [rate.shrunk for rate in rates.values()]
    middle = sum(known) / len(known) if known else 1.0
    steered = {name: weight * (rates[name].shrunk if name in rates else middle) for name, weight in static.items()}
    mass, total = sum(static.values()), sum(steered.values())
    if not total:  # no error anywhere: nothing to steer by
        return {name: weight / mass for name, weight in static.items()}
    return {
        name: exploration * weight / mass + (1 - exploration) * steered[name] / total for name, weight in static.items()
    }


def confused_pairs(report: DevReport, limit: int) -> list[tuple[str, str, int]]:
    """(label, taken for, count), commonest first, at least `MIN_CONFUSIONS` each."""
    pairs = [
        (gold, said, count)
        for gold, row in report.confusion.items()
        for said, count in row.items()
        if said and gold != said and count >= MIN_CONFUSIONS
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))[:limit]


def shuffled(report: DevReport, seed: str) -> DevReport:
    """The same report under wrong names: the control for "feedback helps".

    Within each kind of slice every value gets the score of another one, and the confusion matrix moves with the
    labels, so that a policy sees rates and pairs of the same sizes, tied to slices that did not earn them. Kinds with a
    single value stay as they are.
    """
    values: dict[str, list[str]] = {}
    for score in report.slices:
        name, _, value = score.slice.partition("=")
        if not is_rest(score.slice):
            values.setdefault(name, []).append(value)
    values["label"] = list(report.confusion)
    wrong = {name: derangement(found, f"{seed}|{name}") for name, found in values.items()}
    by_name = {score.slice: score for score in report.slices}

    def moved(score: SliceScore) -> SliceScore:
        name, _, value = score.slice.partition("=")
        source = wrong[name].get(value, value)
        return replace(by_name.get(f"{name}={source}", score), slice=score.slice)

    label = wrong["label"]
    confusion = {
        gold: {said: report.confusion[label[gold]][label.get(said, said)] for said in row}
        for gold, row in report.confusion.items()
    }
    return DevReport(replace(report, slices=tuple(map(moved, report.slices)), confusion=confusion))


def derangement(values: list[str], seed: str) -> dict[str, str]:
    """Each value → another one, every one used once; the identity where there is only one.

    >>> derangement(["a", "b"], "0")
    {'a': 'b', 'b': 'a'}
    """
    order = random.Random(seed).sample(values, len(values))
    return dict(zip(order, [*order[1:], *order[:1]], strict=True))
