"""A suite's test splits are opened for all seeds or for none."""

from __future__ import annotations

from pathlib import Path

import pytest
from suite_cases import finish_suite, make_suite

from harness.comparison import Finished
from harness.errors import DataError, LeakageError
from harness.progress import Silent
from harness.real import read_split
from harness.seal import TestSeal, openings
from harness.store import Store
from harness.suiteopening import open_together

RIGHT = {"base": {0: 70, 1: 72}, "other": {0: 90, 1: 93}}


def seal_of(store: Store, finished: Finished, seed: int) -> TestSeal:
    return read_split(store.find(finished["base"][seed].artefacts["split"])).test


def test_one_seed_that_may_not_be_opened_leaves_the_others_sealed(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    finished = finish_suite(store, RIGHT)
    seal_of(store, finished, 1).open(store, "run-other", "decision")
    with pytest.raises(LeakageError, match=r"were looked at before, by run-other"):
        open_together(make_suite(RIGHT, tmp_path), finished, store, Silent(), "")
    assert [look.run for look in openings(store)] == ["run-other"]


def test_seeds_with_the_same_test_items_are_refused_with_what_to_do(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    finished = finish_suite(store, RIGHT)
    same = {name: {0: runs[0], 1: runs[0]} for name, runs in finished.items()}
    with pytest.raises(DataError, match=r"seeds 0 and 1 have the same test items.*data\.split\.seed"):
        open_together(make_suite(RIGHT, tmp_path), same, store, Silent(), "")
    assert openings(store) == ()
