import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import harness.seal
from harness.errors import LeakageError, StoreError
from harness.openings import looks
from harness.records import Example, Origin, Role
from harness.reports import Opening
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


def test_a_first_look_needs_nothing_and_is_recorded_before_the_items_come_out(store: Store, seal: TestSeal) -> None:
    seal.check(store, "run-a", "", {})
    opened = seal.open(store, "run-a", "decisions")
    assert opened.examples == EXAMPLES
    assert opened.looks == openings(store)
    (record,) = openings(store)
    assert (record.run, record.split, record.test, record.decision, record.count, record.reopened) == (
        "run-a",
        "split-0123456789abcdef",
        "sha-of-test",
        "decisions",
        1,
        "",
    )


def test_the_reason_of_a_first_look_is_none(store: Store, seal: TestSeal) -> None:
    seal.open(store, "run-a", "decisions", "to be on the safe side")
    assert [opening.reopened for opening in openings(store)] == [""]


def test_a_resumed_run_opens_again_without_a_second_record(store: Store, seal: TestSeal) -> None:
    seal.open(store, "run-a", "decisions")
    seal.check(store, "run-a", "", {})
    assert seal.open(store, "run-a", "decisions").examples == EXAMPLES
    assert len(openings(store)) == 1


def test_another_run_on_the_same_items_is_refused_before_it_spends_and_at_the_opening(
    store: Store, seal: TestSeal, tmp_path: Path
) -> None:
    seal.open(store, "run-a", "x")
    other = TestSeal("split-cut-in-another-way", seal.sha, tmp_path / "test.parquet")
    at = openings(store)[0].at
    with pytest.raises(LeakageError) as checked:
        other.check(store, "run-b", "", {"spec": {"seed": 1}})
    with pytest.raises(LeakageError) as opened:
        other.open(store, "run-b", "y")
    for caught in (checked, opened):
        for part in (f"run-a ({at})", "--reopen-test REASON", "data.split.seed=N", "evaluate.test=false", "on dev"):
            assert part in str(caught.value)
    assert "What it ran is not in the store" in str(checked.value)
    assert "It scored other models (x…, now y…)" in str(opened.value)
    assert len(openings(store)) == 1


def test_the_same_models_under_another_run_are_a_further_look(store: Store, seal: TestSeal) -> None:
    seal.open(store, "run-a", "x")
    with pytest.raises(LeakageError, match="The models it scored are the same"):
        seal.open(store, "run-b", "x")


def test_a_further_look_with_a_reason_is_recorded_with_it(store: Store, seal: TestSeal, tmp_path: Path) -> None:
    seal.open(store, "run-a", "x")
    TestSeal("split-of-other-items", "another-sha", tmp_path / "test.parquet").open(store, "run-c", "z")
    seal.check(store, "run-b", "compares two filters", {})
    looked = seal.open(store, "run-b", "y", "compares two filters").looks
    assert [(look.run, look.count, look.reopened) for look in looked] == [
        ("run-a", 1, ""),
        ("run-b", 2, "compares two filters"),
    ]
    assert [opening.count for opening in openings(store)] == [1, 1, 2]
    assert seal.open(store, "run-a", "x").looks == looked[:1]
    assert seal.open(store, "run-b", "y").looks == looked


def test_the_refusal_says_what_differs_from_the_last_look(store: Store, seal: TestSeal) -> None:
    before = {"spec": {"name": "a", "generate": {"shots": 5, "tone": "x\ny"}}, "versions": {"predict": 1}}
    run = store.once("run", 1, lambda folder: (folder / "report.json").write_text("{}"), inputs=before).id
    seal.open(store, run, "x")
    now = {"spec": {"name": "a", "generate": {"shots": 7}}, "versions": {"predict": 2}}
    with pytest.raises(LeakageError) as caught:
        seal.check(store, "run-b", "", now)
    assert 'Since then changed: generate.shots 5 → 7, generate.tone "x\\ny" → (none), versions.predict 1 → 2.' in str(
        caught.value
    )
    with pytest.raises(LeakageError, match="Nothing differs"):
        seal.check(store, "run-b", "", before)


