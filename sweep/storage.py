"""The study database: opens it, locks it, knows whether the study is still the one that was begun, and writes it.

Everything here is called by the coordinator alone, the one writer; the tables of attributes stand in
`reports/records.py`, the one reader.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import os
import secrets
import shlex
import sqlite3
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import optuna
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models  # its tables; the range of versions in pyproject.toml keeps them known
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from model.files import fresh_part, lock_within, sync_folder
from reports.records import (
    SCHEMA,
    RecordError,
    readable,
    require_sealed,
    require_sealed_trial,
    seal,
    sql_errors,
    trial_seal,
    version_errors,
)
from reports.trials import read_trial, read_trials
from studies.definition import Study
from sweep.failpoints import failpoint

optuna.logging.set_verbosity(optuna.logging.WARNING)  # what it would say at INFO is what `sweep.progress` shows
_ATTRIBUTE = sqlalchemy.insert(models.TrialUserAttributeModel)
_CHANGE = sqlalchemy.update(models.TrialUserAttributeModel)
_SYSTEM = sqlalchemy.insert(models.TrialSystemAttributeModel)
_PARAM = sqlalchemy.insert(models.TrialParamModel)
_VALUE = sqlalchemy.insert(models.TrialValueModel)
_POINT = sqlalchemy.insert(models.TrialIntermediateValueModel)
GROWING = ("trials", "confirm")
"""Keys of a study that may change once it was begun."""


class StudyBusy(Exception):
    """Another process is at work on the study."""


class StudyChanged(Exception):
    """The study file no longer asks what the recorded study was begun with."""


class LogMismatch(Exception):
    """An epoch that was run again gave other numbers than were recorded."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the study's lock; the kernel frees it when the process ends, however it ends.

    Raises:
        StudyBusy: another process holds it; says which, and since when.
    """
    with (folder / "lock").open("a+") as file:
        _acquire(file.fileno(), folder)
        file.truncate(0)
        file.write(f"pid {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        file.flush()
        yield


def _acquire(descriptor: int, folder: Path) -> None:
    """Try for a second: `is_active` may hold the lock for some microseconds."""
    if not lock_within(descriptor, 1.0):
        holder = (folder / "lock").read_text() or "another process"
        raise StudyBusy(
            f"{folder.name} is already running ({holder})\n"
            f"wait for it, or watch it with: sweep status {folder.name} --home {shlex.quote(str(folder.parent))}"
        )


def is_active(folder: Path) -> bool:
    """Whether a process is at work on the study."""
    try:
        with (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


class TrialLog:
    """The trials of one Optuna study in the database, and everything that is ever written about them."""

    def __init__(self, storage: RDBStorage, name: str, path: Path) -> None:
        self._storage = storage
        self._path = path
        self._study_id = storage.get_study_id_from_name(name)
        self.name = name

    def trials(self) -> Iterator[FrozenTrial]:
        """All trials, by number, each verified before it is handed out.

        Raises:
            RecordError: they are not what was written.
        """
        with readable(self._path):
            for trial in read_trials(self._storage.engine, self._study_id):
                require_sealed_trial(self._path, trial)
                yield trial

    def count(self) -> int:
        """How many trials were begun, without reading them."""
        with Session(self._storage.engine) as session:
            return session.query(models.TrialModel).filter_by(study_id=self._study_id).count()

    def finished(self) -> list[int]:
        """Numbers of the trials that have ended, without reading them."""
        trials = models.TrialModel.__table__.c
        ended = sqlalchemy.select(trials.number).where(
            trials.study_id == self._study_id, trials.state != TrialState.RUNNING
        )
        with self._storage.engine.connect() as connection:
            return list(connection.scalars(ended))

    def begin(self, template: FrozenTrial) -> FrozenTrial:
        """Add a running trial, its parameters and attributes, in one commit.

        Optuna's own call asks three things of the database for every parameter, and counts all trials for a number.
        """
        row = models.TrialModel(
            study_id=self._study_id, state=TrialState.RUNNING, datetime_start=template.datetime_start
        )
        trials = models.TrialModel.__table__.c
        last = sqlalchemy.select(trials.number).where(trials.study_id == self._study_id)
        begun = copy.deepcopy(template)
        with Session(self._storage.engine, expire_on_commit=False) as session, session.begin():
            number = session.scalar(last.order_by(trials.trial_id.desc()).limit(1))
            begun.number = row.number = 0 if number is None else number + 1
            session.add(row)
            session.flush()
            begun._trial_id = cast(int, row.trial_id)
            cells = [_cell(begun._trial_id, key, value) for key, value in template.user_attrs.items()]
            session.execute(_ATTRIBUTE, cells)
            if template.params:
                session.execute(_PARAM, [_param(begun, name) for name in template.params])
        begun.user_attrs = {cell["key"]: json.loads(cell["value_json"]) for cell in cells}
        return begun

    def attribute(self, trial_id: int, key: str, value: Any) -> None:
        """Write one attribute of a trial, or write it anew, in one commit."""
        cell, columns = _cell(trial_id, key, value), models.TrialUserAttributeModel.__table__.c
        there = (columns.trial_id == trial_id, columns.key == key)
        with self._storage.engine.begin() as connection:
            if not connection.execute(_CHANGE.where(*there).values(value_json=cell["value_json"])).rowcount:
                connection.execute(_ATTRIBUTE, cell)

    def add(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Write attributes that a trial does not have yet, in one commit, whatever its state."""
        with self._storage.engine.begin() as connection:
            connection.execute(_ATTRIBUTE, [_cell(trial_id, key, content) for key, content in attributes.items()])

    def epoch(self, trial_id: int, index: int, numbers: Mapping[str, Any], value: float | None) -> None:
        """Write an epoch, and the objective so far where Optuna's own tools look for it, in one commit.

        Optuna's two calls for this take seven queries and two commits, 3.5 ms; two inserts take 0.6 ms.
        """
        row = _cell(trial_id, f"epoch.{index}", {**numbers, "time": round(time.time(), 3)})
        with self._storage.engine.begin() as connection:
            connection.execute(_ATTRIBUTE, row)
            if value is not None:
                point = {"trial_id": trial_id, "step": index, "intermediate_value": value}
                connection.execute(_POINT, {**point, "intermediate_value_type": "FINITE"})

    def finish(
        self,
        trial_id: int,
        state: TrialState,
        value: float | None,
        attributes: Mapping[str, Any],
        system: Mapping[str, Any] | None = None,
    ) -> None:
        """Write all that belongs to the trial, its state and its seal, in one commit."""
        trial = read_trial(self._storage.engine, trial_id)
        trial.user_attrs.update(attributes)
        trial.system_attrs.update(system or {})
        trial.state, trial.values = state, None if value is None else [value]
        written = {**attributes, "seal": trial_seal(trial)}
        with Session(self._storage.engine) as session, session.begin():
            session.execute(_ATTRIBUTE, [_cell(trial_id, key, content) for key, content in written.items()])
            if system:
                session.execute(_SYSTEM, [_cell(trial_id, key, content) for key, content in system.items()])
            if value is not None:
                session.execute(_VALUE, {"trial_id": trial_id, "objective": 0, "value": value, "value_type": "FINITE"})
            row = session.get_one(models.TrialModel, trial_id)
            row.state, row.datetime_complete = state, datetime.now()
            failpoint("before_state")


