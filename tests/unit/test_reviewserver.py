"""The review page's server as a browser, and as somebody else on this machine, meets it."""

from __future__ import annotations

import http.client
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from review_cases import make_made, serving

from harness.errors import HarnessError
from harness.reviews import Desk
from harness.reviewserver import HEADERS, MOST_BYTES, ReviewServer, render
from harness.store import Store

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_made(Store(tmp_path / "runs"), 60, text=EVIL).desk(20)


@pytest.fixture
def server(desk: Desk) -> Iterator[ReviewServer]:
    with serving(desk) as found:
        yield found


def get(address: str, **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def post(server: ReviewServer, route: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        server.url + route, content, {"Content-Type": "application/json", **headers}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_it_listens_on_this_machine_only(server: ReviewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{40,}/", server.url)


def test_the_page_and_its_rows_are_there_with_the_token(server: ReviewServer) -> None:
    status, page, _ = get(server.url)
    assert status == 200
    assert page.startswith("<!doctype html>")
    status, text, headers = get(server.url + "state")
    assert (status, headers.get_content_type()) == (200, "application/json")
    assert len(json.loads(text)["items"]) == 20


@pytest.mark.parametrize("route", ["", "state"])
def test_without_the_token_there_is_nothing(server: ReviewServer, route: str) -> None:
    base = f"http://127.0.0.1:{server.server_port}"
    for token in ("", "/", "/x/", f"/{server.token[:-1]}/", f"/{server.token}x/", "/%C3%A9/", f"/x/{server.token}/"):
        status, text, _ = get(base + token + (route if token.endswith("/") else ""))
        assert status == 403
        assert server.token not in text
        assert "Item" not in text
    assert get(base + f"/{server.token}/nothing")[0] == 404
    assert get(base + f"/{server.token}/decide")[0] == 404


def test_each_server_has_a_token_of_its_own(desk: Desk, server: ReviewServer) -> None:
    with ReviewServer(desk, "ana") as other:
        assert other.token != server.token


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"])
def test_a_rebound_name_is_refused(server: ReviewServer, host: str) -> None:
    status, text, _ = get(server.url + "state", Host=host.format(port=server.server_port))
    assert status == 421
    assert "Item" not in text
    assert get(server.url, Host=f"localhost:{server.server_port}")[0] == 200


def test_a_request_without_a_host_is_refused(server: ReviewServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest("GET", f"/{server.token}/", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status == 421
    connection.close()


def test_another_page_may_not_decide(server: ReviewServer, desk: Desk) -> None:
    body = {"item": desk.sample.items[0].shown.id, "decision": "accept"}
    assert post(server, "decide", body, Origin="http://evil.example")[0] == 403
    assert post(server, "decide", body, Origin="null")[0] == 403
    assert post(server, "decide", body, **{"Content-Type": "text/plain"})[0] == 415
    assert desk.decided("ana") == {}
    assert post(server, "decide", body, Origin=f"http://127.0.0.1:{server.server_port}")[0] == 200


def test_the_policy_lets_nothing_run_but_the_pages_own(server: ReviewServer) -> None:
    _, page, headers = get(server.url)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', page))
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'nonce-{nonce}'",
        "style-src": f"'nonce-{nonce}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert "http-equiv" not in page
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", page)
    assert len(re.findall("<script", page)) == len(re.findall("<style", page)) == 1
    _, again, _ = get(server.url)
    assert nonce not in again


@pytest.mark.parametrize("route", ["", "state", "nothing"])
def test_nothing_is_kept_by_the_browser(server: ReviewServer, route: str) -> None:
    _, _, headers = get(server.url + route)
    assert headers["Cache-Control"] == "no-store"
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Python" not in (headers["Server"] or "")


def test_rows_come_as_data_and_no_text_of_theirs_is_markup(server: ReviewServer, desk: Desk) -> None:
    _, page, _ = get(server.url)
    assert "alert(1)" not in page
    items = json.loads(get(server.url + "state")[1])["items"]
    assert all(EVIL in item["text"] for item in items)


def test_labels_that_are_markup_are_escaped(desk: Desk) -> None:
    from dataclasses import replace

    sample = replace(desk.sample, name=EVIL, noun=EVIL, labels={EVIL: EVIL, '" onclick="alert(1)': "x"})
    page = render(sample, EVIL, "nonce")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert '" onclick="' not in page


def test_the_reviewer_is_told_no_verdict(server: ReviewServer) -> None:
    text = get(server.url + "state")[1]
    items = json.loads(text)["items"]
    assert set(items[0]) == {"id", "text", "label", "answer", "context", "cell"}
    assert not [word for word in ("kept", "dropped", "relabelled", "consistency", "label=") if word in text]


def test_a_decision_is_on_disk_before_it_is_told(server: ReviewServer, desk: Desk) -> None:
    item = desk.sample.items[0].shown
    other = next(label for label in desk.sample.labels if label != item.label)
    status, told = post(server, "decide", {"item": item.id, "decision": "relabel", "new_label": other, "note": "é"})
    assert (status, told) == (200, {"item": item.id, "decision": "relabel", "new_label": other, "note": "é"})
    assert desk.read("ana")[item.id].said == ("relabel", other, "é")
    assert json.loads(get(server.url + "state")[1])["said"] == {item.id: told}
    assert post(server, "undo", {}) == (200, {"item": item.id, "decision": "", "new_label": "", "note": ""})
    assert desk.decided("ana") == {}
    assert post(server, "undo", {}) == (200, {})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"item": "syn-0", "decision": "accept"}, 400, "'syn-0' is no row of this sample"),
        ({"decision": "accept"}, 400, "'' is no row"),
        ({"item": None}, 400, "a JSON object of texts"),
        ([1], 400, "a JSON object of texts"),
        (b"{", 400, "a JSON object of texts"),
        (b"[" * 50_000, 400, "a JSON object of texts"),
        (b"\xff", 400, "a JSON object of texts"),
        (b'{"item": "\\ud800"}', 400, "a JSON object of texts"),
        ({"decision": "maybe"}, 400, "decision 'maybe' is none of"),
        ({"decision": "relabel", "new_label": "DELTA"}, 400, "new_label 'DELTA' is no other label"),
        ({"decision": "accept", "note": "x" * 2001}, 400, "note has 2,001 characters"),
    ],
)
def test_what_is_no_decision_is_refused(
    server: ReviewServer, desk: Desk, body: object, status: int, message: str
) -> None:
    if isinstance(body, dict) and "item" not in body and body != {"decision": "accept"}:
        body = {"item": desk.sample.items[0].shown.id, **body}
    got, told = post(server, "decide", body)
    assert got == status
    assert message in told["error"]
    assert desk.decided("ana") == {}


def test_too_much_is_refused_unread(server: ReviewServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest("POST", f"/{server.token}/decide")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(MOST_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_fault_of_the_disk_is_told_and_the_server_goes_on(server: ReviewServer, desk: Desk) -> None:
    item = desk.sample.items[0].shown.id
    (desk.folder / "ana.jsonl").mkdir()
    status, told = post(server, "decide", {"item": item, "decision": "accept"})
    assert status == 500
    assert "cannot write the reviews" in told["error"]
    (desk.folder / "ana.jsonl").rmdir()
    assert post(server, "decide", {"item": item, "decision": "accept"})[0] == 200


def test_many_at_once_lose_nothing(server: ReviewServer, desk: Desk) -> None:
    threads = [
        threading.Thread(target=post, args=(server, "decide", {"item": item.shown.id, "decision": "accept"}))
        for item in desk.sample.items
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(desk.decided("ana")) == 20


def test_a_port_that_is_taken_is_named(server: ReviewServer, desk: Desk) -> None:
    with pytest.raises(HarnessError, match=f"--port {server.server_port}: cannot listen on 127.0.0.1"):
        ReviewServer(desk, "ana", server.server_port)
