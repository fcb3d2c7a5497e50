"""The filters, in the order in which candidates meet them: cheap ones first, then the one that costs
money, and last the one that counts what is left.

To add one: a file beside these, a line in `TABLE`, a section in `spec.Filters`, a test.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.filters.base import Filter
from harness.filters.consistency import ConsistencyFilter
from harness.filters.difficulty import DifficultyFilter
from harness.filters.duplicates import DuplicateFilter
from harness.filters.format import FormatFilter
from harness.filters.judge import JudgeFilter
from harness.filters.leakage import LeakageFilter
from harness.filters.quota import QuotaFilter
from harness.filterspec import Filters
from harness.spec import Spec

TABLE: tuple[Filter, ...] = (
    FormatFilter(),
    ConsistencyFilter(),
    DifficultyFilter(),
    DuplicateFilter(),
    LeakageFilter(),
    JudgeFilter(),
    QuotaFilter(),
)


def enabled(filters: Filters) -> tuple[Filter, ...]:
    """The filters that a spec has switched on."""
    return tuple(item for item in TABLE if getattr(filters, item.name).enabled)


def without(spec: Spec, names: Iterable[str]) -> Spec:
    """The spec with the filters of these names off."""
    off = {name: getattr(spec.filters, name).model_copy(update={"enabled": False}) for name in names}
    return spec.model_copy(update={"filters": spec.filters.model_copy(update=off)})
