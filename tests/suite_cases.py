"""A suite of finished runs in a store, made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from factories import make_spec
from run_cases import finish

from harness.comparedetail import Accepted, Detail, SliceRow
from harness.comparison import Comparison
from harness.records import Cost, Example, Origin
from harness.reports import RunReport
from harness.roundwords import PromptDiff
from harness.store import Store
from harness.suitefile import LoadedSuite, Variant

Right = Mapping[str, Mapping[int, int]]
"""Variant → seed → dev items of 100 that it has right."""


def make_suite(right: Right, folder: Path, seeds: tuple[int, ...] = (0, 1)) -> LoadedSuite:
    """Variants whose `train.steps` tells them apart; the first one has to be the base."""
    specs = {name: make_spec(train={"steps": 10 + place}) for place, name in enumerate(right)}
    return LoadedSuite(
        "trial",
        folder / "trial.yaml",
        folder,
        "mixed",
        seeds,
        tuple(
            Variant(
                name,
                {} if name == "base" else {"train.steps": str(spec.train.steps)},
                {
                    seed: spec.model_copy(
                        update={
                            "seed": seed,
                            "evaluate": spec.evaluate.model_copy(update={"test": False, "resamples": 400}),
                            "runtime": spec.runtime.model_copy(update={"store": folder / "runs"}),
                        }
                    )
                    for seed in seeds
                },
            )
            for name, spec in specs.items()
        ),
        (),
    )


def finish_suite(store: Store, right: Right) -> dict[str, dict[int, RunReport]]:
    """The first variant's runs pay 100 calls each, the others' 5; all stand on 100."""
    used = Cost(calls=100, prompt_tokens=1000, completion_tokens=500, usd=0.5)
    out: dict[str, dict[int, RunReport]] = {}
    for name, by_seed in right.items():
        cost = used if name == next(iter(right)) else Cost(calls=5, usd=0.025)
        out[name] = {
            seed: replace(
                finish(store, seed, {"seeds": 50, "mixed": count}, sealed=True, variant=name), used=used, cost=cost
            )
            for seed, count in by_seed.items()
        }
    return out


def _row(text: str, label: str = "ALPHA") -> Example:
    return Example(f"syn-{text[:4]}", text, label, {}, Origin.SYNTHETIC)


def make_detail(found: Comparison) -> Detail:
    """What the runs of `found` might show side by side, some of it markup."""
    names = [line.variant for line in found.lines]
    return Detail(
        seed=0,
        funnels={name: {"planned": 100, "accepted": 40 + place} for place, name in enumerate(names)},
        stages=("planned", "accepted"),
        slices=(SliceRow("length=<i>long", {name: (0.5 + 0.1 * place, 40) for place, name in enumerate(names)}),),
        slices_left_out=3,
        accepted=(
            Accepted("better", 2, 1, 1, 38, (_row("<script>alert(1)</script>"),), (_row("gone"),),
                     ((_row("kept"), _row("kept", "BETA")),)),
        ),
        prompts={"better": (PromptDiff("ALPHA", ((" ", "same line"), ("-", "<old>"), ("+", "<new>"))),)},
    )  # fmt: skip
