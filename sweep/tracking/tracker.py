"""What reconciliation needs of an experiment tracker: one Protocol and its plain values.

`sweep/tracking/mlflow/client.py` implements it with MLflow; `tests/sweep/memory_tracker.py` in memory.
A tracker only stores what it is given. Which runs there should be is decided in `trial_run.py` and `study_run.py`;
what is sent, and in which order, in `reconcile.py` and `remote_study.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

POINTS_PER_CALL = 900
"""Limit of `Tracker.log`. MLflow takes 1,000 entities a request, params and tags included."""


class TrackerError(Exception):
    """The tracker could not be reached or refused; one line, without passwords.

    A call that raised it may have taken effect all the same: perhaps only its answer was lost.

    Attributes:
        fix: what a person can do about it; None where the same call may succeed later.
    """

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True)
class Point:
    """One metric value; `time` is in Unix milliseconds."""

    key: str
    value: float
    time: int
    step: int = 0


@dataclass
class RemoteRun:
    """A run as the tracker holds it.

    Attributes:
        run_id: the tracker's own.
        name, status, ended: as the tracker shows them; `ended` in Unix milliseconds, or None.
        params, tags: all of them, ours and others'.
        points: of each metric, in order of steps; only the last of each, unless `complete`.
        files: SHA-256 of each file that was sent; of each that is there, if `complete`.
        has_dataset: whether it names its data.
        complete: whether every point and every file was read.
    """

    run_id: str
    name: str
    status: str
    ended: int | None
    params: dict[str, str]
    tags: dict[str, str]
    points: dict[str, list[Point]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    has_dataset: bool = False
    complete: bool = False


@dataclass(frozen=True)
class Experiment:
    """The tracker's group of runs for one study: its id, its name, which a user may change, and all its tags."""

    experiment_id: str
    name: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Model:
    """A trained network that is to be registered.

    Attributes:
        name: of the registered model.
        weights: the `champion.npz`.
        weights_sha256: hash of its weights.
        source_run: the run of the trial whose settings it has.
        params: the settings.
        metrics: its results on the test set.
        measured: when they were measured, in Unix milliseconds.
        description: a line of plain text, then what else is to be said in Markdown; for this version.
        question: what the study asked, for the registered model.
        tags: of this version.
        metadata: stored with the model's files.
    """

    name: str
    weights: Path
    weights_sha256: str
    source_run: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    measured: int
    description: str
    question: str
    tags: Mapping[str, str]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of a model.

    Attributes:
        version: the tracker's own.
        run_id: the run of the study.
        weights_sha256: hash of its weights.
        source: address of its files.
        alias: the version that the alias `champion` points at; None if there is no alias.
        last: the version to which `register_model` last set the alias; None if it never did.
    """

    version: str
    run_id: str
    weights_sha256: str
    source: str
    alias: str | None
    last: str | None

    @property
    def is_champion(self) -> bool:
        """Whether the alias points at this version."""
        return self.alias == self.version

    @property
    def is_settled(self) -> bool:
        """Whether the alias points at this version, or a user moved it to another one."""
        return self.is_champion or (self.alias is not None and self.last == self.version)


class Tracker(Protocol):
    """An experiment tracker. Every call may raise `TrackerError`."""

    @property
    def address(self) -> str:
        """Where it is, for messages; without passwords."""

    @property
    def folder(self) -> Path | None:
        """The folder that holds it as a file, so that a copy of the folder holds another one; None for a server."""

    def check_connection(self) -> None:
        """Raise within a few seconds unless the tracker answers."""

    def find_experiment(self, name: str) -> Experiment | None:
        """The experiment of this name; None if there is none or it is deleted."""

    def read_experiment(self, experiment_id: str) -> Experiment | None:
        """The experiment with this id; None if there is none or it is deleted."""

    def find_tagged_experiment(self, tag: str, value: str) -> Experiment | None:
        """The experiment that has this tag and is not deleted, the oldest if there are several; None without one."""

    def create_experiment(self, name: str, study: Path, tags: Mapping[str, str]) -> Experiment:
        """The experiment of this name, created or restored if need be.

        Args:
            name: of the experiment.
            study: folder of the study; its artifacts may lie beside it.
            tags: of a new experiment.
        """

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""

    def find_runs(self, experiment_id: str, tag: str, value: str) -> Iterable[RemoteRun]:
        """Runs that have this tag and are not deleted, oldest first."""

    def read_run(self, run_id: str) -> RemoteRun:
        """A run, also a deleted one."""

    def create_run(self, experiment_id: str, name: str, started: int, tags: Mapping[str, str]) -> RemoteRun:
        """Create a run; `started` in Unix milliseconds. Never retried: a lost answer would make a second run."""

    def update_run(self, run_id: str, name: str | None, status: str, ended: int | None) -> None:
        """Set the state of a run, and its name unless that is None.

        `ended` is in Unix milliseconds, None for a run that has not ended.
        """

    def delete_run(self, run_id: str) -> None:
        """Delete a run."""

    def log(self, run_id: str, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Add at most `POINTS_PER_CALL` metric values, and params and tags. A point that is there stays single."""

    def log_dataset(self, run_id: str, dataset: Mapping[str, Any]) -> None:
        """Name the data of a run: name, digest, numbers of examples."""

    def send_files(self, run_id: str, folder: Path) -> None:
        """Send the files in a folder as artifacts, and verify that they arrived."""

    def read_history(self, run_id: str, metrics: Iterable[str]) -> dict[str, list[Point]]:
        """Every point of these metrics, in order of steps."""

    def read_files(self, run_id: str, names: Iterable[str]) -> dict[str, bytes]:
        """Content of those artifacts, outside of folders, that are there."""

    def find_model_names(self, study: str) -> list[str]:
        """The registered models with a version that has this tag `study`, the one with the latest such version last."""

    def find_model_owners(self, name: str) -> set[str]:
        """The tags `study` of the versions of a registered model; empty if there is no version."""

    def find_model(self, name: str, weights_sha256: str) -> ModelVersion | None:
        """The registered version with these weights whose run is not deleted; None without one."""

    def missing_model_files(self, version: ModelVersion) -> list[str]:
        """Files of a registered version that are gone, or, of the weights, changed."""

    def register_model(self, run_id: str, model: Model, scratch: Path) -> None:
        """Store a model, register it, and point the alias `champion` at it; repeating it changes nothing.

        An alias that a user moved since stays where it is.

        Args:
            run_id: the run of the study.
            model: the model.
            scratch: an empty folder, for files that are made on the way.
        """

    def move_alias(self, name: str, version: str) -> None:
        """Point the alias `champion` of a registered model at a version."""