def _cell(trial_id: int, key: str, content: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(content)}


def _param(trial: FrozenTrial, name: str) -> dict[str, Any]:
    kind = trial.distributions[name]
    stored = {"param_value": kind.to_internal_repr(trial.params[name]), "distribution_json": distribution_to_json(kind)}
    return {"trial_id": trial._trial_id, "param_name": name, **stored}


class Database:
    """A study's database, opened for writing by the one who holds its lock.

    Attributes:
        folder: the study's.
        search, confirm: its two logs of trials.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._storage = _open(folder / "study.db")
        try:
            self._study_id = self._storage.get_study_id_from_name("search")
            self.search = TrialLog(self._storage, "search", folder / "study.db")
            self.confirm = TrialLog(self._storage, "confirm", folder / "study.db")
        except KeyError as error:
            raise RecordError(f"{folder / 'study.db'} is a database of something else") from error

    def attributes(self) -> dict[str, Any]:
        """What is recorded about the study as a whole.

        Raises:
            RecordError: it is not what was written.
        """
        path = self.folder / "study.db"
        with readable(path):
            attributes = dict(self._storage.get_study_user_attrs(self._study_id))
        require_sealed(path, attributes)
        return attributes

    def record(self, key: str, value: Any) -> None:
        """Write one attribute of the study, and the seal over all of them, in one commit."""
        changed = {key: value, "seal": seal(self.attributes() | {key: value})}
        with Session(self._storage.engine) as session, session.begin():
            for name, content in changed.items():
                kept = session.query(models.StudyUserAttributeModel).filter_by(study_id=self._study_id, key=name)
                row = kept.one_or_none() or models.StudyUserAttributeModel(study_id=self._study_id, key=name)
                row.value_json = json.dumps(content)
                session.add(row)

    def close(self) -> None:
        """Close all connections; SQLite then folds its write-ahead log into the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def open_study(folder: Path, study: Study, dataset: Mapping[str, Any], provenance: Mapping[str, Any]) -> Database:
    """Open the study's database, made first if there is none. The caller holds the lock.

    Raises:
        StudyChanged: it was begun with other settings or other data.
        RecordError: it was written by a newer version, or is not what was written.
    """
    if not (folder / "study.db").exists():
        _create(folder, study, dataset, provenance)
    database = Database(folder)
    recorded = database.attributes()
    _require_same(folder, recorded, study, dataset)
    begun = database.search.count()
    _require_growth(folder, recorded["study"]["confirm"], study.as_dict()["confirm"])
    wanted = {**study.as_dict(), "trials": max(study.trials, begun)}
    if recorded["study"] != wanted:
        database.record("study", wanted)
    return database


