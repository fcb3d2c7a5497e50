"""What a run's task on Ray needs, what it takes with it, and what a worker does with it. Needs no ray.

`harness.rayengine` sends these functions to the workers.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.engine import MEMORY_A_RUN, Job, Plan, Work, fault_of, threads_of
from harness.errors import ClusterError
from harness.locks import is_held
from harness.machine import cores
from harness.running import DEFAULTS
from harness.spec import Spec

VARIABLES = (*DEFAULTS, "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
"""What workers take over from this process, on all nodes. Keys of endpoints are not among them: a cluster's nodes have
their own, and a Ray that is started here inherits the whole environment without any of it being written down."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster and what Ray may give away of it; `memory` in bytes."""

    id: str
    name: str
    cpus: float
    memory: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task holds while its run goes on. Below 1, `gpus` is the share of one that several runs use."""

    cpus: int
    memory: int
    gpus: float

    def options(self) -> dict[str, float]:
        """As Ray's task options."""
        return {"num_cpus": self.cpus, "memory": self.memory, **({"num_gpus": self.gpus} if self.gpus else {})}


def plan_on(nodes: Sequence[Node], specs: Sequence[Spec], asked: int | None) -> Plan:
    """How many of these runs a cluster makes at a time: as asked for, else as many as it has room for."""
    if asked is not None:
        return Plan(min(asked, max(1, len(specs))), f"--jobs {asked}")
    needs = [needs_of(spec, nodes, at_a_time=1) for spec in specs]
    cpus, memory, gpus = (max(getattr(one, name) for one in needs) for name in ("cpus", "memory", "gpus"))
    room = sum(
        int(min(node.cpus // cpus, node.memory // memory, node.gpus if gpus else float("inf"))) for node in nodes
    )
    there = f"{len(nodes)} node(s) with {sum(node.cpus for node in nodes):.0f} CPUs"
    there += f" and {sum(node.gpus for node in nodes):.0f} GPUs" if gpus else ""
    takes = f"a run takes {cpus} of them{', a GPU' if gpus else ''} and up to {memory / 1e9:.0f} GB"
    return Plan(max(1, min(room, len(specs))), f"{there}; {takes}")


def needs_of(spec: Spec, nodes: Sequence[Node], at_a_time: int) -> Needs:
    """What to ask Ray for, at most what the largest node has: a task that fits nowhere would wait for ever.

    Runs use a GPU where the spec says `cuda`, and with `auto` where the cluster has any; where more go on at a time
    than there are GPUs, several share one. Raises `ClusterError` for `cuda` without a GPU.
    """
    device = spec.runtime.device
    gpus = sum(node.gpus for node in nodes)
    if device == "cuda" and not gpus:
        raise ClusterError(
            "runtime.device is 'cuda', but no node of the Ray cluster offers a GPU: add one (`ray start --address … "
            "--num-gpus N`), or choose `--set runtime.device=cpu`."
        )
    on_gpu = device != "cpu" and gpus > 0
    fitting = [node for node in nodes if node.gpus >= 1] if on_gpu else nodes
    largest = max(fitting, key=lambda node: (node.cpus, node.memory))
    share = int(min(1.0, gpus / at_a_time) * 1000) / 1000 if on_gpu else 0.0
    cpus = max(1, min(threads_of(spec), int(largest.cpus)))
    return Needs(cpus, min(MEMORY_A_RUN, int(largest.memory)), share)


def look(token: Path, code: str) -> str:
    """On a node: "" or why no run can be made there, as the rest of a sentence."""
    if not token.exists():
        return (
            f"does not see the store {str(token.parent.parent)!r} that this machine sees: put it on a file system that "
            "all nodes mount at the same path (`--set runtime.store=DIR`)"
        )
    try:
        locked = is_held(token)
    except OSError as error:
        return f"cannot lock files in the store {str(token.parent.parent)!r}: {error.strerror or error}"
    if not locked:
        return (
            f"sees the store {str(token.parent.parent)!r} but not the locks of this machine, so work would be done "
            "twice: mount it with locks that reach all nodes (NFS 4, or `flock` for Lustre)"
        )
    return "" if code_digest() == code else "has another version of the harness: install the same commit on all nodes"


def code_digest() -> str:
    """A digest of the project's modules: what two nodes must have in common."""
    found = hashlib.sha256()
    for package in ("harness", "eval"):
        folder = Path(str(importlib.import_module(package).__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            found.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return found.hexdigest()


def anywhere(job: Job, root: Path) -> Job:
    """The job with nothing in it that depends on the folder or the machine it is made on."""
    runtime = job.spec.runtime
    threads = cores() if runtime.threads == "auto" else runtime.threads
    settled = runtime.model_copy(update={"store": root, "threads": threads})
    return replace(job, spec=job.spec.model_copy(update={"runtime": settled}), base=job.base.resolve())


def variables() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def take_over(taken: Mapping[str, str]) -> None:
    """In a worker, before anything heavy is loaded: be as the process that sent the task."""
    os.environ.update(taken)


def make(job: Job, work: Work, root: Path, token: Path, taken: Mapping[str, str]) -> str:
    """In a worker: make the run; "" or what went wrong."""
    take_over(taken)
    problem = look(token, code_digest())
    if problem:
        return f"{platform.node()} {problem}."
    with _saying_to(root / "logs" / f"{job.name}.log"):
        return fault_of(work, job)


@contextmanager
def _saying_to(log: Path) -> Generator[None]:
    """What the process and the libraries in it say goes into the file."""
    handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    before = {stream: os.dup(stream) for stream in (1, 2)}
    try:
        for stream in before:
            os.dup2(handle, stream)
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        for stream, old in before.items():
            os.dup2(old, stream)
            os.close(old)
        os.close(handle)
