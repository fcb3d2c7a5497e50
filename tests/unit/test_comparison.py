from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from suite_cases import finish_suite, make_suite

from eval.claims import pooled_p_value
from eval.intervals import detectable_by_interval, mcnemar_exact, paired_shares
from harness.comparedetail import _slices  # pyright: ignore[reportPrivateUsage]
from harness.comparewords import compare_lines, compare_tables, headline, line_verdict, verdict_word
from harness.comparison import Comparison, check_same_items, compare_suite
from harness.errors import DataError
from harness.records import Cost, Role, SliceScore
from harness.reports import RunReport
from harness.store import Store

RIGHT = {"base": {0: 70, 1: 72}, "better": {0: 90, 1: 93}, "same": {0: 70, 1: 72}, "worse": {0: 40, 1: 43}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def compared(store: Store, tmp_path: Path, right: dict[str, dict[int, int]] = RIGHT) -> Comparison:
    seeds = tuple(right["base"])
    return compare_suite(make_suite(right, tmp_path, seeds), finish_suite(store, right), {}, store)


def test_variants_are_ranked_and_paired_with_the_base(store: Store, tmp_path: Path) -> None:
    found = compared(store, tmp_path)
    assert [line.variant for line in found.lines] == ["better", "base", "same", "worse"]
    assert found.role is Role.DEV
    by_name = {line.variant: line for line in found.lines}
    assert by_name["base"].against is None
    assert by_name["better"].score.per_run == pytest.approx((0.90, 0.93))
    difference = by_name["better"].against
    assert difference is not None
    assert difference.difference.per_run == pytest.approx((0.20, 0.21))
    assert difference.difference.items.value == pytest.approx(0.205)
    assert difference.difference.items.n == 200
    # Right on the first k items: exactly the 20 (21) items between are discordant, all for the variant.
    assert difference.p_by_seed == pytest.approx((2 * 0.5**20, 2 * 0.5**21))


def test_the_noise_of_seeds_is_in_the_total_and_not_in_the_items(store: Store, tmp_path: Path) -> None:
    found = compared(store, tmp_path, {"base": {0: 70, 1: 70}, "shaky": {0: 95, 1: 75}})
    one = found.lines[0].against
    assert one is not None
    items, total = one.difference.items, one.difference.total
    assert one.difference.seed_sd == pytest.approx(0.1414, abs=1e-4)
    assert items.low is not None
    assert items.low > 0
    assert total.low is not None
    assert total.low < 0
    assert one.p_value == pooled_p_value(one.difference)
    assert one.p_value is not None
    assert one.p_value > 0.05
    assert verdict_word(found.lines[0]) == "unclear"


def test_one_seed_is_judged_by_mcnemar_and_agresti_min(store: Store, tmp_path: Path) -> None:
    found = compared(store, tmp_path, {"base": {0: 70}, "better": {0: 80}})
    one = found.lines[0].against
    assert one is not None
    assert one.difference.items == paired_shares(10, 0, 100)
    expected = mcnemar_exact([True] * 80 + [False] * 20, [True] * 70 + [False] * 30)  # type: ignore[arg-type]
    assert one.p_value == one.p_holm == expected
    assert one.detectable == pytest.approx(2.80 * (0.1 / 100) ** 0.5)
    assert "one seed: p is exact McNemar's, adjusted" in " ".join(compare_lines(found))


def test_one_seed_in_another_score_has_the_p_of_that_score(store: Store, tmp_path: Path) -> None:
    suite, finished = make_suite({"base": {0: 70}, "better": {0: 80}}, tmp_path, (0,)), finish_suite(store, RIGHT)
    spec = suite.base.specs[0]
    spec = spec.model_copy(update={"evaluate": spec.evaluate.model_copy(update={"metric": "macro_f1"})})
    suite = replace(suite, variants=(replace(suite.base, specs={0: spec}), *suite.variants[1:]))
    finished = {name: {0: finished[name][0]} for name in ("base", "better")}
    found = compare_suite(suite, finished, {}, store)
    one = next(line.against for line in found.lines if line.against is not None)
    assert one.p_value == one.p_by_seed[0] == 1 / 401
    assert one.detectable == detectable_by_interval(one.difference.items)
    assert "one seed: p is a paired permutation test's, adjusted" in " ".join(compare_lines(found))


def test_p_values_are_adjusted_for_the_number_of_variants(store: Store, tmp_path: Path) -> None:
    right = {"base": {0: 70}, "a": {0: 78}, "b": {0: 79}, "c": {0: 70}}
    found = {line.variant: line.against for line in compared(store, tmp_path, right).lines}
    a, b, c = found["a"], found["b"], found["c"]
    assert a is not None
    assert b is not None
    assert c is not None
    raw = [2 * 0.5**8, 2 * 0.5**9, 1.0]
    assert [a.p_value, b.p_value, c.p_value] == pytest.approx(raw)
    assert b.p_holm == pytest.approx(3 * raw[1])
    assert a.p_holm == pytest.approx(2 * raw[0])
    assert c.p_holm == pytest.approx(1.0)


def test_verdicts_are_words_whichever_way_they_fall(store: Store, tmp_path: Path) -> None:
    found = compared(store, tmp_path)
    words = {line.variant: verdict_word(line) for line in found.lines}
    assert words == {"better": "better", "base": "base", "same": "unclear", "worse": "worse"}
    assert headline(found) == (
        "better is better than the base; worse is worse than the base; same is not told apart from the base."
    )
    said = {line.variant: line_verdict(line) for line in found.lines}
    assert said["better"].startswith("better: better than the base: +20.5 points [")
    assert said["same"].startswith("same: no measurable difference to the base: +0.0 points")


def test_a_small_p_whose_interval_spans_nothing_is_no_verdict(store: Store, tmp_path: Path) -> None:
    [line] = [one for one in compared(store, tmp_path, {"base": {0: 70}, "a": {0: 90}}).lines if one.against]
    assert verdict_word(line) == "better"
    assert line.against is not None
    difference = line.against.difference
    doubted = replace(line, against=replace(line.against, p_value=0.06, p_holm=0.06))
    assert "better than the base, though with a p of .060 it could be chance: " in line_verdict(doubted)
    adjusted = replace(line, against=replace(line.against, p_value=0.03, p_holm=0.06))
    assert "adjusted for the number of variants it could be chance: " in line_verdict(adjusted)
    spans = replace(difference, items=replace(difference.items, low=-0.01))
    assert verdict_word(replace(line, against=replace(line.against, difference=spans))) == "unclear"


def test_what_was_shared_shows_in_the_cost(store: Store, tmp_path: Path) -> None:
    found = compared(store, tmp_path)
    assert found.used.calls == 800
    assert found.paid.calls == 200 + 3 * 10
    assert (
        "8 run(s) stand on 800 calls ($4.00) counted run by run; paid were 230 ($1.15), 1.15 times what the base "
        "needs: the rest was shared." in compare_lines(found)
    )
    ranking, took = compare_tables(found)
    assert len(ranking.rows) == len(took.rows) == 4
    assert {len(row) for row in ranking.rows} == {len(ranking.columns)}
    assert {len(row) for row in took.rows} == {len(took.columns)}


def test_a_variant_that_lacks_a_seed_is_paired_where_it_can_be_and_stands_last(store: Store, tmp_path: Path) -> None:
    right = {"base": {0: 70, 1: 72}, "half": {0: 99}, "worse": {0: 60, 1: 61}}
    suite, finished = make_suite(right, tmp_path), finish_suite(store, right)
    found = compare_suite(suite, finished, {("half", 1): "the endpoint is down"}, store)
    assert [line.variant for line in found.lines] == ["base", "worse", "half"]
    half = found.lines[-1]
    assert half.note == "no run under seed 1"
    assert half.against is not None
    assert half.against.difference.per_run == pytest.approx((0.29,))
    assert found.missing == {"half, seed 1": "the endpoint is down"}
    assert "not finished: half, seed 1: the endpoint is down" in compare_lines(found)


def test_a_run_that_its_budget_cut_is_no_fair_comparison(store: Store, tmp_path: Path) -> None:
    right = {"base": {0: 70}, "cut": {0: 99}, "a": {0: 71}}
    finished = finish_suite(store, right)
    report = finished["cut"][0]
    rounds = tuple(replace(each, out_of_budget=True) for each in report.rounds)
    finished["cut"][0] = replace(report, rounds=rounds)
    found = compare_suite(make_suite(right, tmp_path, (0,)), finished, {}, store)
    assert [line.variant for line in found.lines] == ["a", "base", "cut"]
    assert "cut by its budget under seed 0" in found.lines[-1].note


def test_slices_are_over_the_seeds_that_all_have_and_no_cluster_is_mixed_with_another(
    store: Store, tmp_path: Path
) -> None:
    right = {"base": {0: 70, 1: 72}, "half": {0: 99}}
    suite, finished = make_suite(right, tmp_path), finish_suite(store, right)

    def with_slices(report: RunReport, split: str, share: float) -> RunReport:
        """Its best round has two slices of 20 dev items."""
        scores = tuple(
            SliceScore(name, 20, 20, 0, 0, share, None, None) for name in ("length=long", "cluster=c1")
        )  # fmt: skip
        best = report.rounds[report.best_round - 1]
        dev = {**best.dev, "mixed": replace(best.dev["mixed"], slices=scores)}
        rounds = tuple(replace(one, dev=dev) if one is best else one for one in report.rounds)
        return replace(report, rounds=rounds, data=replace(report.data, id=split))

    def slices(splits: dict[int, str]) -> dict[str, dict[str, tuple[float | None, int]]]:
        runs = {
            name: {seed: with_slices(one, splits[seed], 0.5 + 0.4 * seed) for seed, one in own.items()}
            for name, own in finished.items()
        }
        found = compare_suite(suite, runs, {}, store)
        return {row.slice: dict(row.values) for row in _slices([line.variant for line in found.lines], runs)}

    only_seed_0 = {"base": (0.5, 20), "half": (0.5, 20)}
    assert slices({0: "split-a", 1: "split-b"}) == {"length=long": only_seed_0, "cluster=c1": only_seed_0}
    both = {"base": {0: 70, 1: 72}, "other": {0: 99, 1: 90}}
    suite, finished = make_suite(both, tmp_path), finish_suite(store, both)
    pooled = {"base": (pytest.approx(0.7), 40), "other": (pytest.approx(0.7), 40)}
    assert slices({0: "split-a", 1: "split-b"}) == {"length=long": pooled}
    assert slices({0: "split-a", 1: "split-a"}) == {"length=long": pooled, "cluster=c1": pooled}


def test_other_items_cannot_be_compared(store: Store, tmp_path: Path) -> None:
    finished = finish_suite(store, {"base": {0: 70}, "a": {0: 71}})
    report = finished["a"][0]
    hashes = {**report.data.hashes, Role.DEV: "0" * 64}
    finished["a"][0] = replace(report, data=replace(report.data, hashes=hashes))
    with pytest.raises(DataError, match="'base' and 'a' have other dev items under seed 0"):
        compare_suite(make_suite({"base": {0: 70}, "a": {0: 71}}, tmp_path, (0,)), finished, {}, store)
    check_same_items(finished, Role.TEST)


def test_an_arm_that_was_not_trained_is_named(store: Store, tmp_path: Path) -> None:
    right = {"base": {0: 70}, "a": {0: 71}}
    suite = replace(make_suite(right, tmp_path, (0,)), arm="all_real")
    with pytest.raises(DataError, match="variant 'base', seed 0: arm 'all_real' was not scored"):
        compare_suite(suite, finish_suite(store, right), {}, store)


def test_without_a_finished_base_there_is_a_ranking_but_no_difference(store: Store, tmp_path: Path) -> None:
    right = {"base": {0: 70}, "a": {0: 71}}
    finished: dict[str, dict[int, RunReport]] = finish_suite(store, right)
    del finished["base"]
    found = compare_suite(make_suite(right, tmp_path, (0,)), finished, {("base", 0): "no"}, store)
    assert [line.variant for line in found.lines] == ["a"]
    assert found.lines[0].against is None
    assert found.base is None
    assert any("no finished run of the base" in line for line in compare_lines(found))
    assert found.used == Cost(100, 0, 0, 1000, 500, 0.5)


def test_the_same_runs_are_the_same_comparison(store: Store, tmp_path: Path) -> None:
    assert compared(store, tmp_path) == compared(store, tmp_path)
    assert compared(store, tmp_path).id != compared(store, tmp_path, {"base": {0: 70}, "b": {0: 80}}).id
