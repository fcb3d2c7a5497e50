"""Repacked weights are the same numbers, and the rest of the file stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

from harness.llm.repack import repack

WEIGHTS = np.random.default_rng(0).normal(size=(6, 96)).astype(np.float32)
NORMS = np.arange(5, dtype=np.float32)


def model(path: Path, kind: GGMLQuantizationType, alignment: int = 32) -> Path:
    """A file with the metadata that a real one has: texts, lists of texts and of numbers, flags."""
    writer = GGUFWriter(path, "llama")
    if alignment != 32:
        writer.add_custom_alignment(alignment)
    writer.add_token_list(["a", "Ġb", "ü"])
    writer.add_token_scores([0.5, 1.5, 2.5])
    writer.add_add_bos_token(value=True)
    writer.add_tensor("norm.weight", NORMS)
    writer.add_tensor("blk.0.ffn_up.weight", quantize(WEIGHTS, kind), raw_dtype=kind)
    writer.add_tensor("output_norm.weight", NORMS + 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {one.name: dequantize(one.data, one.tensor_type) for one in GGUFReader(path).tensors}


def test_packed_weights_and_means_add_up_to_the_old_weights(tmp_path: Path):
    old = model(tmp_path / "old.gguf", GGMLQuantizationType.Q4_1)
    packed = repack(old, tmp_path)
    assert packed is not None
    before, weights, means = (tensors(path) for path in (old, *packed))
    name = "blk.0.ffn_up.weight"
    assert GGUFReader(packed[0]).get_tensor(1).tensor_type == GGMLQuantizationType.Q4_0
    rest = means[f"{name}.lora_b"].astype(np.float64) @ means[f"{name}.lora_a"]
    np.testing.assert_allclose(weights[name] + rest, before[name], rtol=0, atol=1e-6)
    assert np.abs(rest).max() > 1e-3
    for same in ("norm.weight", "output_norm.weight"):
        np.testing.assert_array_equal(weights[same], before[same])


def test_metadata_are_kept(tmp_path: Path):
    old = model(tmp_path / "old.gguf", GGMLQuantizationType.Q4_1)
    packed = repack(old, tmp_path)
    assert packed is not None
    fields = [
        {name: field.contents() for name, field in GGUFReader(path).fields.items() if name != "GGUF.tensor_count"}
        for path in (old, packed[0])
    ]
    assert fields[0] == fields[1]
    assert fields[0]["tokenizer.ggml.tokens"] == ["a", "Ġb", "ü"]


def test_what_cannot_be_repacked_is_left_to_llama_cpp(tmp_path: Path):
    (tmp_path / "no.gguf").write_bytes(b"no weights")
    assert repack(tmp_path / "no.gguf", tmp_path) is None
    assert repack(model(tmp_path / "other.gguf", GGMLQuantizationType.Q8_0), tmp_path) is None
    with pytest.raises(ValueError, match="multiples of 64"):
        repack(model(tmp_path / "wide.gguf", GGMLQuantizationType.Q4_1, alignment=64), tmp_path)
