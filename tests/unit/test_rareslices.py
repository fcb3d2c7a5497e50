"""Which slices are rare, and that a generation which no longer writes about one is found out."""

from __future__ import annotations

import numpy as np
import pytest
from collapse_cases import Source, baseline_of, read, unit

from eval.collapse import RareSlices, judge
from eval.confirm import matched_radii
from eval.diversity import nearest
from harness.generations import ArmReport
from harness.generationwords import arm_lines, arm_tables, rare_tables
from harness.rareslices import TOGETHER, rare_slices
from harness.records import Example, Origin


def example(number: int, label: str, fine: str) -> Example:
    return Example(f"real-{number}", f"text {number}", label, {"fine": fine, "length": "short"}, Origin.REAL)


REAL = [example(n, "LOC" if n < 4 else "HUM", "a" if n < 2 else "b" if n < 6 else "c") for n in range(100)]
ANCHORS = [example(n, "LOC" if n < 5 else "HUM", "abcd"[n // 4] if n < 16 else "c") for n in range(40)]


def vectors(anchors: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return unit(rng.normal(size=(100, 8))), unit(rng.normal(size=(anchors, 8)))


def test_labels_and_columns_of_a_small_share_are_rare() -> None:
    found = rare_slices(REAL, ANCHORS, vectors(), ["fine"], 0.05, 50)
    assert found is not None
    # `b` has 4 of 100 real rows, `d` none, and `length` is no column that a person named.
    assert found.members == {
        "fine=a": (0, 1, 2, 3),
        "fine=b": (4, 5, 6, 7),
        "label=LOC": (0, 1, 2, 3, 4),
        TOGETHER: tuple(range(8)),
    }
    assert len(found.radius) == 40
    assert all(radius > 0 for radius in found.radius)


def test_the_bound_is_a_share_of_the_real_rows_not_of_the_anchors() -> None:
    found = rare_slices(REAL, ANCHORS, vectors(), ["fine"], 0.03, 50)
    assert found is not None
    assert list(found.members) == ["fine=a"]


def test_nothing_is_rare_with_few_anchors_or_large_slices() -> None:
    assert rare_slices(REAL, ANCHORS, vectors(), [], 0.01, 50) is None
    assert rare_slices(REAL, [], vectors(0), ["fine"], 0.5, 50) is None
    assert rare_slices(REAL, [ANCHORS[0], ANCHORS[1], *ANCHORS[8:]], vectors(34), ["fine"], 0.05, 50) is None


def test_radii_give_real_items_the_recall_that_was_asked_for() -> None:
    source = Source(8)
    anchors, real = source(400), source(2000)
    radius = np.array(matched_radii(anchors, real, 100, 0.8))
    fresh = [nearest(anchors, source(100)) <= radius for _ in range(20)]
    assert np.mean(fresh) == pytest.approx(0.8, abs=0.03)
    assert matched_radii(anchors, real[:50], 100) == pytest.approx(nearest(anchors, real[:50]))
    for wrong in ({"size": 0}, {"recall": 1.0}, {"real": real[:0]}):
        with pytest.raises(ValueError, match="matched_radii"):
            matched_radii(**{"anchors": anchors, "real": real, "size": 100, **wrong})


def test_a_rare_slice_that_is_written_no_more_is_lost_by_generation() -> None:
    """Thirty modes; the first and the last are slices of 3 in 100 real rows, and the last goes from generation 2 on."""
    source = Source(6)
    modes, own = np.arange(900) % 30, np.array([0] * 10 + [29] * 10 + [*range(1, 29)] * 2)
    rows, anchors = (unit(source.centres[one] + 0.2 * source.rng.normal(size=(len(one), 16))) for one in (modes, own))
    real, examples = (
        [example(n, "HUM", f"mode {mode}" if mode in (0, 29) else "other") for n, mode in enumerate(one)]
        for one in (modes, own)
    )
    rare = rare_slices(real, examples, (rows, anchors), ["fine"], 0.05, 150)
    assert rare is not None
    assert set(rare.members) == {"fine=mode 0", "fine=mode 29", TOGETHER}
    baseline = baseline_of(source, anchors, size=150)
    later = (source(150), source(150, modes=29), source(150, modes=29))
    verdict = judge(baseline, read(baseline, anchors, *later), slices=rare)
    recalls = {one.name: one for one in verdict.slices}
    lost = recalls["fine=mode 29"]
    assert lost.lost
    assert not recalls["fine=mode 0"].lost
    assert len(lost.course) == 4
    before, first, *_, last = [value or 0.0 for value in lost.course]
    assert before == pytest.approx(0.95, abs=0.1)
    assert first > 0.5
    assert (before, last) == (lost.before.value, lost.now.value)
    assert last < 0.2
    arm = ArmReport("replace", (), _check(verdict), _check(verdict), (2.0,) * 4, (1.0,) * 4, ())
    (table,) = rare_tables(arm)
    shown = next(row for row in table.rows if row[0] == "fine=mode 29")
    assert table.columns == ("rare slice", "anchors", "gen 0", "gen 1", "gen 2", "gen 3", "q", "lost")
    assert (shown[1], shown[2], shown[-1]) == ("10", f"{before:.2f}", "lost")
    report = _report(arm)
    assert table.title in [one.title for one in arm_tables(report)]
    assert "rare slices is lost: " in arm_lines(report)[0]


def test_a_generation_that_is_not_judged_has_no_recall() -> None:
    source = Source(3)
    anchors = source(60)
    rare = RareSlices({"x": tuple(range(9))}, matched_radii(anchors, source(200), 80))
    baseline = baseline_of(source, anchors)
    verdict = judge(baseline, read(baseline, anchors, source(80), source(5), source(80)), slices=rare)
    (one,) = verdict.slices
    assert [value is None for value in one.course] == [False, False, True, False]


def _check(verdict: object):
    from harness.collapsecheck import CollapseCheck

    return CollapseCheck("e@1", "anchors", (), verdict, (), ())  # type: ignore[arg-type]


def _report(arm: ArmReport):
    from harness.generations import GenerationsReport

    return GenerationsReport("collapse-1", "tiny", 0, {}, 100, 60, (arm,), "", {}, {}, ())
