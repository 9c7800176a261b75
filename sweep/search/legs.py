"""The legs of a trial: how it is recorded where it stands, and what a leg gave."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from model.epoch_selection import EpochSelection
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.outcome import Outcome
from studies.record.schema import LEG
from studies.rungs import rung_epochs
from sweep.coordination.task import Task, job_for
from sweep.workers.pool import Job

CONTROL_STREAM = 0x41554454
"""Seed-stream identifier of the draw that makes a trial an unpruned control."""

Marks = Mapping[int, tuple[float, float]]
"""The cost and the validation loss of a trial at each rung that it reached."""


@dataclass(frozen=True)
class Leg:
    """The last leg of a trial, as it is recorded.

    Attributes:
        rung: that it leads to; a short trial may reach the next ones after the same epoch.
        round: of its generation; None without generations.
        paused: whether the trial waits there.
    """

    rung: int
    round: int | None
    paused: bool = False


@dataclass(frozen=True)
class Result:
    """What a leg gave.

    Attributes:
        number: of the trial.
        marks: at each rung that the trial reached so far.
        outcome: of the trial; None if it paused.
        value: the objective at the selected epoch.
        epochs: of the trial so far.
        seconds: of training so far.
    """

    number: int
    marks: Marks
    outcome: Outcome | None
    value: float | None
    epochs: int
    seconds: float


def leg_of(study: Study, trial: FrozenTrial) -> Leg:
    """The last leg of a recorded trial; only trials of the pruner `halving` have a recorded one."""
    if LEG in trial.user_attrs:
        return Leg(**trial.user_attrs[LEG])
    return Leg(0, trial.number // study.generation if study.generation is not None else None)


def rungs_of(study: Study, settings: Hyperparameters) -> tuple[int, ...]:
    """The epoch, counted from 1, at which a trial with these settings reaches each rung."""
    return rung_epochs(settings.epochs, study.longest_epochs)


def recorded_result(study: Study, trial: FrozenTrial, settings: Hyperparameters) -> Result:
    """The result of a recorded trial's last leg, which has ended."""
    rows: list[Mapping[str, Any]] = []
    while (row := trial.user_attrs.get(f"epoch.{len(rows)}")) is not None:
        rows.append(row)
    values = [trial.intermediate_values.get(epoch) for epoch in range(len(rows))]
    outcome = Outcome(trial.user_attrs["outcome"]) if trial.state.is_finished() else None
    return _result(study, trial.number, settings, values, rows, outcome)


def result_of(study: Study, task: Task, outcome: Outcome | None) -> Result:
    """The result of a task's leg, which has ended; `outcome` is None if it paused."""
    settings = Hyperparameters(**task.job.hyperparameters)
    return _result(study, task.trial.number, settings, task.values, task.epochs, outcome)


def search_job(
    study: Study, number: int, settings: Hyperparameters, folder: Path, dataset: Path, rung: int | None = None
) -> Job:
    """The job of trial `number` of a study, up to a rung; (study seed, number) identify its random streams."""
    pause = None if rung is None else rungs_of(study, settings)[rung]
    return job_for(
        f"search/{number}",
        folder,
        dataset,
        study.seed,
        settings,
        [study.seed, number],
        EpochSelection(study.objective, study.epoch),
        pause_after=None if pause == settings.epochs else pause,
        folds=study.folds,
        seconds=study.trial_seconds,
    )


def is_control(study: Study, number: int) -> bool:
    """Whether a trial is an unpruned control: judged but never stopped. Decided by (study seed, trial number) alone."""
    words = np.random.SeedSequence([study.seed, number, CONTROL_STREAM])
    return study.pruner != "none" and bool(np.random.default_rng(words).random() < study.control)


def _result(
    study: Study,
    number: int,
    settings: Hyperparameters,
    values: Sequence[float | None],
    rows: Sequence[Mapping[str, Any]],
    outcome: Outcome | None,
) -> Result:
    """The result of a trial from the objective at the selected epoch after each epoch, and its epochs as recorded."""
    marks = {
        rung: (_cost(study, values[epoch - 1]), _number(rows[epoch - 1].get("validation_loss")))
        for rung, epoch in enumerate(rungs_of(study, settings))
        if epoch <= len(rows)
    }
    value = values[-1] if values else None
    return Result(number, marks, outcome, value, len(rows), sum(row["seconds"] for row in rows))


def _cost(study: Study, value: float | None) -> float:
    return math.inf if value is None else study.metric.cost(value)


def _number(value: float | None) -> float:
    return math.inf if value is None else value
