"""A few calls of the generation benchmark for real: stub, whole path and bare script in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def bench(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "generation", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_both_make_the_same_calls_and_ours_makes_rows_of_all_answers() -> None:
    said = bench("--calls", "30", "--concurrency", "8", "--latency-ms", "5", "--samples", "2", "--repeats", "1")
    assert re.search(r"ours \d+\.\d\d s \(.*, 30 calls, 60 rows\), bare \d+\.\d\d s \(.*, 30 calls, 60 rows\)", said)
    assert "30 calls of 2 answers, 5 ms each, 8 at a time, 1 repeats" in said
    assert "wall time of ours, times that of the bare script: " in said


def test_memory_is_measured_for_a_tenth_of_the_rows_and_for_all() -> None:
    said = bench("--rows", "320")
    assert "peak memory with 32 and with 320 rows, and MB per 10,000 rows more" in said
    assert re.search(r"filter candidates +\d+ MB +\d+ MB", said)
