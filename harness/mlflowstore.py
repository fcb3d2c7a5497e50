"""The way into MLflow: the only module that imports it. A client, an experiment, runs by tag, points, data sets and
models; and one error for whatever goes wrong in there.

The client is used without an active run, so nothing global changes but MLflow's own settings in the environment.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from harness.errors import HarnessError, StoreError
from harness.redact import redact
from harness.store import digest
from harness.tracked import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

STAMP = "harness.report"
"""The tag that tells which report, in which layout, a run shows; set last."""
_SETTINGS = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Three attempts of ten seconds: a server that is gone is told in 5 s, one that hangs in half a minute.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Else a lock file in the working directory would be asked for a model's requirements.
    "MLFLOW_UV_AUTO_DETECT": "false",
}
FAULTS = {
    "Connection refused": "nothing answers there (connection refused)",
    "timed out": "it does not answer in time",
    "NameResolutionError": "there is no machine of that name",
    "Remote end closed": "it broke the connection off",
    "Connection reset": "it broke the connection off",
    "IncompleteRead": "it broke the connection off",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted",
}
"""What the network's own words come down to; they are a paragraph otherwise."""


def default_uri(store_root: Path) -> str:
    """`sqlite:////srv/runs/mlflow.db` for the store `/srv/runs`; artifacts go to `mlartifacts` beside it."""
    return f"sqlite:///{(store_root.resolve() / 'mlflow.db').as_posix()}"


def ui_line(uri: str) -> str:
    """The command that shows the runs: `mlflow ui --backend-store-uri sqlite:////srv/runs/mlflow.db --host 127.0.0.1`.

    A tracking server has its own page: then the address.
    """
    if _is_server(uri):
        return uri
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)} --host 127.0.0.1"


def init_store(uri: str) -> None:
    """Create the database's tables if need be (7 s for a new one). Raises `StoreError`."""
    with connected(uri, "The same command goes on from here.") as client:
        client.search_experiments(max_results=1)


@contextmanager
def connected(uri: str, remedy: str) -> Generator[MlflowClient]:
    """A client of the tracking store. Turns whatever MLflow, its database or the network raise inside into one
    `StoreError`; `remedy` is a sentence that says how to repeat this step once MLflow can be reached."""
    try:
        _prepare(uri)
        yield _client(uri)
    except HarnessError:
        raise
    except Exception as error:
        if not _is_mlflows(error):
            raise
        raise StoreError(
            f"MLflow at {redact(uri)!r} cannot be used: {_reason(error)}. {_mend(uri)} Nothing is lost: what was "
            f"finished is in the store. {remedy}"
        ) from error


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """Id of the experiment of this name; a deleted one comes back."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, artifact_location=_artifact_location(uri, name))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def runs_with(client: MlflowClient, place: str, tag: str, value: str) -> list[Run]:
    """All runs of an experiment that carry this tag."""
    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([place], f"tags.`{tag}` = '{value}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def clear(client: MlflowClient, runs: Iterable[Run]) -> None:
    """Delete runs, those that an interrupted attempt left RUNNING after ending them as KILLED."""
    for run in runs:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
        client.delete_run(run.info.run_id)


def shown(run: Run, stamp: str) -> bool:
    """Whether the run was logged to its end, and is of the report with this stamp."""
    return run.info.status == "FINISHED" and run.data.tags.get(STAMP) == stamp


def finish(client: MlflowClient, run: str, stamp: str, end: int | None = None) -> None:
    client.set_tag(run, STAMP, stamp)
    client.set_terminated(run, "FINISHED", end_time=end)


def log_points(
    client: MlflowClient, run: str, points: Sequence[Point], named: Mapping[str, str], when: Callable[[int], int]
) -> None:
    """Metrics and params in one go; `when` gives a step's time in ms since 1970."""
    from mlflow.entities import Metric, Param

    metrics = [Metric(key, value, when(step), step) for key, value, step in points]
    client.log_batch(run, metrics, [Param(key, value) for key, value in named.items()])


