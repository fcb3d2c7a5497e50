"""False alarms of the failure-mode detectors on real against real data, and how often they see planted failures.

Each split draws seeds, anchors, dev and "synthetic" rows, all real, from a packaged set: an alarm is a false one. Then
one failure is planted in the synthetic rows: its family of detectors should fire, and no other. Vectors are computed
once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import facts
from benchmarks.plants import PLANTS, SETS
from eval.intervals import wilson
from harness.clusters import Clusters
from harness.contentshift import shift_modes, substance
from harness.embed import SentenceEmbedder
from harness.failuremodes import text_modes
from harness.modekinds import KINDS
from harness.records import Example
from harness.reports import FailureMode

RESAMPLES = 1000


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--splits", type=int, default=100, help="real against real")
    parser.add_argument("--planted", type=int, default=20, help="splits for each planted failure")
    parser.add_argument("--seeds", type=int, default=120, help="items in the role of seeds")
    parser.add_argument("--anchors", type=int, default=150)
    parser.add_argument("--dev", type=int, default=300)
    parser.add_argument("--rows", type=int, default=450, help="items in the role of synthetic rows")
    parser.add_argument("--pool", type=int, default=5000, help="most texts of a set")
    parser.add_argument("--store", type=Path, help="folder that keeps the vectors for the next time")


class Remembered:
    """An embedder that reads each text's vector once."""

    id = "remembered"

    def __init__(self, store: Path) -> None:
        self._embed = SentenceEmbedder(store)
        self._rows: dict[str, NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if new:
            self._rows |= dict(zip(new, self._embed(new), strict=True))
        return np.stack([self._rows[text] for text in texts])


def run(options: argparse.Namespace) -> int:
    store = options.store or Path(tempfile.mkdtemp(prefix="failure-modes-"))
    store.mkdir(parents=True, exist_ok=True)
    embed = Remembered(store)
    for name in options.sets:
        pool = SETS[name]()
        pool = [pool[place] for place in np.random.default_rng(0).permutation(len(pool))[: options.pool]]
        embed([substance(one.text) for one in pool])
        roles = f"seeds {options.seeds}, anchors {options.anchors}, dev {options.dev}, synthetic rows {options.rows}"
        print(f"{name}: {len(pool):,} real texts; {roles}")
        print(f"  real against real, {options.splits} splits (seeds 0 to {options.splits - 1}): false alarms")
        silent = [detect(pool, options, embed, seed, "") for seed in range(options.splits)]
        for kind in KINDS:
            print(f"    {kind:<24} {_rate([kind in fired(one) for one in silent])}{_untold(silent, kind)}")
        print(f"    {'any of them':<24} {_rate([bool(fired(one)) for one in silent])}")
        for plant, (family, _) in PLANTS.items() if options.planted else ():
            found = [detect(pool, options, embed, seed, plant) for seed in range(options.planted)]
            own = [any(one.family == family for one in modes if one.fired) for modes in found]
            other = [any(one.family != family for one in modes if one.fired) for modes in found]
            which = Counter(kind for modes in found for kind in fired(modes))
            print(f"  planted: {plant} ({options.planted} splits): {family} fires {_rate(own)}, another {_rate(other)}")
            print(f"    {dict(which)}")
    print("\n".join(facts.lines()))
    return 0


def detect(
    pool: Sequence[Example], options: argparse.Namespace, embed: Remembered, seed: int, plant: str
) -> tuple[FailureMode, ...]:
    order = np.random.default_rng(seed).permutation(len(pool))
    # A plant that keeps some of the rows starts from more of them.
    rows = options.rows * (3 if plant == "one topic" else 1)
    bounds = np.cumsum([options.seeds, options.anchors, options.dev, rows])
    seeds, anchors, dev, made, _ = ([pool[place] for place in part] for part in np.split(order, bounds))
    if plant:
        vectors = embed([substance(one.text) for one in made])
        made = PLANTS[plant][1](made, vectors, seed)
    found = text_modes(seeds, anchors, made, resamples=RESAMPLES, seed=seed)
    return found + shift_modes(seeds, anchors, dev, made, embed, clusters=Clusters(), seed=seed)


def fired(modes: Sequence[FailureMode]) -> list[str]:
    return [one.name for one in modes if one.fired]


def _rate(flags: Sequence[bool]) -> str:
    share = wilson(sum(flags), len(flags))
    ends = "" if share.low is None or share.high is None else f" [{share.low:.3f}, {share.high:.3f}]"
    return f"{sum(flags)} of {len(flags)}{ends}"


def _untold(found: Sequence[Sequence[FailureMode]], kind: str) -> str:
    count = sum(one.fired is None for modes in found for one in modes if one.name == kind)
    return f", could not be told in {count}" if count else ""
