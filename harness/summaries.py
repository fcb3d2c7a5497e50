"""One line in words about an artefact, by its stage, read from its files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from harness.loop import REPORT
from harness.records import Plan, Role
from harness.reports import RunReport, SplitInfo
from harness.stopping import metric_of
from harness.store import Artefact, Manifest, read_json


def summary(artefact: Artefact, manifest: Manifest) -> str:
    """What the artefact is; of a stage that is not known here only its version. Never raises for damaged files."""
    words = _WORDS.get(manifest.stage)
    if words is None:
        return f"version {manifest.version}"
    try:
        return words(artefact.path, manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return "its files cannot be read"


def run_title(report: RunReport) -> str:
    """`trec, seed 3`"""
    return f"{report.name}, seed {report.seed}"


def metric_name(report: RunReport) -> str:
    """The score that the run was steered by."""
    evaluate = cast("Mapping[str, Any]", report.spec.get("evaluate") or {})
    return str(evaluate.get("metric", "accuracy"))


def best_dev(report: RunReport) -> str:
    """`0.741 in round 2`: what the best round's `mixed` reached on dev, or "" where no round is on record."""
    if not 1 <= report.best_round <= len(report.rounds):
        return ""
    mixed = report.rounds[report.best_round - 1].dev.get("mixed")
    return f"{metric_of(mixed, metric_name(report)):.3f} in round {report.best_round}" if mixed else ""


def headline_on_test(report: RunReport) -> str:
    """`mixed 0.798, seeds 0.728 on 1,000 items; gap recovered 0.37`"""
    metric = metric_name(report)
    shown = [
        f"{arm} {metric_of(report.test[arm], metric):.3f}"
        for arm in ("mixed", "seeds", "all_real")
        if arm in report.test
    ]
    items = max((one.n for one in report.test.values()), default=0)
    recovered = report.gap.recovered.value
    gap = "" if recovered is None else f"; gap recovered {recovered:.2f}"
    return f"{', '.join(shown) or 'no arm'} on {items:,} items{gap}"


def _run(folder: Path, _: Manifest) -> str:
    report = read_json(folder / REPORT, RunReport)
    return (
        f"{run_title(report)}: {len(report.rounds)} round(s), ended by: {report.stop}. Best dev {metric_name(report)} "
        f"{best_dev(report) or 'unknown'}. Test: {headline_on_test(report)}"
    )


def _evaluation(folder: Path, manifest: Manifest) -> str:
    reports: Mapping[str, Any] = json.loads((folder / "scores.json").read_bytes())["reports"]
    metric = str(manifest.inputs["rule"]["metric"])
    values = {arm: one.get(metric, one.get("answers", {}).get(metric))["value"] for arm, one in reports.items()}
    shown = ", ".join(f"{arm} {value:.3f}" if value is not None else f"{arm} –" for arm, value in values.items())
    items = max((int(one["n"]) for one in reports.values()), default=0)
    return f"{metric} on {items:,} {manifest.inputs['role']} items: {shown}"


def _adapter(folder: Path, _: Manifest) -> str:
    """The model card says it: the manifest holds hashes only."""
    card = (folder / "README.md").read_text("utf-8")
    title = re.search(r"^# (.+)$", card, re.MULTILINE)
    trained = re.search(r"Trained on (\d+ real and \d+ synthetic rows, \d+ steps)", card)
    return f"{title[1] if title else 'adapter'}: {trained[1] if trained else 'see its card'}"


def _dataset(folder: Path, manifest: Manifest) -> str:
    import pyarrow.parquet as pq

    train, validation = (
        pq.read_metadata(folder / "data" / f"{part}.parquet").num_rows for part in ("train", "validation")
    )
    return (
        f"synthetic rows of {manifest.inputs['name']} up to round {manifest.inputs['round']}: {train:,} for training, "
        f"{validation:,} kept from it"
    )


def _verdicts(folder: Path, manifest: Manifest) -> str:
    filters = list(manifest.inputs["versions"])
    verdicts = _lines(folder / "verdicts.jsonl")
    judged = verdicts // len(filters) if filters else 0
    return (
        f"{judged:,} candidates through {', '.join(filters) or 'no filter'}: {_lines(folder / 'accepted.jsonl'):,} kept"
    )


def _candidates(folder: Path, manifest: Manifest) -> str:
    parsed, failed = _lines(folder / "candidates.jsonl"), _lines(folder / "failures.jsonl")
    with (folder / "candidates.jsonl").open("rb") as file:
        first = file.readline()
    example = f" (e.g. {json.loads(first)['id']})" if first else ""
    return f"wave {int(manifest.inputs['wave']) + 1}: {parsed:,} candidates{example}, {failed:,} answers became none"


def _plan(folder: Path, _: Manifest) -> str:
    plan = read_json(folder / "plan.json", Plan)
    change = plan.changes[0] if plan.changes else "no change"
    more = f" (and {len(plan.changes) - 1} more changes)" if len(plan.changes) > 1 else ""
    return f"round {plan.round}: {plan.candidates:,} candidates in {len(plan.quotas):,} cells. {change}{more}"


def _split(folder: Path, _: Manifest) -> str:
    sizes = read_json(folder / "info.json", SplitInfo).sizes
    return "real items: " + ", ".join(f"{sizes[role]:,} {role}" for role in Role if sizes.get(role))


def _probabilities(folder: Path, _: Manifest) -> str:
    import numpy as np

    texts, labels = np.load(folder / "probabilities.npy", mmap_mode="r", allow_pickle=False).shape
    return f"p(label) of {texts:,} texts for {labels} labels"


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


_WORDS: Mapping[str, Callable[[Path, Manifest], str]] = {
    "run": _run,
    "evaluation": _evaluation,
    "adapter": _adapter,
    "dataset": _dataset,
    "verdicts": _verdicts,
    "candidates": _candidates,
    "plan": _plan,
    "split": _split,
    "probabilities": _probabilities,
}
