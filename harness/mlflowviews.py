"""Views that MLflow's pages offer under *Views*: variants by round, and variants by what they came to.

MLflow keeps a view as a tag of the experiment (`mlflow.sharedViewState.<id>`): its name, when it was made, and the
state of the page as JSON. Without one, its charts begin with whatever is first in the alphabet, a line for each round.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from harness.store import canonical

KEY = "mlflow.sharedViewState."
ROUNDS, RESULTS = "harness-rounds", "harness-results"
NAMES = {ROUNDS: "Variants by round", RESULTS: "What variants came to"}
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Training, not GenAI: else the pages open on traces, of which there are none."""
MADE = 1767225600000
"""2026-01-01 in ms, for all of them: a view has no history, and tracking twice changes nothing."""
RUNS = "tags.kind = 'run'"


def experiment_tags(metric: str, logged: Collection[str]) -> dict[str, str]:
    """Tags of an experiment whose runs are judged by `metric`: its kind and its views, of those metrics that are
    `logged` (a chart of others stays empty)."""
    states = {ROUNDS: _by_round(metric, logged), RESULTS: _results(metric, logged)}
    views = {
        f"{KEY}{name}": canonical(
            {"name": NAMES[name], "createdAt": MADE, "updatedAt": MADE, "state": canonical(state)}
        )
        for name, state in states.items()
    }
    return KIND | views


def view_path(experiment: str, view: str) -> str:
    """Where MLflow's pages show a view: `/#/experiments/1/runs?…&viewStateShareKey=…`."""
    return (
        f"/#/experiments/{experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={view}"
    )


def _by_round(metric: str, logged: Collection[str]) -> dict[str, object]:
    """One line a variant, the mean over its seeds."""
    series = ("gap/recovered", "gap/transfer", "gap/source", f"dev/{metric}", "accepted/share", "cost/calls")
    charts = [_line(key) for key in series if key in logged]
    return _page(charts, "By round", metric, columns=3) | {"groupBy": "tag.average.variant"}


def _results(metric: str, logged: Collection[str]) -> dict[str, object]:
    """Parallel coordinates of all runs, a line each."""
    metrics = ("final/used/calls", "final/accepted_share", "final/dev/gap/recovered", f"final/dev/mixed/{metric}")
    shown = [key for key in metrics if key in logged]
    chart = {**_chart("PARALLEL", "results"), "selectedMetrics": shown, "selectedParams": [], "showAllRuns": True}
    return _page([chart], "Results on dev", metric, columns=1)


def _line(key: str) -> dict[str, object]:
    """Unsmoothed: the pages else draw a moving average, which of a few rounds shows values that none of them had."""
    return {
        **_chart("LINE", key),
        "metricKey": key,
        "selectedMetricKeys": [key],
        "xAxisKey": "step",
        "lineSmoothness": 0,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _chart(kind: str, name: str) -> dict[str, object]:
    return {"type": kind, "uuid": name, "metricSectionId": "harness", "deleted": False, "isGenerated": False}


def _page(charts: Sequence[Mapping[str, object]], section: str, metric: str, *, columns: int) -> dict[str, object]:
    table = ["tags.`variant`", "tags.`seed`", f"metrics.`final/dev/mixed/{metric}`", "metrics.`final/used/calls`"]
    return {
        "searchFilter": RUNS,
        "selectedColumns": table,
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "compareRunSections": [
            {"uuid": "harness", "name": section, "display": True, "isReordered": True, "columns": columns}
        ],
        "compareRunCharts": list(charts),
    }
