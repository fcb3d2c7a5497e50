from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import records
from harness.records import Cell, Cost, Plan, Quota

RECORDS = [value for value in vars(records).values() if inspect.isclass(value) and dataclasses.is_dataclass(value)]


@pytest.mark.parametrize("record", RECORDS)
def test_records_are_frozen_and_have_slots(record: type):
    assert record.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(record)


def test_costs_add_up_field_by_field():
    one = Cost(calls=1, cached=2, failed=3, prompt_tokens=4, completion_tokens=5, usd=0.25)
    two = Cost(*(10 * value for value in dataclasses.astuple(one)))
    assert dataclasses.astuple(one + two) == tuple(11 * value for value in dataclasses.astuple(one))
    assert sum([one, two], Cost()) == one + two


def test_a_plan_counts_its_candidates():
    a, b = Cell("label=A", {"label": "A"}), Cell("label=B", {"label": "B"})
    assert Plan(1, (Quota(a, 8), Quota(b, 16)), (), (), ()).candidates == 24
    assert Plan(1, (), (), (), ()).candidates == 0
    assert (a.label, b.label) == ("A", "B")


def test_records_need_the_standard_library_only():
    code = "import sys, harness.records; print([m for m in ('pydantic', 'numpy', 'torch', 'yaml') if m in sys.modules])"
    root = Path(harness.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
