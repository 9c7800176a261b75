"""The coordinator's state of a trial that is waiting for a worker or has one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from model.epoch import Epoch
from model.epoch_selection import EpochSelection
from model.hyperparameters import Hyperparameters
from studies.record.outcome import Outcome
from sweep.storage.trial_log import TrialLog
from sweep.workers.pool import Job


@dataclass
class Task:
    """A trial that is waiting for a worker or has one.

    Attributes:
        log: the log that records it.
        trial: as it was recorded at its start.
        job: its training.
        selection: the rule of the selected epoch.
        epochs: recorded rows, in order.
        values: the objective at the selected epoch, after each of them.
        selected: the selected epoch so far.
        deaths: number of exits of its workers.
        paused: whether it waits at a rung for its promotion, or has just been promoted.
        ended: whether its outcome is recorded; later messages are ignored.
        seconds_before: training time of the epochs recorded before its current worker got it.
        started: `time.monotonic()` when its current worker got it.
        progressed: `time.monotonic()` of its last step or epoch.
        steps: optimizer steps at its last heartbeat.
    """

    log: TrialLog
    trial: FrozenTrial
    job: Job
    selection: EpochSelection
    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    selected: Epoch | None = None
    deaths: int = 0
    paused: bool = False
    ended: bool = False
    seconds_before: float = 0.0
    started: float = 0.0
    progressed: float = 0.0
    steps: int = -1

    def seconds(self) -> float:
        """Training time so far, on earlier workers and the current one."""
        return self.seconds_before + time.monotonic() - self.started

    @property
    def value(self) -> float | None:
        """The objective at the selected epoch so far; None without validation examples."""
        return self.selection.value(self.selected) if self.selected else None

    def begin(self) -> None:
        """A worker gets the job now."""
        self.seconds_before, self.steps = sum(row["seconds"] for row in self.epochs), -1
        self.restart_clock()

    def restart_clock(self) -> None:
        """The worker starts to train now."""
        self.started = self.progressed = time.monotonic()

    def heartbeat(self, steps: int) -> None:
        """Note the number of optimizer steps; only a changed one is progress."""
        if steps != self.steps:
            self.steps, self.progressed = steps, time.monotonic()

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        """Add the next epoch.

        Args:
            row: as returned by `Epoch.row`.
        """
        epoch = Epoch.from_row(len(self.epochs), row)
        if self.selection.prefers(epoch, self.selected):
            self.selected = epoch
        self.epochs.append(row)
        self.values.append(self.value)


def state_of(outcome: Outcome) -> TrialState:
    """Optuna's state of a trial; those that led to no result are PRUNED.

    Samplers ignore FAIL and would try the same settings again.
    """
    states = {Outcome.COMPLETE: TrialState.COMPLETE, Outcome.FAILED: TrialState.FAIL}
    return states.get(outcome, TrialState.PRUNED)


def task_from(log: TrialLog, trial: FrozenTrial, job: Job) -> Task:
    """The task of a recorded trial, with the epochs recorded so far."""
    task = Task(log, trial, job, EpochSelection(job.objective, job.epoch), deaths=trial.user_attrs.get("deaths", 0))
    while (row := trial.user_attrs.get(f"epoch.{len(task.epochs)}")) is not None:
        task.add_epoch({key: value for key, value in row.items() if key != "time"})
    return task


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
    pause_after: int | None = None,
    folds: int = 1,
    seconds: float | None = None,
) -> Job:
    """A `Job`, whose fields can all be written as JSON."""
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
        pause_after=pause_after,
        folds=folds,
        seconds=seconds,
    )
