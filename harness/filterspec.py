"""The filters: what a person may write about them. Frozen, unknown keys are refused.

The section `filters` of a spec.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from harness.taskspec import Section

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class FormatFilter(Section):
    enabled: bool = True
    min_words: Count = 3
    max_words: PositiveInt = 60
    must_match: str | None = None
    """A regular expression that every text has to contain."""


class ConsistencyFilter(Section):
    enabled: bool = True
    folds: Annotated[int, Field(ge=2, le=10)] = 5
    """Students trained on folds of the seeds; each candidate gets their mean probability."""
    passes: Count = 1
    """Self-training passes at the end of each round: students on folds of the accepted rows read the rows that they
    were not trained on, and all rows are sieved again. 0 leaves the labels to the seeds' students."""
    pass_folds: Annotated[int, Field(ge=2, le=10)] = 3
    """Folds of a self-training pass, a training each."""
    keep_at: Share = 0.0
    """Keep an agreeing candidate only from this probability of its label on."""
    relabel_at: Share = 0.5
    """Relabel a disagreeing candidate from this probability of the other label on; below it, drop. 1 never relabels."""


class DifficultyFilter(Section):
    enabled: bool = True
    low: Share = 0.0
    high: Share = 1.0
    """Band of p(label) under the current student: below `low` mostly label errors, above `high` nothing to learn."""


class JudgeFilter(Section):
    enabled: bool = True
    min_score: Annotated[int, Field(ge=1, le=5)] = 3
    """Drop below this mean of relevance, correctness and adherence (each 1 to 5), or below it in correctness alone,
    once the gate is passed."""
    gate_items: Annotated[int, Field(ge=10)] = 100
    """Seeds shown to the judge before it may drop data, half of them with planted errors."""
    gate_kappa: Share = 0.6
    """The lower bound of Cohen's kappa has to reach this."""
    gate_retest: Share = 0.8
    """Share of verdicts that stay the same when asked twice."""
    audit: Count = 16
    """Candidates per round that a refused judge still scores, for the record only."""


class DuplicateFilter(Section):
    enabled: bool = True
    threshold: Share = 0.92
    """Embedding cosine from which on two texts are one."""
    ngram: PositiveInt = 3
    overlap: Share = 0.8
    """Share of word n-grams (Jaccard) from which on two texts are one; for texts longer than the embedder reads."""


class LeakageFilter(Section):
    enabled: bool = True
    ngram: PositiveInt = 6
    """Words of a run shared with a held-out text; a candidate that consists of such runs for the most part is dropped.
    13 suits long texts."""
    threshold: Share = 0.95
    """Embedding cosine to a held-out text that drops a candidate."""


class QuotaFilter(Section):
    enabled: bool = True
    """Keep exactly `generate.accepted_per_round` rows a round of those that passed all other filters, shared out over
    the matrix as planned. Off, all of them are used."""


class Filters(Section):
    format: FormatFilter = FormatFilter()
    duplicates: DuplicateFilter = DuplicateFilter()
    leakage: LeakageFilter = LeakageFilter()
    consistency: ConsistencyFilter = ConsistencyFilter()
    difficulty: DifficultyFilter = DifficultyFilter()
    judge: JudgeFilter = JudgeFilter()
    quota: QuotaFilter = QuotaFilter()
