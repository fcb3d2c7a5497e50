"""Which texts share a row, and what they are masked from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.train.packing import ROW, pack, rows_of


@given(st.lists(st.integers(1, 128), min_size=1, max_size=60))
def test_every_text_is_in_one_row_and_rows_are_about_equally_long(lengths: list[int]) -> None:
    rows = rows_of(lengths)
    assert sorted(text for row in rows for text in row) == list(range(len(lengths)))
    filled = [sum(lengths[text] for text in row) for row in rows]
    assert min(filled) > 0
    assert max(filled) - min(filled) <= max(lengths)
    assert max(filled) < 2 * max(ROW, *lengths)


def test_short_texts_leave_little_room() -> None:
    lengths = [5 + (7 * text) % 18 for text in range(32)]
    filled = [sum(lengths[text] for text in row) for row in rows_of(lengths)]
    assert max(filled) <= ROW
    assert len(filled) * max(filled) / sum(lengths) < 1.05


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_row_holds_the_texts_side_by_side(precision: torch.dtype) -> None:
    states = [torch.full((length, 4), float(text)) for text, length in enumerate([50, 30, 10])]
    packed = pack(states, precision)
    assert packed.hidden.dtype == packed.mask.dtype == precision
    assert packed.hidden.shape == (2, 50, 4)
    assert packed.hidden[:, :, 0].tolist() == [[0.0] * 50, [1.0] * 30 + [2.0] * 10 + [0.0] * 10]
    seen = packed.mask[:, 0] == 0
    assert seen[0].all()
    assert seen[1].sum() == 30 * 30 + 10 * 10 + 10 * 10
    assert seen[1, :30, :30].all()
    assert seen[1, 30:40, 30:40].all()
    assert torch.isfinite(packed.mask).all()
    assert (packed.means @ packed.hidden.float().flatten(0, 1))[:, 0] == pytest.approx([0.0, 1.0, 2.0])