def _create(folder: Path, study: Study, dataset: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Make the database under another name and rename it: it exists complete or not at all."""
    part = fresh_part(folder / "study.db")
    storage = _open(part, create=True)
    direction = (
        optuna.study.StudyDirection.MAXIMIZE if study.direction == "maximize" else optuna.study.StudyDirection.MINIMIZE
    )
    study_id = storage.create_new_study([direction], "search")
    storage.create_new_study([direction], "confirm")
    attributes = {
        "schema": SCHEMA,
        "uid": secrets.token_hex(16),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "study": study.as_dict(),
        "dataset": dict(dataset),
        "provenance": dict(provenance),
    }
    for key, value in {**attributes, "seal": seal(attributes)}.items():
        storage.set_study_user_attr(study_id, key, value)
    storage.remove_session()
    storage.engine.dispose()
    with part.open("rb") as file:
        os.fsync(file.fileno())
    failpoint("before_database")
    part.replace(folder / "study.db")
    failpoint("after_database")
    sync_folder(folder)


class _Durable(sqlite3.Connection):
    """WAL mode with synchronous=NORMAL: a commit costs no fsync.

    A process that is killed loses nothing; after a power cut the last seconds may be missing, and are run again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


class _Scratch(sqlite3.Connection):
    """For a database that nobody knows of yet: one fsync at its end instead of a hundred.

    In WAL mode already: the switch is written with a rollback journal, and readers cannot roll back what a kill leaves.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=OFF")


def _open(path: Path, *, create: bool = False) -> RDBStorage:
    """Optuna's storage on an SQLite file.

    Raises:
        RecordError: it is no study database.
    """
    arguments = {"timeout": 30, "factory": _Scratch if create else _Durable}
    with sql_errors(path), version_errors(path):
        return RDBStorage(address(path), engine_kwargs={"connect_args": arguments}, skip_table_creation=not create)


UNFIT = frozenset("?#%{}")
"""Characters that an SQLite database's path cannot have: its address would end, or mean something else, there."""


def address(path: Path) -> str:
    """The address of an SQLite file whatever its folders are called.

    Raises:
        RecordError: the path holds a character that such an address cannot.
    """
    if UNFIT & set(str(path)):
        raise RecordError(f"the folder {path.parent} cannot hold a study: its path has one of ? # % {{ }}")
    return f"sqlite:///{path}"


def _require_same(folder: Path, recorded: Mapping[str, Any], study: Study, dataset: Mapping[str, Any]) -> None:
    changes = _differences(_comparable(recorded["study"]), _comparable(study.as_dict()))
    if recorded["dataset"]["digest"] != dataset["digest"]:
        changes.append(f"dataset {recorded['dataset']['digest'][:12]} -> {dataset['digest'][:12]} (its content)")
    if changes:
        raise StudyChanged(
            f"{folder.name} was begun with other settings: {'; '.join(changes)}\n"
            "undo the change, or give the study file a new name,\n"
            f"or remove what was recorded: {folder}"
        )


def _require_growth(folder: Path, recorded: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """A confirmation may be made larger; with a smaller one the verdict could be chosen among several."""
    for key, value in wanted.items():
        if value < recorded[key]:
            raise StudyChanged(
                f"confirm.{key} of {folder.name} may grow, but not shrink: {recorded[key]} -> {value}\n"
                "undo the change, or give the study file a new name"
            )


def _comparable(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in GROWING and key != "question"}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Field by field, as `space.learning_rate.high 0.01 -> 0.1`."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key} {json.dumps(before)} -> {json.dumps(after)}")
    return found
