"""A Ray to run on: a cluster that is joined, or one that is started here. The only module that imports ray.

All nodes must have this code and see the same store, which is checked before anything runs.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engine import MEMORY_A_RUN, Plan, plan_jobs, threads_of
from harness.errors import ClusterError, MissingPackageError, StoreError
from harness.llm.cache import share_between_machines
from harness.locks import held
from harness.machine import cores
from harness.raytask import Node, code_digest, look, plan_on
from harness.spec import Spec
from harness.store import LOCKS

PROBE_S = 5.0
ANSWER_S = 30.0
"""Seconds that a cluster has to take a connection, and to answer as one."""
CHECK_S = 120.0
"""Seconds that every node has to start a worker which looks at the store."""
OBJECT_STORE = 100_000_000
"""Bytes for what passes between the processes of a Ray that is started here: specs and one line a run."""
LONGEST_FOLDER = 40
"""Ray's sockets lie some 60 characters below its folder, and the path of a socket has 107 at most."""
LOCAL = {
    # Else Ray listens on all addresses of the machine. Read when ray is loaded.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Else it starts as many processes as it has CPUs to give, before there is anything to do.
    "RAY_enable_worker_prestart": "0",
}
"""Settings of a Ray that is started here."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray that this process is connected to: the nodes that can do work, all of which see the store `root` and that
    the file `token` in it is locked; how many runs to make at a time, and how many cores there are in all."""

    nodes: tuple[Node, ...]
    plan: Plan
    cores: int
    root: Path
    token: Path


@contextmanager
def cluster_of(specs: Sequence[Spec], asked: int | None, address: str | None, store: Path) -> Generator[Cluster]:
    """Join the cluster at `address` (HOST:PORT) and leave it running, or start a Ray here and end it afterwards.

    `asked` runs go on at a time; if None, as many as the cluster, or this machine's cores and memory, have room for.
    Raises `MissingPackageError` without Ray, `ClusterError` for a cluster that cannot be used, or a node of which does
    not have this code or the store.
    """
    _check_installed()
    if address is not None:
        _check_address(address)
    with _environment(LOCAL if address is None else {}):
        ray = ray_itself()
    if ray.is_initialized():
        raise ClusterError(
            "this process is connected to a Ray already: call `ray.shutdown()` before, or run the suite elsewhere."
        )
    root = store.resolve()
    (root / "logs").mkdir(parents=True, exist_ok=True)
    here = None if address is not None else plan_jobs(specs, asked)
    with _sigterm_kept(), _connected_to(ray, address, here, specs), _token(root) as token:
        nodes = nodes_of(ray)
        _check_nodes(ray, nodes, token)
        if sum(bool(one["Alive"]) for one in ray.nodes()) > 1:
            share_between_machines(root / "calls.sqlite")
        # What a Ray that is started here gives away is what its runs ask for, and that may be more than there is.
        there = cores() if here else sum(int(node.cpus) for node in nodes)
        yield Cluster(nodes, here or plan_on(nodes, specs, asked), there, root, token)


def _check_installed() -> None:
    if importlib.util.find_spec("ray") is None:
        raise MissingPackageError(
            "the engine 'ray' needs Ray, which is not installed: `pip install 'synthetic-data-harness[ray]'`, or leave "
            "`--engine ray` out."
        )


def ray_itself() -> Any:
    return importlib.import_module("ray")


def ray_data() -> Any:
    return importlib.import_module("ray.data")


def _connected_to(
    ray: Any, address: str | None, here: Plan | None, specs: Sequence[Spec]
) -> AbstractContextManager[None]:
    if address is not None:
        return _joined(ray, address)
    return _started(ray, here.jobs if here else 1, max(map(threads_of, specs)))


