"""What a person has to know before a plan's figures: rows left out, a split that is too large or shows little, texts
that are longer than the settings let them be."""

from __future__ import annotations

from collections.abc import Sequence

from harness.clean import REPEATED, Cleaned, Item
from harness.forecast import Table
from harness.llm.wire import estimate_tokens
from harness.spec import Spec
from harness.split import check_sizes, size_warnings, sizes_of
from harness.texts import word_count

MOST_CUT = 0.1
"""Share of the real texts beyond a setting from which on it is worth a word."""
LONG = 0.95
"""So many of the real texts should fit."""


def first_looks(spec: Spec, source: Cleaned) -> list[Table]:
    """A table of warnings, or none. `source` has no items where it was not read.

    Raises `DataError` where the split asks for more items than there are, as the run would.
    """
    if not source.items:
        return []
    sizes = sizes_of(spec.data.split)
    check_sizes(sizes, len(source.items))
    said = [*source.warnings, *_repeats(source), *size_warnings(sizes), *_lengths(spec, source.items)]
    return [Table("Look at this first", ("",), tuple((one,) for one in said))] if said else []


def _repeats(source: Cleaned) -> list[str]:
    count = source.dropped.get(REPEATED, 0)
    return [f"{count:,} row(s) repeat the text of an earlier one; the first of each stays."] if count else []


def _lengths(spec: Spec, items: Sequence[Item]) -> list[str]:
    """Settings that cut or drop texts as long as real ones."""
    texts = [item.text for item in items]
    tokens, words = sorted(map(estimate_tokens, texts)), sorted(map(word_count, texts))
    form = spec.filters.format
    said: list[str] = []
    if share := _beyond(tokens, spec.generate.sampling.max_tokens):
        said.append(
            f"{share:.0%} of the real texts are longer than generate.sampling.max_tokens "
            f"({spec.generate.sampling.max_tokens} tokens, estimated): answers as long are cut off, paid for, and "
            f"never become rows. {_fitting(tokens)} would do for {LONG:.0%} of them."
        )
    if form.enabled and (share := _beyond(words, form.max_words)):
        said.append(
            f"{share:.0%} of the real texts have more than filters.format.max_words ({form.max_words}): rows as long "
            f"are dropped. {_fitting(words)} would do for {LONG:.0%} of them."
        )
    if spec.task.answer is None and (share := _beyond(tokens, spec.train.max_length)):
        said.append(
            f"{share:.0%} of the real texts are longer than train.max_length ({spec.train.max_length} tokens, "
            "estimated): the student reads their beginning only."
        )
    return said


def _beyond(sizes: Sequence[int], limit: int) -> float:
    """The share above the limit; 0 where it is small enough not to matter."""
    share = sum(size > limit for size in sizes) / len(sizes)
    return share if share > MOST_CUT else 0.0


def _fitting(sizes: Sequence[int]) -> int:
    """A round number that so many of the sorted sizes do not exceed.

    >>> _fitting([12, 30, 41])
    50
    """
    return -(-sizes[min(len(sizes) - 1, int(LONG * len(sizes)))] // 10) * 10
