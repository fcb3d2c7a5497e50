"""Of any text at all: a spec is read or refused in words, an answer is exactly one row, a body is an answer or none."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from spec_cases import SMALL, write

from eval.answers import SCORES, json_object, leaves
from harness.errors import Problem, SpecError
from harness.filters.rubric import read_grade
from harness.filterspec import JudgeFilter
from harness.generate.produce import read_choice
from harness.llm.client import Answer, CallFailure, Choice
from harness.llm.faults import status_fault
from harness.llm.pacing import retry_after
from harness.llm.wire import NotTheProtocol, ReportedError, parse_reply
from harness.records import Cost
from harness.specfile import load
from harness.store import canonical

ANY = st.text(st.characters(exclude_categories=()), max_size=40)
PIECES = st.sampled_from(
    ["{", "}", "[", "]", ": ", "\n", "\t", "- ", "&a ", "*a", "<<: *a", "!!python/name:os.system", "'", '"', "#"]
) | st.text(max_size=4)  # fmt: skip
SPOILT = st.lists(st.tuples(st.integers(0, len(SMALL)), st.integers(0, 12), PIECES), max_size=4)
LIKE_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "text", "index", "finish_reason", "refusal", "usage", "error"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


def spoilt(changes: list[tuple[int, int, str]]) -> str:
    text = SMALL
    for place, gone, piece in changes:
        text = text[:place] + piece + text[place + gone :]
    return text


def problems_of(folder: Path, content: bytes | str, overrides: Sequence[str] = ()) -> Sequence[Problem]:
    """None of a spec that loads; one at least of one that is refused."""
    try:
        load(write(folder, content), overrides)
    except SpecError as error:
        return error.problems or [Problem("", "")]
    return ()


@given(st.binary(max_size=60) | ANY.map(lambda text: text.encode("utf-8", "surrogatepass")) | SPOILT.map(spoilt))
@settings(max_examples=50)
def test_a_spec_is_read_or_refused_in_words(content: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert all(problem.message for problem in problems_of(Path(folder), content))


@given(ANY)
@settings(max_examples=50)
def test_an_override_is_taken_or_refused_in_words(override: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert all(problem.message for problem in problems_of(Path(folder), SMALL, [override]))


@given(LIKE_JSON, st.booleans())
@settings(max_examples=50)
def test_a_body_is_an_answer_that_can_be_kept_or_none(body: object, chat: bool) -> None:
    try:
        reply = parse_reply(json.dumps(body), chat=chat)
    except (NotTheProtocol, ReportedError) as error:
        str(error).encode()
    else:
        assert reply.choices
        canonical([reply.model, *([one.text, one.finish_reason] for one in reply.choices)]).encode()


@given(ANY, st.sampled_from(["stop", "", "length", "content_filter", "refusal"]), ANY)
@settings(max_examples=50)
def test_an_answer_is_a_text_or_a_reason(text: str, finish: str, opening: str) -> None:
    found, reason, raw = read_choice(Answer("k", (Choice(text, finish),), Cost()), 0, opening)
    assert bool(found) != bool(reason)
    assert finish in ("stop", "") or reason
    raw.encode()
    assert read_choice(CallFailure("k", text, Cost()), 0, opening)[0] == ""


@given(ANY | LIKE_JSON.map(str))
@settings(max_examples=50)
def test_a_grade_is_one_to_five_or_a_reason(text: str) -> None:
    found = read_grade(Answer("k", (Choice(text, "stop"),), Cost()), JudgeFilter())
    assert found.score is None or 1 <= found.score <= 5


@given(ANY, ANY)
@settings(max_examples=50)
def test_scores_of_any_answer_are_shares(gold: str, said: str) -> None:
    fields = json_object(said)
    assert fields is None or isinstance(leaves(fields), dict)
    for name, score in SCORES.items():
        if name != "json_fields":
            assert 0 <= score(gold, said) <= 1


@given(ANY)
@settings(max_examples=50)
def test_a_wait_is_finite_and_not_negative(header: str) -> None:
    seconds = retry_after({"retry-after": header})
    assert seconds is None or 0 <= seconds < float("inf")


@given(st.integers(300, 599), LIKE_JSON | ANY)
@settings(max_examples=50)
def test_whatever_an_error_says_can_be_stored(status: int, body: object) -> None:
    fault = status_fault(status, body, None)
    assert fault.message.startswith(f"HTTP {status}")
    fault.message.encode()
