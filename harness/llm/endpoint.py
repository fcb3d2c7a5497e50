"""One attempt at one endpoint, through the `openai` client. The one module that imports openai, and only when it calls.

The client sends over aiohttp, which takes about half of the processor time of its own transport. Whatever goes
wrong comes back as a `Fault` without secrets; what to do about it is the client's business.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from harness import spec
from harness.llm.embedded import Address
from harness.llm.faults import Explain, Fault, Kind, redact, status_fault
from harness.llm.pacing import retry_after
from harness.llm.wire import NotTheProtocol, Reply, ReportedError, Request, body_of, parse_reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def address_of(role: str, endpoint: spec.Endpoint) -> Address:
    """URL and key of an endpoint that is not embedded. Raises `EndpointError` if its variable holds no key."""
    if endpoint.api_key_env is None:
        return Address(endpoint.base_url, "")
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise Explain(role, endpoint).no_variable()
    if not (key.isascii() and key.isprintable()):
        raise Explain(role, endpoint).no_ascii()
    return Address(endpoint.base_url, key)


class Connections:
    """Open connections of one event loop, one pool per address."""

    def __init__(self) -> None:
        self._open: dict[Address, AsyncOpenAI] = {}

    async def send(
        self, address: Address, endpoint: spec.Endpoint, request: Request, key: str, timeout_s: float
    ) -> Reply:
        """Send the request once, with `key` as Idempotency-Key. Raises `Fault`."""
        import aiohttp
        import httpx2
        import openai

        fault: Fault
        try:
            # The client's own time-out is per read: a server that drips bytes would never reach it.
            async with asyncio.timeout(timeout_s):
                # Not `completions.create`, which first looks at every value of the body anew.
                response = await self._to(address).post(
                    "/chat/completions" if request.chat else "/completions",
                    cast_to=httpx2.Response,
                    body=body_of(request, endpoint),
                    options={
                        "headers": {**_authorization(address), "Idempotency-Key": key},
                        "timeout": timeout_s,
                    },
                )
            return parse_reply(response.text, chat=request.chat)
        except NotTheProtocol as error:
            fault = Fault(Kind.BODY, str(error))
        except ReportedError as error:
            fault = Fault(Kind.REPORTED, str(error))
        except TimeoutError:
            fault = Fault(Kind.TIMEOUT, f"no answer within {timeout_s:g} s")
        except openai.APIStatusError as error:
            body = error.response.text if error.body is None else error.body
            fault = status_fault(error.status_code, body, retry_after(error.response.headers))
        except (openai.APIError, aiohttp.ClientError) as error:
            # What openai names a time-out may be one, or a connection that was refused or broke.
            cause = next(
                (one for one in _causes(error) if isinstance(one, aiohttp.ClientError)), error.__cause__ or error
            )
            if isinstance(cause, TimeoutError):
                fault = Fault(Kind.TIMEOUT, f"no answer within {timeout_s:g} s")
            else:
                fault = Fault(Kind.CONNECTION, f"{type(cause).__name__}: {cause}")
        # Raised out here and not chained: the openai error holds the request with its Authorization header.
        raise fault.redacted(_secrets(address))

    async def models(self, address: Address) -> list[str] | None:
        """Names under /models, sorted; None where the endpoint lists none."""
        import aiohttp
        import openai

        try:
            raw: Any = await self._to(address).models.with_raw_response.list(
                extra_headers=_authorization(address), timeout=10
            )
            return sorted(redact(str(row["id"]), _secrets(address)) for row in raw.http_response.json()["data"])
        except (openai.APIError, aiohttp.ClientError, ValueError, KeyError, TypeError):
            return None

    async def close(self) -> None:
        connections = list(self._open.values())
        self._open.clear()
        for connection in connections:
            await connection.close()

    def _to(self, address: Address) -> AsyncOpenAI:
        import openai

        if address not in self._open:
            parts = urlsplit(address.url)
            # A proxy from the environment must not see calls to this machine.
            trust_env = parts.hostname not in LOOPBACK
            self._open[address] = openai.AsyncOpenAI(
                # The client would put the path of a call behind the query.
                base_url=urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="")),
                default_query=dict(parse_qsl(parts.query, keep_blank_values=True)),
                api_key=address.api_key or "none",
                max_retries=0,
                http_client=openai.DefaultAioHttpClient(trust_env=trust_env, auth=_login(parts)),
            )
        return self._open[address]


def _login(parts: SplitResult) -> tuple[str, str] | None:
    """User and password of a URL that names them; aiohttp refuses such a URL beside an Authorization header."""
    if parts.username is None and parts.password is None:
        return None
    return unquote(parts.username or ""), unquote(parts.password or "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    now: BaseException | None = error
    while now is not None:
        yield now
        now = now.__cause__


def _authorization(address: Address) -> dict[str, Any]:
    """Without a key no Authorization header goes out, not even a made-up one."""
    import openai

    return {} if address.api_key else {"Authorization": openai.Omit()}


def _secrets(address: Address) -> list[str]:
    return [address.api_key, urlsplit(address.url).password or ""]
