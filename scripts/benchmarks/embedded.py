"""The embedded LLM through the client against `transformers.generate`, on the same weights and few-shot prompts.

Both write several answers to each prompt, sampled alike, up to the end of the line. Tokens are counted in the texts, by
one tokenizer. Ours is the whole call: HTTP, the cache and the one call at a time that makes answers repeat.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import facts
from benchmarks.callers import Clock, Job, requests_of, spec_of

SAMPLES = 8
"""Answers to a prompt; what a spec has by default."""
BATCH = 16
TEXTS = "texts.json"
SERVER, TRANSFORMERS = "server", "transformers"


def server(job: Job) -> dict[str, Any]:
    """Ask the embedded LLM; the texts are left for the other part to count."""
    from harness.llm.client import Answer, Request, open_client

    requests = requests_of(job)
    with open_client(spec_of(job), Path(job.folder) / f"store-{os.getpid()}", scope="benchmark") as client:
        # The first call starts it.
        asyncio.run(client.ask_many([Request("generator", "Question:", 0.0, 1)]))
        with Clock() as clock:
            answers = asyncio.run(client.ask_many(requests))
    texts = [choice.text for answer in answers if isinstance(answer, Answer) for choice in answer.choices]
    (Path(job.folder) / TEXTS).write_text(json.dumps(texts), encoding="utf-8")
    return {"wall": clock.wall, "answers": len(texts)}


def transformers(job: Job) -> dict[str, Any]:
    """`generate` in batches, each row its prompt's own copy; counts the tokens of both parts' texts."""
    import torch

    from harness.train.causal_base import find_base, load_base

    torch.set_num_threads(1)
    base = load_base(find_base("embedded"))
    tokenizer, model = base.tokenizer, base.model.eval()
    requests = requests_of(job)
    rows = [str(request.prompt) for request in requests for _ in range(request.n)]
    first = requests[0]
    texts: list[str] = []
    with Clock() as clock, torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            batch = tokenizer(rows[start : start + BATCH], return_tensors="pt", padding=True, padding_side="left")
            written = model.generate(
                **batch,
                do_sample=True,
                temperature=first.temperature,
                min_p=first.min_p,
                top_k=0,
                max_new_tokens=first.max_tokens,
                stop_strings=list(first.stop),
                tokenizer=tokenizer,
                pad_token_id=base.pad,
            )
            new = written[:, batch["input_ids"].shape[1] :]
            texts += tokenizer.batch_decode(new, skip_special_tokens=True)
    cut = [text.partition("\n")[0] for text in texts]
    ours = json.loads((Path(job.folder) / TEXTS).read_text(encoding="utf-8"))
    prompts = [len(tokenizer(str(request.prompt))["input_ids"]) for request in requests]
    return {
        "wall": clock.wall,
        "answers": len(cut),
        "tokens": {SERVER: _tokens(tokenizer, ours), TRANSFORMERS: _tokens(tokenizer, cut)},
        "prompt": sum(prompts) / len(prompts),
    }


def _tokens(tokenizer: Any, texts: Sequence[str]) -> int:
    return sum(len(tokenizer(text)["input_ids"]) for text in texts)


PARTS = {SERVER: server, TRANSFORMERS: transformers}


def rates(pair: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Tokens written per second by each part.

    >>> rates({"server": {"wall": 2.0},
    ...        "transformers": {"wall": 4.0, "tokens": {"server": 400, "transformers": 200}}})
    {'server': 200.0, 'transformers': 50.0}
    """
    return {name: pair[TRANSFORMERS]["tokens"][name] / pair[name]["wall"] for name in PARTS}


def line(pair: Mapping[str, Mapping[str, Any]]) -> str:
    """One repeat as text."""
    tokens, found = pair[TRANSFORMERS]["tokens"], rates(pair)
    said = [f"{name} {found[name]:.0f} tokens/s ({tokens[name]} in {pair[name]['wall']:.1f} s)" for name in PARTS]
    return f"{', '.join(said)}: {found[SERVER] / found[TRANSFORMERS]:.2f}×"


def report(found: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The medians over the repeats."""
    each = [rates(pair) for pair in found]
    return [
        "tokens/s of the embedded LLM, times those of transformers.generate: "
        + facts.spread([one[SERVER] / one[TRANSFORMERS] for one in each]),
        *(f"  {name:13}{facts.spread([one[name] for one in each], 0)} tokens/s" for name in PARTS),
        f"  prompts of {found[-1][TRANSFORMERS]['prompt']:.0f} tokens on average, batches of {BATCH} in generate",
    ]
