"""Each failure planted in a generated set is seen by its own detectors and by no other; real data stay silent.

Texts are packaged real ones, rewritten by the fixed rules of `scripts/benchmarks/plants.py`; the embedder counts hashed
words. Rates with the real embedder are for `scripts/bench failure-modes`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from factories import make_mode, make_run_report, make_spec
from numpy.typing import NDArray

from eval.hedging import stripped
from eval.templates import content
from harness.clusters import Clusters, fit
from harness.contentshift import shift_modes
from harness.embed import Embedder, SentenceEmbedder
from harness.failuremodes import answer_modes, failure_modes, text_modes
from harness.modekinds import FORMAT, KINDS, SHIFT, SYCOPHANCY, cautions
from harness.records import Example, Origin, Role
from harness.reports import FailureMode
from harness.tracked import parent_metrics

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SIZES = (60, 120, 120, 240)
FEW = (40, 100, 90, 130)
"""Where the real embedder reads them."""
SEED = 5


class WordEmbedder:
    """A hashed sign for each word, summed up: texts that share words are near."""

    id = "words@0"

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.split() or [""]:
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
                row += np.random.default_rng(seed).normal(size=64).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def plants(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("benchmarks.plants")


def split(pool: Sequence[Example], sizes: Sequence[int] = SIZES) -> list[list[Example]]:
    """Seeds, anchors, dev and rows that stand for synthetic ones, all real."""
    order = np.random.default_rng(SEED).permutation(len(pool))
    return [[pool[place] for place in part] for part in np.split(order, np.cumsum(sizes))[: len(sizes)]]


def modes(
    sides: Sequence[Sequence[Example]], made: Sequence[Example] | None = None, embed: Embedder | None = None
) -> tuple[FailureMode, ...]:
    seeds, anchors, dev, rows = sides
    rows = rows if made is None else made
    found = text_modes(seeds, anchors, rows, resamples=500, seed=0)
    return found + shift_modes(seeds, anchors, dev, rows, embed or WordEmbedder(), clusters=Clusters(), seed=0)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return SentenceEmbedder(tmp_path_factory.mktemp("vectors"))


def fired(found: Sequence[FailureMode]) -> set[str]:
    return {one.family for one in found if one.fired}


@pytest.mark.parametrize("source", ["trec", "sentiment"])
@pytest.mark.parametrize(
    "plant",
    ["hedged", "hedged, one in four", "polite", "agreeing", "hedged and polite", "padded", "one template a label"],
)
def test_a_planted_failure_is_seen_by_its_own_detectors_only(plants: ModuleType, source: str, plant: str) -> None:
    sides = split(plants.SETS[source]())
    family, make = plants.PLANTS[plant]
    assert fired(modes(sides)) == set()
    # Padding is 12 words: on 17-word sentences more than on questions, and enough on both.
    assert fired(modes(sides, make(sides[3], np.zeros((0, 0)), SEED))) == {family}


@pytest.mark.parametrize(
    ("plant", "names"),
    [("hedged", {"hedging"}), ("agreeing", {"position-taking"}), ("polite", {"politeness"})],
)
def test_of_a_family_the_detector_of_what_was_planted_fires(plants: ModuleType, plant: str, names: set[str]) -> None:
    sides = split(plants.SETS["sentiment"]())
    found = modes(sides, plants.PLANTS[plant][1](sides[3], np.zeros((0, 0)), SEED))
    assert {one.name for one in found if one.fired} - {"length inflation"} == names


def test_texts_of_other_topics_are_a_shift_and_nothing_else(plants: ModuleType, minilm: Embedder) -> None:
    pool = plants.SETS["sentiment"]()
    films = [one for one in pool if one.slices["domain"] == "movie"]
    news = [one for one in pool if one.slices["domain"] == "nyt" and not one.text.startswith("The ")]
    sides = split(films, FEW)
    found = modes(sides, split(news, FEW)[3], minilm)
    assert fired(found) == {SHIFT}
    shift = next(one for one in found if one.name == "content shift")
    assert shift.fired
    told = "\n".join(shift.evidence)
    for said in ("label=negative: AUC 0.9", "farthest from any real anchor", "seeds farthest from any synthetic row"):
        assert said in told
    (words,) = [line for line in shift.evidence if line.startswith("words that give them away")]
    assert any(f"“{word}” 0%" in words for word in ("film", "movie", "fun", "director")), words


def test_nothing_is_shown_of_anchors_and_dev(plants: ModuleType, minilm: Embedder) -> None:
    pool = plants.SETS["sentiment"]()
    films = [one for one in pool if one.slices["domain"] == "movie"]
    seeds, anchors, dev, _ = split(films, FEW)
    hidden = [
        [replace(one, text=f"{one.text} zq7{role}{n} zq7{role}") for n, one in enumerate(side)]
        for role, side in (("anchor", anchors), ("dev", dev))
    ]
    news = [one for one in pool if one.slices["domain"] == "nyt"]
    clusters = fit({one.id: one.text for one in seeds}, minilm([one.text for one in seeds]), 4, 0)
    made = split(news, FEW)[3]
    found = text_modes(seeds, hidden[0], made, resamples=200, seed=0)
    found += shift_modes(seeds, hidden[0], hidden[1], made, minilm, clusters=clusters, seed=0)
    assert {one.name for one in found if one.fired} >= {"content shift", "missed content"}
    assert any("cluster c" in line for one in found for line in one.evidence)
    assert "zq7" not in repr(found)


def test_one_slice_that_is_shifted_is_enough(plants: ModuleType, minilm: Embedder) -> None:
    pool = plants.SETS["sentiment"]()
    films = [one for one in pool if one.slices["domain"] == "movie"]
    news = [one for one in pool if one.slices["domain"] == "nyt"]
    sides = split(films, FEW)
    made = [one for one in sides[3] if one.label != "negative"]
    made += [one for one in split(news, FEW)[3] if one.label == "negative"]
    shift = next(one for one in modes(sides, made, minilm) if one.name == "content shift")
    assert shift.fired
    assert any(line.startswith("label=negative: AUC 0.9") for line in shift.evidence)


def test_another_mix_of_labels_is_no_failure(plants: ModuleType) -> None:
    sides = split(plants.SETS["trec"]())
    some = [one for n, one in enumerate(sides[3]) if one.label in ("HUM", "LOC") or n % 3 == 0]
    assert fired(modes(sides, some)) == set()


def rows(texts: Sequence[str], label: str = "a", answers: Sequence[str] = ()) -> list[Example]:
    given = answers or [""] * len(texts)
    return [Example(f"x{n}", text, label, {}, Origin.REAL, given[n]) for n, text in enumerate(texts)]


LONG = [f"who wrote the book of number {n} in that year ?" for n in range(60)]


@pytest.mark.parametrize(
    ("real", "made", "names", "why"),
    [
        (
            rows(LONG),
            rows(LONG[:5]),
            set(KINDS) - {"missed content", "content shift"},
            "5 synthetic rows and 60 anchors",
        ),
        (rows(LONG), rows(LONG[:5]), {"content shift", "missed content"}, "needs at least"),
        (rows(LONG), rows(LONG, "b"), {"hedging", "repeated openings"}, "0 of the same labels"),
        (rows(LONG), [], {"hedging", "content shift", "missed content"}, "needed"),
        (rows(LONG), rows(LONG), {"label from the template"}, "of 1 labels with at least 5"),
        (
            rows(["yes"] * 60),
            rows(["no"] * 60),
            {"repeated openings", "repeated skeletons"},
            "the median real text has 1",
        ),
        (
            rows([f"wer hat das Buch Nummer {n} in dem Jahr und wie geschrieben ?" for n in range(60)]),
            rows([f"was ist das und wie ist der Fall Nummer {n} auf dem Land ?" for n in range(60)]),
            {"hedging", "politeness", "repeated skeletons", "label from the template"},
            "the texts read as Latin, German",
        ),
    ],
)
def test_what_cannot_be_told_is_said(real: list[Example], made: list[Example], names: set[str], why: str) -> None:
    found = {one.name: one for one in modes((real[:30], real, real, made))}
    assert set(found) == set(KINDS)
    for name in names:
        assert found[name].fired is None
        assert found[name].verdict.startswith("Cannot be told")
        assert found[name].difference.note.startswith("insufficient")
    assert any(why in found[name].verdict or why in found[name].difference.note for name in names)
    assert fired([found[name] for name in names]) == set()


OTHERS = {
    "Finnish": "kuka on kirjoittanut kirjan numero {n} ja milloin se on ilmestynyt ?",
    "Estonian": "kes on kirjutanud raamatu number {n} ja kus on see ilmunud ?",
    "Czech": "kdo napsal knihu číslo {n} a kdy to vyšlo ?",
    "Danish": "hvem skrev bog nummer {n}, og hvornår kom den ud for første gang ?",
    "Romanian": "cine a scris cartea numărul {n} și când a apărut ea la noi ?",
}


@pytest.mark.parametrize("language", OTHERS)
def test_english_lists_say_nothing_of_languages_that_nobody_named(language: str) -> None:
    texts = rows([OTHERS[language].format(n=n) for n in range(60)])
    found = {one.name: one for one in text_modes(texts[:30], texts, texts, resamples=200, seed=0)}
    for name in ("hedging", "position-taking", "politeness", "label from the template", "repeated skeletons"):
        assert found[name].fired is None
        assert "the lists of words are English" in found[name].verdict
    assert found["length inflation"].fired is False


def test_odd_rows_are_read_where_the_real_ones_are_english() -> None:
    odd = rows([f"xqzt brrf klmp wvvt number{n} vrrk please" for n in range(60)])
    found = {one.name: one.fired for one in modes((rows(LONG)[:30], rows(LONG), rows(LONG), odd))}
    assert found["politeness"] is True
    assert found["hedging"] is False


def test_the_language_of_short_answers_is_that_of_their_questions() -> None:
    names = [f"Jane Austen {n}" for n in range(60)]
    hedged = rows(LONG, answers=[f"perhaps {one}" for one in names])
    finnish = [OTHERS["Finnish"].format(n=n) for n in range(60)]
    for texts, told in ((LONG, True), (finnish, None)):
        real = rows(texts, answers=["Emma"] * 60)
        found = answer_modes(real[:30], real, hedged, resamples=200, seed=0)
        assert {one.name: one.fired for one in found}["hedging of answers"] is told


def test_lengths_and_openings_need_no_english() -> None:
    german = [f"wer hat das Buch Nummer {n} in dem Jahr und wie geschrieben ?" for n in range(60)]
    found = {one.name: one.fired for one in modes((rows(german), rows(german), rows(german), rows(german)))}
    assert found["length inflation"] is False
    assert found["repeated openings"] is False


def test_answers_have_sycophancy_too(plants: ModuleType) -> None:
    answers = [f"the book of number {n} in that year" for n in range(80)]
    plain = rows(LONG, answers=answers[:60])
    hedged = rows(LONG, answers=[f"I think it might be {one}, perhaps" for one in answers[20:]])
    found = answer_modes(plain[:30], plain, hedged, resamples=200, seed=0)
    assert [one.name for one in found] == [
        "hedging of answers",
        "position-taking of answers",
        "politeness of answers",
        "length inflation of answers",
    ]
    assert {one.name for one in found if one.fired} == {"hedging of answers", "length inflation of answers"}
    assert fired(answer_modes(plain[:30], plain, plain, resamples=200, seed=0)) == set()


def bench(**task: Any) -> Any:
    real = rows(LONG, answers=LONG)
    data = SimpleNamespace(examples={Role.SEEDS: real, Role.ANCHOR: real, Role.DEV: real}, clusters=Clusters())
    spec = make_spec(evaluate={"resamples": 200}, **({"task": task} if task else {}))
    return SimpleNamespace(spec=spec, data=data, embedder=WordEmbedder())


def test_a_run_asks_about_answers_where_they_are_texts() -> None:
    task = {"noun": "text", "labels": {"a": "one", "b": "other"}}
    schema = {"type": "object", "properties": {"k": {"enum": ["a", "b"]}}}
    names = {
        "labels": [one.name for one in failure_modes(bench(), rows(LONG))],
        "answers": [one.name for one in failure_modes(bench(**task, answer={"about": "say"}), rows(LONG))],
        "json": [
            one.name
            for one in failure_modes(
                bench(**task, answer={"about": "say", "json_schema": schema, "kind_field": "k"}), rows(LONG)
            )
        ],
    }
    assert names["labels"] == names["json"] == list(KINDS)
    assert len(names["answers"]) == len(KINDS) + 4


def test_a_caution_for_each_family_that_fired() -> None:
    assert cautions([make_mode(fired=False), make_mode("content shift", fired=None)]) == []
    said = cautions([make_mode("politeness"), make_mode("hedging"), make_mode("repeated skeletons")])
    assert [one.partition(":")[0] for one in said] == ["Sycophancy", "Format over substance"]
    assert "(politeness). Synthetic rows hedge" in said[0]
    assert {FORMAT, SHIFT, SYCOPHANCY} == {one.family for one in KINDS.values()}


def test_a_difference_below_the_least_that_matters_is_no_alarm() -> None:
    small = make_mode("hedging", fired=False)
    assert small.verdict == "No alarm: no difference beyond chance."
    plain = content(stripped("Perhaps it is Emma"))
    assert plain == ["emma"]


def test_metrics_of_the_modes_are_final_ones() -> None:
    values = {key: value for key, value, _ in parent_metrics(make_run_report()) if key.startswith("final/modes/")}
    assert values["final/modes/fired/hedging"] == 1
    assert values["final/modes/difference/hedging_low"] == pytest.approx(1.5)
    assert values["final/modes/fired/repeated openings"] == 0
    assert not any(key.startswith("final/modes/fired/content shift") for key in values)
