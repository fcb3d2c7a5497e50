"""Real data: load, clean, group, split, seal.

`load_real` is the way in. What comes out knows its roles: seeds, dev, anchor and pool as examples, test behind a seal,
and all held-out texts once more behind `guard()` for the leakage filter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from harness.catalogue import CATALOGUE
from harness.clean import Item, clean
from harness.embed import Embedder
from harness.errors import StoreError
from harness.grouping import group
from harness.packaged import read_packaged
from harness.records import Example, Origin, Role, SplitInfo
from harness.seal import HeldOutTexts, Opened, Opening, TestSeal, openings, read_examples, role_file, write_examples
from harness.spec import FileSource, HubSource, PackagedSource, SavedSource, Spec
from harness.split import Drawn, draw
from harness.store import Artefact, Store, digest, file_digest, read_json, write_json
from harness.tables import Table, existing, read_file, read_hub, read_saved
from harness.texts import Slicer, first_word, normalise, word_count

__all__ = [
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
    "source_digest",
    "word_count",
]

STAGE = "split"
VERSION = 1
INFO, WARNINGS, SLICER = "info.json", "warnings.json", "slicer.json"


@dataclass(frozen=True, slots=True)
class RealData:
    """The split. `examples` has every role but test, sorted by id; `slicer` cuts synthetic texts as real ones were."""

    info: SplitInfo
    examples: Mapping[Role, tuple[Example, ...]]
    test: TestSeal
    slicer: Slicer
    warnings: tuple[str, ...]
    artefact: Artefact

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
            return CATALOGUE[source.name].digest
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
    # Where the file lies cannot change the split; what is in it can, and is in the digest.
    data = spec.data.model_dump(mode="json", exclude={"source": {"path"}, "split": {"seed"}})
    inputs = {
        "data": data,
        "labels": sorted(spec.task.labels),
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
        _write(folder, ident, cleaned.items, drawn, dropped, spec)
        write_json(folder / WARNINGS, tuple[str, ...], (*cleaned.warnings, *drawn.warnings))

    return read_split(store.once(STAGE, VERSION, build, inputs=inputs, seed=seed))


def read_split(artefact: Artefact) -> RealData:
    """The split that an artefact holds. Raises `StoreError` for damaged files."""
    try:
        info = read_json(artefact / INFO, SplitInfo)
        warnings = read_json(artefact / WARNINGS, tuple[str, ...])
        slicer = read_json(artefact / SLICER, Slicer)
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"{artefact.id} is damaged: {error}. Delete {str(artefact.path)!r}, then run the same command again."
        ) from error
    examples = {role: read_examples(artefact / role_file(role)) for role in Role if role is not Role.TEST}
    seal = TestSeal(artefact.id, info.hashes[Role.TEST], artefact / role_file(Role.TEST))
    return RealData(info, examples, seal, slicer, warnings, artefact)


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


def _write(
    folder: Path, ident: str, items: Sequence[Item], drawn: Drawn, dropped: Mapping[str, int], spec: Spec
) -> None:
    slices = spec.data.slices
    seeds = [items[i].text for i in drawn.roles[Role.SEEDS]]
    slicer = Slicer.learn(seeds, length=slices.length, first_words=slices.first_word)
    roles = {role: _examples(items, drawn.roles[role], slicer) for role in Role}
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
    write_json(folder / SLICER, Slicer, slicer)


def _examples(items: Sequence[Item], positions: Sequence[int], slicer: Slicer) -> tuple[Example, ...]:
    chosen = sorted((items[i] for i in positions), key=lambda item: item.id)
    return tuple(
        Example(item.id, item.text, item.label, slicer.of(item.text, item.label, item.columns), Origin.REAL)
        for item in chosen
    )


def content_hash(examples: Sequence[Example]) -> str:
    """sha256 over (id, text, label) of the examples sorted by id: changes with any of them, not with the slices."""
    return digest(sorted([example.id, example.text, example.label] for example in examples))
