"""LoRA training against a plain transformers.Trainer + peft with fixed padding, interleaved.

Every run is a process of its own, so that no contender lives with the settings of another. Only training is timed, in
wall and in processor seconds; the other jobs of a machine move the first, and less so the second. For the harness that
includes tokenising, the frozen lower layers' states and the start of the head; the plain trainer gets tokenised rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import facts
from benchmarks.contenders import CONTENDERS, EPOCHS, OURS, THEIRS, Result, Size, measure

QUICK = Size(train=64, test=100, epochs=1)
FULL = Size(train=600, test=2000, epochs=EPOCHS)


@dataclass(frozen=True)
class Ratio:
    """How many times more examples/s one contender does than another, per repeat."""

    ours: str
    theirs: str
    wall: list[float]
    cpu: list[float]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=_positive, default=3, help="rounds over all contenders (3)")
    parser.add_argument("--threads", type=_positive, default=1, help="threads of torch (1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data's split and the first repeat (0)")
    parser.add_argument("--quick", action="store_true", help="a few steps of each, to see that it works; no result")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run to FILE as well")
    parser.add_argument(
        "--contenders",
        type=_contenders,
        default=list(CONTENDERS),
        metavar="A,B",
        help=f"some of {','.join(CONTENDERS)} (all)",
    )
    parser.add_argument("--one", choices=list(CONTENDERS), help=argparse.SUPPRESS)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return number


def _contenders(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown!r} unknown; choose from {', '.join(CONTENDERS)}")
    return [name for name in CONTENDERS if name in names]


def run(options: argparse.Namespace) -> int:
    size = QUICK if options.quick else FULL
    if options.one:
        print(json.dumps(asdict(measure(options.one, size, options.seed, options.threads))))
        return 0
    results: list[Result] = []
    for repeat in range(options.repeats):
        for name in options.contenders:
            results.append(_in_process(name, options, options.seed + repeat))
            print(line(results[-1]), flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(one) for one in results], indent=1), encoding="utf-8")
    print("\n".join(report(results)))
    print("\n".join([*facts.lines(), f"threads {options.threads}, repeats {options.repeats}"]))
    if options.quick:
        print("quick: these figures say nothing")
    return 0


def _in_process(name: str, options: argparse.Namespace, seed: int) -> Result:
    words = ["training", "--one", name, "--seed", str(seed), "--threads", str(options.threads)]
    words += ["--quick"] if options.quick else []
    env = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def line(one: Result) -> str:
    """One run as text."""
    from eval.intervals import wilson

    said = f"{one.name:16} seed {one.seed}: {one.rate_wall:6.1f} examples/s wall, {one.rate_cpu:6.1f} cpu"
    if one.tested:
        accuracy = wilson(one.right, one.tested)
        said += f"; accuracy {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}] of {one.tested}"
    return said + f" ({one.steps} steps in {one.wall:.0f} s, {one.cpu:.0f} s cpu)"


def ratios(results: Sequence[Result]) -> list[Ratio]:
    """Each of ours against each of theirs, run by run of the same seed."""
    found: list[Ratio] = []
    for ours in OURS:
        for theirs in THEIRS:
            pairs = [
                (mine, other)
                for mine in results
                for other in results
                if (mine.name, other.name, mine.seed) == (ours, theirs, other.seed)
            ]
            if pairs:
                wall = [mine.rate_wall / other.rate_wall for mine, other in pairs]
                found.append(Ratio(ours, theirs, wall, [mine.rate_cpu / other.rate_cpu for mine, other in pairs]))
    return found


def report(results: Sequence[Result]) -> list[str]:
    """Ratios with median and range over the repeats, and accuracies over all repeats."""
    from eval.intervals import wilson

    lines = ["", "times the examples/s, median (range) over the repeats:"]
    lines += [
        f"  {one.ours:12} against {one.theirs:16} wall {facts.spread(one.wall)}×, cpu {facts.spread(one.cpu)}×"
        for one in ratios(results)
    ]
    lines.append("accuracy over all repeats:")
    for name in CONTENDERS:
        own = [each for each in results if each.name == name and each.tested]
        if own:
            right, tested = sum(each.right for each in own), sum(each.tested for each in own)
            pooled = wilson(right, tested)
            lines.append(
                f"  {name:16} {right / tested:.4f} [{pooled.low:.4f}, {pooled.high:.4f}], {len(own)} × {own[0].tested}"
            )
    return lines
