import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from factories import make_spec
from fakes import Fails, ScriptedLlm, nobody
from hypothesis import given
from hypothesis import strategies as st

from harness.generate.matrix import make_cell
from harness.generate.produce import (
    Batch,
    Draw,
    draws,
    generate,
    not_asked,
    parse_text,
    pick_shots,
    prompt_views,
    read_choice,
)
from harness.llm.client import Answer, CallFailure, Choice, Request
from harness.records import Candidate, Cost, Example, Guidance, Origin, ParseFailure, Plan, Quota
from harness.spec import Spec
from harness.store import read_lines, write_lines

MATRIX = {
    "dimensions": [
        {"name": "start", "use": "opening", "values": ["any", "What"]},
        {"name": "length", "use": "shots", "values": ["any", "short", "long"]},
    ]
}
SHORT, LONG = "short (≤ 8 words)", "long (≥ 12 words)"
CHAT = {"generator": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}
SEEDS = [
    Example(f"real-{label}-{i}", f"{label} text {i} ?", label, {"length": SHORT if i < 3 else LONG}, Origin.REAL)
    for label in ("ALPHA", "BETA", "GAMMA")
    for i in range(8)
]


def spec(llm: dict[str, object] | None = None, **generate: object) -> Spec:
    return make_spec(matrix=MATRIX, generate={"samples_per_call": 4, "shots": 3, **generate}, llm=llm or {})


def quota(candidates: int, label: str = "ALPHA", start: str = "any", length: str = "any") -> Quota:
    return Quota(make_cell({"label": label, "start": start, "length": length}), candidates)


def drawn(*quotas: Quota, guidance: tuple[Guidance, ...] = (), wave: int = 0, of: Spec | None = None) -> list[Draw]:
    return draws(quotas, plan_of(guidance), SEEDS, of or spec(), wave=wave)


def plan_of(guidance: tuple[Guidance, ...] = (), **steering: Any) -> Plan:
    return Plan(1, (), guidance, (), (), **steering)


def made(wave_draws: list[Draw], llm: ScriptedLlm) -> Batch:
    return asyncio.run(generate(wave_draws, llm, spec().task, round_=1, wave=0))


def numbered(request: Request) -> list[str]:
    return [f"text {request.seed} number {index} ?" for index in range(request.n)]


def test_a_quota_is_asked_for_in_whole_calls_and_a_smaller_last_one() -> None:
    calls = drawn(quota(10), quota(4, "BETA"))
    assert [(draw.cell.label, draw.request.n) for draw in calls] == [
        ("ALPHA", 4),
        ("ALPHA", 4),
        ("ALPHA", 2),
        ("BETA", 4),
    ]
    assert len({draw.request.seed for draw in calls}) == 4


def test_a_call_depends_on_its_place_alone() -> None:
    alone, among = drawn(quota(8, "BETA")), drawn(quota(8), quota(8, "BETA"))
    assert alone == among[2:]
    assert drawn(quota(8, "BETA"), wave=1) != alone


@pytest.mark.parametrize("wanted", ["short", "long"])
def test_few_shot_seeds_come_from_the_label_and_rather_from_the_slice_asked_for(wanted: str) -> None:
    for place in range(20):
        shots = pick_shots(quota(1, length=wanted).cell, SEEDS, spec(), random.Random(place))
        assert [(shot.label, shot.slices["length"].split()[0]) for shot in shots] == [("ALPHA", wanted)] * 3


def test_where_the_slice_has_too_few_seeds_others_of_the_label_fill_up() -> None:
    shots = pick_shots(quota(1, length="short").cell, SEEDS, spec(shots=5), random.Random(0))
    assert Counter(shot.slices["length"] for shot in shots) == {SHORT: 3, LONG: 2}
    assert {shot.label for shot in shots} == {"ALPHA"}
    assert len({shot.id for shot in shots}) == 5
    assert len(pick_shots(quota(1).cell, SEEDS, spec(shots=50), random.Random(0))) == 8
    assert pick_shots(quota(1).cell, SEEDS, spec(shots=0), random.Random(0)) == []


