"""Rows 5–9 and 34: an endpoint that is overloaded, slow, broken or lies, asked by clients in processes of their own."""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from endpoint import Call, ScriptedEndpoint, Step, answer_body, html, reply, reset

from faultlist.asker import Told, Wish, ask
from faultlist.row import Options, Row

AMPLIFICATION = 1.2
STORM_S, PERIOD_S, CLOSED_S, RATE = 30.0, 2.5, 1.5, 5.0
BURST_S = 6.0


class Counted:
    """Requests that came in, and those answered well; by key."""

    def __init__(self) -> None:
        self.came: Counter[str] = Counter()
        self.good: Counter[str] = Counter()
        self.lock = threading.Lock()

    def well(self, handler: Any, call: Call) -> None:
        handler.send(200, json.dumps(answer_body(call)).encode())
        with self.lock:
            self.good[call.headers["idempotency-key"]] += 1

    def note(self, call: Call) -> int:
        """How often this call has come, now included."""
        with self.lock:
            self.came[call.headers["idempotency-key"]] += 1
            return self.came[call.headers["idempotency-key"]]

    @property
    def amplification(self) -> float:
        """Requests for each call that was answered."""
        return self.came.total() / max(1, len(self.good))


class Storm(Counted):
    """For half a minute the endpoint is closed 60 % of the time (429, Retry-After says how long), and it never takes
    more than five calls a second (429 with one second)."""

    def __init__(self) -> None:
        super().__init__()
        self.began = 0.0
        self.tokens, self.filled = RATE, 0.0

    def __call__(self, handler: Any, call: Call) -> None:
        self.note(call)
        with self.lock:
            now = time.monotonic()
            self.began = self.began or now
            wait = self._wait(now - self.began)
        if wait:
            reply(429, {"error": {"message": "slow down"}}, {"retry-after": f"{wait:.2f}"})(handler, call)
        else:
            time.sleep(0.05)
            self.well(handler, call)

    def _wait(self, at: float) -> float:
        """Seconds that a call at this time is told to wait; 0 where it is taken."""
        if at < STORM_S and at % PERIOD_S < CLOSED_S:
            return CLOSED_S - at % PERIOD_S
        self.tokens = min(RATE, self.tokens + RATE * (at - self.filled))
        self.filled = at
        if self.tokens < 1:
            return 1.0
        self.tokens -= 1
        return 0.0

    @staticmethod
    def ideal(calls: int) -> float:
        """Seconds of somebody who knows the rules: as many calls as are taken, none besides."""
        inside = STORM_S * (1 - CLOSED_S / PERIOD_S) * RATE
        return STORM_S + max(0.0, calls - inside) / RATE


def storm(options: Options) -> Sequence[Row]:
    """Row 5."""
    step, calls = Storm(), 200
    told = _ask(options, step, calls, {"concurrency": 8})
    held, figure = _borne(step, told, calls)
    figure += f"; {told.seconds:.0f} s, {step.ideal(calls):.0f} s is the least"
    fault = f"429 with Retry-After, closed 60 % of {STORM_S:.0f} s, and 5 calls a second at most; 8 calls at a time"
    return [Row(5, fault, calls, held, figure, options.seed)]


def _borne(step: Counted, told: Told, calls: int) -> tuple[bool, str]:
    """Whether every call was answered without many more requests than answers, with the figures."""
    figure = (
        f"requests / answers {step.amplification:.2f} (at most {AMPLIFICATION}); {len(told.answers)} of {calls} "
        f"answered, {len(told.failures)} given up"
    )
    return step.amplification <= AMPLIFICATION and len(told.answers) == calls, figure


class Burst(Counted):
    """After the first 20 calls nothing but overload without a word of how long, for some seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.began = 0.0
        self.recovered = 0.0
        self.statuses = (429, 503, 529, 500)

    def __call__(self, handler: Any, call: Call) -> None:
        self.note(call)
        with self.lock:
            number, now = self.came.total(), time.monotonic()
            if number > 20:
                self.began = self.began or now
            over = now - self.began - BURST_S if self.began else 0.0
            bad = bool(self.began) and over < 0
            if over > 0:
                self.recovered = self.recovered or over
        if bad:
            reply(self.statuses[number % 4], {"error": {"message": "overloaded"}})(handler, call)
        else:
            time.sleep(0.02)
            self.well(handler, call)


def burst(options: Options) -> Sequence[Row]:
    """Row 6."""
    step, calls = Burst(), 200
    told = _ask(options, step, calls, {"concurrency": 8})
    held, figure = _borne(step, told, calls)
    figure += f"; first call {step.recovered:.1f} s after the end of the burst"
    fault = f"429, 503, 529 and 500 without Retry-After for {BURST_S:.0f} s; 8 calls at a time"
    return [Row(6, fault, calls, held, figure, options.seed)]


class Slow(Counted):
    """Takes (and bills) each call; of one in ten the answer comes after the client has gone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.slow = 0

    def __call__(self, handler: Any, call: Call) -> None:
        first = self.note(call) == 1
        with self.lock:
            late = first and self.chance.random() < 0.1
            self.slow += late
        if late:
            time.sleep(3.5)
        try:
            self.well(handler, call)
        except OSError:
            handler.close_connection = True


