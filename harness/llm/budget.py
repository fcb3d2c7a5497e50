"""The hard stop in calls, tokens, money and minutes. What earlier processes spent comes from the cache's ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness import spec
from harness.errors import BudgetError
from harness.records import Cost


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most a call in flight may take."""

    tokens: int
    usd: float


class Budget:
    """Counts what was spent and what calls in flight may still take, and refuses the call that could exceed a limit.

    A call is let through only if its worst case (estimated prompt + all choices at full length) still fits, so
    the limits hold up to the error of the prompt's estimate. A failed call counts as a call. `worked` says how many
    seconds the run has been worked on.
    """

    def __init__(
        self, limits: spec.Budget, spent: Cost | None = None, worked: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.limits = limits
        self._worked = worked
        self.spent = spent or Cost()
        self.in_flight = 0
        self._tokens = 0
        self._usd = 0.0

    def reserve(self, tokens: int, usd: float, ledger: Callable[[], Cost] = Cost) -> Reservation:
        """Set a call's worst case aside. Raises `BudgetError` naming the limit and what was spent.

        `ledger` says what all processes of the run have spent by now; another one may be going on beside this. It reads
        the disk, so it is asked only where a limit depends on it.
        """
        limits = self.limits
        spent = self.spent
        if (limits.calls, limits.tokens, limits.usd) != (None, None, None):
            # A cache that was set aside has a ledger that begins at nothing.
            spent = max(spent, ledger(), key=lambda one: one.calls + one.failed)
        calls = spent.calls + spent.failed + self.in_flight
        used_tokens = spent.prompt_tokens + spent.completion_tokens
        if limits.calls is not None and calls + 1 > limits.calls:
            raise self._stop(spent, "calls", f"{limits.calls} calls", "another call")
        if limits.tokens is not None and used_tokens + self._tokens + tokens > limits.tokens:
            raise self._stop(spent, "tokens", f"{limits.tokens} tokens", f"a call of up to {tokens} tokens")
        if limits.usd is not None and spent.usd + self._usd + usd > limits.usd:
            raise self._stop(spent, "usd", f"${limits.usd:g}", f"a call of up to ${usd:.6f}")
        if limits.minutes is not None and self._worked() >= 60 * limits.minutes:
            raise self._stop(spent, "minutes", f"{limits.minutes:g} minutes of work", "another call")
        self.in_flight += 1
        self._tokens += tokens
        self._usd += usd
        return Reservation(tokens, usd)

    def settle(self, reservation: Reservation, cost: Cost) -> None:
        """Replace a reservation by what the call really took."""
        self.in_flight -= 1
        self._tokens -= reservation.tokens
        self._usd -= reservation.usd
        if not self.in_flight:
            self._usd = 0.0
        self.spent = self.spent + cost

    def _stop(self, spent: Cost, name: str, limit: str, wanted: str) -> BudgetError:
        failed = f" ({spent.failed} of them failed)" if spent.failed else ""
        return BudgetError(
            f"budget.{name}: {limit} allowed, no room for {wanted}. Spent so far: {spent.calls + spent.failed} calls"
            f"{failed}, {spent.prompt_tokens + spent.completion_tokens} tokens, ${spent.usd:.4f}. Every answer is "
            f"kept: raise `budget.{name}` and run the same command again to go on from here."
        )
