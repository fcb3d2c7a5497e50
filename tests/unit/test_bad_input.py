"""Odd real data all the way from predictions to the report page: an explicit status, never NaN, never a crash."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from factories import LABELS, make_round, make_run_report, make_spec
from fakes import ScriptedLlm

from eval.gap import gap
from eval.joint import joint_slices
from eval.score import compare, evaluate
from eval.slices import slice_changes, slice_members
from harness.generate.feedback import next_plan
from harness.reading import readings
from harness.records import DevReport, EvalReport, Example, Origin, Prediction, Role, Status
from harness.report import write_report
from harness.reports import RunReport
from harness.store import dumps
from harness.tracked import child_metrics, parent_metrics

NAMES = list(LABELS)
ARMS = ("seeds", "mixed", "synthetic", "real", "all_real")


@dataclass(frozen=True)
class Case:
    """Items, and whether arm `a` has item `i` right."""

    items: list[Example]
    right: Callable[[str, int], bool]


def items(count: int, labels: list[str] = NAMES, column: Callable[[int], str] = lambda i: "x") -> list[Example]:
    return [
        Example(f"real-{i}", f"item {i}", labels[i % len(labels)], {"col": column(i)}, Origin.REAL)
        for i in range(count)
    ]


def some(arm: str, i: int) -> bool:
    return (i * 7 + ARMS.index(arm)) % 10 < 5 + ARMS.index(arm)


CASES = {
    "a slice column with 2,000 values": Case(items(2000, column=lambda i: f"value {i}"), some),
    "a dev split of 9 items": Case(items(9), some),
    "one item": Case(items(1), some),
    "no item at all": Case([], some),
    "a label absent from test": Case(items(120, NAMES[:2]), some),
    "one label only": Case(items(120, NAMES[:1]), some),
    "all wrong": Case(items(120), lambda arm, i: False),
    "all right": Case(items(120), lambda arm, i: True),
    "one arm all right, the others all wrong": Case(items(120), lambda arm, i: arm == "mixed"),
}


def answers(case: Case, arm: str) -> list[Prediction]:
    return [
        Prediction(
            one.id,
            Status.OK,
            one.label if case.right(arm, i) else NAMES[(NAMES.index(one.label) + 1) % 3],
            0.5,
        )
        for i, one in enumerate(case.items)
    ]


def scored(case: Case, role: Role) -> dict[str, EvalReport]:
    return {arm: evaluate(arm, role, "hash", "model", case.items, answers(case, arm), NAMES, 200, 0) for arm in ARMS}


def report_of(case: Case) -> RunReport:
    said = {arm: answers(case, arm) for arm in ARMS}
    comparisons = tuple(compare(arm, "seeds", case.items, said[arm], said["seeds"], "accuracy", 200, 0) for arm in ARMS)
    gaps = gap(
        "macro_f1",
        200,
        0,
        examples=case.items,
        loop=said["mixed"],
        seeds=said["seeds"],
        synthetic=said["synthetic"],
        real=said["real"],
        all_real=said["all_real"],
        synthetic_examples=case.items,
        synthetic_on_synthetic=said["synthetic"],
    )
    members = slice_members(case.items, NAMES)
    plain = make_run_report()
    return replace(
        plain,
        test=scored(case, Role.TEST),
        rounds=(make_round(1, dev=scored(case, Role.DEV), gap=gaps, comparisons=comparisons),),
        best_round=1,
        comparisons=comparisons,
        gap=gaps,
        changes=slice_changes(case.items, said["seeds"], said["mixed"], NAMES, pairs=True),
        worst=joint_slices(case.items, said["seeds"], said["mixed"], members, resamples=200, seed=0).after,
        readings=readings(gaps, plain.diagnosis),
    )


@pytest.mark.parametrize("name", CASES)
def test_from_predictions_to_the_page(name: str, tmp_path: Path) -> None:
    report = report_of(CASES[name])
    page = write_report(report, tmp_path).read_text(encoding="utf-8")
    text = re.sub(r"<style>.*?</style>|data:image[^\"]*|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not re.search(r"\b(?:nan|NaN|inf|None)\b", text)
    json.loads(dumps(RunReport, report), parse_constant=lambda constant: pytest.fail(f"{constant} in report.json"))
    for key, value, _ in [*parent_metrics(report), *child_metrics(report, report.rounds[0])]:
        assert value == value, key


@pytest.mark.parametrize("name", CASES)
def test_feedback_makes_a_plan_of_whatever_dev_says(name: str) -> None:
    spec = make_spec(feedback={"policies": ["quotas", "contrast", "shots", "critic", "relabel", "surplus"]})
    dev = DevReport(scored(CASES[name], Role.DEV)["mixed"])
    llm = ScriptedLlm(lambda request: " ask for things of the first kind.")
    plan = asyncio.run(next_plan(dev, spec, 2, [], llm, lambda _: ""))
    assert plan.candidates == 720
    assert {one.cell.label for one in plan.quotas} == set(LABELS)
    assert plan.changes


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a dev split of 9 items", "insufficient: 9 items"),
        ("no item at all", "insufficient: no items"),
        ("a label absent from test", "no item has GAMMA"),
        ("all right", "every resample gives the same value"),
    ],
)
def test_what_cannot_be_had_is_said(name: str, says: str) -> None:
    assert says in dumps(EvalReport, scored(CASES[name], Role.TEST)["mixed"]).decode()


def test_a_column_of_many_values_is_cut_and_its_remainder_counted() -> None:
    case = CASES["a slice column with 2,000 values"]
    report = scored(case, Role.TEST)["mixed"]
    column = [one for one in report.slices if one.slice.startswith("col=")]
    assert len(column) == 51
    assert column[-1].slice == "col=… 1950 more values"
    assert sum(one.n for one in column) == 2000
    assert len(slice_changes(case.items, answers(case, "seeds"), answers(case, "mixed"), NAMES, pairs=True)) < 300
