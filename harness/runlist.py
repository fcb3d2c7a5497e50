"""The runs of a store, and what was begun in it and not finished."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from harness.llm.cache import CALLS_FILE
from harness.openings import SUITE
from harness.plaintext import one_line
from harness.provenance import Node, Shelf, make_node
from harness.records import Cost
from harness.seal import openings
from harness.spec import Budget
from harness.store import PART, Store
from harness.summaries import best_dev, headline_on_test


@dataclass(frozen=True, slots=True)
class RunLine:
    """A finished run; `damaged` names its files with wrong bytes, and what cannot be read of them is empty."""

    id: str
    name: str
    seed: int | None
    rounds: int
    stop: str
    best_dev: str
    test: str
    started: str
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Finished runs, oldest first, and sentences about the rest. All text is printable."""

    runs: tuple[RunLine, ...]
    unfinished: tuple[str, ...]


def listing(store: Store) -> Listing:
    """What `harness show` prints without an id. Raises `StoreError` where the record of test openings is damaged."""
    shelf = Shelf(store)
    lines = [_line(shelf, ident) for ident in shelf.runs]
    lines += [
        RunLine(ident, "", None, 0, "", "", "its report cannot be read", "", shelf.damaged(ident))
        for ident in store.ids("run")
        if ident not in shelf.runs
    ]
    return Listing(tuple(lines), tuple(_unfinished(shelf)))


def runs(store: Store) -> Node:
    """The listing as a tree: the store, its runs as children, what is unfinished as facts."""
    found = listing(store)
    return make_node(
        str(store.root),
        "store",
        f"{len(found.runs)} finished run(s)",
        facts=[("unfinished", sentence) for sentence in found.unfinished],
        children=[_run_node(line) for line in found.runs],
    )


def _run_node(line: RunLine) -> Node:
    if line.seed is None:
        return replace(make_node(line.id, "run", line.test), damaged=line.damaged)
    facts = [("best dev", line.best_dev), ("test", line.test), ("started", line.started)]
    words = f"{line.name}, seed {line.seed}: {line.rounds} round(s), ended by: {line.stop}"
    return replace(make_node(line.id, "run", words, facts=facts), damaged=line.damaged)


def _line(shelf: Shelf, ident: str) -> RunLine:
    report = shelf.runs[ident]
    return RunLine(
        ident,
        one_line(report.name),
        report.seed,
        len(report.rounds),
        one_line(report.stop),
        best_dev(report),
        headline_on_test(report),
        one_line(report.started),
        shelf.damaged(ident),
    )


def _unfinished(shelf: Shelf) -> list[str]:
    store = shelf.store
    finished = set(store.ids("run"))
    finished |= {_scope(shelf, ident) for ident in finished}
    spent = {scope: cost for scope, cost in ledger(store.root / CALLS_FILE).items() if scope.startswith("run-")}
    opened = {opening.run for opening in openings(store) if not opening.run.startswith(SUITE)}
    out = [
        _begun(ident, spent.get(ident), opened=ident in opened) for ident in sorted((spent.keys() | opened) - finished)
    ]
    orphans = Counter(
        ident.rsplit("-", 1)[0] for ident in store.ids() if ident not in finished and not shelf.runs_of(ident)
    )
    if orphans:
        counts = ", ".join(f"{count} {stage}" for stage, count in sorted(orphans.items()))
        out.append(f"Artefacts of no finished run: {counts}. A run that needs them finds them.")
    halves = sum(1 for _ in (store.root / "artefacts").glob(f"*/{PART}*"))
    if halves:
        out.append(f"{halves} half-written artefact(s): a run is going on, or was killed.")
    return out


def _scope(shelf: Shelf, ident: str) -> str:
    """The id under which a finished run's spending is counted: its own without its budget (`loop.run`)."""
    manifest = shelf.manifest(ident)
    if manifest is None or "spec" not in manifest.inputs:
        return ident
    spec = {**manifest.inputs["spec"], "budget": Budget().model_dump(mode="json")}
    return Store.id_of("run", manifest.version, {**manifest.inputs, "spec": spec}, {}, manifest.seed)[0]


def _begun(ident: str, cost: Cost | None, *, opened: bool) -> str:
    spent = cost or Cost()
    tokens = spent.prompt_tokens + spent.completion_tokens
    test = " It has opened the test split." if opened else ""
    return one_line(
        f"{ident} is not finished: {spent.calls:,} calls, {tokens:,} tokens and ${spent.usd:.4f} spent.{test} "
        "The command that began it goes on from there.",
        400,
    )


def ledger(path: Path) -> dict[str, Cost]:
    """Scope → what was spent, read without writing to the call cache; empty where there is none that can be read."""
    if not path.exists():
        return {}
    query = "SELECT scope, calls, failed, prompt_tokens, completion_tokens, usd FROM ledger ORDER BY scope"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)) as db:
            rows = db.execute(query).fetchall()
    except sqlite3.Error:
        return {}
    return {
        row[0]: Cost(calls=row[1], failed=row[2], prompt_tokens=row[3], completion_tokens=row[4], usd=row[5])
        for row in rows
    }
