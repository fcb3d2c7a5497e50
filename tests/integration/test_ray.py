"""Runs on a real Ray of several processes: what comes out is what comes out without it, whichever worker is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from endpoint import ScriptedEndpoint
from factories import make_spec
from test_suite import Case, answer, found
from threadpoolctl import threadpool_info

from harness import rayembed, rayengine
from harness.embed import SentenceEmbedder
from harness.engine import Job
from harness.errors import ClusterError
from harness.raycluster import cluster_of
from harness.rayengine import embed_on_ray, run_on_ray
from harness.spec import Spec
from harness.store import Store

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [f"What is the {'very ' * (number % 7)}name of number {number} ?" for number in range(50)]
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
pytestmark = pytest.mark.timeout(300)


def work(spec: Spec, base: Path) -> None:
    """Stands for a run: an artefact, for `slow` after minutes, for `killed` never."""
    print(f"{spec.name} says something")
    if spec.name == "one":
        threads = {each["num_threads"] for each in threadpool_info()}
        (base / "threads").write_text(f"{os.environ['OMP_NUM_THREADS']} {threads}")
    with (base / f"{spec.name}.pid").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if spec.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.name == "slow":
        time.sleep(600)
    Store(spec.runtime.store).once("own", 1, lambda folder: (folder / "x").write_text("x"), inputs={"name": spec.name})


def jobs(folder: Path, *names: str) -> list[Job]:
    runtime = {"store": folder, "threads": 1, "llm_threads": 1}
    return [Job(name, make_spec(name=name, runtime=runtime), folder) for name in names]


def workers() -> dict[str, int]:
    """Name of the task → process, of all workers of Ray that descend from this process."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text().rpartition(")")[2].split()
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:
                continue
            parents[int(folder.name)] = (int(status[1]), title)

    def ours(pid: int) -> bool:
        while pid in parents and pid != os.getpid():
            pid = parents[pid][0]
        return pid == os.getpid()

    return {
        title.removeprefix("ray::"): pid
        for pid, (_, title) in parents.items()
        if title.startswith("ray::") and ours(pid)
    }


def wait_until(ready: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with ScriptedEndpoint(otherwise=answer) as endpoint:
        yield Case(tmp_path_factory.mktemp("ray"), endpoint)


def test_a_suite_on_ray_gives_the_ids_of_one_without_though_a_worker_is_killed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TOKEN.items():
        # Else Ray makes one of its own, in the home folder.
        monkeypatch.setenv(name, value)
    small = ("--set", "runtime.tracking.enabled=false", "--set", "stop.max_rounds=1")
    case.compare("local", "--jobs", "1", *small)
    asked = [call.body for call in case.endpoint.calls]
    case.endpoint.calls.clear()
    killed: list[int] = []

    def kill() -> None:
        """When there are candidates, no call is in flight: the run trains those who read them."""
        wait_until(lambda: [*(case.folder / "ray" / "artefacts").glob("candidates/candidates-*")])
        pid = workers()["base-seed0"]
        killed.append(pid)
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    said = case.compare("ray", "--engine", "ray", "--jobs", "2", *small)
    killer.join()
    assert "2 at a time: --jobs 2" in said
    assert not alive(killed[0])
    assert list(case.store("ray").ids()) == list(case.store("local").ids())
    assert sorted(map(str, asked)) == sorted(str(call.body) for call in case.endpoint.calls)
    scores = [{line.variant: line.score for line in found(case, name).lines} for name in ("local", "ray")]
    assert scores[0] == scores[1]
    log = (case.folder / "ray" / "logs" / "base-seed0.log").read_text()
    assert log.count("load and split the real data: 0/1") == 2
    assert workers() == {}


def drive(address: str, folder: str) -> None:
    """What a process does that embeds texts and makes three runs on a cluster: one run is done, one is killed, one
    takes its time."""
    ready = jobs(Path(folder), "one", "killed", "slow")
    rayengine.LEAST, rayembed.BLOCK, rayengine.RETRIES = 1, 30, 1
    with cluster_of([job.spec for job in ready], 3, address, Path(folder)) as cluster:
        embed_on_ray(TEXTS, "cpu", cluster=cluster, say=lambda said: print(json.dumps(["said", said])))
        run_on_ray(ready, work, lambda ended: print(json.dumps([ended.job.name, ended.fault]), flush=True),
                   cluster=cluster)  # fmt: skip


@pytest.fixture
def environment() -> dict[str, str]:
    """Of a cluster on the loopback, and of a process that joins it."""
    path = os.pathsep.join(str(ROOT / part) for part in ("", "tests", "tests/integration"))
    settings = {**LOOPBACK, **TOKEN, "RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_worker_prestart": "0"}
    # Of the process: each run asks for two CPUs, which Ray would take for the number of threads.
    settings["OMP_NUM_THREADS"] = "1"
    return {**os.environ, **settings, "PYTHONPATH": path}


@pytest.fixture
def head(environment: dict[str, str]) -> Iterator[str]:
    """The address of a cluster of one node, with room for three runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        command = ["start", "--head", "--block", f"--port={address.rpartition(':')[2]}", "--num-cpus=6"]
        command += ["--node-ip-address=127.0.0.1", "--temp-dir", folder]
        command += [f"--memory={6 * 10**9}", "--object-store-memory=100000000", "--include-dashboard=false"]
        node = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *command],
            env={name: value for name, value in environment.items() if name != "OMP_NUM_THREADS"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: listens(address))
            yield address
        finally:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def test_a_cluster_is_joined_and_left_running_and_ctrl_c_leaves_no_run_behind(
    head: str, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**LOOPBACK, "RAY_AUTH_MODE": "disabled"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError, match="wants its token"), cluster_of([make_spec()], 1, head, tmp_path):
        pytest.fail("strangers are not let in")
    code = f"import test_ray; test_ray.drive({head!r}, {str(tmp_path)!r})"
    driver = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        ended: dict[str, str] = {}
        while len(ended) < 3:
            # Ray says on the same stream that it has lost a worker.
            line = driver.stdout.readline()
            assert line
            ended |= dict([json.loads(line)] if line.startswith('["') else [])
        wait_until((tmp_path / "slow.pid").exists)
    finally:
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=120)
    assert ended["said"] == "50 texts to embed on Ray, 2 workers"
    elsewhere, here = SentenceEmbedder(tmp_path / "elsewhere"), SentenceEmbedder(tmp_path)
    assert here.missing(TEXTS) == []
    assert here(TEXTS).tobytes() == elsewhere(TEXTS).tobytes()
    assert ended["one"] == ""
    assert (tmp_path / "threads").read_text() == "1 {1}"
    assert "its worker was lost 2 times" in ended["killed"]
    assert "killed.log" in ended["killed"]
    assert len((tmp_path / "killed.pid").read_text().split()) == 2
    assert (tmp_path / "logs" / "one.log").read_text() == "one says something\n"
    assert driver.returncode not in (0, None)
    [slow] = [int(pid) for pid in (tmp_path / "slow.pid").read_text().split()]
    wait_until(lambda: not alive(slow), 20)
    assert len([*Store(tmp_path).ids("own")]) == 1
    assert [*(tmp_path / "locks").iterdir()] == []
    assert listens(head)
