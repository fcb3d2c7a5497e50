"""A suite in MLflow: its runs carry its name and their variant's, and a run of its own holds the comparison page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.comparison import Comparison
from harness.mlflowstore import clear, connected, experiment_id, finish, log_points, retag, runs_with, shown
from harness.store import digest, file_digest
from harness.tracked import estimate_metrics, key_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

LAYOUT = 1
KIND = "comparison"
AGAIN = "The same command shows the suite there."


def label_runs(uri: str, experiment: str, suite: str, variants: Mapping[str, str]) -> None:
    """Tag the tracked runs `variants` (run id → variant) and their rounds with `suite` and `variant`, and name them by
    their variant. Raises `StoreError`."""
    with connected(uri, AGAIN) as client:
        place = experiment_id(client, uri, experiment)
        for ident, variant in variants.items():
            for run in runs_with(client, place, "harness.run", ident):
                tags = run.data.tags
                round_ = f"-round{tags['round']}" if "mlflow.parentRunId" in tags else ""
                name = f"{variant}-seed{tags.get('seed', '')}{round_}"
                # A run may belong to several suites: `suite` is the last one compared, and each has a tag of its own.
                mark = f"suite/{key_of(suite)}"
                retag(client, run, {"suite": suite, "variant": variant, mark: variant, "mlflow.runName": name})


def track_suite(found: Comparison, uri: str, experiment: str, folder: Path) -> str:
    """Show a comparison as a run of its own, with the page in `folder` as an artifact. Repeating it changes nothing;
    one of the same suite with other runs takes the older one's place. Returns the run's id, raises `StoreError`."""
    page = sorted(path for path in folder.rglob("*") if path.is_file())
    stamp = digest([LAYOUT, [[path.relative_to(folder).as_posix(), file_digest(path)] for path in page]])
    with connected(uri, AGAIN) as client:
        place = experiment_id(client, uri, experiment)
        mark = f"{found.name}/{found.role.value}"
        done = _sweep(client, place, mark, stamp)
        if done is not None:
            return done
        tags = {"harness.suite": mark, "suite": found.name, "kind": KIND, "role": found.role.value}
        run = client.create_run(place, tags=tags, run_name=f"{found.name} compared on {found.role.value}").info.run_id
        now, figures = round(1000 * time.time()), _metrics(found)
        log_points(client, run, [(key, value, 0) for key, value in figures.items()], {}, lambda _: now)
        client.log_artifacts(run, str(folder), KIND)
        finish(client, run, stamp)
        _sweep(client, place, mark, stamp)
    return run


def _sweep(client: MlflowClient, place: str, mark: str, stamp: str) -> str | None:
    """The run that shows this comparison, or None; all others of the suite are deleted."""
    known = runs_with(client, place, "harness.suite", mark)
    done = [one for one in known if shown(one, stamp)][:1]
    clear(client, [one for one in known if one not in done])
    return done[0].info.run_id if done else None


def _metrics(found: Comparison) -> dict[str, float]:
    """`score/<variant>` and `minus_base/<variant>` with interval ends, and what was needed and paid."""
    values: dict[str, float] = {
        "cost/used_calls": found.used.calls,
        "cost/paid_calls": found.paid.calls,
        "cost/used_usd": found.used.usd,
        "cost/paid_usd": found.paid.usd,
    }
    for line in found.lines:
        values |= estimate_metrics(f"score/{key_of(line.variant)}", line.score.items)
        if line.against is not None:
            total = line.against.difference.total
            shown = total if total.low is not None else line.against.difference.items
            values |= estimate_metrics(f"minus_base/{key_of(line.variant)}", shown)
    return values
