"""What is retried, what ends the run, and what the user reads."""

from __future__ import annotations

import pytest

from harness import spec
from harness.llm.faults import Explain, Fault, Kind, redact, status_fault


@pytest.mark.parametrize(
    ("status", "code", "retryable", "fatal"),
    [
        (400, "", False, False),
        (401, "", False, True),
        (402, "", False, True),
        (403, "", False, True),
        (404, "", False, True),
        (408, "", True, False),
        (409, "", True, False),
        (422, "", False, False),
        (429, "", True, False),
        (429, "insufficient_quota", True, True),
        (400, "model_not_found", False, True),
        (500, "", True, False),
        (529, "", True, False),
    ],
)
def test_statuses(status: int, code: str, retryable: bool, fatal: bool):
    fault = status_fault(status, {"error": {"message": "m", "code": code}}, None)
    assert (fault.retryable, fault.fatal) == (retryable, fatal)


@pytest.mark.parametrize("kind", [Kind.CONNECTION, Kind.TIMEOUT, Kind.BODY, Kind.REPORTED])
def test_everything_without_a_status_is_retried(kind: Kind):
    assert (Fault(kind, "m").retryable, Fault(kind, "m").fatal) == (True, False)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "boom", "type": "t"}}, "HTTP 500: boom"),
        ({"message": "boom"}, "HTTP 500: boom"),
        ({"error": "boom"}, "HTTP 500: boom"),
        ("<html><b>Bad</b>  Gateway</html>", "HTTP 500: Bad Gateway"),
        ({"error": None}, "HTTP 500"),
        (["boom"], "HTTP 500"),
        (None, "HTTP 500"),
    ],
)
def test_the_endpoints_own_words_are_kept(body: object, message: str):
    assert status_fault(500, body, None).message == message


def test_redaction_leaves_no_piece_of_a_longer_secret():
    assert redact("a sk-12345 b sk-1 c", ["sk-1", "", "sk-12345"]) == "a *** b *** c"
    assert str(Fault(Kind.BODY, "has sk-1").redacted(["sk-1"])) == "has ***"


def test_messages_name_key_variable_and_advice_but_no_password():
    endpoint = spec.Endpoint(base_url="https://me:pw@host/v1", model="m", api_key_env="MY_KEY")
    explain, fault = Explain("judge", endpoint), status_fault(403, {"error": {"message": "no"}}, None)
    message = str(explain.fatal(fault, None))
    assert "https://host/v1 (llm.judge, model 'm') refuses the call: HTTP 403: no" in message
    assert "'MY_KEY'" in message
    assert "pw" not in message
    without = Explain("judge", endpoint.model_copy(update={"api_key_env": None}))
    assert "`llm.judge.api_key_env`" in str(without.fatal(fault, None))
