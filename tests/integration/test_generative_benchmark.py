"""The benchmark of generative students on a handful of rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_small_benchmark_measures_every_contender() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "generative", "--repeats", "1", "--rows", "4"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=True,
    )
    for kind in ("long", "short"):
        for precision in ("bf16", "fp32"):
            for layout in ("line", "filled"):
                assert f"train {kind:5} {layout:6} {precision}" in done.stdout
        for batch in (1, 16, 64):
            assert f"write {kind:5} batch {batch:2} fp32" in done.stdout
    assert done.stdout.count("tokens/s") == 14
