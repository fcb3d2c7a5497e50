"""Where one example comes from: a synthetic text down to its prompt, seeds and verdicts; a real one to its role.

Held-out texts are not printed: of dev, anchor, test and pool items not even the text column is read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic import ValidationError

from harness.dataset import is_held_out
from harness.errors import StoreError
from harness.llm.cache import CALLS_FILE, CallCache
from harness.provenance import Node, Shelf, artefact_tree, make_node
from harness.records import Candidate, Decision, Example, ParseFailure, Role, Verdict
from harness.seal import read_examples, role_file
from harness.store import Artefact, adapter, canonical, read_lines

Row = Candidate | ParseFailure
FILES = {"candidates.jsonl": Candidate, "failures.jsonl": ParseFailure}
REAL = "real example"
SYNTHETIC = "synthetic example"
SAMPLING = ("temperature", "top_p", "min_p", "max_tokens", "n", "seed", "sample", "stop")


@dataclass(frozen=True, slots=True)
class Judged:
    """What one sieve said of a candidate, in the filters' order."""

    artefact: str
    verdicts: tuple[Verdict, ...]

    def label(self, asked: str) -> str | None:
        """The final label; None where the candidate was dropped."""
        if any(verdict.decision is Decision.DROP for verdict in self.verdicts):
            return None
        return next((verdict.label for verdict in reversed(self.verdicts) if verdict.label), asked)

    def outcome(self, asked: str) -> str:
        """`kept as HUM`, `relabelled from NUM to HUM`, `dropped by duplicates: near duplicate`"""
        for verdict in self.verdicts:
            if verdict.decision is Decision.DROP:
                return f"dropped by {verdict.filter}: {verdict.reason}"
        label = self.label(asked)
        answer = next((verdict.answer for verdict in reversed(self.verdicts) if verdict.answer), None)
        if answer is not None:
            return f"kept as {label} with another answer: {answer}"
        return f"kept as {label}" if label == asked else f"relabelled from {asked} to {label}"


def is_example(ident: str) -> bool:
    return ident.startswith(("syn-", "real-"))


def trace(shelf: Shelf, ident: str) -> Node | None:
    """The example of this id, or of the only one that starts like it; None where there is none.

    Raises `StoreError` where the beginning fits several.
    """
    return _real(shelf, ident) if ident.startswith("real-") else _synthetic(shelf, ident)


def _only(ident: str, found: Sequence[str]) -> str | None:
    """The one id that is meant: the exact one, else the only one."""
    if ident in found or len(found) == 1:
        return ident if ident in found else found[0]
    if not found:
        return None
    raise StoreError(f"{ident!r} is the beginning of {len(found)} example ids, e.g. {sorted(found)[:5]!r}; write more.")


def _synthetic(shelf: Shelf, ident: str) -> Node | None:
    rows: defaultdict[str, list[tuple[str, Row]]] = defaultdict(list)
    for artefact in shelf.store.ids("candidates"):
        for row in _rows(shelf.store.find(artefact), ident):
            rows[row.id].append((artefact, row))
    exact = _only(ident, list(rows))
    if exact is None:
        return None
    artefact, row = rows[exact][0]
    places, seen = [place for place, _ in rows[exact]], set[str]()
    judged = _judged(shelf, exact, places)
    children: list[Node] = []
    if isinstance(row, Candidate):
        children += [_verdict_node(shelf, one, row) for one in judged]
    children.append(_call(shelf, row))
    if isinstance(row, Candidate):
        children += _shots(shelf, row, artefact)
    children += [replace(artefact_tree(shelf, place, seen), link="wave") for place in places]
    facts = [*_what(row), shelf.belongs(*places)]
    return make_node(exact, SYNTHETIC, _outcome(row, judged), facts=facts, children=children)


def _rows(artefact: Artefact, ident: str) -> Iterator[Row]:
    """Rows whose id starts like `ident`; only their lines are parsed."""
    start = f'{{"id":{json.dumps(ident)[:-1]}'.encode()
    for name, kind in FILES.items():
        path = artefact / name
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            if line.startswith(start):
                try:
                    yield adapter(kind).validate_json(line)
                except ValidationError:
                    continue  # a damaged line; the artefact's own node says so


