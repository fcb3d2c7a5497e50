from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness.errors import StoreError
from harness.records import Candidate, Decision, Estimate, EvalReport, Example, Origin, Role, SliceScore, Verdict
from harness.store import (
    MANIFEST,
    Artefact,
    Manifest,
    Store,
    canonical,
    digest,
    file_digest,
    read_json,
    read_lines,
    write_json,
    write_lines,
)

INPUTS = {"rank": 16, "labels": {"b": "second", "a": "first"}, "rate": 2e-3, "none": None, "text": "Größe"}


def fill(folder: Path) -> None:
    (folder / "rows.txt").write_text("one\ntwo\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "more.bin").write_bytes(b"\0\1")


def build(store: Store, stage: str = "dataset", **inputs: object) -> Artefact:
    return store.once(stage, 1, fill, inputs=inputs or INPUTS, parents={"split": "split-0"}, seed=7)


def run(code: str, *arguments: str, seed: str = "0") -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own that imports this harness."""
    root = str(Path(harness.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def test_an_artefact_is_built_once(tmp_path: Path):
    store = Store(tmp_path)
    first = build(store)
    assert first.built
    assert (first / "rows.txt").read_text() == "one\ntwo\n"

    def never(folder: Path) -> None:
        raise AssertionError("built twice")

    again = Store(tmp_path).once("dataset", 1, never, inputs=INPUTS, parents={"split": "split-0"}, seed=7)
    assert again == Artefact(first.id, first.path, built=False)
    assert store.find(first.id) == again


def test_the_manifest_says_what_it_is_made_of(tmp_path: Path):
    store = Store(tmp_path)
    made = build(store)
    manifest = store.manifest(made.id)
    assert manifest.id == made.id == f"dataset-{manifest.key[:16]}"
    assert (manifest.stage, manifest.version, manifest.seed) == ("dataset", 1, 7)
    assert (manifest.inputs, manifest.parents) == (INPUTS, {"split": "split-0"})
    assert manifest.files == {name: file_digest(made / name) for name in ("deep/more.bin", "rows.txt")}
    assert Store.id_of("dataset", 1, manifest.inputs, manifest.parents, 7) == (manifest.id, manifest.key)


@pytest.mark.parametrize(
    "other",
    [
        ("train", 1, INPUTS, {}, 0),
        ("dataset", 2, INPUTS, {}, 0),
        ("dataset", 1, {**INPUTS, "rank": 17}, {}, 0),
        ("dataset", 1, {**INPUTS, "rank": None}, {}, 0),
        ("dataset", 1, INPUTS, {"split": "split-0"}, 0),
        ("dataset", 1, INPUTS, {}, 1),
        ("dataset", 1, INPUTS, {}, None),
    ],
)
def test_whatever_can_change_the_content_changes_the_id(other: tuple[str, int, dict[str, object], dict[str, str], int]):
    assert Store.id_of(*other)[0] != Store.id_of("dataset", 1, INPUTS, {}, 0)[0]


def test_the_order_in_which_keys_were_written_does_not():
    shuffled = dict(reversed(list(INPUTS.items())))
    assert Store.id_of("dataset", 1, shuffled, {}, 0) == Store.id_of("dataset", 1, INPUTS, {}, 0)


def test_ids_and_manifest_bytes_are_the_same_in_every_process(tmp_path: Path):
    code = """
        import sys
        from pathlib import Path
        from harness.store import Store, file_digest
        inputs = {name: {"weight": len(name)} for name in {"alpha", "beta", "gamma", "delta"}}
        made = Store(Path(sys.argv[1])).once(
            "plan", 3, lambda folder: [(folder / name).write_text(name) for name in inputs], inputs=inputs, seed=1)
        print(made.id)
    """
    seen: set[str] = set()
    for seed in ("0", "1", "12345"):
        done = run(code, str(tmp_path / seed), seed=seed)
        assert done.returncode == 0, done.stderr
        manifest = read_json(tmp_path / seed / "artefacts" / "plan" / done.stdout.strip() / MANIFEST, Manifest)
        seen.add(f"{done.stdout.strip()} {manifest.key} {list(manifest.files)}")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        ("while building", "(folder / 'rows.txt').write_text('one'); os.kill(os.getpid(), signal.SIGKILL)"),
        ("before the rename", "Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"),
    ],
)
def test_a_kill_leaves_no_artefact_and_the_next_run_builds_it(tmp_path: Path, moment: str, code: str):
    script = f"""
        import os, signal, sys
        from pathlib import Path
        from harness.store import Store
        def build(folder):
            {code}
        Store(Path(sys.argv[1])).once("dataset", 1, build, inputs={{"moment": "{moment}"}})
    """
    earlier = build(Store(tmp_path))
    assert run(script, str(tmp_path)).returncode == -9
    store = Store(tmp_path)
    ident = Store.id_of("dataset", 1, {"moment": moment}, {}, None)[0]
    assert list(store.ids()) == [earlier.id]
    with pytest.raises(StoreError, match=f"no artefact '{ident}'"):
        store.find(ident)
    assert store.damaged(earlier.id) == []
    made = store.once("dataset", 1, fill, inputs={"moment": moment})
    assert (made.built, made.id) == (True, ident)
    assert sorted(store.ids()) == sorted([earlier.id, ident])


def test_a_build_that_fails_leaves_nothing(tmp_path: Path):
    store = Store(tmp_path)

    def fails(folder: Path) -> None:
        fill(folder)
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        store.once("dataset", 1, fails, inputs=INPUTS)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list((tmp_path / "artefacts" / "dataset").iterdir()) == []


def test_a_full_disk_is_said_and_costs_nothing_that_was_finished(tmp_path: Path):
    earlier = build(Store(tmp_path))
    code = """
        import resource, sys
        from pathlib import Path
        from harness.errors import StoreError
        from harness.store import Store
        store = Store(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            store.once("train", 1, lambda folder: (folder / "weights").write_bytes(b"x" * 100_000), inputs={})
        except StoreError as error:
            print(error)
    """
    done = run(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "cannot write train-" in done.stdout
    assert "Nothing that was finished is lost" in done.stdout
    assert "--set runtime.store=DIR" in done.stdout
    store = Store(tmp_path)
    assert list(store.ids()) == [earlier.id]
    assert store.damaged(earlier.id) == []
    assert list((tmp_path / "artefacts" / "train").iterdir()) == []


@pytest.mark.parametrize("spoil", ["change", "append", "delete"])
def test_damaged_files_are_noticed(tmp_path: Path, spoil: str):
    store = Store(tmp_path)
    made = build(store)
    assert store.damaged(made.id) == []
    path = made / "deep/more.bin"
    if spoil == "delete":
        path.unlink()
    else:
        path.write_bytes(b"\0\2" if spoil == "change" else b"\0\1\0")
    assert store.damaged(made.id) == ["deep/more.bin"]


def test_an_artefact_is_found_by_the_beginning_of_its_id(tmp_path: Path):
    store = Store(tmp_path)
    made = [build(store, n=n) for n in range(40)]
    shortest = made[0].id
    assert store.find(shortest[:-2]).id == shortest
    with pytest.raises(StoreError, match=r"no artefact 'dataset-'.*It is the beginning of 40 ids: \['dataset-"):
        store.find("dataset-")


def test_what_is_not_found_is_told_with_what_there_is(tmp_path: Path):
    store = Store(tmp_path)
    build(store)
    build(store, stage="report")
    with pytest.raises(StoreError) as caught:
        store.find("model-0123")
    assert str(caught.value) == (
        f"no artefact 'model-0123' in {str(tmp_path)!r}. Stages in it: ['dataset', 'report']. "
        "`harness show` lists the runs."
    )


@pytest.mark.parametrize(
    "ident", ["", "..", "../../etc", "a/b", "/etc/passwd", "a.b", "dataset-*", "a\0b", "dataset-[0-9]"]
)
def test_ids_that_would_leave_the_store_are_refused(tmp_path: Path, ident: str):
    store = Store(tmp_path / "store")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / MANIFEST).write_text("{}")
    for ask in (store.find, store.manifest, store.damaged):
        with pytest.raises(StoreError, match="is no artefact id; ids look like"):
            ask(ident)


def test_stages_that_would_leave_the_store_are_refused(tmp_path: Path):
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError, match="is no artefact id"):
        store.once("../out", 1, fill, inputs={})
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_ids_are_sorted_and_of_one_stage_if_asked(tmp_path: Path):
    store = Store(tmp_path)
    datasets = sorted(build(store, n=n).id for n in range(5))
    report = build(store, stage="report").id
    assert list(store.ids("dataset")) == datasets
    assert list(store.ids()) == [*datasets, report]
    assert list(store.ids("none")) == []


def test_a_store_that_cannot_be_made_says_how_to_choose_another(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot create the store .*--set runtime\.store=DIR"):
        Store(tmp_path / "file" / "store")


def test_artefacts_are_readable_by_their_owner_only(tmp_path: Path):
    made = build(Store(tmp_path / "store"))
    assert made.path.stat().st_mode & 0o077 == 0


def test_canonical_json_refuses_what_json_has_no_word_for():
    assert canonical({"b": 1, "a": [2.0, None, "ü"]}) == '{"a":[2.0,null,"ü"],"b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))
    with pytest.raises(TypeError):
        canonical({1, 2})
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_file_digest_is_that_of_the_bytes(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_nested_records_are_read_back_as_they_were(tmp_path: Path):
    estimate = Estimate(0.8, 0.75, 0.85, 200, "wilson")
    open_answer = Estimate(None, None, None, 0, "none", "insufficient")
    report = EvalReport(
        arm="mixed",
        role=Role.DEV,
        split="split-0",
        model="train-0",
        n=3,
        n_ok=2,
        n_unparsable=1,
        n_error=0,
        accuracy=estimate,
        macro_f1=open_answer,
        slices=(SliceScore("label=A", 2, 2, 0, 0, 1.0, 0.34, 1.0),),
        confusion={"A": {"A": 1, "": 1}, "B": {"A": 1}},
    )
    path = tmp_path / "report.json"
    write_json(path, EvalReport, report)
    assert read_json(path, EvalReport) == report
    assert json.loads(path.read_bytes())["role"] == "dev"
    first = path.read_bytes()
    write_json(path, EvalReport, read_json(path, EvalReport))
    assert path.read_bytes() == first


def test_an_empty_list_of_records(tmp_path: Path):
    write_lines(tmp_path / "x", Verdict, [])
    assert read_lines(tmp_path / "x", Verdict) == []


texts = st.text() | st.sampled_from(["\r\n", "a\u2028b", "\x85", '"', "\\", "\0", "\x1c"])


@given(st.lists(st.tuples(texts, st.none() | st.floats(0, 1), st.sampled_from(Decision)), max_size=5))
def test_one_record_a_line_whatever_its_text(tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple]):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    verdicts = [
        Verdict(text, "judge", 1, decision, reason=text, score=score, label=text) for text, score, decision in drawn
    ]
    write_lines(path, Verdict, verdicts)
    assert read_lines(path, Verdict) == verdicts
    assert path.read_bytes().count(b"\n") == len(verdicts)
    candidates = [
        Candidate(
            "c", "label=A", Example("c", text, "A", {"k": text}, Origin.SYNTHETIC), 1, 0, "key", 3, shots=("a", text)
        )
        for text, _, _ in drawn
    ]
    write_lines(path, Candidate, candidates)
    assert read_lines(path, Candidate) == candidates


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Error while serializing: I/O error: File too large (os error 27)", StoreError),
        ("Error while serializing: I/O error: No such file or directory (os error 2)", RuntimeError),
        ("invalid header", RuntimeError),
    ],
)
def test_a_full_disk_that_only_words_tell_of_is_one_too(tmp_path: Path, said: str, expected: type[Exception]) -> None:
    def build(folder: Path) -> None:
        # As safetensors says it, whose own exception is no OSError.
        raise RuntimeError(said)

    words = "cannot write adapter-.*File too large" if expected is StoreError else re.escape(said)
    with pytest.raises(expected, match=words):
        Store(tmp_path).once("adapter", 1, build, inputs={})
