"""Clusters of the seeds' embeddings, as slices that nobody has to name: every item belongs to the nearest one.

Clusters are fitted on the seeds alone and described by seeds alone, so that neither their bounds nor their words hold
anything of dev, anchor or test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.plaintext import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 4
"""Fewer clusters are tried only where fewer are allowed: two or three say little of where a model fails."""
TYPICAL = 3
"""Seeds that describe a cluster."""
STARTS = 10
"""Runs of k-means from other starts; the best counts."""
DIGITS = 6
"""Decimals that are kept of a centre: what the last bits of a sum hang on (threads, processor) is not kept."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """`size` seeds around a centre (d numbers). `typical` are the texts of the seeds nearest to it, nearest first."""

    name: str
    size: int
    typical: tuple[str, ...]
    centre: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clusters by falling size, called c1, c2, …; none where the seeds cannot be told apart. `silhouette` is the
    mean over the seeds in cosine distance, from -1 to 1 (None without clusters)."""

    found: tuple[Cluster, ...] = ()
    silhouette: float | None = None

    def assign(self, vectors: NDArray[np.float32]) -> list[str]:
        """Name of the nearest cluster for each of n unit rows of shape (n, d). Raises ValueError without clusters."""
        if not self.found:
            raise ValueError("there are no clusters to assign to")
        centres = np.array([cluster.centre for cluster in self.found], dtype=np.float64)
        return [self.found[nearest].name for nearest in _nearest(vectors, centres)]

    def described(self, characters: int = 60) -> dict[str, str]:
        """Name → what it holds, each seed cut to so many characters: `{"c1": "34 seeds like 'Who wrote Emma ?', …"}`.

        Safe to print; a page still has to escape it.
        """
        return {
            one.name: f"{one.size} seeds like " + ", ".join(f"'{one_line(text, characters)}'" for text in one.typical)
            for one in self.found
        }


def fit(seeds: Mapping[str, str], vectors: NDArray[np.float32], most: int, seed: int) -> Clusters:
    """Clusters of the `seeds` (id → text), whose unit rows are `vectors` (n, d), in the order of the seeds.

    k-means on unit rows, where squared Euclidean distance is 2 - 2 cos, for every k from 4 to `most`; the k with the
    highest mean silhouette (Rousseeuw 1987) in cosine distance is taken, the smallest of equals. There are never more
    clusters than distinct seeds, and none for `most` below 2, fewer than three seeds or seeds that are all alike.
    The same seeds give the same clusters, whatever order they come in. Raises ValueError unless there is one row per
    seed.
    """
    if len(seeds) != len(vectors):
        raise ValueError(f"{len(seeds)} seeds and {len(vectors)} vectors; one row per seed is needed")
    idents = sorted(seeds)
    place = {ident: index for index, ident in enumerate(seeds)}
    rows = np.asarray(vectors, dtype=np.float64)[[place[ident] for ident in idents]]
    best = _best(rows, most, seed)
    if best is None:
        return Clusters()
    silhouette, centres = best
    members: dict[int, list[int]] = {}
    for place_of_seed, cluster in enumerate(_nearest(rows, centres)):
        members.setdefault(cluster, []).append(place_of_seed)
    typical = {cluster: _by_closeness(rows, centres[cluster], own) for cluster, own in members.items()}
    order = sorted(members, key=lambda cluster: (-len(members[cluster]), typical[cluster][0]))
    found = tuple(
        Cluster(
            f"c{number}",
            len(members[cluster]),
            tuple(seeds[idents[index]] for index in typical[cluster][:TYPICAL]),
            tuple(centres[cluster].tolist()),
        )
        for number, cluster in enumerate(order, 1)
    )
    return Clusters(found, silhouette)


def _best(rows: NDArray[np.float64], most: int, seed: int) -> tuple[float, NDArray[np.float64]] | None:
    """(silhouette, centres) of the best number of clusters, None where there is nothing to tell apart."""
    distinct = len(np.unique(rows.round(DIGITS), axis=0)) if len(rows) else 0
    largest = min(most, distinct, len(rows) - 1)
    if largest < 2:
        return None
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score
    from threadpoolctl import threadpool_limits

    best: tuple[float, NDArray[np.float64]] | None = None
    # Threads add up in the order in which they end, and the last bits with them.
    with threadpool_limits(1):
        for k in range(min(FEWEST, largest), largest + 1):
            # The stubs know n_init as text only.
            model = KMeans(k, n_init=STARTS, random_state=seed).fit(rows)  # pyright: ignore[reportArgumentType]
            score = round(float(silhouette_score(rows, model.labels_, metric="cosine")), DIGITS)
            if best is None or score > best[0]:
                best = score, np.asarray(model.cluster_centers_, dtype=np.float64).round(DIGITS)
    return best


def _nearest(rows: NDArray[np.floating], centres: NDArray[np.float64]) -> list[int]:
    """Index of the nearest centre for each row, in Euclidean distance as k-means has it; the first of equals."""
    closeness = rows.astype(np.float64) @ centres.T - (centres**2).sum(axis=1) / 2
    return [int(index) for index in closeness.round(DIGITS + 2).argmax(axis=1)]


def _by_closeness(rows: NDArray[np.float64], centre: NDArray[np.float64], members: Sequence[int]) -> list[int]:
    """Members by falling cosine to the centre; equals stay in their order."""
    cosine = (rows @ centre).round(DIGITS)
    return sorted(members, key=lambda index: -cosine[index])
