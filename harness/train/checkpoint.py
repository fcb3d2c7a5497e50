"""A training that was killed goes on where it was: weights, optimiser, losses and the step in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import StoreError

STATE = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps for each parameter."""


def write_checkpoint(path: Path, key: str, losses: Sequence[float], optimiser: torch.optim.Optimizer) -> None:
    """Replace the checkpoint in one rename, so that a kill leaves the old one or the new one. `key` names the training:
    rows, recipe, seed and base."""
    tensors: dict[str, Tensor] = {}
    for place, parameter in enumerate(_parameters(optimiser)):
        tensors[f"{place}.weight"] = parameter.data
        tensors |= {f"{place}.{name}": optimiser.state[parameter][name] for name in STATE}
    unfinished = path.with_name(f".{path.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, unfinished, metadata={"key": key, "losses": json.dumps(list(losses))})
    unfinished.replace(path)


def read_checkpoint(path: Path, key: str, optimiser: torch.optim.Optimizer) -> list[float]:
    """Bring parameters and optimiser to where the checkpoint was written; its losses, one a step that was done. Without
    a checkpoint nothing changes and there are none.

    Raises `StoreError` for the checkpoint of another training and for a damaged one.
    """
    if not path.exists():
        return []
    try:
        with safe_open(path, framework="pt") as file:
            told: dict[str, str] = file.metadata() or {}
            if told.get("key") != key:
                raise StoreError(
                    f"{str(path)!r} is the checkpoint of another training (rows, recipe, seed, base model or package "
                    "versions differ). Delete it to start anew, or give each training a file of its own."
                )
            for place, parameter in enumerate(_parameters(optimiser)):
                parameter.data.copy_(file.get_tensor(f"{place}.weight"))
                optimiser.state[parameter] = {
                    name: file.get_tensor(f"{place}.{name}").to(parameter.device) for name in STATE
                }
            return [float(loss) for loss in json.loads(told["losses"])]
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise StoreError(f"the checkpoint {str(path)!r} is damaged: {error}. Delete it to start anew.") from error


def _parameters(optimiser: torch.optim.Optimizer) -> list[Any]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
