"""What is drawn for a review: strata, chances, order, and what a reviewer sees of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from review_cases import make_made

from eval.survey import Strata, stratified_share
from harness.errors import StoreError
from harness.reviewrows import LEAST, allot, draw, rows_of
from harness.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def test_every_candidate_is_a_row_under_the_label_that_it_would_be_trained_on(store: Store) -> None:
    made = make_made(store, 100, graded=True)
    rows = rows_of(made.report, store)
    assert Counter(row.outcome for row in rows) == {"kept": 60, "relabelled": 10, "dropped": 30}
    assert Counter(row.dropped_by for row in rows) == {"": 70, "consistency": 10, "duplicates": 10, "judge": 10}
    changed = next(row for row in rows if row.outcome == "relabelled")
    assert f"of {changed.shown.label}" not in changed.shown.text
    assert changed.scores.keys() == {"consistency", "judge"}
    assert changed.grade == pytest.approx(1 + 4 * changed.scores["judge"])


def test_what_only_the_quota_left_out_is_no_row(store: Store) -> None:
    rows = rows_of(make_made(store, 100, beyond=50).report, store)
    assert Counter(row.outcome for row in rows) == {"kept": 35, "relabelled": 5, "dropped": 20}
    assert Counter(row.dropped_by for row in rows) == {"": 40, "consistency": 10, "duplicates": 10}


def test_no_row_tells_what_label_was_asked_for(store: Store) -> None:
    for row in rows_of(make_made(store, 100).report, store):
        assert row.shown.cell.startswith("length=")
        assert not any(label in row.shown.cell for label in ("ALPHA", "BETA", "GAMMA"))


def test_the_sample_is_stratified_and_its_chances_add_up(store: Store) -> None:
    made = make_made(store, 600, graded=True)
    rows = rows_of(made.report, store)
    sample = draw(made.report, rows, 100, 0)
    assert len(sample.items) == len({item.shown.id for item in sample.items}) == 100
    assert sum(one.drawn for one in sample.strata) == 100
    assert sum(one.size for one in sample.strata) == 600
    assert sum(one.drawn for one in sample.strata if one.accepted) == 70
    # Each row stands for 1/probability rows, together for all of them.
    assert sum(1 / sample.strata[item.stratum].probability for item in sample.items) == pytest.approx(600)
    drawn = Counter(item.stratum for item in sample.items)
    assert [drawn[place] for place in range(len(sample.strata))] == [one.drawn for one in sample.strata]
    assert all(one.drawn >= min(LEAST, one.size) for one in sample.strata)
    assert {one.label for one in sample.strata} == {"ALPHA", "BETA", "GAMMA"}
    assert {one.outcome for one in sample.strata} == {"kept", "relabelled", "dropped"}
    assert {one.band for one in sample.strata} == {"no grade", "below the bar", "at the bar or above"}
    for item in sample.items:
        stratum = sample.strata[item.stratum]
        assert (stratum.outcome, stratum.label) == (item.outcome, item.shown.label)


def test_same_seed_same_sample_and_another_seed_another_one(store: Store) -> None:
    made = make_made(store)
    rows = rows_of(made.report, store)
    first = draw(made.report, rows, 60, 0)
    assert draw(made.report, list(reversed(rows)), 60, 0).items == first.items
    other = draw(made.report, rows, 60, 1)
    assert {item.shown.id for item in other.items} != {item.shown.id for item in first.items}


def test_the_order_does_not_tell_what_became_of_a_row(store: Store) -> None:
    made = make_made(store, 600)
    found = draw(made.report, rows_of(made.report, store), 200, 0).items
    halves = [Counter(item.outcome for item in half)["dropped"] for half in (found[:100], found[100:])]
    assert sum(halves) == 60
    assert min(halves) > 15


def test_a_sample_that_is_too_small_for_labels_is_cut_less_finely(store: Store) -> None:
    made = make_made(store, 300, graded=True)
    sample = draw(made.report, rows_of(made.report, store), 12, 0)
    assert {one.label for one in sample.strata} == {""}
    assert len(sample.items) == 12
    one = draw(made.report, rows_of(made.report, store), 1, 0)
    assert [(stratum.outcome, stratum.drawn) for stratum in one.strata] == [("accepted", 1)]


def test_where_there_are_fewer_rows_all_are_drawn(store: Store) -> None:
    made = make_made(store, 40)
    sample = draw(made.report, rows_of(made.report, store), 100, 0)
    assert len(sample.items) == 40
    assert all(one.drawn == one.size for one in sample.strata)


def test_every_row_has_the_chance_that_its_stratum_says_and_the_estimate_is_unbiased(store: Store) -> None:
    made = make_made(store, 120)
    rows = rows_of(made.report, store)
    accepted = [row for row in rows if row.outcome != "dropped"]
    truth = sum(row.shown.id in made.right for row in accepted) / len(accepted)
    seen: Counter[str] = Counter()
    values: list[float] = []
    plain: list[float] = []
    for seed in range(300):
        sample = draw(made.report, rows, 30, seed)
        own = [item for item in sample.items if sample.strata[item.stratum].accepted]
        seen.update(item.shown.id for item in own)
        strata = [one for one in sample.strata if one.accepted]
        design = Strata(tuple(one.size for one in strata), tuple(one.drawn for one in strata))
        right = [float(item.shown.id in made.right) for item in own]
        found = stratified_share(right, [strata.index(sample.strata[item.stratum]) for item in own], design)
        values.append(found.value or 0.0)
        plain.append(sum(right) / len(right))
    assert sum(values) / 300 == pytest.approx(truth, abs=0.012)
    chance = {(one.outcome, one.label): one.probability for one in sample.strata}
    for row in accepted:
        expected = 300 * chance[row.outcome, row.shown.label]
        assert abs(seen[row.shown.id] - expected) < 5 * expected**0.5


def test_ratings_are_the_judges_where_it_graded_most_and_else_the_students(store: Store, tmp_path: Path) -> None:
    graded = make_made(store, graded=True)
    assert draw(graded.report, rows_of(graded.report, store), 50, 0).rater == "judge"
    other = Store(tmp_path / "other")
    plain = make_made(other)
    sample = draw(plain.report, rows_of(plain.report, other), 50, 0)
    assert sample.rater == "consistency"
    kept = [row.scores["consistency"] for row in rows_of(plain.report, other) if row.outcome != "dropped"]
    assert sample.rated == pytest.approx(sum(kept) / len(kept))


def test_a_judge_that_compares_pairs_gives_shares_which_are_taken_as_they_are(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    graded, compared = make_made(store, graded=True), make_made(other, graded=True, pairwise=True)
    grades, shares = (
        {row.shown.id: row.scores["judge"] for row in rows_of(made.report, made.store) if "judge" in row.scores}
        for made in (graded, compared)
    )
    assert shares == pytest.approx(grades)
    sample = draw(compared.report, rows_of(compared.report, other), 50, 0)
    assert (sample.rater, sample.bar) == ("judge", 0.5)
    assert len({item.rating for item in sample.items}) > 20
    assert {stratum.band for stratum in sample.strata} == {"no grade", "below the bar", "at the bar or above"}


def test_answers_are_shown_as_they_would_be_trained_on(store: Store) -> None:
    made = make_made(store, 40, answers=True)
    sample = draw(made.report, rows_of(made.report, store), 100, 0)
    assert sample.answers
    replaced = [item for item in sample.items if item.outcome == "relabelled"]
    assert replaced
    assert all(item.shown.answer.startswith("not answer") for item in replaced)
    assert all(item.shown.context.startswith("Passage") for item in sample.items)


def test_allotment_is_in_proportion_with_a_floor_and_a_ceiling() -> None:
    sizes = {("kept", name, ""): size for name, size in {"A": 900, "B": 90, "C": 9, "D": 1}.items()}
    found = [*allot(sizes, 50).values()]
    assert sum(found) == 50
    assert found[3] == 1
    assert found[0] > found[1] > found[2] >= LEAST
    assert [*allot(sizes, 5000).values()] == [900, 90, 9, 1]


def test_candidates_that_are_gone_are_named(store: Store) -> None:
    made = make_made(store, 40)
    (store.find(next(store.ids("verdicts"))) / "verdicts.jsonl").unlink()
    with pytest.raises(StoreError, match=f"the candidates of {made.report.id} cannot be read"):
        rows_of(made.report, store)
    with pytest.raises(StoreError, match="nothing to review"):
        draw(made.report, [], 10, 0)
