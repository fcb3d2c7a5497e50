"""The quick part of `scripts/faults`, as a program: broken bodies over a socket, templates, keys, fuzz."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = "8,9,11,16,22"


def test_the_quick_rows_hold(tmp_path: Path) -> None:
    out = tmp_path / "faults.md"
    done = subprocess.run(
        [sys.executable, "-m", "faultlist", "--rows", ROWS, "--fuzz", "5000", "--out", str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "scripts", "tests"))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = out.read_text(encoding="utf-8")
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:] == ROWS.split(",")
    assert "**NO**" not in text
