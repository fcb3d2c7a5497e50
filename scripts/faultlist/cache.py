"""Rows 21 and 22: a call cache that somebody has changed, and what its keys hold."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

from endpoint import ScriptedEndpoint

from faultlist.asker import Told, Wish, ask
from faultlist.row import Options, Row

CALLS = 40
FILE = "calls.sqlite"


def _sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def _flip(path: Path, places: Sequence[float]) -> None:
    data = bytearray(path.read_bytes())
    for share in places:
        data[int(share * len(data))] ^= 0x55
    path.write_bytes(data)


POISONS: dict[str, Callable[[Path], None]] = {
    "answer replaced": lambda path: _sql(path, "UPDATE calls SET answer = replace(answer, 'answer 0', 'poison 0')"),
    "answers swapped": lambda path: _sql(
        path,
        "CREATE TABLE t AS SELECT key, lead(answer, 1, (SELECT answer FROM calls LIMIT 1)) OVER () a, "
        "lead(sha256, 1, (SELECT sha256 FROM calls LIMIT 1)) OVER () s FROM calls",
        "UPDATE calls SET answer = (SELECT a FROM t WHERE t.key = calls.key), "
        "sha256 = (SELECT s FROM t WHERE t.key = calls.key)",
        "DROP TABLE t",
    ),
    "checksum removed": lambda path: _sql(
        path, "UPDATE calls SET answer = replace(answer, 'answer', 'poison'), sha256 = ''"
    ),
    "bytes flipped": lambda path: _flip(path, [0.3, 0.5, 0.7, 0.9]),
    "header flipped": lambda path: _flip(path, [0.0]),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "other version": lambda path: _sql(path, "PRAGMA user_version = 99"),
    "other application": lambda path: _sql(path, "PRAGMA application_id = 7"),
    "table missing": lambda path: _sql(path, "DROP TABLE ledger"),
    "no database": lambda path: path.write_bytes(b"not a database at all " * 500),
}


def poisoned(options: Options) -> Sequence[Row]:
    """Row 21: the answers are known beforehand, so that a wrong one would show."""
    wrong = lost = 0
    broken: list[str] = []
    with ScriptedEndpoint() as endpoint:
        clean = options.work / "clean"
        right = ask(Wish(endpoint.url, str(clean), CALLS)).answers
        for number, (name, poison) in enumerate(POISONS.items()):
            store = options.work / f"poisoned{number}"
            shutil.copytree(clean, store)
            poison(store / FILE)
            told: Told = ask(Wish(endpoint.url, str(store), CALLS))
            bad = sum(told.answers.get(key, choices) != choices for key, choices in right.items())
            wrong += bad
            lost += CALLS - len(told.answers)
            if bad or told.error:
                broken.append(f"{name} {told.error[:80]}".strip())
    figure = f"changed answers used {wrong} of {CALLS * len(POISONS)}, calls without an answer {lost}"
    held = not (wrong or lost or broken)
    fault = f"call cache changed behind the program's back ({', '.join(POISONS)})"
    return [Row(21, fault, len(POISONS), held, figure + (f" ({'; '.join(broken)})" if broken else ""), options.seed)]


def key_fields(options: Options) -> Sequence[Row]:
    """Row 22: every field of a request, the endpoint and the model, one at a time."""
    from harness.llm.wire import Request, material
    from harness.store import digest

    plain = Request("generator", "Question:", 0.9, 40)
    chat = replace(plain, prompt=(("system", "Be kind."), ("user", "Question:")))
    place = {"base_url": "http://host/v1", "model": "a"}

    def key(request: Request, **other: str) -> str:
        return digest(material(request, {**place, **other}))

    changes: dict[str, set[str]] = {
        "prompt": {key(replace(plain, prompt="Question :")), key(chat)},
        "system": {key(replace(chat, prompt=(("system", "Be rude."), chat.prompt[1])))},
        "messages": {key(replace(chat, prompt=tuple(reversed(chat.prompt))))},
        "temperature": {key(replace(plain, temperature=0.8))},
        "max_tokens": {key(replace(plain, max_tokens=41))},
        "n": {key(replace(plain, n=2))},
        "seed": {key(replace(plain, seed=1))},
        "top_p": {key(replace(plain, top_p=0.9))},
        "min_p": {key(replace(plain, min_p=0.1))},
        "stop": {key(replace(plain, stop=("\n",)))},
        "json_schema": {key(replace(plain, json_schema={"type": "object"}))},
        "sample": {key(replace(plain, sample=1))},
        "base_url": {key(plain, base_url="http://other/v1")},
        "model": {key(plain, model="b")},
    }
    base = {key(plain), key(chat)}
    covered = [name for name, keys in changes.items() if not keys & base or name == "prompt"]
    distinct = len(base | set.union(*changes.values()))
    # `role` says who asks, not what; two roles with one request share the answer.
    left = {one.name for one in fields(Request)} - set(changes) - {"role"}
    order = digest({"a": 1, "b": [2], "c": None}) == digest({"c": None, "b": [2], "a": 1})
    held = len(covered) == len(changes) and distinct == len(changes) + 2 and not left and order
    figure = (
        f"fields that change the key {len(covered)} of {len(changes)}, not tried {len(left)}; the order of fields "
        f"{'does not' if order else 'DOES'}"
    )
    return [Row(22, "one field of a request changed", len(changes), held, figure, options.seed)]