def _what(row: Row) -> list[tuple[str, str]]:
    place = ("asked in", f"round {row.round}, wave {row.wave + 1}, answer {row.index + 1} of call {row.call}")
    if isinstance(row, ParseFailure):
        return [("answer", row.raw or "(none)"), ("cell", row.cell), place]
    answer = [("answer", row.example.answer)] if row.example.answer else []
    return [("text", row.example.text), *answer, ("asked label", row.example.label), ("cell", row.cell), place]


def _outcome(row: Row, judged: Sequence[Judged]) -> str:
    if isinstance(row, ParseFailure):
        return f"no candidate: {row.reason}"
    said = list(dict.fromkeys(one.outcome(row.example.label) for one in judged))
    if not said:
        return "not judged by any filter yet"
    kept = any(one.label(row.example.label) for one in judged)
    held = "; held back from training, for the transfer gap" if kept and is_held_out(row.id) else ""
    return ("; in another run ".join(said)) + held


def _judged(shelf: Shelf, ident: str, places: Sequence[str]) -> list[Judged]:
    """The last word on a candidate: of each finished run that holds it, else of the sieves that no later one replaced.

    A sieve judges all candidates of its run so far, so an earlier wave's verdicts are superseded by the next wave's.
    """
    out: list[Judged] = []
    for artefact in _last_sieves(shelf, set(places)):
        try:
            verdicts = read_lines(shelf.store.find(artefact) / "verdicts.jsonl", Verdict)
        except (OSError, ValidationError):
            continue
        own = tuple(verdict for verdict in verdicts if verdict.candidate == ident)
        if own:
            out.append(Judged(artefact, own))
    return out


def _last_sieves(shelf: Shelf, places: set[str]) -> list[str]:
    waves = {
        ident: frozenset(parent for name, parent in shelf.parents(ident).items() if name.startswith("wave "))
        for ident in shelf.store.ids("verdicts")
    }
    own = {ident: parents for ident, parents in waves.items() if parents & places}
    of_runs = [next((one for one in _sieves_of(shelf, run) if one in own), "") for run in shelf.runs]
    if any(of_runs):
        return [ident for ident in dict.fromkeys(of_runs) if ident]
    groups = {ident: _settings(shelf, ident) for ident in own}
    return [
        ident for ident in own if not any(groups[ident] == groups[other] and own[ident] < own[other] for other in own)
    ]


def _sieves_of(shelf: Shelf, run: str) -> list[str]:
    """Verdicts behind a run's data sets: of the best round first, then from the last round to the first."""
    report = shelf.runs[run]
    best = report.artefacts.get("dataset", "")
    datasets = [best, *(each.dataset for each in reversed(report.rounds))]
    found = [shelf.parents(ident).get("verdicts", "") for ident in datasets if ident]
    return [ident for ident in dict.fromkeys(found) if ident]


def _settings(shelf: Shelf, ident: str) -> str:
    """Equal for the sieves of one run: filters, labellers and seed."""
    manifest = shelf.manifest(ident)
    if manifest is None:
        return ident
    labellers = {name: parent for name, parent in manifest.parents.items() if name.startswith("labeller ")}
    return canonical([manifest.inputs, labellers, manifest.seed])


def _verdict_node(shelf: Shelf, judged: Judged, row: Candidate) -> Node:
    facts = [(verdict.filter, _verdict_words(verdict)) for verdict in judged.verdicts]
    asked = row.example.label
    return make_node(
        judged.artefact,
        "verdicts",
        judged.outcome(asked),
        facts=[("final label", judged.label(asked) or "none, it was dropped"), *facts, shelf.belongs(judged.artefact)],
        link="judged in",
    )


def _verdict_words(verdict: Verdict) -> str:
    """`drop: near duplicate (score 0.953; cosine 0.953 to real-1f0c…; version 1)`"""
    instead = verdict.answer or verdict.label
    decision = f"relabel to {instead}" if verdict.decision is Decision.RELABEL else verdict.decision.value
    details = [
        *([f"score {verdict.score:.3f}"] if verdict.score is not None else []),
        *([verdict.evidence] if verdict.evidence else []),
        f"version {verdict.version}",
    ]
    return f"{decision}{f': {verdict.reason}' if verdict.reason else ''} ({'; '.join(details)})"


