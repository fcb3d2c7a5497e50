"""Fine-tuning of a small generative model on (prompt, answer) rows, with LoRA or of all its parameters.

The loss is on the answers and their end tokens only (for rows without a prompt: on the whole text). LoRA is that of
`harness.train.lora`; optimiser and schedule are the classifier's: AdamW, one cycle.
"""

from __future__ import annotations

import copy
import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.causalspec import CausalTrain
from harness.errors import DataError
from harness.store import digest
from harness.train.adapt import precision_of, train_only_adapters, with_adapters
from harness.train.causal_base import Base
from harness.train.checkpoint import read_checkpoint, write_checkpoint
from harness.train.generative import Student
from harness.train.line import attend_in_line, line, logits, takes_lines
from harness.train.sequences import Encoded, Format, Row, passes

VERSION = 1
WARM_UP = 0.1
START = 0.04
"""Learning rate of the first step, as a share of the highest."""
WEIGHT_DECAY = 0.01

OnStep = Callable[[int, int], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Curve:
    """How a training went: the mean loss per token of each step (nats), what was read, and what had to be cut."""

    losses: tuple[float, ...]
    tokens: int
    """Of all rows, once."""
    answer_tokens: int
    prompts_cut: int
    """Rows whose prompt lost its beginning, because it is longer than `max_length` leaves room for."""
    answers_cut: int
    """Rows whose answer lost its end."""

    @property
    def steps(self) -> int:
        return len(self.losses)


def train(
    rows: Sequence[Row],
    base: Base,
    recipe: CausalTrain,
    *,
    seed: int,
    on_step: OnStep | None = None,
    checkpoint: Path | None = None,
) -> tuple[Student, Curve]:
    """Fine-tune `base` on `rows`. Same rows, recipe, seed, machine and number of threads: same weights.

    With `checkpoint` the state is written there every `recipe.checkpoint_every` steps, and a training that was killed
    goes on from it to the same weights; the file stays, for the caller to delete once the student is safe. Raises
    `DataError` without rows, where the format does not suit the model and where `lora.targets` names no layer;
    `StoreError` for a checkpoint of something else.
    """
    if not rows:
        raise DataError("a generative student cannot be trained on no rows.")
    form = Format(base, recipe)
    encoded = [form.row(row) for row in rows]
    curve = Curve(
        (),
        sum(len(one.ids) for one in encoded),
        sum(len(one.targets) for one in encoded),
        sum(one.prompt_cut for one in encoded),
        sum(one.answer_cut for one in encoded),
    )
    _tell_cuts(curve, recipe, len(rows))
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory before writing it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    torch.manual_seed(seed % 2**63)
    model = trainable(base, recipe)
    key = digest([VERSION, torch.__version__, base.digest, recipe.key(), seed, [asdict(row) for row in rows]])
    losses = Fit(model, base, encoded, [row.weight for row in rows], recipe, seed).run(on_step, checkpoint, key)
    model.eval()
    return Student(base, recipe, model), replace(curve, losses=tuple(losses))


def trainable(base: Base, recipe: CausalTrain) -> Any:
    """A copy of the base model: frozen, with fresh adapters, or free in all its parameters."""
    model = copy.deepcopy(base.model)
    if recipe.lora is None:
        return model.requires_grad_(True).train()
    lora = recipe.lora
    depth = int(model.config.num_hidden_layers)
    adapted = with_adapters(
        model.to(precision_of(recipe.precision, model.device)),
        section="causal",
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        targets=lora.targets,
        layers=None if lora.upper_layers is None else range(max(0, depth - lora.upper_layers), depth),
    )
    return train_only_adapters(adapted)


class Fit:
    """The optimiser's loop over the rows of one training."""

    def __init__(
        self,
        model: Any,
        base: Base,
        rows: Sequence[Encoded],
        weights: Sequence[float],
        recipe: CausalTrain,
        seed: int,
    ) -> None:
        self._model, self._rows, self._weights, self._recipe, self._seed = model, rows, weights, recipe, seed
        self._lengths = [len(row.ids) for row in rows]
        self._device = next(model.parameters()).device
        self._joined = takes_lines(base.model)
        if self._joined:
            attend_in_line(model)
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def run(self, on_step: OnStep | None, checkpoint: Path | None, key: str) -> list[float]:
        """Mean loss per token of each step."""
        recipe = self._recipe
        steps = recipe.steps_for(len(self._rows))
        optimiser = torch.optim.AdamW(self._parameters, lr=0.0, weight_decay=WEIGHT_DECAY, fused=True)
        losses = read_checkpoint(checkpoint, key, optimiser) if checkpoint else []
        for step, batch in enumerate(batches(len(self._rows), recipe.batch_size, steps, self._seed)):
            if step < len(losses):
                continue
            # Dropout is drawn anew for each step, so that one after an interruption draws the same.
            torch.manual_seed((self._seed * 1_000_003 + step) % 2**63)
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * one_cycle(step, steps)
            losses.append(self.gradients(batch))
            nn.utils.clip_grad_norm_(self._parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            if on_step:
                on_step(step + 1, steps)
            if checkpoint and recipe.checkpoint_every and (step + 1) % recipe.checkpoint_every == 0:
                write_checkpoint(checkpoint, key, losses, optimiser)
        return losses

    def gradients(self, batch: Sequence[int]) -> float:
        """Add up the gradients of the batch's weighted mean loss per token; gives that loss."""
        total = sum(self._weights[place] * len(self._rows[place].targets) for place in batch)
        whole = 0.0
        for places in passes(self._lengths, batch, self._recipe.pass_tokens, alone=not self._joined):
            own = line([self._rows[place] for place in places], self._device)
            weights = torch.tensor([self._weights[place] for place in places], device=self._device)[own.owner]
            each = nn.functional.cross_entropy(
                logits(self._model, own, joined=self._joined), own.targets, reduction="none"
            )
            loss = (each * weights).sum() / total
            loss.backward()
            whole += loss.item()
        return whole


def one_cycle(step: int, steps: int) -> float:
    """Share of the highest learning rate at a step, counted from 0 (Smith & Topin, arXiv 1708.07120): up over the first
    tenth, then down along a cosine.

    >>> [round(one_cycle(step, 20), 2) for step in (0, 1, 2, 11, 19)]
    [0.04, 0.52, 1.0, 0.5, 0.01]
    """
    rising = round(WARM_UP * steps)
    if step < rising:
        return START + (1 - START) * step / rising
    return (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2


def batches(rows: int, size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """`steps` batches of row numbers: epochs in seeded order."""
    generator = random.Random(seed)
    left = steps
    while left > 0:
        order = generator.sample(range(rows), rows)
        epoch = [order[start : start + size] for start in range(0, rows, size)]
        yield from epoch[:left]
        left -= len(epoch)


def _tell_cuts(curve: Curve, recipe: CausalTrain, rows: int) -> None:
    if curve.prompts_cut or curve.answers_cut:
        log.warning(
            "causal.max_length: %d tokens cut the beginning of %d prompts and the end of %d answers, of %d rows",
            recipe.max_length,
            curve.prompts_cut,
            curve.answers_cut,
            rows,
        )
