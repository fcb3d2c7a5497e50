"""Reports of one arm and comparisons of two."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from eval_items import LABELS, answers, items, right_or_not, simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from eval.intervals import paired_shares, wilson
from eval.outcomes import ScoredRun
from eval.score import compare, evaluate, pooled_paired_difference, pooled_score
from harness.records import EvalReport, Example, Prediction, Role, Status


def report(examples: list[Example], predictions: list[Prediction], labels: tuple[str, ...] = LABELS) -> EvalReport:
    return evaluate("mixed", Role.DEV, "hash", "model-1", examples, predictions, labels, resamples=300, seed=0)


def test_scores_are_those_of_scikit_learn() -> None:
    examples, (predictions,) = simulated(np.random.default_rng(0), 500, [0.8])
    ours = report(examples, predictions[::-1])
    gold, predicted = [one.label for one in examples], [one.label for one in predictions]
    assert ours.accuracy.value == pytest.approx(accuracy_score(gold, predicted))
    assert ours.macro_f1.value == pytest.approx(f1_score(gold, predicted, average="macro"))
    table = [[ours.confusion[row][column] for column in LABELS] for row in LABELS]
    assert table == confusion_matrix(gold, predicted, labels=LABELS).tolist()
    assert ours.macro_f1.low < ours.macro_f1.value < ours.macro_f1.high
    assert ours.macro_f1.method == "BCa bootstrap"
    assert (ours.arm, ours.role, ours.split, ours.model) == ("mixed", Role.DEV, "hash", "model-1")


def test_failures_and_missing_predictions_are_counted_and_wrong() -> None:
    examples = items(["HUM", "LOC", "HUM", "LOC"])
    predictions = [
        Prediction("e0", Status.OK, "HUM", 0.9),
        Prediction("e1", Status.UNPARSABLE, None, None),
        Prediction("e2", Status.ERROR, "HUM", None),
    ]
    ours = report(examples, predictions, ("LOC", "HUM"))
    assert (ours.n, ours.n_ok, ours.n_unparsable, ours.n_error) == (4, 1, 1, 2)
    assert ours.accuracy == wilson(1, 4)
    assert ours.confusion == {"LOC": {"LOC": 0, "HUM": 0, "": 2}, "HUM": {"LOC": 0, "HUM": 1, "": 1}}
    assert list(ours.confusion) == ["LOC", "HUM"]
    assert list(ours.confusion["LOC"]) == ["LOC", "HUM", ""]


def test_labels_outside_the_task_are_refused() -> None:
    examples = items(["HUM"])
    with pytest.raises(ValueError, match=r"'e0': predicted label 'ZZ' is not one of \['ABBR'"):
        report(examples, answers(examples, ["ZZ"]))
    with pytest.raises(ValueError, match="'e0': gold label 'HUM' is not one of"):
        report(examples, answers(examples, ["LOC"]), ("LOC",))


def test_unknown_and_double_ids_are_refused() -> None:
    examples = items(["HUM", "LOC"])
    predictions = answers(examples, ["HUM", "LOC"])
    with pytest.raises(ValueError, match="comes twice"):
        report(examples, [*predictions, predictions[0]])
    with pytest.raises(ValueError, match="'e1' is not among the 1 examples"):
        report(examples[:1], predictions)


def test_a_label_absent_from_the_items_is_left_out_of_macro_f1_and_named() -> None:
    examples = items(["HUM", "LOC"] * 20)
    predictions = answers(examples, ["HUM", "NUM"] * 20)
    ours = report(examples, predictions, ("HUM", "LOC", "NUM"))
    assert ours.macro_f1.value == pytest.approx(0.5)
    assert ours.macro_f1.note.endswith("mean over 2 of 3 labels; no item has NUM")
    assert [one.n for one in ours.slices] == [20, 20, 0]
    assert ours.confusion["NUM"] == {"HUM": 0, "LOC": 0, "NUM": 0, "": 0}


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("n", [9, 300])
def test_all_right_and_all_wrong(right: bool, n: int) -> None:
    examples = items([LABELS[number % 6] for number in range(n)])
    ours = report(examples, right_or_not(examples, [right] * n))
    expected = wilson(n if right else 0, n)
    assert ours.accuracy == expected
    assert (ours.macro_f1.value, ours.macro_f1.low, ours.macro_f1.high) == (float(right), expected.low, expected.high)
    assert "every resample gives the same value; the interval is Wilson's for the accuracy" in ours.macro_f1.note


def test_nine_items() -> None:
    examples = items([LABELS[number % 3] for number in range(9)])
    ours = report(examples, right_or_not(examples, [True, False, True] * 3))
    assert ours.accuracy == wilson(6, 9)
    assert (ours.macro_f1.low, ours.macro_f1.high) == (None, None)
    assert ours.macro_f1.note.startswith("insufficient: 9 items; an interval needs at least 10")


def test_no_items_and_no_predictions() -> None:
    empty = report([], [])
    assert (empty.n, empty.accuracy.value, empty.macro_f1.value) == (0, None, None)
    assert empty.macro_f1.note == empty.accuracy.note == "insufficient: no items"
    examples = items(["HUM"] * 12)
    unanswered = report(examples, [])
    assert (unanswered.n_error, unanswered.accuracy.value, unanswered.macro_f1.value) == (12, 0.0, 0.0)


def test_a_comparison_is_paired_and_carries_what_it_could_have_seen() -> None:
    examples = items(["HUM", "LOC"] * 200)
    a = [True] * 40 + [False] * 20 + [True] * 340
    b = [False] * 40 + [True] * 20 + [True] * 340
    ours = compare("mixed", "seeds", examples, right_or_not(examples, a), right_or_not(examples, b), "accuracy", 300, 0)
    assert (ours.a, ours.b, ours.metric) == ("mixed", "seeds", "accuracy")
    assert ours.difference == paired_shares(40, 20, 400)
    assert ours.difference.value == pytest.approx(0.05)
    assert ours.discordant == pytest.approx(0.15)
    assert ours.mdd == pytest.approx(2.8 * math.sqrt(0.15 / 400))
    assert ours.p_value == pytest.approx(2 * binom.cdf(20, 60, 0.5))


def test_p_and_the_detectable_difference_are_about_the_metric_compared() -> None:
    """Each arm has 12 items right that the other has wrong, but one arm's are all those with the rare label."""
    examples = items(["ABBR"] * 12 + ["HUM", "LOC"] * 194)
    a, b = [True] * 12 + [False] * 12 + [True] * 376, [False] * 12 + [True] * 12 + [True] * 376
    arms = right_or_not(examples, a), right_or_not(examples, b)
    accuracy = compare("a", "b", examples, *arms, "accuracy", 1000, 0)
    macro = compare("a", "b", examples, *arms, "macro_f1", 1000, 0)
    assert (accuracy.difference.value, accuracy.p_value) == (0.0, 1.0)
    assert macro.difference.low > 0.2
    assert macro.p_value < 0.01
    assert macro.mdd == pytest.approx(2.8 * (macro.difference.high - macro.difference.low) / (2 * 1.96), rel=1e-3)
    assert macro.discordant == accuracy.discordant == 24 / 400


