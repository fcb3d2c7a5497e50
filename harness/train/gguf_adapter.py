"""A trained student's adapters as a GGUF file, so that llama.cpp can serve them on top of the base model's GGUF.

The layout is that of llama.cpp's LoRA adapters: general.type "adapter", adapter.type "lora", adapter.lora.alpha, and
for each adapted weight W of `blk.N` two tensors, `W.lora_a` (rank × in) and `W.lora_b` (out × rank).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

PREFIX = "base_model.model."
BUILT_LIKE = "llama"
HALVES = 2
"""llama.cpp turns pairs of neighbouring rows of a head, transformers those half a head apart (rotary positions)."""


def write_gguf_adapter(adapter: Path, config: Any, path: Path) -> None:
    """Write the adapters of the folder `adapter` (PEFT) to `path`; `config` is the base model's, `Base.model.config`.

    Raises `DataError` for models that are not built like Llama and for adapters of anything but linear layers.
    """
    from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map
    from safetensors.numpy import load_file

    if config.model_type != BUILT_LIKE:
        raise DataError(
            f"only adapters of models built like Llama can be written as GGUF, this one is a {config.model_type!r}. "
            "Serve the student merged instead (`Student.write_merged`)."
        )
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    writer = GGUFWriter(path, BUILT_LIKE)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(settings["lora_alpha"]))
    for name, tensor in sorted(load_file(adapter / "adapter_model.safetensors").items()):
        layer, _, part = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        weight = names.get_name(layer)
        if weight is None or part not in ("lora_A", "lora_B"):
            raise DataError(f"{str(adapter)!r}: the tensor {name!r} has no place in a GGUF adapter.")
        if part == "lora_B":
            tensor = _turned(tensor, layer, config)
        writer.add_tensor(f"{weight}.weight.{part.lower()}", np.ascontiguousarray(tensor, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _turned(rows: NDArray[np.floating], layer: str, config: Any) -> NDArray[np.floating]:
    """Rows of the query's and the key's weights in llama.cpp's order; others as they are."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(layer.rpartition(".")[2])
    if heads is None:
        return rows
    return rows.reshape(heads, HALVES, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)
