"""The study database: opens it, locks it, knows whether the study is still the one that was begun, and writes it.

Everything here is called by the coordinator alone, the one writer; the tables of attributes stand in
`studies/record/reader.py`, the one reader.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import secrets
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import optuna
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models  # its tables; the range of versions in pyproject.toml keeps them known
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from model.files import fresh_part, locked, sync_folder
from studies.definition import Study
from studies.record.database import (
    FILE,
    Place,
    Server,
    is_locked,
    locate,
    named,
    persist,
    readable,
    sql_errors,
    version_errors,
)
from studies.record.reader import SCHEMA, RecordError, require_sealed, require_sealed_trial, seal, trial_seal
from studies.record.trials import TOGETHER, read_some, trial_ids
from sweep.failpoints import failpoint

if TYPE_CHECKING:
    from sweep.storage.postgres import Link

optuna.logging.set_verbosity(optuna.logging.WARNING)  # `sweep.coordination.progress` shows what it logs at INFO
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


class RecordMismatch(Exception):
    """An epoch that was run again gave other numbers than were recorded."""


LOCK_TIMEOUT_S = 1.0
"""How long to wait for a study's lock: `is_active` holds it for some microseconds."""


@contextlib.contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Hold the study's lock; it is released when the process ends, however it ends.

    Raises:
        StudyBusy: another process holds it; says which, and since when.
    """
    file = folder / "lock"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(file, timeout_s=LOCK_TIMEOUT_S))
        except TimeoutError as error:
            raise StudyBusy(
                f"{folder.name} is already running ({file.read_text() or 'another process'})\n"
                f"wait for it, or watch it with: sweep status {folder.name} --home {shlex.quote(str(folder.parent))}"
            ) from error
        file.write_text(f"pid {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        yield


def is_active(folder: Path) -> bool:
    """Whether a process is at work on the study; of one on a server, wherever that process is.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
    """
    try:
        with locked(folder / "lock", shared=True, timeout_s=0):
            pass
    except TimeoutError:
        return True
    except FileNotFoundError:
        pass
    place = locate(folder)
    return isinstance(place, Server) and is_locked(place)


class TrialLog:
    """The trials of one Optuna study in the database, and everything that is ever written about them.

    Args:
        storage: where they are.
        name: the Optuna study's.
        place: the same, for what is said of it.
        persist: does a piece of work until it is done; the work is told whether it may have been done before.
    """

    def __init__(
        self, storage: RDBStorage, name: str, place: Place, persist: Callable[[Callable[[bool], Any]], Any]
    ) -> None:
        self._storage = storage
        self._place = place
        self._persist = persist
        self.study_id = int(persist(lambda _: storage.get_study_id_from_name(name)))
        self.name = name

    def trials(self) -> Iterator[FrozenTrial]:
        """All trials, by number, each verified before it is handed out.

        Raises:
            RecordError: they are not what was written.
        """
        with readable(self._place):
            ids = self._persist(lambda _: trial_ids(self._storage.engine, self.study_id))
            for start in range(0, len(ids), TOGETHER):
                for trial in self._some(ids[start : start + TOGETHER]):
                    require_sealed_trial(self._place, trial)
                    yield trial

    def _some(self, ids: Sequence[int]) -> list[FrozenTrial]:
        return list(self._persist(lambda _: read_some(self._storage.engine, ids)))

    def count(self) -> int:
        """How many trials were begun, without reading them."""

        def count(again: bool) -> int:
            with Session(self._storage.engine) as session:
                return session.query(models.TrialModel).filter_by(study_id=self.study_id).count()

        return int(self._persist(count))

    def finished(self) -> list[int]:
        """Numbers of the trials that have ended, without reading them."""
        trials = models.TrialModel.__table__.c
        ended = sqlalchemy.select(trials.number).where(
            trials.study_id == self.study_id, trials.state != TrialState.RUNNING
        )

        def read(again: bool) -> list[int]:
            with self._storage.engine.connect() as connection:
                return list(connection.scalars(ended))

        return list(self._persist(read))

    def begin(self, template: FrozenTrial) -> FrozenTrial:
        """Add a running trial, its parameters and attributes, in one commit.

        Optuna's own call asks three things of the database for every parameter, counts all trials for a number, and
        tries five times, whether or not the commit before was done.
        """
        trials = models.TrialModel.__table__.c
        latest = sqlalchemy.select(models.TrialModel).filter_by(study_id=self.study_id).order_by(trials.trial_id.desc())
        cells = [{"key": key, "value_json": json.dumps(content)} for key, content in template.user_attrs.items()]
        begun = copy.deepcopy(template)
        begun.user_attrs = {cell["key"]: json.loads(cell["value_json"]) for cell in cells}

        def begin(again: bool) -> None:
            with Session(self._storage.engine, expire_on_commit=False) as session, session.begin():
                last = session.scalar(latest.limit(1))
                if again and last and last.datetime_start == template.datetime_start:  # to the microsecond
                    begun.number, begun._trial_id = last.number, last.trial_id
                    return
                begun.number = last.number + 1 if last else 0
                row = models.TrialModel(study_id=self.study_id, number=begun.number, state=TrialState.RUNNING)
                row.datetime_start = template.datetime_start
                session.add(row)
                session.flush()
                begun._trial_id = cast(int, row.trial_id)
                session.execute(_ATTRIBUTE, [{"trial_id": begun._trial_id, **cell} for cell in cells])
                if template.params:
                    session.execute(_PARAM, [_param(begun, name) for name in template.params])

        self._persist(begin)
        return begun

    def attribute(self, trial_id: int, key: str, value: Any) -> None:
        """Write one attribute of a trial, or write it anew, in one commit."""
        cell, columns = _cell(trial_id, key, value), models.TrialUserAttributeModel.__table__.c
        change = _CHANGE.where(columns.trial_id == trial_id, columns.key == key).values(value_json=cell["value_json"])

        def write(again: bool) -> None:
            with self._storage.engine.begin() as connection:
                if not connection.execute(change).rowcount:
                    connection.execute(_ATTRIBUTE, cell)

        self._persist(write)

    def add(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Write attributes that a trial does not have yet, in one commit, whatever its state."""
        rows = [_cell(trial_id, key, content) for key, content in attributes.items()]

        def add(again: bool) -> None:
            with self._storage.engine.begin() as connection:
                if not (again and _are_there(connection, rows)):
                    connection.execute(_ATTRIBUTE, rows)

        self._persist(add)

    def epoch(self, trial_id: int, index: int, numbers: Mapping[str, Any], value: float | None) -> None:
        """Write an epoch, and the objective so far where Optuna's own tools look for it, in one commit.

        Optuna's two calls for this take seven queries and two commits, 3.5 ms; two inserts take 0.6 ms.
        """
        row = _cell(trial_id, f"epoch.{index}", {**numbers, "time": round(time.time(), 3)})

        def write(again: bool) -> None:
            with self._storage.engine.begin() as connection:
                if again and _are_there(connection, [row]):
                    return
                connection.execute(_ATTRIBUTE, row)
                if value is not None:
                    point = {"trial_id": trial_id, "step": index, "intermediate_value": value}
                    connection.execute(_POINT, {**point, "intermediate_value_type": "FINITE"})

        self._persist(write)

    def finish(
        self,
        trial_id: int,
        state: TrialState,
        value: float | None,
        attributes: Mapping[str, Any],
        system: Mapping[str, Any] | None = None,
    ) -> None:
        """Write all that belongs to the trial, its state and its seal, in one commit."""
        trial = self._some([trial_id])[0]
        trial.user_attrs.update(attributes)
        trial.system_attrs.update(system or {})
        trial.state, trial.values = state, None if value is None else [value]
        written = {**attributes, "seal": trial_seal(trial)}
        rows = [_cell(trial_id, key, content) for key, content in written.items()]

        def write(again: bool) -> None:
            with Session(self._storage.engine) as session, session.begin():
                if again and _are_there(session.connection(), rows):
                    return
                session.execute(_ATTRIBUTE, rows)
                if system:
                    session.execute(_SYSTEM, [_cell(trial_id, key, content) for key, content in system.items()])
                if value is not None:
                    one = {"trial_id": trial_id, "objective": 0, "value": value, "value_type": "FINITE"}
                    session.execute(_VALUE, one)
                row = session.get_one(models.TrialModel, trial_id)
                row.state, row.datetime_complete = state, datetime.now()
                failpoint("before_state")

        self._persist(write)


