"""The GGUF form of an adapter, read back with gguf's own reader."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from causal_cases import ROWS, recipe, tiny
from gguf import GGUFReader
from safetensors.numpy import load_file, save_file

from harness.causalspec import CausalLora
from harness.errors import DataError
from harness.train.causal import train
from harness.train.gguf_adapter import write_gguf_adapter


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    student, curve = train(ROWS, tiny(), recipe(lora=CausalLora(rank=4, alpha=24)), seed=0)
    student.save(folder, title="x", rows=8, seed=0, curve=curve)
    return folder


def test_every_tensor_has_llama_cpps_name_shape_and_place(adapter: Path, tmp_path: Path) -> None:
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    write_gguf_adapter(adapter, tiny().model.config, tmp_path / "a.gguf")
    reader = GGUFReader(tmp_path / "a.gguf")
    told = {
        name: reader.get_field(name).contents() for name in ("general.architecture", "general.type", "adapter.type")
    }
    assert told == {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    assert reader.get_field("adapter.lora.alpha").contents() == 24
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    ours = load_file(adapter / "adapter_model.safetensors")
    assert len(found) == len(ours) == 2 * 7 * 2
    for layer in range(2):
        for theirs, name in {
            "attn_q": "self_attn.q_proj",
            "attn_k": "self_attn.k_proj",
            "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj",
            "ffn_gate": "mlp.gate_proj",
            "ffn_up": "mlp.up_proj",
            "ffn_down": "mlp.down_proj",
        }.items():
            down, up = (ours[f"base_model.model.model.layers.{layer}.{name}.lora_{part}.weight"] for part in "AB")
            assert np.array_equal(found[f"blk.{layer}.{theirs}.weight.lora_a"], down)
            turned = found[f"blk.{layer}.{theirs}.weight.lora_b"]
            if theirs in ("attn_q", "attn_k"):
                assert not np.array_equal(turned, up)
                # What transformers does to a llama.cpp weight when it reads one.
                turned = LlamaTensorProcessor(config={})._reverse_permute_weights(turned, 2, 2)
            assert np.array_equal(turned, up)


def test_what_llama_cpp_could_not_serve_is_refused(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"built like Llama .* 'gpt2'.*write_merged"):
        write_gguf_adapter(adapter, SimpleNamespace(model_type="gpt2"), tmp_path / "a.gguf")
    tensors = load_file(adapter / "adapter_model.safetensors")
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    save_file(
        {**tensors, "base_model.model.score.lora_A.weight": np.ones((4, 32))}, strange / "adapter_model.safetensors"
    )
    with pytest.raises(DataError, match=r"'base_model\.model\.score\.lora_A\.weight' has no place"):
        write_gguf_adapter(strange, tiny().model.config, tmp_path / "b.gguf")
    assert not (tmp_path / "b.gguf").exists()
