"""An OpenAI-compatible endpoint that answers every call after the same time, in a process of its own.

`with Stub(latency_ms=50) as stub:` gives `stub.url`; `stub.calls()` is how many calls it has answered since the last
time it was asked. As a program (`python -m benchmarks.stub MS`) it prints its port and serves until stdin closes.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import urllib.request
from types import TracebackType
from typing import Any, Self

WORDS = re.findall(
    r"\w+",
    "the of and in was first who what city river song country year name write king state film book people large known "
    "which made word game president world company animal land team color island war famous invent author computer",
)
WORDS_OF_A_TEXT = 10


class Stub:
    """The server's process, from the side of who calls it."""

    def __init__(self, latency_ms: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stub", str(latency_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None  # noqa: S101 - it was opened as a pipe
        self._base = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate("", timeout=10)

    @property
    def url(self) -> str:
        return f"{self._base}/v1"

    def calls(self) -> int:
        """Calls answered since the last time this was asked."""
        with urllib.request.urlopen(f"{self._base}/calls", timeout=10) as answer:
            return int(answer.read())


def body(call: dict[str, Any], number: int) -> dict[str, Any]:
    """A chat or text completion as api.openai.com words it; the texts differ from call to call.

    >>> len(body({"model": "m", "messages": [], "n": 2}, 7)["choices"])
    2
    """
    chat = "messages" in call
    choices: list[dict[str, Any]] = []
    for index in range(call.get("n") or 1):
        said = text(f"{number}/{index}")
        kind: dict[str, Any] = {"text": said}
        if chat:
            kind = {"message": {"role": "assistant", "content": said, "refusal": None, "annotations": []}}
        choices.append({"index": index, **kind, "logprobs": None, "finish_reason": "stop"})
    written = len(choices) * WORDS_OF_A_TEXT
    return {
        "id": f"chatcmpl-{number:029d}",
        "object": "chat.completion" if chat else "text_completion",
        "created": 1_700_000_000,
        "model": call["model"],
        "choices": choices,
        "usage": {
            "prompt_tokens": 150,
            "completion_tokens": written,
            "total_tokens": 150 + written,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }


def text(key: str) -> str:
    """Ten words; keys that differ give texts that differ, but for chance."""
    chance = random.Random(key)
    return " ".join(["What", *chance.choices(WORDS, k=WORDS_OF_A_TEXT - 3), f"{chance.randrange(10**6)}", "?"])


async def serve(latency_s: float) -> None:
    from aiohttp import web

    state = {"answered": 0, "told": 0}

    async def complete(request: web.Request) -> web.Response:
        call = await request.json()
        if latency_s:
            await asyncio.sleep(latency_s)
        state["answered"] += 1
        return web.json_response(body(call, state["answered"]))

    async def calls(_: web.Request) -> web.Response:
        new = state["answered"] - state["told"]
        state["told"] = state["answered"]
        return web.Response(text=str(new))

    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/completions", complete),
            web.post("/v1/chat/completions", complete),
            web.get("/calls", calls),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps(runner.addresses[0][1]), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]) / 1000))
