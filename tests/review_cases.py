"""Finished runs with candidates and verdicts, made by hand, to be reviewed."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from factories import make_run_report, make_spec

from harness.loop import REPORT
from harness.records import Candidate, Decision, Example, Origin, Verdict
from harness.reports import RunReport
from harness.reviewrows import Sampled
from harness.reviews import Desk, Review, open_desk
from harness.reviewserver import ReviewServer
from harness.store import Store, write_json, write_lines

ANSWERS = {
    "noun": "question",
    "labels": {"answerable": "about the passage", "unknown": "not in the passage"},
    "answer": {"about": "the shortest words", "context": "passage"},
}


@dataclass(frozen=True)
class Made:
    """A run in its store. `right` holds the ids of the rows that are right."""

    store: Store
    report: RunReport
    right: frozenset[str]

    def desk(self, items: int | None = None, seed: int | None = None) -> Desk:
        return open_desk(self.report, self.store, items, seed)


def make_made(
    store: Store,
    rows: int = 300,
    *,
    graded: bool = False,
    pairwise: bool = False,
    answers: bool = False,
    text: str = "",
    beyond: int = 0,
) -> Made:
    """Of ten candidates six are kept, one is relabelled, one goes for its label, one as a duplicate, one is graded too
    low (or kept, where the judge is not trusted); `pairwise`: the judge's scores are shares. `text` is put into every
    text. The quota leaves out the last `beyond` that came so far."""
    generator = random.Random(rows)
    keys = {"task": ANSWERS} if answers else {}
    keys |= {"filters": {"judge": {"pairwise": 2, "min_score": 0.5}}} if pairwise else {}
    report = make_run_report(**({"spec": make_spec(**keys).model_dump(mode="json")} if keys else {}))
    cells = report.rounds[0].funnel
    labels = list(ANSWERS["labels"] if answers else ("ALPHA", "BETA", "GAMMA"))
    candidates: list[Candidate] = []
    verdicts: list[Verdict] = []
    accepted: list[Example] = []
    right: set[str] = set()
    for number in range(rows):
        cell = cells[number * 7 % len(cells)]
        asked = labels[number % 2] if answers else cell.values["label"]
        ident = f"syn-{generator.randrange(16**12):012x}"
        example = Example(
            ident,
            f"Item {number} of {asked}{text}",
            asked,
            {},
            Origin.SYNTHETIC,
            answer=f"answer {number}" if answers else "",
            context=f"Passage {number % 5}." if answers else "",
        )
        candidates.append(Candidate(ident, cell.cell, example, 1, 0, "call", number, ()))
        if good := generator.random() < (0.85 if number % 10 < 7 else 0.3):
            right.add(ident)
        own, final = _judged(example, labels, number % 10, _score(generator, good), graded=graded)
        if final and number >= rows - beyond:
            own, final = [*own, Verdict(ident, "quota", 1, Decision.DROP, "beyond the target")], None
        verdicts += [_as_share(one) for one in own] if pairwise else own
        accepted += [final] if final else []
    return Made(store, _kept(store, report, candidates, verdicts, accepted), frozenset(right))


def _as_share(one: Verdict) -> Verdict:
    return replace(one, score=(one.score - 1) / 4) if one.filter == "judge" and one.score is not None else one


def _score(generator: random.Random, good: bool) -> float:
    return generator.betavariate(8, 2) if good else generator.betavariate(3, 4)


def _judged(
    example: Example, labels: Sequence[str], kind: int, score: float, *, graded: bool
) -> tuple[list[Verdict], Example | None]:
    ident = example.id
    said = [Verdict(ident, "consistency", 2, Decision.KEEP, "", score)]
    final: Example | None = example
    if kind == 6:
        other = labels[(labels.index(example.label) + 1) % len(labels)]
        changed = {"label": other} | ({"answer": f"not {example.answer}"} if example.answer else {})
        final = replace(example, **changed)
        said = [replace(said[0], decision=Decision.RELABEL, label=other, answer=final.answer or None)]
    elif kind == 7:
        said, final = [replace(said[0], decision=Decision.DROP, reason="label not confirmed")], None
    duplicate = Verdict(ident, "duplicates", 3, Decision.DROP if kind == 8 else Decision.KEEP, "", 0.9)
    final = None if kind == 8 else final
    grade = Verdict(ident, "judge", 3, Decision.ABSTAIN, "gate not passed, not asked")
    if graded and final:
        low = kind == 9
        grade = replace(grade, decision=Decision.DROP if low else Decision.KEEP, score=2.0 if low else 3 + 2 * score)
        final = None if low else final
    return [*said, duplicate, grade], final


def _kept(
    store: Store,
    report: RunReport,
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    accepted: Sequence[Example],
) -> RunReport:
    """In the store, as a run leaves it: two waves, one sieve, one data set."""
    half = len(candidates) // 2
    waves = [
        store.once(
            "candidates",
            1,
            lambda folder, part=part: write_lines(folder / "candidates.jsonl", Candidate, part),
            inputs={"rows": [one.example.content for one in part], "wave": number},
        ).id
        for number, part in enumerate((candidates[:half], candidates[half:]))
    ]

    def sieve(folder):
        write_lines(folder / "verdicts.jsonl", Verdict, verdicts)
        write_lines(folder / "accepted.jsonl", Example, accepted)

    parents = {f"wave {number}": ident for number, ident in enumerate(waves)}
    sieved = store.once("verdicts", 1, sieve, inputs={"kept": [one.content for one in accepted]}, parents=parents)
    dataset = store.once(
        "dataset", 1, lambda folder: (folder / "README.md").write_text("# rows"), inputs={},
        parents={"verdicts": sieved.id},
    )  # fmt: skip
    inputs = {"dataset": dataset.id}
    ident, _ = store.id_of("run", 1, inputs, {}, report.seed)
    found = replace(report, id=ident, artefacts={"dataset": dataset.id})
    store.once("run", 1, lambda folder: write_json(folder / REPORT, RunReport, found), inputs=inputs, seed=report.seed)
    return found


def truthful(sample: Sampled, right: frozenset[str], items: int | None = None) -> list[Review]:
    """The reviews of somebody who is never wrong, of the first `items` rows."""
    return [Review(item.shown.id, "accept" if item.shown.id in right else "reject") for item in sample.items[:items]]


@contextmanager
def serving(desk: Desk) -> Iterator[ReviewServer]:
    """A server of the desk for the reviewer ana, on a thread of its own."""
    with ReviewServer(desk, "ana") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
