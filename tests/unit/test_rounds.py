import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_cases import Place, asked_label, good, half_good, make_data, spec, unique
from fakes import Fails, Reply, ScriptedLlm, nobody, read_dataset

from harness import observe
from harness.bench import Bench, Harvest
from harness.dataset import is_held_out
from harness.decisions import gate_of, keep_plan
from harness.errors import BudgetError, EndpointError
from harness.generate.feedback import first_plan
from harness.generate.produce import NOT_ASKED
from harness.llm.client import CallFailure, Llm, OnEach, Request
from harness.observe import faults_of, funnel_of, samples_of
from harness.progress import Silent, Watch
from harness.real import RealData
from harness.records import Cost, Decision, Plan, Quota, Role
from harness.refills import refill
from harness.reports import GateReport
from harness.rounds import harvest, resieve
from harness.scoring import train_arms
from harness.spec import Spec
from harness.store import Store
from harness.train.students import Students


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RealData:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def place(data: RealData, tmp_path: Path) -> Place:
    return Place(data, tmp_path / "store")


def reap(bench: Bench, before: Harvest | None = None, plan: Plan | None = None) -> Harvest:
    async def both() -> Harvest:
        made, ident = await kept_plan(bench, plan or first_plan(bench.spec, [bench.data.artefact.id]))
        return await harvest(bench, made, ident, before or Harvest())

    return asyncio.run(both())


async def kept_plan(bench: Bench, plan: Plan) -> tuple[Plan, str]:
    async def make(_llm: Llm) -> Plan:
        return plan

    return await keep_plan(bench, plan.round, plan.parents, make)


def check_funnel(now: Harvest, of: Spec) -> Counter[str]:
    """Each cell's counts fall from stage to stage, and what was lost has a reason. Returns the sums."""
    total: Counter[str] = Counter()
    for row in funnel_of(now, of):
        counts = list(row.counts.values())
        assert counts == sorted(counts, reverse=True)
        assert row.counts["planned"] - row.counts["accepted"] == sum(row.reasons.values())
        total.update(row.counts)
    assert total["planned"] == len(now.candidates) + len(now.failures)
    assert total["parsed"] == len(now.candidates)
    assert total["accepted"] == len(now.sieved.accepted)
    return total


def test_one_wave_is_enough_where_the_target_is_met(place: Place) -> None:
    llm = ScriptedLlm(good)
    now = reap(place.bench(llm))
    assert (len(now.waves), now.shortfall) == (1, "")
    assert len(now.sieved.accepted) == 48
    assert len(llm.requests) == 12
    total = check_funnel(now, spec())
    assert set(total.values()) == {48}
    rows = read_dataset(Store(place.root).find(now.dataset).path)
    assert sorted(one.id for part in rows.values() for one in part) == sorted(one.id for one in now.sieved.accepted)


def test_what_is_trained_on_has_one_copy_of_what_rows_of_a_cell_have_in_common(place: Place) -> None:
    now = reap(place.bench(ScriptedLlm(good)))
    rows = [*now.material(place.data).accepted, *now.held_out()]
    assert sorted(rows, key=lambda one: one.id) == sorted(now.sieved.accepted, key=lambda one: one.id)
    trained = now.material(place.data).accepted
    copies = {(tuple(one.slices.items()), id(one.slices)) for one in trained}
    assert len(copies) == len({cell for cell, _ in copies}) < len(trained)


def test_a_low_yield_is_made_up_for_by_measured_refills(place: Place) -> None:
    of = spec(over_generation=1, max_waves=5)
    now = reap(place.bench(ScriptedLlm(half_good), of))
    assert now.shortfall == ""
    assert len(now.sieved.accepted) >= 24
    planned = [sum(quota.candidates for quota in wave.quotas) for wave in now.waves]
    assert planned == [24, 24]
    check_funnel(now, of)


def test_the_same_again_asks_nothing_and_gives_the_same_ids(place: Place) -> None:
    of = spec(over_generation=1)
    first = reap(place.bench(ScriptedLlm(half_good), of))
    again = reap(place.bench(ScriptedLlm(nobody), of))
    assert again == first
    assert first.dataset.startswith("dataset-")
    assert not Store(place.root).damaged(first.dataset)


