"""LoRA adapters on a `transformers` model, and their files. This is the only module that imports `peft`."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from harness.errors import DataError
from harness.machine import has_bf16
from harness.train.lora import ADAPTER, lean

CONFIG = "adapter_config.json"
WRAPPED = "base_model.model."
"""What PEFT puts before the name of each module."""


def with_adapters(
    model: Any,
    *,
    section: str,
    rank: int,
    alpha: int,
    dropout: float,
    targets: Sequence[str],
    layers: Sequence[int] | None = None,
    pattern: str | None = None,
) -> Any:
    """`model` with fresh adapters on the linear layers called as in `targets`, of the `layers` whose list in the model
    is called `pattern` (all layers when not given). The model's own weights are frozen; the adapters are float32.

    Raises `DataError` where `targets` names no layer; `section` is that of the spec which named them.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets),
        layers_to_transform=None if layers is None else list(layers),
        layers_pattern=pattern,
    )
    names = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if _is_linear(module)}
    try:
        with without_peft_warnings():
            return lean(get_peft_model(model, config), LoraLinear)
    except ValueError as error:
        raise DataError(
            f"{section}.lora.targets: {list(targets)!r} cannot be adapted: {error}. Layers of this model: "
            f"{', '.join(sorted(names))}."
        ) from error


def _is_linear(module: nn.Module) -> bool:
    """GPT-2's `Conv1D` is a linear layer too, and says so in its name only."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def read_adapters(model: Any, folder: Path) -> Any:
    """`model` with the adapters that `write_adapters` wrote; only safetensors are read. Raises `DataError` where there
    are none."""
    # PEFT would look for them on the hub.
    missing = [name for name in (CONFIG, "adapter_model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{str(folder)!r} has no {' and no '.join(missing)}: it is no folder of a trained student.")
    with without_peft_warnings():
        return lean(PeftModel.from_pretrained(model, str(folder), use_safetensors=True), LoraLinear)


def write_adapters(adapted: Any, folder: Path, base: str) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`. `base` is the public name of the base model; the
    bytes are the same on every machine."""
    # "auto" would look the base model up, on the hub if its name is one.
    adapted.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    # PEFT writes the local folder, and a set in whatever order this process hashes its texts to.
    config |= {"base_model_name_or_path": base, "target_modules": sorted(config["target_modules"])}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def merged(model: Any, adapted: Any) -> Any:
    """A copy of `model`, in its own precision, with what the adapters of `adapted` add to its weights."""
    whole = copy.deepcopy(model)
    with torch.no_grad():
        for name, module in adapted.named_modules():
            if isinstance(module, LoraLinear):
                weight = whole.get_submodule(name.removeprefix(WRAPPED)).weight
                weight += module.get_delta_weight(ADAPTER).to(weight.dtype)
    return whole


def train_only_adapters(adapted: Any) -> Any:
    """Dropout of the adapters only: the frozen part stays in evaluation mode. Returns `adapted`."""
    adapted.eval()
    for name, module in adapted.named_modules():
        if "lora_dropout" in name:
            module.train()
    return adapted


def precision_of(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype:
    """Of the frozen layers and what flows through them; adapters, head and loss are float32 either way. On a processor
    without bf16 instructions bfloat16 is slower than float32."""
    if wanted == "auto":
        return torch.bfloat16 if device.type == "cuda" or has_bf16() else torch.float32
    return torch.bfloat16 if wanted == "bf16" else torch.float32


@contextmanager
def without_peft_warnings() -> Generator[None]:
    """peft asks transformers for attributes that have new names, and says that it found out how GPT-2's weights lie;
    nothing here can act on that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        yield
