"""Row 31: two arms that are equally good, compared again and again: how often does the harness call one better?"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from faultlist.row import Options, Row

RUNS, ITEMS, RIGHT, ALPHA = 300, 400, 0.8, 0.05


def measure(options: Options) -> Sequence[Row]:
    from eval.score import compare
    from harness.records import Example, Origin, Prediction, Status

    chance = random.Random(options.seed)
    items = [Example(f"real-{place}", f"text {place}", "ab"[place % 2], {}, Origin.REAL) for place in range(ITEMS)]

    def arm() -> list[Prediction]:
        said = [one.label if chance.random() < RIGHT else "ab"[one.label == "a"] for one in items]
        return [Prediction(one.id, Status.OK, label, 0.9) for one, label in zip(items, said, strict=True)]

    better = worse = 0
    for _ in range(RUNS):
        found = compare("a", "b", items, arm(), arm(), "accuracy", 200, options.seed).difference
        assert found.low is not None
        assert found.high is not None
        better += found.low > 0
        worse += found.high < 0
    most = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
    rate = (better + worse) / RUNS
    figure = (
        f"called different {rate:.3f} (better {better}, worse {worse} of {RUNS}; {ALPHA} is meant, {most:.3f} within "
        "chance)"
    )
    fault = f"two arms of the same quality ({RIGHT:.0%} right), {ITEMS} items"
    return [Row(31, fault, RUNS, rate <= most, figure, options.seed)]
