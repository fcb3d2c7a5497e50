"""Time of the joint bootstrap over slices, against drawing and scoring one resample after another in numpy.

Both give 10,000 paired resamples of 20 overlapping slices of 3,000 items; the answers are drawn, so what counts here
is the time alone. Interleaved: theirs, ours, theirs, ours.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks import facts
from eval.joint import draw_slices


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--items", type=int, default=3_000)
    parser.add_argument("--repeats", type=int, default=3)


def run(options: argparse.Namespace) -> int:
    rng = np.random.default_rng(0)
    before, after = rng.random(options.items) < 0.75, rng.random(options.items) < 0.8
    members = {f"slice={number}": np.flatnonzero(rng.random(options.items) < 0.3) for number in range(options.slices)}

    def ours() -> object:
        return draw_slices(before, after, members, resamples=options.resamples, seed=0)

    def plain() -> object:
        return one_by_one(before, after, members, options.resamples)

    times = [(seconds(plain), seconds(ours)) for _ in range(options.repeats)]
    print(f"{options.resamples:,} paired resamples × {options.slices} slices × {options.items:,} items")
    for theirs, own in times:
        print(f"  one by one {theirs:.2f} s, joint {own:.2f} s, ratio {theirs / own:.1f}")
    print("\n".join(facts.lines()))
    return 0


def one_by_one(
    before: NDArray[np.bool_], after: NDArray[np.bool_], members: Mapping[str, NDArray[np.int64]], resamples: int
) -> NDArray[np.float64]:
    """What a reader would write first: draw items, count, take the means of every slice."""
    rng = np.random.default_rng(0)
    inside = np.zeros((len(members), len(before)))
    for row, positions in enumerate(members.values()):
        inside[row, positions] = 1.0
    answers = np.stack([before, after], axis=1).astype(np.float64)
    out = np.empty((resamples, len(members), 2))
    for number in range(resamples):
        weights = np.bincount(rng.integers(0, len(before), len(before)), minlength=len(before))
        weighted = inside * weights
        out[number] = (weighted @ answers) / weighted.sum(axis=1, keepdims=True)
    return out


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
