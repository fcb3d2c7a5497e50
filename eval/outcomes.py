"""Predictions laid beside the items they answer, and the scores as functions of sums over items.

All scores depend on the items only through sums (items right, items per label, shares of an answer, …). So an item
becomes one row of small numbers, a bootstrap resample becomes one row of weighted sums, and thousands of
resamples are scored in one matrix product (`eval.intervals.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eval.answers import SCORES, same
from harness.records import Example, Prediction, Status

Metric = Literal["accuracy", "macro_f1", "token_f1", "rouge_l", "json_fields"]
METRICS: tuple[Metric, ...] = ("accuracy", "macro_f1")
"""For labels."""
ANSWER_METRICS: tuple[Metric, ...] = ("accuracy", *SCORES)
"""For answers in text (`eval.answers`); `accuracy` is then the share of exact matches."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def unique_ids(ids: Sequence[str], what: str) -> None:
    """Raise ValueError when an id comes twice; `what` names the list in the message."""
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise ValueError(f"{what}: id {one!r} comes twice; every id may come once")
        seen.add(one)


def align(examples: Sequence[Example], predictions: Sequence[Prediction]) -> tuple[Prediction, ...]:
    """The prediction of each example, in the examples' order, found by id.

    An example without a prediction gets one with `Status.ERROR`, so that it counts as wrong and is counted.
    Raises ValueError for an id that comes twice, for a prediction of an unknown example, and for a
    prediction with status `ok` but no label.
    """
    unique_ids([example.id for example in examples], "examples")
    unique_ids([prediction.example for prediction in predictions], "predictions")
    known = {example.id for example in examples}
    answers: dict[str, Prediction] = {}
    for prediction in predictions:
        if prediction.example not in known:
            raise ValueError(
                f"predictions: {prediction.example!r} is not among the {len(known)} examples; "
                "pass the predictions of exactly these examples"
            )
        if prediction.status is Status.OK and prediction.label is None:
            raise ValueError(f"predictions: {prediction.example!r} has status 'ok' but no label")
        answers[prediction.example] = prediction
    return tuple(answers.get(example.id) or Prediction(example.id, Status.ERROR, None, None) for example in examples)


def is_right(example: Example, prediction: Prediction) -> bool:
    """Whether the model answered, and with the gold label, or with the gold answer where the item has one."""
    if prediction.status is not Status.OK:
        return False
    return same(example.answer, prediction.answer or "") if example.answer else prediction.label == example.label


