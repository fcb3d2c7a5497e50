"""The filters: what a person may write about them. Frozen, unknown keys are refused.

The section `filters` of a spec.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

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


class Scale(Section):
    """Whole numbers from `low` (bad) to `high` (good)."""

    low: int
    high: int


class Criterion(Section):
    """One thing that the judge is asked to grade."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    about: str | None = None
    """What it asks, in a few words; may be left out for `relevance`, `correctness` and `adherence`."""
    scale: Scale | None = None
    """Which grades there are, e.g. `{low: 1, high: 5}`, which is what those three have without it."""
    weight: PositiveFloat = 1.0
    """In the mean of all criteria."""
    veto: bool = False
    """The score is no higher than this grade."""

    @property
    def ends(self) -> tuple[int, int]:
        """Lowest and highest grade."""
        return KNOWN_SCALE if self.scale is None else (self.scale.low, self.scale.high)


KNOWN = ("relevance", "correctness", "adherence")
"""Criteria that need neither `about` nor `scale`."""
KNOWN_SCALE = (1, 5)
"""Their grades, and the common scale that all others are mapped to."""


class JudgeFilter(Section):
    enabled: bool = True
    rubric: list[Criterion] = Field(
        default=[Criterion(name=name, veto=name == "correctness") for name in KNOWN], min_length=1, max_length=12
    )
    """What the judge grades. The score is the weighted mean, with every scale mapped to 1 to 5. A fluent text under a
    wrong label is a wrong row, so correctness has a veto."""
    min_score: Annotated[float, Field(ge=0, le=5)] = 3.0
    """Drop below this score (1 to 5; with `pairwise` 0 to 1), once the gate is passed."""
    judges: Annotated[int, Field(ge=1, le=15)] = 1
    """How often the judge is asked about an item, each time with another seed. All of it counts as one judge, for the
    gate too."""
    combine: Literal["mean", "majority"] = "mean"
    """How several scores become one. `majority`: the (lower) median, so that an item passes where more than half of
    the scores do."""
    reasons: bool = False
    """Let the judge write a sentence before it grades; it is kept with the verdict. Costs tokens."""
    pairwise: PositiveInt | None = None
    """Instead of grading, compare an item with so many real seeds of its label, in both orders. The score is the share
    of comparisons that it wins or ties; one whose two orders do not agree is a tie."""
    human_labels: Path | None = None
    """A .csv of reviewed items (`harness review`) that takes the place of seeds with planted errors in the gate;
    relative paths start at the YAML file's folder."""
    gate_items: Annotated[int, Field(ge=10)] = 100
    """Items shown to the judge before it may drop data: seeds, half of them with planted errors, or human labels."""
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


HOW_ASKED = ("rubric", "judges", "combine", "reasons", "pairwise")
"""Keys of the judge that say how it is asked."""


def keyed(filters: Filters) -> dict[str, Any]:
    """The section as it stands in artefacts' keys.

    What the judge is not told to do otherwise leaves no trace there: a judge that is asked as ever keeps its artefacts.
    A file of human labels is known by its content (`GateReport.labels`), wherever it lies.
    """
    tree = filters.model_dump(mode="json")
    judge, plain = tree["judge"], JudgeFilter().model_dump(mode="json")
    for name in HOW_ASKED:
        if judge[name] == plain[name]:
            del judge[name]
    del judge["human_labels"]
    # 3 and 3.0 are one bar, and JSON tells them apart.
    judge["min_score"] = int(judge["min_score"]) if float(judge["min_score"]).is_integer() else judge["min_score"]
    return tree
