"""Where runs go on: in this process one after another, several at a time in processes of their own, or on Ray.

The result is the same whichever it is: a run is made by its spec and its store, whose locks (`harness.locks`) see to it
that of two runs that need the same call or the same artefact one makes it and the other waits.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.interrupts import on_interrupt, stop
from harness.machine import cores, free_memory
from harness.spec import Spec

MEMORY_A_RUN = 2_000_000_000
"""Bytes that a run with the embedded models takes at most: 1.45 GB were measured on TREC, embedding its 5,381 questions
and serving the embedded LLM included."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run: what it is called in messages, its spec and the folder that its relative paths start at."""

    name: str
    spec: Spec
    base: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended; `fault` is "" where it went well."""

    job: Job
    fault: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How many runs go on at a time, and why so many."""

    jobs: int
    why: str


Work = Callable[[Spec, Path], object]
"""Makes one run; a function of a module, so that another process finds it."""
OnEnd = Callable[[Ended], None]


def plan_jobs(specs: Sequence[Spec], asked: int | None) -> Plan:
    """How many of these runs to make at a time: as asked for, else by free cores and memory."""
    if asked is not None:
        return Plan(min(asked, max(1, len(specs))), f"--jobs {asked}")
    each = max((threads_of(spec) for spec in specs), default=1)
    there, memory = cores(), free_memory()
    by_cores = max(1, there // each)
    by_memory = len(specs) if memory is None else max(1, memory // MEMORY_A_RUN)
    jobs = max(1, min(by_cores, by_memory, len(specs)))
    free = "" if memory is None else f", {memory / 1e9:.0f} GB free"
    why = f"{there} cores{free}; a run keeps {each} busy and takes up to {MEMORY_A_RUN / 1e9:.0f} GB"
    return Plan(jobs, why)


def threads_of(spec: Spec) -> int:
    """Threads that a run keeps busy, its embedded LLM's included. How many train decides on the last bits of a model,
    so it is not for the engine to choose."""
    training = cores() if spec.runtime.threads == "auto" else spec.runtime.threads
    embedded = spec.llm.generator.embedded
    serving = max(1, cores() - 1) if spec.runtime.llm_threads == "auto" else spec.runtime.llm_threads
    return training + (serving if embedded else 0)


def shared_limits(spec: Spec, at_a_time: int) -> Spec:
    """The spec with its part of what its endpoints bear, where so many runs press them together."""
    shares = {
        role: limits.model_copy(
            update={
                name: max(1, value // at_a_time)
                for name in ("concurrency", "requests_per_minute", "tokens_per_minute")
                if (value := getattr(limits, name)) is not None
            }
        )
        for role, limits in spec.runtime.limits.items()
    }
    return spec.model_copy(update={"runtime": spec.runtime.model_copy(update={"limits": shares})})


def run_here(jobs: Sequence[Job], work: Work, on_end: OnEnd, *, fail_fast: bool = False) -> None:
    """One after another in this process, which then loads each model once."""
    for job in jobs:
        ended = Ended(job, fault_of(work, job))
        on_end(ended)
        if ended.fault and fail_fast:
            return


def fault_of(work: Work, job: Job) -> str:
    """ "" or what went wrong. A defect of the harness in one run is told with its traceback and costs no other run."""
    try:
        work(job.spec, job.base)
    except HarnessError as error:
        return str(error)
    except Exception:
        return f"this is a defect of the harness:\n{traceback.format_exc()}"
    return ""


def run_apart(
    jobs: Sequence[Job], work: Work, on_end: OnEnd, *, at_a_time: int, log: Path, fail_fast: bool = False
) -> None:
    """`at_a_time` of them, each in a process of its own that writes what it says to `log/<name>.log`.

    A process that is killed fails its job and no other. On Ctrl-C each lets its calls in flight finish and ends; a
    second one ends them at once. What they finished is in the store.
    """
    log.mkdir(parents=True, exist_ok=True)
    waiting = list(jobs)
    going: dict[Connection, _Child] = {}
    with on_interrupt(stop), _all_ended(going):
        while waiting or going:
            while waiting and len(going) < at_a_time:
                child = _start(waiting.pop(0), work, log)
                going[child.result] = child
            for done in wait([*going]):
                child = going.pop(_connection(done))
                ended = Ended(child.job, child.fault())
                on_end(ended)
                if ended.fault and fail_fast:
                    return


@dataclass(frozen=True, slots=True)
class _Child:
    job: Job
    process: Any
    result: Connection
    log: Path

    def fault(self) -> str:
        """ "" or what went wrong, once the process has said so or is gone."""
        try:
            said: str | None = self.result.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            said = None
        self.process.join()
        self.result.close()
        if said is not None:
            return said
        return (
            f"its process ended with exit code {self.process.exitcode} before it was through; the end of "
            f"{str(self.log)!r} may say why. What it finished is in the store: the same command goes on from there."
        )


def _start(job: Job, work: Work, log: Path) -> _Child:
    # Not forked: a fork of a process that has threads (torch, sqlite) may hang.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    place = log / f"{job.name}.log"
    process = context.Process(target=_child, args=(theirs, work, job, place), name=job.name)
    process.start()
    theirs.close()
    return _Child(job, process, ours, place)


def _child(result: Connection, work: Work, job: Job, log: Path) -> None:
    """What the other process does: make the run, say how it ended."""
    handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(handle, stream)
    with suppress(KeyboardInterrupt):
        result.send(fault_of(work, job))
    result.close()


@contextmanager
def _all_ended(going: Mapping[Connection, _Child]) -> Generator[None]:
    """No process is left behind, however the block ends."""
    try:
        yield
    finally:
        try:
            for child in going.values():
                child.process.terminate()
            for child in going.values():
                child.process.join()
        finally:
            for child in going.values():
                child.process.kill()


def _connection(found: object) -> Connection:
    if not isinstance(found, Connection):
        raise TypeError(f"{found!r} is no connection")
    return found
