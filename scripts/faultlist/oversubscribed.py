"""Row 33: threads that `llm_threads: auto` picks for the embedded LLM while another process keeps a core busy."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from faultlist.row import Options, Row
from faultlist.trial import environment

REPEATS = 8
WORST, MOST_SLOWER = 0.85, 6
"""A choice is a wrong one where its median loses more than this against the best number of threads, and more of its
calls than these are slower: seven of eight are so by chance in 4 % of cases (sign test)."""
LONGEST_S = 240
BUSY = "while True: pass"
CHOICES, TOKENS = 8, 16
CALL = {
    "prompt": "Question: Who wrote Emma ?\n" * 6 + "Question:",
    "n": CHOICES,
    "max_tokens": TOKENS,
    "seed": 0,
    "ignore_eos": True,
}
"""Each choice goes on to its last token: the server counts those of the first one only."""


@dataclass(frozen=True)
class Speeds:
    """Threads that were picked, and tokens a second by number of threads: one value for each repeat."""

    picked: int
    cores: int
    rates: Mapping[str, Sequence[float]]


def measure(options: Options) -> Sequence[Row]:
    """The measuring process is one of its own: it holds two servers."""
    with busy_core():
        done = subprocess.run(
            [sys.executable, "-m", "faultlist.oversubscribed", str(options.work)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=True,
        )
    return [row(Speeds(**json.loads(done.stdout)), options.seed)]


def row(found: Speeds, seed: int) -> Row:
    medians = {int(threads): median(rates) for threads, rates in found.rates.items()}
    best = max(medians, key=lambda threads: medians[threads])
    ours, fastest = found.rates[str(found.picked)], found.rates[str(best)]
    slower = sum(one < other for one, other in zip(ours, fastest, strict=True))
    told = ", ".join(f"{threads}: {rate:.0f}" for threads, rate in sorted(medians.items()))
    ratio = medians[found.picked] / medians[found.cores]
    figure = (
        f"picked {found.picked} of {found.cores} threads; tokens/s by threads {told} (medians of {len(ours)} "
        f"interleaved calls each); picked / all cores {ratio:.2f}, slower than the best in {slower} of {len(ours)}"
    )
    held = medians[found.picked] >= WORST * medians[best] or slower <= MOST_SLOWER
    fault = "one core is kept busy by another process while the embedded LLM chooses its threads and answers"
    return Row(33, fault, len(ours), held, figure, seed)


@contextmanager
def busy_core() -> Generator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def speeds(folder: Path) -> Speeds:
    """Ask a server that chose and others with all cores and with half of them in turn, so that other load hits all
    alike."""
    from harness.llm.embedded import EmbeddedServer
    from harness.machine import cores

    with ExitStack() as stack:
        chosen = EmbeddedServer(folder / "chosen.log")
        stack.callback(chosen.close)
        _timed(chosen)
        assert chosen.threads is not None
        servers = {chosen.threads: chosen}
        for threads in {cores(), max(1, cores() // 2)} - {chosen.threads}:
            servers[threads] = EmbeddedServer(folder / f"{threads}.log", threads)
            stack.callback(servers[threads].close)
            _timed(servers[threads])
        rates: dict[str, list[float]] = {str(threads): [] for threads in servers}
        for _ in range(REPEATS):
            for threads, server in servers.items():
                rates[str(threads)].append(_timed(server))
        return Speeds(chosen.threads, cores(), rates)


def _timed(server: Any) -> float:
    """Tokens a second of one call."""
    address = server.address()
    headers = {"content-type": "application/json", "authorization": f"Bearer {address.api_key}"}
    asked = urllib.request.Request(f"{address.url}/completions", json.dumps(CALL).encode(), headers)
    began = time.monotonic()
    with urllib.request.urlopen(asked, timeout=60) as response:
        told = json.loads(response.read())
    assert told["usage"]["completion_tokens"] == TOKENS
    return CHOICES * TOKENS / (time.monotonic() - began)


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(asdict(speeds(Path(sys.argv[1])))))
