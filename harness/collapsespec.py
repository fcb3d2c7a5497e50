"""The section `collapse` of a spec: generations of a generative student, each trained on what the one before wrote."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from harness.taskspec import Section

GenerationArm = Literal["replace", "accumulate", "anchored", "filtered", "verified"]


class TinyModel(Section):
    """A small model from scratch, its tokenizer learnt from the real rows; for statistics that need many trainings."""

    vocabulary: PositiveInt = 2048
    width: PositiveInt = 128
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    context: PositiveInt = 256


class Probe(Section):
    """What every generation is asked besides, always the same: the same prompts, decoding and number of texts. Nothing
    is ever trained on it."""

    items: Annotated[int, Field(ge=50)] = 150
    """Texts per generation."""
    batches: Annotated[int, Field(ge=4)] = 8
    """Independent batches of generation 0: how much the statistics vary where nothing changes."""


class RoundProbe(Section):
    """The frozen probe of a run (`harness/probe.py`): in every round the generator also answers the same prompts, which
    no feedback edits and nothing is trained on. Shows collapse of the generator, or an endpoint that changed."""

    enabled: bool = True
    items: Annotated[int, Field(ge=50)] = 100
    """Prompts; each is one call in each round."""
    batches: PositiveInt = 1
    """Independent sets of answers in round 1. Eight show how much the statistics vary where nothing changes; with fewer
    than four the noise between the items of a set stands in."""


class Generations(Section):
    """`harness collapse run`: generation 0 learns the real rows (`data.split.seeds`), a later one what `arms` say."""

    generations: PositiveInt = 5
    """After generation 0."""
    items: PositiveInt = 300
    """Texts that each generation writes for the next one to learn from."""
    arms: list[GenerationArm] = Field(default=["replace", "accumulate", "anchored"], min_length=1)
    """What a generation is trained on. `replace`: the texts of the one before. `accumulate`: the real rows and the
    texts of all generations before. `anchored`: as `replace`, a share of the texts replaced by real rows. `filtered`:
    as `replace`, without duplicates and malformed texts. `verified`: as `replace`, only texts that a classifier trained
    on the real rows gives the label they were written for."""
    real_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of real rows in `anchored`."""
    over_generation: Annotated[float, Field(ge=1, le=20)] = 2.0
    """Texts written per text that is wanted, where some are sorted out."""
    rare_share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Labels, and values of `data.slices.columns`, that make up less of the real rows are rare slices: whether later
    generations still write about them is shown by generation and confirms the verdict."""
    temperature: Annotated[float, Field(gt=0, le=5)] = 1.0
    max_tokens: PositiveInt = 40
    probe: Probe = Probe()
    tiny: TinyModel | None = None
    """Instead of `causal.model`; needs `causal.lora: null`."""
