"""From prompts and answers to tokens: the format, where the loss begins, and what has to be cut.

A row (prompt "Who wrote Emma ?", answer "Jane Austen") becomes, in the format `plain` of SmolLM2,

    Who wrote Emma ? Jane Austen<|im_end|>
                    └── loss ────────────┘

and in the format `chat` the same between the turns of the model's chat template. A row without a prompt is plain text
for language modelling: the start token, the text, the end token, with loss on all but the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.causalspec import CausalTrain
from harness.errors import DataError
from harness.train.causal_base import Base

SENTINEL = "ANSWER"


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: what is asked, what should be answered, and the weight of its tokens in the loss."""

    prompt: str
    answer: str
    weight: float = 1.0

    @property
    def plain_text(self) -> bool:
        return not self.prompt.strip()


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokens of a row; the loss is on `ids[answer:]`, the answer and the end token."""

    ids: tuple[int, ...]
    answer: int
    prompt_cut: bool = False
    answer_cut: bool = False

    @property
    def targets(self) -> tuple[int, ...]:
        return self.ids[self.answer :]


class Format:
    """How the prompts and answers of one base model become tokens. Raises `DataError` for a `format` that it lacks."""

    def __init__(self, base: Base, recipe: CausalTrain) -> None:
        self._tokenizer = base.tokenizer
        self._start = base.start
        self._chat = recipe.format == "chat"
        self._max_length = min(recipe.max_length, base.context)
        self._base = base
        if self._chat and not getattr(base.tokenizer, "chat_template", None):
            raise DataError(f"causal.format: the tokenizer of {base.name!r} has no chat template. Set `format: plain`.")

    @cached_property
    def end(self) -> int:
        """The token that ends an answer: in a chat what the template writes after it, where that is a special token."""
        if not self._chat:
            return self._base.end
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": SENTINEL}]
        after = self._tokenizer.apply_chat_template(turns, tokenize=False).rpartition(SENTINEL)[2]
        ids = self._tokens(after)
        return ids[0] if ids and ids[0] in self._tokenizer.all_special_ids else self._base.end

    @property
    def stops(self) -> frozenset[int]:
        return frozenset({self.end, self._base.end})

    def row(self, row: Row) -> Encoded:
        """Tokens to learn from, at most `max_length`. What does not fit is cut from the beginning of the prompt, down
        to a quarter of `max_length`; an answer that does not fit even so loses its end, and then has no end token,
        which would teach to stop there."""
        lead = "" if row.plain_text or self._chat or row.prompt.endswith("\n") else " "
        wanted = [*self._tokens(lead + row.answer), self._base.end if row.plain_text else self.end]
        least = 1 if row.plain_text else max(self._bare, self._max_length // 4)
        if least >= self._max_length:
            raise self._too_short(row.prompt)
        answer = wanted[: self._max_length - min(least, len(self.prompt(row.prompt)[0]))]
        opening, cut = self.prompt(row.prompt, self._max_length - len(answer))
        return Encoded((*opening, *answer), len(opening), cut, len(answer) < len(wanted))

    def prompt(self, prompt: str, room: int | None = None) -> tuple[list[int], bool]:
        """Tokens that an answer follows, at most `room` (or `max_length`) of them, and whether the prompt lost its
        beginning. Raises `DataError` where not even the format's own tokens fit."""
        if not prompt.strip():
            return [self._start], False
        room = self._max_length if room is None else min(room, self._max_length)
        ids = self._opened(prompt)
        if len(ids) <= room:
            return ids, False
        places = self._tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        dropped = 0
        while len(ids) > room:
            dropped += len(ids) - room
            if dropped >= len(places):
                raise self._too_short(prompt)
            ids = self._opened(prompt[places[dropped][0] :])
        return ids, True

    @cached_property
    def _bare(self) -> int:
        """Tokens of the format itself and a short prompt."""
        return len(self._opened("?"))

    def _too_short(self, prompt: str) -> DataError:
        return DataError(
            f"causal.max_length: {self._max_length!r} tokens leave no room for an answer to {prompt[:60]!r}: the "
            f"format alone takes {self._bare}. Raise it."
        )

    def _opened(self, prompt: str) -> list[int]:
        if not self._chat:
            # A small model that reads a blank at the end answers with rubbish: its words begin with one.
            return list(self._tokenizer(prompt if prompt.endswith("\n") else prompt.rstrip())["input_ids"])
        turns = [{"role": "user", "content": prompt}]
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return self._tokens(text)

    def _tokens(self, text: str) -> list[int]:
        ids: Any = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return list(ids)


def passes(lengths: Sequence[int], places: Sequence[int], most: int, *, alone: bool) -> Iterator[list[int]]:
    """Rows that go through the model together, at most `most` tokens or one row, longest rows first so that those of
    about one length meet. `alone` puts each by itself.

    >>> list(passes([10, 50, 30, 20], [0, 1, 2, 3], 60, alone=False))
    [[1], [2, 3, 0]]
    """
    together: list[int] = []
    filled = 0
    for place in sorted(places, key=lambda place: (-lengths[place], place)):
        if together and (alone or filled + lengths[place] > most):
            yield together
            together, filled = [], 0
        together.append(place)
        filled += lengths[place]
    if together:
        yield together
