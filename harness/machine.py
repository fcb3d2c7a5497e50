"""This machine: device, threads, and the versions of what computes on it."""

from __future__ import annotations

import importlib.metadata
import os
import resource
import sys
from pathlib import Path
from typing import Literal

from harness.spec import Spec


def device_of(spec: Spec) -> str:
    if spec.runtime.device != "auto":
        return spec.runtime.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def use_threads(threads: int | Literal["auto"]) -> None:
    """Threads for torch in this process, `auto` all cores. More than there are free cores slow it many times over."""
    import torch

    torch.set_num_threads(cores() if threads == "auto" else threads)


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> int:
    """The most bytes of memory that this process has held so far; children are not in it."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory() -> int | None:
    """Bytes that are free or can be freed; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself; not known on other systems than Linux."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def versions() -> dict[str, str]:
    names = ("synthetic-data-harness", "torch", "transformers", "peft", "xllamacpp", "openai", "numpy")
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