@contextmanager
def _started(ray: Any, jobs: int, threads: int) -> Generator[None]:
    """A Ray on 127.0.0.1 with room for so many runs; it ends with the block or with this process."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    try:
        if len(str(folder)) > LONGEST_FOLDER:
            raise ClusterError(
                f"the path of the temporary folder {str(folder)!r} is too long for Ray's sockets: set TMPDIR to a "
                f"folder whose path has at most {LONGEST_FOLDER - 13} characters."
            )
        # Workers have to find what this process finds, however it was started.
        path = os.pathsep.join(str(Path(part).resolve()) for part in sys.path)
        with _environment({**LOCAL, "PYTHONPATH": path}), _connected("a Ray could not be started here"):
            ray.init(
                address="local",
                num_cpus=jobs * threads,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env=_as_here(),
                object_store_memory=OBJECT_STORE,
                _memory=jobs * MEMORY_A_RUN,
                _temp_dir=str(folder),
            )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _joined(ray: Any, address: str) -> Generator[None]:
    """Connected to a running cluster, which is left as it is."""
    try:
        with _connected(f"the Ray cluster at {address!r} cannot be joined"):
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env=_as_here())
        yield
    finally:
        ray.shutdown()


def _as_here() -> dict[str, dict[str, str]]:
    """Workers start with this machine's number of threads. Ray's own is the CPUs that a task holds, which is there when
    numpy is loaded and makes other sums than the same run without Ray."""
    return {"env_vars": {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores()))}}


@contextmanager
def _connected(what: str) -> Generator[None]:
    """What Ray raises on connecting, as `ClusterError`; where it gives up it even ends the process."""
    try:
        yield
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:500]
        raise ClusterError(
            f"{what}: {type(error).__name__}: {said}. Nothing was lost; mend it and try again."
        ) from error


def _check_address(address: str) -> None:
    """Raise `ClusterError` within seconds where no Ray answers; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    advice = (
        "`ray status` on the cluster's head says whether it runs; its address ends with the port of `ray start` (6379)"
    )
    if not host or not port.isdigit() or "/" in address:
        raise ClusterError(f"address {address!r} is not HOST:PORT, e.g. 10.0.0.5:6379; {advice}.")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S):
            pass
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster at {address!r}: {error}. Nothing was lost or started; {advice}.") from error
    said = _answer(address)
    if "AuthenticationError" in said:
        raise ClusterError(
            f"the Ray cluster at {address!r} wants its token: set RAY_AUTH_MODE=token here, and have in "
            "~/.ray/auth_token or RAY_AUTH_TOKEN what the machine has that `ray start --head` was called on. Nothing "
            "was lost or started."
        )
    if said:
        raise ClusterError(
            f"what listens at {address!r} does not answer as a Ray cluster: {said[:300]}. Nothing was lost or started; "
            f"{advice}."
        )


def _answer(address: str) -> str:
    """ "" from a Ray cluster, else what was wrong."""
    try:
        done = subprocess.run(  # noqa: S603 - this Python
            [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address],
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_S:.0f} s"
    return "" if done.returncode == 0 else _last(done.stderr or done.stdout) or f"exit code {done.returncode}"


def nodes_of(ray: Any) -> tuple[Node, ...]:
    """Those that live and can do work. Raises `ClusterError` where there are none (any more)."""
    found = [
        Node(
            one["NodeID"],
            f"{one['NodeManagerHostname']} ({one['NodeManagerAddress']})",
            one["Resources"].get("CPU", 0.0),
            one["Resources"].get("memory", 0.0),
            one["Resources"].get("GPU", 0.0),
        )
        for one in ray.nodes()
        if one["Alive"]
    ]
    able = tuple(sorted((one for one in found if one.cpus >= 1 and one.memory), key=lambda one: one.id))
    if not able:
        raise ClusterError(
            f"the Ray cluster has no node that offers a CPU ({len(found)} are alive): add one with `ray start "
            "--address HOST:PORT`, then run the same command again; it goes on from what is in the store."
        )
    return able


def _check_nodes(ray: Any, nodes: Sequence[Node], token: Path) -> None:
    """Raise `ClusterError` that names the nodes on which a run could not be made."""
    strategy = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
    task = ray.remote(num_cpus=0, max_retries=0)(look)
    going = {
        task.options(scheduling_strategy=strategy(node_id=node.id, soft=False)).remote(token, code_digest()): node
        for node in nodes
    }
    ray.wait([*going], num_returns=len(going), timeout=CHECK_S)
    problems: dict[str, list[str]] = {}
    for ref, node in going.items():
        try:
            said = ray.get(ref, timeout=0)
        except ray.exceptions.GetTimeoutError:
            said = f"started no worker within {CHECK_S:.0f} s"
        except ray.exceptions.RayError as error:
            said = f"cannot run the harness: {last_line(error)}; install the project there, in the Python of its Ray"
        if said:
            problems.setdefault(said, []).append(node.name)
    if problems:
        lines = [f"{', '.join(names)} {said}." for said, names in problems.items()]
        raise ClusterError("\n".join([*lines, "Nothing was started."]))


@contextmanager
def _token(root: Path) -> Generator[Path]:
    """A file of the store that this process alone holds locked, by which a node shows that it sees both."""
    token = root / LOCKS / f"ray-{secrets.token_hex(8)}.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(held(token))
        except OSError as error:
            raise StoreError(
                f"cannot lock files in the store {str(root)!r}: {error.strerror or error}. Choose another folder with "
                "`--set runtime.store=DIR`."
            ) from error
        yield token


def last_line(error: Exception) -> str:
    return _last(str(error))


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


@contextmanager
def _sigterm_kept() -> Generator[None]:
    """Ray puts a handler of its own in place and leaves it there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    """Variables for what is loaded or started meanwhile, where the person has not set them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(
        {name: value for name, value in variables.items() if before[name] is None or name == "PYTHONPATH"}
    )
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
