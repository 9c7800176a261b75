"""The mirror: makes MLflow equal to a study database. Idempotent, resumable, safe to kill at any moment.

What MLflow should show is decided in `sweep/tracking/expected_runs.py`; this file finds the runs that exist,
compares and sends the difference. A run is found again by its tags (`sweep.study`, `sweep.key`) before anything is
created. Its digest is the
last thing written, so an equal digest means that the run is complete. Besides it only the server, the making of its
database and the champion's own script import mlflow; of a sweep's processes that of `sweep sync` alone pays for it: 4 s
of CPU and 200 MB.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sqlite3
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from model import weights
from model.files import locked, write_atomic
from reports.analysis.final_models import final_accuracy
from studies.record import reader as records
from studies.record.database import file_stamp, stamp
from studies.record.errors import DatabaseUnavailable, RecordError
from studies.record.folder import StudyFolder
from studies.record.location import locate
from studies.record.reader import SweepRecord, TrialRecord
from sweep.passwords import without_passwords
from sweep.tracking import views
from sweep.tracking.description import champion_number, model_description, winner
from sweep.tracking.diff import Held, Lack, beyond_sending, lack, lacking_points
from sweep.tracking.expected_runs import Point, Run, file_digest
from sweep.tracking.mlflow.champion_script import champion_script
from sweep.tracking.mlflow.local_store import artifacts_of, knock, make_ready, path_of
from sweep.tracking.study_run import STUDY_KEY, study_digest, study_head, study_run
from sweep.tracking.sync_result import SyncResult
from sweep.tracking.trial_run import trial_digest, trial_key, trial_points, trial_run, trial_status

# Read by MLflow when it is imported.
os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # else it runs `uv export` and copies our lock file into every model
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A retried POST of a run whose answer was lost makes a second run. The next pass is our retry: it searches first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}

import mlflow
import numpy as np
import pandas as pd
import requests
import sqlalchemy.exc
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

logger = logging.getLogger(__name__)

POLL = 1.0  # seconds between looks at the study database; a finished epoch is to be seen within 3 s
PAUSE = 3.0  # seconds before a tracker that failed is tried again
ANSWER = 10  # seconds that a request may take
KNOCK = 2  # seconds in which a tracker that failed, or is not known yet, must answer a follower's first small question
_STUDY, _KEY, _DIGEST, _FILES = "sweep.study", "sweep.key", "sweep.digest", "sweep.files"
MODEL_FILES = ("artifacts/champion.npz", "MLmodel", "champion_model.py", "python_env.yaml", "requirements.txt")
T = TypeVar("T")
_BATCH = 900  # metrics a request: the limit is 1,000 entities, params and tags included
_OVER = ("FINISHED", "FAILED", "KILLED")
_TRACKER_ERRORS = (
    MlflowException,
    requests.RequestException,
    sqlalchemy.exc.SQLAlchemyError,
    sqlite3.Error,
    OSError,
    ImportError,  # of a database's driver, which is looked for as the database is opened
)


class MirrorError(Exception):
    """MLflow could not be made equal to the study; the study itself is unharmed.

    Attributes:
        result: what is missing there.
    """

    def __init__(self, message: str, result: SyncResult) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Changes:
    """How much was sent. False when nothing was."""

    runs_created: int = 0
    runs_updated: int = 0
    metrics: int = 0
    params: int = 0
    tags: int = 0
    artifacts: int = 0
    models: int = 0

    def __add__(self, other: Changes) -> Changes:
        return Changes(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __bool__(self) -> bool:
        return any(astuple(self))


def sync(folder: Path, tracking: str, *, active: bool) -> Changes:
    """Make MLflow equal to the study in `folder`, once.

    Args:
        folder: the study's folder.
        tracking: MLflow's tracking URI: `sqlite:////path/mlflow.db` or `http://...`.
        active: whether a sweep is at work on the study.

    Raises:
        RecordError: the folder holds no readable study.
        MirrorError: MLflow could not be reached or refused; what was sent so far stays and is not sent again.
    """
    return Mirror(folder, tracking, trusted=True).sync(active=active)


def follow(folder: Path, tracking: str, is_active: Callable[[], bool]) -> Changes:
    """Keep MLflow equal to the study until `is_active()` is false, then once more.

    A tracker that fails is told once in the log and tried again every few seconds. It is given up at the end within a
    few seconds too: whoever started the sweep waits for us.

    Raises:
        RecordError, DatabaseUnavailable: there is no readable study although no sweep is at work any more.
        MirrorError: the last attempt failed too; the message says how much waits.
    """
    mirror, total, seen, failing = Mirror(folder, tracking, trusted=False), Changes(), None, False
    while True:
        active = is_active()
        try:
            now = _stamp(folder)
            if not active or (now != seen and (not failing or mirror.answers())):
                total += mirror.sync(active=active)
                seen, failing = now, False
        except (RecordError, DatabaseUnavailable, MirrorError) as error:
            if not active:
                raise
            if not isinstance(error, RecordError) and not failing:
                logger.warning("%s", error)
                failing = True
        if not active:
            return total
        _wait(PAUSE if failing else POLL, is_active)


def _wait(seconds: float, is_active: Callable[[], bool]) -> None:
    """Sleep, but not longer than a second after the sweep has ended."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and is_active():
        time.sleep(min(left, POLL))


