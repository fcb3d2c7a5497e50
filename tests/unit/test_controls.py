"""The controls beside a loop with scripted calls: equal calls, equal rows, and each lacks its one part."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_cases import Place, half_good, make_data, spec
from factories import LABELS, make_comparison, make_estimate, make_round
from fakes import ScriptedLlm, WordStudents

from harness.bench import Bench, Harvest
from harness.controls import CONTROLS, LOOP, ControlRun, equal_rows, run_control, side_report
from harness.dataset import is_held_out
from harness.decisions import keep_plan, steer
from harness.errors import DataError
from harness.generate.feedback import first_plan
from harness.llm.client import Llm
from harness.real import RealData
from harness.records import Example, Plan, Prediction, Role, Status
from harness.rounds import harvest
from harness.scoring import score, train_arms
from harness.spec import ControlName, Feedback, Spec
from harness.stopping import Round
from harness.store import Artefact, digest

ROUNDS = 3


class Stubborn(WordStudents):
    """Trains anything, and takes real GAMMA items for ALPHA: what feedback can act on. Refuses an arm in `lacking`."""

    def __init__(self, seeds: Sequence[str], lacking: str = "") -> None:
        super().__init__(list(LABELS), seeds)
        self.trained: dict[str, list[Example]] = {}
        self.lacking = lacking

    def train(self, arm: str, rows: Sequence[Example], seed: int, parents: dict[str, str]) -> Artefact:
        if arm == self.lacking and parents.get("dataset", "").startswith("dataset"):
            raise DataError("no training row for ['GAMMA']")
        self.trained[arm] = list(rows)
        return Artefact(f"adapter-{digest([arm, [row.id for row in rows]])[:16]}", Path("nowhere"), built=True)

    def predict(self, adapter: Artefact, examples: Sequence[Example]) -> list[Prediction]:
        taken = {"GAMMA": "ALPHA"}
        return [Prediction(one.id, Status.OK, taken.get(one.label, one.label), 0.9) for one in examples]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RealData:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def place(data: RealData, tmp_path: Path) -> Place:
    return Place(data, tmp_path / "store")


def students(place: Place, lacking: str = "") -> Any:
    return Stubborn([one.text for one in place.data.examples[Role.SEEDS]], lacking)


def run_loop(bench: Bench) -> list[Round]:
    """Three rounds of the closed loop, as harness/loop.py makes them, less what only its report needs."""

    async def rounds() -> list[Round]:
        done: list[Round] = []
        for number in range(1, ROUNDS + 1):
            parents = [done[-1].report.plan_id, done[-1].scored.artefact] if done else [bench.data.artefact.id]

            async def make(llm: Llm, number: int = number, parents: list[str] = parents) -> Plan:
                if not done:
                    return first_plan(bench.spec, parents)
                return await steer(bench, llm, done[-1].scored.reports["mixed"], done[-1].harvest.plans, parents)

            plan, plan_id = await keep_plan(bench, number, parents, make)
            before = done[-1].harvest if done else Harvest()
            now = await harvest(bench, plan, plan_id, before)
            material = now.material(bench.data)
            adapters = train_arms(bench, ["seeds", "mixed"], material, now.dataset)
            scored = score(bench, Role.DEV, bench.data.examples[Role.DEV], adapters, material, ())
            done.append(Round(make_round(number, plan=plan, plan_id=plan_id), now, scored, adapters))
        return done

    return asyncio.run(rounds())


def of() -> Spec:
    steep = Feedback(policies=["quotas"], exploration=0.2, shrinkage=0.1)
    return spec(over_generation=1, max_waves=3).model_copy(update={"feedback": steep})


def drawn(run: Harvest) -> list[tuple[int, int]]:
    return [(wave.round, sum(quota.candidates for quota in wave.quotas)) for wave in run.waves]


@pytest.fixture
def loop(place: Place) -> tuple[Bench, list[Round], ScriptedLlm]:
    llm = ScriptedLlm(half_good)
    bench = place.bench(llm, of(), students=students(place))
    return bench, run_loop(bench), llm


def control(bench: Bench, name: ControlName, closed: list[Round]) -> ControlRun:
    return asyncio.run(run_control(bench, name, closed))


@pytest.mark.parametrize("name", ["static", "shuffled", "naive"])
def test_a_control_draws_what_the_loop_drew(name: ControlName, loop: tuple[Bench, list[Round], ScriptedLlm]) -> None:
    bench, closed, _ = loop
    run = control(bench, name, closed)
    assert drawn(run.harvest) == drawn(closed[-1].harvest)
    assert len(drawn(run.harvest)) > ROUNDS  # refill waves are matched too
    assert len(run.dev) == ROUNDS
    assert {one.role for one in run.dev} == {Role.DEV}


def test_static_and_shuffled_share_the_first_round_and_naive_does_not(
    loop: tuple[Bench, list[Round], ScriptedLlm],
) -> None:
    bench, closed, llm = loop
    first = {wave.artefact for wave in closed[0].harvest.waves}
    per_round = sum(size for _, size in drawn(closed[0].harvest)) // bench.spec.generate.samples_per_call
    for name, shared in (("static", True), ("shuffled", True), ("naive", False)):
        before = len(llm.requests)
        run = control(bench, name, closed)  # type: ignore[arg-type]
        own = {wave.artefact for wave in run.harvest.waves if wave.round == 1}
        assert (own == first) is shared
        # Where two plans share a cell they share the call, so steered rounds may cost less but never more.
        asked = len(llm.requests) - before
        assert 0 < asked <= (ROUNDS - 1) * per_round if shared else asked == ROUNDS * per_round


def test_only_the_loop_follows_the_dev_report(loop: tuple[Bench, list[Round], ScriptedLlm]) -> None:
    bench, closed, _ = loop

    def share(plan: Plan, label: str) -> float:
        return sum(quota.candidates for quota in plan.quotas if quota.cell.label == label) / plan.candidates

    weak = {"closed": share(closed[-1].harvest.plans[1], "GAMMA")}
    plans = {"closed": closed[-1].harvest.plans[1]}
    for name in ("static", "shuffled", "naive"):
        plans[name] = control(bench, name, closed).harvest.plans[1]  # type: ignore[arg-type]
        weak[name] = share(plans[name], "GAMMA")
    # GAMMA fails always: the loop draws more of it, the shuffled one of another label, the others of none.
    assert weak["closed"] > 0.5
    assert weak["shuffled"] < 0.3
    assert weak["static"] == pytest.approx(1 / 3, abs=0.05) == weak["naive"]
    assert plans["shuffled"].policies == plans["closed"].policies != ()
    assert plans["static"].policies == plans["naive"].policies == ()
    assert {len(quota.cell.values) for quota in plans["naive"].quotas} == {1}
    assert {len(quota.cell.values) for quota in plans["static"].quotas} == {3}


def test_raw_takes_the_loops_candidates_and_drops_only_copies_of_held_out_texts(place: Place) -> None:
    leaked = place.data.examples[Role.DEV][0].text

    def leaky(request: Any) -> list[str]:
        return [leaked, *half_good(request)[1:]] if request.seed % 2 else half_good(request)

    llm = ScriptedLlm(leaky)
    bench = place.bench(llm, of(), students=students(place))
    closed = run_loop(bench)
    asked = len(llm.requests)
    run = control(bench, "raw", closed)
    assert len(llm.requests) == asked
    assert run.harvest.candidates == closed[-1].harvest.candidates
    texts = {one.text for one in run.harvest.sieved.accepted}
    assert leaked in {one.example.text for one in run.harvest.candidates}
    assert leaked not in texts
    assert "too short" in texts or any(len(text.split()) < 3 for text in texts)
    lost = [one for one in run.harvest.sieved.verdicts if one.decision.value == "drop"]
    assert {one.filter for one in lost} == {"leakage"}
    assert len(run.harvest.sieved.accepted) == len(run.harvest.candidates) - len(lost)


def test_every_side_trains_on_the_seeds_and_as_many_rows_as_the_poorest_has(
    loop: tuple[Bench, list[Round], ScriptedLlm],
) -> None:
    bench, closed, _ = loop
    runs = [control(bench, name, closed) for name in CONTROLS]
    equal = equal_rows(bench, closed[-1], runs)
    assert set(equal) == {LOOP, *CONTROLS}
    assert len({len(rows) for rows in equal.values()}) == 1
    seeds = {one.id for one in bench.data.examples[Role.SEEDS]}
    accepted = {LOOP: closed[-1].harvest, **{one.name: one.harvest for one in runs}}
    fewest = min(sum(not is_held_out(row.id) for row in one.sieved.accepted) for one in accepted.values())
    for name, rows in equal.items():
        synthetic = [row for row in rows if row.id not in seeds]
        assert len(synthetic) == fewest == len(rows) - len(seeds)
        assert {row.id for row in synthetic} <= {row.id for row in accepted[name].sieved.accepted}
        assert not any(is_held_out(row.id) for row in synthetic)


def test_a_control_without_rows_of_a_label_ends_with_a_note_and_costs_nothing_else(
    place: Place, loop: tuple[Bench, list[Round], ScriptedLlm]
) -> None:
    bench, closed, _ = loop
    poor = replace(bench, students=students(place, lacking="mixed"))
    run = control(poor, "naive", closed)
    assert run.dev == ()
    assert bench.watch.notes == ["The control 'naive' ended in round 1: no training row for ['GAMMA']"]


def test_a_budget_that_ends_in_a_control_is_said(place: Place) -> None:
    llm = ScriptedLlm(half_good)
    bench = place.bench(llm, of(), students=students(place))
    closed = run_loop(bench)
    poor = replace(bench, llm=ScriptedLlm(half_good, calls=3))
    run = control(poor, "naive", closed)
    assert run.dev == ()
    assert run.harvest.out_of_budget
    assert bench.watch.notes[-1] == "The control 'naive' is not comparable: the budget ended in its round 1."


def test_the_report_states_calls_and_rows(loop: tuple[Bench, list[Round], ScriptedLlm]) -> None:
    bench, closed, _ = loop
    compared, scored = make_comparison(LOOP, "static", 0.01), make_estimate(0.7)
    run = control(bench, "static", closed)
    found = side_report("static", run.harvest, run.dev, Role.TEST, 30, compared, scored)
    size = sum(size for _, size in drawn(closed[-1].harvest))
    assert (found.name, found.rows, found.comparison, found.score) == ("static", 30, compared, scored)
    assert (found.calls, found.candidates) == (size // bench.spec.generate.samples_per_call, size)
    assert found.accepted <= found.candidates
    assert "without feedback" in found.about
    assert found.dev == run.dev
    assert side_report(LOOP, closed[-1].harvest, [], Role.TEST, 30, None, None).calls == found.calls
