"""Known failure modes of synthetic data, each held against real data: sycophancy, format over substance, shift.

Every detector compares synthetic rows with as many real anchors of the same labels. It fires only where the interval of
the difference excludes 0 and the difference is large enough to matter (`Kind.least`). What one family counts is taken
out before the next looks: templates and content are read without hedges and polite phrases, content without function
words and punctuation. Anchors and dev items enter as counts and vectors; what is shown comes from synthetic rows, seeds
and our own lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from eval.hedging import (
    PHRASES,
    length_inflation,
    marker_difference,
    marker_rate,
    markers,
    mean_words,
    stripped,
)
from eval.hedging import Kind as Phrases
from eval.intervals import insufficient, wilson
from eval.outcomes import BoolArray
from eval.templates import (
    FEWEST,
    OPENINGS,
    Concentration,
    content,
    form,
    hits_difference,
    label_hits,
    matched,
    opening_concentration,
    recurrence,
    skeleton,
    skeleton_concentration,
    top_opening,
)
from eval.wording import english_share, language, words
from harness.bench import Bench
from harness.contentshift import shift_modes
from harness.modekinds import KINDS, Kind, judged
from harness.records import Estimate, Example, Role
from harness.reports import FailureMode

MIN_ROWS = 20
"""Rows on either side, of the same labels, that any detector needs."""
MIN_WORDS = 3
"""Words of the median text below which there is no template to speak of."""
READ = ("Latin", "Latin, English")
"""What `eval.wording.language` says of texts that the English lists may be used on, if the real ones are English. Odd
output of a small generator need not be."""
ENGLISH = 0.03
"""The `english_share` from which on real texts are English; .08 is the least of 20 packaged ones, 0 usual elsewhere."""


def failure_modes(bench: Bench, accepted: Sequence[Example]) -> tuple[FailureMode, ...]:
    """`accepted` are the synthetic training rows of the delivered model."""
    data, spec = bench.data.examples, bench.spec
    found = text_modes(data[Role.SEEDS], data[Role.ANCHOR], accepted, resamples=spec.evaluate.resamples, seed=spec.seed)
    if spec.task.answer is not None and spec.task.answer.json_schema is None:
        found += answer_modes(
            data[Role.SEEDS], data[Role.ANCHOR], accepted, resamples=spec.evaluate.resamples, seed=spec.seed
        )
    return found + shift_modes(
        data[Role.SEEDS],
        data[Role.ANCHOR],
        data[Role.DEV],
        accepted,
        bench.embedder,
        clusters=bench.data.clusters,
        seed=spec.seed,
    )


@dataclass(frozen=True, slots=True)
class _Sides:
    """Texts of the seeds, and of anchors and synthetic rows place by place of one label. `why` says what is missing."""

    seeds: tuple[str, ...]
    real: tuple[str, ...]
    made: tuple[str, ...]
    seed_labels: tuple[str, ...]
    labels: tuple[str, ...]
    resamples: int
    seed: int
    why: str
    foreign: str

    def plain(self) -> _Sides:
        """Without hedges, stances and polite phrases."""
        seeds, real, made = (tuple(map(stripped, side)) for side in (self.seeds, self.real, self.made))
        return replace(self, seeds=seeds, real=real, made=made)


def text_modes(
    seeds: Sequence[Example], anchors: Sequence[Example], made: Sequence[Example], *, resamples: int, seed: int
) -> tuple[FailureMode, ...]:
    """Sycophancy and format over substance of the texts."""
    sides = _sides(seeds, anchors, made, resamples, seed)
    return (*_sycophancy(sides, ""), *_format(sides.plain()))


def answer_modes(
    seeds: Sequence[Example], anchors: Sequence[Example], made: Sequence[Example], *, resamples: int, seed: int
) -> tuple[FailureMode, ...]:
    """Sycophancy of the answers, where the task is to answer in text."""
    real, ours, theirs = ([replace(one, text=one.answer) for one in side] for side in (anchors, seeds, made))
    asked = [one.text for one in (*anchors, *seeds)]
    sides = _sides(ours, real, theirs, resamples, seed, asked)
    return _sycophancy(sides, " of answers")


def _sides(
    seeds: Sequence[Example],
    anchors: Sequence[Example],
    made: Sequence[Example],
    resamples: int,
    seed: int,
    asked: Sequence[str] = (),
) -> _Sides:
    """`asked` are the real questions, where the texts are answers."""
    here, there = matched([one.label for one in anchors], [one.label for one in made], seed)
    real, synthetic = [anchors[place].text for place in here], [made[place].text for place in there]
    why = ""
    if len(real) < MIN_ROWS:
        why = (
            f"{len(made)} synthetic rows and {len(anchors)} anchors give {len(real)} of the same labels on either "
            f"side; at least {MIN_ROWS} are needed"
        )
    return _Sides(
        tuple(one.text for one in seeds),
        tuple(real),
        tuple(synthetic),
        tuple(one.label for one in seeds),
        tuple(anchors[place].label for place in here),
        resamples,
        seed,
        why,
        _foreign([*real, *(one.text for one in seeds)], [one.text for one in made], asked),
    )


def _foreign(real: Sequence[str], made: Sequence[str], asked: Sequence[str]) -> str:
    """Why lists of English words say nothing of these texts, or ""."""
    others = [one or "no language" for one in map(language, (real, made)) if one not in READ]
    if others:
        return f"the lists of words are English, the texts read as {others[0]}"
    # Names and numbers hold no function words; what they answer does.
    short = asked and median(len(words(text)) for text in real) < MIN_WORDS
    what, share = ("questions", english_share(asked)) if short else ("texts", english_share(real))
    if share >= ENGLISH:
        return ""
    return f"the lists of words are English, and {share:.1%} of the words of the real {what} are words such as “the”"


def _sycophancy(sides: _Sides, of: str) -> tuple[FailureMode, ...]:
    return (*(_phrases(sides, kind, of) for kind in PHRASES), _length(sides, of))


def _phrases(sides: _Sides, kind: Phrases, of: str) -> FailureMode:
    about = KINDS[kind].named(kind + of)
    why = sides.why or sides.foreign
    if why:
        return _untold(about, why)
    draws, seed = sides.resamples, sides.seed
    seeds, real, made = (
        marker_rate(texts, kind, resamples=draws, seed=seed) for texts in (sides.seeds, sides.real, sides.made)
    )
    with_one = [sum(bool(markers(text, kind)) for text in side) for side in (sides.made, sides.real)]
    common = Counter(one for text in sides.made for one in markers(text, kind)).most_common(5)
    shares = f"{with_one[0]} of {len(sides.made)} synthetic rows have such a phrase, {with_one[1]} of as many real ones"
    listed = ", ".join(f"“{phrase}” {count}" for phrase, count in common)
    evidence = (shares, f"commonest in synthetic rows: {listed}") if listed else (shares,)
    difference = marker_difference(sides.made, sides.real, kind, resamples=draws, seed=seed)
    return judged(about, seeds, real, made, difference, evidence)


def _length(sides: _Sides, of: str) -> FailureMode:
    about = KINDS["length inflation"].named("length inflation" + of)
    if sides.why:
        return _untold(about, sides.why)
    draws, seed = sides.resamples, sides.seed
    seeds, real, made = (
        mean_words(texts, resamples=draws, seed=seed) for texts in (sides.seeds, sides.real, sides.made)
    )
    difference = length_inflation(sides.made, sides.real, resamples=draws, seed=seed)
    return judged(about, seeds, real, made, difference)


def _format(sides: _Sides) -> tuple[FailureMode, ...]:
    why = sides.why
    usual = median([len(words(text)) for text in sides.real]) if sides.real else 0
    if not why and usual < MIN_WORDS:
        why = f"the median real text has {usual:g} words; a template needs at least {MIN_WORDS}"
    english = why or sides.foreign
    return (
        _untold(KINDS["label from the template"], english) if english else _label(sides),
        _untold(KINDS["repeated openings"], why) if why else _openings(sides),
        _untold(KINDS["repeated skeletons"], english) if english else _skeletons(sides),
    )


def _label(sides: _Sides) -> FailureMode:
    about = KINDS["label from the template"]
    counts = Counter(sides.labels)
    kept = {label for label, count in counts.items() if count >= FEWEST}
    places = [place for place, label in enumerate(sides.labels) if label in kept]
    if len(kept) < 2 or len(places) < 2 * MIN_ROWS:
        return _untold(
            about,
            f"{len(places)} rows a side of {len(kept)} labels with at least {FEWEST}; two labels and {2 * MIN_ROWS} "
            "rows are needed",
        )
    labels = [sides.labels[place] for place in places]
    real, made = ([side[place] for place in places] for side in (sides.real, sides.made))
    template = [label_hits([*map(skeleton, side)], labels, sides.seed) for side in (real, made)]
    substance = [label_hits([*map(content, side)], labels, sides.seed) for side in (real, made)]
    evidence = (
        f"from content words alone: {_percent(substance[1])} right on synthetic rows, {_percent(substance[0])} on real",
        f"always naming the commonest label: {100 * max(Counter(labels).values()) / len(labels):.0f} % right on both",
    )
    real_share, made_share = (wilson(int(hits.sum()), len(hits)) for hits in template)
    difference = hits_difference(template[1], template[0])
    return judged(about, _seed_hits(sides), real_share, made_share, difference, evidence)


def _seed_hits(sides: _Sides) -> Estimate:
    counts = Counter(sides.seed_labels)
    kept = [place for place, label in enumerate(sides.seed_labels) if counts[label] >= FEWEST]
    labels = [sides.seed_labels[place] for place in kept]
    if len({*labels}) < 2:
        return insufficient(f"fewer than two labels with {FEWEST} seeds", len(kept))
    hits = label_hits([skeleton(sides.seeds[place]) for place in kept], labels, sides.seed)
    return wilson(int(hits.sum()), len(hits))


def _openings(sides: _Sides) -> FailureMode:
    found = opening_concentration(sides.real, sides.made, sides.seed)
    count = found.words
    return judged(
        KINDS["repeated openings"],
        top_opening(sides.seeds, count),
        found.real,
        found.made,
        found.difference,
        (
            f"the figures are for openings of {count} word{'s' if count > 1 else ''}, where the difference is largest",
            *_commonest(found, [f"commonest opening of {one} word{'s' if one > 1 else ''}" for one in OPENINGS]),
        ),
    )


def _skeletons(sides: _Sides) -> FailureMode:
    found = skeleton_concentration(sides.real, sides.made, sides.seed)
    distinct = [len({*map(form, side)}) for side in (sides.made, sides.real)]
    n = len(sides.made)
    return judged(
        KINDS["repeated skeletons"],
        recurrence(sides.seeds),
        found.real,
        found.made,
        found.difference,
        (
            f"{distinct[0]} distinct skeletons in {n} synthetic rows, {distinct[1]} in as many real ones",
            *_commonest(found, ["commonest skeleton"]),
        ),
    )


def _commonest(found: Concentration, what: Sequence[str]) -> list[str]:
    return [
        f"{name}: “{top}”, {100 * made:.0f} % of synthetic rows, {100 * real:.0f} % of real ones"
        for name, (top, made, real) in zip(what, found.commonest, strict=True)
    ]


def _percent(hits: BoolArray) -> str:
    return f"{100 * float(hits.mean()):.0f} %"


def _untold(about: Kind, why: str) -> FailureMode:
    nothing = insufficient(why, 0)
    return judged(about, nothing, nothing, nothing, nothing)
