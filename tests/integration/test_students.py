"""Training and asking the student for real: the packaged MiniLM, two dozen rows, ten steps."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories import LABELS, make_spec

from harness.embed import model_folder
from harness.errors import DataError
from harness.progress import Silent, Watch
from harness.records import Example, Origin, Status
from harness.spec import Spec, Train
from harness.store import Store
from harness.train import classifier, encoder, students
from harness.train.classifier import Row, Student
from harness.train.encoder import Encoder
from harness.train.packing import SCALE, pooled
from harness.train.students import Students, read_predictions, write_predictions

TEXTS = {
    "ALPHA": ["Who wrote Emma ?", "Who was the first man in space ?", "Which king built this palace ?", "Who is she ?"],
    "BETA": [
        "Where is Rome ?",
        "What city has the oldest metro ?",
        "Where do storks winter ?",
        "What is the capital ?",
    ],
    "GAMMA": ["How many legs has a crab ?", "When was the war ?", "How far is the moon ?", "How old is the universe ?"],
}
ROWS = [
    Row(text if i < 4 else f"And {text.lower()}", label)
    for label, texts in enumerate(TEXTS.values())
    for i, text in enumerate([*texts, *texts])
]
NEW = ["Who painted it ?", "Where did the old king of that far country go ?", "How many ?", "Why ?", "Who " * 300, ""]
RECIPE = Train(steps=10, batch_size=8, precision="fp32")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fresh(upper_layers: int | None = 3) -> Encoder:
    return Encoder(model_folder(), upper_layers=upper_layers, max_length=128, device="cpu")


@pytest.fixture(scope="module")
def shared() -> Encoder:
    return fresh()


@pytest.fixture(scope="module")
def trained(shared: Encoder) -> Student:
    return classifier.train(ROWS, 3, shared, RECIPE, seed=1)[0]


@pytest.fixture(scope="module")
def folder(trained: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("student")
    trained.save(place, "sentence-transformers/all-MiniLM-L6-v2")
    return place


FILES = ("adapter_config.json", "adapter_model.safetensors", "head.safetensors")


def test_training_twice_gives_the_same_bytes_whatever_was_asked_before(folder: Path, tmp_path: Path) -> None:
    other = fresh()
    other.states([*NEW, ROWS[5].text])
    again, curve = classifier.train(ROWS, 3, other, RECIPE, seed=1)
    again.save(tmp_path, "sentence-transformers/all-MiniLM-L6-v2")
    assert curve.steps == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in FILES)


def test_another_seed_gives_other_weights(shared: Encoder, folder: Path, tmp_path: Path) -> None:
    classifier.train(ROWS, 3, shared, RECIPE, seed=2)[0].save(tmp_path, "base")
    assert all((tmp_path / name).read_bytes() != (folder / name).read_bytes() for name in FILES[1:])


def test_training_learns_the_rows(trained: Student) -> None:
    said = trained.probabilities([row.text for row in ROWS]).argmax(axis=1)
    assert (said == [row.label for row in ROWS]).mean() > 0.9


def test_what_was_saved_answers_alike(trained: Student, folder: Path) -> None:
    loaded = Student.load(folder, fresh(), RECIPE)
    before = trained.probabilities(NEW)
    assert before.shape == (6, 3)
    assert before.sum(axis=1) == pytest.approx(1)
    assert loaded.probabilities(NEW).tobytes() == before.tobytes()


def test_the_answers_come_in_the_callers_order(trained: Student) -> None:
    texts = [*NEW, *(row.text for row in ROWS)]
    whole = trained.probabilities(texts)
    for small_batches in (trained.probabilities(texts, batch_size=2), trained.probabilities(texts[::-1])[::-1]):
        assert small_batches == pytest.approx(whole, abs=1e-5)
    singly = np.concatenate([trained.probabilities([text]) for text in texts])
    assert singly == pytest.approx(whole, abs=1e-5)
    assert np.ptp(whole, axis=0).min() > 0.1
    assert trained.probabilities([]).shape == (0, 3)


def test_plain_peft_on_the_whole_encoder_gives_the_same_vectors(trained: Student, folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer

    model: Any = PeftModel.from_pretrained(AutoModel.from_pretrained(model_folder()), str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    tuned = pooled(trained.upper, trained.encoder.states(NEW))
    bare = pooled(trained.encoder.fresh_upper().eval(), trained.encoder.states(NEW))
    for row, plain, text in zip(tuned, bare, NEW, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=128, return_tensors="pt")
        with torch.no_grad():
            mean = model(**tokens).last_hidden_state[0].mean(0)
        assert torch.allclose(SCALE * torch.nn.functional.normalize(mean, dim=0), row.detach(), atol=1e-4)
        assert not torch.allclose(plain.detach(), row.detach(), atol=0.1)


def test_the_saved_folder_names_no_path_of_this_machine(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert config["target_modules"] == ["dense", "key", "query", "value"]
    assert config["layers_to_transform"] == [3, 4, 5]
    assert str(model_folder()) not in (folder / "adapter_config.json").read_text()


SAVE = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, "tests/integration")
sys.path.insert(0, "tests")
import test_students as t
student, _ = t.classifier.train(t.ROWS, 3, t.fresh(), t.RECIPE, seed=1)
student.save(Path(sys.argv[1]), "sentence-transformers/all-MiniLM-L6-v2")
"""


