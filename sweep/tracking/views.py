"""The states of MLflow's pages that are worth a link: all trials best first, and the curves of one run.

Left to itself the page draws a chart for every metric in the order of the alphabet, bars of single numbers first. The
fields are those of MLflow 3.17; a page that does not know one ignores it.
"""

from __future__ import annotations

import hashlib
import json
from itertools import chain
from typing import Any

from model.metrics import METRICS
from studies.record.reader import SweepRecord
from sweep.tracking.axes import objective_axis, setting_axes
from sweep.tracking.marks import CHAMPION_TAG

STUDY_TAG = "sweep.study"
"""The tag by which the runs of one study are found."""
CURVES = ("validation_loss", "validation_accuracy", "train_loss", "train_accuracy")
BEST = "best_so_far"
"""The curve of the study's own run."""
VIEW, TABLE = "learning-curves", "trials"
"""Keys of the two views, see `views`."""
LONGEST_TAG = 5000
"""MLflow's limit for a tag of an experiment."""
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
    return {key: _as_tag(state) for key, state in states.items()}


def _as_tag(state: dict[str, Any]) -> str:
    """A state as JSON; without the list of charts that are not wanted if that would be too long for a tag."""
    for charts in (state["compareRunCharts"], [one for one in state["compareRunCharts"] if not one["deleted"]]):
        text = json.dumps({**state, "compareRunCharts": charts}, separators=(",", ":"))
        if len(text) <= LONGEST_TAG:
            break
    return text


def _view(record: SweepRecord, shown: str) -> dict[str, Any]:
    """The runs of the filter `shown`, best first."""
    columns = {
        "tags.`outcome`": 90,
        f"tags.`{CHAMPION_TAG}`": 90,
        "metrics.`objective`": 110,
        "metrics.`selected_epoch`": 120,
        **{f"params.`{key}`": 0 for key in record.study["space"]},
    }
    settings = {**_SECTION, "uuid": "settings", "name": "Settings against the objective", "columns": 1}
    return {
        "searchFilter": shown,
        "orderByKey": "metrics.`objective`",
        "orderByAsc": not record.maximize,
        "runsHiddenMode": "FIRST_10_RUNS",
        "selectedColumns": list(columns),
        "columnOrder": list(columns),  # else tags come last, out of sight
        "columnWidths": {name: width for name, width in columns.items() if width},
        "compareRunCharts": [
            *(_line(metric) for metric in curves(record.objective)),
            _parallel(record),
            *(_no_bars(metric) for metric in ("trial", *_axes(record))),
        ],
        "compareRunSections": [_CURVES_SECTION, settings, _REST_SECTION],
        "isAccordionReordered": True,
    }


def curves(objective: str) -> list[str]:
    """The curves that are drawn first: the objective's, if it is neither loss nor accuracy, and `CURVES`."""
    return [*([] if objective in CURVES else [objective]), *CURVES]


def run_charts() -> dict[str, object]:
    """The state of the page with one run's charts: its curves first. `best_so_far` is the study's own.

    The page leaves out those that a run does not have, and draws the best of a loss by its logarithm.
    """
    others = [metric.objective for metric in METRICS.values() if metric.objective not in CURVES]
    return {
        "compareRunCharts": [_line(metric) for metric in (*CURVES, BEST, *others, "epoch_learning_rate")],
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


def _axes(record: SweepRecord) -> list[str]:
    """Metrics that are there to be axes."""
    spaces = record.study["space"].items()
    found = (axis for name, space in spaces for axis in setting_axes(record, name, space))
    return [*found, objective_axis(record)]


def _no_bars(metric: str) -> dict[str, object]:
    """Says that the page's own chart of a metric was deleted."""
    return {
        "uuid": f"no-{metric}",
        "type": "BAR",
        "metricSectionId": "rest",
        "deleted": True,
        "isGenerated": True,
        "metricKey": metric,
    }


def _parallel(record: SweepRecord) -> dict[str, object]:
    """Every completed trial as a line through its settings to its objective, on the scales on which they are searched.

    The page leaves out trials that lack one of the values: those that were stopped, which have no objective here.
    """
    spaces = record.study["space"].items()
    own = {name: setting_axes(record, name, space) for name, space in spaces}
    alone = [] if own else ["selected_epoch"]  # a chart of one axis is refused
    return {
        "uuid": "parallel",
        "type": "PARALLEL",
        "runsCountToCompare": 10,
        "metricSectionId": "settings",
        "deleted": False,
        "isGenerated": False,
        "selectedParams": [name for name, found in own.items() if not found],
        "selectedMetrics": [*chain.from_iterable(own.values()), *alone, objective_axis(record)],
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
