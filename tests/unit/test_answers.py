"""The filters, prompts and cleaning of a task that answers in text."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from answer_cases import EMMA, FORM, ROME, TASK, context, made, row, spec, verdicts, votes
from fakes import ScriptedLlm
from filter_cases import Held, passed_gate, said

from harness.answers import answer_fault, kind_of, schema_fault
from harness.clean import clean
from harness.errors import DataError
from harness.filters.consistency import ConsistencyFilter
from harness.filters.difficulty import DifficultyFilter
from harness.filters.duplicates import DuplicateFilter
from harness.filters.format import FormatFilter
from harness.filters.funnel import sieve
from harness.filters.gate import planted
from harness.filters.judge import JudgeFilter
from harness.filters.leakage import LeakageFilter
from harness.generate.matrix import make_cell
from harness.generate.produce import draws, generate, parse_lines
from harness.llm.client import Choice, Request
from harness.records import Guidance, Plan, Quota
from harness.tables import Table

SEEDS = [
    row(0, "Who wrote Emma ?", "Jane Austen", real=True),
    row(1, "When was Emma written ?", "unknown", real=True),
    row(2, "What was not built in a day ?", "Rome", ROME, real=True),
    row(3, "Who built Rome ?", "unknown", ROME, real=True),
]


@pytest.mark.parametrize(
    ("answer", "kind"), [("Jane Austen", "answerable"), ("Unknown.", "unknown"), ("unknown author", "answerable")]
)
def test_the_kind_of_an_answer_is_the_label_that_it_names_or_else_the_first(answer: str, kind: str) -> None:
    assert kind_of(answer, spec().task) == kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [('{"type": "HUM"}', "HUM"), ('{"type": "hum"}', None), ('{"type": 1}', None), ("HUM", None), ("{}", None)],
)
def test_the_kind_of_a_structured_answer_stands_in_its_field(answer: str, kind: str | None) -> None:
    assert kind_of(answer, spec(FORM).task) == kind


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ('{"type": "HUM"}', ""),
        ('{"type": 1}', "answer breaks the schema"),
        ("{}", "answer breaks the schema"),
        ("HUM", "answer is no JSON object"),
        (" ", "no answer"),
        ("{" + "a " * 40, "answer too long"),
    ],
)
def test_faults_of_an_answer(answer: str, fault: str) -> None:
    rule = spec(FORM).task.answer
    assert rule is not None
    assert answer_fault(answer, rule) == fault


def test_what_is_no_schema_is_told() -> None:
    assert schema_fault({"type": "object"}) == ""
    assert "'objekt'" in schema_fault({"type": "objekt"})


def table(*rows: tuple[str, str, str]) -> Table:
    named = tuple({"text": text, "answer": answer, "context": about} for text, answer, about in rows)
    return Table("items.csv", ("text", "answer", "context"), named, "line", tuple(range(2, len(rows) + 2)))


def test_rows_with_answers_get_their_kind_as_label() -> None:
    found = clean(
        table(
            ("Who wrote Emma ?", "Jane Austen", EMMA),
            ("Who wrote it ?", "Jane  austen .", EMMA),
            ("When ?", "unknown", EMMA),
            ("When ?", "UNKNOWN", ROME),
            ("Why ?", "", ROME),
        ),
        spec(),
    )
    assert [(one.text, one.label, one.answer, one.context) for one in found.items] == [
        ("Who wrote Emma ?", "answerable", "Jane Austen", EMMA),
        ("Who wrote it ?", "answerable", "Jane  austen .", EMMA),
        ("When ?", "unknown", "unknown", EMMA),
        ("When ?", "unknown", "UNKNOWN", ROME),
    ]
    assert {reason: count for reason, count in found.dropped.items() if count} == {
        "no answer, or one that names no label": 1
    }
    assert len({one.id for one in found.items}) == 4


def test_one_question_with_two_answers_is_left_out_and_the_same_question_of_another_passage_is_not() -> None:
    found = clean(
        table(
            ("Who ?", "Emma", EMMA),
            ("Who ?", "Jane", EMMA),
            ("Who ?", "unknown", ROME),
            ("What ?", "Emma", EMMA),
            ("What ?", "emma.", EMMA),
            ("Where ?", "unknown", EMMA),
            ("Why ?", "Emma", ROME),
        ),
        spec(),
    )
    assert found.dropped["two answers for one text"] == 2
    assert found.dropped["exact duplicate"] == 1
    assert len(found.items) == 4


def test_gold_answers_that_break_the_rule_are_all_told() -> None:
    rows = table(("a", '{"type": "HUM"}', ""), ("b", "HUM", ""), ("c", '{"type": 2}', ""), ("d", '{"type": "LOC"}', ""))
    with pytest.raises(DataError) as caught:
        clean(rows, spec(FORM))
    assert "answer is no JSON object (line 3)" in str(caught.value)
    assert "answer breaks the schema (line 4)" in str(caught.value)


def test_a_missing_answer_column_is_named() -> None:
    plain = Table("items.csv", ("text", "label"), ({"text": "a", "label": "b"},), "line", (2,))
    with pytest.raises(DataError, match=r"no column 'answer', which data\.columns\.answer asks for"):
        clean(plain, spec())


def test_the_largest_group_of_answers_decides() -> None:
    rows = made(*(row(i, f"question {i} ?", "Jane Austen") for i in range(5)), row(5, "question 5 ?", "unknown"))
    given = context(
        rows,
        spec(filters={"consistency": {"keep_at": 0.5, "relabel_at": 0.6}}),
        votes=votes(
            [
                ["jane austen", "Jane Austen.", "Emma"],
                ["Jane Austen", "Emma", "unknown"],
                ["unknown", "Unknown", "Jane Austen"],
                ["Emma", "a novel", "unknown"],
                ["Emma", "emma", "Emma"],
                ["unknown", "unknown", "unknown"],
            ]
        ),
    )
    found = verdicts(ConsistencyFilter(), given)
    assert said(found) == [
        "keep",
        "drop: unsure of the answer",
        "relabel: answered otherwise",
        "drop: answer not confirmed",
        "relabel: answered otherwise",
        "keep",
    ]
    assert [(one.label, one.answer) for one in found if one.answer] == [("unknown", "unknown"), ("answerable", "Emma")]
    assert [one.score for one in found] == pytest.approx([2 / 3, 1 / 3, 2 / 3, 0, 1, 1])


def test_a_relabelled_row_is_accepted_with_its_new_answer_and_kind() -> None:
    rows = made(row(1, "Who wrote Emma ?", "Emma"), row(2, "Who ?", "Jane Austen"))
    given = context(rows, votes=votes([["unknown"] * 3, ["Jane Austen"] * 3]))
    (first, second) = asyncio.run(sieve([ConsistencyFilter()], given)).accepted
    assert (first.label, first.answer, first.context) == ("unknown", "unknown", EMMA)
    assert (second.label, second.answer) == ("answerable", "Jane Austen")


def test_what_the_votes_are_worth_by_hand() -> None:
    given = context([], seeds=SEEDS, votes=votes([], ["Jane Austen", "unknown", "unknown", "unknown"]))
    worth = ConsistencyFilter().worth(given)
    assert worth is not None
    # Kept: 3 of 4 seeds with their own answer; of the 4 with the next one's answer those of seed 2 alone.
    assert (worth.phi, worth.psi, worth.n) == (0.75, 0.25, 4)


def test_difficulty_goes_by_the_probability_of_the_answer() -> None:
    rows = made(*(row(i, f"question {i} ?", "Emma") for i in range(3)))
    given = context(
        rows,
        spec(filters={"difficulty": {"low": 0.1, "high": 0.9}}),
        votes=votes([["Emma"]] * 3, likelihood=[0.05, 0.5, 0.95]),
    )
    assert said(verdicts(DifficultyFilter(), given)) == ["drop: too hard", "keep", "drop: too easy"]


def test_the_same_question_about_another_passage_is_no_duplicate() -> None:
    rows = made(
        row(1, "Who wrote Emma ?", "Jane Austen", ROME),
        row(2, "Who wrote Emma ?", "Jane Austen"),
        row(3, "What is told of ?", "Rome", ROME),
        row(4, "What is told of ?", "Emma"),
        row(5, "What is told of ?", "emma."),
        row(6, "What is told of ?", "unknown"),
    )
    found = verdicts(DuplicateFilter(), context(rows, seeds=SEEDS))
    assert said(found) == [
        "keep",
        "drop: exact duplicate",
        "keep",
        "drop: held: exact duplicates under different answers",
        "drop: exact duplicate",
        "drop: held: exact duplicates under different answers",
    ]


def test_a_copy_of_a_seed_under_another_answer_is_told() -> None:
    rows = made(row(1, "Who wrote Emma ?", "unknown"))
    assert said(verdicts(DuplicateFilter(), context(rows, seeds=SEEDS))) == [
        "drop: exact duplicate under another answer"
    ]


def test_answers_of_another_form_are_dropped() -> None:
    rows = made(row(1, "Who wrote Emma ?", "Jane Austen"), row(2, "Who wrote Emma ?", "Jane " * 31))
    assert said(verdicts(FormatFilter(), context(rows))) == ["keep", "drop: answer too long"]


def test_a_held_out_answer_or_passage_must_not_come_through() -> None:
    passage = "the quick brown fox jumps over the lazy dog near the river bank"
    held = Held({"real-9": "Which animal jumps over the dog ?"}, {"real-9": passage})
    rows = made(
        row(1, "What does it say of the fox ?", "the quick brown fox jumps over the lazy dog"),
        row(2, "the quick brown fox jumps over the lazy dog near the ?", "fox"),
        row(3, "Who jumps ?", "the fox"),
    )
    found = verdicts(LeakageFilter(), context(rows, guard=held))
    assert said(found) == ["drop: its answer copies a held-out text", "drop: copies a held-out text", "keep"]
    assert all("fox" not in one.evidence and "real-9" in one.evidence for one in found[:2])


def test_the_judge_sees_passage_question_and_answer() -> None:
    asked: list[Request] = []

    def script(request: Request) -> list[str]:
        asked.append(request)
        return ['{"relevance": 5, "correctness": 2, "adherence": 5}']

    rows = made(row(1, "Who wrote Emma ?", "Rome"))
    given = context(rows, llm=ScriptedLlm(script), gate=passed_gate())
    assert said(verdicts(JudgeFilter(), given)) == ["drop: graded too low"]
    prompt = str(asked[0].prompt)
    for part in (EMMA, "Who wrote Emma ?", "Answer: <item>Rome</item>", "the shortest words of the passage"):
        assert part in prompt


def test_gate_items_are_planted_with_another_seeds_answer() -> None:
    items = planted(SEEDS, spec(filters={"judge": {"gate_items": 10}}))
    assert [right for _, right in items] == [True, False, True, False]
    by_text = {seed.text: seed for seed in SEEDS}
    for item, right in items:
        seed = by_text.get(item.text)
        if right:
            assert seed is not None
            assert item.answer == seed.answer
        elif seed is not None:
            assert item.answer != seed.answer
            assert item.answer in {one.answer for one in SEEDS}
        assert item.context in (EMMA, ROME)


def drawn(guidance: tuple[Guidance, ...] = (), **llm: object) -> str:
    of = spec(generate={"samples_per_call": 2, "shots": 2}, llm={"generator": llm} if llm else {})
    cell = make_cell({"label": "answerable"})
    (draw,) = draws([Quota(cell, 2)], Plan(1, (), guidance, (), ()), SEEDS, of, wave=0)
    assert draw.context in (EMMA, ROME)
    prompt = draw.request.prompt
    return prompt if isinstance(prompt, str) else "\n".join(text for _, text in prompt)


def test_a_completion_prompt_shows_seeds_with_passage_and_answer_and_ends_at_a_new_question() -> None:
    prompt = drawn()
    assert prompt.startswith(
        "Questions that the passage answers, each with its answer: the shortest words of the passage that answer it."
    )
    assert f"Passage: {EMMA}\nQuestion: Who wrote Emma ?\nAnswer: Jane Austen\n" in prompt
    assert prompt.endswith("Question:")
    assert prompt.splitlines()[-2] in (f"Passage: {EMMA}", f"Passage: {ROME}")


def test_a_chat_prompt_asks_for_two_lines() -> None:
    prompt = drawn(base_url="http://127.0.0.1:9/v1", model="m")
    assert 'the first starting with "Question:", the second with "Answer:"' in prompt
    assert "Write it about this passage:" in prompt
    assert "<example>Passage: " in prompt


def test_a_contrast_is_shown_with_its_answer() -> None:
    contrast = Guidance("answerable", "contrast", "", "confused", other="unknown")
    prompts = {drawn((contrast,)), drawn((replace(contrast, label="unknown"),))}
    assert any("Answer: unknown" in prompt for prompt in prompts)


@pytest.mark.parametrize(
    ("written", "text", "answer", "reason"),
    [
        (" Who is Emma ?\nAnswer: a novel", "Who is Emma ?", "a novel", ""),
        ("Question: Who is Emma ?\n\nAnswer:  a  novel ", "Who is Emma ?", "a novel", ""),
        (" When ?\nAnswer: UNKNOWN", "When ?", "UNKNOWN", ""),
        (" Who is Emma ?", "", "", "no answer in it"),
        (" Who is Emma ?\nAnswer:", "", "", "no answer in it"),
        ("\nAnswer: Emma", "", "", "empty answer"),
    ],
)
def test_what_the_generator_writes_is_parted_into_question_and_answer(
    written: str, text: str, answer: str, reason: str
) -> None:
    of = spec(generate={"samples_per_call": 1, "shots": 2})
    cell = make_cell({"label": "answerable"})
    calls = draws([Quota(cell, 1)], Plan(1, (), (), (), ()), SEEDS, of, wave=0)
    batch = asyncio.run(generate(calls, ScriptedLlm(lambda _: [written]), of.task, round_=1, wave=0))
    if reason:
        assert [one.reason for one in batch.failures] == [reason]
        return
    (one,) = batch.candidates
    assert (one.example.text, one.example.answer, one.example.context) == (text, answer, calls[0].context)
    assert one.example.label == ("unknown" if answer == "UNKNOWN" else "answerable")


def test_a_form_that_names_no_label_is_no_candidate() -> None:
    of = spec(FORM, generate={"samples_per_call": 2, "shots": 0})
    calls = draws([Quota(make_cell({"label": "HUM"}), 2)], Plan(1, (), (), (), ()), [], of, wave=0)
    texts = [' Who ?\nForm: {"type": "HUM"}', ' Why ?\nForm: {"type": "WHY"}']
    batch = asyncio.run(generate(calls, ScriptedLlm(lambda _: texts), of.task, round_=1, wave=0))
    assert [one.example.answer for one in batch.candidates] == ['{"type": "HUM"}']
    assert [one.reason for one in batch.failures] == ["its form names no label"]


def test_lines_are_kept_and_blank_ones_are_not() -> None:
    assert parse_lines(Choice("  wrote \t it ?\n \n Answer:  x ", "stop"), "Who") == "Who wrote it ?\nAnswer: x"
    assert parse_lines(Choice(" \n ", "stop"), "Who") == ""


def test_a_classifier_needs_two_labels_and_a_task_with_answers_one() -> None:
    assert spec({**TASK, "labels": {"any": "of any kind"}}).task.answer is not None
    with pytest.raises(ValueError, match="a classifier needs two or more"):
        spec({"labels": {"any": "of any kind"}})
