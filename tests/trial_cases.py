"""A suite of two variants of a small experiment against an endpoint on a real socket, as a person starts it."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

from endpoint import Call, ScriptedEndpoint
from typer.testing import CliRunner

from harness.cli import app
from harness.store import Store

ABOUT = {"HUM": "asking for a person", "LOC": "asking for a place"}
WORDS = {
    "HUM": ["who", "author", "painter", "queen", "captain", "inventor", "poet", "doctor"],
    "LOC": ["where", "river", "city", "island", "harbour", "valley", "lake", "street"],
}
FILLER = ["old", "green", "quiet", "famous", "northern", "lost", "early", "wooden", "open", "narrow", "royal", "silver"]


def small_spec(name: str, generate: str, limits: str) -> str:
    """A run that trains in seconds: `generate` are more of that section's keys, `limits` the generator's."""
    return f"""\
name: {name}
task:
  noun: question
  labels: {{HUM: asking for a person, LOC: asking for a place}}
data:
  source: {{kind: file, path: items.csv}}
  slices: {{clusters: 0}}
  split: {{seeds: 20, dev: 40, anchor: 10, test: 40, near_duplicate: 0.999}}
generate: {{{generate}, over_generation: 2, max_waves: 1, shots: 3}}
filters:
  consistency: {{folds: 2, passes: 0}}
  duplicates: {{threshold: 0.999}}
  leakage: {{threshold: 0.999}}
  judge: {{gate_items: 10, audit: 2}}
train: {{steps: 3, batch_size: 8}}
evaluate: {{resamples: 200, arms: [seeds, mixed], controls: [], probe: {{enabled: false}}}}
feedback: {{policies: []}}
stop: {{max_rounds: 2, patience: 2}}
runtime: {{threads: 1, limits: {{generator: {{{limits}}}}}}}
"""


SPEC = small_spec("trial", "accepted_per_round: 8, samples_per_call: 2", "max_retries: 0")
SUITE = """\
base: trial.yaml
variants:
  no_consistency: {filters.consistency.enabled: false}
"""


def text_of(label: str, chance: object) -> str:
    rng = random.Random(f"{label} {chance}")
    words = [*rng.sample(WORDS[label], 4), *rng.sample(FILLER, 6)]
    return " ".join([*rng.sample(words, 10), f"no{rng.randrange(10**6)}"])


def answer(handler: Any, call: Call) -> None:
    """A question of the label asked for, or a middling grade; what is said depends on the request alone."""
    sent = "\n".join(message["content"] for message in call.body["messages"])
    if "<item>" in sent:
        texts = [json.dumps(dict.fromkeys(("relevance", "correctness", "adherence"), 3))]
    else:
        (label,) = [name for name, about in ABOUT.items() if f"new question {about}." in sent]
        seed = json.dumps(call.body, sort_keys=True)
        texts = [text_of(label, (seed, index)) for index in range(call.body["n"])]
    choices = [
        {"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        for index, text in enumerate(texts)
    ]
    body = {"model": call.body["model"], "choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    handler.send(200, json.dumps(body).encode())


class Case:
    """A folder with a base, a suite and data, and the endpoint that its runs use."""

    def __init__(self, folder: Path, endpoint: ScriptedEndpoint) -> None:
        self.folder = folder
        self.endpoint = endpoint
        rows = [(text_of(label, number), label) for number in range(60) for label in ABOUT]
        with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        (folder / "trial.yaml").write_text(SPEC)
        (folder / "suite.yaml").write_text(SUITE)

    def compare(self, store: str, *arguments: str, expect: int = 0) -> str:
        """Run `harness compare` in this process; what it printed."""
        options = [
            part for key, value in self.settings(store).items() for part in ("--set", f"{key}={json.dumps(value)}")
        ]
        done = CliRunner().invoke(app, ["compare", str(self.folder / "suite.yaml"), *options, *arguments])
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    def settings(self, store: str) -> dict[str, object]:
        endpoint = {"base_url": self.endpoint.url, "model": "model-a"}
        return {
            "llm.generator": endpoint,
            "llm.judge": endpoint,
            "runtime.store": str(self.folder / store),
        }

    def store(self, name: str) -> Store:
        return Store(self.folder / name)
