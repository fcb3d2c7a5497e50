"""A generative student: it answers prompts, says how surprised it is by texts, and is saved and read again."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.causalspec import CausalTrain
from harness.store import digest
from harness.train.adapt import merged, precision_of, read_adapters, write_adapters
from harness.train.causal_base import Base, find_base, load_base
from harness.train.decoding import Sampling, continued
from harness.train.line import attend_apart, attend_in_line, line, logits, takes_lines
from harness.train.sequences import Format, Row, passes

if TYPE_CHECKING:
    from harness.train.causal import Curve

GREEDY = Sampling()
NLL_TOKENS = 512
"""Tokens that go through the model together to be scored: with 49,152 logits each they take 100 MB."""

CARD = """\
---
base_model: {base}
library_name: {library}
---
# {title} (seed {seed})

{what} trained on {rows} rows ({tokens} tokens, {answer_tokens} of them answers), {steps} steps of {batch_size} rows,
learning rate {learning_rate}; mean loss per token of the last step {loss}.
Prompt format `{format}`, at most {max_length} tokens: {prompts_cut} prompts lost their beginning, {answers_cut} answers
their end.
Base weights sha256: {digest}.

Measured quality stands in the run's report, on real held-out items.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a student wrote: text without blanks around it, its tokens, whether it ended by itself, and whether the
    prompt had to lose its beginning."""

    text: str
    tokens: int
    finished: bool
    prompt_cut: bool


@dataclass(frozen=True, slots=True)
class Surprise:
    """`nll`: the sum of −log p over the item's answer and its end (nats), `tokens` of them; `entropy`: the mean entropy
    of the model's next-token distribution over the same places (nats). An answer that `max_length` cut has no end."""

    nll: float
    tokens: int
    entropy: float


class Student:
    """A base model and what was trained on it: adapters, all its parameters, or nothing (the arm `base`)."""

    def __init__(self, base: Base, recipe: CausalTrain, tuned: Any = None) -> None:
        self.base = base
        self.recipe = recipe
        self._tuned = tuned
        self._format = Format(base, recipe)

    @cached_property
    def model(self) -> Any:
        """The model that answers, in float32, adapters merged in: a forward pass per token has no time for them."""
        if self._tuned is None:
            return self.base.model
        return self._tuned if self.recipe.lora is None else merged(self.base.model, self._tuned)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        seed: int = 0,
        batch_size: int = 64,
    ) -> list[Answer]:
        """An answer to each prompt, in their order; an empty prompt asks for a whole text.

        The k-th copy of a prompt has a seed of its own, whatever stands beside it: so an answer depends on `seed`, the
        prompt and k. Prompts longer than the recipe's `max_length`, or than the context leaves room for, lose their
        beginning. At most `batch_size` are written side by side, fewer where they are long. Raises ValueError where
        `max_new_tokens` fills the context.
        """
        room = self.base.context - max_new_tokens
        if max_new_tokens < 1 or room < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens!r}: 1 to {self.base.context - 1} are allowed")
        opened = [self._format.prompt(prompt, room) for prompt in prompts]
        attend_apart(self.model)
        written = continued(
            self.model,
            [ids for ids, _ in opened],
            _seeds(prompts, seed),
            stops=self._format.stops,
            pad=self.base.pad,
            sampling=sampling,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
        )
        return [
            Answer(
                self.base.tokenizer.decode(one.ids, skip_special_tokens=True).strip(), len(one.ids), one.finished, cut
            )
            for one, (_, cut) in zip(written, opened, strict=True)
        ]

    def nll(self, items: Sequence[Row | str]) -> list[Surprise]:
        """How surprised the student is by each answer after its prompt, or by each text alone; weights are ignored."""
        rows = [self._format.row(Row("", item) if isinstance(item, str) else item) for item in items]
        joined = self._takes_lines
        if joined:
            attend_in_line(self.model)
        found: dict[int, Surprise] = {}
        with torch.inference_mode():
            for places in passes([len(row.ids) for row in rows], range(len(rows)), NLL_TOKENS, alone=not joined):
                own = line([rows[place] for place in places], self.model.device)
                shares = torch.log_softmax(logits(self.model, own, joined=joined), dim=-1)
                surprise = -shares.gather(1, own.targets[:, None])[:, 0].double()
                entropy = -(shares.exp() * shares).sum(1).double()
                for at, place in enumerate(places):
                    mine = own.owner == at
                    found[place] = Surprise(float(surprise[mine].sum()), int(mine.sum()), float(entropy[mine].mean()))
        return [found[place] for place in range(len(rows))]

    @cached_property
    def _takes_lines(self) -> bool:
        return takes_lines(self.base.model)

    def save(self, folder: Path, *, title: str, rows: int, seed: int, curve: Curve) -> None:
        """Write the student and a card: `adapter_model.safetensors` and `adapter_config.json` (PEFT), or, without
        adapters, the whole model as a folder that `causal.model` can name. Raises ValueError for an untrained one."""
        if self._tuned is None:
            raise ValueError("the untrained base model has nothing to save")
        if self.recipe.lora is None:
            self.write_merged(folder)
        else:
            write_adapters(self._tuned, folder, self.base.name)
        (folder / "README.md").write_text(self._card(title, rows, seed, curve), encoding="utf-8")

    def write_merged(self, folder: Path) -> None:
        """Write the whole model and its tokenizer with `save_pretrained`."""
        self.model.save_pretrained(folder)
        self.base.tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path, base: Base, recipe: CausalTrain) -> Student:
        """Read what `save` wrote; only safetensors are read."""
        if recipe.lora is None:
            return cls(base, recipe, load_base(find_base(str(folder)), str(base.model.device)).model)
        frozen = copy.deepcopy(base.model).to(precision_of(recipe.precision, base.model.device))
        return cls(base, recipe, read_adapters(frozen, folder).eval())

    def _card(self, title: str, rows: int, seed: int, curve: Curve) -> str:
        recipe, lora = self.recipe, self.recipe.lora
        return CARD.format(
            base=self.base.name,
            library="transformers" if lora is None else "peft",
            title=title,
            seed=seed,
            what="All parameters" if lora is None else f"LoRA adapter (rank {lora.rank}, α {lora.alpha})",
            rows=rows,
            tokens=curve.tokens,
            answer_tokens=curve.answer_tokens,
            steps=curve.steps,
            batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            loss=f"{curve.losses[-1]:.3f} nats",
            format=recipe.format,
            max_length=recipe.max_length,
            prompts_cut=curve.prompts_cut,
            answers_cut=curve.answers_cut,
            digest=self.base.digest,
        )


def _seeds(prompts: Sequence[str], seed: int) -> list[int]:
    """One for each prompt and the number of its copies before it."""
    seen: Counter[str] = Counter()
    found: list[int] = []
    for prompt in prompts:
        found.append(int(digest([seed, prompt, seen[prompt]]), 16))
        seen[prompt] += 1
    return found
