"""Prompts and answers as tokens: where the loss begins, and what is cut."""

from __future__ import annotations

import pytest
from causal_cases import ANSWERS, ROWS, TEXTS, recipe, tiny
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.train.sequences import Encoded, Format, Row, passes


def read(ids: object) -> str:
    return str(tiny().tokenizer.decode(ids))


def parts(row: Row, **changes: object) -> tuple[str, str, Encoded]:
    found = Format(tiny(), recipe(**changes)).row(row)
    return read(found.ids[: found.answer]), read(found.targets), found


def test_a_plain_row_is_the_prompt_a_blank_and_the_answer_that_is_learnt_with_its_end() -> None:
    assert parts(ROWS[0])[:2] == ("Who wrote Emma ?", " Jane Austen<|end|>")
    assert parts(Row("Who ?  ", "Me"))[:2] == ("Who ?", " Me<|end|>")
    assert parts(Row("Who ?\n", "Me"))[:2] == ("Who ?\n", "Me<|end|>")


def test_a_chat_row_is_what_the_template_makes_of_it() -> None:
    opening, learnt, _ = parts(ROWS[0], format="chat")
    assert (opening, learnt) == ("<user>Who wrote Emma ?<|end|>\n<assistant>", "Jane Austen<|end|>")
    turns = [{"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": ANSWERS[0]}]
    assert tiny().tokenizer.apply_chat_template(turns, tokenize=False) == f"{opening}{learnt}\n"


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_a_row_without_a_prompt_is_a_text_between_its_start_and_its_end(form: str) -> None:
    for prompt in ("", " \n"):
        opening, learnt, _ = parts(Row(prompt, TEXTS[0]), format=form)
        assert (opening, learnt) == ("<|start|>", "Who wrote Emma ?<|end|>")


def test_the_end_of_a_turn_is_what_the_template_ends_it_with() -> None:
    other = tiny("{% for message in messages %}{{ message['content'] }}<|start|>{% endfor %}")
    try:
        found = Format(other, recipe(format="chat"))
        assert found.end == other.tokenizer.convert_tokens_to_ids("<|start|>")
        assert found.stops == {found.end, other.end}
    finally:
        tiny.cache_clear()
    assert Format(tiny(), recipe(format="chat")).stops == {tiny().end}


@pytest.mark.parametrize("form", ["plain", "chat"])
@pytest.mark.parametrize("max_length", [512, 24])
def test_an_answer_is_asked_for_just_as_it_was_learnt(form: str, max_length: int) -> None:
    found = Format(tiny(), recipe(format=form, max_length=max_length))
    for row in [*ROWS, Row("Where " * 30 + "?", "here")]:
        learnt = found.row(row)
        opening, cut = found.prompt(row.prompt, min(max_length, tiny().context) - len(learnt.targets))
        assert (opening, cut) == (list(learnt.ids[: learnt.answer]), learnt.prompt_cut)


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_a_long_prompt_loses_its_beginning_and_nothing_of_its_answer(form: str) -> None:
    row = Row(" ".join(TEXTS), "Jane Austen")
    opening, learnt, found = parts(row, format=form, max_length=32)
    assert (found.prompt_cut, found.answer_cut, len(found.ids)) == (True, False, 32)
    assert learnt.strip() == "Jane Austen<|end|>"
    kept = opening.removeprefix("<user>").removesuffix("<|end|>\n<assistant>")
    assert row.prompt.endswith(kept)
    assert len(kept) > 10


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_an_answer_that_does_not_fit_loses_its_end_and_its_end_token_and_is_counted(form: str) -> None:
    _, learnt, found = parts(Row("Why ?", " ".join(TEXTS)), format=form, max_length=32)
    assert found.answer_cut
    assert len(found.ids) <= 32
    assert "<|end|>" not in learnt
    assert " ".join(TEXTS).startswith(learnt.strip())
    _, learnt, found = parts(Row("", " ".join(TEXTS)), max_length=32)
    assert (found.answer_cut, found.prompt_cut, len(found.ids)) == (True, False, 32)


def test_a_long_answer_leaves_a_quarter_to_a_long_prompt_and_a_short_prompt_whole() -> None:
    opening, _, found = parts(Row(" ".join(TEXTS), " ".join(TEXTS)), max_length=80)
    assert (found.prompt_cut, found.answer_cut, found.answer, len(found.ids)) == (True, True, 20, 80)
    assert TEXTS[-1].endswith(opening.strip())
    opening, _, found = parts(Row("Why ?", " ".join(TEXTS)), max_length=80)
    assert (opening, found.prompt_cut, found.answer_cut, len(found.ids)) == ("Why ?", False, True, 80)


def test_the_context_of_the_model_is_a_limit_too() -> None:
    assert len(parts(Row(" ".join(TEXTS * 2), "yes"), max_length=4096)[2].ids) == 96


def test_what_leaves_no_room_or_has_no_template_is_told() -> None:
    with pytest.raises(DataError, match=r"causal\.max_length: 8 tokens leave no room .* takes \d+\. Raise it"):
        parts(ROWS[0], format="chat", max_length=8)
    with pytest.raises(DataError, match=r"causal\.max_length: 8 tokens"):
        Format(tiny(), recipe(format="chat", max_length=8)).prompt("Why ?")
    with pytest.raises(DataError, match=r"'tiny' has no chat template. Set `format: plain`"):
        Format(tiny(None), recipe(format="chat"))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 120), st.booleans())
def test_each_row_goes_through_once_and_passes_hold_the_bound(lengths: list[int], most: int, alone: bool) -> None:
    found = list(passes(lengths, range(len(lengths)), most, alone=alone))
    assert sorted(place for one in found for place in one) == list(range(len(lengths)))
    for one in found:
        assert len(one) == 1 or (not alone and sum(lengths[place] for place in one) <= most)
    filled = [sum(lengths[place] for place in one) for one in found]
    assert alone or all(left + lengths[right[0]] > most for left, right in zip(filled, found[1:], strict=False))
