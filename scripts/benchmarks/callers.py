"""What the generation benchmark runs in processes of their own: our way from plan to verdicts, and a bare script."""

from __future__ import annotations

import asyncio
import csv
import importlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.facts import ROOT

ITEMS = 600
SPLIT = "{seeds: 120, dev: 60, anchor: 60, test: 60, pool: 0}"
OFF = ("consistency", "difficulty", "duplicates", "leakage", "judge", "quota")
"""All filters but the one that looks at form: what those of meaning take is for other benchmarks."""


@dataclass(frozen=True)
class Job:
    """Calls to make and how; `url` may be `embedded`. `folder` holds the real items, and takes stores. `tokens` is how
    long each answer of the embedded LLM is, 0: as long as the spec lets it."""

    url: str
    calls: int
    samples: int
    concurrency: int
    folder: str
    tokens: int = 0


class NoMeaning:
    """Stands for the embedder where nothing asks what texts mean: a fixed random direction for each."""

    id = "benchmark"

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.stack([np.random.default_rng(list(text.encode())).normal(size=64) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Marks:
    """A `Progress` that notes the most memory of the process at the end of each stage."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}

    def stage(self, name: str, total: int) -> Any:  # noqa: ARG002 - nothing is shown
        return lambda _: None

    def done(self, name: str) -> None:
        from harness.machine import peak_memory

        self.peaks[name] = peak_memory()

    def note(self, text: str) -> None: ...


def write_items(folder: Path) -> None:
    """Real questions for the few-shot blocks."""
    from harness.packaged import read_packaged

    labels = {str(row["text"]): str(row["label"]) for row in read_packaged("trec").rows}
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *list(labels.items())[:ITEMS]])


def spec_of(job: Job) -> Any:
    """`experiments/trec.yaml` with the job's generator, one wave, and the filter of form."""
    from harness.specfile import load

    endpoint = [] if job.url == "embedded" else [f"llm.generator={{base_url: {json.dumps(job.url)}, model: stub}}"]
    overrides = [
        f"data.source={{kind: file, path: {json.dumps(str(Path(job.folder) / 'items.csv'))}}}",
        f"data.split={SPLIT}",
        "evaluate.each_round=[seeds, mixed]",
        "data.slices={columns: [], clusters: 0, cells: 'off'}",
        *endpoint,
        f"generate.samples_per_call={job.samples}",
        f"runtime.limits.generator.concurrency={job.concurrency}",
        *(f"filters.{name}.enabled=false" for name in OFF),
    ]
    return load(ROOT / "experiments" / "trec.yaml", overrides)


def prepare(job: Job, store_root: Path) -> tuple[Any, Any, Any]:
    """(spec, real data, plan) of so many calls: what a run has before it generates."""
    from harness.generate.feedback import first_plan
    from harness.real import load_real
    from harness.records import Plan
    from harness.refills import spread
    from harness.store import Store

    spec = spec_of(job)
    data = load_real(spec, Path(job.folder), Store(store_root), NoMeaning())
    quotas = spread(first_plan(spec, []), job.calls, spec, 0)
    return spec, data, Plan(1, quotas, (), (), ())


def prompts_of(job: Job) -> list[list[dict[str, str]]]:
    """The chat messages of every call, for the bare script."""
    return [[{"role": role, "content": content} for role, content in request.prompt] for request in requests_of(job)]


def requests_of(job: Job) -> list[Any]:
    """The calls of a job as the plan makes them."""
    from harness.generate.produce import draws
    from harness.records import Role

    spec, data, plan = prepare(job, Path(job.folder) / "prompts")
    return [draw.request for draw in draws(plan.quotas, plan, data.examples[Role.SEEDS], spec, wave=0)]


def ours(job: Job) -> dict[str, Any]:
    """Plan → prompts → calls → cache → rows → verdicts → data set, all on disk: `harness.rounds.harvest`."""
    # No clock counts imports: the bare script has made its own before.
    for name in ("aiohttp", "jinja2.sandbox", "openai", "pyarrow.parquet"):
        importlib.import_module(name)

    from harness.bench import Bench, Harvest
    from harness.llm.client import open_client
    from harness.machine import peak_memory
    from harness.progress import Watch
    from harness.rounds import harvest
    from harness.store import Store
    from harness.timing import TimedLlm

    root = Path(job.folder) / f"store-{os.getpid()}"
    spec, data, plan = prepare(job, root)
    marks = Marks()
    watch = Watch(marks)
    with open_client(spec, root, scope="benchmark") as client:
        nobody: Any = None
        bench = Bench(spec, Store(root), data, NoMeaning(), nobody, None, None, TimedLlm(client, watch), watch)

        async def main() -> dict[str, int]:
            now = await harvest(bench, plan, "plan-benchmark", Harvest())
            # Counts and not the harvest: `asyncio.run` makes a text of what it returns, whatever its size.
            return {"rows": len(now.candidates) + len(now.failures), "accepted": len(now.sieved.accepted)}

        before = peak_memory()
        with Clock() as clock:
            counts = asyncio.run(main())
    return {
        **clock.spent(),
        **counts,
        "seconds": watch.seconds,
        "before": before,
        "peaks": {**marks.peaks, "end": peak_memory()},
    }


def bare(job: Job) -> dict[str, Any]:
    """What one writes in ten minutes: the openai client, a semaphore, `gather`. Nothing is kept or looked at."""
    import openai

    prompts = json.loads((Path(job.folder) / "prompts.json").read_text(encoding="utf-8"))

    async def main() -> list[str]:
        client = openai.AsyncOpenAI(base_url=job.url, api_key="none")
        slot = asyncio.Semaphore(job.concurrency)

        async def ask(seed: int, messages: Any) -> list[str]:
            async with slot:
                answer = await client.chat.completions.create(
                    model="stub", messages=messages, temperature=0.9, max_tokens=40, n=job.samples, seed=seed
                )
            return [choice.message.content or "" for choice in answer.choices]

        async with client:
            found = await asyncio.gather(*[ask(seed, messages) for seed, messages in enumerate(prompts)])
        return [text for texts in found for text in texts]

    with Clock() as clock:
        texts = asyncio.run(main())
    return {**clock.spent(), "rows": len(texts)}


class Clock:
    """Wall and processor seconds of the block it is entered for."""

    def __enter__(self) -> Clock:
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]

    def spent(self) -> dict[str, float]:
        return {"wall": self.wall, "cpu": self.cpu}


CALLERS = {"ours": ours, "bare": bare}
