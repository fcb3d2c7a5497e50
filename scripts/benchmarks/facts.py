"""What a figure needs beside it: commit, versions, machine, load; and numbers as text."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.machine import cores, versions

ROOT = Path(__file__).resolve().parents[2]


def commit() -> str:
    """Short hash of the commit, with "+changes" where files differ from it; "unknown" without git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607


def processor() -> str:
    """Name of the processor and the bfloat16 instructions it has."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    flags = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in found.get("flags", "").split()]
    return " ".join([found.get("model name", platform.machine()), *flags])


def lines() -> list[str]:
    """Two lines that say what was measured and where."""
    chosen = {name: version for name, version in versions().items() if name in ("torch", "transformers", "peft")}
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    return [
        f"commit {commit()}, python {platform.python_version()}, {', '.join(f'{k} {v}' for k, v in chosen.items())}",
        f"{processor()}, {cores()} cores, {load} at the end",
    ]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and range: `5.31 (5.02–5.60)`."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"
