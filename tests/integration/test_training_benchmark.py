"""A few steps of the training benchmark for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_quick_training_benchmark_runs_all_contenders(tmp_path: Path) -> None:
    kept = tmp_path / "runs.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "training", "--quick", "--repeats", "1", "--json", str(kept)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        check=True,
    )
    runs = json.loads(kept.read_text())
    assert [run["name"] for run in runs] == ["trainer-longest", "ours-all", "ours-upper-3", "trainer-128"]
    assert all(run["wall"] > 0 and run["cpu"] > 0 and run["steps"] > 0 for run in runs)
    assert [run["tested"] for run in runs] == [100, 100, 100, 0]
    assert "ours-upper-3 against trainer-longest" in done.stdout
    assert "quick: these figures say nothing" in done.stdout