def _stamp(folder: Path) -> tuple[object, ...]:
    """Changes whenever the study may have: the record, and each file that is mirrored."""
    names = ("report.pdf", "champion.npz", "champion.json")
    return (*stamp(locate(folder)), *(file_stamp(folder / name) for name in names))


class Mirror:
    """One study's mirror: the client, and what MLflow is known to hold.

    The knowledge is stale after every error and whenever another mirror had its turn, and is then fetched anew; until
    then it still says how much waits.
    """

    def __init__(self, folder: Path, tracking: str, *, trusted: bool) -> None:
        self.folder, self.tracking = folder, tracking
        self.reader = records.Reader(folder)
        self.client: Any = None
        self.experiment_id = ""
        self.known: dict[str, Held] = {}
        self.stale = True
        self.trusted = trusted
        self.fresh: set[str] = set()  # created, and nothing sent yet: such a run is not counted as updated too
        self.champion: str | None = None  # the weights known to be registered
        self.token = uuid.uuid4().hex

    def sync(self, *, active: bool) -> Changes:
        """One pass."""
        record = self.reader.read(active=active)
        with self.turn(record):
            return self.bring(record, active)

    @contextlib.contextmanager
    def turn(self, record: SweepRecord) -> Iterator[None]:
        """Hold the study's lock, one mirror at a time; the file says whose turn the last one was.

        Raises:
            MirrorError: MLflow could not be reached or refused.
        """
        try:
            turn = self.folder / "mirror.lock"
            with locked(turn):
                if turn.read_text() != self.token:
                    self._forget()
                    turn.write_text(self.token)
                self._reach()
                yield
        except _TRACKER_ERRORS as error:
            self._forget()
            self.trusted = False
            reason = _first_line(error, self.tracking)
            result = SyncResult(record.name, reason, None, *self._unsent(record))
            raise MirrorError(
                f"Could not sync {record.name} to {without_passwords(self.tracking)}: {reason}\n"
                f"{result.unsent}, nothing is lost in {self.folder}\n"
                f"run `sweep sync {record.name}` later",
                result,
            ) from error

    def answers(self) -> bool:
        """False while the tracker is still down; to know that, nothing of the study is read and nothing counted."""
        try:
            self._reach()
        except _TRACKER_ERRORS:
            return False
        return True

    def _forget(self) -> None:
        self.stale, self.champion = True, None

    def _reach(self) -> None:
        """See whether a tracker that failed is there again, without waiting for it as long as in a pass."""
        if self.client is None or not self.trusted:
            knock(self.tracking)
        if self.client is None:
            self.client = _open(self.tracking)
        if not self.trusted:
            _answer_within(KNOCK)
            self.client.search_experiments(max_results=1)
            self.trusted = True
        _answer_within(ANSWER)

    def bring(self, record: SweepRecord, active: bool) -> Changes:
        """Send what MLflow is not known to have; within a turn."""
        changes, stale = Changes(), self.stale
        if stale:
            self.make_experiment(record)
            self.known = self._fetch(record)
            self.stale = False
        created = self._ensure(record, study_head(record))
        changes += created
        if stale or created:  # one of the views names the study's run
            changes += self._bring_views(record)
        digests = []
        for study, trial in _all_trials(record):
            digest = trial_digest(record, study, trial)
            changes += self._bring_trial(record, study, trial, digest)
            digests += [digest] if trial.state != "running" else []
        changes += self._bring_champion(record)
        changes += self._bring_study(record, active, digests)
        self._write_place(record)
        return changes

    # --- what is there

    def _identity(self, record: SweepRecord) -> str:
        """A copied folder is another study, although its uid is the same."""
        return f"{record.uid}/{record.folder.resolve().name}".replace("'", "")

    def _fetch(self, record: SweepRecord) -> dict[str, Held]:
        """The study's runs by key. Of two with one key (a create whose answer was lost) the older one stays."""
        held = self.runs_by_key(record)
        for copies in held.values():
            for one in copies[1:]:
                self.delete(one)
        return {key: copies[0] for key, copies in held.items()}

    def runs_by_key(self, record: SweepRecord) -> dict[str, list[Held]]:
        """All of the study's runs, those of one key in order of age."""
        found: dict[str, list[Held]] = {}
        for run in _search(self.client, self.experiment_id, f"tags.`{_STUDY}` = '{self._identity(record)}'"):
            found.setdefault(run.data.tags.get(_KEY, ""), []).append(_held(run))
        return found

    def delete(self, held: Held) -> None:
        """Delete a run; MLflow keeps it out of sight."""
        self.client.delete_run(held.run_id)

    def _run_id(self, key: str) -> str:
        return self.known[key].run_id

    def _links(self) -> dict[str, str]:
        """Addresses that work inside the MLflow UI, wherever it is served."""
        found = {key: f"#/experiments/{self.experiment_id}/runs/{run.run_id}" for key, run in self.known.items()}
        return {**found, "charts": views.charts(self.experiment_id)}

    def find_experiment(self, record: SweepRecord) -> bool:
        """Whether the study's experiment is there and not deleted."""
        found = self.client.get_experiment_by_name(record.name)
        if found is None or found.lifecycle_stage == "deleted":
            return False
        self.experiment_id = str(found.experiment_id)
        return True

    def make_experiment(self, record: SweepRecord) -> None:
        """Create the study's experiment, or restore it."""
        self.experiment_id = _experiment(self.client, record, self.tracking)

    def wanted(self, record: SweepRecord, *, active: bool) -> Iterator[Run]:
        """Every run as it should be."""
        yield study_run(record, active=active, links=self._links())
        for study, trial in _all_trials(record):
            yield self.expected(trial_run(record, study, trial))

    def look_at_all(self, run: Run, held: Held) -> None:
        """Fetch every point of the run's metrics and the hash of every file."""
        for key in {point.key for point in run.curves} | held.points.keys():
            history = self.client.get_metric_history(held.run_id, key)
            held.points[key] = sorted((_point(metric) for metric in history), key=lambda p: (p.step, p.time))
        there = self._files(held.run_id, None)
        held.files = {name: self._download(held.run_id, name, file_digest) for name in run.files if name in there}
        held.whole = True

    def _files(self, run_id: str, folder: str | None) -> set[str]:
        return {file.path for file in self.client.list_artifacts(run_id, folder) if not file.is_dir}

    def _download(self, run_id: str, name: str, look: Callable[[Path], T]) -> T:
        """What `look` says of one artifact."""
        with tempfile.TemporaryDirectory() as scratch:
            return look(Path(self.client.download_artifacts(run_id, name, scratch)))

    def forget_digest(self, held: Held) -> None:
        """Let the next pass look at the run, whatever its digest says."""
        held.tags.pop(_DIGEST, None)

    def copy_of_weights(self, digest: str) -> bytes | None:
        """Weights of this hash out of a run's artifacts, or None."""
        for held in self.known.values():
            if held.tags.get("weights_sha256") != digest or "weights.npz" not in self._files(held.run_id, None):
                continue
            if self._download(held.run_id, "weights.npz", readable_digest) == digest:
                return self._download(held.run_id, "weights.npz", Path.read_bytes)
        return None

    # --- making it so

    def _bring_views(self, record: SweepRecord) -> Changes:
        """The views of the trials that the printed links open."""
        there = self.client.get_experiment(self.experiment_id).tags
        wanted = {
            f"mlflow.sharedViewState.{key}": view for key, view in views.views(record, self._run_id(STUDY_KEY)).items()
        }
        lacking = {key: view for key, view in wanted.items() if there.get(key) != view}
        for key, view in lacking.items():
            self.client.set_experiment_tag(self.experiment_id, key, view)
        return Changes(tags=len(lacking))

    def _ensure(self, record: SweepRecord, run: Run) -> Changes:
        """Create the run unless it exists."""
        if run.key in self.known:
            return Changes()
        tags = {_STUDY: self._identity(record), _KEY: run.key, "mlflow.runName": run.name}
        if run.key != STUDY_KEY:
            tags["mlflow.parentRunId"] = self._run_id(STUDY_KEY)
        created = self.client.create_run(self.experiment_id, run.started, tags, run.name)
        self.known[run.key] = _held(created)
        self.fresh.add(run.key)
        return Changes(runs_created=1)

    def expected(self, run: Run) -> Run:
        """The run as it should be below its study."""
        parent = self.known.get(STUDY_KEY)
        if run.key == STUDY_KEY or parent is None:
            return run
        return replace(run, tags={**run.tags, "mlflow.parentRunId": parent.run_id})

    def _bring_study(self, record: SweepRecord, active: bool, digests: list[str]) -> Changes:
        digest = study_digest(record, digests, active=active, links=self._links())
        if self.known[STUDY_KEY].tags.get(_DIGEST) == digest:
            return Changes()
        return self._bring(record, study_run(record, active=active, links=self._links()), digest)

    def _bring_trial(self, record: SweepRecord, study: str, trial: TrialRecord, digest: str) -> Changes:
        known = self.known.get(trial_key(study, trial))
        if known and known.tags.get(_DIGEST) == digest and known.status == trial_status(trial):
            return Changes()
        return self._bring(record, trial_run(record, study, trial), digest)

    def _bring(self, record: SweepRecord, run: Run, digest: str) -> Changes:
        """Send what the run lacks: numbers first, then files, then the state, and last the digest."""
        created = self._ensure(record, run)
        run, known = self.expected(run), self.known[run.key]
        if known.tags.get(_DIGEST) == digest and known.status == run.status:
            return created
        _refuse_other_params(run, known)
        lacking = lack(run, known)
        changes = self._send_values(run, known, lacking)
        if lacking.dataset:
            self.client.log_inputs(known.run_id, [_dataset_input(record)])
            known.has_dataset = True
        self._send_files(run, known, lacking.files)
        if lacking.name:
            self.client.update_run(known.run_id, name=run.name)
            known.name = run.name
        if lacking.state:
            self._send_state(run, known)
        self._send(known, tags={_DIGEST: digest, _FILES: json.dumps({name: known.files[name] for name in run.files})})
        updated = 0 if run.key in self.fresh else 1
        self.fresh.discard(run.key)
        return created + changes + Changes(artifacts=len(lacking.files), runs_updated=updated)

    def _send_values(self, run: Run, known: Held, lacking: Lack) -> Changes:
        for start in range(0, len(lacking.points), _BATCH):
            self._send(known, points=lacking.points[start : start + _BATCH])
        self._send(known, params=lacking.params, tags=lacking.tags)
        return Changes(metrics=len(lacking.points), params=len(lacking.params), tags=len(lacking.tags))

    def _send(
        self,
        known: Held,
        points: list[Point] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.client.log_batch(
            known.run_id,
            metrics=[Metric(point.key, point.value, point.time, point.step) for point in points or ()],
            params=[Param(key, value) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )
        for point in points or ():
            known.points[point.key] = [*known.points.get(point.key, ()), point] if known.whole else [point]
        known.params |= params or {}
        known.tags |= tags or {}

    def _send_files(self, run: Run, known: Held, lacking: Mapping[str, str]) -> None:
        """Send the files that are new, or other than those sent before."""
        if lacking:
            with self._scratch() as scratch:
                for name in lacking:
                    _put(scratch / name, run.files[name])
                self._put_files(known.run_id, scratch)
            known.files |= lacking

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """An empty folder; it is the turn's own, so that whatever a killed mirror left in it is cleared by the next."""
        scratch = self.folder / "mirror.part"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch)

    def _put_files(self, run_id: str, scratch: Path, folder: str | None = None) -> None:
        """Send what lies in a folder, and see that it arrived: a login page answers an upload with 200 too."""
        self.client.log_artifacts(run_id, str(scratch), folder)
        for path in (scratch, *(path for path in scratch.rglob("*") if path.is_dir())):
            place = "/".join(([folder] if folder else []) + list(path.relative_to(scratch).parts))
            listed = self.client.list_artifacts(run_id, place or None)
            sizes = {entry.path.rpartition("/")[2]: entry.file_size for entry in listed}
            for file in (file for file in path.iterdir() if file.is_file()):
                # Some stores list no sizes.
                if file.name not in sizes or sizes[file.name] not in (None, file.stat().st_size):
                    raise MlflowException(f"run {run_id} was sent {file.name}, and does not have it")

    def _send_state(self, run: Run, known: Held) -> None:
        if run.status in _OVER:
            self.client.set_terminated(known.run_id, run.status, run.ended)
        else:
            self.client.update_run(known.run_id, status=run.status)
        known.status, known.ended = run.status, run.ended

    # --- the champion

    def _bring_champion(self, record: SweepRecord) -> Changes:
        """Register the confirmed winner, once for each set of weights, and point the alias at it."""
        path = self.folder / "champion.npz"
        if record.verdict is None or not (path.is_file() and (self.folder / "champion.json").is_file()):
            return Changes()
        digest, name = weights_digest(path), model_name(record.name)
        if digest == self.champion:
            return Changes()
        found = self.registered(name, digest)
        if found is not None and self.alias(name) == str(found.version):
            self.champion = digest
            return Changes()
        version = str(found.version) if found else self._register(record, name, self.log_model(record), digest)
        self.client.set_registered_model_alias(name, "champion", version)
        self.champion = digest
        return Changes(models=1)

    def registered(self, name: str, digest: str) -> Any:
        """The registered version with these weights, whose run was not deleted; None without one."""
        for version in self.client.search_model_versions(f"name = '{name}'"):
            if version.tags.get("weights_sha256") == digest and self._is_there(version.run_id):
                return version
        return None

    def _is_there(self, run_id: str) -> bool:
        return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")

    def alias(self, name: str) -> str:
        """The version that the alias `champion` points at; empty without one."""
        return str(self.client.get_registered_model(name).aliases.get("champion", ""))

    def lacking_model_files(self, version: Any) -> list[str]:
        """Files of a registered champion that are gone, or, of the weights, others."""
        folder = _model_folder(version.tags["weights_sha256"])
        listed = [file for part in (folder, f"{folder}/artifacts") for file in self._files(version.run_id, part)]
        lacking = [name for name in MODEL_FILES if f"{folder}/{name}" not in listed]
        if MODEL_FILES[0] not in lacking:
            found = self._download(version.run_id, f"{folder}/{MODEL_FILES[0]}", readable_digest)
            lacking += [MODEL_FILES[0]] if found != version.tags["weights_sha256"] else []
        return lacking

    def log_model(self, record: SweepRecord) -> str:
        """Store the model among the study run's artifacts; returns its address. Sending it twice stores it once."""
        champion = self.folder / "champion.npz"
        folder = _model_folder(weights_digest(champion))
        with self._scratch() as scratch:
            _save_model(record, champion, scratch / "model")
            self._put_files(self._run_id(STUDY_KEY), scratch / "model", folder)
        return f"{self.client.get_run(self._run_id(STUDY_KEY)).info.artifact_uri}/{folder}"

    def _register(self, record: SweepRecord, name: str, source: str, digest: str) -> str:
        with contextlib.suppress(MlflowException):  # it exists
            self.client.create_registered_model(name, description=str(record.study.get("question") or ""))
        tags = {"weights_sha256": digest, "study": record.uid, "trial": str(champion_number(record))}
        if tested := final_accuracy(record):
            tags |= {
                "test_accuracy": str(tested.accuracies[0]),
                "test_low": str(tested.shipped_low),
                "test_high": str(tested.shipped_high),
            }
        version = self.client.create_model_version(
            name, source, self._run_id(STUDY_KEY), tags=tags, description=model_description(record)
        )
        return str(version.version)

    # --- for others

    def _write_place(self, record: SweepRecord) -> None:
        """Write mlflow.json for `sweep/commands/ui.py`, which never imports mlflow."""
        best = winner(record)
        place = {
            "tracking": without_passwords(self.tracking),
            "experiment_id": self.experiment_id,
            "run_id": self._run_id(STUDY_KEY),
            "winner_run_id": self._run_id(trial_key("search", best)) if best else None,
        }
        text, path = json.dumps(place, indent=2) + "\n", StudyFolder(self.folder).mlflow
        if not path.is_file() or path.read_text() != text:
            write_atomic(path, text.encode())

    def _unsent(self, record: SweepRecord) -> tuple[int, int]:
        """How many runs and metric values of the record MLflow is not known to have."""
        runs, values = 0, 0
        for study, trial in _all_trials(record):
            known = self.known.get(trial_key(study, trial))
            if known is None or known.tags.get(_DIGEST) != trial_digest(record, study, trial):
                runs += 1
                values += len(lacking_points(*trial_points(record, trial), known))
        return runs, values


def _model_folder(digest: str) -> str:
    return f"champion-{digest[:12]}"


def model_name(study: str) -> str:
    """The registered model's name; MLflow forbids `/`, `:` and `.` in some places and quotes break its search."""
    return "sweep-" + "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in study)


# --- opening


def _answer_within(seconds: int) -> None:
    """Let no request from here on wait longer; MLflow reads the variable at each."""
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(seconds)


def _open(tracking: str) -> Any:
    """A client; a SQLite database is made first if need be."""
    mlflow.set_tracking_uri(tracking)  # artifacts of an http server are sent to the global address
    if path := path_of(tracking):
        make_ready(path)
    return MlflowClient(tracking, registry_uri=tracking)


def _experiment(client: Any, record: SweepRecord, tracking: str) -> str:
    """The id of the study's experiment, created if need be."""
    found = client.get_experiment_by_name(record.name)
    if found is None:
        location = artifacts_of(tracking, record.folder)
        tags = {
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.experiment.primaryMetric.name": record.objective,
            "mlflow.experiment.primaryMetric.greaterIsBetter": str(record.maximize).lower(),
            "mlflow.note.content": str(record.study.get("question") or ""),
        }
        try:
            return str(client.create_experiment(record.name, artifact_location=location, tags=tags))
        except MlflowException:  # another mirror was faster, or the answer was lost
            found = client.get_experiment_by_name(record.name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _search(client: Any, experiment_id: str, query: str) -> Iterator[Any]:
    """Every run that matches, oldest first."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            query,
            run_view_type=ViewType.ACTIVE_ONLY,
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _held(run: Any) -> Held:
    last = {metric.key: [_point(metric)] for metric in run.data._metric_objs}  # the public dict has no steps
    return Held(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        ended=run.info.end_time,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        points=last,
        files=json.loads(run.data.tags.get(_FILES, "{}")),
        has_dataset=bool(run.inputs and run.inputs.dataset_inputs),
    )


def _point(metric: Metric) -> Point:
    return Point(metric.key, metric.value, metric.timestamp, metric.step)


# --- comparing


def _all_trials(record: SweepRecord) -> Iterator[tuple[str, TrialRecord]]:
    yield from (("search", trial) for trial in record.trials)
    yield from (("confirm", trial) for trial in record.confirm)


def _refuse_other_params(run: Run, known: Held) -> None:
    """A param that was changed by hand cannot be put right: MLflow's params are written once."""
    if wrong := next(beyond_sending(run, known), None):
        raise MlflowException(
            f"run {known.run_id} ({known.name}) has another {wrong.what} than the record; "
            "`sweep doctor --fix` writes it anew"
        )


# --- what is sent


def weights_digest(path: Path) -> str:
    """The hash by which the record knows the weights in a file.

    Raises:
        WeightsError: the file is damaged.
    """
    return weights.sha256(weights.load(path).theta)


def readable_digest(path: Path) -> str | None:
    """The same, None for a damaged file."""
    with contextlib.suppress(weights.WeightsError):
        return weights_digest(path)
    return None


def _put(path: Path, content: bytes | Path) -> None:
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)


def _dataset_input(record: SweepRecord) -> Any:
    """The dataset under our own digest: MLflow's hashes the first 10,000 numbers, 13 images of MNIST."""
    dataset = record.dataset
    profile = {name: dataset[name] for name in ("train", "validation", "test", "classes") if name in dataset}
    entity = Dataset(
        name=str(dataset["name"]),
        digest=str(dataset["digest"])[:36],
        source_type="local",
        source=json.dumps({"uri": str(dataset["name"])}),
        profile=json.dumps(profile),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])


def _save_model(record: SweepRecord, champion: Path, path: Path) -> None:
    """Write the champion as an MLflow model of code and .npz, with nothing pickled and nothing inferred."""
    classes = weights.load(champion).sizes[-1]
    # No input schema: it would take one of uint8 and float32 and refuse the other. The code checks the shape itself.
    outputs = [ColSpec(DataType.long, "class")]
    outputs += [ColSpec(DataType.float, f"probability_{label}") for label in range(classes)]
    code = path.with_name("champion_model.py")
    code.write_text(champion_script())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is no input example: it costs 3 s and a subprocess
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(code),
            artifacts={"weights": str(champion)},
            signature=ModelSignature(outputs=Schema(outputs)),
            pip_requirements=[f"{module.__name__}=={module.__version__}" for module in (mlflow, np, pd)],
            metadata={"study": record.name, "uid": record.uid},
        )


# --- words


def _first_line(error: Exception, tracking: str) -> str:
    lines = without_passwords(str(error), [tracking]).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