def test_the_p_of_macro_f1_is_that_of_arms_swapped_item_by_item() -> None:
    examples, (a, b) = simulated(np.random.default_rng(5), 150, [0.85, 0.78])
    gold = [one.label for one in examples]
    said = np.array([[one.label for one in arm] for arm in (a, b)])
    rng, draws = np.random.default_rng(1), 300

    def apart(arms: np.ndarray) -> float:
        first, second = (f1_score(gold, arm, average="macro") for arm in arms)
        return abs(first - second)

    swaps = rng.random((draws, len(gold))) < 0.5
    reached = sum(apart(np.where(swap, said, said[::-1])) >= apart(said) - 1e-12 for swap in swaps)
    ours = compare("a", "b", examples, a, b, "macro_f1", 2000, 0)
    assert 0.02 < ours.p_value < 0.5
    assert ours.p_value == pytest.approx(reached / draws, abs=0.08)


def test_swapping_the_arms_flips_the_macro_f1_difference() -> None:
    examples, (a, b) = simulated(np.random.default_rng(2), 2000, [0.85, 0.75])
    one = compare("a", "b", examples, a, b, "macro_f1", 2000, 0).difference
    other = compare("b", "a", examples, b, a, "macro_f1", 2000, 0).difference
    assert one.value == pytest.approx(-other.value)
    assert one.low == pytest.approx(-other.high, abs=0.1 * (one.high - one.low))
    assert one.low > 0
    assert one.method == "BCa bootstrap"
    assert one.value == pytest.approx(
        report(examples, a).macro_f1.value - report(examples, b).macro_f1.value  # type: ignore[operator]
    )


