"""How often each collapse rule alarms, and when, on sequences whose truth is known; and how long a check takes.

The rules are those of `rules.py`, the sequences those of `sequences.py` or, with --corpus, those of `corpora.py` on
real texts or on texts of one small model: every rule sees the same ones. A cell is the share of sequences with an
alarm, its Wilson interval, and the median generation of the first alarm (– where fewer than half have one). On toys
also a check with embeddings given: 10 generations of 300 items against 100 anchors, and of 10,000.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import facts
from benchmarks.corpora import REAL_KINDS, Corpus, corpus_of, resampled, with_lost
from benchmarks.rules import RULES, Rule
from benchmarks.sequences import BATCHES, KINDS, Kind, Source, Toy, World
from eval.collapse import Baseline, judge, matched_size, measure
from eval.intervals import wilson
from eval.profiles import Items, profiles

WIDTH = 384
WORDS = 2000


@dataclass(frozen=True, slots=True)
class Cell:
    """One rule on one source: the first alarm of each sequence, None where there was none."""

    first: tuple[int | None, ...]

    def __str__(self) -> str:
        """`.980 [.954, .992] / 3`."""
        share = wilson(sum(one is not None for one in self.first), len(self.first))
        median = statistics.median(math.inf if one is None else one for one in self.first)
        when = "–" if math.isinf(median) else f"{median:g}"
        return f"{_share(share.value)} [{_share(share.low)}, {_share(share.high)}] / {when}"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sequences", type=int, default=200, metavar="N", help="of each kind (200)")
    parser.add_argument("--generations", type=int, default=8, metavar="N", help="after generation 0 (8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=150, metavar="N", help="of a generation (150)")
    parser.add_argument("--anchors", type=int, default=100, metavar="N", help="real anchors (100)")
    parser.add_argument(
        "--corpus",
        default="toys",
        metavar="NAME",
        help="toys, trec, sentiment, sentiment:DOMAIN, disfl_qa, or generator: texts of one small model (toys)",
    )
    parser.add_argument("--lost", metavar="LABEL", help="with --corpus: the label of `label loss`; chance if not given")
    parser.add_argument("--store", type=Path, metavar="DIR", help="with --corpus: keep vectors and models here")
    parser.add_argument("--kinds", type=_kinds, metavar="A;B", help="of sequences; all if not given")
    parser.add_argument("--rules", type=_rules, default=RULES, metavar="A;B", help="all if not given")
    parser.add_argument("--part", choices=("all", "rules", "speed"), default="all")


def run(options: argparse.Namespace) -> int:
    if options.sequences < 1 or options.generations < 2 or options.items < 50 or options.anchors < 20:
        print(
            "scripts/bench collapse: --sequences from 1, --generations from 2, --items from 50, --anchors from 20 on",
            file=sys.stderr,
        )
        return 2
    if options.corpus == "toys" and options.part in ("all", "speed"):
        for items in (300, 10_000):
            print(speed(items), flush=True)
    if options.part in ("all", "rules"):
        try:
            sources = sources_of(options)
        except ValueError as problem:
            print(f"scripts/bench collapse: {problem}", file=sys.stderr)
            return 2
        print(
            f"\n{options.sequences} sequences of each kind, {options.generations} generations of {options.items} items "
            f"after generation 0, {options.anchors} anchors, seed {options.seed}\n",
        )
        cells = compare(sources, options.rules, options.sequences, options.generations, options.seed)
        for line in table(options.rules, cells):
            print(line, flush=True)
        print("\n(healthy): every alarm is a false one. A working set is steered on purpose; judge by the probe.\n")
    print("\n".join(facts.lines()))
    return 0


def sources_of(options: argparse.Namespace) -> list[Source]:
    """The sequences that are asked for. Raises ValueError for an unknown corpus, kind or label."""
    if options.corpus == "toys":
        kinds: Sequence[Kind] = options.kinds or KINDS
        if strange := [one.name for one in kinds if one not in KINDS]:
            raise ValueError(f"{strange} needs a --corpus")
        return [Toy(kind, World(items=options.items, anchors=options.anchors)) for kind in kinds]
    with tempfile.TemporaryDirectory() as folder:
        corpus = read_corpus(options.corpus, options.store or Path(folder), options.seed)
    most = len(corpus.vectors) - (options.anchors if corpus.apart is None else 0)
    whole = (BATCHES + options.generations) * options.items
    shares = ", ".join(f"{name} {share:.3f}" for name, share in corpus.shares().items())
    print(f"{corpus.name}: {len(corpus.vectors):,} texts in {len(corpus.labels)} modes; {shares}")
    if whole > most:
        print(f"A sequence takes {whole:,} texts and there are {most:,}: some come twice. Lower --items or --anchors.")
    kinds = with_lost(options.kinds or REAL_KINDS, corpus, options.lost) if options.lost else options.kinds
    return list(resampled(corpus, options.items, options.anchors, kinds or REAL_KINDS))


def read_corpus(name: str, store: Path, seed: int) -> Corpus:
    """The corpus of this name, its vectors kept in `store`. Raises ValueError for an unknown one."""
    if name != "generator":
        return corpus_of(name, store)
    from benchmarks.generated import generated

    return generated(store, seed)


def compare(
    sources: Sequence[Source], rules: Mapping[str, Rule], sequences: int, generations: int, seed: int
) -> Iterator[tuple[str, dict[str, Cell]]]:
    """Each source's name and its cell by rule. A sequence has a random stream of its own: asking for more or fewer of
    them, or for some sources or rules only, changes none."""
    for source in sources:
        place = zlib.crc32(source.name.encode())
        first: dict[str, list[int | None]] = {name: [] for name in rules}
        for number in range(sequences):
            drawn = source.draw(np.random.default_rng([seed, place, number]), generations)
            for name, rule in rules.items():
                first[name].append(rule(drawn, np.random.default_rng([seed, number])))
        title = f"{source.name} (healthy)" if source.healthy else source.name
        yield title, {name: Cell(tuple(alarms)) for name, alarms in first.items()}


def table(rules: Iterable[str], rows: Iterable[tuple[str, Mapping[str, Cell]]]) -> Iterator[str]:
    """Lines of a Markdown table, a row per source and a column per rule."""
    yield "| " + " | ".join(["sequence", *rules]) + " |"
    yield "| " + " | ".join(["---", *("---" for _ in rules)]) + " |"
    for name, cells in rows:
        yield "| " + " | ".join([name, *(str(cells[rule]) for rule in rules)]) + " |"


def speed(items: int, generations: int = 10, anchors: int = 100) -> str:
    """One whole check, explanations included, with texts and unit vectors at hand."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, WIDTH))
    vocabulary = np.array([f"word{number}" for number in range(WORDS)])

    def drawn(count: int) -> Items:
        rows = centres[rng.integers(len(centres), size=count)] + 0.8 * rng.normal(size=(count, WIDTH))
        texts = tuple(" ".join(row) for row in vocabulary[rng.integers(WORDS, size=(count, 12))])
        return Items(texts, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))

    real = drawn(anchors).vectors
    base, later = [drawn(items) for _ in range(8)], [drawn(items) for _ in range(generations - 1)]
    start, cpu = time.perf_counter(), time.process_time()
    size = matched_size([len(one.texts) for one in base], [len(one.texts) for one in later])
    baseline = Baseline.of([one.vectors for one in base], real, size)
    verdict = judge(baseline, [measure(one.vectors, real, size) for one in later])
    profiles(base, later, real, size)
    spent, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "linux" else 2**30)
    return (
        f"{generations} generations × {items:,} items ({len(base)} batches of generation 0) × {anchors} anchors: "
        f"{spent:.2f} s ({cpu:.2f} s of processor), peak memory of the process {peak:.2f} GB; verdict {verdict.status}"
    )


def _kinds(text: str) -> list[Kind]:
    named = {one.name: one for one in REAL_KINDS}
    return [named[name] for name in _known(text, named)]


def _rules(text: str) -> dict[str, Rule]:
    return {name: RULES[name] for name in _known(text, RULES)}


def _known(text: str, allowed: Iterable[str]) -> list[str]:
    """Names with semicolons between, since some have a comma in them."""
    names = [part.strip() for part in text.split(";")]
    if unknown := [name for name in names if name not in allowed]:
        raise argparse.ArgumentTypeError(f"{unknown} unknown; choose from {'; '.join(allowed)}")
    return names


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".removeprefix("0")
