"""Row 30: a generator that is trained on its own texts and so knows fewer words each time; does the check say so?

The generator is scripted: it knows the words of the texts that it was trained on, and writes real TREC questions all of
whose words it knows. Trained on what the generation before wrote (*replace*) it loses words for good; trained on that
and on everything earlier (*accumulate*) it keeps them; *healthy* is a generator that is not trained at all. The files
are judged by `harness collapse check`, in a process of its own: `python -m faultlist.narrowing JSON`.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from faultlist.row import Options, Row
from faultlist.trial import python

GENERATIONS, ITEMS, BATCHES, ANCHORS = 6, 150, 8, 100
TRAINED, WRITTEN = 1_500, 600
"""Real texts that the first generator was trained on; texts that each generation writes for the next one. Only
`ITEMS` of them are checked."""
SEEDS, HEALTHY = 5, 20
KINDS = ("replace", "accumulate", "healthy")
MOST_FALSE = 0.1
"""Share of healthy sequences that may alarm, as the README's measurements have it at most."""
LATEST = 3
"""Generation by which replacement has to be noticed, as the median over its seeds."""
LONGEST_S = 900
WORD = re.compile(r"[a-z0-9']+")


@dataclass(frozen=True)
class Job:
    """The sequence of this kind and number; its files go to `folder`, vectors are kept in `cache`."""

    kind: str
    number: int
    folder: str
    cache: str
    seed: int


@dataclass(frozen=True)
class Found:
    """What the check said: generation of the first alarm, and the words known to the last generator."""

    kind: str
    first: int | None
    status: str
    words: tuple[int, int]
    """Words that the first generator knew, and the last."""


class Writer:
    """A generator: what it knows, out of the texts that there are."""

    def __init__(self, texts: Sequence[str], trained: Sequence[str]) -> None:
        self.known = frozenset(word for text in trained for word in words_of(text))
        self.can = [text for text in texts if words_of(text) <= self.known]

    def write(self, chance: random.Random) -> list[str]:
        return chance.choices(self.can, k=WRITTEN)


def words_of(text: str) -> frozenset[str]:
    return frozenset(WORD.findall(text.lower()))


def sequence(
    kind: str, texts: Sequence[str], chance: random.Random
) -> tuple[list[list[str]], list[list[str]], list[str], tuple[int, int]]:
    """(batches of generation 0, the later generations, anchors, words known first and last)."""
    shuffled = chance.sample(texts, len(texts))
    anchors, pool = shuffled[:ANCHORS], shuffled[ANCHORS:]
    stock = pool[:TRAINED]
    first = now = Writer(pool, stock)
    written = [first.write(chance) for _ in range(BATCHES)]
    batches, newest = [texts[:ITEMS] for texts in written], written[0]
    stock = stock + newest
    later: list[list[str]] = []
    for _ in range(GENERATIONS):
        if kind != "healthy":
            now = Writer(pool, newest if kind == "replace" else stock)
        newest = now.write(chance)
        stock = stock + newest
        later.append(newest[:ITEMS])
    return batches, later, anchors, (len(first.known), len(now.known))


def measure(options: Options) -> Sequence[Row]:
    wanted = [(kind, number) for kind in KINDS for number in range(HEALTHY if kind == "healthy" else SEEDS)]
    cache = str(options.work / "vectors")
    jobs = [Job(kind, number, str(options.work / f"{kind}{number}"), cache, options.seed) for kind, number in wanted]
    told = json.dumps([asdict(job) for job in jobs])
    said = python("-m", "faultlist.narrowing", told, longest=LONGEST_S)
    return [row([Found(**one) for one in json.loads(said.splitlines()[-1])], options.seed)]


def row(found: Sequence[Found], seed: int) -> Row:
    by_kind = {kind: [one for one in found if one.kind == kind] for kind in KINDS}
    alarms = {kind: [one.first for one in by_kind[kind] if one.first is not None] for kind in KINDS}
    replaced, healthy = by_kind["replace"], by_kind["healthy"]
    delay = median(alarms["replace"]) if alarms["replace"] else float("inf")
    judged = [one for one in found if one.status != "insufficient"]
    lost = [f"{one.words[0]:,} → {one.words[1]:,}" for one in replaced[:1]]
    figure = (
        f"alarm in {len(alarms['replace'])} of {len(replaced)} sequences that replace (median generation {delay:g}, "
        f"latest {max(alarms['replace'], default=0)}; words known {', '.join(lost)}), in {len(alarms['accumulate'])} "
        f"of {len(by_kind['accumulate'])} that accumulate, false alarms {len(alarms['healthy'])} of {len(healthy)} "
        f"healthy ones; judged {len(judged)} of {len(found)}"
    )
    held = len(alarms["replace"]) == len(replaced) and delay <= LATEST and len(judged) == len(found)
    held = held and len(alarms["healthy"]) <= MOST_FALSE * len(healthy) and len(alarms["accumulate"]) <= 1
    fault = (
        f"a generator that knows only the words of the texts it was trained on, {GENERATIONS} generations of {ITEMS} "
        "real questions, trained on the newest or on all of them"
    )
    return Row(30, fault, len(found), held, figure, seed)


def judged(job: Job, texts: Sequence[str]) -> Found:
    """`harness collapse check` on the files of a sequence."""
    from typer.testing import CliRunner

    from harness.cli import app

    chance = random.Random(f"{job.seed} {job.kind} {job.number}")
    batches, later, anchors, words = sequence(job.kind, texts, chance)
    folder = Path(job.folder)
    files = {f"gen0/batch{place}.jsonl": rows for place, rows in enumerate(batches)}
    files |= {f"gen{number}.jsonl": rows for number, rows in enumerate(later, start=1)} | {"real.jsonl": anchors}
    for name, rows in files.items():
        _write(folder / name, rows)
    names = ["gen0", *(f"gen{number}.jsonl" for number in range(1, GENERATIONS + 1))]
    out = folder / "check.json"
    paths = [str(folder / name) for name in names]
    options = ["--anchors", str(folder / "real.jsonl"), "--json", str(out), "--cache", job.cache]
    done = CliRunner().invoke(app, ["collapse", "check", *paths, *options])
    if done.exit_code:
        raise SystemExit(f"harness collapse check: {done.output[-2000:]}")
    verdict: Mapping[str, object] = json.loads(out.read_text(encoding="utf-8"))["verdict"]
    first = verdict["first_alarm"]
    assert first is None or isinstance(first, int)
    return Found(job.kind, first, str(verdict["status"]), words)


def _write(path: Path, texts: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def main(jobs: Sequence[Job]) -> list[Found]:
    from benchmarks.corpora import texts_of

    texts, _ = texts_of("trec")
    return [judged(job, texts) for job in jobs]


if __name__ == "__main__":
    print(json.dumps([asdict(one) for one in main([Job(**job) for job in json.loads(sys.argv[1])])]))