def _call(shelf: Shelf, row: Row) -> Node:
    """The cached call: the exact prompt, how it was sampled, and what came back."""
    path = shelf.store.root / CALLS_FILE
    if not path.exists():
        return make_node(row.call, "call", f"there is no {CALLS_FILE} in the store any more", link="call")
    with CallCache(path) as cache:
        request, answer = cache.request_of(row.call), cache.answer_of(row.call)
    if request is None or answer is None:
        return make_node(row.call, "call", f"no answer to it in {CALLS_FILE}: it failed or was not asked", link="call")
    endpoint = cast("Mapping[str, str]", request.get("endpoint") or {})
    sampling = ", ".join(f"{name} {_value(request[name])}" for name in SAMPLING if request.get(name) not in (None, []))
    choices = cast("Sequence[Sequence[str]]", answer.get("choices") or [])
    got = choices[row.index] if row.index < len(choices) else ["(no such answer)", ""]
    facts = [
        ("prompt", _prompt(request.get("prompt"))),
        ("answer", f"{got[0]}\n(ended by: {got[1] or 'unknown'}; {len(choices)} answers to this call)"),
        ("sampling", sampling),
        *((name, value) for name, value in endpoint.items() if name not in ("model", "base_url")),
    ]
    words = f"{endpoint.get('model', 'unknown model')} at {endpoint.get('base_url', 'unknown endpoint')}"
    return make_node(row.call, "call", words, facts=facts, link="call")


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"[{role}]\n{content}" for role, content in prompt or [])


def _shots(shelf: Shelf, row: Candidate, artefact: str) -> list[Node]:
    """The seeds in the prompt, with their texts."""
    seeds = {seed.id: seed for seed in _examples(shelf, shelf.parents(artefact).get("split", ""), Role.SEEDS)}
    out: list[Node] = []
    for ident in row.shots:
        seed = seeds.get(ident)
        facts = [("text", seed.text)] if seed else []
        words = seed.label if seed else "its split is not in this store, or damaged"
        out.append(make_node(ident, REAL, words, facts=facts, link="seed in the prompt"))
    return out


def _examples(shelf: Shelf, split: str, role: Role) -> Sequence[Example]:
    if not split or split not in shelf.store:
        return ()
    try:
        return read_examples(shelf.store.find(split) / role_file(role))
    except StoreError:
        return ()


def _real(shelf: Shelf, ident: str) -> Node | None:
    places: defaultdict[str, list[tuple[str, Role, str]]] = defaultdict(list)
    texts: dict[str, str] = {}
    for split in shelf.store.ids("split"):
        texts |= {seed.id: seed.text for seed in _examples(shelf, split, Role.SEEDS) if seed.id.startswith(ident)}
        for role in Role:
            for found, label in _labels(shelf.store.find(split), role):
                if found.startswith(ident):
                    places[found].append((split, role, label))
    exact = _only(ident, list(places))
    if exact is None:
        return None
    own = places[exact]
    roles = list(dict.fromkeys(role for _, role, _ in own))
    facts = [("label", ", ".join(dict.fromkeys(label for _, _, label in own)))]
    facts += [("role", f"{role} in {split}") for split, role, _ in own]
    if roles == [Role.SEEDS]:
        facts.append(("text", texts.get(exact, "(the split's file cannot be read)")))
    else:
        held = " and ".join(role for role in roles if role is not Role.SEEDS)
        why = "only seeds are shown in full, so that nobody tunes to held-out texts"
        facts.append(("text", f"not shown, because its role is {held}: {why}"))
    children = [
        replace(artefact_tree(shelf, split), link="split") for split in dict.fromkeys(place for place, _, _ in own)
    ]
    return make_node(exact, REAL, f"real, {' and '.join(roles)}", facts=facts, children=children)


def _labels(artefact: Artefact, role: Role) -> list[tuple[str, str]]:
    """(id, label) of a role's items; the text is not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(artefact / role_file(role), columns=["id", "label"]).to_pylist()
    except (OSError, pa.ArrowException):
        return []
    return [(row["id"], row["label"]) for row in rows]
