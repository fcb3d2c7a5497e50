"""`harness collapse check`: generations as anybody's files, embedded, measured and judged.

The statistics are in `eval/collapse.py`, reading is in `harness/collapsefiles.py`, words in `harness/collapsewords.py`.
A generation that cannot be compared (too few texts, another language) is left out with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eval.collapse import Baseline, RareSlices, Readings, Verdict, judge, matched_size, measure
from eval.profiles import Items, Profile, profiles
from eval.readings import MIN_ANCHORS, MIN_BATCHES, MIN_SET, MIN_SIZE, held_back
from eval.wording import language
from harness import collapsefiles
from harness.collapsefiles import Generation, other_language, read_generation
from harness.embed import Embedder
from harness.errors import StoreError
from harness.progress import Progress
from harness.store import write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEED = 0
STAGE = "embed texts"
Reference = Literal["anchors", "generation 0", "none"]


@dataclass(frozen=True, slots=True)
class GenerationFacts:
    """What was read of one generation: `items` are its texts without the `empty` ones, `distinct` of them differ."""

    name: str
    files: tuple[str, ...]
    items: int
    empty: int
    distinct: int


@dataclass(frozen=True, slots=True)
class CollapseCheck:
    """What the check found. `reference` is what nnR measures distances from: real anchors, what was held back of
    generation 0, or nothing, so that nnR is not judged."""

    embedder: str
    reference: Reference
    generations: tuple[GenerationFacts, ...]
    verdict: Verdict
    profiles: tuple[Profile, ...]
    cautions: tuple[str, ...]


def check(
    paths: Sequence[Path],
    *,
    anchors: Path | None,
    trained: Path | None,
    column: str,
    embed: Embedder,
    progress: Progress,
) -> CollapseCheck:
    """Read, embed and judge generations in the order given, generation 0 first.

    `anchors` are real items that no generation was trained on; `trained` are those it was trained on, so that anchors
    among them are found. Raises `DataError` for files that cannot be read, and the embedder's errors.
    """
    generations = [read_generation(path, column) for path in paths]
    first, *later = generations
    cautions = collapsefiles.cautions(generations)
    batches, said = collapsefiles.baseline_batches(first)
    cautions += said
    real: tuple[str, ...] = ()
    if anchors is not None:
        known = read_generation(trained, column) if trained else None
        real, said = collapsefiles.usable_anchors(read_generation(anchors, column), known, generations)
        cautions += said
    base, others, rows = _embedded(batches, [one.texts for one in later], real, embed, progress)
    reference: Reference = "anchors" if real else "none"
    if anchors is None:
        base, rows, said = _held_back(base)
        reference = "none" if rows is None else "generation 0"
        cautions += said
    size = matched_size([len(one.texts) for one in base], [len(one.texts) for one in others])
    baseline = Baseline.of([one.vectors for one in base], rows, max(1, size), SEED)
    spoken = language(first.texts)
    readings = [_reading(one, rows, baseline.size, spoken) for one in others]
    return CollapseCheck(
        embed.id,
        reference,
        tuple(map(_facts, generations)),
        judge(baseline, readings),
        profiles(base, others, rows if real else None, baseline.size, SEED) if baseline.batches else (),
        tuple(cautions),
    )


def check_generations(
    batches: Sequence[Items],
    later: Sequence[Items],
    anchors: NDArray[np.float32],
    *,
    embedder: str,
    seed: int,
    names: Sequence[str],
    what: str,
    nll: NDArray[np.float64] | None = None,
    entropy: NDArray[np.float64] | None = None,
    slices: RareSlices | None = None,
    explain: bool = True,
) -> CollapseCheck:
    """The detector on generations that are in memory: generation 0's `batches` and the `later` ones, against unit
    vectors of real anchors. `names` are the generations', `what` says what their texts are. Confirmations as for
    `eval.collapse.judge`; without `explain` there are no profiles, which take longest.
    """
    size = matched_size([len(one.texts) for one in batches], [len(one.texts) for one in later])
    baseline = Baseline.of([one.vectors for one in batches], anchors, max(1, size), seed)
    readings = [measure(one.vectors, anchors, baseline.size, seed) for one in later]
    verdict = judge(baseline, readings, nll=nll, entropy=entropy, slices=slices)
    facts = [
        GenerationFacts(name, (what,), len(one.texts), 0, len(set(one.texts)))
        for name, one in zip(names, [batches[0], *later], strict=True)
    ]
    explained = profiles(batches, later, anchors, baseline.size, seed) if explain and baseline.batches else ()
    return CollapseCheck(embedder, "anchors", tuple(facts), verdict, explained, ())


def write_check(found: CollapseCheck, path: Path) -> None:
    """All figures as JSON. Raises `StoreError` where the file cannot be written."""
    try:
        write_json(path, CollapseCheck, found)
    except OSError as error:
        raise StoreError(
            f"cannot write {str(path)!r}: {error.strerror or error}. Name a file in a folder that is there and may be "
            "written to with `--json FILE`."
        ) from error


def _facts(one: Generation) -> GenerationFacts:
    return GenerationFacts(one.name, one.files, len(one.texts), one.empty, len(set(one.texts)))


def _embedded(
    batches: Sequence[tuple[str, ...]],
    later: Sequence[tuple[str, ...]],
    real: tuple[str, ...],
    embed: Embedder,
    progress: Progress,
) -> tuple[list[Items], list[Items], NDArray[np.float32] | None]:
    """Generation 0's batches, the later generations, and the anchors' vectors (None without anchors)."""
    sets = [*batches, *later, real]
    advance = progress.stage(STAGE, sum(map(len, sets)))
    items: list[Items] = []
    for texts in sets:
        items.append(Items(texts, embed(texts)))
        advance(len(texts))
    progress.done(STAGE)
    count = len(batches)
    return items[:count], items[count:-1], items[-1].vectors if real else None


def _held_back(base: Sequence[Items]) -> tuple[list[Items], NDArray[np.float32] | None, list[str]]:
    """What is left of generation 0's batches, and the vectors held back as a reference in place of anchors."""
    import numpy as np

    positions = held_back([len(one.texts) for one in base], SEED)
    least = MIN_SET if len(base) < MIN_BATCHES else MIN_SIZE
    if sum(len(kept) for kept, _ in positions) < MIN_ANCHORS or any(len(rest) < least for _, rest in positions):
        said = (
            "There are no anchors, and generation 0 is too small to hold back a part in their place: nnR is left out."
        )
        return list(base), None, [said]
    rows = np.concatenate([one.vectors[kept] for one, (kept, _) in zip(base, positions, strict=True)])
    said = (
        f"There are no anchors, so {len(rows)} texts of generation 0 were held back to stand in for them: nnR sees "
        "what generation 0 wrote and later ones do not, and nothing of what generation 0 itself lacks. Real texts are "
        "better: `--anchors FILE`."
    )
    return [one.at(rest) for one, (_, rest) in zip(base, positions, strict=True)], rows, [said]


def _reading(one: Items, rows: NDArray[np.float32] | None, size: int, spoken: str) -> Readings:
    """What the detector reads of a later generation; nothing, and why, of one in another language."""
    now = language(one.texts)
    if other_language(now, spoken):
        return Readings((), len(one.texts), f"its texts are {now} and generation 0's are {spoken}")
    return measure(one.vectors, rows, size, SEED)
