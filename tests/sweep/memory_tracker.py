"""A tracker in memory, for tests of what uses a tracker. Its calls can be made to fail."""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model import weights
from sweep.tracking.tracker import Experiment, Model, ModelVersion, Point, RemoteRun, TrackerError

REFUSE, LOSE = "refuse", "lose"
"""How a call can fail: before it takes effect, or afterwards, as when the answer is lost."""


@dataclass
class StoredRun:
    """A run with everything that was stored in it; points are kept in the order in which they were logged."""

    experiment_id: str
    name: str
    status: str
    started: int
    ended: int | None
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    dataset: Mapping[str, Any] | None = None
    is_deleted: bool = False


@dataclass
class StoredExperiment:
    """An experiment."""

    experiment_id: str
    tags: dict[str, str]
    is_deleted: bool = False


@dataclass
class StoredModel:
    """A registered model: the run and the weights of each version, its study, its description, and the alias."""

    versions: list[tuple[str, str]] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)
    champion: int | None = None
    last: int | None = None


def _call(method: Callable[..., Any]) -> Callable[..., Any]:
    """Record the call, let it fail if it is to fail, and hand out copies only."""

    @functools.wraps(method)
    def call(self: MemoryTracker, *arguments: Any) -> Any:
        mode = self.fails(method.__name__)
        self.calls.append(method.__name__)
        if mode == REFUSE:
            raise TrackerError(f"{method.__name__} was refused")
        result = copy.deepcopy(method(self, *arguments))
        if mode == LOSE:
            raise TrackerError(f"the answer to {method.__name__} was lost")
        return result

    return call


