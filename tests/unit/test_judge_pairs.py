"""The judge that compares: with whom, in both orders, what an inconsistent pair counts, and what its gate finds."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from answer_cases import row
from answer_cases import spec as answer_spec
from factories import LABELS, make_round, make_run_report, make_spec
from fakes import Fails, Reply, ScriptedLlm, nobody
from filter_cases import candidates, context, passed_gate, said, seed, verdicts

from harness.filters.gate import gate_calls, open_gate
from harness.filters.judge import JudgeFilter, calls_per_item, grade
from harness.filters.pairs import rivals
from harness.filters.rubric import Item, rubric_words
from harness.judgewords import gate_facts
from harness.llm.client import Request
from harness.report import render
from harness.reports import GateReport
from harness.spec import Spec
from harness.store import digest

ABOUT = {about: label for label, about in LABELS.items()}
SEEDS = [seed(i, f"{label} is what item number {i} names", label) for i in range(34) for label in LABELS]


def spec(**judge: Any) -> Spec:
    return make_spec(filters={"judge": {"pairwise": 3, "min_score": 0.5} | judge})


def shown(request: Request) -> tuple[str, str, str]:
    """(label, first text, second text) of a comparison."""
    found = re.fullmatch(
        "Description: a test item (.*)\nFirst:\n<item>(.*)</item>\nSecond:\n<item>(.*)</item>", request.prompt[-1][1]
    )
    assert found is not None, request.prompt
    return ABOUT[found[1]], found[2], found[3]


def better(word: str, **more: object) -> str:
    return json.dumps({**more, "better": word})


def oracle(request: Request) -> str:
    label, first, second = shown(request)
    whole = [text.startswith(f"{label} is what item number") for text in (first, second)]
    return better("same" if whole[0] == whole[1] else "first" if whole[0] else "second")


def gate(script: Callable[[Request], Reply], of: Spec | None = None) -> GateReport:
    return asyncio.run(open_gate(SEEDS, ScriptedLlm(script), of or spec()))


def test_an_item_is_compared_with_other_seeds_of_its_label_the_same_each_time() -> None:
    of = spec()
    item = Item(SEEDS[0].text, "ALPHA", id=SEEDS[0].id)
    found = rivals(item, SEEDS, of)
    assert len({one.text for one in found}) == 3
    assert all(one.label == "ALPHA" and one.id != item.id for one in found)
    assert rivals(item, list(reversed(SEEDS)), of) == found
    assert len(rivals(item, SEEDS, spec(pairwise=34))) == 33
    others = [rivals(Item(f"another {n}", "ALPHA"), SEEDS, of) for n in range(20)]
    assert len({one.id for each in others for one in each}) > 20


def test_each_pair_is_shown_in_both_orders() -> None:
    llm = ScriptedLlm(oracle)
    asyncio.run(grade([Item("mine", "BETA")], llm, spec(pairwise=2), seeds=SEEDS))
    pairs = [shown(request)[1:] for request in llm.requests]
    assert len(pairs) == len(set(pairs)) == calls_per_item(spec(pairwise=2)) == 4
    assert {first == "mine" for first, _ in pairs} == {True, False}
    assert {frozenset(pair) for pair in pairs} == {frozenset(pair) for pair in pairs[::2]}
    assert llm.requests[0].json_schema is not None
    assert llm.requests[0].json_schema["properties"] == {
        "better": {"type": "string", "enum": ["first", "second", "same"]}
    }


def answers(*words: str) -> Callable[[Request], str]:
    """These answers, one a call."""
    left = iter(words)
    return lambda request: better(next(left))


@pytest.mark.parametrize(
    ("words", "score", "flips", "told"),
    [
        (("first", "second"), 1.0, 0, "won 1, tied 0, lost 0"),
        (("second", "first"), 0.0, 0, "won 0, tied 0, lost 1"),
        (("same", "same"), 1.0, 0, "won 0, tied 1, lost 0"),
        # Always the first one, always the second one, undecided in one order: the order decides, so it is a tie.
        (("first", "first"), 1.0, 1, "won 0, tied 1, lost 0"),
        (("second", "second"), 1.0, 1, "won 0, tied 1, lost 0"),
        (("same", "first"), 1.0, 1, "won 0, tied 1, lost 0"),
        (("second", "first", "first", "second"), 0.5, 0, "won 1, tied 0, lost 1"),
        (("second", "first", "first", "first"), 0.5, 1, "won 0, tied 1, lost 1"),
    ],
)
def test_the_score_is_the_share_of_pairs_won_or_tied(
    words: tuple[str, ...], score: float, flips: int, told: str
) -> None:
    llm = ScriptedLlm(answers(*words))
    (found,) = asyncio.run(grade([Item("mine", "ALPHA")], llm, spec(pairwise=len(words) // 2), seeds=SEEDS))
    assert (found.score, found.pairs, found.flips) == (score, len(words) // 2, flips)
    assert found.said == f"{told} against real seeds"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("The first one, clearly.", "answer is not the JSON that was asked for"),
        ('{"better": "third"}', "answer is not the JSON that was asked for"),
        ('{"better": 1}', "answer is not the JSON that was asked for"),
        ('{"better": ["first"]}', "answer is not the JSON that was asked for"),
        (Fails(), "call failed: HTTP 500 after 6 attempts"),
    ],
)
def test_one_answer_that_cannot_be_used_leaves_the_item_without_a_grade(reply: Reply, reason: str) -> None:
    llm = ScriptedLlm(lambda request: reply if shown(request)[1] == "mine" else better("same"))
    (found,) = asyncio.run(grade([Item("mine", "ALPHA")], llm, spec(), seeds=SEEDS))
    assert (found.score, found.reason) == (None, reason)


def test_without_another_seed_of_the_label_there_is_no_grade() -> None:
    (found,) = asyncio.run(grade([Item("mine", "ALPHA")], ScriptedLlm(nobody), spec(), seeds=[seed(1, "b", "BETA")]))
    assert (found.score, found.reason) == (None, "no other real seed of its label to compare it with")


def test_an_oracle_passes_the_gate_and_every_call_was_counted() -> None:
    llm = ScriptedLlm(oracle)
    calls: list[int] = []
    found = asyncio.run(open_gate(SEEDS, llm, spec(), calls.append))
    assert found.passed, found.reason
    assert (found.phi, found.psi, found.flips, found.pairs) == (1.0, 0.0, 0.0, 300)
    assert len(llm.requests) == sum(calls) == gate_calls(len(SEEDS), spec()) == 130 * 6


def test_a_judge_that_goes_by_position_is_refused_and_its_bias_stands_there() -> None:
    found = gate(lambda request: better("first"))
    assert (found.passed, found.flips, found.phi, found.psi) == (False, 1.0, 1.0, 1.0)
    assert found.reason.startswith("lower bound of κ is none")
    half = gate(lambda request: better("first") if len(shown(request)[1]) % 2 else oracle(request))
    assert half.flips is not None
    assert 0 < half.flips < 1


def test_a_coin_is_refused() -> None:
    found = gate(lambda request: better(("first", "second")[int(digest(str(request))[:4], 16) % 2]))
    assert not found.passed
    assert found.flips == pytest.approx(0.5, abs=0.1)


def test_a_judge_that_prefers_broken_text_in_one_order_only_does_not_pass() -> None:
    """It must pick the whole seed in both orders: picking it in one is a tie, and a tie does not reject."""
    found = gate(lambda request: oracle(request) if shown(request)[1].split()[-1] == "names" else better("first"))
    assert not found.passed


def test_candidates_that_lose_are_dropped_with_the_count_as_evidence() -> None:
    def script(request: Request) -> str:
        _, first, second = shown(request)
        if "bad" not in (first, second):
            return better("same", reason="Alike.")
        return better("second" if first == "bad" else "first", reason="Bad.")

    of = spec(reasons=True, pairwise=2)
    rows = candidates("bad", "good")
    found = verdicts(JudgeFilter(), context(rows, llm=ScriptedLlm(script), gate=passed_gate(), seeds=SEEDS, spec=of))
    assert said(found) == ["drop: graded too low", "keep"]
    assert [one.score for one in found] == [0.0, 1.0]
    assert found[0].evidence == "won 0, tied 0, lost 2 against real seeds; Bad.; Bad.; Bad.; Bad."


def test_several_askings_of_comparisons_are_combined() -> None:
    llm = ScriptedLlm(lambda request: oracle(request) if request.sample < 2 else better("same"))
    (found,) = asyncio.run(grade([Item("mine", "ALPHA")], llm, spec(judges=3, pairwise=1), seeds=SEEDS))
    assert len(llm.requests) == calls_per_item(spec(judges=3, pairwise=1)) == 6
    assert found.score == pytest.approx(1 / 3)
    assert found.pairs == 3


def test_answers_are_compared_with_their_passages() -> None:
    of = answer_spec(filters={"judge": {"pairwise": 1, "min_score": 0.5}})
    seeds = [row(n, f"What does {n} say ?", f"said {n}", real=True) for n in range(3)]
    llm = ScriptedLlm(lambda request: better("same"))
    asyncio.run(grade([Item("Who wrote it ?", "answerable", "Austen", "Emma is by Austen.")], llm, of, seeds=seeds))
    system, user = llm.requests[0].prompt[0][1], llm.requests[0].prompt[1][1]
    assert "Compare two questions, each with its answer" in system
    assert user.startswith(
        "First:\nPassage: <item>Emma is by Austen.</item>\nQuestion: <item>Who wrote it ?</item>\nAns"
    )
    assert "Second:\nPassage: <item>Emma is a novel" in user


def test_the_report_tells_how_it_was_asked_and_how_much_the_order_mattered() -> None:
    found = gate(lambda request: better("first"))
    assert rubric_words(spec().filters.judge) == (
        "compared in both orders with 3 real seeds of its label, by relevance, correctness, adherence; "
        "won or tied: at least 0.5"
    )
    assert gate_facts(found) == [
        f"Asked: {found.asked}.",
        "Held to seeds, half of them with planted errors, n = 100.",
        "Position bias: 100 % of 300 comparisons came out otherwise when the two texts changed places; those count as "
        "ties.",
    ]
    page = render(make_run_report(rounds=(make_round(1, gate=found),), best_round=1), {})
    for words in ("Position bias: 100", "compared in both orders with", "lower bound of κ is none"):
        assert words in page.replace(" ", " ")
