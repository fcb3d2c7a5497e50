from pathlib import Path

import pytest

from harness.errors import LeakageError, StoreError
from harness.records import Example, Origin, Role
from harness.seal import HeldOutTexts, TestSeal, openings, read_examples, role_file, write_examples
from harness.store import Store

EXAMPLES = (
    Example("real-1", "Who wrote “Emma” ?\n", "HUM", {"label": "HUM", "length": "short (≤ 8 words)"}, Origin.REAL),
    Example("real-2", "Where ?", "LOC", {}, Origin.REAL),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def seal(tmp_path: Path) -> TestSeal:
    write_examples(tmp_path / "test.parquet", EXAMPLES)
    return TestSeal("split-0123456789abcdef", "sha-of-test", tmp_path / "test.parquet")


def test_examples_survive_the_file(tmp_path: Path) -> None:
    write_examples(tmp_path / "x.parquet", EXAMPLES)
    assert read_examples(tmp_path / "x.parquet") == EXAMPLES
    write_examples(tmp_path / "empty.parquet", ())
    assert read_examples(tmp_path / "empty.parquet") == ()


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(StoreError, match="run the same command again"):
        read_examples(tmp_path / "x.parquet")


def test_an_opening_is_recorded_before_the_items_come_out(store: Store, seal: TestSeal) -> None:
    opened = seal.open(store, "run-a", "decisions")
    assert opened.examples == EXAMPLES
    assert opened.others == 0
    (record,) = openings(store)
    assert (record.run, record.split, record.test, record.decision, record.count) == (
        "run-a",
        "split-0123456789abcdef",
        "sha-of-test",
        "decisions",
        1,
    )


def test_a_resumed_run_opens_again_without_a_second_record(store: Store, seal: TestSeal) -> None:
    seal.open(store, "run-a", "decisions")
    assert seal.open(store, "run-a", "decisions").examples == EXAMPLES
    assert len(openings(store)) == 1


def test_other_runs_that_opened_the_same_items_are_counted(store: Store, seal: TestSeal, tmp_path: Path) -> None:
    seal.open(store, "run-a", "x")
    TestSeal("split-cut-in-another-way", seal.sha, tmp_path / "test.parquet").open(store, "run-b", "y")
    TestSeal("split-of-other-items", "another-sha", tmp_path / "test.parquet").open(store, "run-c", "z")
    assert seal.open(store, "run-d", "w").others == 2
    assert [opening.count for opening in openings(store)] == [1, 2, 1, 3]


def test_decisions_changed_after_the_opening_are_a_leak(store: Store, seal: TestSeal) -> None:
    seal.open(store, "run-a", "decisions")
    with pytest.raises(LeakageError, match="'run-a' opened the test split"):
        seal.open(store, "run-a", "other decisions")
    assert len(openings(store)) == 1


def test_without_a_record_the_split_stays_closed(store: Store, seal: TestSeal) -> None:
    (store.root / "openings.jsonl").mkdir()
    with pytest.raises(StoreError, match="openings"):
        seal.open(store, "run-a", "decisions")


def test_a_damaged_record_is_an_error_and_no_fresh_start(store: Store, seal: TestSeal) -> None:
    (store.root / "openings.jsonl").write_text('{"run": "run-a"\n')
    with pytest.raises(StoreError, match="cannot read the record of test openings"):
        seal.open(store, "run-b", "decisions")


def test_held_out_texts_come_with_role_and_id_and_do_not_print(tmp_path: Path) -> None:
    for role in (Role.DEV, Role.ANCHOR, Role.TEST):
        example = Example(f"real-{role}", f"text of {role}", "A", {}, Origin.REAL)
        write_examples(tmp_path / role_file(role), (example,))
    texts = HeldOutTexts(tmp_path)
    assert list(texts.pairs()) == [
        (Role.DEV, "real-dev", "text of dev"),
        (Role.ANCHOR, "real-anchor", "text of anchor"),
        (Role.TEST, "real-test", "text of test"),
    ]
    assert repr(texts) == "HeldOutTexts()"
