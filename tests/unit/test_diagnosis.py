from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factories import LABELS, make_spec
from fakes import HashEmbedder

from harness.diagnosis import diagnose
from harness.records import Example, Origin, Prediction, Role, Status
from harness.store import Artefact

NAMES = list(LABELS)
WORDS = ("river", "violin", "copper", "garden", "window", "planet", "silver", "bridge")


def item(number: int, kind: str, origin: Origin = Origin.REAL, label: str | None = None) -> Example:
    text = f"{WORDS[number % 8]} {WORDS[number // 8 % 8]} {number * 7919 % 1000} {WORDS[number // 3 % 8]}"
    return Example(f"{kind}-{number}", text, label or NAMES[number % 3], {}, origin)


class Students:
    """`all_real` says what is right (`labels` by text), `mixed` always the first label."""

    labels = NAMES

    def predict(self, adapter: Artefact, examples: tuple[Example, ...]) -> list[Prediction]:
        return [
            Prediction(
                one.id, Status.OK, NAMES[int(one.id.split("-")[1]) % 3] if adapter.id == "all-real" else NAMES[0], 0.9
            )
            for one in examples
        ]


def adapter(name: str) -> Artefact:
    return Artefact(name, Path("nowhere"), built=False)


def bench(dev: list[Example], anchors: list[Example]) -> Any:
    data = SimpleNamespace(examples={Role.DEV: dev, Role.ANCHOR: anchors})
    spec = make_spec(evaluate={"resamples": 200})
    return SimpleNamespace(spec=spec, data=data, embedder=HashEmbedder(), students=Students())


@pytest.fixture
def real() -> Any:
    return bench([item(n, "dev") for n in range(60)], [item(n, "anchor") for n in range(60, 120)])


def test_the_detectors_hear_what_is_planted(real: Any) -> None:
    test = [item(n, "test") for n in range(200, 300)]
    made = [item(n, "syn", Origin.SYNTHETIC, NAMES[0] if n % 2 else None) for n in range(300, 420)]
    dialect = [
        Example(one.id, f"please kindly note that {one.text} thank you", one.label, {}, one.origin) for one in made
    ]
    adapters = {"mixed": adapter("mixed"), "all_real": adapter("all-real")}
    answers = {"mixed": Students().predict(adapter("mixed"), tuple(test))}
    plain = diagnose(real, made, adapters, test, answers)
    marked = diagnose(real, dialect, adapters, test, answers)
    assert marked.dialect.low is not None
    assert plain.dialect.low is not None
    assert marked.dialect.low > 0.9 > plain.dialect.low
    assert marked.dialect_reference == plain.dialect_reference
    # Every second row is called the first label, which is right for a third of them.
    assert plain.label_noise is not None
    assert plain.label_noise.wrong.value == pytest.approx(1 / 3, abs=0.02)
    assert plain.leak is not None
    assert plain.leak.alarm is False
    copies = [Example(f"syn-{n}", item(n, "dev").text, NAMES[0], {}, Origin.SYNTHETIC) for n in range(60)]
    leaked = diagnose(real, copies, adapters, test, answers)
    assert leaked.leak is not None
    assert leaked.leak.alarm is True
    assert plain.dev_test is not None
    assert plain.dev_test.value == pytest.approx(20 / 60 - sum(one.label == NAMES[0] for one in test) / 100)


def test_where_the_test_stays_sealed_nothing_of_it_is_measured(real: Any) -> None:
    made = [item(n, "syn", Origin.SYNTHETIC) for n in range(300, 360)]
    found = diagnose(real, made, {"mixed": adapter("mixed")}, (), {})
    assert (found.leak, found.dev_test, found.label_noise) == (None, None, None)
    assert found.dialect.value is not None


def test_wrong_answers_are_estimated_from_what_the_model_of_all_real_rows_contradicts(real: Any) -> None:
    def answered(examples: list[Example], wrong: int) -> list[Example]:
        return [replace(one, answer=f"{'no' if n % wrong == 0 else 'so'} {one.text}") for n, one in enumerate(examples)]

    class Writers(Students):
        def predict(self, adapter: Artefact, examples: Any) -> list[Prediction]:
            return [Prediction(one.id, Status.OK, NAMES[0], None, f"so {one.text}") for one in examples]

    real.spec = make_spec(task={"noun": "text", "labels": LABELS, "answer": {"about": "so and the text"}})
    real.students = Writers()
    real.data.examples[Role.DEV] = answered(real.data.examples[Role.DEV], 10)
    made = answered([item(n, "syn", Origin.SYNTHETIC) for n in range(300, 420)], 4)
    adapters = {"mixed": adapter("mixed"), "all_real": adapter("all-real")}
    found = diagnose(real, made, adapters, (), {}).label_noise
    assert found is not None
    assert (found.contradicted.value, found.model_error.value) == (0.25, 0.1)
    assert found.wrong.value == pytest.approx(0.15 / 0.9)
    assert diagnose(real, made, {"mixed": adapter("mixed")}, (), {}).label_noise is None


def test_too_few_rows_are_an_answer_too(real: Any) -> None:
    made = [item(n, "syn", Origin.SYNTHETIC) for n in range(300, 304)]
    found = diagnose(real, made, {"mixed": adapter("mixed"), "all_real": adapter("all-real")}, (), {})
    assert found.label_noise is not None
    for one in (found.dialect, found.coverage.missed, found.label_noise.wrong):
        assert one.value is None
        assert one.note.startswith("insufficient")
