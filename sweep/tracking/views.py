"""The states of MLflow's pages that are worth a link: all trials best first, and the curves of one run.

Left to itself the page draws a chart for every metric in the order of the alphabet, bars of single numbers first. The
fields are those of MLflow 3.17; a page that does not know one ignores it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from studies.record.reader import SweepRecord

STUDY_TAG = "sweep.study"
"""The tag by which the runs of one study are found."""
CURVES = ("validation_loss", "validation_accuracy", "train_loss", "train_accuracy")
VIEW, TABLE = "learning-curves", "trials"
"""Keys of the two views, see `views`."""
CONFIRMATION = ("screen", "confirm", "final")
"""Roles of the runs of a confirmation, which are no trials."""
NO_CONFIRMATION = "params.seed_index IS NULL"
"""A filter for every other run, also one of a user's own: MLflow's `!=` leaves out runs that have no such tag."""
_SECTION = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
_CURVES_SECTION = {**_SECTION, "uuid": "curves", "name": "Learning curves", "columns": 2, "cardHeight": 280}
_REST_SECTION = {**_SECTION, "uuid": "rest", "name": "Model metrics", "isGenerated": True}


def views(record: SweepRecord, study_run: str, identity: str) -> dict[str, str]:
    """The states of MLflow's page that are worth a link, by their keys, as MLflow keeps a shared view.

    Left to itself the page draws a chart for every metric in the order of the alphabet, bars of single numbers first,
    confirm runs among the trials, and a table without a metric. The fields are those of MLflow 3.17's own
    `mlflow.sharedViewState` tags; a page that does not know one ignores it.

    An experiment may hold several studies, such as one that was deleted and another of the same name. The view that
    is linked, `VIEW` with the study's key, has only the study's own trials; the page opens with `TABLE`, of all.

    Args:
        record: the study.
        study_run: id of its run, which stands above those of its trials in the table.
        identity: value of the tag `STUDY_TAG` of its runs.
    """
    table = {**_view(record, NO_CONFIRMATION), "runsPinned": [study_run]}
    trials = " and ".join(f"tags.role != '{role}'" for role in ("study", *CONFIRMATION))
    own = _view(record, f"tags.`{STUDY_TAG}` = '{identity}' and {trials}")
    states = {view_key(identity): own, TABLE: table}
    return {key: json.dumps(state, separators=(",", ":")) for key, state in states.items()}


def _view(record: SweepRecord, shown: str) -> dict[str, object]:
    """The runs of the filter `shown`, best first."""
    searched = list(record.study["space"])
    settings = {**_SECTION, "uuid": "settings", "name": "Settings against the objective", "columns": 1}
    return {
        "searchFilter": shown,
        "orderByKey": "metrics.`objective`",
        "orderByAsc": not record.maximize,
        "runsHiddenMode": "FIRST_10_RUNS",
        "selectedColumns": [
            "tags.`outcome`",
            "metrics.`objective`",
            "metrics.`selected_epoch`",
            *(f"params.`{key}`" for key in searched),
        ],
        "compareRunCharts": [
            *(_line(metric) for metric in CURVES),
            _parallel([key for key in searched if _drawable(record, key)]),
        ],
        "compareRunSections": [_CURVES_SECTION, settings, _REST_SECTION],
        "isAccordionReordered": True,
    }


def run_charts() -> dict[str, object]:
    """The state of the page with one run's charts: its curves first. `best_so_far` is the study's own."""
    return {
        "compareRunCharts": [_line(metric) for metric in (*CURVES, "best_so_far")],
        "compareRunSections": [_CURVES_SECTION, _REST_SECTION],
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _line(metric: str) -> dict[str, object]:
    """A chart of one metric over the epochs; `isGenerated` keeps the page from adding its own for the same metric."""
    return {
        "uuid": metric,
        "type": "LINE",
        "runsCountToCompare": 10,
        "metricSectionId": "curves",
        "deleted": False,
        "isGenerated": True,
        "displayName": metric,
        "metricKey": metric,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "log" if metric.endswith("loss") else "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _drawable(record: SweepRecord, key: str) -> bool:
    """Whether a setting can be an axis.

    Layer sizes cannot: where most are one number, as `64`, the page silently leaves out every trial with two, as
    `128-64`, and the winner may be among them.
    """
    return not isinstance(record.study["baseline"].get(key), (list, tuple))


def _parallel(searched: Sequence[str]) -> dict[str, object]:
    """Every trial that has an objective as a line through its settings to it."""
    return {
        "uuid": "parallel",
        "type": "PARALLEL",
        "runsCountToCompare": 10,
        "metricSectionId": "settings",
        "deleted": False,
        "isGenerated": False,
        "selectedParams": list(searched),
        "selectedMetrics": ["selected_epoch", "objective"],  # two, because a chart of one axis is refused
        "showAllRuns": True,
    }


def charts(experiment_id: str, key: str) -> str:
    """Where the page shows the learning curves of a study side by side, without the server's address."""
    asked = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={key}"
    return f"#/experiments/{experiment_id}/runs?{asked}"


def tag(key: str) -> str:
    """The tag of an experiment that holds the view of this key."""
    return f"mlflow.sharedViewState.{key}"


def view_key(identity: str) -> str:
    """The key of the view of a study's trials, in the address and in the experiment's tag that holds it."""
    return f"{VIEW}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