class MemoryTracker:
    """Implements `Tracker`.

    Attributes:
        fails: how the call of this name is to fail: REFUSE, LOSE or None.
        calls: names of all calls.
    """

    address = "memory"
    folder = None

    def __init__(self) -> None:
        self.experiments: dict[str, StoredExperiment] = {}
        self.runs: dict[str, StoredRun] = {}
        self.models: dict[str, StoredModel] = {}
        self.fails: Callable[[str], str | None] = lambda name: None
        self.calls: list[str] = []
        self._ids = {"experiment": 0, "run": 0}

    def _new_id(self, kind: str) -> str:
        """The next number, which is never given again."""
        self._ids[kind] += 1
        return str(self._ids[kind] - 1)

    @_call
    def check_connection(self) -> None:
        pass

    @_call
    def find_experiment(self, name: str) -> Experiment | None:
        found = self.experiments.get(name)
        return Experiment(found.experiment_id, name, found.tags) if found and not found.is_deleted else None

    @_call
    def read_experiment(self, experiment_id: str) -> Experiment | None:
        there = ((name, one) for name, one in self.experiments.items() if one.experiment_id == experiment_id)
        name, found = next(there, ("", None))
        return Experiment(experiment_id, name, found.tags) if found and not found.is_deleted else None

    @_call
    def find_tagged_experiment(self, tag: str, value: str) -> Experiment | None:
        there = (
            Experiment(one.experiment_id, name, one.tags)
            for name, one in self.experiments.items()
            if one.tags.get(tag) == value and not one.is_deleted
        )
        return next(there, None)

    @_call
    def create_experiment(self, name: str, study: Path, tags: Mapping[str, str]) -> Experiment:
        if name not in self.experiments:
            self.experiments[name] = StoredExperiment(self._new_id("experiment"), dict(tags))
        found = self.experiments[name]
        if found.is_deleted:
            self.restore_experiment(name)
        return Experiment(found.experiment_id, name, found.tags)

    @_call
    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        (found,) = (one for one in self.experiments.values() if one.experiment_id == experiment_id)
        found.tags |= tags

    @_call
    def find_runs(self, experiment_id: str, tag: str, value: str) -> list[RemoteRun]:
        found = [
            (run_id, run)
            for run_id, run in self.runs.items()
            if run.experiment_id == experiment_id and run.tags.get(tag) == value and not run.is_deleted
        ]
        return [_remote_run(run_id, run) for run_id, run in sorted(found, key=lambda pair: pair[1].started)]

    @_call
    def read_run(self, run_id: str) -> RemoteRun:
        return _remote_run(run_id, self.runs[run_id])

    @_call
    def create_run(self, experiment_id: str, name: str, started: int, tags: Mapping[str, str]) -> RemoteRun:
        run_id = f"run{self._new_id('run')}"
        self.runs[run_id] = StoredRun(experiment_id, name, "RUNNING", started, None, dict(tags))
        return _remote_run(run_id, self.runs[run_id])

    @_call
    def update_run(self, run_id: str, name: str | None, status: str, ended: int | None) -> None:
        run = self.runs[run_id]
        run.name, run.status, run.ended = run.name if name is None else name, status, ended

    @_call
    def delete_run(self, run_id: str) -> None:
        self.runs[run_id].is_deleted = True

    @_call
    def log(self, run_id: str, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        run = self.runs[run_id]
        changed = [key for key, value in params.items() if run.params.get(key, value) != value]
        if changed or len(points) > 1000 - len(params) - len(tags):
            raise TrackerError(f"cannot change the params {changed}, or log {len(points)} points in a call")
        known = set(map(repr, run.points))  # as text, because NaN equals NaN there
        run.points += [point for point in points if repr(point) not in known]
        run.params |= params
        run.tags |= tags

    @_call
    def log_dataset(self, run_id: str, dataset: Mapping[str, Any]) -> None:
        self.runs[run_id].dataset = dict(dataset)

    @_call
    def send_files(self, run_id: str, folder: Path) -> None:
        self.runs[run_id].files |= {path.name: path.read_bytes() for path in folder.iterdir()}

    @_call
    def read_history(self, run_id: str, metrics: Iterable[str]) -> dict[str, list[Point]]:
        return {key: _sorted(self.runs[run_id], key) for key in metrics}

    @_call
    def read_files(self, run_id: str, names: Iterable[str]) -> dict[str, bytes]:
        files = self.runs[run_id].files
        return {name: files[name] for name in names if name in files}

    @_call
    def find_model_names(self, study: str) -> list[str]:
        return [name for name, one in self.models.items() if study in one.owners]

    @_call
    def find_model_owners(self, name: str) -> set[str]:
        return set(self.models.get(name, StoredModel()).owners)

    @_call
    def find_model(self, name: str, weights_sha256: str) -> ModelVersion | None:
        found = self.models.get(name, StoredModel())
        for version, (run_id, digest) in enumerate(found.versions):
            if digest == weights_sha256 and run_id in self.runs and not self.runs[run_id].is_deleted:
                alias, last = (None if one is None else str(one) for one in (found.champion, found.last))
                return ModelVersion(str(version), run_id, digest, "", alias, last)
        return None

    @_call
    def missing_model_files(self, version: ModelVersion) -> list[str]:
        content = self.runs[version.run_id].files.get(_model_file(version.weights_sha256))
        return [] if content and _sha256(content) == version.weights_sha256 else ["champion.npz"]

    @_call
    def register_model(self, run_id: str, model: Model, scratch: Path) -> None:
        self.runs[run_id].files[_model_file(model.weights_sha256)] = model.weights.read_bytes()
        found = self.models.setdefault(model.name, StoredModel())
        if (run_id, model.weights_sha256) not in found.versions:
            found.versions.append((run_id, model.weights_sha256))
            found.owners.append(model.tags["study"])
            found.descriptions.append(model.description)
        version = found.versions.index((run_id, model.weights_sha256))
        if found.champion is None or found.last != version:
            is_moved = None not in (found.champion, found.last) and found.champion != found.last
            is_former = is_moved and found.versions[found.last][1] == model.weights_sha256
            found.champion = found.champion if is_former else version
            found.last = version

    @_call
    def move_alias(self, name: str, version: str) -> None:
        self.models[name].champion = self.models[name].last = int(version)

    # --- what a user may do

    def delete_experiment(self, name: str) -> None:
        """Delete an experiment and, as MLflow does, all its runs."""
        self.experiments[name].is_deleted = True
        self._mark_runs(self.experiments[name].experiment_id, is_deleted=True)

    def restore_experiment(self, name: str) -> None:
        """Restore an experiment and, as MLflow does, all its runs, also those that were deleted before it."""
        self.experiments[name].is_deleted = False
        self._mark_runs(self.experiments[name].experiment_id, is_deleted=False)

    def _mark_runs(self, experiment_id: str, *, is_deleted: bool) -> None:
        for run in self.runs.values():
            if run.experiment_id == experiment_id:
                run.is_deleted = is_deleted

    def gc(self) -> None:
        """Remove for good what is deleted, as `mlflow gc` does; versions of a model keep the id of their run."""
        gone = {one.experiment_id for one in self.experiments.values() if one.is_deleted}
        self.experiments = {name: one for name, one in self.experiments.items() if not one.is_deleted}
        self.runs = {
            run_id: run for run_id, run in self.runs.items() if not run.is_deleted and run.experiment_id not in gone
        }

    # --- for tests

    def run_id(self, key: str) -> str:
        """The only run with this key that is not deleted."""
        (found,) = self.run_ids(key)
        return found

    def run_ids(self, key: str) -> list[str]:
        """Runs with this key that are not deleted."""
        return [name for name, run in self.runs.items() if run.tags.get("sweep.key") == key and not run.is_deleted]

    def run(self, key: str) -> StoredRun:
        """The only run with this key that is not deleted."""
        return self.runs[self.run_id(key)]


def _remote_run(run_id: str, run: StoredRun) -> RemoteRun:
    last = {key: _sorted(run, key)[-1:] for key in dict.fromkeys(point.key for point in run.points)}
    has_dataset = run.dataset is not None
    return RemoteRun(run_id, run.name, run.status, run.ended, run.params, run.tags, last, {}, has_dataset)


def _sorted(run: StoredRun, key: str) -> list[Point]:
    return sorted((point for point in run.points if point.key == key), key=lambda point: (point.step, point.time))


def _model_file(weights_sha256: str) -> str:
    return f"champion-{weights_sha256[:12]}/champion.npz"


def _sha256(content: bytes) -> str | None:
    """Hash of the weights in a file's content; None if it is damaged."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        file.write(content)
        file.flush()
        return weights.digest_of(Path(file.name))