def test_any_takes_seeds_of_every_slice() -> None:
    seen = {
        shot.slices["length"] for i in range(20) for shot in pick_shots(quota(1).cell, SEEDS, spec(), random.Random(i))
    }
    assert seen == {SHORT, LONG}


def test_weighted_slices_give_more_of_the_few_shot_seeds() -> None:
    def share(weights: dict[str, float] | None) -> float:
        picked = [pick_shots(quota(1).cell, SEEDS, spec(shots=2), random.Random(i), weights) for i in range(400)]
        assert all(len({shot.id for shot in shots}) == 2 for shots in picked)
        return sum(shot.slices["length"] == SHORT for shots in picked for shot in shots) / 800

    plain = share(None)
    assert share({f"length={SHORT}": 4.0, f"length={LONG}": 1.0}) > plain + 0.15
    assert share({f"length={SHORT}": 1.0, f"length={LONG}": 4.0}) < plain - 0.1
    # Of a slice that nobody weighed every seed counts alike.
    assert share({"style=rude": 9.0}) == pytest.approx(plain, abs=0.06)


def test_two_plans_views_differ_in_what_feedback_changed_and_in_nothing_else() -> None:
    plain = prompt_views(plan_of(), SEEDS, spec())
    assert list(plain) == ["ALPHA", "BETA", "GAMMA"]
    assert prompt_views(plan_of(), SEEDS, spec()) == plain
    hint = Guidance("BETA", "hint", "They are of the second kind.", "critic", other="ALPHA")
    steered = prompt_views(plan_of((hint,)), SEEDS, spec())
    assert {label for label in plain if plain[label] != steered[label]} == {"BETA"}
    assert steered["BETA"].replace(" They are of the second kind.", "") == plain["BETA"]
    contrast = Guidance("BETA", "contrast", "", "confused", other="ALPHA")
    assert "Not these, which are" in prompt_views(plan_of((contrast,)), SEEDS, spec())["BETA"]


def test_the_prompt_holds_the_seeds_that_the_row_names() -> None:
    texts = {seed.id: seed.text for seed in SEEDS}
    for draw in drawn(quota(12, "GAMMA")):
        assert len(draw.shots) == 3
        assert all(texts[ident] in str(draw.request.prompt) for ident in draw.shots)


def test_hints_stand_in_every_prompt_of_their_label_and_contrasts_in_about_half() -> None:
    guidance = (
        Guidance("ALPHA", "hint", "They come first.", "critic", other="BETA"),
        Guidance("ALPHA", "contrast", "", "9 were taken for BETA", other="BETA"),
        Guidance("ALPHA", "contrast", "", "7 were taken for GAMMA", other="GAMMA"),
    )
    calls = drawn(quota(400), quota(40, "BETA"), guidance=guidance)
    own = [str(draw.request.prompt) for draw in calls if draw.cell.label == "ALPHA"]
    assert all("They come first." in prompt for prompt in own)
    shown = Counter("BETA text" in prompt or 2 * ("GAMMA text" in prompt) for prompt in own)
    assert 30 < shown[0] < 70
    assert min(shown[1], shown[2]) > 10
    others = [str(draw.request.prompt) for draw in calls if draw.cell.label == "BETA"]
    assert not any("They come first." in prompt or "ALPHA text" in prompt for prompt in others)
    contrast = next(draw for draw in calls if "BETA text" in str(draw.request.prompt))
    assert sum(ident.startswith("real-BETA") for ident in contrast.shots) == 2


