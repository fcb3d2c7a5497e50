import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from factories import LABELS, make_eval, make_spec
from fakes import Fails, HashEmbedder, ScriptedLlm, nobody
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import LeakageError
from harness.filters.leakage import overlaps
from harness.generate.feedback import FIRST, NOTHING, STATIC, first_plan, next_plan, planned
from harness.generate.produce import draws
from harness.generate.rates import Rate, confused_pairs, reweigh, shrunk_rates
from harness.llm.client import Request
from harness.records import DevReport, Estimate, EvalReport, Example, Origin, Plan, Role, SliceScore
from harness.spec import Spec

HINT = "They ask for things of the first kind."


def report(
    confusion: dict[str, dict[str, int]] | None = None, slices: dict[str, tuple[int, int]] | None = None
) -> DevReport:
    """A dev report with these confusions; `slices` are (right, n) by name."""
    table = confusion or {label: {label: 100} for label in LABELS}
    counts = {f"label={gold}": (row.get(gold, 0), sum(row.values())) for gold, row in table.items()}
    scores = tuple(
        SliceScore(name, n, n, 0, 0, right / n if n else None, None, None)
        for name, (right, n) in (counts | (slices or {})).items()
    )
    right, n = sum(r for r, _ in counts.values()), sum(m for _, m in counts.values())
    accuracy = Estimate(right / n, None, None, n, "made up")
    return DevReport(replace(make_eval("mixed", Role.DEV, 0.5), n=n, accuracy=accuracy, slices=scores, confusion=table))


WEAK = {
    "ALPHA": {"ALPHA": 40, "BETA": 50, "GAMMA": 10},
    "BETA": {"ALPHA": 4, "BETA": 95, "": 1},
    "GAMMA": {"GAMMA": 90, "ALPHA": 5, "": 5},
}


def spec(**changes: Any) -> Spec:
    return make_spec(generate={"accepted_per_round": 400, "over_generation": 1, "samples_per_call": 4}, **changes)


def steered(
    of: EvalReport,
    critic: ScriptedLlm,
    overlap: str = "",
    policies: Sequence[str] = ("quotas", "contrast", "critic"),
    **changes: Any,
) -> Plan:
    changes["feedback"] = {"policies": list(policies), **changes.get("feedback", {})}
    return asyncio.run(next_plan(DevReport(of), spec(**changes), 2, ["plan-1"], critic, lambda _: overlap))


def hints(request: Request) -> str:
    return " ask for things of the first kind."


def per_label(plan: Plan) -> Counter[str]:
    counts: Counter[str] = Counter()
    for quota in plan.quotas:
        counts[quota.cell.label] += quota.candidates
    return counts


@pytest.mark.parametrize("role", [Role.TEST, Role.ANCHOR, Role.SEEDS, Role.POOL])
def test_only_a_report_on_dev_may_steer(role: Role) -> None:
    with pytest.raises(LeakageError, match=f"feedback was handed a report on '{role}'; only dev may steer"):
        steered(replace(report(WEAK), role=role), ScriptedLlm(nobody))
    with pytest.raises(LeakageError):
        steered(replace(report(WEAK), role=role), ScriptedLlm(nobody), policies=())


def test_the_first_plan_follows_the_weights_of_the_spec() -> None:
    plan = first_plan(spec(), ["split-1"])
    assert (plan.round, plan.candidates, plan.guidance, plan.parents) == (1, 400, (), ("split-1",))
    assert per_label(plan) == {"ALPHA": 136, "BETA": 132, "GAMMA": 132}
    weighed = make_spec(matrix={"label_weights": {"BETA": 2}}, generate={"accepted_per_round": 160})
    assert per_label(first_plan(weighed, [])) == {"ALPHA": 120, "BETA": 240, "GAMMA": 120}


@pytest.mark.parametrize(
    ("cap", "first"), [(None, 720), (2000, 720), (720, 720), (719, 712), (300, 296), (240, 240), (5, 0)]
)
def test_the_first_wave_keeps_within_the_cap_in_whole_calls(cap: int | None, first: int) -> None:
    assert planned(make_spec(generate={"max_candidates": cap})) == first


def test_shrunk_rates_by_hand() -> None:
    given = report(WEAK, {"length=short (≤ 8 words)": (1, 5), "length=… 3 more values": (0, 9), "length=long": (0, 0)})
    # p̄ = 1 − 225/300 = .25
    rates = shrunk_rates(given, "label", 10)
    assert {name: (rate.errors, rate.n) for name, rate in rates.items()} == {
        "ALPHA": (60, 100),
        "BETA": (5, 100),
        "GAMMA": (10, 100),
    }
    assert rates["ALPHA"].shrunk == pytest.approx((60 + 2.5) / 110)
    assert rates["BETA"].shrunk == pytest.approx((5 + 2.5) / 110)
    lengths = shrunk_rates(given, "length", 10)
    assert list(lengths) == ["short (≤ 8 words)"]
    assert lengths["short (≤ 8 words)"].shrunk == pytest.approx((4 + 2.5) / 15)
    assert shrunk_rates(given, "lab", 10) == {}