def slow(options: Options) -> Sequence[Row]:
    """Row 7."""
    step, calls = Slow(options.seed), 100
    told = _ask(options, step, calls, {"concurrency": 4, "timeout_s": 2.0})
    billed, often = step.came.total(), sum(times > 2 for times in step.came.values())
    figure = (
        f"billed / calls {billed / calls:.2f} where the endpoint ignores the idempotency key, "
        f"{len(step.came) / calls:.2f} where it honours it; {step.slow} answers were held back for longer than the "
        f"time-out; calls billed twice {sum(times == 2 for times in step.came.values())}, more often {often}"
    )
    held = not often and step.slow > 0 and len(step.came) == calls == len(told.answers)
    return [Row(7, "answers that come after the time-out of a call that was billed", calls, held, figure, options.seed)]


def truncated(handler: Any, call: Call) -> None:
    """A chunked body without its last half and without an end."""
    data = json.dumps(answer_body(call)).encode()
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n" % len(data) + data[: len(data) // 2])
    handler.wfile.flush()
    handler.connection.close()
    handler.close_connection = True


def half_closed(handler: Any, _: Call) -> None:
    """Headers that promise a body, and no body."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "500")
    handler.end_headers()
    handler.close_connection = True


def zipped(cut: bool) -> Step:
    """A body said to be gzip: garbage, or a real one cut in the middle."""

    def step(handler: Any, call: Call) -> None:
        whole = gzip.compress(json.dumps(answer_body(call)).encode())
        data = whole[: len(whole) // 2] if cut else b"\x1f\x8b\x08\x00garbage" * 9
        handler.send(200, data, {"content-encoding": "gzip"})

    return step


BROKEN: Mapping[str, Step] = {
    "reset": reset(),
    "chunks cut": truncated,
    "half-closed": half_closed,
    "gzip garbage": zipped(cut=False),
    "gzip cut": zipped(cut=True),
}
NO_ANSWER: Mapping[str, Step] = {
    "HTML": html(),
    "empty": reply(200, b""),
    "error with 200": reply(200, {"error": {"message": "overloaded", "code": 529}}),
    "no choices": reply(200, {"choices": []}),
    "half of a JSON": lambda handler, call: handler.send(200, json.dumps(answer_body(call)).encode()[:-9]),
    "nested": reply(200, b"[" * 100_000),
    "other JSON": reply(200, {"hello": "world"}),
}


class Broken(Counted):
    """Every second call is first answered in one of these ways, in turn."""

    def __init__(self, ways: Mapping[str, Step]) -> None:
        super().__init__()
        self.ways = list(ways.items())
        self.used: Counter[str] = Counter()

    def __call__(self, handler: Any, call: Call) -> None:
        first = self.note(call) == 1
        with self.lock:
            broken = first and len(self.came) % 2 == 0
            name, step = self.ways[self.used.total() % len(self.ways)]
            self.used[name] += broken
        if broken:
            step(handler, call)
        else:
            self.well(handler, call)


def broken(options: Options) -> Sequence[Row]:
    """Rows 8 and 9."""
    return [
        _broken(8, "bodies cut or garbled on the way", BROKEN, options),
        _broken(9, "200 with something that is no answer", NO_ANSWER, options),
    ]


def _broken(number: int, fault: str, ways: Mapping[str, Step], options: Options) -> Row:
    step, calls = Broken(ways), 140
    told = _ask(options, step, calls, {"concurrency": 4}, name=f"store{number}")
    bad = step.used.total()
    wrong = sum(not choices[0][0].startswith("answer 0 of ") for choices in told.answers.values())
    figure = (
        f"became an answer or were cached {wrong} of {bad}; {len(told.answers)} of {calls} calls answered "
        f"at the second try, {len(told.failures)} given up"
    )
    held = not wrong and len(told.answers) == calls and step.came.total() == calls + bad
    return Row(number, f"{fault} ({', '.join(ways)})", bad, held, figure, options.seed)


def memory(options: Options) -> Sequence[Row]:
    """Row 34."""
    step, calls = Counted(), 10_000
    told = _ask(options, lambda handler, call: step.well(handler, call), calls, {"concurrency": 8}, tell=False)
    figure = (
        f"{told.grown_mb:.0f} MB more at the peak for {calls:,} answers that are all held; "
        f"{calls / told.seconds:.0f} calls/s"
    )
    held = told.grown_mb < 100 and len(step.good) == calls and not told.error
    return [Row(34, "many answers in one go", calls, held, figure, options.seed)]


def _ask(
    options: Options,
    step: Callable[[Any, Call], None],
    calls: int,
    limits: dict[str, Any],
    *,
    name: str = "store",
    tell: bool = True,
) -> Told:
    with ScriptedEndpoint(otherwise=step) as endpoint:
        endpoint._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        store = Path(options.work) / name
        return ask(Wish(endpoint.url, str(store), calls, limits=limits, tell=tell, warm=not tell))
