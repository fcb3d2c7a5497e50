"""The three synthetic-vs-real figures: transfer gap, source gap, gap recovered.

Pure functions of predictions. What cannot be computed is an `Estimate` whose value is None and whose note
says why in words that need no manual.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.intervals import Pooled, insufficient, paired_bootstrap, with_seed_noise
from eval.outcomes import FloatArray, Metric, ScoredRun, item_counts, run_counts
from eval.score import independent_difference, paired_difference, pooled_paired_difference
from harness.records import Estimate, Example, Gap, Prediction

NO_POOL_SOURCE = (
    "no arm 'real': this gap compares training on synthetic rows with training on as many real ones, which takes real "
    "rows beyond the seeds (data.split.pool) and that arm (evaluate.arms)"
)
NO_POOL_RECOVERED = (
    "no arm 'all_real': without a model trained on many real rows nobody knows how large the gap is that synthetic "
    "rows could close; it takes real rows beyond the seeds (data.split.pool) and that arm (evaluate.arms)"
)


def gap(
    metric: Metric,
    resamples: int,
    seed: int,
    *,
    examples: Sequence[Example],
    loop: Sequence[Prediction] | None = None,
    seeds: Sequence[Prediction] | None = None,
    synthetic: Sequence[Prediction] | None = None,
    real: Sequence[Prediction] | None = None,
    all_real: Sequence[Prediction] | None = None,
    synthetic_examples: Sequence[Example] = (),
    synthetic_on_synthetic: Sequence[Prediction] | None = None,
) -> Gap:
    """The three figures on the real items `examples`; an arm that was not trained is None.

    `loop` is the arm with seeds and synthetic rows (`mixed`), `synthetic` the one with synthetic rows only, `real`
    the one with as many real rows, `all_real` the one with all real rows. `synthetic_examples` are synthetic rows
    that `synthetic` was not trained on, `synthetic_on_synthetic` its predictions for them. Raises ValueError
    as `eval.outcomes.align` does, and for an unknown metric.
    """
    return Gap(
        transfer=transfer_gap(
            metric, synthetic_examples, synthetic_on_synthetic, examples, synthetic, resamples=resamples, seed=seed
        ),
        source=source_gap(metric, examples, real, synthetic, resamples=resamples, seed=seed),
        recovered=gap_recovered(metric, examples, loop, seeds, all_real, resamples=resamples, seed=seed),
    )


def transfer_gap(
    metric: Metric,
    synthetic_examples: Sequence[Example],
    on_synthetic: Sequence[Prediction] | None,
    real_examples: Sequence[Example],
    on_real: Sequence[Prediction] | None,
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """Score on held-out synthetic items − score on real items, one model, two independent sets of items.

    A large one means that the model learnt the synthetic rows' own dialect. The two sets may hold the labels in
    different shares, which moves accuracy too; macro-F1 is less sensitive to that, over the labels that both sets have
    (a note names the others). `n` is the smaller set.
    """
    if on_real is None:
        return _missing("no model was trained on synthetic rows alone (arm 'synthetic')")
    if on_synthetic is None or not synthetic_examples:
        return _missing(
            "no synthetic rows were held back from training, so there is nothing to compare real items with"
        )
    return independent_difference(
        metric,
        synthetic_examples,
        on_synthetic,
        real_examples,
        on_real,
        resamples=resamples,
        seed=seed,
        common_labels=True,
    )


def source_gap(
    metric: Metric,
    examples: Sequence[Example],
    real: Sequence[Prediction] | None,
    synthetic: Sequence[Prediction] | None,
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """Score after training on real rows − score after training on as many synthetic rows, same real items, paired."""
    if real is None:
        return _missing(NO_POOL_SOURCE)
    if synthetic is None:
        return _missing("no model was trained on synthetic rows alone (arm 'synthetic')")
    return paired_difference(metric, examples, real, synthetic, resamples, seed)


def gap_recovered(
    metric: Metric,
    examples: Sequence[Example],
    loop: Sequence[Prediction] | None,
    seeds: Sequence[Prediction] | None,
    all_real: Sequence[Prediction] | None,
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """(loop − seeds) / (all_real − seeds) on the same real items: 0 is "no better than the seeds", 1 "as good as real".

    The interval is a paired bootstrap of the ratio. The value is None unless the interval of all_real − seeds lies
    above 0: a share of a gap that may be none means nothing.
    """
    if loop is None or seeds is None or all_real is None:
        return _missing(_missing_arm(loop is not None, seeds is not None, all_real is not None))
    whole = paired_difference(metric, examples, all_real, seeds, resamples, seed)
    if whole.low is None or whole.low <= 0:
        return _no_gap(whole)
    counts = item_counts(metric, examples, [loop, seeds, all_real])
    return paired_bootstrap(
        lambda sums: _share_of_gap(counts.scores(sums)), counts.rows, resamples=resamples, seed=seed
    )


def pooled_recovered(
    runs: Sequence[ScoredRun],
    metric: Metric,
    resamples: int,
    seed: int,
    loop: str = "mixed",
    seeds: str = "seeds",
    all_real: str = "all_real",
) -> Pooled:
    """Gap recovered over several runs: mean of (loop − seeds) over mean of (all_real − seeds), named arms.

    Items that several runs scored are resampled for all of them at once. `per_run` holds each run's own ratio, None
    where its real data does not beat its seeds; `seed_sd` is that of the linearised ratio, which stays finite
    where a run's own ratio does not. Raises ValueError as `eval.outcomes.align` does, and for an unknown metric.
    """
    have = [all(arm in run.predictions for run in runs) for arm in (loop, seeds, all_real)]
    if not runs or not all(have):
        missing = _missing(_missing_arm(*have)) if runs else insufficient("no runs", 0)
        return Pooled(missing, missing, tuple(None for _ in runs), None)
    whole = pooled_paired_difference(runs, all_real, seeds, metric, resamples, seed).items
    counts = run_counts(metric, runs, (loop, seeds, all_real))
    by_run = counts.scores(counts.rows.sum(axis=0))
    per_run = [float(one) if np.isfinite(one) else None for one in _share_of_gap(by_run)]
    if whole.low is None or whole.low <= 0:
        return Pooled(_no_gap(whole), _no_gap(whole), tuple(per_run), None)
    items = paired_bootstrap(
        lambda sums: _share_of_gap(counts.scores(sums).mean(axis=-2)), counts.rows, resamples=resamples, seed=seed
    )
    if items.value is None:
        return Pooled(items, items, tuple(per_run), None)
    gains, gaps = by_run[:, 0] - by_run[:, 1], by_run[:, 2] - by_run[:, 1]
    return with_seed_noise(items, per_run, [float(one) for one in (gains - items.value * gaps) / gaps.mean()])


def _share_of_gap(arms: FloatArray) -> FloatArray:
    """Scores of (loop, seeds, all_real), shape (…, 3) → ratio, shape (…).

    Without a gap (all_real ≤ seeds) the ratio is taken as endless in the direction of the gain, so that such a
    resample lies at the end of the distribution where it belongs instead of changing sides.
    """
    gain, whole = arms[..., 0] - arms[..., 1], arms[..., 2] - arms[..., 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, gain / whole, np.sign(gain) * np.inf)


def _missing(why: str) -> Estimate:
    return Estimate(None, None, None, 0, "none", why)


def _missing_arm(loop: bool, seeds: bool, all_real: bool) -> str:
    """Why there is no gap recovered, the most basic lack first."""
    if not all_real:
        return NO_POOL_RECOVERED
    if not seeds:
        return "no model was trained on the seeds alone (arm 'seeds'), where the recovery would be counted from"
    return "" if loop else "no model was trained on seeds and synthetic rows together (arm 'mixed')"


def _no_gap(whole: Estimate) -> Estimate:
    ends = "" if whole.low is None or whole.high is None else f", {whole.low:+.3f} to {whole.high:+.3f}"
    measured = "" if whole.value is None else f" (difference {whole.value:+.3f}{ends})"
    return insufficient(
        f"on these {whole.n} items the model trained on all real rows is not clearly better than the one trained on "
        f"the seeds{measured}, so there is no gap of which a share could be recovered",
        whole.n,
    )
