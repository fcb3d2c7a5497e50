"""Retry-After and back-off."""

from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.llm.pacing import Backoff, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": f"Wed, 21 Oct 2015 07:28:{'1' * 400} GMT"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date():
    seconds = retry_after({"retry-after": email.utils.formatdate(time.time() + 3600, usegmt=True)})
    assert seconds is not None
    assert 3000 < seconds <= 3600


@given(st.text(max_size=10), st.integers(1, 60))
def test_backoff_repeats_grows_and_is_capped(key: str, attempt: int):
    backoff = Backoff(base=0.5, cap=30)
    step = min(30, 0.5 * 2 ** (attempt - 1))
    assert step / 2 <= backoff.delay(key, attempt) <= step
    assert backoff.delay(key, attempt) == backoff.delay(key, attempt)


def test_backoff_spreads_calls():
    assert len({Backoff().delay(f"call {number}", 1) for number in range(50)}) == 50