def scored(store: Store, test: str, role: str = "test", name: str = "x") -> None:
    """An evaluation as `harness.scoring` leaves it."""
    scores = {"reports": {"seeds": {"role": role, "split": test}}}
    store.once(
        "evaluation",
        1,
        lambda folder: (folder / "scores.json").write_text(json.dumps(scores)),
        inputs={"role": role, "name": name},
    )


def test_a_run_after_a_suite_is_a_further_look_and_hears_that_it_was_one(store: Store, seal: TestSeal) -> None:
    seal.open(store, "suite-0123456789abcdef", "all models")
    with pytest.raises(LeakageError, match="It was a suite, which opened them for all of its variants together"):
        seal.check(store, "run-b", "", {})


def test_scores_of_a_look_that_is_not_on_record_count_as_one(store: Store, seal: TestSeal) -> None:
    scored(store, "another-sha", name="of other items")
    scored(store, seal.sha, role="dev")
    seal.check(store, "run-b", "", {})
    scored(store, seal.sha)
    with pytest.raises(LeakageError, match=r"an unknown run \(time not on record\)"):
        seal.check(store, "run-b", "", {})
    with pytest.raises(LeakageError, match=r"unknown…, now y…"):
        seal.open(store, "run-b", "y")
    looked = seal.open(store, "run-b", "y", "the record was lost").looks
    assert [(look.run, look.count, look.at == "") for look in looked] == [
        ("an unknown run", 1, True),
        ("run-b", 2, False),
    ]
    scored(store, seal.sha, name="of run-b")
    assert seal.open(store, "run-b", "y").looks == looked


def test_a_line_that_was_cut_out_leaves_its_number(store: Store, seal: TestSeal) -> None:
    for run in ("run-a", "run-b", "run-c"):
        seal.open(store, run, run, "a reason")
    path = store.root / "openings.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[1:]))
    assert [(look.run, look.count) for look in looks(store, seal.sha)] == [
        ("an unknown run", 1),
        ("run-b", 2),
        ("run-c", 3),
    ]
    with pytest.raises(LeakageError, match="run-c"):
        seal.open(store, "run-a", "run-a")


def test_a_finished_run_is_known_without_its_line_and_may_be_read_again(store: Store, seal: TestSeal) -> None:
    scored(store, seal.sha)
    report = json.dumps({"test": {"seeds": {}}, "data": {"hashes": {"test": seal.sha}}})
    first, second = (
        store.once("run", 1, lambda folder: (folder / "report.json").write_text(report), inputs={"name": name}).id
        for name in "ab"
    )
    assert {look.run for look in looks(store, seal.sha)} == {first, second}
    assert seal.open(store, first, "x").examples == EXAMPLES
    assert seal.open(store, second, "x").examples == EXAMPLES
    with pytest.raises(LeakageError):
        seal.open(store, "run-c", "x")


def test_of_several_that_open_at_once_exactly_one_is_first(
    store: Store, seal: TestSeal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is read slowly, so that without the lock all of them would find it empty."""

    def slowly(*asked: Any) -> tuple[Opening, ...]:
        found = looks(*asked)
        time.sleep(0.05)
        return found

    monkeypatch.setattr(harness.seal, "looks", slowly)

    def visit(number: int) -> bool:
        try:
            seal.open(store, f"run-{number}", f"decision {number}")
        except LeakageError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(visit, range(6))) == 1
    assert [opening.count for opening in openings(store)] == [1]


def test_decisions_changed_after_the_opening_are_a_leak(store: Store, seal: TestSeal) -> None:
    seal.open(store, "run-a", "decisions")
    for reason in ("", "a reason does not help"):
        with pytest.raises(LeakageError, match="'run-a' opened the test split"):
            seal.open(store, "run-a", "other decisions", reason)
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
