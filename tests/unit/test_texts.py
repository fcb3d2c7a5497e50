import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.texts import Slicer, first_word, normalise, word_count


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Who wrote Emma ?", "who wrote  emma?"),
        ("“Emma” – who’s it by", '"Emma" - who\'s it by'),
        ("STRASSE", "straße"),
        ("ﬁne", "fine"),
        ("a\u200bb", "ab"),
        ("caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")),
    ],
)
def test_texts_that_differ_in_form_only_are_the_same(left: str, right: str) -> None:
    assert normalise(left) == normalise(right)


def test_texts_that_differ_in_words_or_punctuation_stay_apart() -> None:
    assert (
        len({normalise(text) for text in ("Who wrote Emma?", "Who wrote Emma!", "Who wrote it?", "Who wroteEmma?")})
        == 4
    )


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(alphabet="aÀßİſΣς ﬁ'’“=\u0301\u0338\u0345\u200d\u00b4?_"))
def test_normalising_twice_changes_nothing_in_awkward_alphabets(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_words_are_pieces_that_hold_a_letter_or_digit() -> None:
    assert [word_count(text) for text in ("Who wrote Emma ?", "don't", "हिन्दी में", " … ", "")] == [3, 1, 2, 0, 0]


def test_the_first_word_is_lower_case_and_without_punctuation() -> None:
    assert [first_word(text) for text in ("What's up?", "“In what year", "?!", "")] == ["what", "in", "", ""]


def test_length_is_cut_at_the_thirds_of_the_seeds() -> None:
    slicer = Slicer.learn([" ".join(["w"] * n) for n in (2, 2, 4, 4, 9, 9)], length=True, first_words=False)
    cuts = [slicer(" ".join(["w"] * n))["length"] for n in (1, 4, 5, 9, 10)]
    assert cuts == [
        "short (≤ 4 words)",
        "short (≤ 4 words)",
        "medium (5–9 words)",
        "medium (5–9 words)",
        "long (≥ 10 words)",
    ]


def test_only_the_eight_commonest_first_words_are_slices() -> None:
    seeds = [f"w{i} x" for i in range(12) for _ in range(13 - i)]
    slicer = Slicer.learn(seeds, length=False, first_words=True)
    assert slicer.first_words == tuple(f"w{i}" for i in range(8))
    assert slicer("W3 and more") == {"first_word": "w3"}
    assert slicer("w9 and more") == {"first_word": "other"}


def test_a_word_that_opens_one_seed_only_is_no_slice() -> None:
    assert Slicer.learn(["who a", "who b", "cnn c"], length=False, first_words=True).first_words == ("who",)


def test_slices_of_an_item_hold_label_columns_length_and_first_word() -> None:
    slicer = Slicer((3, 5), ("who",))
    assert slicer.of("Who wrote Emma ?", "HUM", {"fine": "HUM:ind"}) == {
        "label": "HUM",
        "fine": "HUM:ind",
        "length": "short (≤ 3 words)",
        "first_word": "who",
    }