def test_completion_and_chat_requests() -> None:
    (completion,) = drawn(quota(4, start="What"))
    assert isinstance(completion.request.prompt, str)
    assert completion.request.prompt.endswith("\nTest item: What")
    assert (completion.opening, completion.request.stop, completion.request.min_p) == ("What", ("\n",), 0.05)
    (chat,) = drawn(quota(4, start="What"), of=spec(CHAT))
    assert [role for role, _ in chat.request.prompt] == ["system", "user"]
    assert (chat.opening, chat.request.stop, chat.request.min_p) == ("", (), None)
    (told,) = drawn(quota(4), of=spec(CHAT, sampling={"min_p": 0.2, "top_p": 0.9, "temperature": 1.5, "max_tokens": 7}))
    assert (told.request.min_p, told.request.top_p) == (0.2, 0.9)
    assert (told.request.temperature, told.request.max_tokens) == (1.5, 7)


def test_rows_come_in_the_order_of_the_calls_with_ids_that_repeat() -> None:
    calls = drawn(quota(6), quota(4, "BETA"))
    one, two = made(calls, ScriptedLlm(numbered)), made(calls, ScriptedLlm(numbered))
    assert one == two
    assert [row.cell for row in one.candidates] == [calls[0].cell.id] * 6 + [calls[2].cell.id] * 4
    assert [row.index for row in one.candidates] == [0, 1, 2, 3, 0, 1, 0, 1, 2, 3]
    assert len({row.id for row in one.candidates}) == 10
    first = one.candidates[0]
    assert first.example.origin is Origin.SYNTHETIC
    assert (first.example.label, first.shots, first.round, first.wave) == ("ALPHA", calls[0].shots, 1, 0)
    assert first.call == ScriptedLlm(numbered).key(calls[0].request)


def test_progress_counts_what_was_asked_for_also_of_calls_that_fail() -> None:
    calls = drawn(quota(6), quota(4, "BETA"))
    told: list[int] = []
    llm = ScriptedLlm(lambda request: Fails() if request.n == 2 else ["only one ?"])
    asyncio.run(generate(calls, llm, spec().task, round_=1, wave=0, on_answers=told.append))
    assert sorted(told) == [2, 4, 4]


REPLIES = st.one_of(
    st.just(Fails("timed out")),
    st.lists(
        st.builds(
            Choice,
            st.text(st.characters(exclude_categories=()), max_size=20),
            st.sampled_from(["stop", "length", "content_filter", "refusal", "", "tool_calls"]),
        ),
        min_size=1,
        max_size=6,
    ),
)


@given(st.lists(REPLIES, min_size=4, max_size=4))
def test_every_answer_asked_for_is_exactly_one_row_and_can_be_stored(replies: list[Fails | list[Choice]]) -> None:
    calls = drawn(quota(6), quota(7, "BETA", "What"))
    left = iter(replies)
    batch = made(calls, ScriptedLlm(lambda request: next(left)))
    rows = [*batch.candidates, *batch.failures]
    assert Counter((row.call, row.index) for row in rows) == Counter(
        {(ScriptedLlm(nobody).key(draw.request), index): 1 for draw in calls for index in range(draw.request.n)}
    )
    assert len({row.id for row in rows}) == 13
    assert all(failure.reason for failure in batch.failures)
    for row in batch.candidates:
        assert row.example.text == " ".join(row.example.text.split()) != ""
        row.example.text.encode()
    for failure in batch.failures:
        failure.raw.encode()


def failure(choice: Choice, opening: str = "") -> tuple[str, str]:
    text, reason, raw = read_choice(Answer("k", (choice,), Cost()), 0, opening)
    assert text == ""
    return reason, raw


