"""What goes out and comes back: keys, bodies, token counts."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import spec
from harness.llm.wire import (
    Choice,
    NotTheProtocol,
    Reply,
    ReportedError,
    Request,
    body_of,
    estimate_tokens,
    material,
    parse_reply,
    prompt_estimate,
    public_url,
    usage_of,
)
from harness.store import digest

WHO = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MESSAGES = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), min_size=1, max_size=3)
SCHEMAS = st.dictionaries(st.sampled_from(["type", "title", "description"]), TEXTS, min_size=1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "prompt": TEXTS | MESSAGES.map(tuple),
    "temperature": st.floats(0, 2),
    "max_tokens": st.integers(1, 500),
    "n": st.integers(1, 64),
    "seed": st.integers(0, 2**31),
    "top_p": st.none() | st.floats(0, 1),
    "min_p": st.none() | st.floats(0, 1),
    "stop": st.lists(TEXTS, max_size=3).map(tuple),
    "json_schema": st.none() | SCHEMAS,
    "sample": st.integers(0, 50),
}
REQUESTS = st.builds(Request, st.just("generator"), **VALUES)


def key(request: Request, **who: str) -> str:
    return digest(material(request, {**WHO, **who}))


def test_every_field_of_a_request_is_covered_below():
    assert {field.name for field in fields(Request)} == {*VALUES, "role"}


@pytest.mark.parametrize("name", sorted(VALUES))
def test_each_field_changes_the_key(name: str):
    @given(REQUESTS, VALUES[name])
    def check(request: Request, value: Any) -> None:
        other = replace(request, **{name: value})
        assert (key(other) == key(request)) == (getattr(request, name) == value)

    check()


@given(REQUESTS)
def test_endpoint_and_model_change_the_key(request: Request):
    assert len({key(request), key(request, model="n"), key(request, base_url="http://127.0.0.1:2/v1")}) == 3


def test_key_sees_the_order_of_a_schemas_properties_but_not_the_kind_of_number():
    request = Request("judge", "x", 1, 5, json_schema={"properties": {"why": {}, "score": {}}})
    assert key(replace(request, json_schema={"properties": {"score": {}, "why": {}}})) != key(request)
    assert key(replace(request, temperature=1.0)) == key(request)


def test_public_url_hides_what_may_be_secret():
    assert public_url("https://user:pw@host:8000/v1/") == "https://host:8000/v1"
    assert public_url("https://host/v1?api-version=2&subscription-key=abc") == (
        "https://host/v1?api-version=2&subscription-key=%2A%2A%2A"
    )


def test_the_official_endpoint_gets_its_own_name_for_the_length_limit():
    chat, completion = Request("judge", (("user", "x"),), 0, 7), Request("judge", "x", 0, 7)
    official = spec.Endpoint(base_url="https://api.openai.com/v1", model="m")
    other = spec.Endpoint(base_url="https://example.com/v1", model="m")
    assert body_of(chat, official)["max_completion_tokens"] == 7
    assert body_of(completion, official)["max_tokens"] == 7
    assert body_of(chat, other)["max_tokens"] == 7


def test_the_embedded_llm_is_told_the_slot_to_start_in_and_others_are_not():
    request = Request("generator", "Question:", 0.9, 7)
    assert body_of(request, spec.Endpoint())["id_slot"] == 0
    assert "id_slot" not in body_of(request, spec.Endpoint(base_url="https://example.com/v1", model="m"))


def test_the_embedded_llm_gets_the_bare_schema_for_completions():
    request = Request("judge", "x", 0, 7, json_schema={"type": "object"})
    assert body_of(request, spec.Endpoint())["json_schema"] == {"type": "object"}
    elsewhere = body_of(request, spec.Endpoint(base_url="https://example.com/v1"))
    assert elsewhere["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_choices_come_in_the_order_of_their_index():
    rows = [{"index": 1, "text": "b", "finish_reason": "length"}, {"index": 0, "text": "a", "finish_reason": None}]
    reply = parse_reply(json.dumps({"choices": rows, "model": "m"}), chat=False)
    assert reply == Reply((Choice("a", ""), Choice("b", "length")), None, None, "m")


def test_a_refusal_is_the_text():
    row = {"index": 0, "finish_reason": "stop", "message": {"content": None, "refusal": "I cannot"}}
    assert parse_reply(json.dumps({"choices": [row]}), chat=True).choices == (Choice("I cannot", "refusal"),)


def test_half_characters_become_marks_wherever_they_are_kept():
    row = {"index": 0, "finish_reason": "st\ud800op", "message": {"content": "a\udfffb"}}
    reply = parse_reply(json.dumps({"choices": [row], "model": "m\ud800"}), chat=True)
    assert reply == Reply((Choice("a\ufffdb", "st\ufffdop"),), None, None, "m\ufffd")


@pytest.mark.parametrize("count", [-1, True, 2.0, "7", 10**30])
def test_a_count_that_cannot_be_one_is_none(count: object):
    row = {"index": 0, "text": "a"}
    body = {"choices": [row], "usage": {"prompt_tokens": count, "completion_tokens": 3}}
    reply = parse_reply(json.dumps(body), chat=False)
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, 3)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "an empty body"),
        ("<html>Log in</html>", "'<html>Log in</html>'"),
        ("[1]", "expected a JSON object"),
        ("{}", "non-empty list `choices`"),
        ('{"choices": []}', "non-empty list `choices`"),
        ('{"choices": [3]}', "chat choices with a text"),
        ('{"choices": [{"text": "completion"}]}', "chat choices with a text"),
        ('{"choices": [{"message": {"content": 3}}]}', "chat choices with a text"),
        ('{"choices": [{"message": "x"}]}', "chat choices with a text"),
        ('{"choices": [{"index": Infinity, "message": {"content": "x"}}]}', "chat choices with a text"),
        ("[" * 100_000, "expected a JSON answer"),
    ],
)
def test_what_is_not_the_protocol(body: str, says: str):
    with pytest.raises(NotTheProtocol, match=says):
        parse_reply(body, chat=True)


def test_an_error_with_status_200():
    with pytest.raises(ReportedError, match="overloaded"):
        parse_reply('{"error": {"message": "overloaded"}, "choices": []}', chat=True)


def test_token_counts_are_the_endpoints_or_estimated():
    request = Request("generator", "x" * 9, 0, 5, n=2)
    choices = (Choice("one two", "stop"), Choice("three four five", "stop"))
    assert usage_of(request, Reply(choices, 20, 7, ""), embedded=False) == (20, 7)
    assert usage_of(request, Reply(choices, 20, 2, ""), embedded=True) == (20, 2 + 4)
    assert usage_of(request, Reply(choices, None, None, ""), embedded=False) == (3, 2 + 4)


def test_estimates_count_bytes_and_chat_frames():
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "€€€")] == [0, 1, 1, 2, 3]
    assert prompt_estimate(Request("judge", (("system", "abcd"), ("user", "abcde")), 0, 5)) == 1 + 2 + 2 * 4