def test_another_store_gives_the_same_ids_and_bytes(data: RealData, tmp_path: Path) -> None:
    one, two = Place(data, tmp_path / "one"), Place(data, tmp_path / "two")
    found = [reap(each.bench(ScriptedLlm(half_good))) for each in (one, two)]
    assert found[0] == found[1]
    for name in ("README.md", "data/train.parquet"):
        assert (Store(one.root).find(found[0].dataset) / name).read_bytes() == (
            Store(two.root).find(found[1].dataset) / name
        ).read_bytes()


def test_after_the_last_wave_the_shortfall_is_put_into_words(place: Place) -> None:
    of = spec(max_waves=2)
    now = reap(place.bench(ScriptedLlm(lambda request: "too short"), of))
    assert len(now.waves) == 2
    assert now.shortfall == (
        "0 of 24 rows: the attempt cap was reached (2 waves a round). The funnel says where the rest was lost."
    )
    check_funnel(now, of)


def test_the_cap_on_candidates_is_kept(place: Place) -> None:
    of = spec(max_waves=9, max_candidates=55)
    now = reap(place.bench(ScriptedLlm(lambda request: "too short"), of))
    assert sum(quota.candidates for quota in now.quotas) == 52
    assert "the attempt cap was reached (9 waves, 55 candidates a round)" in now.shortfall


class EndsAfterFailing(ScriptedLlm):
    """Its first call fails for good, its second is answered, and then the budget is spent."""

    async def ask_each(self, requests: Sequence[Request], on_each: OnEach) -> None:
        if len(requests) == 1:
            return await super().ask_each(requests, on_each)
        on_each(0, CallFailure(self.key(requests[0]), "HTTP 500", Cost(failed=1)))
        await super().ask_each(requests[1:2], lambda _, outcome: on_each(1, outcome))
        raise BudgetError("budget.calls: 2 calls allowed, no room for another call.")


def test_what_failed_before_the_budget_ended_is_not_asked_again(place: Place) -> None:
    llm = EndsAfterFailing(good, calls=1)
    now = reap(place.bench(llm))
    assert len(llm.requests) == 1
    assert Counter(failure.reason for failure in now.failures) == {"call failed: HTTP 500": 4, NOT_ASKED: 40}
    assert len(now.candidates) == 4


def test_a_wave_is_asked_for_in_one_go(place: Place) -> None:
    class Counting(ScriptedLlm):
        asked: list[int]

        async def ask_each(self, requests: Sequence[Request], on_each: OnEach) -> None:
            self.asked.append(len(requests))
            await super().ask_each(requests, on_each)

    llm = Counting(good)
    llm.asked = []
    reap(place.bench(llm, spec(accepted_per_round=120)))
    assert llm.asked == [60]


def test_a_budget_that_ends_in_a_wave_loses_no_paid_answer(place: Place) -> None:
    llm = ScriptedLlm(good, calls=5)
    bench = place.bench(llm)
    now = reap(bench)
    assert len(llm.requests) == 5
    assert (len(now.candidates), len(now.failures)) == (20, 28)
    assert {failure.reason for failure in now.failures} == {NOT_ASKED}
    assert now.out_of_budget
    assert now.shortfall == "20 of 24 rows: the budget ended. The funnel says where the rest was lost."
    total = check_funnel(now, spec())
    assert (total["planned"], total["generated"], total["accepted"]) == (48, 20, 20)
    assert bench.watch.notes == ["budget.calls: 5 calls allowed, no room for another call."]
    assert len({row.id for row in (*now.candidates, *now.failures)}) == 48


def graded(request: Request) -> Reply:
    five = '{"relevance": 5, "correctness": 5, "adherence": 5}'
    return [five] * request.n if request.role == "judge" else good(request)


def test_rows_that_a_judge_could_not_be_asked_about_are_no_verdicts_of_a_run_that_may(place: Place) -> None:
    for judge, same in ((False, True), (True, False)):
        of = spec(filters={"judge": {"enabled": judge}})
        now = reap(place.bench(ScriptedLlm(graded), of))
        mute = replace(place.bench(ScriptedLlm(graded, calls=0), of), asks=False)
        assert (asyncio.run(resieve(mute, now)).verdicts == now.verdicts) is same


def test_a_budget_of_nothing_gives_rows_too(place: Place) -> None:
    now = reap(place.bench(ScriptedLlm(good, calls=0)))
    assert (len(now.waves), len(now.candidates), len(now.failures)) == (1, 0, 48)
    assert check_funnel(now, spec())["generated"] == 0