def test_why_an_answer_is_no_candidate() -> None:
    assert failure(Choice("Who wrote", "length")) == ("cut off at max_tokens", "Who wrote")
    assert failure(Choice("Who", "content_filter")) == ("withheld by the endpoint's content filter", "Who")
    assert failure(Choice("This is against our rules.", "refusal")) == ("refusal", "This is against our rules.")
    assert failure(Choice(" \n", "stop"), "What") == ("empty answer", " \n")
    assert failure(Choice('""', "stop")) == ("empty answer", '""')
    assert failure(Choice("I\u2019m sorry, but I can\u2019t help with that.", "stop"))[0] == "refusal"
    assert read_choice(CallFailure("k", "HTTP 500", Cost()), 0, "") == ("", "call failed: HTTP 500", "")
    few = Answer("k", (Choice("Who wrote Emma ?", "stop"),), Cost())
    assert read_choice(few, 0, "")[0] == "Who wrote Emma ?"
    assert read_choice(few, 1, "") == ("", "endpoint gave fewer answers than asked for", "")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I cannot fulfil this request.",
        "Sorry, I can't assist with that.",
        "I cannot write offensive content.",
        "I apologize, but as an AI I'm unable to do this",
        "Unfortunately, I am not able to create this text.",
        "As an AI language model, I have no opinions.",
        "I'm sorry, I can't do that.",
        "As a language model I was not made for that.",
    ],
)
def test_refusals(text: str) -> None:
    assert failure(Choice(text, "stop"))[0] == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "I can't believe how good this movie was",
        "I cannot recommend this phone to anybody",
        "I'm sorry I ever bought it",
        "Sorry to say that the food was cold",
        "As an aid to memory , what is a mnemonic ?",
        "As an airline passenger I was shocked",
        "Unfortunately the battery died",
        "Sorry but I can't stand this film",
        "I can't help but love it",
        "I cannot write enough good things about it",
    ],
)
def test_texts_that_only_begin_like_refusals_are_kept(text: str) -> None:
    assert read_choice(Answer("k", (Choice(text, "stop"),), Cost()), 0, "") == (text, "", text)


def test_half_a_character_becomes_a_failure_that_can_be_stored(tmp_path: Path) -> None:
    replies = ["Who wrote \ud83d", "Who ate the \ufffd ?", "Who wrote Emma ? \U0001f600", "cut \udc00"]
    llm = ScriptedLlm(lambda request: [*replies[:3], Choice(replies[3], "length")])
    batch = made(drawn(quota(4)), llm)
    assert [row.example.text for row in batch.candidates] == ["Who wrote Emma ? \U0001f600"]
    assert [(row.reason, row.raw) for row in batch.failures] == [
        ("half a character in it", "Who wrote \ufffd"),
        ("half a character in it", "Who ate the \ufffd ?"),
        ("cut off at max_tokens", "cut \ufffd"),
    ]
    write_lines(tmp_path / "failures", ParseFailure, batch.failures)
    write_lines(tmp_path / "candidates", Candidate, batch.candidates)
    assert tuple(read_lines(tmp_path / "failures", ParseFailure)) == batch.failures
    assert tuple(read_lines(tmp_path / "candidates", Candidate)) == batch.candidates


@pytest.mark.parametrize(
    ("wrote", "opening", "text"),
    [
        (" wrote\n  Emma ?", "Who", "Who wrote Emma ?"),
        ("ever wrote Emma ?", "Who", "Whoever wrote Emma ?"),
        ('"Who wrote Emma ?"', "", "Who wrote Emma ?"),
        ("“Who wrote Emma ?”", "", "Who wrote Emma ?"),
        ('Who wrote Emma ?"', "", "Who wrote Emma ?"),
        ('Who said "I have a dream"', "", 'Who said "I have a dream"'),
        ('"Yes" is what she said', "", '"Yes" is what she said'),
        ("\x00\u2028 a \t b", "", "\x00 a b"),
        ("  ", "Who", ""),
    ],
)
def test_an_answer_becomes_one_line(wrote: str, opening: str, text: str) -> None:
    assert parse_text(Choice(wrote, "stop"), opening) == text


def test_what_was_never_asked_is_counted_under_the_ids_it_would_have_had() -> None:
    calls = drawn(quota(6), quota(4, "BETA"))
    asked = made(calls, ScriptedLlm(numbered))
    left = not_asked(calls, ScriptedLlm(nobody), round_=1, wave=0)
    assert left.candidates == ()
    assert [row.id for row in left.failures] == [row.id for row in asked.candidates]
    assert {row.reason for row in left.failures} == {"not asked: the budget ended"}
