"""What a plan says before its figures."""

from __future__ import annotations

from typing import Any

import pytest
from factories import LABELS, make_spec

from harness.clean import REPEATED, Cleaned, Item
from harness.errors import DataError
from harness.plancheck import first_looks

SIZES = {"seeds": 100, "dev": 200, "anchor": 100, "test": 500}


def said(text: str, count: int = 900, sizes: dict[str, int] = SIZES, **changes: Any) -> list[str]:
    names = list(LABELS)
    items = [Item(f"real-{i}", f"{i}", f"{text} {i}", names[i % 3], {}, None) for i in range(count)]
    source = Cleaned(tuple(items), {REPEATED: 2}, ("items.csv: 1 rows left out: empty text (line 4).",))
    spec = make_spec(data={"source": {"kind": "file", "path": "items.csv"}, "split": sizes}, **changes)
    return [row[0] for table in first_looks(spec, source) for row in table.rows]


def test_rows_that_are_left_out_come_first() -> None:
    assert said("Who wrote it ?") == [
        "items.csv: 1 rows left out: empty text (line 4).",
        "2 row(s) repeat the text of an earlier one; the first of each stays.",
    ]


def test_what_small_splits_can_show() -> None:
    small = said("Who wrote it ?", sizes={**SIZES, "test": 50, "seeds": 49})[2:]
    assert small == [
        "test: 50 items; 500 or more are advised. Two models on the same items differ measurably from 12.5 points on "
        "(80 % power, 10 % discordant answers).",
        "seeds: 49 items; 50 or more are advised.",
    ]


def test_settings_that_cut_texts_as_long_as_real_ones_are_named_with_what_would_do() -> None:
    long = said("word " * 300, train={"max_length": 64})[2:]
    assert [one.split(" (")[0] for one in long] == [
        "100% of the real texts are longer than generate.sampling.max_tokens",
        "100% of the real texts have more than filters.format.max_words",
        "100% of the real texts are longer than train.max_length",
    ]
    assert "380 would do for 95% of them" in long[0]
    assert "310 would do" in long[1]
    fits = said("word " * 300, train={"max_length": 512}, generate={"sampling": {"max_tokens": 380}},
                filters={"format": {"max_words": 310}})  # fmt: skip
    assert fits[2:] == []


def test_a_split_that_is_too_large_is_refused_as_the_run_would() -> None:
    with pytest.raises(DataError, match=r"asks for 900 items .*the data has 120 .*`split: \{seeds: 48, dev: 18"):
        said("Who wrote it ?", count=120)


def test_a_source_that_is_not_read_says_nothing() -> None:
    assert first_looks(make_spec(), Cleaned((), {}, ())) == []
