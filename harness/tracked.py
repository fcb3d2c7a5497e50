"""What of a finished report goes to MLflow, as plain values: metrics, params and tags with names that it accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from harness.collapsecheck import CollapseCheck
from harness.generations import ArmReport
from harness.records import Cost, Estimate, EvalReport, Gap, Role
from harness.reports import FailureMode, RoundReport, RunReport
from harness.store import canonical, digest, file_digest

Point = tuple[str, float, int]
"""(name, value, step)"""
MOST_SLICES = 20
LONGEST_PARAM = 6000
LONGEST_KEY = 250


def parent_metrics(report: RunReport) -> list[Point]:
    """The series over the rounds (step = round) and `final/*` (step 0)."""
    series = [
        (key, value, each.round)
        for each in report.rounds
        for key, value in _round_metrics(each, _spent(report, each)).items()
    ]
    series += [
        (f"control/{key_of(side.name)}/accuracy", scored.accuracy.value, number)
        for side in report.controls
        for number, scored in enumerate(side.dev, start=1)
        if scored.accuracy.value is not None
    ]
    if report.collapse is not None:
        series += collapse_points("collapse/probe", report.collapse.probe, first=1)
        series += collapse_points("collapse/kept", report.collapse.kept, first=1)
    return series + [(key, value, 0) for key, value in _final_metrics(report).items()]


def arm_metrics(arm: ArmReport) -> list[Point]:
    """Loss and entropy on real anchors by generation, and what the detector says of the probe and of the texts that are
    handed on (step = generation)."""
    series = [("collapse/real_nll", value, step) for step, value in enumerate(arm.nll)]
    series += [("collapse/anchor_entropy", value, step) for step, value in enumerate(arm.entropy)]
    series += [("collapse/rows", float(one.rows), one.generation) for one in arm.stock]
    return [*series, *collapse_points("collapse/probe", arm.probe), *collapse_points("collapse/kept", arm.kept)]


def collapse_points(prefix: str, found: CollapseCheck, first: int = 0) -> list[Point]:
    """Both statistics of a collapse check with their limits, generation 0 at step `first`, and from when on it alarms
    (0 or 1)."""
    series: list[Point] = []
    for course in found.verdict.courses:
        name = f"{prefix}/{course.statistic.lower().replace(' ', '_')}"
        if course.baseline is not None:
            series.append((name, course.baseline, first))
        series += [(name, look.value, look.generation + first) for look in course.looks]
        series += [(f"{name}_limit", look.limit, look.generation + first) for look in course.looks]
    alarm, last = found.verdict.first_alarm, len(found.generations)
    return series + [
        (f"{prefix}/alarm", float(alarm is not None and place >= alarm), place + first) for place in range(last)
    ]


def child_metrics(report: RunReport, each: RoundReport) -> list[Point]:
    """What a round's own run shows: the parent's values of that step and the round's detail."""
    values = _round_metrics(each, _spent(report, each)) | _detail_metrics(each)
    values |= _slice_metrics("dev/slice", each.dev.get("mixed"))
    return [(key, value, each.round) for key, value in values.items()]


def _round_metrics(each: RoundReport, spent: Cost) -> dict[str, float]:
    """What the parent's series and the round's own run show alike; `spent` is the cost up to this round."""
    values = _gap_metrics("gap", each.gap)
    mixed = each.dev.get("mixed")
    if mixed is not None:
        values |= _score_metrics("dev", mixed)
    values |= {"cost/usd": spent.usd, "cost/calls": spent.calls, "accepted/total": each.accepted_total}
    if each.generated:
        values["accepted/share"] = each.accepted / each.generated
    return values


def _detail_metrics(each: RoundReport) -> dict[str, float]:
    values: dict[str, float] = {
        "funnel/planned": each.planned,
        "funnel/generated": each.generated,
        "funnel/parsed": each.parsed,
        "funnel/accepted": each.accepted,
    }
    for worth in each.worth:
        name = f"filter/{key_of(worth.filter)}"
        values |= {f"{name}/phi": worth.phi, f"{name}/psi": worth.psi, f"{name}/p_star": worth.p_star}
    for arm, scored in each.dev.items():
        values |= _score_metrics(f"dev/{key_of(arm)}", scored)
    return values


