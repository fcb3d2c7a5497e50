"""What scores are called where people read them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.records import Estimate, EvalReport
from harness.reports import RunReport

NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "token_f1": "token F1",
    "rouge_l": "ROUGE-L",
    "json_fields": "JSON fields",
}
ANSWER_NAMES = NAMES | {"accuracy": "exact match", "macro_f1": "macro-F1 of kinds"}


def score_name(metric: str, *, answers: bool = False) -> str:
    """
    >>> score_name("accuracy"), score_name("accuracy", answers=True)
    ('accuracy', 'exact match')
    """
    return (ANSWER_NAMES if answers else NAMES).get(metric, metric)


def p_source(metric: str) -> str:
    """Whose p stands beside a paired difference in this score on one set of items, as `p is …` goes on.

    >>> p_source("accuracy"), p_source("macro_f1")
    ("exact McNemar's", "a paired permutation test's")
    """
    return "exact McNemar's" if metric == "accuracy" else "a paired permutation test's"


def has_answers(report: RunReport) -> bool:
    """Whether the run's task is to answer in text."""
    task = report.spec.get("task")
    return isinstance(task, Mapping) and bool(task.get("answer"))


def named_scores(scored: EvalReport | None) -> dict[str, Estimate]:
    """Name → score, the one by which items are right first."""
    if scored is None:
        return {}
    return {score_name(metric, answers=bool(scored.answers)): value for metric, value in scored.scores.items()}
