from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from factories import make_spec
from typer.testing import CliRunner

from harness import raycluster, raytask
from harness.cli import app
from harness.engine import MEMORY_A_RUN, Job
from harness.errors import ClusterError, HarnessError, MissingPackageError, StoreError
from harness.llm.cache import CallCache, share_between_machines
from harness.locks import held
from harness.place import Place
from harness.raycluster import cluster_of
from harness.rayembed import BLOCK, TEXT, VECTOR, blocks, by_text, workers_of
from harness.rayengine import interrupts
from harness.raytask import Needs, Node, anywhere, code_digest, look, make, needs_of, plan_on, variables
from harness.records import Cost
from harness.spec import Spec

GB = 1e9
SMALL, BIG = Node("a", "a", 4, 8 * GB, 0), Node("b", "b", 16, 64 * GB, 0)
GPUS = Node("c", "c", 8, 32 * GB, 2)


def spec(**runtime: object) -> Spec:
    return make_spec(runtime={"threads": 3, "llm_threads": 1, **runtime})


def test_a_run_asks_for_the_threads_and_memory_that_it_keeps_busy() -> None:
    assert needs_of(spec(), [SMALL, BIG], 2) == Needs(4, MEMORY_A_RUN, 0.0)
    assert needs_of(spec(), [BIG], 2).options() == {"num_cpus": 4, "memory": MEMORY_A_RUN}


def test_a_ctrl_c_that_was_swallowed_is_noticed_at_the_next_check() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts() as check:
        check()
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_never_asks_for_more_than_the_largest_node_has() -> None:
    tiny = Node("t", "t", 2, 1 * GB, 0)
    assert needs_of(spec(threads=64), [tiny, SMALL], 1) == Needs(4, MEMORY_A_RUN, 0.0)
    assert needs_of(spec(threads=64), [tiny], 1) == Needs(2, int(1 * GB), 0.0)


@pytest.mark.parametrize(
    ("device", "nodes", "at_a_time", "expected"),
    [
        ("cpu", [GPUS], 1, 0.0),
        ("auto", [SMALL], 1, 0.0),
        ("auto", [SMALL, GPUS], 1, 1.0),
        ("cuda", [SMALL, GPUS], 2, 1.0),
        ("cuda", [SMALL, GPUS], 3, 0.666),
        ("auto", [GPUS], 8, 0.25),
    ],
)
def test_gpus_are_asked_for_where_the_spec_wants_them(
    device: str, nodes: list[Node], at_a_time: int, expected: float
) -> None:
    found = needs_of(spec(device=device), nodes, at_a_time)
    assert found.gpus == expected
    assert ("num_gpus" in found.options()) == (expected > 0)


def test_on_gpus_the_node_that_a_run_has_to_fit_is_one_with_gpus() -> None:
    assert needs_of(spec(threads=15, device="cuda"), [BIG, GPUS], 1).cpus == 8


def test_cuda_without_a_gpu_is_told_before_anything_waits_for_one() -> None:
    with pytest.raises(ClusterError, match="no node of the Ray cluster offers a GPU"):
        needs_of(spec(device="cuda"), [SMALL, BIG], 1)


def test_a_cluster_makes_as_many_runs_at_a_time_as_it_has_room_for() -> None:
    many = [spec()] * 20
    plan = plan_on([SMALL, BIG], many, None)
    assert plan.jobs == 1 + 4
    assert "2 node(s) with 20 CPUs; a run takes 4 of them and up to 2 GB" in plan.why
    assert plan_on([SMALL, GPUS], many, None).jobs == 2
    assert plan_on([SMALL, BIG], many[:3], None).jobs == 3
    assert plan_on([SMALL, BIG], many, 7).jobs == 7
    assert plan_on([SMALL, BIG], many[:3], 7).jobs == 3


def test_a_run_is_sent_without_anything_that_depends_on_folder_or_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(raytask, "cores", lambda: 5)
    sent = anywhere(Job("a", make_spec(runtime={"store": "runs"}), Path("data")), tmp_path / "runs")
    assert sent.base == tmp_path / "data"
    assert (sent.spec.runtime.store, sent.spec.runtime.threads) == (tmp_path / "runs", 5)
    assert anywhere(Job("a", spec(), Path()), tmp_path).spec.runtime.threads == 3


def test_a_node_says_why_no_run_can_be_made_there(tmp_path: Path) -> None:
    token = tmp_path / "locks" / "ray-0.lock"
    assert "does not see the store" in look(token, code_digest())
    token.parent.mkdir()
    token.touch()
    assert "not the locks" in look(token, code_digest())
    token.unlink()
    with held(token):
        assert look(token, code_digest()) == ""
        assert "install the same commit" in look(token, "0" * 64)


def note(run: Spec, base: Path) -> None:
    os.system("echo said by a child")  # noqa: S605
    (base / "offline").write_text(os.environ["HF_HUB_OFFLINE"])


