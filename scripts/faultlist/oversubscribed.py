"""Row 33: threads that `llm_threads: auto` picks for the embedded LLM while another process keeps a core busy."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from faultlist.row import Options, Row
from faultlist.trial import environment

REPEATS = 5
WORST = 0.85
"""What the choice may lose against the better of the two, for the noise of a shared machine."""
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
    """Threads and tokens a second of what was picked, and of all cores; a pair for each repeat."""

    picked: int
    cores: int
    pairs: Sequence[tuple[float, float]]


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
    ours, all_cores = (median(pair[side] for pair in found.pairs) for side in (0, 1))
    ratio = median(one / other for one, other in found.pairs)
    figure = (
        f"picked {found.picked} of {found.cores} threads: {ours:.0f} tokens/s, with all {found.cores} "
        f"{all_cores:.0f} (median of {len(found.pairs)} interleaved calls each); picked / all cores {ratio:.2f} "
        f"(at least {WORST})"
    )
    fault = "one core is kept busy by another process while the embedded LLM chooses its threads and answers"
    return Row(33, fault, len(found.pairs), ratio >= WORST, figure, seed)


@contextmanager
def busy_core() -> Generator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def speeds(folder: Path) -> Speeds:
    """Ask a server that chose and one with all cores in turn, so that other load hits both alike."""
    from harness.llm.embedded import EmbeddedServer
    from harness.machine import cores

    chosen, whole = EmbeddedServer(folder / "chosen.log"), EmbeddedServer(folder / "whole.log", cores())
    try:
        for server in (chosen, whole):
            _timed(server)
        pairs = [(_timed(chosen), _timed(whole)) for _ in range(REPEATS)]
        assert chosen.threads is not None
        return Speeds(chosen.threads, cores(), pairs)
    finally:
        chosen.close()
        whole.close()


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
