import numpy as np
import pytest
from fakes import HashEmbedder, TableEmbedder
from numpy.typing import NDArray

from harness.clusters import Cluster, Clusters, fit

NAMES = "abcde"
SIZES = (8, 6, 5, 4, 3)


def ring(groups: int = 5) -> dict[str, float]:
    """Text → angle: `groups` clouds around a circle, the first the largest, each within five degrees."""
    return {
        f"{NAMES[group]} text {i}": 360 / groups * group + 5 * i / SIZES[group]
        for group in range(groups)
        for i in range(SIZES[group])
    }


def of(angles: dict[str, float], most: int = 8, seed: int = 0) -> tuple[Clusters, dict[str, str], TableEmbedder]:
    seeds = {f"real-{text}": text for text in angles}
    embedder = TableEmbedder(angles | {"probe": 1.0, "other side": 181.0})
    return fit(seeds, embedder(list(seeds.values())), most, seed), seeds, embedder


def test_the_number_of_clusters_is_found_and_the_largest_is_the_first() -> None:
    clusters, seeds, embedder = of(ring())
    assert [(one.name, one.size) for one in clusters.found] == [("c1", 8), ("c2", 6), ("c3", 5), ("c4", 4), ("c5", 3)]
    assert clusters.silhouette is not None
    assert clusters.silhouette > 0.9
    names = clusters.assign(embedder(list(seeds.values())))
    assert [name + text[0] for name, text in zip(names, seeds.values(), strict=True)] == [
        f"c{group + 1}{NAMES[group]}" for group in range(5) for _ in range(SIZES[group])
    ]


def test_no_more_clusters_than_asked_for() -> None:
    assert len(of(ring(), most=4)[0].found) == 4
    assert len(of(ring(), most=3)[0].found) == 3
    assert len(of(ring(), most=2)[0].found) == 2


def test_any_text_gets_the_nearest_cluster() -> None:
    clusters, _, embedder = of(ring(4))
    assert clusters.assign(embedder(["probe", "other side"])) == ["c1", "c3"]
    assert clusters.assign(embedder([])) == []


def test_a_cluster_is_described_by_the_seeds_nearest_to_its_centre() -> None:
    clusters, _, _ = of(ring())
    first = clusters.found[0]
    assert set(first.typical) <= {"a text 3", "a text 4", "a text 5", "a text 2"}
    assert len(first.typical) == 3
    assert clusters.described()["c1"] == "8 seeds like " + ", ".join(f"'{text}'" for text in first.typical)


def test_descriptions_are_short_and_cannot_steer_a_terminal() -> None:
    clusters = Clusters((Cluster("c1", 2, ("x" * 500, "red \x1b[31m\nline"), (1.0, 0.0)),))
    assert clusters.described(10) == {"c1": f"2 seeds like '{'x' * 9}…', 'red \\x1b[…'"}


def test_the_order_of_the_seeds_makes_no_difference() -> None:
    angles = ring()
    turned = dict(reversed(angles.items()))
    assert of(turned)[0] == of(angles)[0]


def test_other_threads_and_another_call_give_the_same_clusters() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(600, 16))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    seeds = {f"real-{i:03}": f"text {i}" for i in range(600)}
    assert fit(seeds, vectors, 6, 3) == fit(seeds, vectors, 6, 3)


@pytest.mark.parametrize("texts", [[], ["a"], ["a", "b"], ["a"] * 9], ids=["none", "one", "two", "all alike"])
def test_seeds_that_cannot_be_told_apart_have_no_clusters(texts: list[str]) -> None:
    seeds = {f"real-{i}": text for i, text in enumerate(texts)}
    vectors: NDArray[np.float32] = HashEmbedder()(list(seeds.values()))
    assert fit(seeds, vectors, 8, 0) == Clusters()


@pytest.mark.parametrize("most", [0, 1])
def test_clusters_can_be_switched_off(most: int) -> None:
    assert of(ring(), most=most)[0] == Clusters()


def test_fewer_seeds_than_clusters() -> None:
    angles = {"a 1": 0.0, "a 2": 1.0, "b 1": 180.0, "b 2": 181.0}
    clusters, _, _ = of(angles, most=40)
    assert 2 <= len(clusters.found) <= 3
    assert sum(one.size for one in clusters.found) == 4


def test_two_distinct_texts_in_many_copies_are_two_clusters() -> None:
    seeds = {f"real-{i}": "ab"[i % 2] * 5 for i in range(20)}
    clusters = fit(seeds, HashEmbedder()(list(seeds.values())), 8, 0)
    assert [one.size for one in clusters.found] == [10, 10]
    assert clusters.silhouette == 1


def test_without_clusters_nothing_can_be_assigned() -> None:
    with pytest.raises(ValueError, match="no clusters"):
        Clusters().assign(HashEmbedder()(["a text"]))


def test_one_row_per_seed_is_needed() -> None:
    with pytest.raises(ValueError, match="2 seeds and 1 vectors"):
        fit({"a": "x", "b": "y"}, HashEmbedder()(["x"]), 8, 0)