def _score_metrics(prefix: str, scored: EvalReport) -> dict[str, float]:
    values: dict[str, float] = {}
    for metric, value in scored.scores.items():
        values |= estimate_metrics(f"{prefix}/{metric}", value)
    return values


def _final_metrics(report: RunReport) -> dict[str, float]:
    """Values without a step, for parallel coordinates."""
    values = _gap_metrics("final/gap", report.gap)
    values |= {
        "final/cost/usd": report.cost.usd,
        "final/cost/calls": report.cost.calls,
        "final/used/usd": report.used.usd,
        "final/used/calls": report.used.calls,
        "final/best_round": report.best_round,
    }
    drawn = sum(each.generated for each in report.rounds)
    if drawn:
        values["final/accepted_share"] = sum(each.accepted for each in report.rounds) / drawn
    values |= _dev_metrics(report)
    for arm, scored in report.test.items():
        values |= _score_metrics(f"final/{key_of(arm)}", scored)
    for each in report.comparisons:
        values |= estimate_metrics(
            f"final/{key_of(each.a)}_minus_{key_of(each.b)}/{key_of(each.metric)}", each.difference
        )
    for side in report.controls:
        name = f"final/controls/{key_of(side.name)}"
        values |= {f"{name}/calls": side.calls, f"{name}/rows": side.rows}
        if side.score is not None:
            values |= estimate_metrics(f"{name}/{side.role.value}", side.score)
        if side.comparison is not None and side.role is not Role.TEST:
            # Under a name of its own: beside runs that opened their test it must not look like one of them.
            found = side.comparison
            name = f"{side.role.value}/{key_of(found.a)}_minus_{key_of(found.b)}/{key_of(found.metric)}"
            values |= estimate_metrics(f"final/{name}", found.difference)
    for one in report.judged:
        # Without a score (its gate refused it) only the agreement is shown.
        name = f"final/judge/{one.role.value}/{key_of(one.arm)}"
        values |= estimate_metrics(name, one.score) | estimate_metrics(f"{name}/kappa", one.gate.kappa)
    for mode in report.modes:
        values |= _mode_metrics(mode)
    return values | _slice_metrics("final/slice", report.test.get("mixed"))


def _dev_metrics(report: RunReport) -> dict[str, float]:
    """The best round on dev, under names of its own: what runs that left their test sealed are compared by."""
    values: dict[str, float] = {}
    for each in report.rounds:
        if each.round != report.best_round:
            continue
        values |= _gap_metrics("final/dev/gap", each.gap)
        for arm, scored in each.dev.items():
            values |= _score_metrics(f"final/dev/{key_of(arm)}", scored)
        for one in each.comparisons:
            name = f"final/dev/{key_of(one.a)}_minus_{key_of(one.b)}/{key_of(one.metric)}"
            values |= estimate_metrics(name, one.difference)
    return values


def _mode_metrics(mode: FailureMode) -> dict[str, float]:
    """Its three figures, the difference with its interval, and 1 where it fired, 0 where not; nothing untold.

    By figure, then mode: MLflow makes a section of charts for each beginning of a name.
    """
    name = key_of(mode.name)
    figures = {"seeds": mode.seeds, "real": mode.real, "synthetic": mode.synthetic}
    values = {f"final/modes/{side}/{name}": one.value for side, one in figures.items() if one.value is not None}
    values |= estimate_metrics(f"final/modes/difference/{name}", mode.difference)
    return values if mode.fired is None else values | {f"final/modes/fired/{name}": float(mode.fired)}


def _slice_metrics(prefix: str, evaluation: EvalReport | None) -> dict[str, float]:
    """Accuracy per slice, unless there are so many that they would bury the other charts."""
    scored = [score for score in evaluation.slices if score.value is not None] if evaluation else []
    if len(scored) > MOST_SLICES:
        return {}
    keys = _distinct([f"{prefix}/{key_of(score.slice)}" for score in scored], [score.slice for score in scored])
    return {key: score.value for key, score in zip(keys, scored, strict=True) if score.value is not None}


