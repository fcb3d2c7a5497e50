"""Scores of one arm, and differences between arms on the same items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from eval.answers import json_object
from eval.intervals import (
    MIN_ITEMS,
    Pooled,
    Statistic,
    bootstrap,
    detectable_by_interval,
    independent_shares,
    insufficient,
    mcnemar_exact,
    minimum_detectable_difference,
    paired_bootstrap,
    paired_permutation,
    paired_shares,
    wilson,
    with_seed_noise,
)
from eval.outcomes import (
    BoolArray,
    FloatArray,
    ItemCounts,
    Metric,
    RunCounts,
    ScoredRun,
    align,
    is_right,
    item_counts,
    rights,
    run_counts,
)
from eval.slices import slice_scores
from harness.records import Comparison, Estimate, EvalReport, Example, Prediction, Role, Status

NO_ANSWER = ""
"""Column of the confusion matrix for items that the model failed to answer."""


def evaluate(
    arm: str,
    role: Role,
    split_hash: str,
    model: str,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: Collection[str],
    resamples: int,
    seed: int,
) -> EvalReport:
    """Score one arm's predictions, found by example id, on one split.

    Accuracy (exact match, where items have gold answers) has Wilson's interval, the other scores have a BCa bootstrap
    interval. Macro-F1 averages over the labels that occur in gold (a note names the others). A failed or missing
    prediction counts as wrong. `confusion` has all of `labels`, in their order, as rows and columns, and a last column
    `""` for no answer. With no or few items the estimates say "insufficient".

    Raises ValueError for ids that come twice or are unknown, and for a label that is not in `labels`.
    """
    answers = align(examples, predictions)
    _check_labels(examples, answers, labels)
    status = Counter(answer.status for answer in answers)
    right = sum(is_right(example, answer) for example, answer in zip(examples, answers, strict=True))
    accuracy = wilson(right, len(examples))
    return EvalReport(
        arm=arm,
        role=role,
        split=split_hash,
        model=model,
        n=len(examples),
        n_ok=status[Status.OK],
        n_unparsable=status[Status.UNPARSABLE],
        n_error=status[Status.ERROR],
        accuracy=accuracy,
        macro_f1=_macro_f1(examples, answers, labels, accuracy, resamples, seed),
        slices=slice_scores(examples, answers, labels),
        confusion=confusion_matrix(examples, answers, labels),
        answers=_answer_scores(examples, answers, accuracy, resamples, seed),
    )


def _check_labels(examples: Sequence[Example], answers: Sequence[Prediction], labels: Collection[str]) -> None:
    for example, answer in zip(examples, answers, strict=True):
        for what, label in (("gold", example.label), ("predicted", answer.label)):
            if label is not None and label not in labels:
                raise ValueError(f"{example.id!r}: {what} label {label!r} is not one of {list(labels)}")


def _macro_f1(
    examples: Sequence[Example],
    answers: Sequence[Prediction],
    labels: Collection[str],
    accuracy: Estimate,
    resamples: int,
    seed: int,
) -> Estimate:
    counts = item_counts("macro_f1", examples, [answers])
    estimate = paired_bootstrap(
        lambda sums: counts.scores(sums)[..., 0],
        counts.rows,
        resamples=resamples,
        seed=seed,
        stand_in=replace(accuracy, note="the interval is Wilson's for the accuracy"),
    )
    gold = {example.label for example in examples}
    absent = [label for label in labels if label not in gold]
    if not gold or not absent:
        return estimate
    return _noted(estimate, f"mean over {len(gold)} of {len(labels)} labels; no item has {', '.join(absent)}")


def _answer_scores(
    examples: Sequence[Example], answers: Sequence[Prediction], accuracy: Estimate, resamples: int, seed: int
) -> dict[str, Estimate]:
    """The scores of answers in text by name; none where the items have no gold answers, and none of fields where the
    answers are no JSON objects."""
    if not examples or not all(example.answer for example in examples):
        return {}
    structured = all(json_object(example.answer) is not None for example in examples)
    names: list[Metric] = ["token_f1", "rouge_l", *(["json_fields"] if structured else [])]
    out: dict[str, Estimate] = {}
    for name in names:
        counts = item_counts(name, examples, [answers])
        out[name] = paired_bootstrap(
            lambda sums, counts=counts: counts.scores(sums)[..., 0],
            counts.rows,
            resamples=resamples,
            seed=seed,
            stand_in=replace(accuracy, note="the interval is Wilson's for the exact matches"),
        )
    return out


def confusion_matrix(
    examples: Sequence[Example], answers: Sequence[Prediction], labels: Collection[str]
) -> dict[str, dict[str, int]]:
    """`[gold][predicted]` → items, every label of `labels` on both sides in their order, `""` for no answer.

    `answers` are in the examples' order (`eval.outcomes.align`).
    """
    table = {gold: {**dict.fromkeys(labels, 0), NO_ANSWER: 0} for gold in labels}
    for example, answer in zip(examples, answers, strict=True):
        answered = answer.label if answer.status is Status.OK and answer.label is not None else NO_ANSWER
        table[example.label][answered] += 1
    return table


def compare(
    a: str,
    b: str,
    examples: Sequence[Example],
    preds_a: Sequence[Prediction],
    preds_b: Sequence[Prediction],
    metric: Metric,
    resamples: int,
    seed: int,
) -> Comparison:
    """Arm `a` against arm `b` on the same items: score(a) − score(b) with a paired interval.

    For accuracy p is exact McNemar's and `mdd` is 2.80·√(d/n). For another score p is that of a paired permutation test
    with as many draws as resamples, and `mdd` comes from the interval; None where there is none. `discordant` is always
    the share of items that exactly one arm has right. Raises ValueError as `eval.outcomes.align` does, and for an
    unknown metric.
    """
    right_a, right_b = rights(examples, preds_a), rights(examples, preds_b)
    shares, n = _shares(right_a, right_b), len(examples)
    discordant = float(np.mean(right_a != right_b)) if n else 0.0
    if metric == "accuracy":
        p_value, mdd = mcnemar_exact(right_a, right_b), minimum_detectable_difference(discordant, n)
        return Comparison(a, b, metric, shares, p_value, discordant, mdd)
    counts = item_counts(metric, examples, [preds_a, preds_b])
    difference = _resampled_difference(counts, examples, shares, resamples, seed)
    p_value = paired_permutation(_first_less_second(counts), counts.rows, counts.swapped(), draws=resamples, seed=seed)
    return Comparison(a, b, metric, difference, p_value, discordant, detectable_by_interval(difference))


def paired_difference(
    metric: Metric,
    examples: Sequence[Example],
    preds_a: Sequence[Prediction],
    preds_b: Sequence[Prediction],
    resamples: int,
    seed: int,
) -> Estimate:
    """score(a) − score(b) on the same items: Agresti-Min for accuracy, paired BCa bootstrap for the other scores.

    Where for macro-F1 a label has fewer than 10 gold items the interval is the percentile one: two equal arms then
    differ "significantly" in 6 % of cases, with BCa in 9 % (our simulation, 100 items, one label with 2 of them).
    """
    shares = _shares(rights(examples, preds_a), rights(examples, preds_b))
    if metric == "accuracy":
        return shares
    counts = item_counts(metric, examples, [preds_a, preds_b])
    return _resampled_difference(counts, examples, shares, resamples, seed)


def _resampled_difference(
    counts: ItemCounts, examples: Sequence[Example], shares: Estimate, resamples: int, seed: int
) -> Estimate:
    """`paired_difference` for a score other than accuracy; `shares` is the difference in accuracy."""
    stand_in = replace(shares, note="the interval is Agresti and Min's for the difference in accuracy")
    rare = _rare_labels([examples]) if counts.metric == "macro_f1" else []
    stat = _first_less_second(counts)
    estimate = paired_bootstrap(
        stat, counts.rows, resamples=resamples, seed=seed, stand_in=stand_in, corrected=not rare
    )
    return _noted(estimate, f"fewer than {MIN_ITEMS} items have {', '.join(rare)}" if rare else "")


def _first_less_second(counts: ItemCounts | RunCounts) -> Statistic:
    """Sums over items → score of the first arm − score of the second, shape (…) for one run, (…, runs) for several."""

    def difference(sums: FloatArray) -> FloatArray:
        arms = counts.scores(sums)
        return arms[..., 0] - arms[..., 1]

    return difference


def independent_difference(
    metric: Metric,
    examples_a: Sequence[Example],
    preds_a: Sequence[Prediction],
    examples_b: Sequence[Example],
    preds_b: Sequence[Prediction],
    *,
    resamples: int,
    seed: int,
    common_labels: bool = False,
) -> Estimate:
    """Score on one set of items − score on another, independent one.

    Newcombe's interval for accuracy: a bootstrap takes a small set that is all right for one that cannot err. The BCa
    bootstrap of both sets for the other scores. With `common_labels` macro-F1 averages over the labels that both sets
    have, and a note names the others. `n` is the smaller set. Raises ValueError as `eval.outcomes.align` does, and for
    an unknown metric.
    """
    right_a, right_b = rights(examples_a, preds_a), rights(examples_b, preds_b)
    shares = independent_shares(int(right_a.sum()), len(right_a), int(right_b.sum()), len(right_b))
    if metric == "accuracy":
        return shares
    labels_a, labels_b = ({example.label for example in examples} for examples in (examples_a, examples_b))
    kept = [labels_a & labels_b] * 2 if common_labels else [labels_a, labels_b]
    a, b = item_counts(metric, examples_a, [preds_a], kept[0]), item_counts(metric, examples_b, [preds_b], kept[1])
    width = a.rows.shape[1]

    def difference(sums: FloatArray) -> FloatArray:
        return a.scores(sums[..., :width])[..., 0] - b.scores(sums[..., width:])[..., 0]

    estimate = bootstrap(difference, [a.rows, b.rows], resamples=resamples, seed=seed, stand_in=shares)
    apart = sorted(labels_a ^ labels_b) if common_labels and metric == "macro_f1" and labels_a and labels_b else []
    return _noted(estimate, f"mean over the labels on both sides; one side lacks {', '.join(apart)}" if apart else "")


def _rare_labels(samples: Sequence[Sequence[Example]]) -> list[str]:
    """Gold labels with fewer than 10 items in all samples together."""
    counts = Counter(example.label for examples in samples for example in examples)
    return sorted(label for label, count in counts.items() if count < MIN_ITEMS)


def _noted(estimate: Estimate, note: str) -> Estimate:
    return replace(estimate, note="; ".join(one for one in (estimate.note, note) if one))


def _shares(right_a: BoolArray, right_b: BoolArray) -> Estimate:
    return paired_shares(int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a)), len(right_a))


def pooled_paired_difference(
    runs: Sequence[ScoredRun], a: str, b: str, metric: Metric, resamples: int, seed: int
) -> Pooled:
    """score(a) − score(b) averaged over several runs (training seeds), item noise and seed noise kept apart.

    Items are resampled; one that several runs scored is drawn for all of them at once, so runs on the same test
    split are not taken for independent evidence. Raises ValueError as `compare` does, and for an arm that a run
    lacks.
    """
    if not runs:
        nothing = insufficient("no runs", 0)
        return Pooled(nothing, nothing, (), None)
    counts = run_counts(metric, runs, (a, b))
    differences = _first_less_second(counts)
    per_run = [float(one) for one in differences(counts.rows.sum(axis=0))]
    items = paired_bootstrap(
        lambda sums: differences(sums).mean(axis=-1),
        counts.rows,
        resamples=resamples,
        seed=seed,
        stand_in=_stand_in(runs, a, b),
        corrected=metric != "macro_f1" or not _rare_labels([run.examples for run in runs]),
    )
    finite = [one for one in per_run if np.isfinite(one)]
    return with_seed_noise(items, [one if np.isfinite(one) else None for one in per_run], finite)


def pooled_score(runs: Sequence[ScoredRun], arm: str, metric: Metric, resamples: int, seed: int) -> Pooled:
    """The score of an arm averaged over several runs (training seeds), item noise and seed noise kept apart.

    One run and accuracy: Wilson's interval over its items. Raises ValueError as `pooled_paired_difference` does.
    """
    if not runs:
        nothing = insufficient("no runs", 0)
        return Pooled(nothing, nothing, (), None)
    counts = run_counts(metric, runs, (arm,))
    per_run = [float(one) for one in counts.scores(counts.rows.sum(axis=0))[..., 0]]
    largest = max(runs, key=lambda run: len(run.examples))
    right = rights(largest.examples, largest.arm(arm))
    plain = wilson(int(right.sum()), len(right))
    if len(runs) == 1 and metric == "accuracy":
        return with_seed_noise(plain, per_run, per_run)
    items = paired_bootstrap(
        lambda sums: counts.scores(sums)[..., 0].mean(axis=-1),
        counts.rows,
        resamples=resamples,
        seed=seed,
        stand_in=replace(plain, note="the interval is Wilson's for the accuracy in the largest run"),
        corrected=metric != "macro_f1" or not _rare_labels([run.examples for run in runs]),
    )
    finite = [one for one in per_run if np.isfinite(one)]
    return with_seed_noise(items, [one if np.isfinite(one) else None for one in per_run], finite)


def _stand_in(runs: Sequence[ScoredRun], a: str, b: str) -> Estimate:
    """The interval of the run with the most items, for runs that all give the same value in every resample."""
    largest = max(runs, key=lambda run: len(run.examples))
    shares = _shares(rights(largest.examples, largest.arm(a)), rights(largest.examples, largest.arm(b)))
    return replace(shares, note="the interval is Agresti and Min's for the accuracy in the largest run")