def test_an_endpoint_that_cannot_be_used_leaves_nothing_half_done(place: Place) -> None:
    def down(request: Request) -> Reply:
        raise EndpointError("the endpoint is down")

    with pytest.raises(EndpointError):
        reap(place.bench(ScriptedLlm(down)))
    assert list(Store(place.root).ids("candidates")) == []
    assert len(reap(place.bench(ScriptedLlm(good))).sieved.accepted) == 48


class Untrained(Students):
    """The real `Students`, which must refuse before it needs an encoder."""

    @property
    def encoder(self) -> Any:
        raise AssertionError("nothing should be trained")


def left_out(bench: Bench, now: Harvest, arm: str) -> str:
    students = Untrained(bench.spec, bench.store, bench.embedder, "cpu", bench.watch)
    training = Bench(bench.spec, bench.store, bench.data, bench.embedder, students, None, None, bench.llm, bench.watch)
    assert train_arms(training, [arm], now.material(bench.data), now.dataset) == {}
    return bench.watch.notes[-1].removeprefix("Left out: ")


@pytest.mark.parametrize("reply", [Fails("HTTP 500"), "", "I'm sorry, but I cannot help with that."])
def test_where_nothing_is_generated_the_arm_is_left_out_by_name(place: Place, reply: Reply) -> None:
    bench = place.bench(ScriptedLlm(lambda request: reply), spec(max_waves=1))
    now = reap(bench)
    assert (now.candidates, now.sieved.accepted, samples_of(now)) == ([], (), ())
    assert now.shortfall.startswith("0 of 24 rows")
    check_funnel(now, bench.spec)
    assert read_dataset(Store(place.root).find(now.dataset).path)["train"] == []
    assert left_out(bench, now, "synthetic").startswith(
        "arm 'synthetic' has no training row for ['ALPHA', 'BETA', 'GAMMA'] among its 0."
    )


def test_where_everything_reads_as_one_label_the_others_are_named(place: Place) -> None:
    bench = place.bench(
        ScriptedLlm(lambda request: [f"ALPHA {unique(request.seed, i)} ?" for i in range(request.n)]),
        spec(max_waves=1, filters={"judge": {"enabled": False}, "consistency": {"relabel_at": 0.6}}),
    )
    now = reap(bench)
    assert {one.label for one in now.sieved.accepted} == {"ALPHA"}
    assert len(now.sieved.accepted) == 48
    assert "relabelled" in {"relabelled" if s.final_label != s.asked_label else "" for s in samples_of(now)}
    assert "no training row for ['BETA', 'GAMMA']" in left_out(bench, now, "synthetic")


def test_of_all_equal_answers_one_row_is_left(place: Place) -> None:
    bench = place.bench(
        ScriptedLlm(lambda request: f"the very same {asked_label(request)} for ever ?"), spec(max_waves=2)
    )
    now = reap(bench)
    assert Counter(one.label for one in now.sieved.accepted) == {"ALPHA": 1, "BETA": 1, "GAMMA": 1}
    assert now.shortfall.startswith("3 of 24 rows: the attempt cap was reached")
    check_funnel(now, bench.spec)


def test_seed_copies_and_held_out_texts_never_come_through(place: Place) -> None:
    seeds = [one.text for one in place.data.examples[Role.SEEDS]]
    held = [text for _, _, text in place.data.guard().pairs()]
    texts = iter([*seeds, *held, *(f"ALPHA {unique(i)} ?" for i in range(999))])
    bench = place.bench(
        ScriptedLlm(lambda request: [next(texts) for _ in range(request.n)]),
        spec(max_waves=1, over_generation=5, filters={"judge": {"enabled": False}, "consistency": {"relabel_at": 0.6}}),
    )
    now = reap(bench)
    assert now.sieved.accepted
    assert not {one.text for one in now.sieved.accepted} & {*seeds, *held}
    drops = Counter(v.filter for v in now.sieved.verdicts if v.decision is Decision.DROP)
    assert drops == {"duplicates": len(seeds), "leakage": len(held)}
    evidence = " ".join(v.evidence for v in now.sieved.verdicts)
    assert not any(text in evidence for text in held)
    shown = samples_of(now)
    assert {one.text for one in shown if any(v.reason == "copies a held-out text" for v in one.verdicts)} == {
        observe.HIDDEN
    }
    assert not any(text in str(shown) for text in held)


