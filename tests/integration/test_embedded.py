"""The real embedded LLM through the real client: it answers, its answers repeat, and it goes away."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import spec
from harness.errors import EndpointError
from harness.llm.client import Answer, Choice, Request, open_client
from harness.llm.embedded import Address, EmbeddedServer
from harness.llm.wire import body_of

pytestmark = pytest.mark.embedded

SHOTS = ("Who wrote Emma ?", "Who was the first man on the moon ?", "Who invented the telephone ?")
PROMPT = "".join(f"Question: {shot}\n" for shot in SHOTS) + "Question:"
GENERATE = [
    Request("generator", PROMPT.replace("Emma", book), 0.9, 20, n=8, seed=seed, min_p=0.05, stop=("\n",))
    for seed, book in enumerate(("Emma", "Hamlet", "Ulysses"))
]
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["score"],
    "additionalProperties": False,
}


def settings(**changes: object) -> spec.Spec:
    parts = {"llm": spec.Llm(), "budget": spec.Budget(), "runtime": spec.Runtime(llm_threads=1), **changes}
    return spec.Spec.model_construct(**parts)


def texts(store: Path, requests: Sequence[Request], threads: int = 1) -> list[tuple[Choice, ...]]:
    runtime = spec.Runtime(llm_threads=threads, limits={"generator": spec.Limits(concurrency=4)})
    with open_client(settings(runtime=runtime), store, scope="run") as client:
        answers = asyncio.run(client.ask_many(requests))
    assert all(isinstance(answer, Answer) and answer.cost.calls == 1 for answer in answers)
    return [answer.choices for answer in answers if isinstance(answer, Answer)]


def test_answers_repeat_on_a_fresh_server_in_another_order_and_with_other_threads(tmp_path: Path):
    first = texts(tmp_path / "a", GENERATE)
    again = texts(tmp_path / "b", GENERATE[::-1], threads=2)
    assert first == again[::-1]
    assert len({choice.text for choices in first for choice in choices}) > 12


def test_answers_are_the_same_bits_whatever_was_asked_before(tmp_path: Path):
    """Calls of other sizes in between, which without a named slot would leave the next call's choices scattered."""
    llm = spec.Endpoint(base_url="embedded")
    with closing(EmbeddedServer(tmp_path / "llm.log", threads=1)) as server:
        address = server.address()
        calls = [{**body_of(one, llm), "logprobs": 1} for one in GENERATE]
        first = [complete(address, **call)["choices"] for call in calls]
        again: list[Any] = []
        for n, call in enumerate(calls, 1):
            complete(address, **body_of(replace(GENERATE[0], n=n, max_tokens=4 * n), llm))
            again.append(complete(address, **call)["choices"])
    assert first == again


def test_no_prompt_state_is_kept_between_calls(tmp_path: Path):
    """Not even of the same prompt: one that is half in the cache is read in other batches, which rounds differently."""
    with closing(EmbeddedServer(tmp_path / "llm.log", threads=1)) as server:
        address = server.address()
        bodies = [complete(address, prompt=PROMPT, max_tokens=8, seed=1, n=2, logprobs=1, id_slot=0) for _ in range(2)]
    assert [body["usage"]["prompt_tokens_details"]["cached_tokens"] for body in bodies] == [0, 0]
    assert bodies[0]["choices"] == bodies[1]["choices"]


def test_chat_completion_and_schema(tmp_path: Path):
    schema_chat = Request("judge", (("user", "Rate 'Who wrote Emma ?' from 1 to 5."),), 0.0, 60, json_schema=SCHEMA)
    schema_completion = replace(schema_chat, prompt="Rate 'Who wrote Emma ?' from 1 to 5: ")
    with open_client(settings(), tmp_path, scope="run") as client:
        answers = asyncio.run(client.ask_many([schema_chat, schema_completion, GENERATE[0]]))
        spent = client.spent
    for answer in answers[:2]:
        assert isinstance(answer, Answer)
        [choice] = answer.choices
        assert choice.finish_reason == "stop"
        assert 1 <= json.loads(choice.text)["score"] <= 5
    assert isinstance(answers[2], Answer)
    assert len(answers[2].choices) == 8
    characters = sum(len(choice.text) for choice in answers[2].choices)
    assert characters / 8 < answers[2].cost.completion_tokens < characters
    assert spent == answers[0].cost + answers[1].cost + answers[2].cost


def test_what_it_cannot_do_is_said_before_it_starts(tmp_path: Path):
    with (
        open_client(settings(), tmp_path, scope="run") as client,
        pytest.raises(EndpointError, match=r"at most 16 answers per call, 17 .*samples_per_call"),
    ):
        asyncio.run(client.ask_many([replace(GENERATE[0], n=17)]))
    llm = spec.Llm(generator=spec.Endpoint(model="gpt-x"))
    with (
        open_client(settings(llm=llm), tmp_path, scope="run") as client,
        pytest.raises(EndpointError, match=r"llm\.generator\.model: .*'SmolLM2-135M-Instruct', not 'gpt-x'"),
    ):
        asyncio.run(client.ask_many([GENERATE[0]]))
    assert not (tmp_path / "llm.log").exists()


def test_only_its_parent_may_call_it_and_it_starts_again_when_it_dies(tmp_path: Path):
    with closing(EmbeddedServer(tmp_path / "llm.log", threads=1)) as server:
        first = server.address()
        assert server.address() == first
        with pytest.raises(urllib.error.HTTPError, match="401"):
            complete(Address(first.url, "guessed"), prompt="x", max_tokens=1)
        child = child_of(server)
        child.kill()
        child.wait()
        second = server.address()
        assert second.api_key != first.api_key
        child = child_of(server)
        assert server.threads == 1
    assert child.returncode is not None


def test_it_measures_its_threads(tmp_path: Path):
    with closing(EmbeddedServer(tmp_path / "llm.log")) as server:
        server.address()
        assert server.threads in range(1, len(os.sched_getaffinity(0)) + 1)


def test_it_does_not_outlive_a_killed_parent(tmp_path: Path):
    code = """
import sys
from pathlib import Path
from typing import Any
from harness.llm.embedded import Address, EmbeddedServer
from harness.llm.wire import body_of
server = EmbeddedServer(Path(sys.argv[1]), threads=1)
server.address()
print(server._child._process.pid, flush=True)
sys.stdin.read()
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "llm.log")],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.communicate()
    wait_until_gone(pid)


def complete(address: Address, **body: object) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {address.api_key}"}
    call = urllib.request.Request(f"{address.url}/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(call, timeout=60) as answer:
        return json.load(answer)


def child_of(server: EmbeddedServer) -> subprocess.Popen[bytes]:
    child = server._child  # pyright: ignore[reportPrivateUsage]
    assert child is not None
    return child._process  # pyright: ignore[reportPrivateUsage]


def wait_until_gone(pid: int) -> None:
    """Returns once the process has ended; the test's own time-out catches one that stays."""
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.05)
