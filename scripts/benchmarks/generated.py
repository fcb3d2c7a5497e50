"""Texts of one small model as a corpus: the false alarms of a fixed generator that only draws with other seeds.

The model is trained once on TREC questions. Its texts are drawn once, each with a seed of its own, and sequences are
dealt from them without return: within a sequence no text comes twice, so its batches are exchangeable as draws of one
generator are; drawing anew for each sequence would take a hundred times as many texts. Anchors are questions that the
model has not learnt.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.corpora import Corpus

EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments" / "collapse" / "tiny.yaml"
CHANGES = (
    "collapse.tiny={layers: 2}",
    "data.split={seeds: 4500, anchor: 600, dev: 1, test: 1}",
    "causal={format: plain, lora: null, steps: 1200, learning_rate: 3.0e-3, batch_size: 16}",
    "runtime.threads=1",
)
POOL = 6_000
"""Texts: 2.5 times what a sequence takes."""


def generated(store: Path, seed: int, pool: int = POOL, changes: tuple[str, ...] = CHANGES) -> Corpus:
    """Texts of a model from scratch; their labels are those they were asked for. Its models, texts and vectors are kept
    in `store`."""
    from harness.embed import SentenceEmbedder
    from harness.machine import use_threads
    from harness.progress import Silent, Watch
    from harness.real import load_real
    from harness.records import Role
    from harness.specfile import base_folder, load
    from harness.store import Store
    from harness.train.authors import Authors

    spec = load(EXPERIMENT, [*changes, f"seed={seed}", f"runtime.store={store}"])
    use_threads(1)
    kept, embed, base = Store(store), SentenceEmbedder(store), base_folder(EXPERIMENT)
    data = load_real(spec, base, kept, embed)
    real, anchors = data.examples[Role.SEEDS], data.examples[Role.ANCHOR]
    authors = Authors(spec, kept, "cpu", Watch(Silent()), base, real)
    labels = sorted(one.label for one in real)
    asked = [labels[place * len(labels) // pool] for place in range(pool)]
    texts = [one for one in authors.write("pool", authors.train("generator", real, seed), asked, seed) if one.text]
    vectors = embed([one.text for one in texts])
    apart = np.asarray(embed([one.text for one in anchors]), dtype=np.float64)
    return Corpus.of("generator", np.asarray(vectors), [one.label for one in texts], apart)
