"""A trial that waits for a worker or has one, as the coordinator knows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from model.epoch import Epoch, EpochSelection
from model.hyperparameters import Hyperparameters
from sweep.storage.trial_log import TrialLog
from sweep.workers.pool import Job


@dataclass
class Task:
    """A trial that is at work or waits for a worker.

    Attributes:
        log: where it is recorded.
        trial: as it was begun.
        job: what a worker is asked to do.
        hyperparameters: decoded.
        epochs: those recorded, in order.
        values: the objective so far, after each of them.
        selection: which epoch is selected.
        selected: the epoch selected so far.
        deaths: how often its worker died.
        ended: a verdict was recorded; what its worker still says is not.
        before: seconds of the epochs that were recorded when a worker got it.
        begun: `time.monotonic()` when a worker got it, and `moved` when it last took a step; `steps` so far.
    """

    log: TrialLog
    trial: FrozenTrial
    job: Job
    selection: EpochSelection
    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    selected: Epoch | None = None
    deaths: int = 0
    ended: bool = False
    before: float = 0.0
    begun: float = 0.0
    moved: float = 0.0
    steps: int = -1

    def seconds(self) -> float:
        """Training time so far: of the epochs recorded before this start, and since."""
        return self.before + time.monotonic() - self.begun

    @property
    def value(self) -> float | None:
        """The objective at the epoch selected so far; None where nothing is held out."""
        return self.selection.value(self.selected) if self.selected else None


def task_from(log: TrialLog, trial: FrozenTrial, job: Job) -> Task:
    """A task as the database has it; of a fresh trial or of an interrupted one."""
    task = Task(log, trial, job, EpochSelection(job.objective, job.epoch), deaths=trial.user_attrs.get("deaths", 0))
    while (row := trial.user_attrs.get(f"epoch.{len(task.epochs)}")) is not None:
        note_epoch(task, {key: value for key, value in row.items() if key != "time"})
    return task


def note_epoch(task: Task, numbers: Mapping[str, Any]) -> None:
    """Add an epoch's numbers to what the task knows."""
    epoch = Epoch.from_row(len(task.epochs), numbers)
    if task.selection.prefers(epoch, task.selected):
        task.selected = epoch
    task.epochs.append(numbers)
    task.values.append(task.value)


def job_for(
    identity: str,
    folder: Path,
    dataset: Path,
    split_seed: int,
    settings: Hyperparameters,
    seed: list[int],
    selection: EpochSelection,
    *,
    whole: bool = False,
    stop_after: int | None = None,
    seconds: float | None = None,
) -> Job:
    """A training as a worker is asked for it; everything in it can be written as JSON."""
    return Job(
        id=identity,
        folder=str(folder),
        dataset=str(dataset),
        split_seed=split_seed,
        hyperparameters=settings.as_dict(),
        seed=seed,
        objective=selection.objective,
        epoch=selection.epoch,
        whole=whole,
        stop_after=stop_after,
        seconds=seconds,
    )
