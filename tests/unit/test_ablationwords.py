from harness.ablationreport import Ablation, FilterAblation
from harness.ablationwords import ablation_figure, ablation_lines, ablation_table, verdict
from harness.frames import ablation
from harness.records import Comparison, Estimate


def worth(value: float, low: float, high: float, adjusted: float) -> Comparison:
    return Comparison(
        "all filters", "x", "accuracy", Estimate(value, low, high, 300, "bootstrap"), adjusted / 3, 0.1, 0.05, adjusted
    )


def ablated(name: str, comparison: Comparison | None, note: str = "", **counts: int) -> FilterAblation:
    parts = {"dropped": 0, "relabelled": 0, "rows": 90, "calls": 0, "trainings": 0} | counts
    score = Estimate(0.7, 0.65, 0.75, 300, "Wilson") if comparison else None
    return FilterAblation(filter=name, score=score, comparison=comparison, note=note, **parts)


FOUND = Ablation(
    run="run-1",
    metric="accuracy",
    candidates=1234,
    rows=80,
    score=Estimate(0.8, 0.75, 0.85, 300, "Wilson"),
    filters=(
        ablated("format", None, "the same rows come through without it"),
        ablated("consistency", worth(0.1, 0.05, 0.15, 0.003), dropped=40, relabelled=20, trainings=8),
        ablated("difficulty", worth(0.02, 0.001, 0.04, 0.2)),
        ablated("duplicates", worth(0.01, -0.02, 0.04, 0.9), dropped=5),
        ablated("judge", worth(-0.04, -0.07, -0.01, 0.03), "7 rows were not graded", calls=120),
        ablated("quota", worth(-0.02, -0.04, -0.001, 0.2)),
    ),
)


def test_each_verdict_follows_the_interval_and_the_adjusted_p() -> None:
    said = {one.filter: verdict(one) for one in FOUND.filters}
    assert said["format"] == "Not measured: the same rows come through without it."
    assert said["consistency"] == "Earned its place: +10.0 points (+5.0 to +15.0)."
    assert said["difficulty"].startswith("May have earned its place")
    assert said["duplicates"].startswith("No measurable effect")
    assert said["judge"].startswith("Did harm here")
    assert said["quota"].startswith("May have done harm here")
    assert said["judge"].endswith("(7 rows were not graded).")


def test_the_table_has_all_filters_first_and_what_each_costs() -> None:
    table = ablation_table(FOUND)
    assert "1,234 candidates, accuracy on dev (n = 300)" in table.title
    assert [row[0] for row in table.rows] == ["all filters", *(one.filter for one in FOUND.filters)]
    assert all(len(row) == len(table.columns) for row in table.rows)
    cost = {row[0]: row[-1] for row in table.rows}
    assert cost["consistency"] == "8 trainings a round"
    assert cost["judge"] == "120 calls in the last round"
    assert cost["format"] == "nothing to speak of"


def test_the_terminal_says_how_the_figures_are_meant() -> None:
    *lines, last = ablation_lines(FOUND)
    assert [line.partition(":")[0] for line in lines] == [one.filter for one in FOUND.filters]
    assert "dev steered the rounds" in last


def test_a_picture_only_where_something_was_compared() -> None:
    assert ablation_figure(FOUND) is not None
    assert ablation_figure(Ablation("run-1", "accuracy", 9, 8, FOUND.score, FOUND.filters[:1])) is None


def test_the_data_frame_has_a_row_per_filter() -> None:
    found = ablation(FOUND)
    assert list(found.index) == [one.filter for one in FOUND.filters]
    assert found.loc["consistency", "worth_low"] == 0.05
    assert ablation(None).empty