def test_another_process_with_another_hash_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", SAVE, str(tmp_path)], cwd=root, env=environment, check=True)
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in FILES)


def test_the_state_of_a_text_does_not_depend_on_its_neighbours(shared: Encoder) -> None:
    texts = [*(row.text for row in ROWS), *NEW]
    torch.set_num_threads(2)
    together, alone = fresh().states(texts), fresh()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    for text, state in zip(texts, together, strict=True):
        assert torch.equal(alone.states([text])[0], state)
    assert together[-2].shape == (128, 384)
    assert together[-1].shape == (2, 384)


@pytest.mark.parametrize("upper_layers", [None, 1, 6, 99])
def test_the_cut_changes_no_vector(shared: Encoder, upper_layers: int | None) -> None:
    other = fresh(upper_layers)
    assert other.cut == {None: 0, 1: 5, 6: 0, 99: 0}[upper_layers]
    texts = NEW[:4]
    with torch.no_grad():
        one = pooled(shared.fresh_upper(), shared.states(texts))
        two = pooled(other.fresh_upper(), other.states(texts))
    assert torch.allclose(one, two, atol=1e-4)
    assert one.norm(dim=1) == pytest.approx(torch.full((4,), SCALE))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_texts_that_share_a_row_do_not_see_each_other(shared: Encoder, precision: torch.dtype) -> None:
    upper = shared.fresh_upper(precision)
    states = shared.states([*NEW, *(row.text for row in ROWS)])
    with torch.no_grad():
        together = pooled(upper, states)
        singly = torch.cat([pooled(upper, [state]) for state in states])
    assert torch.allclose(together, singly, atol=1e-4 if precision is torch.float32 else 0.15)
    assert torch.nn.functional.cosine_similarity(together, singly).min() > 0.999


@pytest.mark.parametrize("steps", [1, 2, 9, 11])
def test_any_number_of_steps_can_be_asked_for(shared: Encoder, steps: int) -> None:
    told: list[tuple[int, int]] = []
    recipe = RECIPE.model_copy(update={"steps": steps, "batch_size": 24})
    _, curve = classifier.train(ROWS, 3, shared, recipe, seed=1, on_step=lambda step, of: told.append((step, of)))
    assert curve.steps == steps
    assert told == [(step, steps) for step in range(1, steps + 1)]


