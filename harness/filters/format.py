"""Is it a text of the asked form at all?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from harness.answers import answer_fault
from harness.filters.base import Context, Stamp, Standing
from harness.records import Verdict
from harness.reports import FilterWorth


class FormatFilter:
    """Length in words, the pattern that every text must contain, and no word thrice in a row (a small model's loop).
    Of answers in text, length and schema."""

    name = "format"
    version = 1

    async def __call__(self, standing: Sequence[Standing], context: Context) -> Iterable[Verdict]:
        return self._verdicts(standing, context)

    def _verdicts(self, standing: Sequence[Standing], context: Context) -> Iterator[Verdict]:
        stamp = Stamp(self.name, self.version)
        rule = context.spec.task.answer
        for item in standing:
            reason = self._fault(item.candidate.example.text, context) or (
                answer_fault(item.answer, rule) if rule else ""
            )
            yield stamp.drop(item.candidate, reason) if reason else stamp.keep(item.candidate)

    def worth(self, context: Context) -> FilterWorth | None:  # noqa: ARG002 - form says nothing of correctness
        return None

    def _fault(self, text: str, context: Context) -> str:
        rule = context.spec.filters.format
        words = text.split()
        if len(words) < rule.min_words:
            return "too short"
        if len(words) > rule.max_words:
            return "too long"
        if rule.must_match and not re.search(rule.must_match, text):
            return "pattern missing"
        if any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False)):
            return "repeats itself"
        return ""
