"""LoRA fine-tuning of an encoder for classification, and prediction with the result.

The student is the frozen encoder + LoRA adapters (Hu et al., arXiv 2106.09685) + a linear head on the mean of the last
hidden states. The head starts from the class means of the frozen encoder, so a few dozen rows are enough to start well.
This is the only module that imports `peft`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.spec import Train
from harness.train.adapt import precision_of, read_adapters, train_only_adapters, with_adapters, write_adapters
from harness.train.encoder import Encoder
from harness.train.packing import pooled

HEAD = "head.safetensors"
MEAN_OF = 32
"""Rows per class that the head starts from: a few dozen tell a mean, and all rows would cost a fifth of an epoch's
time and more."""
WARM_UP = 0.1
SHORTEST_CYCLE = 11
BLOCK = 25
"""Steps per point of the training curve, which early stopping looks at."""
FLAT = 0.005
"""A curve that fell by less than this over two blocks is flat (nats)."""

OnStep = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: a text, the index of its label, and its weight in the loss."""

    text: str
    label: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean training loss (nats) per `BLOCK` steps, the steps done, and p(its label) of each row at each visit."""

    losses: tuple[float, ...]
    steps: int
    seen: tuple[tuple[float, ...], ...]


class Student:
    """A trained model. `probabilities` answers for texts; `save` writes a PEFT folder."""

    def __init__(self, encoder: Encoder, upper: Any, head: nn.Linear) -> None:
        self.encoder = encoder
        self.upper = upper
        self.head = head

    def probabilities(self, texts: Sequence[str], batch_size: int = 128) -> NDArray[np.float64]:
        """Class probabilities, n × labels, in the order of `texts`."""
        states = self.encoder.states(texts)
        out = np.zeros((len(texts), self.head.out_features))
        self.upper.eval()
        with torch.inference_mode():
            for start in range(0, len(texts), batch_size):
                vectors = pooled(self.upper, states[start : start + batch_size])
                answers = torch.softmax(self.head(vectors).double(), dim=-1)
                out[start : start + batch_size] = answers.cpu().numpy()
        return out

    def save(self, folder: Path, base: str) -> None:
        """Write `adapter_model.safetensors`, `adapter_config.json` and the head. `base` is the public name of the base
        model; the bytes are the same on every machine."""
        write_adapters(self.upper, folder, base)
        save_file({"weight": self.head.weight.data, "bias": self.head.bias.data}, folder / HEAD)

    @classmethod
    def load(cls, folder: Path, encoder: Encoder, recipe: Train) -> Student:
        """Read what `save` wrote; only safetensors are read."""
        upper = read_adapters(encoder.fresh_upper(precision_of(recipe.precision, encoder.device)), folder)
        tensors = load_file(folder / HEAD)
        head = nn.Linear(tensors["weight"].shape[1], tensors["weight"].shape[0])
        head.load_state_dict(tensors)
        return cls(encoder, upper.eval(), head.to(encoder.device))


def train(
    rows: Sequence[Row], labels: int, encoder: Encoder, recipe: Train, *, seed: int, on_step: OnStep | None = None
) -> tuple[Student, Curve]:
    """Fine-tune on `rows`. Same rows, recipe, seed and machine: same weights.

    Raises ValueError when a label has no row: the head could not start. Raises `DataError` as `adapted` does.
    """
    present = {row.label for row in rows}
    if present != set(range(labels)):
        raise ValueError(f"no training row for label indices {sorted(set(range(labels)) - present)!r}")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory before writing it, and filling it first took a twentieth of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    states = encoder.states([row.text for row in rows])
    upper = adapted(encoder, recipe)
    student = Student(encoder, upper, head_from_means(upper, states, rows, labels, encoder))
    curve = _fit(student, states, rows, recipe, seed, on_step)
    upper.eval()
    return student, curve


def adapted(encoder: Encoder, recipe: Train) -> Any:
    """The upper layers with fresh LoRA adapters. Raises `DataError` where `lora.targets` names no layer of them."""
    return with_adapters(
        encoder.fresh_upper(precision_of(recipe.precision, encoder.device)),
        section="train",
        rank=recipe.lora.rank,
        alpha=recipe.lora.alpha,
        dropout=recipe.lora.dropout,
        targets=recipe.lora.targets,
        layers=range(encoder.cut, encoder.depth),
        pattern="layer",
    )


def head_from_means(
    upper: Any, states: Sequence[Tensor], rows: Sequence[Row], labels: int, encoder: Encoder
) -> nn.Linear:
    """A linear head whose rows point from the overall mean to each class mean of the untrained encoder, over the first
    `MEAN_OF` rows of each class."""
    upper.eval()
    first: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        first.setdefault(row.label, []).append(place)
    places = sorted(place for own in first.values() for place in own[:MEAN_OF])
    with torch.inference_mode():
        blocks = [[states[place] for place in places[i : i + 128]] for i in range(0, len(places), 128)]
        vectors = torch.cat([pooled(upper, block) for block in blocks])
    index = torch.tensor([rows[place].label for place in places], device=vectors.device)
    means = torch.stack([vectors[index == label].mean(0) for label in range(labels)])
    head = nn.Linear(encoder.width, labels).to(encoder.device)
    with torch.no_grad():
        head.weight.copy_(nn.functional.normalize(means - means.mean(0), dim=-1))
        head.bias.zero_()
    return head


def _fit(
    student: Student, states: Sequence[Tensor], rows: Sequence[Row], recipe: Train, seed: int, on_step: OnStep | None
) -> Curve:
    device = student.encoder.device
    adapters = [parameter for parameter in student.upper.parameters() if parameter.requires_grad]
    parameters = [*adapters, *student.head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.01, fused=True)
    # The schedule cannot be cut shorter than SHORTEST_CYCLE: its warm-up would then have no step.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.learning_rate, total_steps=max(recipe.steps, SHORTEST_CYCLE), pct_start=WARM_UP
    )
    targets = torch.tensor([row.label for row in rows], device=device)
    weights = torch.tensor([row.weight for row in rows], device=device)
    loss_of = nn.CrossEntropyLoss(reduction="none", label_smoothing=recipe.label_smoothing)
    train_only_adapters(student.upper)
    losses: list[float] = []
    curve: list[float] = []
    seen: list[list[float]] = [[] for _ in rows]
    for step, batch in enumerate(_batches(len(states), recipe, seed), start=1):
        vectors = pooled(student.upper, [states[index] for index in batch])
        logits = student.head(vectors)
        each = loss_of(logits, targets[batch])
        loss = (each * weights[batch]).sum() / weights[batch].sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(adapters, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        chances = torch.softmax(logits.detach().float(), -1).gather(1, targets[batch][:, None])[:, 0]
        for index, chance in zip(batch, chances.tolist(), strict=True):
            seen[index].append(chance)
        if on_step:
            on_step(step, recipe.steps)
        if step % BLOCK == 0:
            curve.append(float(np.mean(losses[-BLOCK:])))
            if recipe.early_stop and is_flat(curve):
                break
    return Curve(tuple(curve), len(losses), tuple(map(tuple, seen)))


def is_flat(curve: Sequence[float]) -> bool:
    """Whether the last two blocks brought less than `FLAT` nats.

    >>> is_flat([0.9, 0.5, 0.499, 0.498]), is_flat([0.9, 0.5, 0.4])
    (True, False)
    """
    return len(curve) >= 4 and min(curve[:-2]) - min(curve[-2:]) < FLAT


def _batches(rows: int, recipe: Train, seed: int) -> Iterator[list[int]]:
    """`recipe.steps` batches of row indices: epochs in seeded order."""
    generator = random.Random(seed)
    left = recipe.steps
    while left > 0:
        order = generator.sample(range(rows), rows)
        batches = [order[i : i + recipe.batch_size] for i in range(0, rows, recipe.batch_size)]
        yield from batches[:left]
        left -= len(batches)
