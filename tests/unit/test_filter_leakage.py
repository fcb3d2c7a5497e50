import numpy as np
import pytest
from fakes import HashEmbedder, TableEmbedder
from filter_cases import Held, candidates, context, said, verdicts

from harness.filters.leakage import HeldOutIndex, LeakageFilter, overlaps
from harness.records import Verdict

QUESTION = "What is the capital of the Netherlands ?"
LONG = (
    "The parcel came two weeks late, one corner was crushed, the lamp inside was broken into three pieces "
    "and nobody at the shop has answered any of my letters since then."
)
HELD = {"real-q": QUESTION, "real-long": LONG, "real-short": "Why ?", "real-signs": "?!"}
COPY, REPHRASED = "drop: copies a held-out text", "drop: paraphrases a held-out text"


def run(*texts: str, **rule: float) -> list[Verdict]:
    given = context(candidates(*texts), held=HELD, filters={"leakage": rule})
    found = verdicts(LeakageFilter(), given)
    words = {word for text in HELD.values() for word in text.split() if word.isalpha() and len(word) > 3}
    assert not any(word in verdict.evidence for verdict in found for word in words - {"copies", "text"})
    return found


@pytest.mark.parametrize(
    "text",
    [
        QUESTION,
        "WHAT IS THE CAPITAL OF THE NETHERLANDS ?",
        "what is the capital of the netherlands",
        "What is the capital of the Netherlands?!",
        "“What is—the capital of the\u00a0Nether\u00adlands”?",
        "\uff37hat is the capital of the Netherlands ?",
        "why",
        LONG.lower(),
        LONG.replace(",", " ;"),
        LONG.replace("crushed", "bent"),
        LONG.replace("letters since then.", "letters ever since."),
        " ".join(LONG.split()[4:20]),
        "?!",
    ],
)
def test_verbatim_recased_repunctuated_or_one_word_of_a_long_text_changed(text: str) -> None:
    assert said(run(text, threshold=1.0)) == [COPY]


def test_evidence_names_the_item() -> None:
    exact, run_of_words = run(QUESTION.upper(), LONG.replace("crushed", "bent"))
    assert exact.evidence == "same words as dev item real-q"
    assert run_of_words.evidence == "30 of 31 words in 6-grams of dev item real-long"
    assert (exact.score, run_of_words.score) == (1.0, 1.0)


def test_one_word_changed_in_a_short_text_is_for_the_embedding_to_tell() -> None:
    asked = {"What is the chief town of the Netherlands ?": 15.0, "What is the capital of the Philippines ?": 30.0}
    given = context(
        candidates(*asked),
        held={"real-q": QUESTION, "real-far": "far off"},
        embedder=TableEmbedder({QUESTION: 0, "far off": 180, **asked}),
    )
    found = verdicts(LeakageFilter(), given)
    assert said(found) == [REPHRASED, "keep"]
    assert found[0].evidence == "cosine 0.966 to dev item real-q"
    assert found[1].score == pytest.approx(np.cos(np.pi / 6))


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of the Ukraine ?",
        "what is the capital of the ukraine",
        "What is the capital of the Dominican Republic ?",
        "Where is the Netherlands ?",
        "The parcel came two weeks late, but everything in it was whole and the shop has been very kind.",
        "Why not ?",
    ],
)
def test_honest_texts_that_share_a_run_of_words_are_kept(text: str) -> None:
    assert said(run(text, threshold=1.0)) == ["keep"]


def test_the_ngram_of_the_spec_counts() -> None:
    text = "The parcel came two weeks late, one corner was bent"
    assert said(run(text, threshold=1.0)) == [COPY]
    assert said(run(text, threshold=1.0, ngram=13)) == ["keep"]


def test_no_candidates_need_no_held_out_texts() -> None:
    assert verdicts(LeakageFilter(), context([])) == []
    assert LeakageFilter().worth(context([])) is None


def test_an_index_over_nothing_finds_nothing() -> None:
    index = HeldOutIndex(Held({"real-1": "a b c"}).pairs(), 6)
    assert index.copied("a b c d e f g") == ""
    assert index.copied("A, b: C!") == "same words as dev item real-1"


def overlap(text: str, threshold: float = 0.95) -> str:
    guard, embedder = Held(HELD | {"real-tiny": "Who wrote Emma ?"}), HashEmbedder()
    held = embedder([other for _, _, other in guard.pairs()])
    return overlaps(text, guard, 6, embedder([text])[0], held, threshold)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("They ask: what is the CAPITAL, of the country.", "shares 6 words with dev item real-q"),
        ("They ask who wrote Emma.", "shares 3 words with dev item real-tiny"),
        ("They ask why.", ""),
        ("They ask for a place on a map.", ""),
        ("They ask who wrote a book such as Emma.", ""),
    ],
)
def test_free_text_may_share_no_ngram_and_no_whole_short_text(text: str, why: str) -> None:
    assert overlap(text) == why


def test_free_text_may_not_be_near_held_out_text_either() -> None:
    assert overlap("What is a capital of a Netherlands?", threshold=0.6).endswith(" to a held-out text")
    assert overlap("What is a capital of a Netherlands?", threshold=0.99) == ""
    nothing = np.zeros((0, 256), np.float32)
    assert overlaps("free", Held({}), 6, HashEmbedder()(["free"])[0], nothing, 0.9) == ""  # type: ignore[arg-type]
