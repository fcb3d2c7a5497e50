"""The benchmark's toy sequences and rules, for tests: `scripts/` is no package of the project."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from eval.collapse import Baseline, Readings, measure

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def benchmark(name: str) -> ModuleType:
    """A module of `scripts/benchmarks`."""
    if str(SCRIPTS) not in sys.path:
        sys.path.insert(0, str(SCRIPTS))
    return importlib.import_module(f"benchmarks.{name}")


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Source:
    """A generator of unit vectors around `modes` centres, with equal weights."""

    def __init__(self, seed: int, modes: int = 30, width: int = 16) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = unit(self.rng.normal(size=(modes, width)))

    def __call__(self, count: int, modes: int | None = None, noise: float = 0.2) -> np.ndarray:
        """Items of the first `modes` centres only, where that is given."""
        which = self.rng.integers(modes or len(self.centres), size=count)
        return unit(self.centres[which] + noise * self.rng.normal(size=(count, self.centres.shape[1])))


def baseline_of(source: Source, anchors: np.ndarray | None, batches: int = 8, size: int = 80) -> Baseline:
    return Baseline.of([source(size) for _ in range(batches)], anchors)


def read(baseline: Baseline, anchors: np.ndarray | None, *generations: np.ndarray) -> list[Readings]:
    return [measure(one, anchors, baseline.size) for one in generations]
