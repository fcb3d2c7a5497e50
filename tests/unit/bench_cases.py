"""A bench in a store of its own: 90 real items, students that read label names, and calls that write them."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factories import LABELS, make_spec
from fakes import HashEmbedder, ScriptedLlm, WordStudents

from harness.bench import Bench
from harness.llm.client import Request
from harness.progress import Silent, Watch
from harness.real import RealData, load_real
from harness.records import Role
from harness.spec import Spec
from harness.store import Store

ABOUT = {about: label for label, about in LABELS.items()}
SIZES = {"seeds": 12, "dev": 12, "anchor": 6, "test": 18, "pool": 6}


def unique(*key: object, words: int = 5) -> str:
    return " ".join(hashlib.sha256(f"{key}/{k}".encode()).hexdigest()[:7] for k in range(words))


def spec(**generate: Any) -> Spec:
    filters = generate.pop("filters", {"judge": {"enabled": False}})
    filters = {"quota": {"enabled": False}, **filters}
    defaults = {"accepted_per_round": 24, "over_generation": 2, "samples_per_call": 4, "max_waves": 3}
    return make_spec(
        data={"source": {"kind": "file", "path": "items.csv"}, "split": SIZES},
        generate=defaults | generate,
        filters=filters,
    )


def make_data(folder: Path) -> RealData:
    """90 real items of three labels, split as SIZES says."""
    with (folder / "items.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([f"real {label} {unique(label, i)}", label] for i in range(30) for label in LABELS)
    return load_real(spec(), folder, Store(folder / "store"), HashEmbedder())


@dataclass
class Place:
    """A bench in a store of its own."""

    data: RealData
    root: Path

    def bench(self, llm: ScriptedLlm, of: Spec | None = None, **parts: Any) -> Bench:
        seeds = [one.text for one in self.data.examples[Role.SEEDS]]
        words: Any = WordStudents(list(LABELS), seeds)
        settings = {"fitted": words, "students": words, "gate": None} | parts
        watch = Watch(Silent())
        return Bench(of or spec(), Store(self.root), self.data, HashEmbedder(), llm=llm, watch=watch, **settings)


def asked_label(request: Request) -> str:
    about = str(request.prompt).removeprefix("Test items ").partition(".")[0]
    return ABOUT[about]


def good(request: Request) -> list[str]:
    return [f"{asked_label(request)} {unique(request.seed, i)} ?" for i in range(request.n)]


def half_good(request: Request) -> list[str]:
    return [text if i % 2 else "too short" for i, text in enumerate(good(request))]
