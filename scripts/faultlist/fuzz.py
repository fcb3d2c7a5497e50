"""Row 11: bodies, answers, grades, YAML and headers that nobody would write, for every parser of the program."""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from eval.answers import SCORES, json_object, leaves, same
from faultlist.row import Options, Row
from harness.filters.rubric import read_grade
from harness.filterspec import JudgeFilter
from harness.generate.produce import read_choice, with_answer
from harness.llm.client import Answer, Choice
from harness.llm.pacing import retry_after
from harness.llm.wire import NotTheProtocol, ReportedError, parse_reply, whole
from harness.records import Cost, Example, Origin
from harness.spec import Task
from harness.store import canonical
from harness.yamlfile import parse

ANSWERS = Task.model_validate(
    {"noun": "question", "labels": {"answerable": "x", "unknown": "y"}, "answer": {"about": "a short answer"}}
)
SLOWEST_S = 2.0
BLOCK = 5_000
PIECES = (
    "{", "}", "[", "]", '"', ":", ",", "\\", "null", "true", "NaN", "Infinity", "-0", "1e999", "1" * 400, "\ud800",
    "\x00", "\u2028", "é", "😀", "<b>", "{{ 7*7 }}", "</item>", "\n", "\t", " ", "- ", "a: ", "&x ", "*x",
    "!!python/object:os.system", "<<: ", "|", ">", "'", "#", "%", "@", "`", "---", "? ", '"choices"', '"message"',
    '"content"', '"text"', '"index"', '"finish_reason"', '"usage"', '"prompt_tokens"', '"relevance"', '"correctness"',
    '"adherence"', "Answer:", "Question:",
    "9" * 5_000, "\\ud800", "\\u0000", "0x1F", "1:30", "2024-01-01", "=", "~", "\r",
)  # fmt: skip
GOOD = {
    "body": '{"model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", '
    '"content": "who wrote it ?"}}], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}',
    "completion": '{"choices": [{"index": 0, "text": "who ?", "finish_reason": null}], "usage": null}',
    "text": "“Who wrote the old song ?”\nAnswer: Emma",
    "grade": '{"relevance": 5, "correctness": 4, "adherence": 3}',
    "object": '{"type": "HUM", "entity": {"name": "Emma", "tags": ["a", 1, true]}}',
    "yaml": "name: x\ntask:\n  noun: question\n  labels: {A: one, B: two}\ndata: {source: {kind: file, path: a.csv}}\n",
    "header": "Wed, 21 Oct 2015 07:28:00 GMT",
}


@dataclass
class Tally:
    """What a block of inputs came to. `read` + `refused` = inputs."""

    inputs: Counter[str] = field(default_factory=Counter[str])
    read: int = 0
    refused: int = 0
    crashes: list[str] = field(default_factory=list[str])
    slowest: float = 0.0
    slow: str = ""
    peak_mb: float = 0.0


