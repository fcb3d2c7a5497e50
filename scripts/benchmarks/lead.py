"""Does the collapse verdict come before the loss on real text does? Small models from scratch, several seeds.

Two arms a seed: *replace*, each generation learns what the one before wrote, and *retrained*, each generation learns
generation 0's real rows once more under another seed, so that nothing collapses and every alarm is a false one. Both
are watched by the detector on a frozen probe, and by the loss on real anchors, paired to generation 0's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import facts
from eval.collapse import Baseline, Verdict, judge, matched_size, measure
from eval.intervals import wilson

if TYPE_CHECKING:
    from harness.records import Example
    from harness.spec import Spec
    from harness.store import Artefact
    from harness.train.authors import Authors

ARMS = ("replace", "retrained")
SMALL = (
    "collapse.tiny={layers: 2, vocabulary: 1024}",
    "collapse.generations=5",
    "collapse.items=1000",
    "collapse.temperature=0.8",
    "collapse.probe={items: 100, batches: 6}",
    "data.split.seeds=1000",
    "causal={format: plain, lora: null, steps: 250, learning_rate: 3.0e-3, batch_size: 16}",
    "runtime.threads=1",
)
"""What is changed of the experiment: two minutes of one core an arm."""
PROBE = 1_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """One arm of one seed. Generations of the first alarm of the verdict and of the loss, each beyond chance twice in
    succession; `loss_once` is the first generation whose loss is beyond chance."""

    seed: int
    arm: str
    verdict: int | None
    loss: int | None
    loss_once: int | None
    means: tuple[float | None, ...]

    def __str__(self) -> str:
        """`seed 3 replace: verdict 4, loss 2 (once 1), nats per token 3.91 3.99 …`."""
        said = ", ".join("–" if one is None else f"{one:.2f}" for one in self.means)
        return (
            f"seed {self.seed} {self.arm}: verdict {_generation(self.verdict)}, loss {_generation(self.loss)} "
            f"(once {_generation(self.loss_once)}), nats per token by generation {said}"
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", default="experiments/collapse/tiny.yaml", metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for `harness collapse run`")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed (0)")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--store", type=Path, metavar="DIR", help="keep models and texts here; go on where they end")


def run(options: argparse.Namespace) -> int:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found: list[Found] = []
        for seed in range(options.first, options.first + options.seeds):
            for one in measured(Path(options.experiment), options.set, seed, options.store or Path(folder)):
                print(one, flush=True)
                found.append(one)
    print("\n" + "\n".join(summary(found)))
    print("\n".join([f"{time.monotonic() - start:.0f} s", *facts.lines()]))
    return 0


def measured(file: Path, overrides: Sequence[str], seed: int, folder: Path) -> Iterator[Found]:
    """Both arms of one seed: its own split, its own model."""
    from harness.embed import SentenceEmbedder
    from harness.machine import use_threads
    from harness.progress import Silent, Watch
    from harness.real import load_real
    from harness.records import Role
    from harness.specfile import base_folder, load
    from harness.store import Store
    from harness.train.authors import Authors

    spec = load(file, [*SMALL, *overrides, f"seed={seed}", f"runtime.store={folder}"])
    use_threads(1 if spec.runtime.threads == "auto" else spec.runtime.threads)
    store, embed = Store(folder), SentenceEmbedder(folder)
    data = load_real(spec, base_folder(file), store, embed)
    real, anchors = data.examples[Role.SEEDS], data.examples[Role.ANCHOR]
    authors = Authors(spec, store, "cpu", Watch(Silent()), base_folder(file), real)
    bench = _Bench(spec, authors, embed, real, anchors)
    for arm in ARMS:
        yield bench.arm(arm)


def summary(found: Sequence[Found]) -> list[str]:
    """Per arm: how often each of the two alarms, and by how many generations the loss comes after the verdict."""
    lines: list[str] = []
    for arm in ARMS:
        own = [one for one in found if one.arm == arm]
        if not own:
            continue
        both = [one.loss - one.verdict for one in own if one.loss is not None and one.verdict is not None]
        lead = f"median {statistics.median(both):g}, {min(both)} to {max(both)}" if both else "–"
        lines.append(
            f"{arm}: verdict {_share([one.verdict for one in own])}, loss {_share([one.loss for one in own])}, loss "
            f"once {_share([one.loss_once for one in own])}; lead of the verdict over the loss where both alarm "
            f"({len(both)} of {len(own)}): {lead}"
        )
    return lines


@dataclass(frozen=True)
class _Bench:
    spec: Spec
    authors: Authors
    embed: Any
    real: Sequence[Example]
    anchors: Sequence[Example]

    def arm(self, name: str) -> Found:
        spec, author = self.spec, self.authors.train("generation 0", self.real, self.spec.seed)
        rows = self.embed([one.text for one in self.anchors])
        batches = [self._probe(author, number) for number in range(spec.collapse.probe.batches)]
        losses, later = [self._loss(author)], []
        for number in range(1, spec.collapse.generations + 1):
            learnt = self.real if name == "retrained" else self._written(author, number)
            author = self.authors.train(f"{name} {number}", learnt, spec.seed + 1000 * number)
            later.append(self._probe(author, 100 * number))
            losses.append(self._loss(author))
        size = matched_size([len(one) for one in batches], [len(one) for one in later])
        baseline = Baseline.of(batches, rows, size)
        verdict = judge(baseline, [measure(one, rows, size) for one in later], nll=np.array(losses).T)
        return found_of(spec.seed, name, verdict)

    def _labels(self, count: int) -> list[str]:
        """In the shares of the real rows: every so-manieth of their sorted labels."""
        labels = sorted(one.label for one in self.real)
        return [labels[place * len(labels) // count] for place in range(count)]

    def _written(self, author: Artefact, number: int) -> list[Example]:
        from harness.records import Example, Origin

        texts = self.authors.write("next", author, self._labels(self.spec.collapse.items), self.spec.seed + number)
        kept = [one for one in texts if one.text]
        return [
            Example(f"syn-{number}-{place}", one.text, one.label, {}, Origin.SYNTHETIC)
            for place, one in enumerate(kept)
        ]

    def _probe(self, author: Artefact, number: int) -> Any:
        labels = self._labels(self.spec.collapse.probe.items)
        texts = self.authors.write("probe", author, labels, PROBE + 10_000 * self.spec.seed + number)
        return self.embed([one.text for one in texts if one.text])

    def _loss(self, author: Artefact) -> list[float]:
        return [one.nll for one in self.authors.surprise(author, self.anchors)]


def found_of(seed: int, arm: str, verdict: Verdict) -> Found:
    (loss,) = [one for one in verdict.confirmations if one.name == "real NLL"]
    # A paired 95 % interval above 0 is a one-sided p below .025.
    once = next((place for place, one in enumerate(loss.changes, start=1) if one.low is not None and one.low > 0), None)
    return Found(seed, arm, verdict.first_alarm, loss.first, once, loss.means)


def _generation(one: int | None) -> str:
    return "–" if one is None else str(one)


def _share(alarms: Sequence[int | None]) -> str:
    share = wilson(sum(one is not None for one in alarms), len(alarms))
    when = [one for one in alarms if one is not None]
    median = f"median generation {statistics.median(when):g}" if when else "none"
    return f"{share.value:.2f} [{share.low:.2f}, {share.high:.2f}] of {len(alarms)} ({median})"
