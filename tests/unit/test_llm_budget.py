"""The budget: what is refused, what is said, and that the limits hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import spec
from harness.errors import BudgetError
from harness.llm.budget import Budget
from harness.records import Cost


def test_no_limits_let_everything_through():
    budget = Budget(spec.Budget())
    for _ in range(100):
        budget.settle(budget.reserve(10**9, 10**6), Cost(calls=1))
    assert budget.spent.calls == 100


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (spec.Budget(calls=3), r"budget\.calls: 3 calls allowed, no room for another call"),
        (spec.Budget(tokens=100), r"budget\.tokens: 100 tokens allowed, no room for a call of up to 30 tokens"),
        (spec.Budget(usd=0.5), r"budget\.usd: \$0\.5 allowed, no room for a call of up to \$0\.200000"),
    ],
)
def test_each_limit_names_itself_and_what_was_spent(limits: spec.Budget, says: str):
    spent = Cost(calls=2, failed=1, prompt_tokens=50, completion_tokens=40, usd=0.4)
    with pytest.raises(BudgetError, match=says + r".*3 calls \(1 of them failed\), 90 tokens, \$0\.4000.*same command"):
        Budget(limits, spent).reserve(30, 0.2)


def test_no_call_goes_out_once_the_minutes_are_used_up():
    seconds = [119.9]
    budget = Budget(spec.Budget(minutes=2), worked=lambda: seconds[0])
    budget.reserve(1, 0)
    seconds[0] = 120.0
    with pytest.raises(BudgetError, match=r"budget\.minutes: 2 minutes of work allowed, no room for another call"):
        budget.reserve(1, 0)


def test_cached_answers_cost_nothing():
    budget = Budget(spec.Budget(calls=1), Cost(cached=50))
    budget.reserve(1, 0)


def test_a_settled_call_gives_back_what_it_did_not_take():
    budget = Budget(spec.Budget(tokens=100))
    first = budget.reserve(60, 0)
    with pytest.raises(BudgetError):
        budget.reserve(60, 0)
    budget.settle(first, Cost(calls=1, completion_tokens=10))
    budget.reserve(60, 0)
    assert budget.in_flight == 1


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), max_size=40), st.integers(1, 4))
def test_limits_hold_if_no_call_takes_more_than_it_reserved(calls: list[tuple[int, float]], width: int):
    """`width` calls are in flight at a time; each takes a share of its worst case."""
    budget = Budget(spec.Budget(tokens=100, usd=0.1))
    flying: list[tuple[object, int, float]] = []
    for tokens, share in calls:
        if len(flying) == width:
            reservation, most, taken = flying.pop(0)
            real = Cost(calls=1, completion_tokens=int(most * taken), usd=most * taken / 1000)
            budget.settle(reservation, real)  # type: ignore[arg-type]
        try:
            flying.append((budget.reserve(tokens, tokens / 1000), tokens, share))
        except BudgetError:
            continue
    for reservation, most, taken in flying:
        budget.settle(reservation, Cost(calls=1, completion_tokens=int(most * taken), usd=most * taken / 1000))  # type: ignore[arg-type]
    assert budget.spent.completion_tokens <= 100
    assert budget.spent.usd <= 0.1 + 1e-9
    assert budget.in_flight == 0