@given(
    weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=8),
    errors=st.lists(st.integers(0, 50), min_size=8, max_size=8),
    exploration=st.floats(0, 1),
)
def test_every_value_keeps_its_share_of_exploration(
    weights: list[float], errors: list[int], exploration: float
) -> None:
    static = {str(i): weight for i, weight in enumerate(weights)}
    rates = {name: Rate(count, 50, count / 50) for name, count in zip(static, errors, strict=False)}
    rates.pop("1")
    mixed = reweigh(static, rates, exploration)
    mass = sum(weights)
    assert sum(mixed.values()) == pytest.approx(1)
    assert all(mixed[name] >= exploration * weight / mass - 1e-9 for name, weight in static.items())


def test_a_report_without_errors_leaves_the_static_plan() -> None:
    assert reweigh({"a": 3, "b": 1}, {"a": Rate(0, 9, 0.0), "b": Rate(0, 9, 0.0)}, 0.0) == {"a": 0.75, "b": 0.25}
    plan = steered(report(), ScriptedLlm(nobody), feedback={"exploration": 0})
    assert per_label(plan) == per_label(first_plan(spec(), []))
    assert plan.changes == (NOTHING,)


def test_quotas_move_to_the_weak_label_and_the_words_say_why() -> None:
    plan = steered(report(WEAK), ScriptedLlm(nobody), policies=("quotas",))
    counts = per_label(plan)
    # .3 of a third, and .7 in proportion to 62.5 : 7.5 : 12.5
    assert counts["ALPHA"] == pytest.approx(400 * (0.1 + 0.7 * 62.5 / 82.5), abs=4)
    assert counts["BETA"] == pytest.approx(400 * (0.1 + 0.7 * 7.5 / 82.5), abs=4)
    assert plan.changes == (
        "ALPHA: more (33% → 63% of the quota), because 60 of 100 dev items of it fail (57% after shrinkage).",
        "GAMMA: less (33% → 21% of the quota), because 10 of 100 dev items of it fail (11% after shrinkage).",
        "BETA: less (33% → 16% of the quota), because 5 of 100 dev items of it fail (7% after shrinkage).",
    )
    assert (plan.round, plan.parents, plan.guidance) == (2, ("plan-1",), ())
    assert plan == steered(report(WEAK), ScriptedLlm(nobody), policies=("quotas",))


def test_dimensions_that_are_slices_of_the_real_data_are_steered_too() -> None:
    slices = {"length=short (≤ 8 words)": (50, 100), "length=medium (9–11 words)": (90, 100)}
    slices |= {"length=long (≥ 12 words)": (90, 100), "style=shouting": (0, 100)}
    plan = steered(report(None, slices), ScriptedLlm(nobody), policies=("quotas",))
    lengths, styles = Counter[str](), Counter[str]()
    for quota in plan.quotas:
        lengths[quota.cell.values["length"]] += quota.candidates
        styles[quota.cell.values["style"]] += quota.candidates
    assert lengths["short"] > 1.5 * lengths["medium"]
    assert max(styles.values()) - min(styles.values()) <= 12
    assert plan.changes == ("length: more of 'short' (33% → 60%), where 50 of 100 dev items fail.",)


def test_a_pair_needs_five_confusions_and_no_answer_is_no_label() -> None:
    assert confused_pairs(report(WEAK), 9) == [("ALPHA", "BETA", 50), ("ALPHA", "GAMMA", 10), ("GAMMA", "ALPHA", 5)]
    assert confused_pairs(report(WEAK), 1) == [("ALPHA", "BETA", 50)]
    tie = {"ALPHA": {"BETA": 5, "GAMMA": 5}, "BETA": {"ALPHA": 5}, "GAMMA": {"ALPHA": 4}}
    assert [pair[:2] for pair in confused_pairs(report(tie), 9)] == [
        ("ALPHA", "BETA"),
        ("ALPHA", "GAMMA"),
        ("BETA", "ALPHA"),
    ]


def test_confused_pairs_become_contrasts_and_hints() -> None:
    llm = ScriptedLlm(hints)
    plan = steered(report(WEAK), llm, feedback={"contrast_pairs": 2})
    assert [(item.label, item.kind, item.other, item.text) for item in plan.guidance] == [
        ("ALPHA", "contrast", "BETA", ""),
        ("ALPHA", "contrast", "GAMMA", ""),
        ("ALPHA", "hint", "BETA", HINT),
        ("ALPHA", "hint", "GAMMA", HINT),
    ]
    assert plan.guidance[0].reason == "50 dev items of ALPHA were taken for BETA"
    assert (
        "ALPHA: half of its prompts now show BETA beside it, because 50 dev items of ALPHA were taken for BETA."
        in plan.changes
    )
    assert f"ALPHA: the critic's hint goes into its prompts: {HINT!r}." in plan.changes
    assert [request.role for request in llm.requests] == ["critic"] * 2
    assert llm.requests[0].prompt == (
        "Test items things of the first kind are often mistaken for test items things of the second kind.\n"
        "What sets the first kind apart, in one sentence: They"
    )
    chat = ScriptedLlm(hints)
    steered(report(WEAK), chat, llm={"critic": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}})
    assert chat.requests[0].prompt == (("user", llm.requests[0].prompt),)


