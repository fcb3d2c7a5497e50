"""Runs as tasks on Ray, and texts to vectors there. Joining and starting a Ray is in `harness.raycluster`.

Each run is a task in a worker process of its own and does there what it does anywhere (`harness.engine`): what it makes
is in the store before it is used, so a run whose worker is lost is made again from there, by another worker. Nothing
comes back through Ray but how a run ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from harness.embed import SentenceEmbedder
from harness.engine import Ended, Job, OnEnd, Work
from harness.errors import ClusterError
from harness.interrupts import on_interrupt, stop
from harness.raycluster import Cluster, last_line, nodes_of, ray_data, ray_itself
from harness.rayembed import LEAST, Vectors, blocks, by_text, workers_of
from harness.raytask import anywhere, make, needs_of, variables

RETRIES = 3
"""So often a run whose worker was lost is taken up again by another one."""
WATCH_S = 20.0
"""Seconds between two looks at whether the cluster is still there."""
CANCEL_S = 5.0


def run_on_ray(jobs: Sequence[Job], work: Work, on_end: OnEnd, *, cluster: Cluster, fail_fast: bool = False) -> None:
    """`cluster.plan.jobs` of them at a time, each in a worker process that writes what it says to `logs/<name>.log` of
    the store.

    A run whose worker is lost is taken up again; one that loses `RETRIES` more fails, and costs no other. On Ctrl-C all
    are cancelled; what they finished is in the store. Raises `ClusterError` where the cluster's nodes are gone.
    """
    ray = ray_itself()
    needs = {job.name: needs_of(job.spec, cluster.nodes, cluster.plan.jobs) for job in jobs}
    # A process of its own for each run, as without Ray: it takes its memory with it when it ends.
    task = ray.remote(max_calls=1)(make)
    waiting = [anywhere(job, cluster.root) for job in jobs]
    going: dict[Any, Job] = {}
    with _cancelled(ray, going), interrupts() as check:
        while waiting or going:
            check()
            while waiting and len(going) < cluster.plan.jobs:
                job = waiting.pop(0)
                options = {**needs[job.name].options(), "name": job.name, "max_retries": RETRIES}
                sent = task.options(**options).remote(job, work, cluster.root, cluster.token, variables())
                going[sent] = job
            found, _ = ray.wait([*going], num_returns=1, timeout=WATCH_S)
            if not found:
                # Without nodes Ray would wait for new ones for ever.
                nodes_of(ray)
            for done in found:
                job = going.pop(done)
                ended = Ended(job, _fault(ray, done, cluster.root / "logs" / f"{job.name}.log"))
                on_end(ended)
                if ended.fault and fail_fast:
                    return


def embed_on_ray(
    texts: Sequence[str], device: Literal["auto", "cpu", "cuda"], *, cluster: Cluster, say: Callable[[str], None]
) -> None:
    """Put the vectors of many texts into the store's cache, bit for bit those that one process would make; few texts
    are left to the runs.

    A Ray Data pipeline: workers with the embedder get block after block, no more of which are made than this process
    takes and writes. Raises `ClusterError`; what was written stays.
    """
    there = device != "cpu" and any(node.gpus for node in cluster.nodes)
    used = "cuda" if there else "cpu"
    embedder = SentenceEmbedder(cluster.root, used)
    missing = embedder.missing(texts)
    if len(missing) < LEAST:
        return
    ray, data = ray_itself(), ray_data()
    count, each = workers_of(cluster.nodes, cluster.cores, len(missing), used)
    say(f"{len(missing):,} texts to embed on Ray, {count} workers")
    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    made = data.from_arrow([*blocks(missing)]).map_batches(
        Vectors,
        fn_constructor_args=(cluster.root, used, embedder.id, variables()),
        batch_size=None,
        compute=data.ActorPoolStrategy(min_size=1, max_size=count),
        **each,
    )
    try:
        for block in made.iter_batches(batch_size=None, prefetch_batches=1):
            embedder.keep(by_text(block))
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"embedding on Ray failed: {last_line(error)}. The vectors that were made are kept: the same command goes "
            "on from there."
        ) from error


def _fault(ray: Any, done: Any, log: Path) -> str:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        return f"this is a defect of the harness:\n{error}"
    except ray.exceptions.RayError as error:
        return (
            f"its worker was lost {RETRIES + 1} times before it was through ({type(error).__name__}: "
            f"{_first_line(error)}); the end of {str(log)!r} may say why. What it finished is in the store: the same "
            "command goes on from there."
        )


@contextmanager
def interrupts() -> Generator[Callable[[], None]]:
    """A check that raises KeyboardInterrupt after a Ctrl-C: Ray's own loops may swallow what a signal's handler
    raises."""
    seen: list[int] = []

    def check() -> None:
        if seen:
            stop(seen[0])

    def handler(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        check()

    with on_interrupt(handler):
        yield check


@contextmanager
def _cancelled(ray: Any, going: Mapping[Any, Job]) -> Generator[None]:
    """No task is left behind, however the block ends."""
    try:
        yield
    finally:
        for task in going:
            ray.cancel(task, force=True)
        if going:
            ray.wait([*going], num_returns=len(going), timeout=CANCEL_S)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
