"""Pictures: same bytes for the same report, none where there is no data, nothing global left behind."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import matplotlib as mpl
import pytest
from factories import (
    LABELS,
    LENGTHS,
    NOTHING,
    make_eval,
    make_funnel,
    make_gap,
    make_round,
    make_run_report,
    make_slice,
)
from PIL import Image

from harness import figures
from harness.controls import CONTROLS, LOOP
from harness.controlwords import QUESTIONS
from harness.records import Estimate, Role
from harness.report import ARMS
from harness.reports import FunnelRow

NAMES = ["arms", "gap", "controls", "slices", "confusion", "funnel", "coverage", "cost"]


def height(png: bytes | None) -> int:
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        return image.height


def test_every_picture_is_a_png_and_the_bytes_repeat() -> None:
    first = figures.all_figures(make_run_report())
    assert list(first) == NAMES
    assert first == figures.all_figures(make_run_report())
    for png in first.values():
        with Image.open(io.BytesIO(png)) as image:
            assert image.format == "PNG"
            assert image.width == 988
            assert image.info.keys() <= {"dpi"}


def test_other_numbers_give_another_picture() -> None:
    report = make_run_report()
    other = replace(report, test={**report.test, "mixed": make_eval("mixed", Role.TEST, 0.5)})
    assert figures.arms(report) != figures.arms(other)
    assert figures.confusion(report) != figures.confusion(other)


def test_matplotlib_is_left_as_it_was() -> None:
    before = dict(mpl.rcParams)
    figures.all_figures(make_run_report())
    assert dict(mpl.rcParams) == before


def test_a_users_matplotlibrc_changes_nothing() -> None:
    plain = figures.arms(make_run_report())
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert figures.arms(make_run_report()) == plain


def test_missing_data_gives_no_picture() -> None:
    empty = make_run_report(rounds=(), test={}, best_round=0, controls=())
    assert figures.all_figures(empty) == {}
    none = replace(make_gap(None), transfer=NOTHING)
    assert figures.gap_by_round(make_run_report(rounds=(make_round(1, gap=none),))) is None
    assert figures.funnel(make_run_report(rounds=(make_round(1, funnel=()),))) is None
    assert figures.slices_before_after(make_run_report(rounds=(make_round(1, dev={}),))) is None


def test_controls_are_drawn_where_two_sides_have_rounds() -> None:
    report = make_run_report()
    assert figures.controls_by_round(replace(report, controls=report.controls[::2])) is None
    assert figures.controls_by_round(report) != figures.controls_by_round(
        replace(report, controls=(report.controls[0], replace(report.controls[1], name="naive")))
    )


def test_a_score_of_zero_is_drawn_and_a_missing_one_left_out() -> None:
    report = make_run_report()
    closed, static, _ = report.controls

    def drawn(accuracy: Estimate) -> bytes | None:
        dev = (static.dev[0], replace(static.dev[1], accuracy=accuracy))
        return figures.controls_by_round(replace(report, controls=(closed, replace(static, dev=dev))))

    zero, missing = drawn(Estimate(0.0, 0.0, 0.02, 300, "Wilson")), drawn(NOTHING)
    assert zero is not None
    assert missing is not None
    assert zero != missing


def test_every_control_has_a_colour_and_an_explanation() -> None:
    sides = {LOOP, *CONTROLS}
    assert sides <= set(figures.ARM_COLOURS)
    assert sides <= set(ARMS)
    assert set(CONTROLS) == set(QUESTIONS)


def test_without_a_pool_only_the_first_gap_panel_is_drawn() -> None:
    with_pool = figures.gap_by_round(make_run_report())
    without = figures.gap_by_round(make_run_report(rounds=(make_round(1, gap=make_gap(None)),)))
    assert height(without) < height(with_pool)


def test_money_is_drawn_only_where_some_was_paid() -> None:
    report = make_run_report()
    free = replace(report, cost=replace(report.cost, usd=0.0))
    assert height(figures.cost(free)) < height(figures.cost(report))


@pytest.mark.parametrize("name", ["$5 or $6", r"\frac{", "日本語", "a\nb", "x" * 500, ""])
def test_any_text_can_be_a_label(name: str) -> None:
    report = make_run_report()
    funnel = tuple(
        FunnelRow(row.cell, {**row.values, "label": name}, row.counts, row.reasons) for row in make_funnel("")
    )
    mixed = replace(report.test["mixed"], confusion={name: {name: 3, "other": 1}, "other": {"other": 2}})
    old = replace(make_eval("seeds", Role.DEV, 0.5), slices=(make_slice(name, 9, 0.5),))
    rounds = (make_round(1, funnel=funnel, dev={"seeds": old, "mixed": replace(old, arm="mixed")}),)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = figures.all_figures(replace(report, rounds=rounds, best_round=1, test={"mixed": mixed}))
    assert list(drawn) == NAMES


def test_before_is_seeds_only_and_after_is_mixed_in_the_best_round() -> None:
    report = make_run_report(best_round=1)
    before, after = figures.before_and_after(report)
    assert before is report.rounds[0].dev["seeds"]
    assert after is report.rounds[0].dev["mixed"]
    assert figures.before_and_after(make_run_report())[1] == make_round(2).dev["mixed"]


def test_slices_are_paired_by_name_and_need_both_values() -> None:
    one = replace(make_eval("seeds", Role.DEV, 0.5), slices=(make_slice("a", 9, 0.5), make_slice("b", 9, 0.6)))
    gone = replace(make_slice("b", 0, 0.5), value=None, low=None, high=None)
    two = replace(one, arm="mixed", slices=(gone, make_slice("a", 9, 0.7)))
    assert [(old.value, new.value) for old, new in figures.paired_slices(one, two)] == [(0.5, 0.7)]
    assert figures.paired_slices(None, two) == []


def test_many_slices_do_not_make_an_endless_picture() -> None:
    many = tuple(make_slice(f"s{i}", 30, 0.4 + 0.001 * i) for i in range(200))
    dev = {arm: replace(make_eval(arm, Role.DEV, 0.5), slices=many) for arm in ("seeds", "mixed")}
    few = {arm: replace(scored, slices=many[: figures.MOST_SLICES]) for arm, scored in dev.items()}
    tall = figures.slices_before_after(make_run_report(rounds=(make_round(1, dev=dev),), best_round=1))
    short = figures.slices_before_after(make_run_report(rounds=(make_round(1, dev=few),), best_round=1))
    assert height(tall) == height(short)


def test_funnel_totals_add_up_over_cells_in_the_order_of_the_stages() -> None:
    totals = figures.funnel_totals(make_funnel("ALPHA"))
    assert list(totals) == ["planned", "generated", "parsed", "unique", "accepted"]
    assert totals["planned"] == 9 * (32 + 20 + 20)
    assert totals["accepted"] == sum(row.counts["accepted"] for row in make_funnel("ALPHA"))


def test_coverage_counts_add_up_over_the_other_dimensions() -> None:
    rows = make_funnel("ALPHA")
    counts = figures.coverage_counts(rows, "length")
    assert set(counts) == {(label, length) for label in LABELS for length in LENGTHS}
    assert counts["ALPHA", "short"][1] == 3 * 32
    assert sum(accepted for accepted, _ in counts.values()) == sum(row.counts["accepted"] for row in rows)


def test_only_the_labels_with_most_errors_are_drawn() -> None:
    matrix = {f"l{i}": {f"l{i}": 100, "other": i} for i in range(30)}
    assert figures.confused_labels(matrix) == [f"l{i}" for i in range(10, 30)]
    assert figures.confused_labels({"a": {"a": 1}}) == ["a"]


def test_coverage_keeps_the_order_of_the_spec_whatever_the_order_of_the_rows() -> None:
    forward = make_run_report(rounds=(make_round(1),))
    backward = make_run_report(rounds=(make_round(1, funnel=make_funnel("ALPHA")[::-1]),))
    assert figures.coverage(forward) == figures.coverage(backward)


def test_a_bar_longer_than_the_plan_is_drawn_in_full() -> None:
    rows = tuple(replace(row, counts={"planned": 10, "generated": 25}) for row in make_funnel("ALPHA"))
    png = figures.funnel(make_run_report(rounds=(make_round(1, funnel=rows),)))
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        pixels = image.convert("RGB")
    widths: list[int] = []
    for y in range(pixels.height):
        blue = sum(pixels.getpixel((x, y)) == (0, 114, 178) for x in range(pixels.width))
        if blue > 20 and (not widths or widths[-1] != blue):
            widths.append(blue)
    assert max(widths) / min(widths) == pytest.approx(2.5, rel=0.02)
