"""Records with made-up numbers for tests. Nothing here was measured; every text says that it is a test item."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from harness.modekinds import KINDS, judged
from harness.records import (
    Cell,
    Change,
    Comparison,
    Cost,
    Coverage,
    Decision,
    Estimate,
    EvalReport,
    Gap,
    Guidance,
    LabelNoise,
    LeakCheck,
    Plan,
    Quota,
    Role,
    SliceChange,
    SliceScore,
    Verdict,
    WorstSlice,
)
from harness.reports import (
    Calibration,
    ControlReport,
    Diagnosis,
    FailureMode,
    FilterWorth,
    FunnelRow,
    GateReport,
    Reading,
    RoundReport,
    RunReport,
    Sample,
    SplitInfo,
)
from harness.spec import Spec

LABELS = {"ALPHA": "things of the first kind", "BETA": "things of the second kind", "GAMMA": "everything else"}
LENGTHS = ("short", "medium", "long")
STYLES = ("plain", "polite", "typos")
NOTHING = Estimate(None, None, None, 0, "none", "insufficient: the test set-up has no pool of real data")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_estimate(value: float, half: float = 0.03, n: int = 1000, method: str = "Wilson 95 %") -> Estimate:
    return Estimate(value, value - half, value + half, n, method)


def make_eval(arm: str, role: Role, accuracy: float, n: int = 1000, unparsable: int = 0) -> EvalReport:
    """One arm on one split; errors go to the next label, so that the confusion matrix adds up to `n`."""
    names = list(LABELS)
    per_label = n // len(names)
    confusion: dict[str, dict[str, int]] = {}
    scores: list[SliceScore] = []
    for position, gold in enumerate(names):
        share = min(0.99, max(0.01, accuracy + 0.05 * (1 - position)))
        right = round(per_label * share)
        row = {gold: right, names[(position + 1) % len(names)]: per_label - right - (unparsable if not position else 0)}
        if unparsable and not position:
            row[""] = unparsable
        confusion[gold] = row
        scores.append(make_slice(f"label={gold}", per_label, share, unparsable if not position else 0))
    scores += [make_slice(f"length={name}", n // 3, accuracy + 0.04 * (1 - i)) for i, name in enumerate(LENGTHS)]
    return EvalReport(
        arm=arm,
        role=role,
        split="split-00000000000000aa",
        model=f"adapter-{sha(arm)[:16]}",
        n=n,
        n_ok=n - unparsable,
        n_unparsable=unparsable,
        n_error=0,
        accuracy=make_estimate(accuracy, n=n),
        macro_f1=make_estimate(accuracy - 0.02, n=n, method="BCa bootstrap 95 %"),
        slices=tuple(scores),
        confusion=confusion,
    )


def make_slice(name: str, n: int, value: float, unparsable: int = 0) -> SliceScore:
    return SliceScore(name, n, n - unparsable, unparsable, 0, value, max(0.0, value - 0.05), min(1.0, value + 0.05))


def make_comparison(a: str, b: str, difference: float, half: float = 0.021) -> Comparison:
    estimate = make_estimate(difference, half, method="paired bootstrap (BCa) 95 %")
    return Comparison(a, b, "accuracy", estimate, 0.0004 if abs(difference) > half else 0.41, 0.12, 0.031)


def make_gap(recovered: float | None = 0.37) -> Gap:
    return Gap(
        transfer=make_estimate(0.11, 0.04, 200, "bootstrap 95 %"),
        source=make_estimate(0.12, 0.035, 1000, "paired bootstrap 95 %") if recovered is not None else NOTHING,
        recovered=make_estimate(recovered, 0.09, 1000, "paired bootstrap 95 %") if recovered is not None else NOTHING,
    )


def make_cell(label: str, length: str, style: str) -> Cell:
    return Cell(f"cell-{sha(label + length + style)[:8]}", {"label": label, "length": length, "style": style})


def make_funnel(weak: str) -> tuple[FunnelRow, ...]:
    """Planned counts lean towards the `weak` label; one cell accepts nothing."""
    rows: list[FunnelRow] = []
    for i, label in enumerate(LABELS):
        for j, length in enumerate(LENGTHS):
            for k, style in enumerate(STYLES):
                planned = 32 if label == weak else 20
                generated = planned - (i + j) % 2
                parsed = generated - k
                kept = 0 if (i, j, k) == (2, 2, 2) else parsed - 5 - 2 * j - i
                unsure = 2 if kept else 0
                cell = make_cell(label, length, style)
                rows.append(
                    FunnelRow(
                        cell.id,
                        cell.values,
                        {
                            "planned": planned,
                            "generated": generated,
                            "parsed": parsed,
                            "unique": kept + unsure,
                            "accepted": kept,
                        },
                        {
                            "parse: empty": k,
                            "duplicates: near a seed": parsed - kept - unsure,
                            "consistency: labellers disagree": unsure,
                        },
                    )
                )
    return tuple(rows)


def make_samples(round_number: int) -> tuple[Sample, ...]:
    cell = make_cell("ALPHA", "short", "plain").values
    keep = Verdict("cand-1", "consistency", 1, Decision.KEEP, "labellers agree", 0.93)
    return (
        Sample(f"Kept test item of round {round_number}, what is an alpha ?", "ALPHA", "ALPHA", cell, (keep,)),
        Sample(
            "Relabelled test item, is this rather a beta ?",
            "ALPHA",
            "BETA",
            cell,
            (replace(keep, decision=Decision.RELABEL, reason="labellers prefer BETA", score=0.81, label="BETA"),),
        ),
        Sample(
            "<script>alert('dropped test item')</script> & more",
            "GAMMA",
            None,
            make_cell("GAMMA", "long", "typos").values,
            (
                keep,
                Verdict(
                    "cand-3", "duplicates", 1, Decision.DROP, "near a seed", 0.95, evidence="cosine .95 to real-0001"
                ),
            ),
        ),
        Sample(
            "Test item that the judge only looked at",
            "BETA",
            "BETA",
            make_cell("BETA", "long", "polite").values,
            (keep, Verdict("cand-4", "judge", 2, Decision.ABSTAIN, "the judge has not passed its gate", 2.0)),
        ),
    )


def make_round(number: int, **changes: Any) -> RoundReport:
    """Round `number`, a bit better on dev than the one before."""
    funnel = make_funnel("ALPHA" if number == 1 else "GAMMA")
    quotas = tuple(Quota(Cell(row.cell, row.values), row.counts["planned"]) for row in funnel)
    plan = Plan(
        round=number,
        quotas=quotas,
        guidance=()
        if number == 1
        else (
            Guidance(
                label="GAMMA",
                kind="contrast",
                text="",
                reason="14 of 100 GAMMA items on dev were called BETA",
                other="BETA",
            ),
            Guidance(
                label="GAMMA",
                kind="hint",
                text="Write about everything else.",
                reason="GAMMA has the highest shrunk error rate on dev",
            ),
        ),
        parents=("split-00000000000000aa",),
        changes=("Round 1: quotas follow the weights of the matrix.",)
        if number == 1
        else ("GAMMA gets 60 % more candidates: its shrunk error rate on dev is 31 %, the mean is 22 %.",),
        shots={} if number == 1 else {"length=short": 1.4, "length=long": 0.8},
        channel={} if number == 1 else {"BETA": {"GAMMA": 0.2}},
        surplus={} if number == 1 else {"GAMMA": 1.5},
    )
    gain = 0.02 * number
    accepted = sum(row.counts["accepted"] for row in funnel)
    report = RoundReport(
        round=number,
        plan=plan,
        plan_id=f"plan-{number:016d}",
        dataset=f"dataset-{number:016d}",
        adapters={"mixed": f"adapter-{sha('mixed')[:16]}", "synthetic": f"adapter-{sha('synthetic')[:16]}"},
        planned=plan.candidates,
        generated=sum(row.counts["generated"] for row in funnel),
        parsed=sum(row.counts["parsed"] for row in funnel),
        accepted=accepted,
        accepted_total=accepted * number,
        target=400,
        shortfall="" if number == 1 else f"{accepted} of 400 wanted rows after 3 waves, which is the cap.",
        funnel=funnel,
        worth=(
            FilterWorth("consistency", 0.91, 0.18, 0.83, 120, "seeds with planted wrong labels"),
            FilterWorth("difficulty", 0.97, 0.7, 0.58, 120, "seeds with planted wrong labels"),
        ),
        calibration=Calibration(0.92, 0.947, 0.021, 2380),
        gate=GateReport(
            False,
            make_estimate(0.31, 0.16, 100, "bootstrap 95 %"),
            0.8,
            0.6,
            0.57,
            0.84,
            100,
            "kappa's lower bound .15 is below .60",
        ),
        dev={
            "base": make_eval("base", Role.DEV, 0.35, 300),
            "seeds": make_eval("seeds", Role.DEV, 0.72, 300),
            "synthetic": make_eval("synthetic", Role.DEV, 0.62 + gain, 300),
            "mixed": make_eval("mixed", Role.DEV, 0.74 + gain, 300),
            "all_real": make_eval("all_real", Role.DEV, 0.91, 300),
        },
        comparisons=(make_comparison("mixed", "seeds", 0.02 + gain, 0.05),),
        gap=make_gap(0.2 + 4 * gain),
        cost=Cost(calls=70, cached=10, failed=1, prompt_tokens=21_000, completion_tokens=9_500, usd=0.0125),
        samples=make_samples(number),
        is_best=number == 2,
        gain=None if number == 1 else make_comparison("round 2", "round 1", 0.02),
        evidence=(f"Made-up evidence of round {number}.",),
        prompts={label: f"Prompt for {label}\n" + "<i>steered</i>\n" * (number - 1) + "end" for label in LABELS},
        stop="" if number == 1 else "the round limit (2) is reached",
        seconds={"generate": 80.0, "filter": 21.5, "train": 60.0, "evaluate": 4.0},
    )
    return replace(report, **changes)


def make_spec(**changes: Any) -> Spec:
    content: dict[str, Any] = {
        "name": "factory-test",
        "seed": 7,
        "task": {"noun": "test item", "labels": LABELS},
        "data": {"source": {"kind": "packaged", "name": "trec"}},
        "matrix": {
            "dimensions": [{"name": "length", "values": list(LENGTHS)}, {"name": "style", "values": list(STYLES)}]
        },
    }
    return Spec.model_validate(content | changes)


def make_side(name: str, comparison: Comparison | None, rounds: int = 2, score: float | None = None) -> ControlReport:
    scored = None if score is None else make_estimate(score)
    dev = tuple(make_eval("mixed", Role.DEV, 0.74 + 0.01 * number, 300) for number in range(rounds))
    return ControlReport(
        name, f"{name}, made up", 140, 1120, 770, 580, f"dataset-{sha(name)[:16]}", dev, comparison, score=scored
    )


def make_change(name: str, change: Change, difference: float) -> SliceChange:
    estimate = make_estimate(difference, 0.04, 300, "Agresti-Min")
    return SliceChange(name, 300, 0.7, 0.7 + difference, estimate, 0.01, 0.03, change, difference > 0)


def make_diagnosis() -> Diagnosis:
    return Diagnosis(
        dialect=make_estimate(0.86, 0.05, 300, "DeLong"),
        dialect_reference=make_estimate(0.5, 0.06, 300, "DeLong"),
        coverage=Coverage(make_estimate(0.1), make_estimate(0.03), make_estimate(0.07), 5, 150),
        label_noise=LabelNoise(make_estimate(0.12), make_estimate(0.2), make_estimate(0.09)),
        leak=LeakCheck(make_estimate(0.001, 0.004), 0.512, 0.511, 150, alarm=False),
        dev_test=make_estimate(0.01, 0.03),
    )


def make_mode(name: str = "hedging", fired: bool | None = True) -> FailureMode:
    """A failure mode of the table with made-up figures."""
    found = Estimate(None, None, None, 0, "none", "insufficient: 3 rows") if fired is None else make_estimate(2.0, 0.5)
    if fired is False:
        found = make_estimate(0.0, 0.5)
    side = make_estimate(0.4, 0.2)
    return judged(KINDS[name], side, side, side, found, ("commonest: “perhaps <b>” 3",))


def make_run_report(**changes: Any) -> RunReport:
    """A finished two-round run with made-up numbers, e.g. `make_run_report(rounds=(make_round(1),), best_round=1)`."""
    rounds = (make_round(1), make_round(2))
    test = {
        "base": make_eval("base", Role.TEST, 0.34),
        "seeds": make_eval("seeds", Role.TEST, 0.728),
        "synthetic": make_eval("synthetic", Role.TEST, 0.64),
        "closed": make_eval("closed", Role.TEST, 0.795),
        "static": make_eval("static", Role.TEST, 0.79),
        "raw": make_eval("raw", Role.TEST, 0.66),
        "mixed": make_eval("mixed", Role.TEST, 0.798, unparsable=2),
        "real": make_eval("real", Role.TEST, 0.88),
        "all_real": make_eval("all_real", Role.TEST, 0.916),
    }
    sizes = {Role.SEEDS: 120, Role.DEV: 300, Role.ANCHOR: 150, Role.TEST: 1000, Role.POOL: 2000}
    report = RunReport(
        id="run-00000000000000ff",
        name="factory-test",
        seed=7,
        spec=make_spec().model_dump(mode="json"),
        data=SplitInfo(
            id="split-00000000000000aa",
            sizes=sizes,
            hashes={role: sha(role) for role in sizes},
            labels={role: dict.fromkeys(LABELS, size // 3) for role, size in sizes.items()},
            dropped={"exact duplicate": 12, "two labels": 1},
        ),
        rounds=rounds,
        best_round=2,
        stop="the round limit (2) is reached",
        test=test,
        comparisons=(
            replace(make_comparison("mixed", "seeds", 0.07), p_holm=0.0012),
            make_comparison("synthetic", "seeds", -0.011),
            replace(make_comparison("closed", "static", 0.005), p_holm=0.41),
            replace(make_comparison("closed", "raw", 0.135), p_holm=0.0012),
        ),
        gap=make_gap(),
        cost=rounds[0].cost + rounds[1].cost,
        warnings=("dev has 300 items: differences below 5.1 points will not show.",),
        training_rows={
            "base": 0,
            "seeds": 120,
            "synthetic": 700,
            "closed": 700,
            "static": 700,
            "raw": 700,
            "mixed": 820,
            "real": 700,
            "all_real": 2120,
        },
        artefacts={
            "split": "split-00000000000000aa",
            "dataset": rounds[1].dataset,
            "adapter": f"adapter-{sha('mixed')[:16]}",
        },
        versions={"harness": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
        started="2026-01-02T03:04:05Z",
        seconds={"real data": 3.0, "round 1": 166.0, "round 2": 165.5, "test": 12.0},
        controls=(
            make_side("closed", None, score=0.795),
            make_side("static", replace(make_comparison("closed", "static", 0.005), p_holm=0.41), score=0.79),
            make_side("raw", replace(make_comparison("closed", "raw", 0.135), p_holm=0.0012), rounds=0, score=0.66),
        ),
        changes=(
            make_change("label=ALPHA", "improved", 0.12),
            make_change("label=BETA", "unclear", 0.01),
            make_change("label=ALPHA & length=short", "regressed", -0.09),
        ),
        worst=WorstSlice("label=GAMMA", 333, 6, make_estimate(0.71, 0.04, 333), make_estimate(0.05, 0.06, 333)),
        diagnosis=make_diagnosis(),
        readings=(
            Reading("transfer", "A made-up sentence on the transfer gap.", "dialect", "an AUC of 0.86", "more shots"),
            Reading("source", "A made-up sentence on the source gap.", "none", "", ""),
            Reading("recovered", "A made-up sentence on what is left.", "unknown", "nothing speaks", "look at samples"),
        ),
        modes=(make_mode(), make_mode("repeated openings", fired=False), make_mode("content shift", fired=None)),
        clusters={"c1": "“what is a test item ?”, “what was <b>it</b> ?”"},
    )
    return replace(report, **changes)
