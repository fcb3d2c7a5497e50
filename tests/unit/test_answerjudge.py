"""The judge of students' answers: who is shown what, what the gate lets through, what is kept, and how it is said."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from answer_cases import row, spec
from factories import make_run_report
from fakes import Fails, Reply, ScriptedLlm, nobody

from eval.answers import same
from harness import answerjudge
from harness.answerjudge import GOLD, Labels, judge_answers, labelled_part
from harness.bench import Bench
from harness.judgewords import gate_words, judge_lines, judge_verdict
from harness.llm.client import Request
from harness.progress import Silent, Watch
from harness.records import Example, Prediction, Role, Status
from harness.report import render, summary_lines
from harness.reports import JudgedAnswers
from harness.store import Artefact, Store, digest
from harness.tracked import parent_metrics

DEV = [row(n, f"question number {n}, please?", f"answer {n}", f"passage {n // 3}", real=True) for n in range(240)]
GOLDEN = {one.text: one.answer for one in DEV}
ADAPTERS = {arm: Artefact(f"adapter-{arm}", Path("nowhere"), built=False) for arm in ("seeds", "mixed")}


class Students:
    """`mixed` is right in two of three cases, `seeds` in one; every twentieth answer is of no usable form."""

    def predict(self, adapter: Artefact, examples: Sequence[Example]) -> list[Prediction]:
        wrong = (1,) if adapter.id == "adapter-mixed" else (1, 2)
        return [self._one(one, n, wrong) for n, one in enumerate(examples)]

    def untrained(self, examples: Sequence[Example]) -> list[Prediction]:
        return [self._one(one, n, (0, 1, 2)) for n, one in enumerate(examples)]

    @staticmethod
    def _one(one: Example, place: int, wrong: tuple[int, ...]) -> Prediction:
        if place % 20 == 19:
            return Prediction(one.id, Status.UNPARSABLE, None, None, "")
        said = f"wrong {place}" if place % 3 in wrong else one.answer
        return Prediction(one.id, Status.OK, one.label, None, said)


def of(**judge: Any) -> Any:
    return spec(evaluate={"judge": {"enabled": True, "labelled": 100, **judge}})


def marks(value: int) -> str:
    return json.dumps(dict.fromkeys(("relevance", "correctness", "adherence"), value))


def shown(request: Request) -> tuple[str, str]:
    """(question, answer) of a request."""
    found = re.search(
        "Passage: <item>(.*)</item>\nQuestion: <item>(.*)</item>\nAnswer: <item>(.*)</item>", request.prompt[-1][1]
    )
    assert found is not None, request.prompt
    return found[2], found[3]


def chance(request: Request) -> float:
    """Between 0 and 1, the same when asked again."""
    return int(digest(shown(request))[:6], 16) / 16**6


def good(request: Request) -> Reply:
    """Says the truth in 96 of 100 cases."""
    question, answer = shown(request)
    return marks(5 if same(GOLDEN[question], answer) != (chance(request) < 0.04) else 1)


def coin(request: Request) -> Reply:
    return marks(5 if chance(request) < 0.5 else 1)


def bench(folder: Path, judge: Any, of_spec: Any = None, calls: int | None = None) -> Bench:
    llm = ScriptedLlm(judge, calls)
    data: Any = SimpleNamespace(artefact=SimpleNamespace(id="split-1"), examples={Role.DEV: DEV})
    parts: list[Any] = [of_spec or of(), Store(folder), data, None, Students(), None, None, llm, Watch(Silent())]
    return Bench(*parts)


def asked(on: Bench, labels: dict[str, Labels] | None = None) -> tuple[JudgedAnswers, ...]:
    return asyncio.run(judge_answers(on, Role.DEV, DEV, ADAPTERS, labels=labels))


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    on = bench(tmp_path, nobody, spec())
    assert asked(on) == ()
    assert on.watch.notes == []


def test_a_good_judge_passes_and_its_score_is_that_of_the_gold_answers(tmp_path: Path) -> None:
    seeds, mixed = asked(bench(tmp_path, good))
    assert (seeds.arm, mixed.arm, mixed.role, mixed.gold) == ("seeds", "mixed", Role.DEV, GOLD)
    assert mixed.gate.passed, mixed.gate.reason
    assert (mixed.items, mixed.asked, mixed.graded, mixed.labelled) == (240, 228, 228, 100)
    # Unusable answers say nothing of the judge.
    assert 90 <= mixed.gate.n < 100
    for one, truth in ((mixed, 0.63), (seeds, 0.32)):
        assert one.known is not None
        assert one.known.value == pytest.approx(truth, abs=0.01)
        assert one.labels_alone is not None
        assert one.score.method == "prediction-powered"
        ends = [one.score.low, one.score.high, one.labels_alone.low, one.labels_alone.high]
        low, high, alone_low, alone_high = (end or 0.0 for end in ends)
        assert low < one.known.value < high
        assert high - low < 0.8 * (alone_high - alone_low)


def test_a_judge_that_guesses_is_refused_and_gives_no_figure(tmp_path: Path) -> None:
    for one in asked(bench(tmp_path, coin)):
        assert not one.gate.passed
        assert (one.score.value, one.accepted, one.labels_alone, one.weight, one.known) == (None,) * 5
        assert one.gate.phi == pytest.approx(0.5, abs=0.2)
        assert judge_verdict(one).startswith("refused by its gate: lower bound of κ is")
        assert "%" not in judge_verdict(one)


def test_too_many_answers_without_a_grade_are_refused(tmp_path: Path) -> None:
    drawn = set(labelled_part(DEV, 100, 7))
    texts = {one.text for one in DEV if one.id not in drawn}
    silent = bench(tmp_path, lambda request: Fails() if shown(request)[0] in texts else good(request))
    for one in asked(silent):
        assert one.gate.kappa.value is not None
        assert one.gate.reason == f"graded only {one.graded} of 228 answers"
        assert one.score.value is None


def test_a_few_missing_grades_are_left_out_and_counted(tmp_path: Path) -> None:
    found = asked(bench(tmp_path, lambda request: Fails() if chance(request) > 0.96 else good(request)))
    for one in found:
        assert 205 < one.graded < one.asked == 228
        assert one.score.n == one.graded + 12


def test_where_the_budget_ends_there_is_no_score(tmp_path: Path) -> None:
    found = asked(bench(tmp_path, good, calls=150))
    assert found[0].graded == 150
    # Right answers are the same in both arms, and paid for.
    assert 0 < found[1].graded < 150
    assert all(one.score.value is None for one in found)


def test_a_reviewers_labels_take_the_place_of_gold_answers(tmp_path: Path) -> None:
    reviewed = labelled_part(DEV, 60, 1)
    said = {one.example: one for one in Students().predict(ADAPTERS["mixed"], DEV)}
    lenient = {ident: said[ident].status is Status.OK and chance_of(ident) < 0.8 for ident in reviewed}
    answers = asyncio.run(
        judge_answers(
            bench(tmp_path, good, of(arms=["mixed"])), Role.DEV, DEV, ADAPTERS, labels={"mixed": lenient}, gold="A. R."
        )
    )
    (one,) = answers
    assert (one.gold, one.labelled, one.known) == ("A. R.", 60, None)
    # The judge goes by the gold answers, the reviewer does not: they do not agree.
    assert not one.gate.passed


def chance_of(ident: str) -> float:
    return int(digest(ident)[:6], 16) / 16**6


def test_grades_are_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    first = bench(tmp_path, good)
    found = asked(first)
    again = bench(tmp_path, nobody)
    assert asked(again) == found
    assert again.watch.notes == first.watch.notes


def test_grades_of_a_judge_that_is_asked_otherwise_are_others(tmp_path: Path) -> None:
    asked(bench(tmp_path, good))
    rule = {"judge": {"judges": 2, "combine": "majority"}}
    changed = spec(evaluate={"judge": {"enabled": True, "labelled": 100}}, filters=rule)
    on = bench(tmp_path, good, changed)
    found = asked(on)
    llm: Any = on.llm
    assert {request.sample for request in llm.requests} == {0, 1, 2, 3}
    assert all("majority of 2 askings" in one.gate.asked and one.gate.truth == GOLD for one in found)


def test_the_warning_says_what_was_shown_and_to_whom(tmp_path: Path) -> None:
    on = bench(tmp_path, good)
    asked(on)
    (note,) = on.watch.notes
    assert note.startswith("evaluate.judge is on: 240 dev items were shown to the judge (SmolLM2-135M-Instruct, which")
    assert "answers of seeds, mixed" in note


def test_the_judge_sees_the_answers_and_not_the_gold_ones(tmp_path: Path) -> None:
    on = bench(tmp_path, good)
    asked(on)
    llm: Any = on.llm
    assert {request.role for request in llm.requests} == {"judge"}
    sent = {shown(request) for request in llm.requests}
    wrong = {one.text for n, one in enumerate(DEV) if n % 3 == 1 and n % 20 != 19}
    assert wrong
    for text in wrong:
        assert (text, GOLDEN[text]) not in sent
    empty = {one.text for n, one in enumerate(DEV) if n % 20 == 19}
    assert not empty & {text for text, _ in sent}


def test_labelled_items_are_drawn_by_chance_and_seed() -> None:
    drawn = labelled_part(DEV, 100, 7)
    assert len(set(drawn)) == 100
    assert drawn == labelled_part(list(reversed(DEV)), 100, 7)
    assert set(drawn) != {one.id for one in DEV[:100]}
    assert drawn != labelled_part(DEV, 100, 8)


def test_an_arm_without_a_model_is_left_out_and_base_needs_none(tmp_path: Path) -> None:
    on = bench(tmp_path, good, of(arms=["base", "mixed", "real"]))
    assert [one.arm for one in asked(on)] == ["base", "mixed"]


def test_page_and_terminal_never_show_a_score_without_its_gate(tmp_path: Path) -> None:
    seeds, _ = asked(bench(tmp_path / "good", good))
    _, mixed = asked(bench(tmp_path / "coin", coin))
    report = make_run_report(judged=(seeds, mixed))
    passed, refused = judge_lines(report)
    assert passed.startswith("Judge on dev, seeds: 3")
    assert passed.endswith(f"({gate_words(seeds.gate)})")
    assert refused.startswith("Judge on dev, mixed: refused by its gate")
    assert all(line in summary_lines(report) for line in (passed, refused))
    page = render(report, {})
    for words in ("What the judge says of the answers", "refused: κ", "passed: κ", GOLD):
        assert words in page
    assert "What the judge says of the answers" not in render(make_run_report(), {})


def test_tracked_is_the_agreement_and_only_a_score_that_passed(tmp_path: Path) -> None:
    seeds, _ = asked(bench(tmp_path / "good", good))
    _, mixed = asked(bench(tmp_path / "coin", coin))
    values = {name: value for name, value, _ in parent_metrics(make_run_report(judged=(seeds, mixed)))}
    assert values["final/judge/dev/seeds"] == seeds.score.value
    assert values["final/judge/dev/mixed/kappa"] == mixed.gate.kappa.value
    assert "final/judge/dev/mixed" not in values


def test_a_score_that_cannot_be_had_says_why() -> None:
    (one,) = [answerjudge.judged("mixed", Role.DEV, ["a"], answerjudge.Ratings({}, {}), {"a": True}, of())]
    assert one.score.value is None
    assert judge_verdict(replace(one, gate=replace(one.gate, passed=True))).startswith("no score, insufficient")
