"""Where trainings run: the jobs a pool is given, the events it delivers, and the `Pool` that every kind implements.

Worker processes import this module: it needs the standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class EnvironmentFailure(Exception):
    """Files or a cluster cannot be used; nothing is lost, the same command continues."""


@dataclass(frozen=True)
class Job:
    """One training, as the coordinator asks for it.

    Attributes:
        id: names the job in every line about it.
        folder: where its checkpoint and weights go; made if it is not there.
        dataset: a folder that `datasets.prepare` made.
        split_seed: of the validation split.
        hyperparameters: as `Hyperparameters.as_dict` gives them.
        seed: words of its random streams.
        objective, epoch: select an epoch, as `EpochSelection`.
        whole: learn from the validation examples too, and judge by nothing.
        stop_after: last epoch to run, counted from 1; None for all.
        seconds: longest training time, which the coordinator keeps; None for no limit.
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
    seconds: float | None = None


@dataclass(frozen=True)
class Event:
    """Something a worker said, or its death.

    Attributes:
        job: id of the job it concerns.
        worker: number of the worker.
        message: the line (see `sweep/workers/worker.py`); {"is": "died", "reason": ...} for a death. A cluster also
            says {"is": "began"} when a job leaves the queue, and {"is": "lost", "reason": ...} for an end that is not
            the job's fault.
    """

    job: str
    worker: int
    message: dict[str, Any]


class Pool(Protocol):
    """Where work is done: it starts a job, delivers what is said of it, asks it to stop, and notices its death."""

    @property
    def free(self) -> int:
        """How many more jobs can be started now."""

    @property
    def busy(self) -> Sequence[str]:
        """Ids of the jobs that run."""

    def start(self, job: Job) -> int:
        """Begin a job, and return the number of the worker that has it."""

    def stop(self, job: str) -> None:
        """Ask for an end after the epoch that runs; `stopped` or `done` will be said."""

    def end(self, job: str) -> None:
        """End a job at once; nothing more is heard of it."""

    def events(self, timeout: float) -> Sequence[Event]:
        """What was said, waiting for at most `timeout` seconds for the first word.

        Raises:
            EnvironmentFailure: no work can be done there any more.
        """

    def kill(self) -> None:
        """End all that runs; may be called from a signal handler, at any moment."""

    def close(self) -> None:
        """End all that runs, and forget it."""
