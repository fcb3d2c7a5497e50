import json
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_run_report

from harness.dynamics import FILE, MOST, Dynamics, RowDynamic, dynamics_of, read_dynamics, write_dynamics
from harness.figures import all_figures
from harness.frames import dynamics
from harness.records import Example, Origin
from harness.report import write_report


def example(number: int, origin: Origin = Origin.SYNTHETIC) -> Example:
    return Example(f"{origin}-{number}", f"text <b>{number}</b>", "ALPHA", {}, origin)


def test_confidence_is_the_mean_and_variability_the_spread() -> None:
    steady, torn, unseen = dynamics_of([0.9, 0.9]), dynamics_of([0.1, 0.9]), dynamics_of([])
    assert (steady.confidence, steady.variability, steady.visits) == (0.9, 0.0, 2)
    assert (torn.confidence, torn.variability) == (0.5, 0.4)
    assert (unseen.confidence, unseen.variability, unseen.visits) == (None, None, 0)


def test_the_hardest_synthetic_rows_come_with_their_texts(tmp_path: Path) -> None:
    rows = [example(0, Origin.REAL), *map(example, range(1, 31))]
    write_dynamics(tmp_path, [dynamics_of([0.0]), *(dynamics_of([index / 40]) for index in range(29)), dynamics_of([])])
    found = read_dynamics(tmp_path, rows, 0)
    assert found is not None
    assert (found.n, len(found.rows)) == (31, 30)
    assert found.visits == pytest.approx(30 / 31)
    assert [row.id for row in found.hardest] == [f"synthetic-{index}" for index in range(1, 21)]
    assert set(found.texts) == {row.id for row in found.hardest}


def test_of_very_many_rows_a_part_is_kept(tmp_path: Path) -> None:
    rows = [example(index) for index in range(MOST + 50)]
    write_dynamics(tmp_path, [dynamics_of([0.5])] * len(rows))
    found = read_dynamics(tmp_path, rows, 0)
    assert found is not None
    assert (found.n, len(found.rows)) == (MOST + 50, MOST)
    assert found == read_dynamics(tmp_path, rows, 0)


def test_an_adapter_without_a_map_has_none_and_one_of_other_rows_is_refused(tmp_path: Path) -> None:
    assert read_dynamics(tmp_path, [example(1)], 0) is None
    write_dynamics(tmp_path, [dynamics_of([0.5])])
    assert json.loads((tmp_path / FILE).read_text())[0]["visits"] == 1
    with pytest.raises(ValueError, match="argument"):
        read_dynamics(tmp_path, [example(1), example(2)], 0)


def test_the_report_draws_the_map_and_lists_what_is_hard() -> None:
    rows = tuple(
        RowDynamic(f"{origin}-{index}", origin, "ALPHA", index / 10, 0.1) for index in range(9) for origin in Origin
    )
    own = tuple(row for row in rows if row.origin is Origin.SYNTHETIC)[:2]
    found = Dynamics(18, 14.0, rows, own, {row.id: "a <script>hard</script> text" for row in own})
    report = replace(make_run_report(), dynamics=found)
    assert "dynamics" in all_figures(report)
    assert "dynamics" not in all_figures(make_run_report())
    assert len(dynamics(report)) == 18


def test_what_is_hard_is_escaped_on_the_page(tmp_path: Path) -> None:
    row = RowDynamic("syn-1", Origin.SYNTHETIC, "ALPHA", 0.1, 0.1)
    report = replace(make_run_report(), dynamics=Dynamics(1, 3.0, (row,), (row,), {"syn-1": "a <script>hard</script>"}))
    page = write_report(report, tmp_path).read_text(encoding="utf-8")
    assert "a &lt;script&gt;hard&lt;/script&gt;" in page
    assert "over the 3 times" in page
