"""A scripted OpenAI-compatible server on a real loopback socket.

`with ScriptedEndpoint() as endpoint:` answers every call well; `endpoint.script(reply(503), hang())` decides what the
next calls get, in the order in which they arrive. `endpoint.calls` holds what came in.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

MODELS = ("model-a", "model-b")


@dataclass(frozen=True)
class Call:
    """One request as it came in; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


Step = Callable[["_Handler", Call], None]


def answer_body(call: Call, **changes: Any) -> dict[str, Any]:
    """A good answer whose texts depend on the request alone."""
    chat = call.path.endswith("/chat/completions")
    seed = hashlib.sha256(json.dumps(call.body, sort_keys=True).encode()).hexdigest()[:8]
    choices: list[dict[str, Any]] = []
    for index in range(call.body.get("n", 1)):
        text = f"answer {index} of {seed}"
        body = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choices.append({"index": index, "finish_reason": "stop", **body})
    usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(choices)}
    return {"model": call.body["model"], "choices": choices, "usage": usage, **changes}


def good(**changes: Any) -> Step:
    """A good answer with some top-level fields changed."""
    return lambda handler, call: handler.send(200, json.dumps(answer_body(call, **changes)).encode())


def reply(status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> Step:
    """This status and body; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler, _: handler.send(status, data, headers or {})


def html() -> Step:
    return reply(200, b"<html><body>Please log in</body></html>", {"content-type": "text/html"})


def hang() -> Step:
    """No answer until the server closes."""

    def step(handler: _Handler, call: Call) -> None:
        handler.endpoint.closing.wait()
        handler.close_connection = True

    return step


def wait_for(event: threading.Event) -> Step:
    """A good answer once the event is set."""

    def step(handler: _Handler, call: Call) -> None:
        event.wait(30)
        handler.send(200, json.dumps(answer_body(call)).encode())

    return step


def reset() -> Step:
    """Half a good answer, then a TCP reset."""

    def step(handler: _Handler, call: Call) -> None:
        data = json.dumps(answer_body(call)).encode()
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])
        handler.wfile.flush()
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True

    return step


def no_http() -> Step:
    """Bytes that are no HTTP, then the end of the connection."""

    def step(handler: _Handler, call: Call) -> None:
        handler.wfile.write(b"* OK IMAP4 ready\r\n")
        handler.close_connection = True

    return step


class ScriptedEndpoint:
    """See the module's docstring. `most_at_once` is the largest number of calls that were open together;
    `answered` is set after the first answer. `otherwise` is the step of calls that no script is for."""

    def __init__(self, key: str | None = None, otherwise: Step | None = None) -> None:
        self.key = key
        self._otherwise = otherwise or good()
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.closing = threading.Event()
        self.answered = threading.Event()
        self._open = 0
        self._steps: deque[Step] = deque()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"endpoint": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def script(self, *steps: Step) -> None:
        self._steps.extend(steps)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def handle(self, handler: _Handler, call: Call) -> None:
        with self._lock:
            self.calls.append(call)
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
            step = self._steps.popleft() if self._steps else self._otherwise
        try:
            if self.key is not None and call.headers.get("authorization") != f"Bearer {self.key}":
                step = reply(401, {"error": {"message": f"Incorrect API key: {call.headers.get('authorization')}"}})
            step(handler, call)
            self.answered.set()
        finally:
            with self._lock:
                self._open -= 1


class _Handler(BaseHTTPRequestHandler):
    endpoint: ScriptedEndpoint
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.send(200, json.dumps({"data": [{"id": name} for name in MODELS]}).encode())
        else:
            self.send(404, b"not here")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.endpoint.handle(self, Call(self.path, headers, body))

    def send(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Silent."""
