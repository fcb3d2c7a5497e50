"""How synthetic items differ from real ones, to read a gap with: their dialect, what they miss, and wrong labels.

Takes unit vectors (n, d) and labels. None of these says that a model trained on the items is worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eval.intervals import MIN_ITEMS, Z, insufficient, paired_shares, wilson
from eval.outcomes import BoolArray, FloatArray
from eval.vectors import unit_rows
from harness.records import Coverage, Estimate, LabelNoise

MIN_EACH = 30
"""Items on each side that a cross-validated AUC needs: 6 a fold."""
FOLDS = 5
WEAK_WITNESS = 0.5
"""A model whose error on real rows may reach this is no witness against answers."""
STRENGTH = 10.0
"""Inverse regularisation times training items, on rows with a mean variance of 1."""


def two_sample_auc(real: NDArray[np.floating], synthetic: NDArray[np.floating], seed: int) -> Estimate:
    """How well a linear classifier tells synthetic items from real ones: AUC, .5 is "not at all", 1 "always".

    A classifier two-sample test (Lopez-Paz & Oquab, arXiv 1610.06545): logistic regression in 5 stratified folds, the
    larger side cut, by `seed`, to the size of the smaller. Value: the mean of the folds' AUCs. Interval: DeLong's
    variance within folds, times 1/5 + 1/4 instead of 1/5 (Nadeau & Bengio 2003, Machine Learning 52:239), because the
    folds share training items: without it 7 to 23 % of the intervals of equal sources missed .5 (our simulation).
    A bootstrap would put copies of one item on both sides of a fold, Hanley and McNeil's variance supposes
    exponential scores. More items tell more, so compare AUCs at equal n. `n` counts both sides. Near-duplicate
    synthetic items raise the value. Fewer than 30 items on a side: insufficient. Raises ValueError for
    rows of different widths or not of length 1.
    """
    sides = unit_rows(real=real, synthetic=synthetic)
    size = min(len(one) for one in sides)
    if size < MIN_EACH:
        return insufficient(f"{size} items on one side; the AUC needs at least {MIN_EACH}", size)
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    rng = np.random.default_rng(seed)
    rows = np.concatenate([one[np.sort(rng.permutation(len(one))[:size])] for one in sides])
    made = np.repeat([False, True], size)
    spread = float(np.sqrt(rows.var(axis=0).mean()))
    rows = (rows - rows.mean(axis=0)) / (spread or 1.0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
    values: list[float] = []
    variances: list[float] = []
    for train, held_out in folds.split(rows, made):
        model = LogisticRegression(C=STRENGTH / len(train), max_iter=1000).fit(rows[train], made[train])
        value, variance = _auc(model.decision_function(rows[held_out]), made[held_out])
        values.append(value)
        variances.append(variance)
    value = float(np.mean(values))
    half = Z * math.sqrt(float(np.mean(variances)) * (1 / FOLDS + 1 / (FOLDS - 1)))
    if half <= 1e-12:
        always = wilson(round(value * size), size)
        return replace(always, value=value, n=2 * size, note="every pair is told apart; Wilson's interval of one side")
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), 2 * size, "DeLong, Nadeau-Bengio")


def _auc(scores: FloatArray, positive: BoolArray) -> tuple[float, float]:
    """AUC with ties counted half, and its variance (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837)."""
    above = np.sign(scores[positive][:, None] - scores[~positive][None, :]) / 2 + 0.5
    by_positive, by_negative = above.mean(axis=1), above.mean(axis=0)
    variance = by_positive.var(ddof=1) / len(by_positive) + by_negative.var(ddof=1) / len(by_negative)
    return float(above.mean()), float(variance)


def coverage(
    anchors: NDArray[np.floating],
    synthetic: NDArray[np.floating],
    held_out: NDArray[np.floating],
    *,
    seed: int,
    k: int = 5,
) -> Coverage:
    """Share of real anchors without a synthetic item nearer than the anchor's k-th nearest other anchor.

    1 − the coverage of Naeem et al. (ICML 2020, arXiv 2002.09797), with the balls of Kynkäänniemi et al. (2019).
    `held_out` are real items that are no anchors. For them the share is .03 where there are as many as anchors and
    k is 5; only the difference to that reference says what synthetic items miss. Both sets are cut, by `seed`, to
    the size of the smaller. Shares have Wilson's interval, the difference the paired one over anchors; all are about
    other anchors and take the synthetic and held-out items as given. Fewer than 10 items, or k + 1, in one of the
    three: insufficient. Raises ValueError unless k ≥ 1, for rows of different widths or of a length other than 1.
    """
    if k < 1:
        raise ValueError(f"coverage: k {k!r} must be at least 1")
    real, made, other = unit_rows(anchors=anchors, synthetic=synthetic, held_out=held_out)
    size, needed = min(len(made), len(other)), max(MIN_ITEMS, k + 1)
    if min(size, len(real)) < needed:
        counts = f"{len(real)} anchors, {len(made)} synthetic and {len(other)} held-out items"
        nothing = insufficient(f"{counts}; coverage needs at least {needed} of each", len(real))
        return Coverage(nothing, nothing, nothing, k, 0)
    missed, reference = missed_by(real, made, other, size, k, seed)
    return Coverage(
        wilson(int(missed.sum()), len(real)),
        wilson(int(reference.sum()), len(real)),
        paired_shares(int(np.sum(missed & ~reference)), int(np.sum(reference & ~missed)), len(real)),
        k,
        size,
    )


def missed_by(
    real: FloatArray, made: FloatArray, other: FloatArray, size: int, k: int, seed: int
) -> tuple[BoolArray, BoolArray]:
    """Which of the real rows have none of `size` rows of `made`, and none of `size` of `other`, nearer than their k-th
    nearest real one; all unit rows, the `size` drawn by `seed`."""
    radius, rng = _neighbour_cosines(real, k), np.random.default_rng(seed)
    missed, reference = (
        (real @ one[np.sort(rng.permutation(len(one))[:size])].T).max(axis=1) < radius for one in (made, other)
    )
    return missed, reference


def _neighbour_cosines(rows: FloatArray, k: int) -> FloatArray:
    """Cosine of each of more than k unit rows to its k-th nearest other row, shape (n,)."""
    among = rows @ rows.T
    np.fill_diagonal(among, -np.inf)
    return np.partition(among, -k, axis=1)[:, -k]


def label_noise(
    labels: Sequence[str],
    predicted: Sequence[str | None],
    real_labels: Sequence[str],
    real_predicted: Sequence[str | None],
    classes: int,
) -> LabelNoise:
    """Share of synthetic rows whose label is wrong, from a model's contradictions and its own errors on real rows.

    With error e on real rows and K `classes`, the model contradicts a right label in e of the cases, and a wrong one
    unless it errs towards just that: 1 − e/(K − 1). So wrong = (contradicted − e) / (1 − e·K/(K − 1)), the estimator of
    Rogan & Gladen (1978, American Journal of Epidemiology 107:71), cut to 0 … 1. Its interval carries Wilson's of both
    shares to each end and adds them in squares (MOVER, Zou & Donner 2008).

    It supposes that the model errs on synthetic rows as often as on real ones, whichever the label, and had no part in
    choosing the rows: after a filter that uses this model the share is too low. None is a failed prediction
    and contradicts. Fewer than 10 rows on a side, or a model whose error may be that of guessing: insufficient. Raises
    ValueError when lengths differ and unless classes ≥ 2.
    """
    if classes < 2:
        raise ValueError(f"label_noise: {classes!r} classes; at least 2 are needed for a label to be wrong")
    for one, other, what in ((labels, predicted, "synthetic"), (real_labels, real_predicted, "real")):
        if len(one) != len(other):
            raise ValueError(
                f"label_noise: {len(one)} {what} labels against {len(other)} predictions; pass one for each"
            )
    contradicted = wilson(_differing(labels, predicted), len(labels))
    error = wilson(_differing(real_labels, real_predicted), len(real_labels))
    guessing = (classes - 1) / classes
    weak = "the model's error on real rows may be that of guessing"
    return LabelNoise(_wrong(contradicted, error, guessing, guessing, weak), contradicted, error)


def answer_noise(contradicted: Sequence[bool], real_contradicted: Sequence[bool]) -> LabelNoise:
    """`label_noise` for answers in text: by row, whether a model's answer differs from the row's.

    Its limit for many classes: a wrong answer is always contradicted, since the model hardly errs towards just that
    one. So wrong = (contradicted − e)/(1 − e). Where model and generator share an error (both say `unknown`) the share
    is too low; where the generator words right answers otherwise than real data do it is too high, as are all shares
    by exact match. If the model errs by δ more or less on synthetic rows than on real ones, the share is off by about
    δ/(1 − e): at an error whose interval reaches above .5 that says nothing, and the answer is insufficient.

    The model must have had no part in choosing the rows. Students that vote in the consistency filter had: they agree
    with what they let through by construction, and their contradictions would say that nothing is wrong.
    """
    made, real = (wilson(sum(one), len(one)) for one in (contradicted, real_contradicted))
    weak = "the model is wrong on as many as half of the real rows, too often to be a witness"
    return LabelNoise(_wrong(made, real, 1.0, WEAK_WITNESS, weak), made, real)


def _differing(labels: Sequence[str], predicted: Sequence[str | None]) -> int:
    return sum(one != other for one, other in zip(labels, predicted, strict=True))


def _wrong(contradicted: Estimate, error: Estimate, guessing: float, bar: float, weak: str) -> Estimate:
    """`guessing`: the error at which a wrong label is contradicted as often as a right one; `bar`: the error that the
    model must be shown to stay below, `weak` what is said where it does not."""
    n = min(contradicted.n, error.n)
    if n < MIN_ITEMS:
        return insufficient(
            f"{contradicted.n} synthetic and {error.n} real rows; at least {MIN_ITEMS} of each are needed", n
        )
    c, e = _ends(contradicted), _ends(error)
    if e[2] >= bar:
        return insufficient(f"{weak} ({e[0]:.2f}, up to {e[2]:.2f})", n)

    def share(contradictions: float, errors: float) -> float:
        return (contradictions - errors) / (1 - errors / guessing)

    value = share(c[0], e[0])
    by_error = sorted(share(c[0], end) for end in e)
    low = value - math.hypot(value - share(c[1], e[0]), value - by_error[0])
    high = value + math.hypot(share(c[2], e[0]) - value, by_error[-1] - value)
    cut = [min(1.0, max(0.0, one)) for one in (value, low, high)]
    note = "" if cut[0] == value else f"cut from {value:.3f}: the model contradicts these labels less than real ones"
    if value > 1:
        note = f"cut from {value:.3f}: the model contradicts more than wrong labels alone would explain"
    return Estimate(cut[0], cut[1], cut[2], n, "Rogan-Gladen, MOVER", note)


def _ends(share: Estimate) -> tuple[float, float, float]:
    """Value, low, high of a Wilson estimate of at least one item."""
    if share.value is None or share.low is None or share.high is None:
        raise ValueError(f"label_noise: no share in {share!r}")
    return share.value, share.low, share.high
