from hypothesis import given, settings
from hypothesis import strategies as st

from harness.wordpairs import WordPairs, grams_of

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=9).map(" ".join)


def jaccard(one: str, other: str, size: int) -> float:
    left, right = grams_of(one, size), grams_of(other, size)
    return len(left & right) / len(left | right) if left | right else 0.0


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=12), st.sampled_from([0.3, 0.5, 0.8, 1.0]), st.integers(1, 3))
def test_the_most_similar_text_is_found_as_if_all_were_compared(texts: list[str], threshold: float, size: int) -> None:
    pairs = WordPairs(texts, size, threshold)
    for number, text in enumerate(texts):
        similar = [(jaccard(text, texts[other], size), other) for other in range(number)]
        best = max(similar, key=lambda pair: (pair[0], -pair[1]), default=(0.0, 0))
        found = pairs.nearest(number)
        assert found == ((best[1], best[0]) if best[0] >= threshold else None)
        pairs.add(number)


def test_texts_shorter_than_an_ngram_resemble_nothing() -> None:
    pairs = WordPairs(["two words", "two words"], 3, 0.8)
    pairs.add(0)
    assert pairs.nearest(1) is None
