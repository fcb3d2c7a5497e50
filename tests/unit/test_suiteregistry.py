"""Which base model a suite's student is registered with."""

from __future__ import annotations

import pytest
from answer_cases import TASK
from factories import make_spec

from harness.suiteregistry import _base  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("model", "base"), [("embedded", ""), ("models/x", ""), ("/models/x", "/models/x")])
def test_a_base_model_that_is_named_in_full_is_looked_for_where_the_spec_has_it(model: str, base: str) -> None:
    assert _base(make_spec(train={"model": model})) == base
    answers = make_spec(task=TASK)
    causal = answers.causal.model_copy(update={"model": model})
    assert _base(answers.model_copy(update={"causal": causal})) == base
