"""The views that MLflow offers: what its pages expect, and only charts of what was logged."""

from __future__ import annotations

import json
from typing import Any

from harness.mlflowviews import KEY, RESULTS, ROUNDS, experiment_tags, view_path

LOGGED = {"gap/recovered", "dev/macro_f1", "final/used/calls", "final/dev/mixed/macro_f1", "other"}


def state(name: str, logged: set[str] = LOGGED) -> dict[str, Any]:
    view = json.loads(experiment_tags("macro_f1", logged)[f"{KEY}{name}"])
    assert view["createdAt"] == view["updatedAt"]
    assert view["name"]
    return json.loads(view["state"])


def test_series_by_round_are_those_that_were_logged() -> None:
    assert [one["metricKey"] for one in state(ROUNDS)["compareRunCharts"]] == ["gap/recovered", "dev/macro_f1"]
    assert state(ROUNDS)["groupBy"] == "tag.average.variant"
    assert state(ROUNDS, set())["compareRunCharts"] == []


def test_results_are_one_chart() -> None:
    [chart] = state(RESULTS)["compareRunCharts"]
    assert (chart["type"], chart["selectedMetrics"]) == ("PARALLEL", ["final/used/calls", "final/dev/mixed/macro_f1"])
    [section] = state(RESULTS)["compareRunSections"]
    assert chart["metricSectionId"] == section["uuid"]


def test_tags_repeat_and_fit_into_mlflow() -> None:
    tags = experiment_tags("accuracy", LOGGED)
    assert tags == experiment_tags("accuracy", sorted(LOGGED))
    assert all(len(value) < 5000 for value in tags.values())
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert view_path("7", ROUNDS).startswith("/#/experiments/7/runs?")
