"""The tracker that is MLflow. Of a sweep's processes only `sweep sync` imports it: 4 s of CPU and 200 MB."""

from __future__ import annotations

import functools
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sweep.passwords import without_passwords
from sweep.tracking.mlflow.causes import explained, variables_in
from sweep.tracking.mlflow.environment import CLIENT
from sweep.tracking.mlflow.local_store import Use, artifacts_of, beside, check_database, make_ready, path_of
from sweep.tracking.tracker import Experiment, Model, ModelVersion, Point, RemoteRun, TrackerError

os.environ |= CLIENT  # MLflow reads some of it when it is imported
os.environ.pop("MLFLOW_ACTIVE_MODEL_ID", None)  # of the user's own: every metric would be one of this model
os.environ.pop("_MLFLOW_ACTIVE_MODEL_ID", None)

import mlflow
import requests
import sqlalchemy.exc
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from sweep.tracking.mlflow.registry import NOT_THERE, Registry

logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints errors that it raises, too

REQUEST_TIMEOUT_S = 10
CHECK_TIMEOUT_S = 2
"""Timeout of the small request that checks whether MLflow answers."""
_ENDED = ("FINISHED", "FAILED", "KILLED")
_ERRORS = (
    MlflowException,
    requests.RequestException,
    sqlalchemy.exc.SQLAlchemyError,
    sqlite3.Error,
    OSError,
    ImportError,  # of a database's driver, which is imported when the database is opened
)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def _translate_errors(
    method: Callable[Concatenate[MlflowTracker, _Arguments], _Result],
) -> Callable[Concatenate[MlflowTracker, _Arguments], _Result]:
    """Raise every error of MLflow and of the libraries below it as a TrackerError of one line."""

    @functools.wraps(method)
    def call(self: MlflowTracker, /, *arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        try:
            return method(self, *arguments, **named)
        except _ERRORS as error:
            raise explained(error, self.uri) from error
        except Exception as error:  # of alembic, by which MLflow makes tables, or of a variable that is read only now
            if type(error).__module__.startswith("alembic.") or variables_in(error):
                raise explained(error, self.uri) from error
            raise

    return call


class MlflowTracker:
    """MLflow behind a tracking URI.

    Args:
        uri: `sqlite:////path/mlflow.db`, `http://...`, or another database; it may hold a password.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._opened: Any = None
        self._use: Use | None = None

    @property
    def address(self) -> str:
        """The URI without passwords."""
        return without_passwords(self.uri)

    @property
    def folder(self) -> Path | None:
        """The folder of a SQLite database; None for a server."""
        database = path_of(self.uri)
        return database.parent.resolve() if database else None

    @property
    def _client(self) -> Any:
        """MLflow's client. A SQLite database is created first if need be."""
        if self._opened is None:
            check_database(self.uri)
            _set_timeout(REQUEST_TIMEOUT_S)
            mlflow.set_tracking_uri(self.uri)  # artifacts of an http server are sent to the global address
            if path := path_of(self.uri):
                self._use = make_ready(path)
            self._opened = MlflowClient(self.uri, registry_uri=self.uri)
        return self._opened

    @_translate_errors
    def check_connection(self) -> None:
        """Raise unless MLflow answers a small request within `CHECK_TIMEOUT_S`."""
        if self._opened is not None:  # otherwise opening it checks the database
            check_database(self.uri)
        client = self._client
        _set_timeout(CHECK_TIMEOUT_S)
        try:
            client.search_experiments(max_results=1)
        finally:
            _set_timeout(REQUEST_TIMEOUT_S)

    # --- experiments

    @_translate_errors
    def find_experiment(self, name: str) -> Experiment | None:
        """The experiment of this name; None if there is none or it is deleted."""
        found = self._client.get_experiment_by_name(name)
        return None if found is None or found.lifecycle_stage == "deleted" else _experiment(found)

    @_translate_errors
    def read_experiment(self, experiment_id: str) -> Experiment | None:
        """The experiment with this id; None if there is none or it is deleted."""
        try:
            found = self._client.get_experiment(experiment_id)
        except MlflowException as error:
            if error.error_code == NOT_THERE:
                return None
            raise
        return None if found.lifecycle_stage == "deleted" else _experiment(found)

    @_translate_errors
    def find_tagged_experiment(self, tag: str, value: str) -> Experiment | None:
        """The experiment that has this tag and is not deleted, the oldest if there are several; None without one."""
        order = ["creation_time ASC"]
        found = self._client.search_experiments(
            filter_string=f"tags.`{tag}` = '{value}'", max_results=1, order_by=order
        )
        return _experiment(found[0]) if found else None

    @_translate_errors
    def create_experiment(self, name: str, study: Path, tags: Mapping[str, str]) -> Experiment:
        """The experiment of this name, created or restored if need be."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                self._client.create_experiment(name, artifact_location=artifacts_of(self.uri, study), tags=dict(tags))
            except MlflowException:  # another process was faster, or the answer was lost
                if self._client.get_experiment_by_name(name) is None:
                    raise
            found = self._client.get_experiment_by_name(name)
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return _experiment(found)

    @_translate_errors
    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""
        for key, value in tags.items():
            self._client.set_experiment_tag(experiment_id, key, value)

    # --- runs

    @_translate_errors
    def find_runs(self, experiment_id: str, tag: str, value: str) -> list[RemoteRun]:
        """Runs that have this tag and are not deleted, oldest first."""
        found, token = [], None
        while True:
            page = self._client.search_runs(
                [experiment_id],
                f"tags.`{tag}` = '{value}'",
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            found += [_remote_run(run) for run in page]
            token = page.token
            if not token:
                return found

    @_translate_errors
    def read_run(self, run_id: str) -> RemoteRun:
        """A run, also a deleted one."""
        return _remote_run(self._client.get_run(run_id))

    @_translate_errors
    def create_run(self, experiment_id: str, name: str, started: int, tags: Mapping[str, str]) -> RemoteRun:
        """Create a run."""
        return _remote_run(self._client.create_run(experiment_id, started, {**tags, "mlflow.runName": name}, name))

    @_translate_errors
    def update_run(self, run_id: str, name: str | None, status: str, ended: int | None) -> None:
        """Set the state of a run, and its name unless that is None."""
        if status in _ENDED:
            if name is not None:
                self._client.update_run(run_id, name=name)
            self._client.set_terminated(run_id, status, ended)
        else:
            self._client.update_run(run_id, status, name)

    @_translate_errors
    def delete_run(self, run_id: str) -> None:
        """Delete a run; MLflow keeps it out of sight."""
        self._client.delete_run(run_id)

    @_translate_errors
    def log(self, run_id: str, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Add metric values, params and tags in one request."""
        self._client.log_batch(
            run_id,
            metrics=[Metric(point.key, point.value, point.time, point.step) for point in points],
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )

    @_translate_errors
    def log_dataset(self, run_id: str, dataset: Mapping[str, Any]) -> None:
        """Name the data under our own digest: MLflow's hashes the first 10,000 numbers, 13 images of MNIST."""
        profile = {name: dataset[name] for name in ("train", "validation", "test", "classes") if name in dataset}
        entity = Dataset(
            name=str(dataset["name"]),
            digest=str(dataset["digest"])[:36],
            source_type="local",
            source=json.dumps({"uri": str(dataset["name"])}),
            profile=json.dumps(profile),
        )
        self._client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    # --- files

    def _artifacts(self, run_id: str) -> Any:
        """Where a run's artifacts are kept. MLflow's own calls look the run and its models up again for every file."""
        return self._store(self._client.get_run(run_id).info.artifact_uri)

    def _store(self, address: str) -> Any:
        """The store of artifacts at an address."""
        database = path_of(self.uri)
        return get_artifact_repository(beside(address, database) if database else address, tracking_uri=self.uri)

    @_translate_errors
    def send_files(self, run_id: str, folder: Path) -> None:
        """Send the files in a folder as artifacts, and verify that they arrived."""
        self._send_to(self._artifacts(run_id), folder)

    def _send_to(self, artifacts: Any, folder: Path) -> None:
        """Send a folder, and list what arrived: a login page answers an upload with 200 too."""
        artifacts.log_artifacts(str(folder))
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            place = "/".join(path.relative_to(folder).parts)
            listed = artifacts.list_artifacts(place or None)
            sizes = {entry.path.rpartition("/")[2]: entry.file_size for entry in listed}
            for file in (file for file in path.iterdir() if file.is_file()):
                # Some stores list no sizes.
                if file.name not in sizes or sizes[file.name] not in (None, file.stat().st_size):
                    raise TrackerError(f"{file.name} was sent to {self.address} but did not arrive")

    @_translate_errors
    def read_history(self, run_id: str, metrics: Iterable[str]) -> dict[str, list[Point]]:
        """Every point of these metrics, in order of steps."""
        return {
            key: sorted(map(_point, self._client.get_metric_history(run_id, key)), key=lambda p: (p.step, p.time))
            for key in metrics
        }

    @_translate_errors
    def read_files(self, run_id: str, names: Iterable[str]) -> dict[str, bytes]:
        """Content of those artifacts, outside of folders, that are there."""
        artifacts = self._artifacts(run_id)
        found = _listed(artifacts, None) & set(names)
        with tempfile.TemporaryDirectory() as scratch:
            paths = {name: artifacts.download_artifacts(name, scratch) for name in sorted(found)}
            return {name: Path(path).read_bytes() for name, path in paths.items()}

    # --- models

    @property
    def _registry(self) -> Registry:
        return Registry(self._client, self._store, self._send_to)

    @_translate_errors
    def find_model_names(self, study: str) -> list[str]:
        """The registered models with a version that has this tag `study`, the one with the latest such version last."""
        return self._registry.names(study)

    @_translate_errors
    def find_model_owners(self, name: str) -> set[str]:
        """The tags `study` of the versions of a registered model; empty if there is no version."""
        return self._registry.owners(name)

    @_translate_errors
    def find_model(self, name: str, weights_sha256: str) -> ModelVersion | None:
        """The registered version with these weights whose run is not deleted."""
        return self._registry.find(name, weights_sha256)

    @_translate_errors
    def missing_model_files(self, version: ModelVersion) -> list[str]:
        """Files of a registered version that are gone, or, of the weights, changed."""
        return self._registry.missing_files(version)

    @_translate_errors
    def register_model(self, run_id: str, model: Model, scratch: Path) -> None:
        """Store a model, register it, and point the alias `champion` at it."""
        self._registry.register(run_id, model, scratch)

    @_translate_errors
    def move_alias(self, name: str, version: str) -> None:
        """Point the alias `champion` of a registered model at a version."""
        self._registry.move_alias(name, version)


def _set_timeout(seconds: int) -> None:
    """Limit every request from here on; MLflow reads the variable at each."""
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(seconds)


def _experiment(found: Any) -> Experiment:
    return Experiment(str(found.experiment_id), found.name, dict(found.tags))


def _remote_run(run: Any) -> RemoteRun:
    return RemoteRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        ended=run.info.end_time,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        points={metric.key: [_point(metric)] for metric in run.data._metric_objs},  # the public dict has no steps
        has_dataset=bool(run.inputs and run.inputs.dataset_inputs),
    )


def _point(metric: Any) -> Point:
    return Point(metric.key, metric.value, metric.timestamp, metric.step)


def _listed(artifacts: Any, folder: str | None) -> set[str]:
    """Paths of the files in a folder of artifacts."""
    return {file.path for file in artifacts.list_artifacts(folder) if not file.is_dir}
