"""Predictions meet their items by id, and scores come out of sums."""

from __future__ import annotations

import numpy as np
import pytest
from eval_items import answers, items, simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from eval.outcomes import ScoredRun, align, item_counts, rights, run_counts
from harness.records import Prediction, Status


def test_align_finds_predictions_by_id_whatever_their_order() -> None:
    examples = items(["A", "B", "C"])
    predictions = answers(examples, ["A", "B", "C"])
    assert align(examples, predictions[::-1]) == tuple(predictions)


def test_align_gives_a_missing_prediction_the_status_error() -> None:
    examples = items(["A", "B"])
    assert align(examples, answers(examples, ["A", "B"])[:1])[1] == Prediction("e1", Status.ERROR, None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e, p: (e, [*p, p[0]]), "predictions: id 'e0' comes twice"),
        (lambda e, p: ([*e, e[1]], p), "examples: id 'e1' comes twice"),
        (lambda e, p: (e, [*p, Prediction("zz", Status.OK, "A", None)]), "'zz' is not among the 2 examples"),
        (lambda e, p: (e, [Prediction("e0", Status.OK, None, None), p[1]]), "'e0' has status 'ok' but no label"),
    ],
)
def test_align_refuses(change, message) -> None:
    examples = items(["A", "B"])
    with pytest.raises(ValueError, match=message):
        align(*change(examples, answers(examples, ["A", "B"])))


def test_a_failure_is_wrong_even_when_it_carries_the_gold_label() -> None:
    examples = items(["A", "A"])
    predictions = [Prediction("e0", Status.UNPARSABLE, "A", None), Prediction("e1", Status.OK, "A", None)]
    assert rights(examples, predictions).tolist() == [False, True]
    counts = item_counts("macro_f1", examples, [predictions])
    assert counts.scores(counts.rows.sum(axis=0)).tolist() == pytest.approx([2 / 3])


def test_unknown_metric_is_named_with_the_allowed_ones() -> None:
    with pytest.raises(ValueError, match="metric 'f1': allowed are accuracy, macro_f1"):
        item_counts("f1", [], [])  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABCD"), st.integers(0, 4)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_weighted_macro_f1_is_that_of_scikit_learn(rows: list[tuple[str, str, int]]) -> None:
    gold, predicted, weights = (list(column) for column in zip(*rows, strict=True))
    present = sorted({label for label, weight in zip(gold, weights, strict=True) if weight})
    if not present:
        return
    examples = items(gold)
    counts = item_counts("macro_f1", examples, [answers(examples, predicted)])
    ours = counts.scores(np.array(weights, dtype=float) @ counts.rows)[0]
    theirs = f1_score(
        gold, predicted, labels=present, average="macro", sample_weight=np.array(weights) + 0.0, zero_division=0
    )
    assert ours == pytest.approx(theirs)


def test_several_arms_and_resamples_are_scored_at_once() -> None:
    examples, arms = simulated(np.random.default_rng(0), 60, [0.9, 0.5, 0.7])
    for metric in ("accuracy", "macro_f1"):
        together = item_counts(metric, examples, arms)
        sums = np.stack([together.rows.sum(axis=0), together.rows[:30].sum(axis=0)])
        assert together.scores(sums).shape == (2, 3)
        for place, arm in enumerate(arms):
            alone = item_counts(metric, examples, [arm])
            assert together.scores(sums)[0, place] == alone.scores(alone.rows.sum(axis=0))[0]


def test_runs_that_share_items_share_rows() -> None:
    one, arms = simulated(np.random.default_rng(1), 30, [0.9, 0.6])
    other, more = simulated(np.random.default_rng(2), 20, [0.8, 0.7], prefix="x")
    mixed = ScoredRun([*one[:10], *other], {"a": [*arms[0][:10], *more[0]], "b": [*arms[1][:10], *more[1]]})
    counts = run_counts("accuracy", [ScoredRun(one, {"a": arms[0], "b": arms[1]}), mixed], ["a", "b"])
    assert counts.rows.shape == (50, 2 * 3)
    scores = counts.scores(counts.rows.sum(axis=0))
    assert scores[0].tolist() == [rights(one, arms[0]).mean(), rights(one, arms[1]).mean()]
    assert scores[1, 0] == rights(mixed.examples, mixed.arm("a")).mean()


def test_an_arm_that_was_not_scored_is_named() -> None:
    with pytest.raises(ValueError, match=r"arm 'mixed' was not scored in this run; there are \['seeds'\]"):
        run_counts("accuracy", [ScoredRun([], {"seeds": []})], ["mixed"])
