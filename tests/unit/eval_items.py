"""Items and predictions for the tests of `eval/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.records import Example, Origin, Prediction, Status

LABELS = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
SHARES = (0.02, 0.2, 0.23, 0.22, 0.16, 0.17)


def items(labels: Sequence[str], slices: Sequence[Mapping[str, str]] | None = None, prefix: str = "e") -> list[Example]:
    columns = slices if slices is not None else [{}] * len(labels)
    return [
        Example(f"{prefix}{number}", f"text {number}", label, columns[number], Origin.REAL)
        for number, label in enumerate(labels)
    ]


def answers(examples: Sequence[Example], labels: Sequence[str | None]) -> list[Prediction]:
    """None stands for a model that failed."""
    return [
        Prediction(example.id, Status.ERROR if label is None else Status.OK, label, None)
        for example, label in zip(examples, labels, strict=True)
    ]


def right_or_not(examples: Sequence[Example], right: Sequence[bool]) -> list[Prediction]:
    """The gold label where right, else the next label of `LABELS`."""
    wrong = {label: LABELS[(place + 1) % len(LABELS)] for place, label in enumerate(LABELS)}
    return answers(
        examples, [example.label if hit else wrong[example.label] for example, hit in zip(examples, right, strict=True)]
    )


def simulated(
    rng: np.random.Generator, n: int, accuracies: Sequence[float], prefix: str = "e"
) -> tuple[list[Example], list[list[Prediction]]]:
    """Items with TREC's label shares and one arm per accuracy; arms agree more often than by chance."""
    gold = rng.choice(len(LABELS), size=n, p=np.array(SHARES) / sum(SHARES))
    examples = items([LABELS[code] for code in gold], prefix=prefix)
    hardness = rng.random(n)
    arms: list[list[Prediction]] = []
    for accuracy in accuracies:
        draw = np.where(rng.random(n) < 0.6, hardness, rng.random(n))
        other = (gold + rng.integers(1, len(LABELS), size=n)) % len(LABELS)
        arms.append(answers(examples, [LABELS[code] for code in np.where(draw < accuracy, gold, other)]))
    return examples, arms