def test_a_rare_label_gets_the_percentile_interval_and_a_note() -> None:
    examples, (a, b) = simulated(np.random.default_rng(2), 100, [0.85, 0.75])
    ours = compare("a", "b", examples, a, b, "macro_f1", 300, 0).difference
    assert ours.method == "percentile bootstrap"
    assert ours.note == "fewer than 10 items have ABBR"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_the_same_predictions_differ_by_zero_with_an_interval(metric: str) -> None:
    examples, (a,) = simulated(np.random.default_rng(2), 500, [0.8])
    ours = compare("a", "a2", examples, a, a, metric, 300, 0)
    assert (ours.difference.value, ours.p_value, ours.discordant) == (0.0, 1.0, 0.0)
    assert -0.01 < ours.difference.low < 0 < ours.difference.high < 0.01


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_a_comparison_without_items_is_insufficient(metric: str) -> None:
    ours = compare("a", "b", [], [], [], metric, 300, 0)
    assert ours.difference.note == "insufficient: no items"
    assert (ours.p_value, ours.discordant, ours.mdd) == (1.0, 0.0, 1.0 if metric == "accuracy" else None)


def test_a_macro_f1_difference_on_nine_items_has_no_interval() -> None:
    examples = items(["HUM", "LOC", "NUM"] * 3)
    a, b = right_or_not(examples, [True] * 9), right_or_not(examples, [True, False] * 4 + [True])
    few = compare("a", "b", examples, a, b, "macro_f1", 300, 0)
    assert (few.difference.low, few.mdd) == (None, None)
    assert compare("a", "b", examples, a, b, "accuracy", 300, 0).difference == paired_shares(4, 0, 9)


@pytest.mark.parametrize(("metric", "n"), [("accuracy", 300), ("macro_f1", 300), ("macro_f1", 500)])
def test_equal_arms_are_rarely_told_apart(metric: str, n: int) -> None:
    """A/A: two arms of the same quality; .05 of the intervals may exclude 0, .025 say that a is better."""
    rng = np.random.default_rng(31)
    runs, better, worse = 200, 0, 0
    for run in range(runs):
        examples, (a, b) = simulated(rng, n, [0.8, 0.8])
        difference = compare("a", "b", examples, a, b, metric, 300, run).difference
        better += difference.low > 0
        worse += difference.high < 0
    assert better <= binom.ppf(0.999, runs, 0.025)
    assert better + worse <= binom.ppf(0.999, runs, 0.05)


@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None]), st.sampled_from([*LABELS, None])),
        max_size=30,
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_comes_in_the_records_hold_no_nan(rows: list[tuple[str, str | None, str | None]]) -> None:
    examples = items([row[0] for row in rows])
    a, b = (answers(examples, [row[place] for row in rows]) for place in (1, 2))
    for record in (
        report(examples, a),
        *(compare("a", "b", examples, a, b, m, 100, 0) for m in ("accuracy", "macro_f1")),
    ):
        json.dumps(asdict(record), allow_nan=False)
    scored = report(examples, a)
    assert scored.n == scored.n_ok + scored.n_unparsable + scored.n_error
    assert sum(sum(row.values()) for row in scored.confusion.values()) == scored.n


