"""A trained student in MLflow's model registry, with where it comes from: `harness register`, `compare --register`."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import eval as judging
import harness
from harness.catalogue import MINILM, SMOLLM
from harness.deliver import deliver_report, shown_run, tracking_alone, tracking_uri
from harness.errors import DataError
from harness.export import export, student_of
from harness.records import Estimate, EvalReport, Role
from harness.redact import redact
from harness.reports import RunReport
from harness.scorewords import has_answers, score_name
from harness.served import SECTIONS, SETTINGS, STUDENT, Card, base_digest, base_folder, with_base
from harness.spec import Spec, Tracking
from harness.store import Artefact, Store, write_json
from harness.tracked import adapter_tags, folder_digest, spec_params

if TYPE_CHECKING:
    from harness.mlflowstore import Form

ADAPTER = "harness.adapter"
"""The tag by which a registered student is known again."""
NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
REQUIRED = ("mlflow", "torch", "transformers", "peft", "safetensors", "numpy", "pandas", "pydantic", "jinja2")
REQUIRED_OF_WRITERS = ("gguf", "jsonschema")


@dataclass(frozen=True, slots=True)
class Registered:
    """Version `version` of the registered model `name` in the tracking store `uri`; `made` unless it was there."""

    name: str
    version: str
    uri: str
    made: bool
    about: str

    @property
    def address(self) -> str:
        """What `mlflow.pyfunc.load_model` takes: `models:/trec/1`."""
        return f"models:/{self.name}/{self.version}"


def register(
    report: RunReport,
    store: Store,
    arm: str,
    tracking: Tracking,
    *,
    name: str = "",
    base: Path | str = "",
    folder: Path = Path(),
    more: Mapping[str, str] | None = None,
) -> Registered:
    """Register the student of `arm` as the next version of the model `name` (the run's name if not given), with its
    lineage as tags and `more` of them; the MLflow run of the report, made if need be, is its source.

    The model is what `harness export` writes, what reads it (`harness.served`) and the code that this needs; the base
    model is named with its sha256, not copied. It is the one that the run names, a relative path from `folder`, or lies
    in `base`. An adapter that the model has as a version already makes none.

    Raises `DataError` for an arm without a student, a name that MLflow does not take and a base model that is not the
    run's, `StoreError` where MLflow is out of reach.
    """
    from harness.mlflowstore import add_version, connected, version_with, write_model

    check_name(name)
    name = name or report.name
    adapter = student_of(report, store, arm)
    spec = with_base(Spec.model_validate(report.spec), str(base))
    uri, about = tracking_uri(tracking, store), summary(report, arm, spec.evaluate.metric)
    again = f"`harness register {report.id} --arm {arm}` repeats only this step."
    with tempfile.TemporaryDirectory() as scratch:
        student = write_student(report, store, arm, Path(scratch) / "student", base=base, folder=folder)
        deliver_report(report, store)
        source = shown_run(report, store, tracking)
        with tracking_alone(store), connected(uri, again) as client:
            known = version_with(client, name, ADAPTER, adapter.id)
            if known is not None:
                return Registered(name, known, uri, made=False, about=about)
            write_model(Path(scratch) / "model", student, form_of(spec))
            tags = lineage(report, store, arm, adapter, spec) | dict(more or {})
            number = add_version(client, name, source, Path(scratch) / "model", tags, about)
    return Registered(name, number, uri, made=True, about=about)


def write_student(
    report: RunReport, store: Store, arm: str, to: Path, *, base: Path | str = "", folder: Path = Path()
) -> Path:
    """What `harness export` writes and `student.json`, in the new folder `to`: all that `harness.served` reads. Raises
    `DataError` for a base model that is not the run's."""
    adapter = student_of(report, store, arm)
    spec = with_base(Spec.model_validate(report.spec), str(base))
    trained_on = str(store.manifest(adapter.id).inputs["base"])
    found = base_digest(spec, folder)
    if found != trained_on:
        raise DataError(
            f"the base model of {report.id} is not what {adapter.id} was trained on (sha256 {found[:12]}…, needed "
            f"{trained_on[:12]}…). Name its folder with --base."
        )
    lying = base_folder(spec, folder)
    sections = {section: report.spec[section] for section in SECTIONS}
    export(report, store, arm, to)
    write_json(to / STUDENT, Card, Card(sections, trained_on, "" if lying is None else str(lying)))
    return to


def check_name(name: str) -> None:
    """Raise `DataError` unless MLflow takes the name, or none is given."""
    if name and not NAMES.fullmatch(name):
        raise DataError(
            f"{name!r} is no name for a registered model: at most 64 letters, digits, '.', '_' and '-' that begin with "
            "a letter or digit."
        )


def registered_lines(found: Registered) -> list[str]:
    """What is registered and how it is loaded, for a terminal."""
    what = "registered" if found.made else "registered before, so no second version was made"
    load = f'mlflow.pyfunc.load_model("{found.address}").predict([{{"text": "…"}}])'
    return [
        f"{what}: {found.name}, version {found.version}: {found.about}",
        f"load: MLFLOW_TRACKING_URI={shlex.quote(redact(found.uri))} python -c 'import mlflow; print({load})'",
    ]


def form_of(spec: Spec) -> Form:
    """How MLflow is to read and ask a student of this spec."""
    from harness.mlflowstore import Form

    answers = spec.task.answer is not None
    context = {"context": spec.task.answer.context} if spec.task.answer and spec.task.answer.context else {}
    packages = [*REQUIRED, *(REQUIRED_OF_WRITERS if answers else ())]
    model = spec.causal.model if answers else spec.train.model
    if model == "embedded":
        packages.append((SMOLLM if answers else MINILM).package)
    return Form(
        loader="harness.served",
        code=[Path(str(package.__file__)).parent for package in (harness, judging)],
        requirements=[line for package in packages if (line := _pinned(package))],
        inputs={"text": "string", **dict.fromkeys(context, "string")},
        outputs={"answer": "string", "label": "string"} if answers else {"label": "string", "score": "double"},
        example={"text": f"some {spec.task.noun}", **{name: f"some {noun}" for name, noun in context.items()}},
        settings=SETTINGS,
    )


def _pinned(package: str) -> str:
    """`torch==2.13.0`, the version that is installed here; "" where it is not."""
    try:
        return f"{package}=={version(package).split('+')[0]}"
    except PackageNotFoundError:
        return ""


def lineage(report: RunReport, store: Store, arm: str, adapter: Artefact, spec: Spec) -> dict[str, str]:
    """Tags that lead from a registered student to what it was made of; the adapter's id comes first."""
    made = store.manifest(adapter.id)
    told = adapter_tags(adapter.path)
    tags = {
        ADAPTER: adapter.id,
        "harness.run": report.id,
        "arm": arm,
        "variant": report.name,
        "seed": str(report.seed),
        "split.seed": str(spec.data.split.seed),
        "training_rows.sha256": str(made.inputs["rows"]),
        "seeds.sha256": report.data.hashes[Role.SEEDS],
        "base": told.get("base", spec.causal.model if spec.task.answer else spec.train.model),
        "base.sha256": str(made.inputs["base"]),
        "spec.sha256": spec_params(report.spec)["spec.sha256"],
        **{f"parent.{kind}": ident for kind, ident in made.parents.items()},
        **({"adapter.sha256": told["sha256"]} if "sha256" in told else {}),
    }
    if "dataset" in made.parents:
        tags["dataset.sha256"] = folder_digest(store.find(made.parents["dataset"]).path)
    scores = {
        f"{role.value}.{spec.evaluate.metric}": in_words(scored.scores[spec.evaluate.metric])
        for role, scored in scores_of(report, arm).items()
    }
    return tags | scores


def scores_of(report: RunReport, arm: str) -> dict[Role, EvalReport]:
    """How the arm's registered student did on dev and, where that was opened, on test; nothing where it was not asked.

    On dev it is asked in the best round, if the arm is trained in each.
    """
    on_dev = next((each.dev.get(arm) for each in report.rounds if each.round == report.best_round), None)
    found = {Role.DEV: on_dev, Role.TEST: report.test.get(arm)}
    return {role: scored for role, scored in found.items() if scored is not None}


def in_words(score: Estimate) -> str:
    """
    >>> in_words(Estimate(0.8642, 0.84, 0.887, 400, "bootstrap"))
    '0.864 [0.840, 0.887], n = 400'
    """
    if score.value is None:
        return score.note or "not known"
    ends = "" if score.low is None or score.high is None else f" [{score.low:.3f}, {score.high:.3f}]"
    return f"{score.value:.3f}{ends}, n = {score.n}"


def summary(report: RunReport, arm: str, metric: str) -> str:
    """`mixed of trec, seed 0: accuracy on dev 0.864 [0.840, 0.887], n = 400`."""
    name = score_name(metric, answers=has_answers(report))
    scores = [
        f"{name} on {role.value} {in_words(scored.scores[metric])}" for role, scored in scores_of(report, arm).items()
    ]
    return f"{arm} of {report.name}, seed {report.seed}: {'; '.join(scores) or 'not scored by itself'}"
