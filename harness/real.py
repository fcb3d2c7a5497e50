"""Real data: load, clean, group, split, seal.

`load_real` is the way in. What comes out knows its roles: seeds, dev, anchor and pool as examples, test behind a seal,
and all held-out texts once more behind `guard()` for the leakage filter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from harness.clean import Item, clean
from harness.clusters import Clusters, fit
from harness.embed import Embedder
from harness.errors import StoreError
from harness.grouping import group
from harness.packaged import SOURCES, read_packaged
from harness.records import Example, Origin, Role
from harness.reports import SplitInfo
from harness.seal import HeldOutTexts, Opened, Opening, TestSeal, openings, read_examples, role_file, write_examples
from harness.spec import FileSource, HubSource, PackagedSource, SavedSource, Spec
from harness.split import draw
from harness.store import Artefact, Store, digest, file_digest, read_json, write_json
from harness.tables import Table, existing, read_file, read_hub, read_saved
from harness.texts import Slicer, first_word, normalise, word_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Clusters",
    "HeldOutTexts",
    "Opened",
    "Opening",
    "RealData",
    "Slicer",
    "TestSeal",
    "first_word",
    "load_real",
    "normalise",
    "openings",
    "read_split",
    "real_texts",
    "source_digest",
    "word_count",
]

STAGE = "split"
VERSION = 2
ANSWER_FORM = 2
"""Version of what `eval.answers` calls the same; only tasks of answers are split by it."""
INFO, WARNINGS, SLICER, CLUSTERS = "info.json", "warnings.json", "slicer.json", "clusters.json"


class Tagger(Protocol):
    """Gives examples more slices; see `harness.cells`. `weak` names those that are guesses."""

    @property
    def weak(self) -> frozenset[str]: ...

    def __call__(self, examples: Sequence[Example]) -> tuple[Example, ...]: ...


@dataclass(frozen=True, slots=True)
class RealData:
    """The split. `examples` has every role but test, sorted by id; `slicer` and `clusters` cut synthetic texts as real
    ones were. `tagger` is there once the matrix's dimensions are slices too (`harness.decisions.with_cells`)."""

    info: SplitInfo
    examples: Mapping[Role, tuple[Example, ...]]
    test: TestSeal
    slicer: Slicer
    clusters: Clusters
    warnings: tuple[str, ...]
    artefact: Artefact
    tagger: Tagger | None = None

    def tagged(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Real examples that were read later (an opened test split) with the same slices as the other roles."""
        return self.tagger(examples) if self.tagger else tuple(examples)

    def guard(self) -> HeldOutTexts:
        """Dev, anchor and test texts for the leakage filter, and for nothing else."""
        return HeldOutTexts(self.artefact.path)


def source_digest(spec: Spec, base: Path) -> str:
    """sha256 that changes with the source's content; `base` is the folder of the YAML file. Raises `DataError`.

    Files and saved folders are hashed byte for byte. Packaged sets have the hash that the catalogue demands, and a hub
    source is known by its name and revision only.
    """
    source = spec.data.source
    match source:
        case PackagedSource():
            return SOURCES[source.name].digest
        case FileSource():
            return file_digest(existing(source.path, base, folder=False))
        case SavedSource():
            folder = existing(source.path, base, folder=True)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            return digest({path.relative_to(folder).as_posix(): file_digest(path) for path in files})
        case HubSource():
            return digest(source.model_dump(mode="json"))


def load_real(spec: Spec, base: Path, store: Store, embedder: Embedder) -> RealData:
    """Load and split the real data of a spec, or find the split that the same source and spec gave before.

    `base` is the folder of the YAML file, where relative paths start. Raises `DataError` (all problems with the rows at
    once; too few items), `MissingPackageError`, `StoreError`.
    """
    seed = spec.seed if spec.data.split.seed is None else spec.data.split.seed
    # Where the file lies cannot change the split; what is in it can, and is in the digest. Tags are made afterwards.
    data = spec.data.model_dump(mode="json", exclude={"source": {"path"}, "split": {"seed"}, "slices": {"cells"}})
    inputs = {
        "data": data,
        "labels": sorted(spec.task.labels),
        **_answer_inputs(spec),
        "source": source_digest(spec, base),
        "embedder": embedder.id,
    }
    ident, _ = Store.id_of(STAGE, VERSION, inputs, {}, seed)

    def build(folder: Path) -> None:
        cleaned = clean(_read(spec, base), spec)
        vectors = embedder([item.text for item in cleaned.items])
        values = [item.group for item in cleaned.items]
        drawn = draw(cleaned.items, group(vectors, spec.data.split.near_duplicate, values), spec.data.split, seed)
        dropped = {reason: count for reason, count in {**cleaned.dropped, **drawn.dropped}.items() if count}
        slicer, clusters = _learn(cleaned.items, drawn.roles[Role.SEEDS], vectors, spec, seed)
        sliced = _sliced(cleaned.items, vectors, slicer, clusters)
        roles = {
            role: tuple(sorted((sliced[i] for i in drawn.roles[role]), key=lambda example: example.id)) for role in Role
        }
        _write(folder, ident, roles, dropped, spec)
        write_json(folder / SLICER, Slicer, slicer)
        write_json(folder / CLUSTERS, Clusters, clusters)
        write_json(folder / WARNINGS, tuple[str, ...], (*cleaned.warnings, *drawn.warnings))

    return read_split(store.once(STAGE, VERSION, build, inputs=inputs, seed=seed))


def real_texts(spec: Spec, base: Path) -> list[str]:
    """The texts that `load_real` embeds. Raises its errors."""
    return [item.text for item in clean(_read(spec, base), spec).items]


def _answer_inputs(spec: Spec) -> dict[str, object]:
    """What of the answer's rule decides on rows and their labels; nothing for a task of labels."""
    rule = spec.task.answer
    if rule is None:
        return {}
    shape = rule.model_dump(mode="json", exclude={"about", "noun"})
    return {"answer": shape, "kinds": list(spec.task.labels), "form": ANSWER_FORM}


def read_split(artefact: Artefact) -> RealData:
    """The split that an artefact holds. Raises `StoreError` for damaged files."""
    try:
        info = read_json(artefact / INFO, SplitInfo)
        warnings = read_json(artefact / WARNINGS, tuple[str, ...])
        slicer = read_json(artefact / SLICER, Slicer)
        clusters = read_json(artefact / CLUSTERS, Clusters)
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"{artefact.id} is damaged: {error}. Delete {str(artefact.path)!r}, then run the same command again."
        ) from error
    examples = {role: read_examples(artefact / role_file(role)) for role in Role if role is not Role.TEST}
    seal = TestSeal(artefact.id, info.hashes[Role.TEST], artefact / role_file(Role.TEST))
    return RealData(info, examples, seal, slicer, clusters, warnings, artefact)


