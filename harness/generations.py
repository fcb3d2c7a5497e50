"""`harness collapse run`: what becomes of a model that is trained on its own output, generation after generation.

Generation 0 is trained on real rows. Every generation writes texts, and the next one, again a fresh copy of the base
model, is trained on what the arm makes of them. Beside that each generation answers a frozen probe, which nothing is
trained on, and is measured on real anchors that no generation has seen: `eval.collapse` judges both.

What Shumailov et al. (Nature 2024; OPT-125m) and Gerstgrasser et al. (arXiv 2404.01413) did at scale, in miniature.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.collapse import RareSlices
from eval.profiles import Items
from harness.collapsecheck import CollapseCheck, check_generations
from harness.collapsespec import GenerationArm
from harness.embed import Embedder, SentenceEmbedder
from harness.errors import DataError
from harness.generate.matrix import apportion
from harness.machine import device_of, use_threads, versions
from harness.progress import OTHER, Progress, Watch
from harness.rareslices import rare_slices
from harness.real import RealData, load_real, source_digest
from harness.records import Example, Origin, Role
from harness.spec import Spec
from harness.specfile import resolved
from harness.store import Artefact, Store, digest, read_json, write_json
from harness.texts import normalise, word_count
from harness.timing import TimedEmbedder
from harness.train.authors import Authors, Written
from harness.train.causal_base import find_base
from harness.train.students import Students

VERSION = 2
STAGE = "collapse"
REPORT = "report.json"
QUICK = (
    "collapse.tiny={layers: 2}",
    "collapse.generations=3",
    "collapse.items=300",
    "collapse.probe={items: 80, batches: 4}",
    "causal={format: plain, lora: null, steps: 60, learning_rate: 3.0e-3, batch_size: 32}",
)
"""What `--quick` changes. Shows that everything works, and nothing else."""
EXAMPLES = 6
"""Texts of each generation that the report shows."""
PROBE_SEED = 1_000_000
"""The probe's draws are no draws that a generation learns from."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What one generation was trained on. `drawn` texts were written for it, `kept` of them came through the arm's
    filter; `rows` it learnt, `real` of them real ones."""

    generation: int
    drawn: int
    kept: int
    rows: int
    real: int
    adapter: str


@dataclass(frozen=True, slots=True)
class ArmReport:
    """One arm. `probe` judges the answers to the frozen probe, `kept` the texts that each generation hands on; `nll`
    and `entropy` are means over the anchors by generation (nats per token). `examples[g]` are texts of the probe."""

    arm: str
    stock: tuple[Stock, ...]
    probe: CollapseCheck
    kept: CollapseCheck
    nll: tuple[float, ...]
    entropy: tuple[float, ...]
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class GenerationsReport:
    """A finished `harness collapse run`."""

    id: str
    name: str
    seed: int
    spec: Mapping[str, object]
    real: int
    anchors: int
    arms: tuple[ArmReport, ...]
    started: str
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all arms work with. `batches` are generation 0's batches of the probe, `rare` what is named beforehand."""

    spec: Spec
    authors: Authors
    real: Sequence[Example]
    anchors: Sequence[Example]
    rows: NDArray[np.float32]
    embed: Embedder
    judge: _Judge | None
    labels: tuple[str, ...]
    first: Artefact
    batches: tuple[Items, ...]
    rare: RareSlices | None


@dataclass(frozen=True, slots=True)
class _Judge:
    """The outside classifier of `verified`: another model, trained on the real rows alone."""

    students: Students
    adapter: Artefact

    def agrees(self, texts: Sequence[Written]) -> list[bool]:
        examples = [Example(f"x-{i}", one.text, one.label, {}, Origin.SYNTHETIC) for i, one in enumerate(texts)]
        said = self.students.predict(self.adapter, examples)
        return [answer.label == one.label for answer, one in zip(said, texts, strict=True)]


def run_generations(spec: Spec, base: Path, progress: Progress) -> GenerationsReport:
    """Run all arms of `spec.collapse`, or read the finished run. `base` is the folder that relative paths start from.

    Every training, every text and every score is kept, so a killed run goes on where it was. Raises `DataError`,
    `StoreError`, `MissingPackageError`.
    """
    store = Store(spec.runtime.store)
    ident, _ = store.id_of(STAGE, VERSION, _identity(spec, base), {}, spec.seed)
    if ident not in store:
        report = _run(spec, base, store, ident, Watch(progress))
        store.once(
            STAGE,
            VERSION,
            lambda folder: write_json(folder / REPORT, GenerationsReport, report),
            inputs=_identity(spec, base),
            seed=spec.seed,
        )
    return read_json(store.find(ident) / REPORT, GenerationsReport)


