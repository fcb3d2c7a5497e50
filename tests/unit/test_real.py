import hashlib
import json
from pathlib import Path

import pytest
from fakes import HashEmbedder

from harness.errors import DataError, StoreError
from harness.real import RealData, load_real, normalise, read_split, source_digest
from harness.records import Example, Origin, Role
from harness.spec import Spec
from harness.store import Store

TOPICS = ("river", "emperor", "violin", "engine", "glacier", "poet", "harbour", "comet", "orchid", "treaty")
SIZES = {"seeds": 20, "dev": 20, "anchor": 10, "test": 30, "pool": 10}


def words(seed: int, count: int) -> str:
    return " ".join(hashlib.sha256(f"{seed}/{k}".encode()).hexdigest()[:7] for k in range(count))


def lines(count: int = 120) -> list[str]:
    return [f"{TOPICS[i % 10]} {words(i, 3 + i % 5)},{'AB'[i % 2]}" for i in range(count)]


def spec(name: str = "items.csv", sizes: dict[str, int] | None = None, **data: object) -> Spec:
    split = {**(sizes or SIZES), **data.pop("split", {})}  # type: ignore[dict-item]
    return Spec.model_validate(
        {
            "name": "t",
            "seed": 7,
            "task": {"labels": {"A": "first", "B": "second"}},
            "data": {"source": {"kind": "file", "path": name}, "split": split, **data},
        }
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def load(
    folder: Path, store: Store, content: str | bytes | None = None, name: str = "items.csv", **data: object
) -> RealData:
    text = "\n".join(["text,label", *lines()]) if content is None else content
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_real(spec(name, **data), folder, store, HashEmbedder())


def everything(data: RealData, store: Store) -> dict[Role, tuple[Example, ...]]:
    return {**data.examples, Role.TEST: data.test.open(store, "run-t", "d").examples}


def test_every_role_is_there_but_test_which_is_sealed(tmp_path: Path, store: Store) -> None:
    data = load(tmp_path, store)
    assert data.info.sizes == SIZES
    assert {role: len(examples) for role, examples in data.examples.items()} == {
        role: size for role, size in SIZES.items() if role != "test"
    }
    assert not (store.root / "openings.jsonl").exists()
    assert len(data.test.open(store, "run-t", "d").examples) == 30
    assert data.info.id == data.artefact.id
    assert data.info.labels[Role.SEEDS] == {"A": 10, "B": 10}


def test_nothing_that_data_prints_shows_test_items(tmp_path: Path, store: Store) -> None:
    data = load(tmp_path, store)
    hidden = data.test.open(store, "run-t", "d").examples
    shown = repr(data) + repr(data.guard())
    assert not any(example.text in shown for example in hidden)


def test_the_guard_gives_dev_anchor_and_test_and_no_seeds(tmp_path: Path, store: Store) -> None:
    data = load(tmp_path, store)
    found = list(data.guard().pairs())
    assert {role for role, _, _ in found} == {Role.DEV, Role.ANCHOR, Role.TEST}
    assert len(found) == 60
    assert not {text for _, _, text in found} & {example.text for example in data.examples[Role.SEEDS]}


def test_the_same_source_and_spec_give_the_same_bytes(tmp_path: Path) -> None:
    folders: list[dict[str, bytes]] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        data = load(tmp_path / name, Store(tmp_path / name / "store"))
        folders.append({path.name: path.read_bytes() for path in data.artefact.path.iterdir()})
    assert folders[0] == folders[1]


def test_a_split_is_made_once(tmp_path: Path, store: Store) -> None:
    first = load(tmp_path, store)
    embedder = HashEmbedder()
    again = load_real(spec(), tmp_path, store, embedder)
    assert embedder.calls == 0
    assert (first.artefact.built, again.artefact.built) == (True, False)
    assert (again.info, again.examples, again.slicer, again.warnings) == (
        first.info,
        first.examples,
        first.slicer,
        first.warnings,
    )


def test_what_the_seed_and_the_content_change(tmp_path: Path, store: Store) -> None:
    base = load(tmp_path, store)
    other_seed = load(tmp_path, store, split={"seed": 8})
    assert other_seed.info.hashes[Role.TEST] != base.info.hashes[Role.TEST]
    same_seed = load(tmp_path, store, split={"seed": 7})
    assert same_seed.artefact.id == base.artefact.id
    other_slices = load(tmp_path, store, slices={"length": False})
    assert other_slices.artefact.id != base.artefact.id
    assert other_slices.info.hashes == base.info.hashes
    moved = load(tmp_path, store, name="renamed.csv")
    assert moved.artefact.id == base.artefact.id


def test_a_changed_label_changes_the_hash_of_its_role(tmp_path: Path, store: Store) -> None:
    base = load(tmp_path, store)
    changed = base.examples[Role.DEV][0]
    rows = [
        f"{changed.text},{'B' if changed.label == 'A' else 'A'}" if line.startswith(changed.text) else line
        for line in lines()
    ]
    other = load(tmp_path, store, "\n".join(["text,label", *rows]))
    roles = {role for role in Role if other.info.hashes[role] != base.info.hashes[role]}
    assert Role.DEV in roles
    assert Role.TEST not in roles


def test_near_duplicates_and_sources_never_straddle(tmp_path: Path, store: Store) -> None:
    rows = [
        json.dumps({"text": f"{words(i, 6)}{tail}", "label": "AB"[i % 2], "author": f"a{i // 2}"})
        for i in range(100)
        for tail in ("", " ok")
    ]
    data = load(
        tmp_path, store, "\n".join(rows), name="items.jsonl", columns={"group": "author"}, split={"near_duplicate": 0.9}
    )
    owners: dict[str, set[Role]] = {}
    for role, examples in everything(data, store).items():
        for example in examples:
            owners.setdefault(example.text.removesuffix(" ok"), set()).add(role)
    assert all(len(roles) == 1 for roles in owners.values())
    seeds = [example.text.removesuffix(" ok") for example in data.examples[Role.SEEDS]]
    assert len(seeds) == len(set(seeds))
    assert data.info.dropped["near duplicate or group-mate of a seed"] == 20


def test_a_row_that_stands_in_the_file_twice_cannot_be_seed_and_test(tmp_path: Path, store: Store) -> None:
    doubled = [line for line in lines() for _ in range(2)]
    data = load(
        tmp_path, store, "\n".join(["text,label", *(row.upper() if i % 2 else row for i, row in enumerate(doubled))])
    )
    keys = [normalise(example.text) for examples in everything(data, store).values() for example in examples]
    assert len(keys) == len(set(keys)) == 90
    assert data.info.dropped["exact duplicate"] == 120


def test_examples_carry_their_slices(tmp_path: Path, store: Store) -> None:
    rows = [f"{line},{'x' if i % 3 else ''}" for i, line in enumerate(lines())]
    data = load(tmp_path, store, "\n".join(["text,label,kind", *rows]), slices={"columns": ["kind"]})
    example = data.examples[Role.DEV][0]
    assert example.origin is Origin.REAL
    assert list(example.slices) == ["label", "kind", "length", "first_word", "cluster"]
    assert example.slices["label"] == example.label
    assert example.slices["kind"] in ("x", "(none)")
    assert {"length": example.slices["length"], "first_word": example.slices["first_word"]} == data.slicer(example.text)


def test_clusters_are_learnt_from_seeds_and_cut_every_role(tmp_path: Path, store: Store) -> None:
    data = load(tmp_path, store)
    names = [one.name for one in data.clusters.found]
    assert names == [f"c{number}" for number in range(1, len(names) + 1)]
    assert 4 <= len(names) <= 8
    seeds = {example.text for example in data.examples[Role.SEEDS]}
    assert {text for one in data.clusters.found for text in one.typical} <= seeds
    assert sum(one.size for one in data.clusters.found) == 20
    for examples in everything(data, store).values():
        found = data.clusters.assign(HashEmbedder()([example.text for example in examples]))
        assert [example.slices["cluster"] for example in examples] == found
    assert read_split(data.artefact).clusters == data.clusters


def test_without_clusters_there_is_no_such_slice(tmp_path: Path, store: Store) -> None:
    data = load(tmp_path, store, slices={"clusters": 0})
    assert data.clusters.found == ()
    assert all("cluster" not in example.slices for examples in data.examples.values() for example in examples)


def test_a_column_called_cluster_needs_the_clusters_off(tmp_path: Path, store: Store) -> None:
    content = "\n".join(["text,label,cluster", *(f"{line},mine" for line in lines())])
    with pytest.raises(DataError, match=r"'cluster' is the name of a slice.*or set data\.slices\.clusters: 0"):
        load(tmp_path, store, content, slices={"columns": ["cluster"]})
    data = load(tmp_path, store, content, slices={"columns": ["cluster"], "clusters": 0})
    assert {example.slices["cluster"] for example in data.examples[Role.DEV]} == {"mine"}


def test_who_tags_the_cells_is_no_part_of_the_split(tmp_path: Path, store: Store) -> None:
    base = load(tmp_path, store)
    assert load(tmp_path, store, slices={"cells": "off"}).artefact.id == base.artefact.id
    assert load(tmp_path, store, slices={"clusters": 5}).artefact.id != base.artefact.id


def test_the_digest_needs_no_library_and_changes_with_the_content(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("text,label\n")
    one = source_digest(spec(), tmp_path)
    (tmp_path / "items.csv").write_text("text,label\na,A\n")
    assert source_digest(spec(), tmp_path) != one


def test_the_digest_of_a_saved_folder_changes_with_any_file(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "a").write_text("1")
    given = spec().model_copy(
        update={"data": spec().data.model_validate({"source": {"kind": "datasets", "path": "saved"}})}
    )
    one = source_digest(given, tmp_path)
    (folder / "b").write_text("")
    assert source_digest(given, tmp_path) != one
    with pytest.raises(DataError, match="there is no folder"):
        source_digest(given, tmp_path / "elsewhere")


def test_the_digest_of_packaged_and_hub_sources() -> None:
    def digest(**source: str) -> str:
        given = spec().data.model_validate({"source": source})
        return source_digest(spec().model_copy(update={"data": given}), Path())

    found = [
        digest(kind="packaged", name="trec"),
        digest(kind="packaged", name="sentiment"),
        digest(kind="hub", name="some/set"),
        digest(kind="hub", name="some/set", revision="v2"),
    ]
    assert len(set(found)) == 4


def test_a_damaged_split_says_what_to_do(tmp_path: Path, store: Store) -> None:
    data = load(tmp_path, store)
    (data.artefact.path / "info.json").write_text("{}")
    with pytest.raises(StoreError, match="is damaged"):
        read_split(data.artefact)


def test_bom_and_crlf_make_no_difference(tmp_path: Path, store: Store) -> None:
    plain = load(tmp_path, store)
    windows = load(tmp_path, store, b"\xef\xbb\xbf" + "\r\n".join(["text,label", *lines()]).encode())
    assert windows.info.hashes == plain.info.hashes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("txt,label\na,A\n", r"no column 'text'.*Did you mean 'txt'"),
        ("", "the file is empty"),
        ("text,label\n", "there are no rows"),
        ("\n".join(["text,label", *lines(), "x,C"]), r"does not name: 'C' in line 122\. Allowed: A, B"),
        ("text,label\na,A\nb,A\n", "only the label 'A'"),
        ("\n".join(["text,label", *lines(40)]), "asks for 90 items .* but the data has 40 distinct ones"),
        ("\n".join(["text,label", *lines(), f"{'x ' * 500_000},A"]), r"longer than 100,000 characters \(line 122\)"),
        ("\n".join(["text,label", '"Who,A', *lines(), '5",B']), r"items\.csv:2: a double quote opens a cell here"),
        ("text,label\nf\xfcr,A\n".encode("latin-1"), r"items\.csv:2: byte 0xfc at offset 12 is not UTF-8"),
    ],
    ids=[
        "misspelt column",
        "empty file",
        "header only",
        "unknown label",
        "one class",
        "too few rows",
        "1 MB in a cell",
        "dangling quote",
        "not UTF-8",
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing_behind(
    tmp_path: Path, store: Store, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, store, content)
    assert list(store.ids()) == []


def test_duplicate_ids_are_listed(tmp_path: Path, store: Store) -> None:
    rows = [f"{line},{i % 119}" for i, line in enumerate(lines())]
    with pytest.raises(DataError, match=r"ids that occur twice: '0' in lines 2, 121"):
        load(tmp_path, store, "\n".join(["text,label,id", *rows]), columns={"id": "id"})


def test_what_was_left_out_is_counted_and_told(tmp_path: Path, store: Store) -> None:
    extra = [",A", "x y z,", "What now,A", "what now,B"]
    data = load(tmp_path, store, "\n".join(["text,label", *lines(), *extra]))
    assert data.info.dropped == {
        "empty text": 1,
        "empty label": 1,
        "two labels for one text": 2,
        "not needed for the sizes asked for": 30,
    }
    first = len(lines()) + 4
    said = f"items.csv: 2 rows left out: two labels for one text (lines {first}, {first + 1})."
    assert said in data.warnings
