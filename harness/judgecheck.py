"""Whether the judge of a spec can be asked: criteria with words and a scale, a bar on the scale of its scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.filterspec import KNOWN, KNOWN_SCALE, Criterion
from harness.matrixcheck import one_line
from harness.spec import Spec
from harness.specwords import Finding, suggest
from harness.yamlfile import Key

JUDGE: Key = ("filters", "judge")
TAKEN = ("reason", "better")
"""Keys of the judge's answers that are no grades."""


def rubric(spec: Spec) -> Iterator[Finding]:
    """Names are unique; criteria of one's own say what they ask and which grades there are."""
    names: list[str] = []
    for index, one in enumerate(spec.filters.judge.rubric):
        key: Key = (*JUDGE, "rubric", index)
        if one.name in names:
            yield (*key, "name"), f"{one.name!r} is the name of an earlier criterion too; names are unique"
        elif one.name in TAKEN:
            yield (*key, "name"), f"{one.name!r} is a key of the judge's answers that is no grade; choose another name"
        names.append(one.name)
        yield from _criterion(key, one)


def _criterion(key: Key, one: Criterion) -> Iterator[Finding]:
    known = one.name in KNOWN
    near = suggest(one.name, KNOWN)
    if one.about is None and not known:
        what = f"is missing; say in a few words what {one.name!r} asks"
        yield (*key, "about"), f"{what} (only {', '.join(KNOWN)} may do without){near}"
    if one.about is not None:
        yield from one_line((*key, "about"), one.about)
    if one.scale is None and not known:
        yield (*key, "scale"), f"is missing; say which grades {one.name!r} has, e.g. `scale: {{low: 1, high: 5}}`{near}"
    low, high = one.ends
    if low >= high:
        yield (*key, "scale", "low"), f"{low} (bad) has to be below high ({high}, good)"


def bar(spec: Spec) -> Iterator[Finding]:
    """The least score lies on the scale of the scores."""
    rule = spec.filters.judge
    low, high = KNOWN_SCALE
    if rule.pairwise is None and rule.min_score < low:
        what = f"{rule.min_score:g} would drop nothing: scores go from {low} to {high}"
        yield (*JUDGE, "min_score"), f"{what}, whatever the scales of the rubric"
    if rule.pairwise is not None and rule.min_score > 1:
        what = (
            f"{rule.min_score:g} is a grade; with filters.judge.pairwise scores are shares of comparisons won or tied"
        )
        yield (*JUDGE, "min_score"), f"{what}: write a number from 0 to 1, e.g. 0.5"


def pairwise(spec: Spec) -> Iterator[Finding]:
    """Enough seeds to compare with, and nothing asked of comparisons that only grades can give."""
    rule, seeds, labels = spec.filters.judge, spec.data.split.seeds, len(spec.task.labels)
    if rule.pairwise is None:
        return
    if rule.pairwise + 1 > seeds // labels:
        what = f"{rule.pairwise} seeds of an item's label, besides itself, are more than there are"
        yield (*JUDGE, "pairwise"), f"{what}: {seeds} seeds for {labels} labels; allowed: 1 to {seeds // labels - 1}"
    for index, one in enumerate(rule.rubric):
        if one.weight != 1 or (one.veto and one.name not in KNOWN):
            what = "weights and vetoes are about grades, and filters.judge.pairwise asks for none"
            yield (*JUDGE, "rubric", index), f"{what}; take them off"
    if spec.evaluate.judge.enabled:
        what = "answers of students are graded, and filters.judge.pairwise gives no grades"
        yield ("evaluate", "judge", "enabled"), f"{what}; set one of the two off"


def labels(spec: Spec, folder: Path) -> Iterator[Finding]:
    """The file of human labels is there; what stands in it is read before anything is spent."""
    path = spec.filters.judge.human_labels
    if path is not None and not (folder / path).is_file():
        near = sorted(other.name for other in (folder / path).parent.glob("*.csv"))[:8]
        beside = f" Beside it: {', '.join(near)}." if near else ""
        what = f"no file {str(folder / path)!r}. Relative paths start at the YAML file's folder"
        yield (*JUDGE, "human_labels"), f"{what}; `harness review` writes such a file.{beside}"