def test_a_worker_is_as_the_process_that_sent_the_run_and_says_what_it_says_into_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "here")
    monkeypatch.setenv("MY_KEY", "secret")
    taken = variables()
    assert "secret" not in taken.values()
    monkeypatch.setenv("HF_HUB_OFFLINE", "there")
    token = tmp_path / "locks" / "ray-0.lock"
    (tmp_path / "logs").mkdir()
    with held(token):
        assert make(Job("a", spec(), tmp_path), note, tmp_path, token, taken) == ""
    assert (tmp_path / "offline").read_text() == "here"
    assert (tmp_path / "logs" / "a.log").read_text() == "said by a child\n"
    assert "said by a child" not in capfd.readouterr().out


def test_texts_go_to_workers_in_blocks_and_come_back_as_they_were() -> None:
    texts = [*(f"text {number}" for number in range(BLOCK)), "half a pair \ud800", "", "a"]
    found = [table.to_pydict()[TEXT] for table in blocks(texts)]
    assert [len(block) for block in found] == [BLOCK, 3]
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    back = by_text({TEXT: np.array(found[1], dtype=object), VECTOR: vectors})
    assert list(back) == ["text 510", "text 511", "half a pair \ud800"]
    assert [vector.tolist() for vector in back.values()] == vectors.tolist()
    assert {text for block in found for text in by_text({TEXT: block, VECTOR: block})} == set(texts)


@pytest.mark.parametrize(
    ("nodes", "cores", "texts", "device", "expected"),
    [
        ([SMALL, BIG], 20, 10**6, "cpu", 20),
        ([SMALL, BIG], 2, 10**6, "cpu", 2),
        ([SMALL, BIG], 20, 3 * BLOCK + 1, "cpu", 4),
        ([Node("t", "t", 16, 3 * GB, 0)], 16, 10**6, "cpu", 3),
        ([SMALL, GPUS], 12, 10**6, "cuda", 2),
    ],
)
def test_texts_are_embedded_by_as_many_workers_as_there_is_room_for(
    nodes: list[Node], cores: int, texts: int, device: str, expected: int
) -> None:
    count, each = workers_of(nodes, cores, texts, device)
    assert count == expected
    assert each.get("num_gpus", 0) == (device == "cuda")


def test_a_worker_without_the_store_makes_nothing(tmp_path: Path) -> None:
    said = make(Job("a", spec(), tmp_path), note, tmp_path, tmp_path / "ray-0.lock", {})
    assert "does not see the store" in said
    assert not (tmp_path / "offline").exists()


def test_a_cache_for_several_machines_has_no_log_that_only_one_can_read(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"

    def mode() -> str:
        with closing(sqlite3.connect(path)) as database:
            return database.execute("PRAGMA journal_mode").fetchone()[0]

    with CallCache(path) as cache:
        cache.put("k", {"q": 1}, {"a": 2}, "scope", Cost(calls=1))
        assert mode() == "wal"
        with pytest.raises(StoreError, match="wait for the process that holds it"):
            share_between_machines(path)
    share_between_machines(path)
    assert mode() == "delete"
    with CallCache(path) as one, CallCache(path) as other:
        one.put("l", {"q": 2}, {"a": 3}, "scope", Cost(calls=1))
        assert other.answer_of("k") == {"a": 2}
        assert other.answer_of("l") == {"a": 3}
        assert mode() == "delete"


@pytest.mark.parametrize("address", [None, "127.0.0.1:9"])
def test_without_ray_it_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingPackageError, match=r"pip install 'synthetic-data-harness\[ray\]'"),
        cluster_of([spec()], 1, address, tmp_path),
    ):
        pytest.fail("there is no Ray")


@pytest.fixture
def no_ray() -> Iterator[str]:
    """The address of a server that speaks another protocol."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_where_nothing_listens_there_is_an_error_at_once(tmp_path: Path) -> None:
    start = time.monotonic()
    for address, said in (("127.0.0.1:9", "no Ray cluster at '127.0.0.1:9'"), ("here", "is not HOST:PORT")):
        with pytest.raises(ClusterError, match=said), cluster_of([spec()], 1, address, tmp_path):
            pytest.fail("there is no cluster")
    assert time.monotonic() - start < 3


def test_what_is_no_ray_is_not_waited_for(tmp_path: Path, no_ray: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raycluster, "ANSWER_S", 1.0)
    with (
        pytest.raises(ClusterError, match="does not answer as a Ray cluster"),
        cluster_of([spec()], 1, no_ray, tmp_path),
    ):
        pytest.fail("there is no cluster")


def test_an_address_is_for_ray_alone(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="add `--engine ray`"):
        Place("local", "127.0.0.1:6379")
    with pytest.raises(HarnessError, match="engine 'dask' is unknown; there are local, ray"):
        Place("dask")  # pyright: ignore[reportArgumentType]
    done = CliRunner().invoke(app, ["compare", "x.yaml", "--engine", "dask"])
    assert done.exit_code == 2
