"""What is asked of an LLM and what comes back, as values and as the JSON of the OpenAI protocol. No network here.

A call's key is the digest of its *material*: everything that can change the answer and nothing else, so no port, no
time-out, no API key. The material is stored beside the answer and is what `harness show` prints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from harness import spec
from harness.records import Cost

RoleName = Literal["generator", "judge", "critic"]
SECRET_WORDS = ("key", "token", "secret", "password", "sig")
REFUSED = "refusal"
MOST_TOKENS = 10**9
"""Of one call. A larger count is no count: an endpoint that reports one has to be estimated."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call: `Request("generator", "Question: Who wrote Emma ?\\nQuestion:", 0.9, 40, n=8, stop=("\\n",))`.

    `prompt` is a completion prompt, or chat messages as (role, content) pairs; its type decides which of the two
    protocols is spoken. `max_tokens` is per choice. `sample` goes into the key only: it tells apart calls that are
    otherwise equal, so that asking a second time is a second answer.
    """

    role: RoleName
    prompt: str | tuple[tuple[str, str], ...]
    temperature: float
    max_tokens: int
    n: int = 1
    seed: int = 0
    top_p: float | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | None = None
    sample: int = 0

    @property
    def chat(self) -> bool:
        return not isinstance(self.prompt, str)


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of an answer. `finish_reason` is the endpoint's own word, `""` where it gave none, and `REFUSED` where
    the text is not the answer but why there is none."""

    text: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A call that was answered; an endpoint that ignores `n` gives fewer choices than were asked for."""

    key: str
    choices: tuple[Choice, ...]
    cost: Cost


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A call that stayed without an answer after all retries. Never cached: the next run asks again."""

    key: str
    reason: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class Reply:
    """A well-formed response body; token counts are None where the endpoint reports none."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str


class NotTheProtocol(Exception):  # noqa: N818 - a finding about a body, turned into a Fault by the client
    """A body with status 200 that is no OpenAI-style answer: HTML, empty, other JSON."""


class ReportedError(Exception):
    """A body with status 200 that holds `{"error": …}`, as some gateways send."""


def public_url(url: str) -> str:
    """The URL without what may be secret: no user, no password, masked key-like query values.

    >>> public_url("https://me:pw@host:8000/v1?api-version=1&api-key=abc")
    'https://host:8000/v1?api-version=1&api-key=%2A%2A%2A'
    """
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    masked = [(name, "***" if any(word in name.lower() for word in SECRET_WORDS) else value) for name, value in pairs]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), urlencode(masked), ""))


def material(request: Request, endpoint: Mapping[str, str]) -> dict[str, Any]:
    """Everything that can change the answer, as JSON values. `endpoint` says who answers.

    The schema stands in it as text, because the order of its properties decides the order of the answer's.
    """
    schema = request.json_schema
    return {
        "version": 1,
        "endpoint": dict(endpoint),
        "prompt": request.prompt if isinstance(request.prompt, str) else [list(pair) for pair in request.prompt],
        "temperature": float(request.temperature),
        "max_tokens": request.max_tokens,
        "n": request.n,
        "seed": request.seed,
        "top_p": None if request.top_p is None else float(request.top_p),
        "min_p": None if request.min_p is None else float(request.min_p),
        "stop": list(request.stop),
        "json_schema": None if schema is None else json.dumps(schema, ensure_ascii=False),
        "sample": request.sample,
    }


def body_of(request: Request, endpoint: spec.Endpoint) -> dict[str, Any]:
    """The body of the call, as JSON values; what is not set is not sent.

    What the embedded LLM is not told it takes from llama.cpp's defaults (top-k 40, top-p 0.95, min-p 0.05).
    """
    result: dict[str, Any] = {
        "model": endpoint.model,
        "temperature": float(request.temperature),
        "n": request.n,
        "seed": request.seed,
        # api.openai.com refuses `max_tokens` for its newer models; other servers know only that name.
        _limit_name(request, endpoint): request.max_tokens,
    }
    if endpoint.base_url == "embedded":
        # The choices of a call then lie in the same slots whatever was asked before, and so are decoded in the same
        # batches: those of other sizes round differently.
        result["id_slot"] = 0
    if isinstance(request.prompt, str):
        result["prompt"] = request.prompt
    else:
        result["messages"] = [{"role": role, "content": content} for role, content in request.prompt]
    if request.top_p is not None:
        result["top_p"] = float(request.top_p)
    if request.stop:
        result["stop"] = list(request.stop)
    if request.min_p is not None:
        result["min_p"] = float(request.min_p)
    if request.json_schema is not None:
        schema = dict(request.json_schema)
        response_format = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
        if not request.chat and endpoint.base_url == "embedded":
            # llama.cpp ignores `response_format` for completions and takes the bare schema instead.
            result["json_schema"] = schema
        else:
            result["response_format"] = response_format
    return result


def _limit_name(request: Request, endpoint: spec.Endpoint) -> str:
    official = urlsplit(endpoint.base_url).hostname == "api.openai.com"
    return "max_completion_tokens" if request.chat and official else "max_tokens"


def parse_reply(text: str, *, chat: bool) -> Reply:
    """Read the body of a 200. Raises `NotTheProtocol` or `ReportedError`."""
    try:
        body: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise NotTheProtocol(f"expected a JSON answer, got {_excerpt(text)}") from None
    if not isinstance(body, dict):
        raise NotTheProtocol(f"expected a JSON object, got {_excerpt(text)}")
    fields = cast("dict[str, Any]", body)
    if fields.get("error"):
        raise ReportedError(f"the endpoint answered 200 with an error: {_excerpt(json.dumps(fields['error']))}")
    rows: Any = fields.get("choices")
    if not isinstance(rows, list) or not rows:
        raise NotTheProtocol(f"expected a non-empty list `choices`, got {_excerpt(text)}")
    try:
        ordered = sorted(cast("list[dict[str, Any]]", rows), key=lambda row: int(row.get("index") or 0))
        choices = tuple(_choice(row, chat=chat) for row in ordered)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        kind = "chat" if chat else "completion"
        raise NotTheProtocol(f"expected {kind} choices with a text each, got {_excerpt(text)}") from None
    usage: Any = fields.get("usage")
    counts = cast("dict[str, Any]", usage) if isinstance(usage, dict) else {}
    model = fields.get("model")
    return Reply(
        choices,
        _count(counts.get("prompt_tokens")),
        _count(counts.get("completion_tokens")),
        whole(model) if isinstance(model, str) else "",
    )


def _choice(row: dict[str, Any], *, chat: bool) -> Choice:
    reason = str(row.get("finish_reason") or "")
    if chat:
        message = row["message"]
        text = message.get("content")
        if text is None:
            text = message.get("refusal") or ""
            # Endpoints say "stop" of it.
            reason = REFUSED if text else reason
    else:
        text = row["text"]
    if not isinstance(text, str):
        raise TypeError
    # JSON can name half of a surrogate pair, which no file or database takes.
    return Choice(whole(text), whole(reason))


def whole(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD.

    >>> whole("a\\ud800b")
    'a\ufffdb'
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 200 else text[:200] + "…") if text else "an empty body"


def estimate_tokens(text: str) -> int:
    """Tokens of a text where nobody counted them: one per four bytes of UTF-8, rounded up.

    >>> estimate_tokens("Who wrote Emma ?")
    4
    """
    return -(-len(text.encode("utf-8", "replace")) // 4)


def prompt_estimate(request: Request) -> int:
    """Estimated tokens of the prompt, four more per chat message for its frame."""
    if isinstance(request.prompt, str):
        return estimate_tokens(request.prompt)
    return sum(estimate_tokens(content) + 4 for _, content in request.prompt)


def usage_of(request: Request, reply: Reply, *, embedded: bool) -> tuple[int, int]:
    """(prompt tokens, completion tokens) of a call: the endpoint's counts, estimated where it has none.

    llama.cpp counts the first choice only, so for the embedded LLM the other choices are estimated and added.
    """
    prompt = prompt_estimate(request) if reply.prompt_tokens is None else reply.prompt_tokens
    uncounted = reply.choices
    completion = 0
    if reply.completion_tokens is not None:
        completion = reply.completion_tokens
        uncounted = reply.choices[1:] if embedded else ()
    return prompt, completion + sum(estimate_tokens(choice.text) for choice in uncounted)
