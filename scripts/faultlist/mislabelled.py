"""Row 12: a generator that writes a text of another label in one answer of five. Its texts are real TREC questions, so
what a text is really about is known."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from endpoint import Call

from faultlist.row import Options, Row
from faultlist.trial import Desk, Trial, json_lines, mlflow_template

PLANTED = 0.2
REAL = 80
"""Real rows per label; the generator has the others."""
ENDS = {"keep": "kept as asked", "relabel": "kept under another label"}
LEAST_RECALL, LIFT = 0.7, 2
"""The label check has to find so many of the errors, with a precision so many times that of doubting at random."""
ABOUT = {
    "DESC": "asking for a definition, a description, a reason or a way to do something",
    "ENTY": "asking for a thing, such as an animal, food, product, colour, event, sport or word",
    "HUM": "asking for a person, a group of people or an organisation",
    "LOC": "asking for a place, such as a city, country, state or mountain",
    "NUM": "asking for a number, such as a date, a count, a distance, a price or an age",
}
SPEC = f"""\
name: mislabelled
task: {{noun: question, labels: {json.dumps(ABOUT)}}}
data:
  source: {{kind: file, path: items.csv}}
  slices: {{clusters: 0}}
  split: {{seeds: 150, dev: 60, anchor: 20, test: 60}}
generate: {{accepted_per_round: 200, samples_per_call: 5, over_generation: 2.5, max_waves: 1, shots: 3}}
filters: {{consistency: {{folds: 3, passes: 0}}, judge: {{enabled: false}}, quota: {{enabled: false}}}}
train: {{steps: 80}}
evaluate: {{resamples: 200, arms: [seeds, mixed], controls: [], probe: {{enabled: false}}, test: false}}
feedback: {{policies: []}}
stop: {{max_rounds: 1}}
runtime: {{threads: 1, limits: {{generator: {{concurrency: 4}}}}}}
"""


@dataclass
class Muddler:
    """Answers with real questions: of the label asked for, or in one of five of another one."""

    pool: Mapping[str, Sequence[str]]
    seed: int
    truth: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    """(Key of the call, place of the answer in it) → the label that the text really has."""

    def __call__(self, handler: Any, call: Call) -> None:
        said = "\n".join(message["content"] for message in call.body["messages"])
        (label,) = [name for name, about in ABOUT.items() if f"new question {about}." in said]
        chance = random.Random(f"{self.seed} {json.dumps(call.body, sort_keys=True)}")
        choices: list[dict[str, Any]] = []
        for index in range(call.body["n"]):
            wrong = chance.random() < PLANTED
            true = chance.choice([name for name in ABOUT if name != label]) if wrong else label
            self.truth[call.headers["idempotency-key"], index] = true
            message = {"role": "assistant", "content": chance.choice(self.pool[true])}
            choices.append({"index": index, "finish_reason": "stop", "message": message})
        handler.send(200, json.dumps({"model": call.body["model"], "choices": choices}).encode())


@dataclass(frozen=True)
class Caught:
    """Candidates that came to the filters: planted errors and right rows, and what became of them. A row is let
    through under the label that the generator was asked for, under its true label (`mended`), or dropped."""

    planted: int
    planted_kept: int
    mended: int
    right: int
    right_lost: int
    reasons: Mapping[str, int]

    @property
    def recall(self) -> float:
        return 1 - self.planted_kept / max(1, self.planted)

    @property
    def precision(self) -> float:
        """Share of planted errors among the rows whose label the filters did not believe."""
        caught = self.planted - self.planted_kept
        return caught / max(1, caught + self.right_lost)


def measure(options: Options) -> Sequence[Row]:
    rows, pool = dealt(options.seed)
    muddler = Muddler(pool, options.seed)
    with Desk(muddler, delay=0.0) as desk:
        trial = Trial(options.work / "mislabelled", desk, "muddler", SPEC, rows=rows)
        trial.with_database(mlflow_template(options.root / "template")).finished()
    root = trial.store / "artefacts"
    found = caught(
        json_lines(root, "candidates", "candidates"), json_lines(root, "verdicts", "verdicts"), muddler.truth
    )
    return [row(found, len(muddler.truth), options.seed)]


def row(found: Caught, answers: int, seed: int) -> Row:
    before = found.planted / max(1, found.planted + found.right)
    through = found.planted_kept + found.right - found.right_lost
    after = found.planted_kept / max(1, through)
    told = ", ".join(f"{reason} {count}" for reason, count in sorted(found.reasons.items()))
    figure = (
        f"recall {found.recall:.2f}, precision {found.precision:.2f} of the label check (at random {before:.2f}; "
        f"{found.mended} of {found.planted} relabelled as what they are, {found.planted_kept} kept; right rows doubted "
        f"{found.right_lost} of {found.right}); wrong labels {before:.0%} of what came, {after:.0%} of what was kept "
        f"as asked; of {answers} answers: {told}"
    )
    held = found.planted > 0 and found.recall >= LEAST_RECALL and found.precision >= LIFT * before
    held = held and sum(found.reasons.values()) == answers
    fault = f"the generator writes a text of another label in {PLANTED:.0%} of its answers"
    return Row(12, fault, found.planted, held, figure, seed)


def dealt(seed: int) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """Rows of the user's file, and the texts by label that are left for the generator."""
    from benchmarks.corpora import texts_of

    texts, labels = texts_of("trec")
    rows: list[tuple[str, str]] = []
    pool: dict[str, list[str]] = {}
    for label in ABOUT:
        own = [text for text, known in zip(texts, labels, strict=True) if known == label]
        random.Random(f"{seed} {label}").shuffle(own)
        rows += [(text, label) for text in own[:REAL]]
        pool[label] = own[REAL:]
    return rows, pool


def caught(
    candidates: Sequence[Mapping[str, Any]],
    verdicts: Sequence[Mapping[str, Any]],
    truth: Mapping[tuple[str, int], str],
) -> Caught:
    """Every answer ends in one bucket of `reasons`: what dropped it first, what relabelled it, or kept as asked. The
    label check is the consistency filter; rows that another filter dropped before it are in no other figure."""
    decided = {one["candidate"]: one for one in verdicts if one["filter"] == "consistency"}
    dropped: dict[str, str] = {}
    for one in verdicts:
        if one["decision"] == "drop":
            dropped.setdefault(one["candidate"], f"dropped by {one['filter']}")
    planted = kept = mended = right = lost = 0
    reasons: Counter[str] = Counter({"not parsed": len(truth) - len(candidates)})
    for one in candidates:
        verdict = decided[one["id"]]
        reasons[dropped.get(one["id"], ENDS.get(verdict["decision"], "kept"))] += 1
        if verdict["decision"] == "abstain":
            continue
        true = truth[one["call"], one["index"]]
        doubted = verdict["decision"] != "keep"
        if true != one["example"]["label"]:
            planted += 1
            kept += not doubted
            mended += verdict["decision"] == "relabel" and verdict["label"] == true
        else:
            right += 1
            lost += doubted
    return Caught(planted, kept, mended, right, lost, +reasons)
