"""Texts to vectors on the nodes of a Ray cluster, in blocks. Needs no ray.

A text's vector does not depend on its neighbours (`harness.embed`), so blocks give the bits that one process gives, on
processors of one kind. Texts travel as bytes: some are no valid UTF-8, which Arrow would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from harness.embed import SentenceEmbedder
from harness.errors import StoreError
from harness.raytask import Node, take_over

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 512
"""Texts that a worker gets at a time, and the most whose vectors a kill costs."""
LEAST = 2000
"""Fewer texts a run embeds itself before workers would have started."""
MEMORY = 1_000_000_000
"""Bytes that a worker with the embedder takes at most."""
TEXT, VECTOR = "text", "vector"


class Vectors:
    """A worker with the embedder: a block of texts in, the block with a vector a text out."""

    def __init__(self, root: Path, device: str, ident: str, taken: Mapping[str, str]) -> None:
        take_over(taken)
        self._embedder = SentenceEmbedder(root, device)
        if self._embedder.id != ident:
            raise StoreError(f"this node has the embedder {self._embedder.id}, not {ident}: install the same package.")

    def __call__(self, block: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        texts = [decoded(one) for one in block[TEXT]]
        found: dict[str, NDArray[np.float32]] = {}
        for part in self._embedder.encode(texts):
            found |= part
        return {TEXT: block[TEXT], VECTOR: np.stack([found[text] for text in texts])}


def blocks(texts: Sequence[str]) -> Iterator[Any]:
    """Arrow tables of ≤ 512 texts, like lengths together, so that most texts share a batch with others."""
    ordered = sorted(texts, key=lambda text: (len(text), text))
    for start in range(0, len(ordered), BLOCK):
        part = [text.encode("utf-8", "surrogatepass") for text in ordered[start : start + BLOCK]]
        yield pa.table({TEXT: pa.array(part, pa.binary())})


def decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def by_text(block: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """What a worker has made, as the cache takes it."""
    return {decoded(text): vector for text, vector in zip(block[TEXT], block[VECTOR], strict=True)}


def workers_of(nodes: Sequence[Node], cores: int, count: int, device: str) -> tuple[int, dict[str, float]]:
    """(How many workers embed `count` texts, what each asks Ray for): one a GPU where the device is one, else one a
    core, as far as memory goes, and none without a block to do."""
    each: dict[str, float] = {"num_cpus": 1, "memory": MEMORY}
    if device == "cuda":
        each["num_gpus"] = 1
    room = sum(int(min(node.gpus if device == "cuda" else node.cpus, node.memory // MEMORY)) for node in nodes)
    return max(1, min(room, cores, -(-count // BLOCK))), each