def measure(options: Options) -> Sequence[Row]:
    blocks = [(options.seed, number) for number in range(-(-options.fuzz // BLOCK))]
    began = time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        tallies = list(pool.map(run_block, blocks))
    inputs = sum((tally.inputs for tally in tallies), Counter[str]())
    read, refused = sum(tally.read for tally in tallies), sum(tally.refused for tally in tallies)
    crashes = [crash for tally in tallies for crash in tally.crashes]
    slowest = max(tallies, key=lambda tally: tally.slowest)
    peak = max(tally.peak_mb for tally in tallies)
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(inputs.items()))
    figure = (
        f"crashes {len(crashes)}; read {read:,} + refused {refused:,} = {inputs.total():,} ({told}); slowest "
        f"{slowest.slowest:.2f} s of CPU, peak {peak:.0f} MB, {time.monotonic() - began:.0f} s"
    )
    if crashes:
        print("\n".join(crashes[:20]), file=sys.stderr)
        figure += f" ({crashes[0][:160]})"
    held = not crashes and read + refused == inputs.total() and slowest.slowest < SLOWEST_S
    return [Row(11, "answers, bodies and files that are nearly right", inputs.total(), held, figure, options.seed)]


def run_block(block: tuple[int, int]) -> Tally:
    """5,000 inputs; the same for the same (seed, number)."""
    chance = random.Random(f"{block[0]}/{block[1]}")
    tally = Tally()
    names, weights = list(READERS), [WEIGHTS[name] for name in READERS]
    for name in chance.choices(names, weights, k=BLOCK):
        text = mutated(GOOD[name], chance)
        tally.inputs[name] += 1
        began = time.process_time()
        try:
            took = READERS[name](text)
        except Exception as error:
            tally.crashes.append(f"{name}: {type(error).__name__}: {error} for {text[:200]!r}")
        else:
            tally.read += took
            tally.refused += not took
        seconds = time.process_time() - began
        if seconds > tally.slowest:
            tally.slowest, tally.slow = seconds, text[:80]
    tally.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return tally


WEIGHTS: Mapping[str, float] = {
    "body": 40, "completion": 10, "text": 25, "grade": 15, "object": 7, "header": 2, "yaml": 1,
}  # fmt: skip
"""YAML is read a hundred times slower than the rest."""


def mutated(good: str, chance: random.Random) -> str:
    """A text near a good one: cut, doubled, with pieces put in, taken out or nested; rarely very long or deep."""
    text = good
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(text) + 1)
        kind = chance.randrange(7)
        if kind < 3:
            text = text[:place] + chance.choice(PIECES) + text[place:]
        elif kind == 3:
            text = text[:place] + text[place + chance.randrange(1, 12) :]
        elif kind == 4:
            text = text[:place]
        elif kind == 5:
            other = chance.randrange(len(text) + 1)
            text = text[:place] + text[min(place, other) : max(place, other)] + text[place:]
        else:
            text = text.replace(chance.choice(("stop", "5", "null", "question", "Emma", "0")), chance.choice(PIECES))
    rare = chance.random()
    if rare < 0.0005:
        text = text[: len(text) // 2] + "x" * 1_000_000 + text[len(text) // 2 :]
    elif rare < 0.003:
        depth = chance.choice((60, 70, 900, 990, 10_000))
        text = chance.choice(("[", '{"a":', "a: [", "(")) * depth + text
        text += chance.choice(("", "]" * depth, "}" * depth))
    return text[:2_000_000]


def read_body(text: str, *, chat: bool) -> bool:
    """Whether it is an answer, which then has to fit into the cache."""
    try:
        reply = parse_reply(text, chat=chat)
    except (NotTheProtocol, ReportedError) as error:
        str(error).encode()
        return False
    canonical([reply.model, *([choice.text, choice.finish_reason] for choice in reply.choices)]).encode()
    assert all(count is None or 0 <= count < 2**63 for count in (reply.prompt_tokens, reply.completion_tokens))
    return True


def read_text(text: str) -> bool:
    """Whether it becomes a row; as one text, and as a text with its answer."""
    answer = Answer("k", (Choice(whole(text), "stop"),), Cost())
    found, reason, raw = read_choice(answer, 0, "Who")
    lines, why, _ = read_choice(answer, 0, "", lines=True)
    if not why:
        with_answer(Example("i", lines, "answerable", {}, Origin.SYNTHETIC), "", ANSWERS)
    assert bool(found) != bool(reason)
    (found + raw).encode()
    return not reason


def read_judge(text: str) -> bool:
    found = read_grade(Answer("k", (Choice(text, "stop"),), Cost()), JudgeFilter())
    assert found.score is None or 1 <= found.score <= 5
    return found.score is not None


def read_object(text: str) -> bool:
    fields = json_object(text)
    # The longest common subsequence takes the product of both lengths.
    if len(text) < 5_000:
        same(GOOD["object"], text)
        assert all(0 <= score(GOOD["object"], text) <= 1 for score in SCORES.values())
    return fields is not None and leaves(fields) is not None


def read_header(text: str) -> bool:
    seconds = retry_after({"retry-after": text})
    assert seconds is None or 0 <= seconds < float("inf")
    return seconds is not None


def read_yaml(text: str) -> bool:
    found = parse(text)
    json.dumps(found.value)
    return not found.problems


READERS: Mapping[str, Callable[[str], bool]] = {
    "body": partial(read_body, chat=True),
    "completion": partial(read_body, chat=False),
    "text": read_text,
    "grade": read_judge,
    "object": read_object,
    "header": read_header,
    "yaml": read_yaml,
}
"""Name → what reads such a text and says whether it took it. Only what the program expects is caught."""