def test_training_stops_early_only_where_it_may(shared: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BLOCK", 2)
    monkeypatch.setattr(classifier, "FLAT", 100.0)
    recipe = RECIPE.model_copy(update={"steps": 14})
    _, stopped = classifier.train(ROWS, 3, shared, recipe, seed=1)
    assert (stopped.steps, len(stopped.losses)) == (8, 4)
    _, whole = classifier.train(ROWS, 3, shared, recipe.model_copy(update={"early_stop": False}), seed=1)
    assert (whole.steps, len(whole.losses)) == (14, 7)
    assert whole.losses[:4] == stopped.losses


def test_a_weight_moves_the_answer(shared: Encoder) -> None:
    text = "Is it this or is it that ?"
    said = []
    for weight in (0.01, 100.0):
        rows = [*ROWS, Row(text, 0, 1.0), Row(text, 1, weight)]
        student, _ = classifier.train(rows, 3, shared, RECIPE.model_copy(update={"batch_size": 26}), seed=1)
        said.append(student.probabilities([text])[0, 1])
    assert said[1] > said[0] + 0.3


def test_a_label_without_a_row_is_a_defect_of_the_caller(shared: Encoder) -> None:
    with pytest.raises(ValueError, match=r"no training row for label indices \[2\]"):
        classifier.train(ROWS[:16], 3, shared, RECIPE, seed=1)


def test_targets_that_the_model_lacks_are_named_with_those_it_has(shared: Encoder) -> None:
    recipe = RECIPE.model_copy(update={"lora": RECIPE.lora.model_copy(update={"targets": ["q_proj"]})})
    with pytest.raises(DataError, match=r"train\.lora\.targets: \['q_proj'\] .*Layers of this model: .*\bquery\b"):
        classifier.train(ROWS, 3, shared, recipe, seed=1)


def test_an_encoder_of_another_build_is_refused(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

    config = DistilBertConfig(vocab_size=30522, dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    DistilBertModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model_folder()).save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"is a DistilBertModel, whose layers cannot be told apart"):
        Encoder(tmp_path, upper_layers=1, max_length=16, device="cpu")


class Vectors:
    """Stands in for the embedder: one axis per label, texts on the axis of the label whose description they share."""

    id = "axes@0"

    def __call__(self, texts: list[str]) -> Any:
        abouts = list(LABELS.values())
        return np.eye(3, dtype=np.float32)[[next(i for i, about in enumerate(abouts) if about in t) for t in texts]]


def spec(**train: Any) -> Spec:
    return make_spec(train={"steps": 10, "batch_size": 8, "precision": "fp32", **train})


def examples(origin: Origin = Origin.REAL) -> list[Example]:
    return [
        Example(f"{origin}-{label}-{i}", text, label, {}, origin)
        for label, texts in TEXTS.items()
        for i, text in enumerate(texts)
    ]


def opened(root: Path, of: Spec | None = None) -> Students:
    return Students(of or spec(), Store(root), Vectors(), "cpu", Watch(Silent()))  # type: ignore[arg-type]


def test_an_arm_is_trained_once_and_read_ever_after(
    tmp_path: Path, shared: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(tmp_path)
    first.__dict__["encoder"] = shared
    rows = [*examples(), *examples(Origin.SYNTHETIC)]
    adapter = first.train("mixed", rows, 1, {"split": "split-1"})
    assert adapter.built
    answers = first.predict(adapter, examples())
    assert [one.example for one in answers] == [one.id for one in examples()]
    assert {one.status for one in answers} == {Status.OK}
    assert all(one.score is not None and 1 / 3 <= one.score <= 1 for one in answers)
    card = (adapter / "README.md").read_text()
    assert "base_model: sentence-transformers/all-MiniLM-L6-v2" in card
    assert "Trained on 12 real and 12 synthetic rows, 10 steps of 8" in card
    assert first.weights in card

    def never(*args: object, **named: object) -> None:
        raise AssertionError("the encoder was loaded again")

    monkeypatch.setattr(encoder, "Encoder", never)
    again = opened(tmp_path)
    assert again.train("mixed", rows, 1, {"split": "split-1"}).id == adapter.id
    assert again.predict(adapter, examples()) == answers
    with pytest.raises(AssertionError, match="loaded again"):
        again.train("mixed", rows, 2, {"split": "split-1"})


def test_what_changes_an_adapter_changes_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids: dict[str, str] = {}

    def trained(name: str, rows: list[Example], of: Spec | None = None, seed: int = 1, split: str = "split-1") -> None:
        place = opened(tmp_path, of)
        found: list[str] = []

        def once(stage: str, version: int, build: object, **inputs: Any) -> None:
            found.append(place._store.id_of(stage, version, inputs["inputs"], inputs["parents"], inputs["seed"])[0])

        monkeypatch.setattr(place._store, "once", once)
        place.train("mixed", rows, seed, {"split": split})
        ids[name] = found[0]

    real, both = examples(), [*examples(), *examples(Origin.SYNTHETIC)]
    trained("real", real)
    trained("again", real)
    trained("real weight alone", real, spec(real_weight=5))
    trained("synthetic", examples(Origin.SYNTHETIC))
    trained("both", both)
    trained("both, weighed", both, spec(real_weight=5))
    trained("order", real[::-1])
    trained("seed", real, seed=2)
    trained("parent", real, split="split-2")
    trained("rank", real, spec(lora={"rank": 8}))
    trained("steps", real, spec(steps=11))
    # Weights matter only between rows of two origins, so these four are one training.
    assert len({ids[name] for name in ("real", "again", "real weight alone", "synthetic")}) == 1
    assert len(set(ids.values())) == len(ids) - 3


def test_a_label_without_rows_and_a_folder_without_weights_are_told(tmp_path: Path) -> None:
    place = opened(tmp_path / "store")
    with pytest.raises(DataError, match=r"arm 'synthetic' has no training row for \['GAMMA'\] among its 8\."):
        place.train("synthetic", [one for one in examples() if one.label != "GAMMA"], 1, {})
    (tmp_path / "model").mkdir()
    elsewhere = opened(tmp_path / "store", spec(model=str(tmp_path / "model")))
    with pytest.raises(
        DataError, match=r"train\.model: .* has no model\.safetensors and no config\.json and no tokenizer\.json"
    ):
        elsewhere.train("seeds", examples(), 1, {})


def test_the_untrained_arm_takes_the_nearest_description(tmp_path: Path) -> None:
    rows = [Example(f"real-{i}", f"about {about}", "ALPHA", {}, Origin.REAL) for i, about in enumerate(LABELS.values())]
    answers = opened(tmp_path).untrained(rows)
    assert [one.label for one in answers] == list(LABELS)
    assert all(one.score is not None and one.score > 0.99 for one in answers)
    write_predictions(tmp_path, answers)
    assert read_predictions(tmp_path) == answers
    assert (tmp_path / students.PREDICTIONS).read_text().count("\n") == 3