def _are_there(connection: sqlalchemy.Connection, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the commit that was to write these attributes was done, although no answer came."""
    table = models.TrialUserAttributeModel
    query = sqlalchemy.select(table.key, table.value_json).where(table.trial_id == rows[0]["trial_id"])
    found = {row.key: row.value_json for row in connection.execute(query)}
    return all(found.get(row["key"]) == row["value_json"] for row in rows)


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

    def __init__(self, folder: Path, link: Link | None = None) -> None:
        self.folder, self._link = folder, link
        self._place: Place = link.server if link else folder / FILE
        self._persist: Callable[[Callable[[bool], Any]], Any] = link.persist if link else partial(persist, self._place)
        self._storage = link.storage() if link else _open(folder / FILE)
        try:
            self.search = TrialLog(self._storage, "search", self._place, self._persist)
            self.confirm = TrialLog(self._storage, "confirm", self._place, self._persist)
        except KeyError as error:
            raise RecordError(f"{self._place} is a database of something else") from error

    def attend(self, say: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        """Tell `say` when the database's server goes and comes, and wait for it only until `stopped()`."""
        if self._link:
            self._link.say, self._link.stopped = say, stopped

    def attributes(self) -> dict[str, Any]:
        """What is recorded about the study as a whole.

        Raises:
            RecordError: it is not what was written.
        """
        with readable(self._place):
            attributes = dict(self._persist(lambda _: self._storage.get_study_user_attrs(self.search.study_id)))
        require_sealed(self._place, attributes)
        return attributes

    def record(self, key: str, value: Any) -> None:
        """Write one attribute of the study, and the seal over all of them, in one commit."""
        changed = {key: value, "seal": seal(self.attributes() | {key: value})}

        def write(again: bool) -> None:
            with Session(self._storage.engine) as session, session.begin():
                for name, content in changed.items():
                    there = {"study_id": self.search.study_id, "key": name}
                    kept = session.query(models.StudyUserAttributeModel).filter_by(**there)
                    row = kept.one_or_none() or models.StudyUserAttributeModel(**there)
                    row.value_json = json.dumps(content)
                    session.add(row)

        self._persist(write)

    def close(self) -> None:
        """Close all connections; SQLite then folds its write-ahead log into the file, a server frees the lock."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def open_study(folder: Path, study: Study, dataset: Mapping[str, Any], provenance: Mapping[str, Any]) -> Database:
    """Open the study's database, made first if there is none. The caller holds the folder's lock.

    Raises:
        StudyBusy: another process is at work on the study, from another machine.
        StudyChanged: it was begun with other settings or other data, or elsewhere.
        RecordError: it was written by a newer version, or is not what was written.
        DatabaseUnavailable: its server cannot be used.
    """

    def fill(storage: RDBStorage, uid: str) -> None:
        _fill(storage, uid, study, dataset, provenance)

    database = _server_database(folder, fill) or _file_database(folder, fill)
    try:
        recorded = database.attributes()
        _require_same(folder, recorded, study, dataset)
        begun = database.search.count()
        _require_growth(folder, recorded["study"]["confirm"], study.as_dict()["confirm"])
        wanted = {**study.as_dict(), "trials": max(study.trials, begun)}
        if recorded["study"] != wanted:
            database.record("study", wanted)
    except BaseException:
        database.close()
        raise
    return database


def _server_database(folder: Path, fill: Callable[[RDBStorage, str], None]) -> Database | None:
    """On a server, where the folder or the environment says so."""
    if named() is None and not isinstance(locate(folder), Server):
        return None
    from sweep.storage.postgres import Link, server_for  # an ordinary sweep need not wait for it

    link = Link(server_for(folder))
    try:
        link.make_ready(folder, fill)
        return Database(folder, link)
    except BaseException:
        link.close()
        raise


def _file_database(folder: Path, fill: Callable[[RDBStorage, str], None]) -> Database:
    if not (folder / FILE).exists():
        _create(folder, fill)
    return Database(folder)


def _create(folder: Path, fill: Callable[[RDBStorage, str], None]) -> None:
    """Make the database under another name and rename it: it exists complete or not at all."""
    part = fresh_part(folder / FILE)
    storage = _open(part, create=True)
    fill(storage, secrets.token_hex(16))
    storage.remove_session()
    storage.engine.dispose()
    with part.open("rb") as file:
        os.fsync(file.fileno())
    failpoint("before_database")
    part.replace(folder / FILE)
    failpoint("after_database")
    sync_folder(folder)


def _fill(
    storage: RDBStorage, uid: str, study: Study, dataset: Mapping[str, Any], provenance: Mapping[str, Any]
) -> None:
    """Write what is known of a study that begins."""
    direction = (
        optuna.study.StudyDirection.MAXIMIZE if study.direction == "maximize" else optuna.study.StudyDirection.MINIMIZE
    )
    study_id = storage.create_new_study([direction], "search")
    storage.create_new_study([direction], "confirm")
    attributes = {
        "schema": SCHEMA,
        "uid": uid,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "study": study.as_dict(),
        "dataset": dict(dataset),
        "provenance": dict(provenance),
    }
    for key, value in {**attributes, "seal": seal(attributes)}.items():
        storage.set_study_user_attr(study_id, key, value)


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
