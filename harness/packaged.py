"""Readers of the packaged data sets. Each gives a `Table` with the columns `text` and `label` and some to slice by."""

from __future__ import annotations

import html
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import Literal

from harness.catalogue import DISFL_QA, DOMAINS, SENTIMENT, TREC, Packaged, verified
from harness.tables import Table

NEUTRAL_BELOW = 0.5
"""Raters answered on a scale from −4 to 4 where 0 reads "Neutral". A mean nearer to 0 than to ±1 rounds to that
answer, so |mean| < 0.5 is neutral (18 % of the texts) and the sign decides otherwise."""
CONFLICT = "two labels for one text"


PackagedName = Literal["trec", "sentiment", "trec_fields", "disfl_qa"]
SOURCES: Mapping[PackagedName, Packaged] = {
    "trec": TREC,
    "sentiment": SENTIMENT,
    "trec_fields": TREC,
    "disfl_qa": DISFL_QA,
}
"""What of the catalogue each set is read from."""


def read_packaged(name: PackagedName) -> Table:
    """Rows of a packaged set. Raises `MissingPackageError`, `DataError` (file changed)."""
    readers: dict[PackagedName, Callable[[], Table]] = {
        "trec": read_trec,
        "sentiment": read_sentiment,
        "trec_fields": read_trec_fields,
        "disfl_qa": read_disfl_qa,
    }
    return readers[name]()


def read_trec() -> Table:
    """TREC questions: `text`, `label` (ABBR, DESC, ENTY, HUM, LOC, NUM) and `fine` (`HUM:ind`, …).

    The file holds five nested training sets one after another, so most lines repeat. One question has two
    fine labels there; its rows are left out, because no reader can say which one is right.
    """
    (path,) = verified(TREC)
    rows: list[dict[str, object]] = []
    labels: defaultdict[object, set[str]] = defaultdict(set)
    for line in path.read_text(encoding="latin-1").rstrip("\n").split("\n"):
        fine, _, text = line.strip().partition(" ")
        rows.append({"text": text.strip(), "label": fine.partition(":")[0], "fine": fine})
        labels[text.strip()].add(fine)
    kept = [(number, row) for number, row in enumerate(rows, start=1) if len(labels[row["text"]]) == 1]
    return Table(
        name="trec",
        columns=("text", "label", "fine"),
        rows=tuple(row for _, row in kept),
        unit="line",
        numbers=tuple(number for number, _ in kept),
        dropped={CONFLICT: len(rows) - len(kept)},
    )


def read_trec_fields() -> Table:
    """TREC as structured extraction: `text`, `answer` (JSON with the coarse `type`, the fine `entity`), and `type`."""
    table = read_trec()
    rows: list[dict[str, object]] = []
    for row in table.rows:
        kind, _, entity = str(row["fine"]).partition(":")
        rows.append({"text": row["text"], "answer": json.dumps({"type": kind, "entity": entity}), "type": kind})
    return replace(table, name="trec_fields", columns=("text", "answer", "type"), rows=tuple(rows))


def read_sentiment() -> Table:
    """Rated sentences: `text`, `label` (negative, neutral, positive), `domain` (amazon, movie, nyt, tweet) and
    `disagreement` (thirds of the ratings' standard deviation: low, medium, high; unknown where it cannot be had)."""
    paths = {path.name: path for path in verified(SENTIMENT)}
    rows: list[dict[str, object]] = []
    spreads: list[float | None] = []
    for domain, stem in DOMAINS.items():
        ratings = _ratings(paths[f"{stem}_anonDataRatings.txt"])
        # Some texts were escaped twice (`&amp;amp;`).
        for ident, mean, text in _cells(paths[f"{stem}_GroundTruth.txt"])[1:]:
            rows.append({"text": html.unescape(html.unescape(text)), "label": polarity(float(mean)), "domain": domain})
            rated, spread = ratings.get(ident, (None, None))
            # 199 tweets have another mean in the file of ratings, so the spread there is not theirs.
            matches = rated is not None and abs(rated - float(mean)) < 1e-3
            spreads.append(spread if matches else None)
    low, high = quantiles([spread for spread in spreads if spread is not None], n=3)
    for row, spread in zip(rows, spreads, strict=True):
        row["disagreement"] = _third(spread, low, high)
    columns = ("text", "label", "domain", "disagreement")
    return Table("sentiment", columns, tuple(rows), "row", tuple(range(1, len(rows) + 1)))


def read_disfl_qa() -> Table:
    """Disfl-QA: `passage`, `question` (with a slip that the speaker corrects), `answer` (words of the passage, up to
    tokenisation, or `unknown` where it holds none) and `passage_length` (thirds of the word count)."""
    (path,) = verified(DISFL_QA)
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    rows: list[dict[str, object]] = [{name: text.strip() for name, text in json.loads(line).items()} for line in lines]
    words = [len(str(row["passage"]).split()) for row in rows]
    low, high = quantiles(words, n=3)
    for row, count in zip(rows, words, strict=True):
        row["passage_length"] = "short" if count <= low else "medium" if count <= high else "long"
    columns = ("passage", "question", "answer", "passage_length")
    return Table("disfl_qa", columns, tuple(rows), "line", tuple(range(1, len(rows) + 1)))


def polarity(mean: float) -> str:
    """Label of a mean rating from −4 to 4.

    >>> polarity(-0.6), polarity(0.4)
    ('negative', 'neutral')
    """
    if abs(mean) < NEUTRAL_BELOW:
        return "neutral"
    return "positive" if mean > 0 else "negative"


def _ratings(path: Path) -> dict[str, tuple[float, float]]:
    """Id → (mean, standard deviation)."""
    return {ident: (float(mean), float(spread)) for ident, mean, spread, _ in _cells(path)}


def _cells(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return [line.split("\t") for line in lines if line.strip()]


def _third(spread: float | None, low: float, high: float) -> str:
    if spread is None:
        return "unknown"
    if spread <= low:
        return "low"
    return "medium" if spread <= high else "high"
