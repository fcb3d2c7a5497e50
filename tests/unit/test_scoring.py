from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factories import LABELS, make_spec
from filter_cases import seed

from harness.arms import Material
from harness.bench import Bench
from harness.errors import DataError
from harness.progress import Silent, Watch
from harness.records import Example, Origin, Prediction, Role, Status
from harness.scoring import decision_of, predictions_of, score, train_arms, trained_arms
from harness.store import Artefact, Store

NAMES = list(LABELS)


def rows(kind: str, count: int, origin: Origin = Origin.REAL) -> list[Example]:
    return [Example(f"{kind}-{i}", f"{kind} {i}", NAMES[i % 3], {}, origin) for i in range(count)]


SEEDS, POOL, SYNTHETIC = rows("seed", 6), rows("pool", 12), rows("syn", 15, Origin.SYNTHETIC)
DEV = [seed(i, f"dev {i}", NAMES[i % 3]) for i in range(60)]
HELD = rows("held", 12, Origin.SYNTHETIC)
SKILL = {"seeds": 30, "synthetic": 24, "synthetic_equal": 20, "mixed": 45, "real": 50, "all_real": 57}


@dataclass
class Students:
    """Each arm gets the first so many items right, and the next label on the others."""

    labels: tuple[str, ...] = tuple(NAMES)
    trained: dict[str, tuple[int, Mapping[str, str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    lacking: set[str] = field(default_factory=set)

    def train(self, arm: str, rows: Sequence[Example], seed: int, parents: Mapping[str, str]) -> Artefact:
        if arm in self.lacking:
            raise DataError(f"arm {arm!r} has no training row for a label")
        self.trained[arm] = (len(rows), parents)
        return Artefact(f"adapter-{arm.replace('_', '')}", Path("nowhere"), built=True)

    def predict(self, adapter: Artefact, examples: Sequence[Example]) -> list[Prediction]:
        self.asked.append(adapter.id)
        right = next(n for arm, n in SKILL.items() if adapter.id == f"adapter-{arm.replace('_', '')}")
        return [self._one(one, i < right) for i, one in enumerate(examples)]

    def untrained(self, examples: Sequence[Example]) -> list[Prediction]:
        return [self._one(one, False) for one in examples]

    @staticmethod
    def _one(one: Example, right: bool) -> Prediction:
        said = one.label if right else NAMES[(NAMES.index(one.label) + 1) % 3]
        return Prediction(one.id, Status.OK, said, 0.5)


@dataclass
class Place:
    bench: Bench
    students: Students


@pytest.fixture
def place(tmp_path: Path) -> Place:
    students = Students()
    data: Any = SimpleNamespace(
        artefact=Artefact("split-1", tmp_path, built=False), info=SimpleNamespace(hashes={Role.DEV: "hash"})
    )
    unused: Any = None
    parts: dict[str, Any] = {"students": students, "fitted": None, "gate": None}
    spec = make_spec(evaluate={"resamples": 200})
    return Place(Bench(spec, Store(tmp_path), data, unused, llm=unused, watch=Watch(Silent()), **parts), students)


MATERIAL = Material(SEEDS, POOL, SYNTHETIC)


def test_only_arms_with_synthetic_rows_descend_from_the_data_set(place: Place) -> None:
    arms = ["seeds", "synthetic", "mixed", "real", "synthetic_equal", "all_real", "base"]
    adapters = train_arms(place.bench, arms, MATERIAL, "dataset-1")
    assert list(adapters) == arms[:-1]
    sizes = {arm: size for arm, (size, _) in place.students.trained.items()}
    assert sizes == {
        "seeds": 6,
        "synthetic": 15,
        "mixed": 21,
        "real": 12,
        "synthetic_equal": 12,
        "all_real": 18,
    }
    descend = {arm for arm, (_, parents) in place.students.trained.items() if "dataset" in parents}
    assert descend == {"synthetic", "mixed", "synthetic_equal"}
    assert all(parents["split"] == "split-1" for _, parents in place.students.trained.values())


def test_which_arms_are_trained_when() -> None:
    every = make_spec()
    assert trained_arms(every) == ["seeds", "synthetic", "mixed", "real", "all_real", "synthetic_equal"]
    assert trained_arms(every, each_round=True) == trained_arms(every)
    few = make_spec(evaluate={"each_round": ["all_real"]})
    assert trained_arms(few) == trained_arms(every)
    # Without `seeds` and `mixed` there would be nothing to steer by.
    assert trained_arms(few, each_round=True) == ["seeds", "mixed", "all_real"]
    small = make_spec(evaluate={"arms": ["base", "seeds", "mixed", "real"]})
    assert trained_arms(small) == ["seeds", "mixed", "real"]


def test_an_arm_alone_is_scored_and_compared_with_nothing(place: Place) -> None:
    adapters = train_arms(place.bench, ["mixed"], MATERIAL, "dataset-1")
    found = score(place.bench, Role.DEV, DEV, adapters, MATERIAL, (), claims=[])
    assert found.reports["mixed"].accuracy.value == 45 / 60
    assert found.comparisons == ()


def test_without_a_pool_its_arms_are_left_out(place: Place) -> None:
    bare = Material(SEEDS, (), SYNTHETIC)
    assert list(train_arms(place.bench, ["seeds", "real", "all_real", "synthetic_equal"], bare, "d")) == ["seeds"]


def test_all_arms_are_scored_on_the_same_items_and_read_ever_after(place: Place) -> None:
    adapters = train_arms(place.bench, list(SKILL), MATERIAL, "dataset-1")
    found = score(place.bench, Role.DEV, DEV, adapters, MATERIAL, HELD, with_base=True)
    assert {arm: report.accuracy.value for arm, report in found.reports.items()} == {
        "base": 0,
        **{arm: n / 60 for arm, n in SKILL.items()},
    }
    assert {(report.role, report.split, report.n) for report in found.reports.values()} == {(Role.DEV, "hash", 60)}
    assert [(one.a, one.b) for one in found.comparisons] == [(arm, "seeds") for arm in SKILL if arm != "seeds"]
    mixed = next(one for one in found.comparisons if one.a == "mixed")
    assert mixed.difference.value == pytest.approx(15 / 60)
    assert found.rows == {
        "seeds": 6,
        "synthetic": 15,
        "synthetic_equal": 12,
        "mixed": 21,
        "real": 12,
        "all_real": 18,
    }
    asked = list(place.students.asked)
    assert score(place.bench, Role.DEV, DEV, adapters, MATERIAL, HELD, with_base=True) == found
    assert place.students.asked == asked
    saved = predictions_of(place.bench.store.find(found.artefact).path)
    assert saved == {"base": place.students.untrained(DEV)} | {
        arm: place.students.predict(adapter, DEV) for arm, adapter in adapters.items()
    }


def test_the_gaps_use_the_arm_of_equal_size_and_rows_nobody_was_trained_on(place: Place) -> None:
    adapters = train_arms(place.bench, list(SKILL), MATERIAL, "dataset-1")
    gap = score(place.bench, Role.DEV, DEV, adapters, MATERIAL, HELD).gap
    assert gap.source.value == pytest.approx((50 - 20) / 60)
    assert gap.recovered.value == pytest.approx((45 - 30) / (57 - 30))
    none = score(place.bench, Role.DEV, DEV, adapters, MATERIAL, []).gap
    assert none.transfer.value is None
    del adapters["synthetic_equal"]
    uncut = score(place.bench, Role.DEV, DEV, adapters, MATERIAL, HELD).gap
    assert uncut.source.value == pytest.approx((50 - 24) / 60)


def test_the_transfer_gap_is_one_models(place: Place) -> None:
    adapters = train_arms(place.bench, list(SKILL), MATERIAL, "dataset-1")
    gap = score(place.bench, Role.DEV, DEV, adapters, MATERIAL, HELD).gap
    # `synthetic` has all of the 12 held-out synthetic rows right and 24 of the 60 real ones.
    assert gap.transfer.value == pytest.approx(1 - 24 / 60)


def test_what_is_scored_changes_the_artefact(place: Place) -> None:
    adapters = train_arms(place.bench, ["seeds", "mixed", "synthetic"], MATERIAL, "dataset-1")
    other = [*DEV[:-1], Example(DEV[-1].id, DEV[-1].text, DEV[-1].label, {"length": "long"}, Origin.REAL)]
    found = [
        score(place.bench, Role.DEV, DEV, adapters, MATERIAL, HELD).artefact,
        score(place.bench, Role.DEV, other, adapters, MATERIAL, HELD).artefact,
        score(place.bench, Role.DEV, DEV, adapters, MATERIAL, HELD[1:]).artefact,
        score(place.bench, Role.DEV, DEV, adapters, MATERIAL, HELD, with_base=True).artefact,
        score(place.bench, Role.DEV, DEV, {**adapters, "mixed": adapters["seeds"]}, MATERIAL, HELD).artefact,
    ]
    assert len(set(found)) == 5


def test_claims_are_compared_and_their_p_values_adjusted_together(place: Place) -> None:
    adapters = train_arms(place.bench, ["seeds", "mixed", "synthetic"], MATERIAL, "dataset-1")
    adapters |= {"closed": adapters["mixed"], "static": adapters["synthetic"]}
    claims = [("mixed", "seeds"), ("closed", "static")]
    found = score(place.bench, Role.DEV, DEV, adapters, MATERIAL, HELD, claims=claims)
    by_pair = {(one.a, one.b): one for one in found.comparisons}
    assert list(by_pair) == [("mixed", "seeds"), ("synthetic", "seeds"), ("closed", "static")]
    assert by_pair["synthetic", "seeds"].p_holm is None
    least, most = sorted((by_pair[pair] for pair in claims), key=lambda one: one.p_value)
    assert (least.p_holm, most.p_holm) == (2 * least.p_value, max(most.p_value, 2 * least.p_value))
    assert by_pair["closed", "static"].difference.value == pytest.approx((45 - 24) / 60)
    assert found.rows == {"seeds": 6, "mixed": 21, "synthetic": 15}


def test_the_decision_is_which_model_stands_for_which_arm() -> None:
    assert decision_of({"a": "1", "b": "2"}) == decision_of({"b": "2", "a": "1"})
    assert decision_of({"a": "1", "b": "2"}) != decision_of({"a": "2", "b": "1"})


def test_an_arm_that_lacks_a_label_is_left_out_and_the_needed_ones_are_not(place: Place) -> None:
    place.students.lacking = {"synthetic_equal", "synthetic"}
    assert set(train_arms(place.bench, ["seeds", "synthetic", "mixed", "synthetic_equal"], MATERIAL, "dataset-0")) == {
        "seeds",
        "mixed",
    }
    assert [note.split(":")[0] for note in place.bench.watch.notes] == ["Left out", "Left out"]
    place.students.lacking = {"mixed"}
    with pytest.raises(DataError, match="mixed"):
        train_arms(place.bench, ["mixed"], MATERIAL, "dataset-0")
