"""Q4_1 weights in the layout that llama.cpp multiplies fastest, the same numbers all the same.

A Q4_1 block of 32 weights is d·q + m, for which llama.cpp has no packed kernel; for Q4_0, which is d·(q − 8), it has.
So a matrix W in Q4_1 is one in Q4_0 plus (m + 8d) at every place of a block. That rest is a product of two thin
matrices: for each row its m + 8d by block (`lora_b`), and for each block ones where its weights are (`lora_a`).
llama.cpp adds such a product to a matrix as a LoRA adapter. Nothing is rounded again but sums of products.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"GGUF"
Q4_0, Q4_1 = 2, 3
"""Types of tensors, as GGUF files number them."""
BLOCK = 32
"""Weights of a block."""
SCALE, BOTH, WHOLE = 2, 4, 20
"""Bytes of a Q4_1 block's d, of d and m, and of d, m and the q. A Q4_0 block lacks m."""
ZERO = 8
"""The q that stands for 0 in Q4_0."""
ALIGNMENT = 32
"""Of tensors in the file, where its metadata say nothing else."""
TEXT, LIST = 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a metadata value by its type."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's entry in the header; `shape` starts with the length of a row, `data` are its bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    data: NDArray[np.uint8]


class Reader:
    """Goes through the header of a GGUF file; `gguf`'s own reader takes 5 s for the tokens of SmolLM2."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def number(self, code: str = "Q") -> int:
        (value,) = struct.unpack_from(f"<{code}", self.content, self.place)
        self.place += struct.calcsize(code)
        return value

    def text(self) -> str:
        length = self.number()
        self.place += length
        return self.content[self.place - length : self.place].decode("utf-8")

    def skip_value(self, kind: int) -> None:
        """Go past a metadata value; a list says the type of its items first."""
        if kind == TEXT:
            self.text()
        elif kind == LIST:
            item, count = self.number("I"), self.number()
            if item in SIZES:
                self.place += SIZES[item] * count
            else:
                for _ in range(count):
                    self.skip_value(item)
        else:
            self.place += SIZES[kind]


def repack(model: Path, folder: Path) -> tuple[Path, Path] | None:
    """Write `weights.gguf` and the adapter `means.gguf` to `folder`; None where `model` is no GGUF file or
    has nothing in Q4_1."""
    content = model.read_bytes()
    if not content.startswith(MAGIC):
        return None
    head, tensors = _read(content)
    old = [one for one in tensors if one.kind == Q4_1]
    if not old:
        return None
    weights, means = folder / "weights.gguf", folder / "means.gguf"
    _write(weights, head, [_packed(one) if one.kind == Q4_1 else one for one in tensors])
    _write_means(means, old)
    return weights, means


def _read(content: bytes) -> tuple[bytes, list[Tensor]]:
    """The bytes from the file's start to its list of tensors, and the tensors."""
    reader = Reader(content)
    reader.place = 8
    count, values = reader.number(), reader.number()
    alignment = ALIGNMENT
    for _ in range(values):
        key, kind = reader.text(), reader.number("I")
        if key == "general.alignment":
            (alignment,) = struct.unpack_from("<I", content, reader.place)
        reader.skip_value(kind)
    if alignment != ALIGNMENT:
        raise ValueError(f"tensors at multiples of {alignment} bytes, not of {ALIGNMENT}")
    head = content[: reader.place]
    entries: list[tuple[str, tuple[int, ...], int, int]] = []
    for _ in range(count):
        name, dimensions = reader.text(), reader.number("I")
        shape = tuple(reader.number() for _ in range(dimensions))
        entries.append((name, shape, reader.number("I"), reader.number()))
    start = _aligned(reader.place)
    data = np.frombuffer(content, np.uint8, offset=start)
    # A tensor's bytes go as far as the next one's start; what fills the gap does no harm.
    ends = sorted([*(entry[3] for entry in entries), data.size])
    return head, [
        Tensor(name, shape, kind, data[offset : ends[ends.index(offset) + 1]]) for name, shape, kind, offset in entries
    ]


def _blocks(tensor: Tensor) -> NDArray[np.uint8]:
    """Rows × blocks × bytes of a block."""
    length, *rows = tensor.shape
    shape = int(np.prod(rows)), length // BLOCK, WHOLE
    return tensor.data[: int(np.prod(shape))].reshape(shape)


def _packed(tensor: Tensor) -> Tensor:
    """d and the q of each block, in Q4_0; both layouts keep the q in the same order."""
    blocks = _blocks(tensor)
    return replace(tensor, kind=Q4_0, data=np.concatenate([blocks[..., :SCALE], blocks[..., BOTH:]], -1).reshape(-1))


def means(tensor: Tensor) -> NDArray[np.float32]:
    """m + 8d of each block, rows × blocks."""
    d, m = np.moveaxis(_blocks(tensor)[..., :BOTH].copy().view(np.float16).astype(np.float32), -1, 0)
    return np.ascontiguousarray(m + ZERO * d)


def _write(path: Path, head: bytes, tensors: Sequence[Tensor]) -> None:
    table, offset = bytearray(), 0
    for one in tensors:
        name = one.name.encode()
        table += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(one.shape))
        table += struct.pack(f"<{len(one.shape)}QIQ", *one.shape, one.kind, offset)
        offset = _aligned(offset + one.data.size)
    with path.open("wb") as file:
        _put(file, head + bytes(table))
        for one in tensors:
            _put(file, one.data.tobytes())


def _put(file: Any, content: bytes) -> None:
    file.write(content.ljust(_aligned(len(content)), b"\0"))


def _aligned(place: int) -> int:
    return -(-place // ALIGNMENT) * ALIGNMENT


def _write_means(path: Path, tensors: Sequence[Tensor]) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    # Not to be scaled by its rank.
    writer.add_float32("adapter.lora.alpha", 0.0)
    for one in tensors:
        of_rows = means(one)
        writer.add_tensor(f"{one.name}.lora_a", np.repeat(np.eye(of_rows.shape[1], dtype=np.float32), BLOCK, 1))
        writer.add_tensor(f"{one.name}.lora_b", of_rows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
