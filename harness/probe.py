"""The frozen probe of a run: what the generator answers, round after round, to prompts that no feedback edits.

Round 1 is generation 0. Every later round's answers are judged against it by `eval.collapse`, and so, beside them, are
the rows that each round kept: filters narrow too. But kept rows follow the steering, which moves both statistics where
nothing is wrong, so only the probe can alarm and end a run.

Nothing is trained on an answer to the probe. Where the generator is one model that stays as it is, the probe sees
whether the endpoint still gives what it gave in round 1; where the generator is retrained between rounds or runs on its
own output, it sees collapse.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eval.collapse import RareSlices, Verdict
from eval.diversity import neighbour_radii
from eval.profiles import Items
from harness.bench import Bench, Harvest
from harness.collapsecheck import CollapseCheck, check_generations
from harness.embed import Embedder
from harness.generate import produce, prompts
from harness.generate.feedback import static_labels
from harness.generate.matrix import deal
from harness.rareslices import members
from harness.records import Candidate, ParseFailure, Plan, Role
from harness.reports import ProbeReport
from harness.rounds import ask
from harness.store import digest, read_lines, write_lines
from harness.texts import normalise

VERSION = 1
FEWEST = 5
"""Anchors of a slice whose recall is watched."""
NEIGHBOURS = 5
"""A text is about an anchor if it lies nearer than so many other anchors do."""
EXAMPLES = 6
"""Texts of each round that the report shows."""


async def ask_probe(bench: Bench, round_: int) -> tuple[tuple[str, ...], ...]:
    """Answers to the frozen prompts in this round: one batch, in round 1 `evaluate.probe.batches` of them; none where
    the probe is off. What a spent budget left unasked is missing."""
    rule = bench.spec.evaluate.probe
    if not rule.enabled:
        return ()
    return tuple([await _batch(bench, round_, batch) for batch in range(rule.batches if round_ == 1 else 1)])


async def _batch(bench: Bench, round_: int, batch: int) -> tuple[str, ...]:
    draws = _draws(bench, round_, batch)
    inputs = {
        **bench.section("task", "budget"),
        "calls": digest([bench.llm.key(draw.request) for draw in draws]),
        "templates": prompts.templates_digest(answers=bench.spec.task.answer is not None),
    }
    parents = {"split": bench.data.artefact.id}
    ident, _ = bench.store.id_of("probe", VERSION, inputs, parents, bench.spec.seed)
    answered = produce.Batch((), ())
    if ident not in bench.store:
        name = f"round {round_}: frozen probe" + (f", batch {batch + 1}" if batch else "")
        made: dict[int, produce.Batch] = {}
        with bench.watch.stage("generation", name, len(draws)) as advance:
            await ask(bench, draws, made, round_, batch, advance)
        answered = produce.joined(made[place] for place in range(len(draws)))

    def build(folder: Path) -> None:
        write_lines(folder / "candidates.jsonl", Candidate, answered.candidates)
        write_lines(folder / "failures.jsonl", ParseFailure, answered.failures)

    kept = bench.store.once("probe", VERSION, build, inputs=inputs, parents=parents, seed=bench.spec.seed)
    candidates = read_lines(kept / "candidates.jsonl", Candidate)
    bench.llm.use(one.call for one in (*candidates, *read_lines(kept / "failures.jsonl", ParseFailure)))
    texts = [one.example.text for one in candidates]
    return tuple(text for text in texts if normalise(text))


def _draws(bench: Bench, round_: int, batch: int) -> list[produce.Draw]:
    """The same prompts in every round; only the sampling seed differs."""
    spec = bench.spec
    single = spec.model_copy(update={"generate": spec.generate.model_copy(update={"samples_per_call": 1})})
    generator = random.Random(digest([spec.seed, "probe"]))
    quotas = deal(spec.evaluate.probe.items, 1, static_labels(spec), spec.matrix, generator)
    frozen = produce.draws(quotas, Plan(0, quotas, (), (), ()), bench.data.examples[Role.SEEDS], single, wave=0)
    return [
        replace(draw, request=replace(draw.request, seed=_seed(spec.seed, round_, batch, place)))
        for place, draw in enumerate(frozen)
    ]


def _seed(seed: int, round_: int, batch: int, place: int) -> int:
    return int(digest([seed, "probe", round_, batch, place])[:7], 16)


def probe_verdict(bench: Bench, probes: Sequence[Sequence[Sequence[str]]]) -> Verdict | None:
    """What the detector says after the last of `probes`, the batches of each round; None where the probe is off."""
    return _check(bench, "probe", probes, explain=False).verdict if probes and probes[0] else None


def probe_report(bench: Bench, probes: Sequence[Sequence[Sequence[str]]], harvest: Harvest) -> ProbeReport | None:
    """The probe and the kept rows of all rounds for the report; None where the probe is off."""
    if not probes or not probes[0]:
        return None
    kept = _kept(harvest, len(probes))
    return ProbeReport(
        probe=_check(bench, "probe", probes, explain=True),
        kept=_check(bench, "kept", [[texts] for texts in kept], explain=True),
        calls=sum(len(batch) for batches in probes for batch in batches),
        examples=tuple(_examples(batches[0]) for batches in probes),
        slices={f"cluster={name}": words for name, words in bench.data.clusters.described().items()},
    )


def _kept(harvest: Harvest, rounds: int) -> list[tuple[str, ...]]:
    """Texts of the accepted rows by the round that they were generated in."""
    texts: dict[int, list[str]] = {number: [] for number in range(1, rounds + 1)}
    for row in harvest.accepted():
        if row.candidate.round in texts:
            texts[row.candidate.round].append(row.example.text)
    return [tuple(own) for own in texts.values()]


def _examples(texts: Sequence[str]) -> tuple[str, ...]:
    """Some texts, spread over the prompts, the same prompts in every round."""
    return tuple(texts[:: max(1, len(texts) // EXAMPLES)][:EXAMPLES])


def _check(bench: Bench, what: str, generations: Sequence[Sequence[Sequence[str]]], *, explain: bool) -> CollapseCheck:
    anchors = bench.data.examples[Role.ANCHOR]
    rows = bench.embedder([one.text for one in anchors])
    first, *others = [[_items(tuple(batch), bench.embedder) for batch in batches] for batches in generations]
    slices = None
    if len(rows) > NEIGHBOURS:
        named = {name: own for name, own in members(anchors, ("cluster",)).items() if len(own) >= FEWEST}
        slices = RareSlices(named, tuple(map(float, neighbour_radii(rows, NEIGHBOURS))))
    return check_generations(
        first,
        [batches[0] for batches in others],
        rows,
        embedder=bench.embedder.id,
        seed=bench.spec.seed,
        names=[f"round {number}" for number in range(1, len(generations) + 1)],
        what=what,
        slices=slices,
        explain=explain,
    )


def _items(texts: tuple[str, ...], embed: Embedder) -> Items:
    return Items(texts, embed(texts))
