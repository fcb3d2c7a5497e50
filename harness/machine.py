"""This machine: device, threads, and the versions of what computes on it."""

from __future__ import annotations

import importlib.metadata

from harness.spec import Spec


def device_of(spec: Spec) -> str:
    if spec.runtime.device != "auto":
        return spec.runtime.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def use_threads(threads: int | None) -> None:
    from harness.train.classifier import free_cores, set_threads

    set_threads(threads or free_cores())


def versions() -> dict[str, str]:
    names = ("synthetic-data-harness", "torch", "transformers", "peft", "xllamacpp", "openai", "numpy")
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