def retag(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> None:
    """Set those of the tags that the run does not have like this yet."""
    for key, value in tags.items():
        if run.data.tags.get(key) != value:
            client.set_tag(run.info.run_id, key, value)


def retag_experiment(client: MlflowClient, place: str, tags: Mapping[str, str]) -> None:
    """Set those of the tags that the experiment does not have like this yet."""
    known = client.get_experiment(place).tags
    for key, value in tags.items():
        if known.get(key) != value:
            client.set_experiment_tag(place, key, value)


def dataset_input(name: str, source: str, sha: str, role: str, rows: int) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    # MLflow's column holds 36 characters of a digest; the profile has all 64.
    data = Dataset(
        name=name,
        digest=sha[:32],
        source_type="local",
        source=json.dumps({"uri": source}),
        profile=json.dumps({"num_rows": rows, "sha256": sha}),
    )
    return DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, role)])


@dataclass(frozen=True, slots=True)
class Form:
    """How an `mlflow.pyfunc` model is read and asked. `loader` is the module whose `_load_pyfunc` takes the folder of
    data; `code` are the packages that it needs, `requirements` lines for pip; `inputs` and `outputs` map a column to
    MLflow's name of its type, `example` is a row of the former; `settings` is what `model_config` of `load_model` may
    set."""

    loader: str
    code: Sequence[Path]
    requirements: Sequence[str]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    example: Mapping[str, str]
    settings: Mapping[str, str]


def write_model(folder: Path, data: Path, form: Form) -> None:
    """Write the `mlflow.pyfunc` model in the new `folder`, `data` copied into it. Asks no network."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    def schema(columns: Mapping[str, str]) -> Schema:
        return Schema([ColSpec(kind, name) for name, kind in columns.items()])

    mlflow.pyfunc.save_model(
        folder,
        loader_module=form.loader,
        data_path=str(data),
        code_paths=[str(path) for path in form.code],
        pip_requirements=list(form.requirements),
        signature=ModelSignature(schema(form.inputs), schema(form.outputs)),
        input_example=pd.DataFrame([dict(form.example)]),
        model_config=dict(form.settings),
    )


def version_with(client: MlflowClient, name: str, tag: str, value: str) -> str | None:
    """Number of the newest version of the registered model that carries this tag; None where there is none."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{tag}` = '{value}'")
    return str(max(int(one.version) for one in found)) if found else None


def add_version(client: MlflowClient, name: str, run: str, folder: Path, tags: Mapping[str, str], about: str) -> str:
    """Keep the model in `folder` as an output of the run, and register it as the next version; returns its number.

    What an interrupted attempt for the same `tags` left is deleted.
    """
    from mlflow.entities import LoggedModelOutput

    place = client.get_run(run).info.experiment_id
    key = next(iter(tags))
    for old in client.search_logged_models([place], f"tags.`{key}` = '{tags[key]}'"):
        if old.status != "READY":
            client.delete_logged_model(old.model_id)
    title = re.sub(r"[^A-Za-z0-9_ -]", "_", name)
    model = client.create_logged_model(place, title, source_run_id=run, tags=dict(tags), model_type="student")
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    # By its place: MLflow looks a `models:/` address up in the store that is set globally, and none is.
    made = client.create_model_version(
        name, model.artifact_location, run, dict(tags), description=about, model_id=model.model_id
    )
    return str(made.version)


def _artifact_location(uri: str, experiment: str) -> str | None:
    """`mlartifacts/<experiment>` beside an sqlite file; elsewhere the server decides."""
    database = _sqlite_file(uri)
    if database is None:
        return None
    folder = re.sub(r"[^A-Za-z0-9._-]", "_", experiment)[:64]
    return (database.parent / "mlartifacts" / f"{folder}-{digest(experiment)[:8]}").as_uri()


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _prepare(uri: str) -> None:
    """Settings that MLflow reads from the environment at import, unless the user has set them; then a quick look
    at an sqlite file, because MLflow itself would retry for minutes on one that cannot be opened."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    database = _sqlite_file(uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
            connection.execute("BEGIN IMMEDIATE")


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _reason(error: Exception) -> str:
    said = str(error)
    known = next((words for sign, words in FAULTS.items() if sign in said), "")
    first = next(iter(said.splitlines()), "") or type(error).__name__
    return known or redact(first)[:300]


def _mend(uri: str) -> str:
    if _is_server(uri):
        return "Start the tracking server again, or name another one (`runtime.tracking.uri`, `--uri`)."
    return "Free or repair the database, or name another one (`runtime.tracking.uri`, `--uri`)."


def _is_mlflows(error: Exception) -> bool:
    kinds: tuple[type[Exception], ...] = (OSError, sqlite3.Error)
    if isinstance(error, kinds):
        return True
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, MlflowException | SQLAlchemyError)
