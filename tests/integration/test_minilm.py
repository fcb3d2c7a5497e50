"""The packaged MiniLM for real, once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.embed import SentenceEmbedder

TEXTS = [
    "Who wrote Emma ?",
    "Who is the author of Emma ?",
    "What is the capital of Yugoslavia ?",
    "How many people live in Rome , Italy ?",
    "Why ?",
    "x " * 600,
    "",
]


def test_vectors_are_unit_rows_that_do_not_depend_on_their_neighbours(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    together = SentenceEmbedder(tmp_path / "one")(TEXTS)
    assert torch.get_num_threads() == threads
    assert together.shape == (7, 384)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    backwards = SentenceEmbedder(tmp_path / "two")
    for i in reversed(range(len(TEXTS))):
        assert backwards([TEXTS[i]])[0].tobytes() == together[i].tobytes()
    assert SentenceEmbedder(tmp_path / "one")(TEXTS).tobytes() == together.tobytes()
    assert together[0] @ together[1] > 0.8 > 0.4 > together[0] @ together[2]
