"""The contenders of the training benchmark: one task, one base model, the same LoRA, other ways to train it."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EPOCHS = 5
BATCH = 32
TARGETS = ["query", "key", "value", "dense"]
THEIR_RATE = 2e-3
TUTORIAL_LENGTH = 128
PART = 20
"""Steps of the contender whose accuracy is known: padding to 128 gives the answers of padding to the longest."""


@dataclass(frozen=True)
class Size:
    """Questions to train on and to test on, and epochs."""

    train: int
    test: int
    epochs: int


@dataclass(frozen=True)
class Task:
    """(text, label index) to train on and to test on."""

    train: list[tuple[str, int]]
    test: list[tuple[str, int]]
    labels: int
    epochs: int


@dataclass(frozen=True)
class Result:
    """One training: its steps, examples and seconds, and how many test questions it answers right (of 0: not asked)."""

    name: str
    seed: int
    steps: int
    examples: int
    wall: float
    cpu: float
    right: int
    tested: int

    @property
    def rate_wall(self) -> float:
        return self.examples / self.wall

    @property
    def rate_cpu(self) -> float:
        return self.examples / self.cpu


class Clock:
    """Wall and processor seconds of the block it is entered for."""

    def __enter__(self) -> Clock:
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]


def trec(size: Size, seed: int) -> Task:
    """Distinct TREC questions in seeded order: the first to train on, the next to test on."""
    from harness.packaged import read_packaged

    labels: dict[str, str] = {}
    for row in read_packaged("trec").rows:
        labels.setdefault(str(row["text"]), str(row["label"]))
    names = sorted(set(labels.values()))
    items = [(text, names.index(label)) for text, label in labels.items()]
    random.Random(seed).shuffle(items)
    return Task(items[: size.train], items[size.train : size.train + size.test], len(names), size.epochs)


def measure(name: str, size: Size, seed: int, threads: int) -> Result:
    """Train one contender in this process. Repeats of one seed and contender differ in time only."""
    import torch

    torch.set_num_threads(threads)
    return CONTENDERS[name](name, trec(size, seed), seed)


def ours(upper_layers: int | None) -> Callable[[str, Task, int], Result]:
    def train(name: str, task: Task, seed: int) -> Result:
        from harness.embed import model_folder
        from harness.spec import Lora, Train
        from harness.train import classifier
        from harness.train.encoder import Encoder

        steps = task.epochs * -(-len(task.train) // BATCH)
        lora = Lora(rank=16, alpha=32, targets=TARGETS, upper_layers=upper_layers)
        recipe = Train(steps=steps, batch_size=BATCH, early_stop=False, lora=lora)
        encoder = Encoder(model_folder(), upper_layers=upper_layers, max_length=recipe.max_length, device="cpu")
        rows = [classifier.Row(text, label) for text, label in task.train]
        with Clock() as clock:
            student, curve = classifier.train(rows, task.labels, encoder, recipe, seed=seed)
        said = student.probabilities([text for text, _ in task.test]).argmax(axis=1)
        right = sum(int(answer == label) for answer, (_, label) in zip(said, task.test, strict=True))
        examples = task.epochs * len(task.train)
        return Result(name, seed, curve.steps, examples, clock.wall, clock.cpu, right, len(task.test))

    return train


def theirs(length: int | None, part: int | None = None) -> Callable[[str, Task, int], Result]:
    """The tutorials' way: a sequence classifier in float32, padded to `length` tokens (None: to the longest question).

    `part` stops after so many steps and does not test.
    """

    def train(name: str, task: Task, seed: int) -> Result:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, set_seed

        from harness.embed import model_folder

        set_seed(seed)
        tokenizer = AutoTokenizer.from_pretrained(model_folder())
        longest = max(len(ids) for ids in tokenizer([text for text, _ in task.train])["input_ids"])
        options = {"padding": "max_length", "truncation": True, "max_length": length or longest}
        rows = [{**tokenizer(text, **options), "labels": label} for text, label in task.train]
        model = AutoModelForSequenceClassification.from_pretrained(model_folder(), num_labels=task.labels)
        with tempfile.TemporaryDirectory() as folder:
            arguments = _arguments(folder, task.epochs, seed, part)
            trainer = Trainer(model=_adapted(model), args=arguments, train_dataset=rows)  # type: ignore[arg-type]
            with Clock() as clock:
                trainer.train()
        steps = trainer.state.global_step
        examples = steps * BATCH if part else task.epochs * len(task.train)
        right = 0 if part else _right(trainer.model, tokenizer, task)
        return Result(name, seed, steps, examples, clock.wall, clock.cpu, right, 0 if part else len(task.test))

    return train


def _adapted(model: Any) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    lora = LoraConfig(task_type=TaskType.SEQ_CLS, r=16, lora_alpha=32, lora_dropout=0.05, target_modules=TARGETS)
    return get_peft_model(model, lora)


def _arguments(folder: str, epochs: int, seed: int, part: int | None) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=BATCH,
        num_train_epochs=epochs,
        max_steps=part or -1,
        learning_rate=THEIR_RATE,
        warmup_steps=0.1,
        weight_decay=0.01,
        seed=seed,
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
    )


def _right(model: Any, tokenizer: Any, task: Task) -> int:
    """Right answers on the test questions, in their own order: `Trainer.predict` may give rows in its sampler's."""
    import torch

    model.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(task.test), 100):
            block = task.test[start : start + 100]
            tokens = tokenizer([text for text, _ in block], padding=True, truncation=True, return_tensors="pt")
            said = model(**tokens).logits.argmax(dim=-1).tolist()
            right += sum(int(answer == label) for answer, (_, label) in zip(said, block, strict=True))
    return right


CONTENDERS: dict[str, Callable[[str, Task, int], Result]] = {
    "trainer-longest": theirs(None),
    "ours-all": ours(None),
    "ours-upper-3": ours(3),
    "trainer-128": theirs(TUTORIAL_LENGTH, PART),
}
THEIRS = ("trainer-longest", "trainer-128")
OURS = ("ours-all", "ours-upper-3")
