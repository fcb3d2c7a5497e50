"""Of any cache key, any answer and any artefact: what was written is read, and what was changed is not."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.llm.cache import CallCache
from harness.records import Cost
from harness.store import MANIFEST, Store, digest

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4)


@given(OBJECTS, st.randoms())
@settings(max_examples=50)
def test_a_key_sees_every_field_and_no_order(fields: dict[str, Any], chance: Any) -> None:
    names = list(fields)
    chance.shuffle(names)
    assert digest({name: fields[name] for name in names}) == digest(fields)
    for name in names:
        without = {other: value for other, value in fields.items() if other != name}
        assert digest(without) != digest(fields)
        assert digest({**fields, name: [fields[name]]}) != digest(fields)


@given(OBJECTS, OBJECTS)
@settings(max_examples=50)
def test_an_answer_comes_back_as_it_was(request: dict[str, Any], answer: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.sqlite"
        with CallCache(path) as cache:
            cache.put("k", request, answer, "run", Cost(calls=1))
        with CallCache(path) as cache:
            assert cache.answer_of("k") == answer
            assert cache.request_of("k") == request


@given(OBJECTS, st.sampled_from(["key", "request", "answer", "sha256"]), st.integers(0, 10**6), TEXTS)
@settings(max_examples=50)
def test_a_row_with_one_sign_changed_is_a_miss(answer: dict[str, Any], column: str, place: int, sign: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.sqlite"
        with CallCache(path) as cache:
            cache.put("k", {"a": 1}, answer, "run", Cost(calls=1))
        with closing(sqlite3.connect(path)) as database, database:
            (text,) = database.execute(f"SELECT {column} FROM calls").fetchone()  # noqa: S608
            spot = place % (len(text) + 1)
            changed = text[:spot] + sign + text[spot + 1 :]
            assume(changed != text)
            database.execute(f"UPDATE calls SET {column} = ?", (changed,))  # noqa: S608
        with CallCache(path) as cache:
            assert cache.answer_of(changed if column == "key" else "k") is None


@given(OBJECTS, st.integers(0, 2**31), st.binary(min_size=1, max_size=50), st.integers(0, 10**6))
@settings(max_examples=50)
def test_an_artefact_is_found_by_its_inputs_and_a_changed_byte_is_noticed(
    inputs: dict[str, Any], seed: int, data: bytes, place: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        made = store.once("stage", 1, lambda work: (work / "a").write_bytes(data), inputs=inputs, seed=seed)
        found = store.once("stage", 1, lambda work: (work / "b").touch(), inputs=inputs, seed=seed)
        assert (found.id, found.built) == (made.id, False)
        assert (found / "a").read_bytes() == data
        assert store.manifest(made.id).inputs == json.loads(json.dumps(inputs))
        assert store.damaged(made.id) == []
        other = store.once("stage", 1, lambda work: (work / "b").touch(), inputs={**inputs, "more": 1}, seed=seed)
        assert (other.id != made.id) == ("more" not in inputs or inputs["more"] != 1)
        spoilt = bytearray(data)
        spoilt[place % len(data)] ^= 1
        (found / "a").write_bytes(spoilt)
        assert store.damaged(made.id) == ["a"]
        assert (found / MANIFEST).exists()