def test_the_next_round_adds_to_the_one_before_and_its_target(place: Place) -> None:
    bench = place.bench(ScriptedLlm(good))
    one = reap(bench)
    plan = Plan(2, one.waves[0].quotas, (), (), ())
    two = reap(bench, one, plan)
    assert two.waves[: len(one.waves)] == one.waves
    assert len(two.waves) == 2
    assert {e.id for e in one.sieved.accepted} < {e.id for e in two.sieved.accepted}
    assert two.shortfall == ""
    assert two.dataset != one.dataset
    check_funnel(two, bench.spec)


def test_without_the_label_filter_no_students_are_asked(place: Place) -> None:
    of = spec(filters={"judge": {"enabled": False}, "consistency": {"enabled": False}})
    now = reap(place.bench(ScriptedLlm(good), of, fitted=None, students=None))
    assert len(now.sieved.accepted) == 48
    assert now.worth == ()
    assert all(v.decision is Decision.ABSTAIN for v in now.sieved.verdicts if v.filter == "difficulty")


def test_worth_and_calibration_come_with_the_harvest(place: Place) -> None:
    now = reap(place.bench(ScriptedLlm(good)))
    (worth,) = now.worth
    assert (worth.filter, worth.phi, worth.psi, worth.n) == ("consistency", 1.0, 0.0, 12)
    assert now.calibration is not None
    assert (now.calibration.threshold, now.calibration.n_pairs) == (0.92, 18)


def test_held_out_rows_are_in_no_arm(place: Place) -> None:
    now = reap(place.bench(ScriptedLlm(good), spec(over_generation=8)))
    material = now.material(place.data)
    held = {one.id for one in now.held_out()}
    assert held
    assert all(map(is_held_out, held))
    assert not held & {one.id for one in material.accepted}
    assert len(material.accepted) + len(held) == len(now.sieved.accepted)
    assert len(material.pool) == 6
    assert [one.candidate.id for one in now.accepted()] == [one.id for one in now.sieved.accepted]


def test_samples_show_each_outcome_up_to_its_limit(place: Place) -> None:
    now = reap(place.bench(ScriptedLlm(half_good), spec(max_waves=1)))
    shown = samples_of(now)
    assert Counter(sample.final_label is None for sample in shown) == {False: observe.SAMPLES, True: observe.SAMPLES}
    assert all(len(sample.verdicts) == 5 for sample in shown)
    assert {sample.text for sample in shown if sample.final_label is None} == {"too short"}
    assert shown == samples_of(now)


def test_calls_that_failed_and_rows_nobody_graded_are_told(place: Place) -> None:
    from filter_cases import passed_gate

    def script(request: Request) -> Reply:
        if request.role == "judge":
            return "prose" if "ALPHA" in str(request.prompt) else '{"relevance":5,"correctness":5,"adherence":5}'
        return Fails("HTTP 500") if asked_label(request) == "BETA" else good(request)

    of = spec(filters={}, max_waves=1)
    now = reap(place.bench(ScriptedLlm(script), of, gate=passed_gate()))
    assert faults_of(now.waves, now, of) == [
        "16 answers are missing because their calls failed; the funnel counts them.",
        "16 accepted rows were never graded by the judge; their verdicts say why.",
    ]
    unguarded = spec(filters={"leakage": {"enabled": False}})
    assert faults_of((), Harvest(), unguarded) == [
        "The leakage filter is off: rows that copy dev or test items may be in training."
    ]


def quotas_of(*shares: tuple[str, int]) -> tuple[Quota, ...]:
    from harness.generate.matrix import make_cell

    return tuple(
        Quota(make_cell({"label": label, "topic": f"{i:02}"}), 4) for label, count in shares for i in range(count)
    )


def more(plan: Plan, missing: int, left: int | None = None, now: Harvest | None = None) -> tuple[Quota, ...]:
    return refill(plan, now or Harvest(), missing, spec(), left)