def scored_runs(rng: np.random.Generator, shared: bool, n: int = 300) -> list[ScoredRun]:
    runs: list[ScoredRun] = []
    for number in range(3):
        examples, (a, b) = simulated(rng, n, [0.85, 0.78], prefix=f"run{number}-")
        runs.append(ScoredRun(examples, {"mixed": a, "seeds": b}))
    return [runs[0]] * 3 if shared else runs


def test_pooled_difference_is_the_mean_over_runs() -> None:
    runs = scored_runs(np.random.default_rng(0), shared=False)
    for metric in ("accuracy", "macro_f1"):
        alone = [
            compare("a", "b", run.examples, run.arm("mixed"), run.arm("seeds"), metric, 300, 0).difference
            for run in runs
        ]
        pooled = pooled_paired_difference(runs, "mixed", "seeds", metric, 1000, 0)
        assert pooled.per_run == pytest.approx([one.value for one in alone])
        assert pooled.items.value == pytest.approx(np.mean([one.value for one in alone]))
        assert pooled.seed_sd == pytest.approx(np.std([one.value for one in alone], ddof=1))
        mean_width = np.mean([one.high - one.low for one in alone])
        assert pooled.items.high - pooled.items.low == pytest.approx(mean_width / math.sqrt(3), rel=0.15)
        assert pooled.total.low < pooled.items.low < pooled.items.high < pooled.total.high


def test_the_same_items_in_every_run_are_not_more_evidence() -> None:
    runs = scored_runs(np.random.default_rng(0), shared=True)
    pooled = pooled_paired_difference(runs, "mixed", "seeds", "accuracy", 2000, 0)
    alone = pooled_paired_difference(runs[:1], "mixed", "seeds", "accuracy", 2000, 0)
    assert pooled.items.n == alone.items.n == 300
    assert (pooled.items.low, pooled.items.high) == pytest.approx((alone.items.low, alone.items.high))
    assert pooled.seed_sd == pytest.approx(0.0)
    assert alone.total.note == "insufficient: seed noise needs at least 2 runs"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_pooled_edge_cases(metric: str) -> None:
    assert pooled_paired_difference([], "a", "b", metric, 300, 0).items.note == "insufficient: no runs"
    empty = pooled_paired_difference([ScoredRun([], {"a": [], "b": []})], "a", "b", metric, 300, 0)
    assert (empty.items.note, empty.per_run) == ("insufficient: no items", (None,))
    examples, (a,) = simulated(np.random.default_rng(3), 200, [0.8])
    same = pooled_paired_difference([ScoredRun(examples, {"a": a, "b": a})] * 2, "a", "b", metric, 300, 0)
    assert same.items.low < 0 == same.items.value < same.items.high


def test_equal_arms_over_three_runs_are_rarely_told_apart() -> None:
    """A/A with shared items: one test split, three training seeds a run."""
    rng = np.random.default_rng(41)
    trials, better = 200, 0
    for trial in range(trials):
        examples, arms = simulated(rng, 200, [0.8] * 6)
        runs = [ScoredRun(examples, {"a": arms[place], "b": arms[place + 3]}) for place in range(3)]
        better += pooled_paired_difference(runs, "a", "b", "accuracy", 300, trial).items.low > 0
    assert better <= binom.ppf(0.999, trials, 0.025)


def test_a_pooled_score_is_the_mean_over_runs_with_both_kinds_of_noise() -> None:
    examples = items(["HUM", "LOC"] * 20)
    right = [[place < count for place in range(40)] for count in (20, 30)]
    runs = [ScoredRun(examples, {"a": right_or_not(examples, one)}) for one in right]
    pooled = pooled_score(runs, "a", "accuracy", 400, 0)
    assert pooled.per_run == pytest.approx((0.5, 0.75))
    assert pooled.items.value == pytest.approx(0.625)
    assert pooled.items.low is not None
    assert pooled.total.low is not None
    assert pooled.total.low < pooled.items.low < 0.625
    assert pooled_score(runs[:1], "a", "accuracy", 400, 0).items == wilson(20, 40)
    assert pooled_score([], "a", "accuracy", 400, 0).items.note.startswith("insufficient")