def _gap_metrics(prefix: str, gap: Gap) -> dict[str, float]:
    return (
        estimate_metrics(f"{prefix}/transfer", gap.transfer)
        | estimate_metrics(f"{prefix}/source", gap.source)
        | estimate_metrics(f"{prefix}/recovered", gap.recovered)
    )


def estimate_metrics(name: str, estimate: Estimate) -> dict[str, float]:
    """The value and its interval's ends; nothing where there is no number."""
    values = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {key: value for key, value in values.items() if value is not None}


def _spent(report: RunReport, last: RoundReport) -> Cost:
    return sum((each.cost for each in report.rounds if each.round <= last.round), Cost())


def params(report: RunReport, prompts: Mapping[str, str]) -> dict[str, str]:
    """The spec as dotted params (`generate.shots` → `5`) and the hashes of spec, split and prompts.

    `runtime` is left out: it cannot change a result. Values over `LONGEST_PARAM` characters are cut; the whole spec
    is an artifact.
    """
    more = {"split.id": report.data.id, **{f"prompts.{name}.sha256": digest(text) for name, text in prompts.items()}}
    return spec_params(report.spec, more)


def spec_params(spec: Mapping[str, object], more: Mapping[str, str] | None = None) -> dict[str, str]:
    """A spec as dotted params without `runtime`, its hash, and what is given besides."""
    used = {key: value for key, value in spec.items() if key != "runtime"}
    flat = {**dict(_flat("", used)), "spec.sha256": digest(used), **(more or {})}
    keys = _distinct([key_of(key) for key in flat], list(flat))
    return {key: _cut(value) for key, value in zip(keys, flat.values(), strict=True)}


def adapter_tags(folder: Path) -> dict[str, str]:
    """Name of the base model and sha256 of the weights of a PEFT folder."""
    config = folder / "adapter_config.json"
    weights = sorted(folder.glob("adapter_model.*"))
    tags = {"sha256": file_digest(weights[0])} if weights else {}
    if config.exists():
        tags["base"] = str(json.loads(config.read_bytes()).get("base_model_name_or_path", ""))
    return tags


def milliseconds(moment: str) -> int:
    """ISO 8601, UTC where no zone is given, as ms since 1970."""
    parsed = datetime.fromisoformat(moment)
    return round(1000 * (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def folder_digest(folder: Path) -> str:
    """sha256 over names and contents of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest({path.relative_to(folder).as_posix(): file_digest(path) for path in files})


def source_of(spec: Mapping[str, object]) -> str:
    """Path or name of the real data, as the spec has it."""
    data = cast("Mapping[str, Any]", spec.get("data") or {})
    source = cast("Mapping[str, Any]", data.get("source") or {})
    return str(source.get("path") or source.get("name") or "real data")


def metric_of(spec: Mapping[str, object]) -> str:
    """The metric that decides, as the spec has it."""
    rule = cast("Mapping[str, Any]", spec.get("evaluate") or {})
    return str(rule.get("metric") or "accuracy")


def key_of(name: str) -> str:
    """A name that MLflow accepts: `fine=HUM:ind` is `fine/HUM:ind`, so that charts are grouped by dimension.

    >>> key_of("length=> 12 words")
    'length/_ 12 words'
    """
    allowed = re.sub(r"[^\w\-. :/]", "_", name.replace("=", "/"))
    parts = [part if part.strip(".") else "_" * len(part) for part in allowed.split("/") if part]
    return "/".join(parts) or "_"


def _distinct(keys: Sequence[str], names: Sequence[str]) -> list[str]:
    """The keys, with a bit of the name's hash where two would be one or where a key is too long."""
    counts = {key: keys.count(key) for key in keys}
    return [
        key if counts[key] == 1 and len(key) <= LONGEST_KEY else f"{key[: LONGEST_KEY - 7]}-{digest(name)[:6]}"
        for key, name in zip(keys, names, strict=True)
    ]


def _flat(prefix: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        items = cast("Mapping[str, object]", value).items()
        return [pair for key, each in items for pair in _flat(f"{prefix}.{key}" if prefix else key, each)]
    return [(prefix, value if isinstance(value, str) else canonical(value))]


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST_PARAM else f"{value[: LONGEST_PARAM - 1]}…"
