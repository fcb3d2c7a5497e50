"""What each arm is trained on. All arms share one recipe and one number of steps.

| arm | rows |
|---|---|
| `base` | none: the frozen encoder, nearest label description |
| `seeds` | the real seeds |
| `synthetic` | accepted synthetic rows |
| `mixed` | seeds and accepted synthetic rows: what the loop delivers |
| `real` | real pool rows, as many as `synthetic` has |
| `synthetic_equal` | `synthetic` cut to the pool's size, trained only where it has more rows than the pool |
| `all_real` | seeds and the whole pool: the ceiling |

With controls (`harness/controls.py`) there are besides `closed` and one arm per control: seeds and the same number of
rows from the loop and from each control.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Example


@dataclass(frozen=True, slots=True)
class Material:
    """The rows there are; `accepted` has no held-out rows any more."""

    seeds: Sequence[Example]
    pool: Sequence[Example]
    accepted: Sequence[Example]


def rows_of(arm: str, material: Material, seed: int) -> list[Example] | None:
    """Training rows of an arm; None where the arm cannot be had (no pool) or trains nothing (`base`)."""
    accepted, pool = list(material.accepted), list(material.pool)
    match arm:
        case "seeds":
            return list(material.seeds)
        case "synthetic":
            return accepted
        case "mixed":
            return [*material.seeds, *accepted]
        case "real":
            return draw(pool, len(accepted), seed) if pool else None
        case "synthetic_equal":
            return draw(accepted, len(pool), seed) if pool and len(accepted) > len(pool) else None
        case "all_real":
            return [*material.seeds, *pool] if pool else None
        case _:
            return None


def draw(rows: Sequence[Example], size: int, seed: int) -> list[Example]:
    """`size` rows at random (all of them if there are fewer), in the order they came.

    A label that chance would leave out keeps one row, if there is room: a model cannot be trained without it.
    """
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    firsts = {rows[index].label: index for index in reversed(order)}.values()
    chosen = list(dict.fromkeys([*sorted(firsts, key=order.index), *order]))[:size]
    return [rows[index] for index in sorted(chosen)]
