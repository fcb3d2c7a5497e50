"""Training and asking SmolLM2: rows in lines against rows filled up, bfloat16 against float32, answers by batch.

Tokens per second of processor time, in one process, all contenders once per repeat. Long rows are Disfl-QA's (passage,
question, answer), short ones TREC's questions as plain text. Of rows filled up only their own tokens count. What is
filled up is the common way: transformers' own attention over a batch of 8 rows in seeded order.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from benchmarks import facts

if TYPE_CHECKING:
    from harness.train.causal_base import Base
    from harness.train.sequences import Encoded, Row

BATCH = 8
NEW_TOKENS = 16
Precision = Literal["bf16", "fp32"]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all contenders (3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--rows", type=int, default=24, help="long rows to train on; short ones are four times as many")


def run(options: argparse.Namespace) -> int:
    import torch

    from harness.train.causal_base import find_base, load_base

    torch.set_num_threads(options.threads)
    base = load_base(find_base("embedded"))
    rows = {"long": long_rows()[: options.rows], "short": short_rows()[: 4 * options.rows]}
    found: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        for (kind, own), precision in product(rows.items(), ("bf16", "fp32")):
            for name, rate in training(base, own, precision).items():
                found.setdefault(f"train {kind:5} {name:6} {precision}", []).append(rate)
        for (kind, own), batch in product(rows.items(), (1, 16, 64)):
            rate = asking(base, own[: max(4, batch)], batch)
            found.setdefault(f"write {kind:5} batch {batch:2} fp32", []).append(rate)
        for name, rates in found.items():
            print(f"{name:28} {facts.spread(rates, 1)} tokens/s", flush=True)
    print("\n".join([*facts.lines(), f"threads {options.threads}, repeats {options.repeats}, rows {options.rows}"]))
    return 0


def long_rows() -> list[Row]:
    from harness.packaged import read_disfl_qa
    from harness.train.sequences import Row

    rows = [
        Row(f"{one['passage']}\nQuestion: {one['question']}\nAnswer:", str(one["answer"]))
        for one in read_disfl_qa().rows
    ]
    return random.Random(0).sample(rows, len(rows))


def short_rows() -> list[Row]:
    from harness.packaged import read_packaged
    from harness.train.sequences import Row

    texts = sorted({str(one["text"]) for one in read_packaged("trec").rows})
    return [Row("", text) for text in random.Random(0).sample(texts, len(texts))]


def training(base: Base, rows: Sequence[Row], precision: Precision) -> dict[str, float]:
    """Tokens per second of one pass over the rows, forwards and backwards."""
    from harness.causalspec import CausalTrain
    from harness.train.causal import Fit, trainable
    from harness.train.line import attend_apart
    from harness.train.sequences import Format

    recipe = CausalTrain(epochs=1, format="plain", precision=precision)
    encoded = [Format(base, recipe).row(row) for row in rows]
    tokens = sum(len(row.ids) for row in encoded)
    batches = [range(start, min(start + BATCH, len(rows))) for start in range(0, len(rows), BATCH)]
    model = trainable(base, recipe)
    fit = Fit(model, base, encoded, [1.0] * len(rows), recipe, 0)
    fit.gradients(batches[0][:2])
    rates = {"line": tokens / seconds(lambda: [fit.gradients(batch) for batch in batches])}
    attend_apart(model)
    rates["filled"] = tokens / seconds(
        lambda: [filled_up(model, base, [encoded[at] for at in batch]) for batch in batches]
    )
    return rates


def filled_up(model: Any, base: Base, rows: Sequence[Encoded]) -> None:
    """A forward and backward pass over rows that are filled up to the longest; logits of the answers only."""
    import torch

    longest = max(len(row.ids) for row in rows)
    room = [longest - len(row.ids) for row in rows]
    ids = torch.tensor([[*row.ids, *[base.pad] * left] for row, left in zip(rows, room, strict=True)])
    mask = torch.tensor([[1] * len(row.ids) + [0] * left for row, left in zip(rows, room, strict=True)])
    inner = model.get_base_model()
    hidden = inner.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    own = torch.cat([hidden[at, row.answer - 1 : len(row.ids) - 1] for at, row in enumerate(rows)])
    targets = torch.tensor([one for row in rows for one in row.targets])
    torch.nn.functional.cross_entropy(inner.lm_head(own).float(), targets).backward()


def asking(base: Base, rows: Sequence[Row], batch: int) -> float:
    """Tokens per second that the untrained model writes, the reading of the prompts included."""
    from harness.causalspec import CausalTrain
    from harness.train.decoding import Sampling
    from harness.train.generative import Student

    student = Student(base, CausalTrain(epochs=1, format="plain"))
    prompts = [row.prompt or row.answer for row in rows]
    start = time.process_time()
    answers = student.generate(prompts, max_new_tokens=NEW_TOKENS, sampling=Sampling(temperature=1.0), batch_size=batch)
    return sum(one.tokens for one in answers) / (time.process_time() - start)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