def _identity(spec: Spec, base: Path) -> dict[str, object]:
    tree = resolved(spec)
    used = {name: tree[name] for name in ("task", "data", "causal", "collapse", "train")}
    weights = "tiny" if spec.collapse.tiny else find_base(spec.causal.model, base).digest
    return {**used, "source": source_digest(spec, base), "base": weights}


def _run(spec: Spec, base: Path, store: Store, ident: str, watch: Watch) -> GenerationsReport:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with watch.timed(OTHER):
        bench = _set_up(spec, base, store, watch)
        arms = tuple(_arm(bench, name) for name in spec.collapse.arms)
    return GenerationsReport(
        ident,
        spec.name,
        spec.seed,
        resolved(spec),
        len(bench.real),
        len(bench.anchors),
        arms,
        started,
        watch.seconds,
        versions(),
        tuple(watch.notes),
    )


def _set_up(spec: Spec, base: Path, store: Store, watch: Watch) -> _Bench:
    device = device_of(spec)
    use_threads(spec.runtime.threads)
    embed = TimedEmbedder(SentenceEmbedder(store.root, device), watch)
    with watch.stage("data", "load and split the real data", 1) as advance:
        data = load_real(spec, base, store, embed)
        advance(1)
    real, anchors = data.examples[Role.SEEDS], data.examples[Role.ANCHOR]
    authors = Authors(spec, store, device, watch, base, real)
    judge_ = _judge(spec, store, embed, device, watch, base, data) if "verified" in spec.collapse.arms else None
    first = authors.train("generation 0", real, spec.seed)
    rule = spec.collapse.probe
    labels = _labels(real, rule.items)
    rows = embed([one.text for one in anchors])
    batches = tuple(
        _items(authors.write(f"generation 0, probe {batch + 1}", first, labels, _probe_seed(spec, 0, batch)), embed)
        for batch in range(rule.batches)
    )
    vectors = (embed([one.text for one in real]), rows)
    rare = rare_slices(real, anchors, vectors, spec.data.slices.columns, spec.collapse.rare_share, rule.items)
    if rare is None:
        watch.note("No slice with a few anchors is rare in the real rows (collapse.rare_share, data.slices.columns).")
    return _Bench(spec, authors, real, anchors, rows, embed, judge_, labels, first, batches, rare)


def _judge(spec: Spec, store: Store, embed: Embedder, device: str, watch: Watch, base: Path, data: RealData) -> _Judge:
    students = Students(spec, store, embed, device, watch, base)
    adapter = students.train("outside judge", data.examples[Role.SEEDS], spec.seed, {"split": data.artefact.id})
    return _Judge(students, adapter)


def _labels(real: Sequence[Example], count: int) -> tuple[str, ...]:
    """The labels of `count` prompts, in the shares that the real rows have."""
    weights: dict[str, float] = {}
    for one in real:
        weights[one.label] = weights.get(one.label, 0.0) + 1.0
    return tuple(
        label for label, share in apportion(count, dict(sorted(weights.items()))).items() for _ in range(share)
    )


def _probe_seed(spec: Spec, generation: int, batch: int = 0) -> int:
    return PROBE_SEED + 10_000 * spec.seed + 100 * generation + batch


def _items(written: Sequence[Written], embed: Embedder) -> Items:
    texts = tuple(one.text for one in written if normalise(one.text))
    return Items(texts, embed(texts))


