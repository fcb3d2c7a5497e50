"""Clusters of TREC seeds with the packaged embedder, found in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROBE = """
import sys
from pathlib import Path
from harness.clusters import fit
from harness.embed import SentenceEmbedder
from harness.packaged import read_trec
from harness.store import digest
texts = list(dict.fromkeys(str(row["text"]) for row in read_trec().rows))[:300:2]
seeds = {f"real-{i:03}": text for i, text in enumerate(texts)}
embedder = SentenceEmbedder(Path(sys.argv[1]))
found = fit(seeds, embedder(list(seeds.values())), 8, 0)
names = found.assign(embedder(texts))
print(len(found.found), sum(one.size for one in found.found), len(set(names)))
print(digest([[one.name, one.size, one.typical, one.centre] for one in found.found]), digest(names))
"""


def probe(folder: Path, hash_seed: str, threads: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(folder)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_two_processes_find_the_same_clusters(tmp_path: Path) -> None:
    one = probe(tmp_path / "one", "1", "1")
    count, seeds, used = map(int, one[0].split())
    assert 4 <= count <= 8
    assert (seeds, used) == (150, count)
    assert probe(tmp_path / "two", "2", "2") == one
