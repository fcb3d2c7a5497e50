"""The page on which a reviewer decides, served on this machine only.

Whoever runs code here as another user, or opens a web page that knows the port, must get nothing: the address holds a
random token, the Host header has to name this server (a name that was rebound to 127.0.0.1 does not), and nothing
leaves or enters the page but by the policy below. The page shows `Shown` and no verdict.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from harness.errors import HarnessError
from harness.pages import environment
from harness.reviewrows import Sampled
from harness.reviews import LONGEST, Desk, Review, Word, fault, now

Routes = Mapping[str, Callable[[], None]]
HOST = "127.0.0.1"
MOST_BYTES = 65_536
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ReviewServer(ThreadingHTTPServer):
    """`url` is the address with the token; whoever has it decides as `reviewer`. Raises `HarnessError` for a port that
    is taken; 0 takes any free one."""

    daemon_threads = True

    def __init__(self, desk: Desk, reviewer: str, port: int = 0) -> None:
        self.desk = desk
        self.reviewer = reviewer
        self.token = secrets.token_urlsafe(32)
        # Two tabs of one reviewer write one after another.
        self.writing = threading.Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise HarnessError(
                f"--port {port}: cannot listen on {HOST}:{port} ({error}). Give another port, or 0 for any free one."
            ) from error

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @property
    def hosts(self) -> tuple[str, str]:
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that goes away in the middle is no news.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server_version = "harness"
    sys_version = ""
    timeout = 30

    @property
    def _app(self) -> ReviewServer:
        return cast("ReviewServer", self.server)

    def do_GET(self) -> None:
        self._answer({"": self._page, "state": self._state})

    def do_POST(self) -> None:
        self._answer({"decide": self._decide, "undo": self._undo})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: the token is in every line."""

    def _answer(self, routes: Routes) -> None:
        try:
            self._check_host()
            routes[self._route(routes)]()
        except _RefusedError as error:
            self._send(error.status, "application/json", json.dumps({"error": str(error)}))
        except HarnessError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "application/json", json.dumps({"error": str(error)}))

    def _check_host(self) -> None:
        if self.headers.get("Host") not in self._app.hosts:
            raise _RefusedError(HTTPStatus.MISDIRECTED_REQUEST, "the Host header does not name this server")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in self._app.hosts]:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "another page may not ask")

    def _route(self, routes: Routes) -> str:
        token, _, route = self.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self._app.token.encode()):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "open the address that `harness review` printed")
        if route not in routes:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"there is no {route[:60]!r} here")
        return route

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        self._send(HTTPStatus.OK, "text/html", render(self._app.desk.sample, self._app.reviewer, nonce), nonce)

    def _state(self) -> None:
        self._send_json(state(self._app.desk, self._app.reviewer))

    def _decide(self) -> None:
        given = self._body()
        sample = self._app.desk.sample
        item = sample.by_id().get(given["item"])
        if item is None:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"{given['item'][:60]!r} is no row of this sample")
        column, why = fault(item, given["decision"], given["new_label"], sample)
        if not why and len(given["note"]) > LONGEST:
            column, why = "note", f"has {len(given['note']):,} characters; up to {LONGEST:,} are allowed"
        if why:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"{column} {why}")
        one = Review(item.shown.id, cast("Word", given["decision"]), given["new_label"], given["note"], now())
        with self._app.writing:
            self._app.desk.add(self._app.reviewer, [one])
        self._send_json(_said(one))

    def _undo(self) -> None:
        with self._app.writing:
            found = self._app.desk.undo(self._app.reviewer)
        self._send_json({} if found is None else _said(found))

    def _body(self) -> dict[str, str]:
        """item, decision, new_label and note of a JSON object of strings."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json" or not length.isdecimal():
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a decision comes as application/json")
        if int(length) > MOST_BYTES:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_BYTES:,} bytes")
        try:
            given = json.loads(self.rfile.read(int(length)))
            return {name: _text(given.get(name, "")) for name in ("item", "decision", "new_label", "note")}
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "a decision is a JSON object of texts") from None

    def _send_json(self, value: object) -> None:
        self._send(HTTPStatus.OK, "application/json", json.dumps(value))

    def _send(self, status: HTTPStatus, kind: str, text: str, nonce: str = "") -> None:
        content = text.encode()
        self.send_response(status)
        policy = POLICY.format(nonce=nonce) if nonce else "default-src 'none'; frame-ancestors 'none'"
        sizes = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(content))}
        for name, value in {**sizes, **HEADERS, "Content-Security-Policy": policy}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    # A lone surrogate is no text that could be saved.
    value.encode()
    return value


def _said(one: Review) -> dict[str, str]:
    return {"item": one.item, "decision": one.decision, "new_label": one.new_label, "note": one.note}


def state(desk: Desk, reviewer: str) -> dict[str, object]:
    """What the page shows: rows without a word of what became of them, and this reviewer's decisions."""
    return {
        "items": [asdict(item.shown) for item in desk.sample.items],
        "said": {ident: _said(one) for ident, one in desk.read(reviewer).items()},
    }


def render(sample: Sampled, reviewer: str, nonce: str) -> str:
    """The page; it fetches its rows from `state`. `nonce` is what the policy lets run."""
    page = environment().get_template("review.html.j2")
    return page.render(s=sample, reviewer=reviewer, nonce=nonce, longest=LONGEST)
