"""All pairs of near duplicates among many vectors: ours against blocked numpy, faiss and an approximate index.

Each contender is a process of its own and gets the same vectors: embedded TREC questions and sentiment texts, beyond
those mixtures of two of them with noise. Rounds are interleaved. "Same pairs" is about pairs whose float64 cosine is at
the threshold. The approximate index is `harness.vectorindex`; its recall is what it finds of the rows to be dropped.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import facts

THRESHOLD = 0.92
OURS, THEIRS = "ours", "blocked"
BLOCK = 2048


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", default="20000,50000,100000", metavar="N,M", help="numbers of vectors")
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all contenders (3)")
    parser.add_argument("--contenders", default="ours,blocked,faiss", metavar="A,B", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--store", type=Path, metavar="DIR", help="where embeddings are kept for the next time")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    if options.one:
        print(json.dumps(measure(options.one[0], np.load(options.one[1]))))
        return 0
    names = options.contenders.split(",")
    if unknown := [name for name in names if name not in CONTENDERS]:
        print(f"scripts/bench duplicates: {unknown!r} unknown; choose from {', '.join(CONTENDERS)}", file=sys.stderr)
        return 2
    if "semhash" in names and importlib.util.find_spec("semhash") is None:
        print("scripts/bench duplicates: semhash is not installed: `.venv/bin/pip install semhash`", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        base = embedded(options.store or Path(folder))
        for rows in map(int, options.rows.split(",")):
            file = Path(folder) / "vectors.npy"
            np.save(file, enlarged(base, rows))
            found = [{name: _apart(name, file) for name in names} for _ in range(options.repeats)]
            print("\n".join([f"{rows:,} vectors, {len(base):,} of them embedded texts", *lines(found)]), flush=True)
    print("\n".join(facts.lines()))
    return 0


def embedded(store: Path) -> np.ndarray:
    from harness.embed import SentenceEmbedder
    from harness.packaged import read_packaged

    texts = [str(row["text"]) for name in ("trec", "sentiment") for row in read_packaged(name).rows]
    print(f"scripts/bench duplicates: embedding up to {len(set(texts)):,} texts", flush=True)
    return SentenceEmbedder(store)(list(dict.fromkeys(texts)))


def enlarged(base: np.ndarray, rows: int) -> np.ndarray:
    """The base's rows, and mixtures of two of them with noise as far as they are too few; shuffled."""
    rng = np.random.default_rng(0)
    more = max(0, rows - len(base))
    share = rng.uniform(0.2, 0.8, (more, 1)).astype(np.float32)
    one, other = (base[rng.integers(0, len(base), more)] for _ in range(2))
    noise = rng.standard_normal((more, base.shape[1]), dtype=np.float32) * 0.02
    mixed = share * one + (1 - share) * other + noise
    made = np.concatenate([base, mixed / np.linalg.norm(mixed, axis=1, keepdims=True)]).astype(np.float32)
    return made[rng.permutation(len(made))[:rows]]


def measure(name: str, vectors: np.ndarray) -> dict[str, Any]:
    """Seconds, most bytes of the process, number and digest of the pairs."""
    from harness.machine import peak_memory

    start = time.perf_counter()
    i, j = CONTENDERS[name](vectors)
    spent = time.perf_counter() - start
    order = np.lexsort((j, i))
    pairs = np.stack([i[order], j[order]]).astype(np.int64)
    return {"seconds": spent, "memory": peak_memory(), "pairs": len(i), "digest": hashlib.sha256(pairs).hexdigest()}


