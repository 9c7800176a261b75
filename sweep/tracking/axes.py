"""Numbers of a trial that are there to be axes of MLflow's parallel coordinates.

That chart has linear axes only, and silently leaves out every run that lacks a value of one of them. So settings that
are searched on a logarithmic scale are sent as their logarithms too, and layer sizes one number a layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from studies.record.reader import SweepRecord, TrialRecord

SMALLEST = 1e-12
"""A loss of 0 is drawn here."""


def axes(record: SweepRecord, trial: TrialRecord) -> dict[str, float | None]:
    """The numbers of one trial of the search, by metric.

    Only a completed trial has one for the objective: the chart leaves out all others, such as those that diverged,
    whose values would press the good ones into one line.
    """
    found: dict[str, float | None] = {}
    for name, space in record.study["space"].items():
        for axis in setting_axes(record, name, space):
            found[axis] = _number(axis, name, trial.hyperparameters[name])
    if trial.outcome == "complete" and trial.value is not None:
        found[objective_axis(record)] = _objective(record, trial.value)
    return found


def setting_axes(record: SweepRecord, name: str, space: Mapping[str, object]) -> list[str]:
    """The metrics of `axes` that say one searched setting; empty of one whose param is an axis as it is."""
    if isinstance(record.study["baseline"].get(name), (list, tuple)):
        return [f"layer_{number}_units" for number in range(1, _most_layers(record, name) + 1)]
    if space.get("log") == "complement":
        return [f"log10_one_minus_{name}"]
    return [f"log10_{name}"] if space.get("log") else []


def objective_axis(record: SweepRecord) -> str:
    """The metric that is the last axis, by which the lines are coloured: a logarithm tells the good ones apart."""
    return "log10_one_minus_objective" if record.metric.percent else "log10_objective"


def _most_layers(record: SweepRecord, name: str) -> int:
    """Hidden layers of the deepest network that the study file allows."""
    space = record.study["space"][name]
    given = [record.study["baseline"], *(record.study.get("start") or ())]
    sizes = [*space.get("choices", ()), *(settings[name] for settings in given if name in settings)]
    return max([*map(len, sizes), int(space.get("layers", (0, 0))[1])])


def _number(axis: str, name: str, value: object) -> float | None:
    """0 of a layer that a network does not have; None of a logarithm that does not exist."""
    if isinstance(value, tuple):
        layer = int(axis.split("_")[1])
        return float(value[layer - 1]) if layer <= len(value) else 0.0
    assert isinstance(value, (int, float))
    amount = 1 - value if axis == f"log10_one_minus_{name}" else value
    return math.log10(amount) if amount > 0 else None


def _objective(record: SweepRecord, value: float) -> float:
    if not record.metric.percent:
        return math.log10(max(value, SMALLEST))
    return math.log10(max(1 - value, 0.5 / record.validated))  # without a mistake: as with half of one
