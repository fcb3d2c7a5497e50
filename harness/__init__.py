"""The harness: closed-loop synthetic data, proved on real held-out data.

For a notebook: `from harness import load, run, compare` (see `harness.api`). The names are found when they are asked
for, so that `import harness` loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import Experiment, Run, Variants, compare, load, run

__all__ = ["Experiment", "Run", "Variants", "compare", "load", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    from harness import api

    return getattr(api, name)