def ours(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from harness.neighbours import close_pairs

    found = close_pairs(vectors, THRESHOLD)
    return found.i, found.j


def blocked(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All products in float32, upper triangle, in blocks."""
    parts = []
    for start in range(0, len(vectors), BLOCK):
        for begin in range(start, len(vectors), BLOCK):
            cosines = vectors[start : start + BLOCK] @ vectors[begin : begin + BLOCK].T
            i, j = np.nonzero(cosines >= THRESHOLD - 1e-5)
            keep = i + start < j + begin
            parts.append((i[keep] + start, j[keep] + begin))
    return _at_threshold(vectors, parts)


def faiss_flat(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    index: Any = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    limits, _, found = index.range_search(vectors, THRESHOLD - 1e-5)
    rows = np.repeat(np.arange(len(vectors)), np.diff(limits.astype(np.int64)))
    return _at_threshold(vectors, [(rows[rows < found], found[rows < found])])


def semhash(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that semhash drops, each with the row that it is a duplicate of; it is no requirement of this project and
    has to be installed for the comparison."""
    SemHash: Any = importlib.import_module("semhash").SemHash  # noqa: N806
    # The encoder would only be asked for texts that come later.
    found = SemHash.from_embeddings(vectors, [str(row) for row in range(len(vectors))], model=None)
    dropped = found.self_deduplicate(threshold=THRESHOLD).filtered
    pairs = np.array([(int(one.duplicate_of), int(one.record)) for one in dropped], dtype=np.int64).reshape(-1, 2)
    return pairs.T[0], pairs.T[1]


def index(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows to be dropped, each with the row that stands for it, as the duplicates filter finds them."""
    from harness.neighbours import Walk
    from harness.vectorindex import Indexed, ready_for_index

    return _walked(Walk(ready_for_index(vectors), range(len(vectors)), THRESHOLD, Indexed(vectors, THRESHOLD)), vectors)


def walk(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same with nothing missed."""
    from harness.neighbours import Exact, Walk, turned

    ready = turned(vectors, THRESHOLD)
    return _walked(Walk(ready, range(len(vectors)), THRESHOLD, Exact(ready, THRESHOLD)), vectors)


def _walked(walk: Any, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs: list[tuple[int, int]] = []
    for row in range(len(vectors)):
        found = walk.nearest(row)
        if found is None:
            walk.stand(row)
        else:
            pairs.append((row, found[0]))
    i, j = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return i, j


CONTENDERS: Mapping[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    OURS: ours,
    THEIRS: blocked,
    "faiss": faiss_flat,
    "semhash": semhash,
    "walk": walk,
    "index": index,
}


def _at_threshold(vectors: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    i, j = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    cosines = np.einsum("nd,nd->n", vectors[i].astype(np.float64), vectors[j].astype(np.float64))
    return i[cosines >= THRESHOLD], j[cosines >= THRESHOLD]


def _apart(name: str, file: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks", "duplicates", "--one", name, str(file)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def lines(found: list[dict[str, dict[str, Any]]]) -> list[str]:
    """A line per contender; the ratio is the median over rounds of its seconds by those of `blocked`.

    >>> one = {"seconds": 1.0, "memory": 5e8, "pairs": 7, "digest": "a"}
    >>> print("\\n".join(lines([{"ours": one, "blocked": {**one, "seconds": 4.0}}])))
      ours          1.0 s  0.25 times blocked [0.25]  0.50 GB        7 pairs, the same as blocked
      blocked       4.0 s  1.00 times blocked [1.00]  0.50 GB        7 pairs, the same as blocked
    """
    out: list[str] = []
    for name in found[0]:
        seconds = [each[name]["seconds"] for each in found]
        last = found[-1][name]
        ratio = same = ""
        if THEIRS in found[0]:
            ratios = [each[name]["seconds"] / each[THEIRS]["seconds"] for each in found]
            ratio = f"{np.median(ratios):5.2f} times blocked [{', '.join(f'{one:.2f}' for one in ratios)}]"
            same = (
                ", the same as blocked" if last["digest"] == found[-1][THEIRS]["digest"] else ", not those of blocked"
            )
        memory = last["memory"] / 1e9
        out.append(f"  {name:8}{np.median(seconds):9.1f} s {ratio} {memory:5.2f} GB {last['pairs']:8,} pairs{same}")
    return out
