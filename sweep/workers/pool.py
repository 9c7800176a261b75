"""The interface of worker pools: the jobs a pool runs, the events it returns, and the protocol `Pool`.

Worker processes import this module: standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sweep.workers.messages import Message


class EnvironmentFailure(Exception):
    """Files or a cluster cannot be used. Nothing is lost: run the same command again to resume."""


@dataclass(frozen=True)
class Job:
    """The training of a trial: one training run, or one for each fold.

    Attributes:
        id: names the job in every message about it.
        folder: for its checkpoint and weights; created if it is missing.
        dataset: a folder written by `datasets.prepare`.
        split_seed: of the validation split.
        hyperparameters: as returned by `Hyperparameters.as_dict`.
        seed: integers that identify its random streams.
        objective, epoch: the rule of the selected epoch, as in `EpochSelection`.
        whole: train on the validation examples too, and evaluate nothing.
        stop_after: last epoch to run, counted from 1; None for all.
        pause_after: epoch, counted from 1, after which to save a checkpoint and report `PAUSED`; None for no pause.
        folds: parts of the examples, each of which validates one training run; 1 for a single validation part.
        seconds: longest training time of all folds together, enforced by the coordinator; None for no limit.
    """

    id: str
    folder: str
    dataset: str
    split_seed: int
    hyperparameters: dict[str, Any]
    seed: list[int]
    objective: str
    epoch: str
    whole: bool = False
    stop_after: int | None = None
    pause_after: int | None = None
    folds: int = 1
    seconds: float | None = None


@dataclass(frozen=True)
class Event:
    """A message about a job.

    Attributes:
        job: id of the job.
        worker: number of the worker.
        message: from the worker, or from the pool about the worker.
    """

    job: str
    worker: int
    message: Message


class Pool(Protocol):
    """Workers that train jobs: starts a job, delivers its messages, stops it, and notices when its worker exits."""

    def __len__(self) -> int:
        """Number of jobs that can run at once."""

    @property
    def free(self) -> int:
        """Number of jobs that can be started now."""

    @property
    def busy(self) -> Sequence[str]:
        """Ids of the jobs that are running."""

    def start(self, job: Job) -> int:
        """Start a job and return the number of its worker."""

    def stop(self, job: str) -> None:
        """Stop a job after its current epoch. `STOPPED` follows, or `DONE` if that epoch was the last."""

    def end(self, job: str) -> None:
        """End a job at once. No message about it follows."""

    def events(self, timeout: float) -> Sequence[Event]:
        """All events since the last call; waits up to `timeout` seconds if there are none.

        Raises:
            EnvironmentFailure: the pool can run no more jobs.
        """

    def kill(self) -> None:
        """End all jobs. May be called from a signal handler at any moment."""

    def close(self) -> None:
        """End all jobs and release every resource."""