def _read(spec: Spec, base: Path) -> Table:
    source = spec.data.source
    match source:
        case PackagedSource():
            return read_packaged(source.name)
        case FileSource():
            return read_file(source, base)
        case SavedSource():
            return read_saved(source, base)
        case HubSource():
            return read_hub(source)


def _learn(
    items: Sequence[Item], seeds: Sequence[int], vectors: NDArray[np.float32], spec: Spec, seed: int
) -> tuple[Slicer, Clusters]:
    """What cuts the items, learnt from the seeds at these positions and from nothing else."""
    slices = spec.data.slices
    texts = {items[i].id: items[i].text for i in seeds}
    slicer = Slicer.learn(list(texts.values()), length=slices.length, first_words=slices.first_word)
    return slicer, fit(texts, vectors[list(seeds)], slices.clusters, seed)


def _sliced(items: Sequence[Item], vectors: NDArray[np.float32], slicer: Slicer, clusters: Clusters) -> list[Example]:
    nearest = [{"cluster": name} for name in clusters.assign(vectors)] if clusters.found else [{} for _ in items]
    return [
        Example(
            item.id,
            item.text,
            item.label,
            slicer.of(item.text, item.label, item.columns) | own,
            Origin.REAL,
            item.answer,
            item.context,
        )
        for item, own in zip(items, nearest, strict=True)
    ]


def _write(
    folder: Path, ident: str, roles: Mapping[Role, tuple[Example, ...]], dropped: Mapping[str, int], spec: Spec
) -> None:
    info = SplitInfo(
        id=ident,
        sizes={role: len(examples) for role, examples in roles.items()},
        hashes={role: content_hash(examples) for role, examples in roles.items()},
        labels={
            role: {label: Counter(example.label for example in examples)[label] for label in sorted(spec.task.labels)}
            for role, examples in roles.items()
        },
        dropped=dropped,
    )
    for role, examples in roles.items():
        write_examples(folder / role_file(role), examples)
    write_json(folder / INFO, SplitInfo, info)


def content_hash(examples: Sequence[Example]) -> str:
    """sha256 over (id, text, label, and answer and context where there are any) of the examples sorted by id: changes
    with any of them, not with the slices."""
    return digest(sorted(example.content for example in examples))