def test_a_hint_that_resembles_held_out_text_is_not_used_and_not_shown() -> None:
    plan = steered(report(WEAK), ScriptedLlm(hints), "shares 6 words with dev item real-17", feedback={})
    assert {item.kind for item in plan.guidance} == {"contrast"}
    refused = [words for words in plan.changes if "critic" in words]
    assert refused[0] == ("ALPHA: the critic's hint against BETA was not used (shares 6 words with dev item real-17).")
    assert not any(HINT in words for words in plan.changes)


@pytest.mark.parametrize(
    ("wrote", "fault"),
    [
        ("", "no answer"),
        (Fails(), "no answer"),
        (" are " + "very " * 30 + "long.", "longer than 30 words"),
        (" never come to an", "not a whole sentence"),
    ],
)
def test_why_a_hint_is_not_used(wrote: str | Fails, fault: str) -> None:
    plan = steered(report(WEAK), ScriptedLlm(lambda request: wrote), feedback={"contrast_pairs": 1})
    assert plan.changes[-1] == f"ALPHA: the critic's hint against BETA was not used ({fault})."


@pytest.mark.parametrize(
    "wrote",
    [
        " ask for things of the first kind.",
        "They ask for things of the first kind.",
        " ask for things\nof the first kind. They never ask for others. And",
    ],
)
def test_the_first_sentence_of_the_critic_counts(wrote: str) -> None:
    plan = steered(report(WEAK), ScriptedLlm(lambda request: wrote), feedback={"contrast_pairs": 1})
    assert plan.guidance[-1].text == HINT


def test_a_hint_is_cut_at_the_end_of_a_sentence_and_not_of_an_abbreviation() -> None:
    wrote = " name a thing, e.g. a bird \ud83d. Others do not."
    plan = steered(report(WEAK), ScriptedLlm(lambda request: wrote), feedback={"contrast_pairs": 1})
    assert plan.guidance[-1].text == "They name a thing, e.g. a bird \ufffd."


def test_a_budget_that_ends_before_the_critic_ends_no_run() -> None:
    plan = steered(report(WEAK), ScriptedLlm(hints, calls=1))
    assert {item.kind for item in plan.guidance} == {"contrast"}
    assert plan.changes[-1] == "The critic was not asked for hints: the budget ended."


def test_switched_off_feedback_is_the_static_plan() -> None:
    plan = steered(report(WEAK), ScriptedLlm(nobody), policies=())
    assert per_label(plan) == per_label(first_plan(spec(), []))
    assert (plan.guidance, plan.changes, plan.policies) == ((), (STATIC,), ())
    assert first_plan(spec(), []).changes == (FIRST,)


CANARY = "zyzzogeton quixotically vexes jumbled fjords"


class Guarded:
    """Held-out items with a canary in each."""

    def pairs(self) -> list[tuple[Role, str, str]]:
        return [(role, f"real-{role}", f"Why {CANARY} of {role} ?") for role in (Role.DEV, Role.ANCHOR, Role.TEST)]


def test_no_held_out_text_is_in_any_request_even_if_the_critic_knows_it() -> None:
    guard, embedder = Guarded(), HashEmbedder()
    held = embedder([text for _, _, text in guard.pairs()])

    def overlap(text: str) -> str:
        return overlaps(text, guard, 6, embedder([text])[0], held, 0.95)  # type: ignore[arg-type]

    replies = iter([f" ask why {CANARY} of dev.", f" say: Why {CANARY} of test?. Yes.", " are harmless."])
    critic = ScriptedLlm(lambda request: next(replies))
    of = spec(feedback={"policies": ["quotas", "contrast", "critic"]})
    plan = asyncio.run(next_plan(report(WEAK), of, 2, [], critic, overlap))
    assert [item.text for item in plan.guidance if item.kind == "hint"] == ["They are harmless."]
    seeds = [Example(f"real-{label}", f"seed of {label} ?", label, {}, Origin.REAL) for label in LABELS]
    prompts = [str(draw.request.prompt) for draw in draws(plan.quotas, plan, seeds, spec(), wave=0)]
    everything = "\n".join([critic.bodies, *prompts, *plan.changes, str(plan.guidance)])
    assert "They are harmless." in everything
    assert not any(word in everything for word in CANARY.split())