def labels(quotas: Sequence[Quota]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for quota in quotas:
        counts[quota.cell.label] += quota.candidates
    return counts


def test_a_refill_keeps_the_labels_balance_also_with_fewer_calls_than_cells() -> None:
    plan = Plan(1, quotas_of(("A", 30), ("B", 30), ("C", 60)), (), (), ())
    # With nothing known a yield of 5 % is assumed: a row takes 20 candidates, which is 5 calls for 120 cells.
    assert labels(more(plan, 1)) == {"A": 4, "B": 4, "C": 12}
    assert labels(more(plan, 4)) == {"A": 20, "B": 20, "C": 40}
    topics = {quota.cell.values["topic"] for quota in more(plan, 4)}
    assert max(topics) > "30"
    assert more(plan, 4) == more(plan, 4)


@pytest.mark.parametrize(("left", "drawn"), [(None, 480), (101, 100), (4, 4), (3, 0), (0, 0)])
def test_a_refill_keeps_within_what_is_left_in_whole_calls(left: int | None, drawn: int) -> None:
    plan = Plan(1, quotas_of(("A", 5), ("B", 5)), (), (), ())
    assert sum(labels(more(plan, 24, left)).values()) == drawn


def test_a_refill_goes_by_the_yield_seen(place: Place) -> None:
    now = reap(place.bench(ScriptedLlm(half_good), spec(max_waves=1)))
    plan = Plan(1, quotas_of(("A", 5), ("B", 5)), (), (), ())
    assert sum(labels(more(plan, 10, now=now)).values()) == 20


def test_a_plan_is_made_once_from_its_parents(place: Place) -> None:
    bench = place.bench(ScriptedLlm(nobody))
    plan = first_plan(bench.spec, [bench.data.artefact.id])
    other = Plan(1, plan.quotas[:1], (), plan.parents, ("another",))
    kept = asyncio.run(kept_plan(bench, plan))
    assert kept[0] == plan
    assert asyncio.run(kept_plan(bench, other)) == kept
    elsewhere = asyncio.run(kept_plan(bench, Plan(1, plan.quotas, (), ("plan-0",), ())))
    assert elsewhere[1] != kept[1]


def gate(data: RealData, root: Path, llm: ScriptedLlm, of: Spec) -> tuple[GateReport | None, list[str]]:
    watch = Watch(Silent())
    found = gate_of(of, data.examples[Role.SEEDS], data.artefact.id, llm, Store(root), watch)
    return asyncio.run(found), watch.notes


def test_the_gate_is_opened_once_and_only_where_there_is_a_judge(data: RealData, tmp_path: Path) -> None:
    assert gate(data, tmp_path, ScriptedLlm(nobody), spec()) == (None, [])
    asked = ScriptedLlm(lambda request: "prose")
    first, notes = gate(data, tmp_path, asked, spec(filters={}))
    assert first is not None
    cause = "answer is not the JSON that was asked for"
    assert (first.passed, first.reason) == (False, f"graded only 0 of 12 gate items (12: {cause})")
    assert notes == []
    assert len(asked.requests) == 15
    assert gate(data, tmp_path, ScriptedLlm(nobody), spec(filters={})) == (first, [])


def test_a_budget_that_ends_at_the_gate_keeps_it_closed(data: RealData, tmp_path: Path) -> None:
    found, notes = gate(data, tmp_path, ScriptedLlm(lambda request: "prose", calls=3), spec(filters={}))
    assert found is not None
    assert (found.passed, found.reason) == (False, "the budget ended before its gate was through")
    assert notes == ["budget.calls: 3 calls allowed, no room for another call."]


def test_a_budget_that_ends_at_the_judge_ends_no_round(place: Place) -> None:
    from filter_cases import passed_gate

    def script(request: Request) -> Reply:
        return good(request) if request.role == "generator" else '{"relevance":5,"correctness":5,"adherence":5}'

    llm = ScriptedLlm(script, calls=20)
    now = reap(place.bench(llm, spec(filters={}), gate=passed_gate()))
    assert Counter(v.decision for v in now.sieved.verdicts if v.filter == "judge") == {"keep": 8, "abstain": 40}
    assert len(now.sieved.accepted) == 48


def test_verdicts_of_a_judge_held_to_other_human_labels_are_others(place: Place) -> None:
    from filter_cases import passed_gate

    def script(request: Request) -> Reply:
        return good(request) if request.role == "generator" else '{"relevance":5,"correctness":5,"adherence":5}'

    def verdicts(labels: str) -> str:
        return reap(place.bench(ScriptedLlm(script), spec(filters={}), gate=passed_gate(labels=labels))).verdicts

    assert verdicts("one") == verdicts("one")
    assert len({verdicts("one"), verdicts("two"), verdicts("")}) == 3
