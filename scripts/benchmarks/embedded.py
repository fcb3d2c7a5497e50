"""The embedded LLM through the client against `transformers.generate`, on the same weights and few-shot prompts.

Both write several answers to each prompt, sampled alike, up to the end of the line, or `--tokens` each. Tokens are
counted in the texts, by one tokenizer. Ours is the whole call: HTTP, the cache and the one call at a time that makes
answers repeat. `generate` computes in bfloat16 where the processor has instructions for it, since that is its fastest.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import facts
from benchmarks.callers import Clock, Job, requests_of, spec_of

SAMPLES = 8
"""Answers to a prompt; what a spec has by default."""
BATCH = 16
TEXTS = "texts.json"
SERVER, TRANSFORMERS = "server", "transformers"


def asked(job: Job) -> list[Any]:
    """The calls of the plan; with `job.tokens`, whatever ends a line ends no answer."""
    found = requests_of(job)
    return [replace(one, max_tokens=job.tokens, stop=()) for one in found] if job.tokens else found


def server(job: Job) -> dict[str, Any]:
    """Ask the embedded LLM; the texts are left for the other part to count."""
    from harness.llm.client import Answer, Request, open_client

    requests = asked(job)
    with open_client(spec_of(job), Path(job.folder) / f"store-{os.getpid()}", scope="benchmark") as client:
        # The first call starts it.
        asyncio.run(client.ask_many([Request("generator", "Question:", 0.0, 1)]))
        with Clock() as clock:
            answers = asyncio.run(client.ask_many(requests))
    texts = [choice.text for answer in answers if isinstance(answer, Answer) for choice in answer.choices]
    (Path(job.folder) / TEXTS).write_text(json.dumps(texts), encoding="utf-8")
    # Processor time of a child is known once it has ended, so it holds the start, too.
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": clock.wall, "cpu": clock.cpu + child.ru_utime + child.ru_stime, "answers": len(texts)}


def transformers(job: Job) -> dict[str, Any]:
    """`generate` in batches, each row its prompt's own copy; counts the tokens of both parts' texts."""
    import torch

    from harness.machine import has_bf16
    from harness.train.causal_base import find_base, load_base

    torch.set_num_threads(1)
    torch.manual_seed(0)
    base = load_base(find_base("embedded"))
    tokenizer = base.tokenizer
    model = base.model.to(torch.bfloat16 if has_bf16() else torch.float32).eval()
    requests = asked(job)
    options = _options(requests[0], tokenizer, base.pad, exactly=job.tokens)
    rows = [str(request.prompt) for request in requests for _ in range(request.n)]
    # The first call looks through the vocabulary for what ends an answer.
    _written(model, tokenizer, ["Question:"], {**options, "max_new_tokens": 1, "min_new_tokens": 1})
    texts: list[str] = []
    with Clock() as clock:
        for start in range(0, len(rows), BATCH):
            texts += _written(model, tokenizer, rows[start : start + BATCH], options)
    cut = texts if job.tokens else [text.partition("\n")[0] for text in texts]
    ours = json.loads((Path(job.folder) / TEXTS).read_text(encoding="utf-8"))
    prompts = [len(tokenizer(str(request.prompt))["input_ids"]) for request in requests]
    return {
        **clock.spent(),
        "answers": len(cut),
        "tokens": {SERVER: _tokens(tokenizer, ours), TRANSFORMERS: _tokens(tokenizer, cut)},
        "prompt": sum(prompts) / len(prompts),
    }


def _options(request: Any, tokenizer: Any, pad: int, *, exactly: int) -> dict[str, Any]:
    """What `generate` is told, so that it samples as the request says."""
    ends = {"stop_strings": list(request.stop), "tokenizer": tokenizer} if request.stop else {}
    return {
        "do_sample": True,
        "temperature": request.temperature,
        "min_p": request.min_p,
        "top_k": 0,
        "max_new_tokens": request.max_tokens,
        "pad_token_id": pad,
        **({"min_new_tokens": exactly} if exactly else {}),
        **ends,
    }


def _written(model: Any, tokenizer: Any, prompts: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    import torch

    batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    with torch.inference_mode():
        written = model.generate(**batch, **options)
    return tokenizer.batch_decode(written[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def _tokens(tokenizer: Any, texts: Sequence[str]) -> int:
    return sum(len(tokenizer(text)["input_ids"]) for text in texts)


PARTS = {SERVER: server, TRANSFORMERS: transformers}
CLOCKS = {"wall": "tokens/s", "cpu": "tokens/s of processor time"}


def rates(pair: Mapping[str, Mapping[str, Any]], clock: str = "wall") -> dict[str, float]:
    """Tokens written by each part per second of wall time, or of processor time with `clock="cpu"`.

    >>> rates({"server": {"wall": 2.0},
    ...        "transformers": {"wall": 4.0, "tokens": {"server": 400, "transformers": 200}}})
    {'server': 200.0, 'transformers': 50.0}
    """
    return {name: pair[TRANSFORMERS]["tokens"][name] / pair[name][clock] for name in PARTS}


def line(pair: Mapping[str, Mapping[str, Any]]) -> str:
    """One repeat as text."""
    tokens, found, cpu = pair[TRANSFORMERS]["tokens"], rates(pair), rates(pair, "cpu")
    said = [
        f"{name} {found[name]:.0f} tokens/s ({tokens[name]} in {pair[name]['wall']:.1f} s, "
        f"{pair[name]['cpu']:.1f} s cpu)"
        for name in PARTS
    ]
    return (
        f"{', '.join(said)}: {found[SERVER] / found[TRANSFORMERS]:.2f}×, by cpu {cpu[SERVER] / cpu[TRANSFORMERS]:.2f}×"
    )


def report(found: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The medians over the repeats."""
    lines: list[str] = []
    for clock, about in CLOCKS.items():
        each = [rates(pair, clock) for pair in found]
        lines.append(
            f"{about} of the embedded LLM, times those of transformers.generate: "
            + facts.spread([one[SERVER] / one[TRANSFORMERS] for one in each])
        )
        lines += [f"  {name:13}{facts.spread([one[name] for one in each], 0)} {about}" for name in PARTS]
    prompt = found[-1][TRANSFORMERS]["prompt"]
    return [*lines, f"  prompts of {prompt:.0f} tokens on average, batches of {BATCH} in generate"]