def _arm(bench: _Bench, name: GenerationArm) -> ArmReport:
    spec, rule = bench.spec, bench.spec.collapse
    author, history = bench.first, list[list[Example]]()
    stock = [Stock(0, 0, 0, len(bench.real), len(bench.real), bench.first.id)]
    probes, kept_items = [bench.batches[0]], list[Items]()
    surprises = [bench.authors.surprise(author, bench.anchors)]
    many = round(rule.items * (rule.over_generation if name in ("filtered", "verified") else 1.0))
    for number in range(1, rule.generations + 1):
        title = f"{name}, generation {number}"
        drawn = bench.authors.write(f"{title}: for the next", author, _labels(bench.real, many), spec.seed + number)
        texts = _chosen(bench, name, drawn, number)
        if not texts:
            raise DataError(
                f"collapse.arms: in arm {name!r} nothing that generation {number - 1} wrote came through, so "
                f"generation {number} has nothing to learn from. Raise collapse.over_generation, or leave the arm out."
            )
        history.append(texts)
        rows = _rows(bench, name, history, number)
        author = bench.authors.train(title, rows, spec.seed + number)
        real = sum(row.origin is Origin.REAL for row in rows)
        stock.append(Stock(number, len(drawn), len(texts), len(rows), real, author.id))
        answers = bench.authors.write(f"{title}: probe", author, bench.labels, _probe_seed(spec, number))
        probes.append(_items(answers, bench.embed))
        kept_items.append(Items(tuple(one.text for one in texts), bench.embed([one.text for one in texts])))
        surprises.append(bench.authors.surprise(author, bench.anchors))
    return _report(bench, name, stock, probes, kept_items, surprises)


def _chosen(bench: _Bench, name: GenerationArm, drawn: Sequence[Written], generation: int) -> list[Example]:
    """What of the drawn texts is handed on, at most `items`."""
    found = [one for one in drawn if normalise(one.text)]
    if name == "filtered":
        found = _well_formed(found)
    elif name == "verified" and bench.judge is not None:
        found = [one for one, agrees in zip(found, bench.judge.agrees(found), strict=True) if agrees]
    picked = sorted(_pick(len(found), bench.spec.collapse.items, [bench.spec.seed, "kept", generation]))
    return [
        Example(
            f"syn-{digest([generation, place, found[place].text])[:12]}",
            found[place].text,
            found[place].label,
            {},
            Origin.SYNTHETIC,
        )
        for place in picked
    ]


def _well_formed(texts: Sequence[Written]) -> list[Written]:
    """Texts that ended by themselves, of three words or more, no word thrice in a row, no copies of one before."""
    seen: set[str] = set()
    out: list[Written] = []
    for one in texts:
        key = normalise(one.text)
        words = key.split()
        stuck = any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False))
        if one.finished and word_count(one.text) >= 3 and not stuck and key not in seen:
            seen.add(key)
            out.append(one)
    return out


def _rows(bench: _Bench, name: GenerationArm, history: Sequence[Sequence[Example]], generation: int) -> list[Example]:
    """What a generation is trained on."""
    newest = list(history[-1])
    if name == "accumulate":
        return [*bench.real, *(one for texts in history for one in texts)]
    if name != "anchored":
        return newest
    real = max(1, round(bench.spec.collapse.real_share * len(newest)))
    chosen = _pick(len(bench.real), real, [bench.spec.seed, "real", generation])
    stay = _pick(len(newest), len(newest) - len(chosen), [bench.spec.seed, "stay", generation])
    return [*(bench.real[place] for place in sorted(chosen)), *(newest[place] for place in sorted(stay))]


def _pick(count: int, wanted: int, key: object) -> list[int]:
    return random.Random(digest(key)).sample(range(count), min(count, wanted))


def _report(
    bench: _Bench,
    name: GenerationArm,
    stock: Sequence[Stock],
    probes: Sequence[Items],
    kept: Sequence[Items],
    surprises: Sequence[Sequence[object]],
) -> ArmReport:
    nll, entropy = (
        np.array([[getattr(one, field) for one in column] for column in surprises], dtype=np.float64).T
        for field in ("nll", "entropy")
    )
    return ArmReport(
        arm=name,
        stock=tuple(stock),
        probe=_check(bench, "probe", probes[1:], nll, entropy, bench.rare),
        kept=_check(bench, "kept", kept),
        nll=tuple(map(float, nll.mean(axis=0))),
        entropy=tuple(map(float, entropy.mean(axis=0))),
        examples=tuple(one.texts[:: max(1, len(one.texts) // EXAMPLES)][:EXAMPLES] for one in probes),
    )


def _check(
    bench: _Bench,
    what: str,
    later: Sequence[Items],
    nll: NDArray[np.float64] | None = None,
    entropy: NDArray[np.float64] | None = None,
    rare: RareSlices | None = None,
) -> CollapseCheck:
    """The detector on some texts of each later generation, against generation 0's batches of the probe."""
    return check_generations(
        bench.batches,
        later,
        bench.rows,
        embedder=bench.embed.id,
        seed=bench.spec.seed,
        names=[f"generation {place}" for place in range(len(later) + 1)],
        what=what,
        nll=nll,
        entropy=entropy,
        slices=rare,
    )
