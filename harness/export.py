"""`harness export`: a trained student out of the store as files that others load: PEFT adapters, merged, or GGUF."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

from harness.causalspec import CausalTrain
from harness.deliver import adapters_of
from harness.errors import DataError
from harness.newplace import check_new, written_whole
from harness.records import Example, Origin
from harness.reports import RunReport
from harness.scorewords import has_answers
from harness.spec import Spec
from harness.store import MANIFEST, Artefact, Store
from harness.train.writers import student_prompt

GGUF = "adapter.gguf"
PROMPT = "prompt.txt"
MERGED = "\nIn this folder the adapters are merged into the base model's weights.\n"


def export(
    report: RunReport, store: Store, arm: str, to: Path, *, merge: bool = False, gguf: bool = False, base: str = ""
) -> Path:
    """Write the student of `arm` to the new folder `to` and return it.

    Without options its files as they are in the store: PEFT adapters (of a classifier with its head), or the whole
    model where it was trained without adapters; beside them, of a student that answers in text, `prompt.txt`, the
    prompt it was trained on with `{text}` and `{context}` in the item's places. `merge` writes the whole model with the
    adapters merged in, `gguf` the adapters as `adapter.gguf` besides, for llama.cpp; both are for students that answer
    in text. They need the base model: the one that the run names, or `base` where it lies elsewhere.

    Raises `DataError` for an arm without a student, a folder that is there, and a base model that is not the run's;
    `StoreError` where the folder cannot be written.
    """
    adapter, recipe = student_of(report, store, arm), _recipe(report)
    check_new(to, "folder")
    if (merge or gguf) and not has_answers(report):
        raise DataError(
            f"{report.id} trained classifiers, whose head no merged model or GGUF file can hold. Export without "
            "--merge and --gguf: adapters and head.safetensors."
        )
    if gguf and recipe.lora is None:
        raise DataError(f"{report.id} trained without adapters (causal.lora: null), so none can be written as GGUF.")
    with written_whole(to) as made:
        _fill(made, adapter, recipe, store, merge=merge, gguf=gguf, base=base)
        if has_answers(report):
            (made / PROMPT).write_text(_prompt(Spec.model_validate(report.spec)), encoding="utf-8")
    return to


def student_of(report: RunReport, store: Store, arm: str) -> Artefact:
    """The trained student that stands for an arm. Raises `DataError` where there is none."""
    known = adapters_of(report)
    if arm not in known:
        raise DataError(f"{report.id} has no trained student of an arm {arm!r}; there are {', '.join(sorted(known))}.")
    return store.find(known[arm])


def _prompt(spec: Spec) -> str:
    context = "{context}" if spec.task.answer and spec.task.answer.context else ""
    return student_prompt(Example("", "{text}", "", {}, Origin.SYNTHETIC, "", context), spec)


def _recipe(report: RunReport) -> CausalTrain:
    return CausalTrain.model_validate(cast("Any", report.spec)["causal"])


def _fill(
    folder: Path, adapter: Artefact, recipe: CausalTrain, store: Store, *, merge: bool, gguf: bool, base: str
) -> None:
    whole = merge and recipe.lora is not None
    if not whole:
        shutil.copytree(adapter.path, folder, ignore=shutil.ignore_patterns(MANIFEST))
    if not (whole or gguf):
        return
    model = _base(adapter, recipe, store, base)
    if whole:
        from harness.train.generative import Student

        folder.mkdir()
        Student.load(adapter.path, model, recipe).write_merged(folder)
        card = (adapter / "README.md").read_text(encoding="utf-8")
        merged = card.replace("library_name: peft", "library_name: transformers") + MERGED
        (folder / "README.md").write_text(merged, encoding="utf-8")
    if gguf:
        from harness.train.gguf_adapter import write_gguf_adapter

        write_gguf_adapter(adapter.path, model.model.config, folder / GGUF)


def _base(adapter: Artefact, recipe: CausalTrain, store: Store, base: str) -> Any:
    """The base model that the adapters were trained on, read into memory."""
    from harness.train.causal_base import find_base, load_base

    files = find_base(base or recipe.model)
    trained_on = store.manifest(adapter.id).inputs["base"]
    if files.digest != trained_on:
        raise DataError(
            f"{str(files.folder)!r} is not the model that {adapter.id} was trained on (sha256 {files.digest[:12]}…, "
            f"needed {str(trained_on)[:12]}…). Name its folder or '.gguf' file with --base."
        )
    return load_base(files)