def rights(examples: Sequence[Example], predictions: Sequence[Prediction]) -> BoolArray:
    """Which examples are answered rightly, shape (n,), in the examples' order. Raises as `align` does."""
    answers = align(examples, predictions)
    return np.array([is_right(one, answer) for one, answer in zip(examples, answers, strict=True)], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """What each item adds to the sums behind a metric, for one or several arms that answered the same items.

    `rows` has shape (n, m). For a mean over items m = 1 + arms: a one, then one column per arm with the item's score,
    which for accuracy is 1 where the arm is right. For macro-F1 m = k·(1 + 2·arms) with k gold labels: gold, then per
    arm the hits and the answers.
    """

    metric: Metric
    arms: int
    rows: FloatArray

    def scores(self, sums: FloatArray) -> FloatArray:
        """Sums over items, shape (…, m) → the score of each arm, shape (…, arms); NaN where there is no item."""
        return scores(self.metric, self.arms, sums)

    def swapped(self) -> FloatArray:
        """`rows` as they would be if on every item two arms had given each other's answers."""
        shared = self.rows.shape[1] // (1 + 2 * self.arms) if self.metric == "macro_f1" else 1
        own = np.split(self.rows[:, shared:], self.arms, axis=1)
        return np.concatenate([self.rows[:, :shared], *reversed(own)], axis=1)


def item_counts(
    metric: Metric,
    examples: Sequence[Example],
    arms: Sequence[Sequence[Prediction]],
    labels: Collection[str] | None = None,
) -> ItemCounts:
    """The counts behind `metric` for each example, with the predictions of every arm on these examples.

    `labels` are the columns of macro-F1; the gold labels of the examples when not given. Raises ValueError as
    `align` does, and for an unknown metric.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric {metric!r}: allowed are {', '.join(get_args(Metric))}")
    answers = [align(examples, arm) for arm in arms]
    if metric != "macro_f1":
        columns = [np.ones(len(examples))]
        columns += [
            np.array([_item_score(metric, one, answer) for one, answer in zip(examples, arm, strict=True)], dtype=float)
            for arm in answers
        ]
        return ItemCounts(metric, len(arms), np.stack(columns, axis=1))
    columns_of = labels if labels is not None else {example.label for example in examples}
    index = {label: code for code, label in enumerate(sorted(columns_of))}
    gold = _one_hot([example.label for example in examples], index)
    blocks = [gold]
    for arm in answers:
        answered = _one_hot([one.label if one.status is Status.OK else None for one in arm], index)
        blocks += [gold * answered, answered]
    return ItemCounts(metric, len(arms), np.concatenate(blocks, axis=1))


def _item_score(metric: Metric, example: Example, prediction: Prediction) -> float:
    if metric in ("accuracy", "macro_f1"):
        return float(is_right(example, prediction))
    return SCORES[metric](example.answer, prediction.answer or "") if prediction.status is Status.OK else 0.0


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """One run (training seed): real items, and what each arm predicted for them, by the arm's name."""

    examples: Sequence[Example]
    predictions: Mapping[str, Sequence[Prediction]]

    def arm(self, name: str) -> Sequence[Prediction]:
        """Raises ValueError that lists the arms there are."""
        if name not in self.predictions:
            raise ValueError(f"arm {name!r} was not scored in this run; there are {sorted(self.predictions)}")
        return self.predictions[name]


@dataclass(frozen=True, slots=True)
class RunCounts:
    """`ItemCounts` of several runs side by side: one row per distinct item, shape (items, runs·m).

    An item that several runs scored is one row, so that a resample draws it for all of them at once; a run
    that did not score it has zeros there.
    """

    metric: Metric
    runs: int
    arms: int
    rows: FloatArray

    def scores(self, sums: FloatArray) -> FloatArray:
        """Sums over items, shape (…, runs·m) → scores, shape (…, runs, arms)."""
        return scores(self.metric, self.arms, sums.reshape(*sums.shape[:-1], self.runs, -1))


def run_counts(metric: Metric, runs: Sequence[ScoredRun], arms: Sequence[str]) -> RunCounts:
    """The counts behind `metric` over several runs, for the arms with these names.

    Raises ValueError as `align` does, for an unknown metric, and for an arm that a run lacks.
    """
    labels = {example.label for run in runs for example in run.examples}
    tables = [item_counts(metric, run.examples, [run.arm(arm) for arm in arms], labels).rows for run in runs]
    place: dict[str, int] = {}
    for run in runs:
        for example in run.examples:
            place.setdefault(example.id, len(place))
    width = tables[0].shape[1] if tables else 0
    rows = np.zeros((len(place), len(runs), width))
    for number, (run, table) in enumerate(zip(runs, tables, strict=True)):
        rows[[place[example.id] for example in run.examples], number] = table
    return RunCounts(metric, len(runs), len(arms), rows.reshape(len(place), len(runs) * width))


def scores(metric: Metric, arms: int, sums: FloatArray) -> FloatArray:
    """Sums of `ItemCounts.rows`, shape (…, m) → scores, shape (…, arms).

    Macro-F1 is the plain mean of the labels' F1 = 2·hits / (gold + answers) over the labels that occur in the
    (resampled) gold; an answer with a label that no gold item has costs its item a hit and adds no class.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric != "macro_f1":
            return sums[..., 1:] / sums[..., :1]
        k = sums.shape[-1] // (1 + 2 * arms)
        gold = sums[..., None, :k]
        per_arm = sums[..., k:].reshape(*sums.shape[:-1], arms, 2, k)
        f1 = np.where(gold > 0, 2 * per_arm[..., 0, :] / (gold + per_arm[..., 1, :]), 0.0)
        return f1.sum(axis=-1) / (gold > 0).sum(axis=-1)


def _one_hot(labels: Sequence[str | None], index: Mapping[str, int]) -> FloatArray:
    """Shape (n, k); a row of zeros for None and for a label that is not in `index`."""
    table = np.zeros((len(labels), len(index)))
    for row, label in enumerate(labels):
        if label is not None and label in index:
            table[row, index[label]] = 1.0
    return table
