"""One attempt at one endpoint, through the `openai` client. The one module that imports openai, and only when it calls.

Whatever goes wrong comes back as a `Fault` without secrets; what to do about it is the client's business.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness import spec
from harness.llm.embedded import Address
from harness.llm.faults import Explain, Fault, Kind, redact, status_fault
from harness.llm.pacing import retry_after
from harness.llm.wire import NotTheProtocol, Reply, ReportedError, Request, arguments, parse_reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def address_of(role: str, endpoint: spec.Endpoint) -> Address:
    """URL and key of an endpoint that is not embedded. Raises `EndpointError` if its variable is not set."""
    if endpoint.api_key_env is None:
        return Address(endpoint.base_url, "")
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise Explain(role, endpoint).no_variable()
    return Address(endpoint.base_url, key)


class Connections:
    """Open connections of one event loop, one pool per address."""

    def __init__(self) -> None:
        self._open: dict[Address, AsyncOpenAI] = {}

    async def send(
        self, address: Address, endpoint: spec.Endpoint, request: Request, key: str, timeout_s: float
    ) -> Reply:
        """Send the request once, with `key` as Idempotency-Key. Raises `Fault`."""
        import openai

        connection = self._to(address)
        resource: Any = connection.chat.completions if request.chat else connection.completions
        fault: Fault
        try:
            # The client's own time-out is per read: a server that drips bytes would never reach it.
            async with asyncio.timeout(timeout_s):
                raw: Any = await resource.with_raw_response.create(
                    **arguments(request, endpoint),
                    extra_headers={**_authorization(address), "Idempotency-Key": key},
                    timeout=timeout_s,
                )
            return parse_reply(raw.http_response.text, chat=request.chat)
        except NotTheProtocol as error:
            fault = Fault(Kind.BODY, str(error))
        except ReportedError as error:
            fault = Fault(Kind.REPORTED, str(error))
        except (TimeoutError, openai.APITimeoutError):
            fault = Fault(Kind.TIMEOUT, f"no answer within {timeout_s:g} s")
        except openai.APIStatusError as error:
            body = error.response.text if error.body is None else error.body
            fault = status_fault(error.status_code, body, retry_after(error.response.headers))
        except openai.APIError as error:
            cause = error.__cause__ or error
            fault = Fault(Kind.CONNECTION, f"{type(cause).__name__}: {cause}")
        # Raised out here and not chained: the openai error holds the request with its Authorization header.
        raise fault.redacted(_secrets(address))

    async def models(self, address: Address) -> list[str] | None:
        """Names under /models, sorted; None where the endpoint lists none."""
        import openai

        try:
            raw: Any = await self._to(address).models.with_raw_response.list(
                extra_headers=_authorization(address), timeout=10
            )
            return sorted(redact(str(row["id"]), _secrets(address)) for row in raw.http_response.json()["data"])
        except (openai.APIError, ValueError, KeyError, TypeError):
            return None

    async def close(self) -> None:
        connections = list(self._open.values())
        self._open.clear()
        for connection in connections:
            await connection.close()

    def _to(self, address: Address) -> AsyncOpenAI:
        import openai

        if address not in self._open:
            # A proxy from the environment must not see calls to this machine.
            trust_env = urlsplit(address.url).hostname not in LOOPBACK
            self._open[address] = openai.AsyncOpenAI(
                base_url=address.url,
                api_key=address.api_key or "none",
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(trust_env=trust_env),
            )
        return self._open[address]


def _authorization(address: Address) -> dict[str, Any]:
    """Without a key no Authorization header goes out, not even a made-up one."""
    import openai

    return {} if address.api_key else {"Authorization": openai.Omit()}


def _secrets(address: Address) -> list[str]:
    return [address.api_key, urlsplit(address.url).password or ""]
