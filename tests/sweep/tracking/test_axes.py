"""The axes of MLflow's parallel coordinates: numbers that the chart can draw, of the trials that are worth it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from recorded import HYPERPARAMETERS, STUDY, Recorded

from model.hyperparameters import FIELDS
from studies.record.reader import SweepRecord, read
from sweep.tracking import views
from sweep.tracking.axes import axes

SPACE = {
    "hidden_sizes": {"kind": "layers", "layers": [1, 3], "units": [16, 256], "log": True},
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "beta2": {"kind": "float", "low": 0.9, "high": 0.9999, "log": "complement"},
    "batch_size": {"kind": "choice", "choices": [32, 64, 128]},
    "beta1": {"kind": "float", "low": 0.8, "high": 0.99, "log": False},
}


def recorded(folder: Path, **changes: object) -> SweepRecord:
    made = Recorded(folder, STUDY | {"space": SPACE} | changes)
    for outcome in ("complete", "pruned", "diverged"):
        made.add(outcome, 2)
    return read(made.close())


def test_a_trial_has_a_number_for_every_axis(tmp_path: Path) -> None:
    """A layer that it does not have counts 0, since the chart leaves out what has a gap."""
    record = recorded(tmp_path / "digits")
    settings = HYPERPARAMETERS | {"hidden_sizes": (128, 64), "learning_rate": 0.001, "beta2": 0.999}
    trial = replace(record.trials[0], hyperparameters=settings, value=0.9)

    assert axes(record, trial) == pytest.approx(
        {
            "layer_1_units": 128,
            "layer_2_units": 64,
            "layer_3_units": 0,
            "log10_learning_rate": -3,
            "log10_one_minus_beta2": -3,
            "log10_one_minus_objective": -1,
        }
    )


def test_only_a_completed_trial_has_the_last_axis(tmp_path: Path) -> None:
    """So the chart leaves out the others."""
    record = recorded(tmp_path / "digits")

    assert ["log10_one_minus_objective" in axes(record, trial) for trial in record.trials] == [True, False, False]


@pytest.mark.parametrize(
    ("objective", "value", "axis"), [("loss", 0.01, -2), ("loss", 0.0, -12), ("accuracy", 1.0, -2.46)]
)
def test_the_objective_is_on_a_logarithmic_axis(tmp_path: Path, objective: str, value: float, axis: float) -> None:
    """Without a mistake among 144 validation examples an accuracy is drawn as with half of one."""
    direction = "minimize" if objective == "loss" else "maximize"
    record = recorded(tmp_path / "digits", objective=f"validation_{objective}", direction=direction)
    found = axes(record, replace(record.trials[0], value=value))

    assert list(found.values())[-1] == pytest.approx(axis, abs=0.01)


def test_a_setting_of_zero_has_no_logarithm(tmp_path: Path) -> None:
    record = recorded(tmp_path / "digits")
    settings = HYPERPARAMETERS | {"hidden_sizes": (8,), "learning_rate": 0.0}

    assert axes(record, replace(record.trials[0], hyperparameters=settings))["log10_learning_rate"] is None


def test_the_deepest_network_of_the_study_file_counts(tmp_path: Path) -> None:
    """The settings of a `[[start]]` may have more layers than the space."""
    record = recorded(tmp_path / "digits", start=[{"hidden_sizes": [8, 8, 8, 8, 8]}])

    assert sum(name.startswith("layer_") for name in axes(record, record.trials[0])) == 5


def test_choices_of_layers_count_too(tmp_path: Path) -> None:
    space = {"hidden_sizes": {"kind": "choice", "choices": [[8], [8, 8, 8, 8]]}}
    record = recorded(tmp_path / "digits", space=space)

    assert sum(name.startswith("layer_") for name in axes(record, record.trials[0])) == 4


def test_the_chart_has_every_searched_setting_and_ends_with_the_objective(tmp_path: Path) -> None:
    record = recorded(tmp_path / "digits")
    view = json.loads(views.views(record, "aa", "5eed/digits")[views.TABLE])

    (parallel,) = [chart for chart in view["compareRunCharts"] if chart["type"] == "PARALLEL"]
    assert parallel["selectedParams"] == ["batch_size", "beta1"]
    assert parallel["selectedMetrics"][-1] == "log10_one_minus_objective"
    drawn = axes(record, record.trials[0])
    assert set(parallel["selectedMetrics"]) == set(drawn)
    assert all(number is not None and math.isfinite(number) for number in drawn.values())
    assert parallel["showAllRuns"]


def test_a_study_without_a_search_has_two_axes(tmp_path: Path) -> None:
    """The page refuses a chart of one."""
    record = recorded(tmp_path / "digits", space={})
    view = json.loads(views.views(record, "aa", "5eed/digits")[views.TABLE])

    (parallel,) = [chart for chart in view["compareRunCharts"] if chart["type"] == "PARALLEL"]
    assert parallel["selectedMetrics"] == ["selected_epoch", "log10_one_minus_objective"]


def test_the_views_of_a_search_of_everything_fit_in_a_tag(tmp_path: Path) -> None:
    """Those of fewer settings also say which charts of single numbers are not wanted."""
    number = {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}
    everything = dict.fromkeys(FIELDS, number) | {name: number | {"log": "complement"} for name in ("beta1", "beta2")}
    layers = {"hidden_sizes": {"kind": "layers", "layers": [1, 5], "units": [8, 99], "log": True}}
    full = recorded(tmp_path / "full", space=everything | layers, objective="validation_balanced_accuracy")
    usual = recorded(tmp_path / "usual")
    kept = [views.views(record, "a" * 32, f"{'a' * 32}/{'n' * 40}") for record in (full, usual)]

    assert max(len(view) for views_of_one in kept for view in views_of_one.values()) <= 5000
    unwanted = [
        [chart["metricKey"] for chart in json.loads(one[views.TABLE])["compareRunCharts"] if chart["deleted"]]
        for one in kept
    ]
    assert unwanted == [[], ["trial", *axes(usual, usual.trials[0])]]
