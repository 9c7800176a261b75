"""The study database: locking, creation, comparison with the study file, writing.

Only the coordinator writes it; `studies/record/schema.py` describes its content.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shlex
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb import models  # its tables; the range of versions in pyproject.toml keeps them known
from sqlalchemy.orm import Session

from model.files import fresh_part, locked, sync_folder
from studies.definition import Study
from studies.record.database import is_locked, open_storage, reconnecting
from studies.record.errors import RecordError, readable, sql_errors, version_errors
from studies.record.folder import StudyFolder
from studies.record.location import locate
from studies.record.schema import SCHEMA, SEALED, continued, require_sealed, seal, upgraded_study
from studies.record.server import Place, Server, environment_url
from sweep.errors import StudyBusy, StudyChanged
from sweep.failpoints import failpoint
from sweep.storage.trial_log import TrialLog

if TYPE_CHECKING:
    from sweep.storage.postgres import Connection

optuna.logging.set_verbosity(optuna.logging.WARNING)  # `sweep.coordination.progress` prints what Optuna logs at INFO
GROWING = ("trials", "minutes", "trial_seconds", "confirm")
"""Keys of a study that may change after it was started."""
LOCK_TIMEOUT_S = 1.0
"""Longest wait for a study's lock: `is_active` holds it for some microseconds."""


@contextlib.contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Hold the study's lock; it is released when the process exits for any reason.

    Raises:
        StudyBusy: another process holds it; the message says which, and since when.
    """
    file = StudyFolder(folder).lock
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
    """Whether a process is running the study; for a study on a server, on any machine.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
    """
    try:
        with locked(StudyFolder(folder).lock, shared=True, timeout_s=0):
            pass
    except TimeoutError:
        return True
    except FileNotFoundError:
        pass
    place = locate(folder)
    return isinstance(place, Server) and is_locked(place)


class Database:
    """A study's database, opened for writing; the caller holds the study's lock.

    Attributes:
        folder: the study's.
        search, confirm: its two logs of trials.
    """

    def __init__(self, folder: Path, connection: Connection | None = None) -> None:
        self.folder, self._connection = folder, connection
        file = StudyFolder(folder).database
        self._place: Place = connection.server if connection else file
        self._persist: Callable[[Callable[[bool], Any]], Any] = (
            connection.persist if connection else partial(reconnecting, file)
        )
        self._storage = connection.storage() if connection else _open(file)
        try:
            self.search = TrialLog(self._storage, "search", self._place, self._persist)
            self.confirm = TrialLog(self._storage, "confirm", self._place, self._persist)
        except KeyError as error:
            raise RecordError(f"{self._place} is the database of another program") from error

    def attend(self, notify: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        """Set `notify` for outages of the server, and `stopped`, which ends the wait for it."""
        if self._connection:
            self._connection.notify, self._connection.stopped = notify, stopped

    def attributes(self) -> dict[str, Any]:
        """The study's attributes, with defaults for what an older version did not record.

        Raises:
            RecordError: they were changed since they were written.
        """
        attributes = self._attributes()
        return {**attributes, "study": upgraded_study(attributes["study"])}

    def _attributes(self) -> dict[str, Any]:
        with readable(self._place):
            attributes = dict(self._persist(lambda _: self._storage.get_study_user_attrs(self.search.study_id)))
        require_sealed(self._place, attributes)
        return attributes

    def record(self, key: str, value: Any) -> None:
        """Write one attribute of the study, and the seal over all of them, in one commit."""
        changed = {key: value, "seal": seal(self._attributes() | {key: value})}

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
        """Close all connections; SQLite then checkpoints its write-ahead log, a server releases the lock."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def open_study(folder: Path, study: Study, dataset: Mapping[str, Any], provenance: Mapping[str, Any]) -> Database:
    """Open the study's database; create it if there is none. The caller holds the folder's lock.

    Raises:
        StudyBusy: a process on another machine is running the study.
        StudyChanged: it was started with other settings or other data, or elsewhere.
        RecordError: its schema version differs, or it was changed since it was written.
        DatabaseUnavailable: its server cannot be used.
    """

    def fill(storage: RDBStorage, uid: str) -> None:
        _fill(storage, uid, study, dataset, provenance)

    database = _server_database(folder, fill) or _file_database(folder, fill)
    try:
        recorded = database.attributes()
        study = continued(study, recorded["study"])
        _require_sealed_schema(folder, recorded["schema"])
        _require_same(folder, recorded, study, dataset)
        begun = database.search.count()
        _require_growth(folder, recorded["study"], study.as_dict())
        wanted = study.as_dict()
        if study.trials is not None:
            wanted["trials"] = max(study.trials, begun)
        if recorded["study"] != wanted:
            database.record("study", wanted)
    except BaseException:
        database.close()
        raise
    return database


def _server_database(folder: Path, fill: Callable[[RDBStorage, str], None]) -> Database | None:
    """The database on a server, if the folder or the environment has its address."""
    if environment_url() is None and not isinstance(locate(folder), Server):
        return None
    from sweep.storage.postgres import Connection, server_for  # imported only for a study on a server

    connection = Connection(server_for(folder))
    try:
        connection.make_ready(folder, fill)
        return Database(folder, connection)
    except BaseException:
        connection.close()
        raise


def _file_database(folder: Path, fill: Callable[[RDBStorage, str], None]) -> Database:
    if not (StudyFolder(folder).database).exists():
        _create(folder, fill)
    return Database(folder)


def _create(folder: Path, fill: Callable[[RDBStorage, str], None]) -> None:
    """Create the database under a temporary name and rename it, so that it is never incomplete."""
    part = fresh_part(StudyFolder(folder).database)
    storage = _open(part, create=True)
    fill(storage, secrets.token_hex(16))
    storage.remove_session()
    storage.engine.dispose()
    with part.open("rb") as file:
        os.fsync(file.fileno())
    failpoint("before_database")
    part.replace(StudyFolder(folder).database)
    failpoint("after_database")
    sync_folder(folder)


def _fill(
    storage: RDBStorage, uid: str, study: Study, dataset: Mapping[str, Any], provenance: Mapping[str, Any]
) -> None:
    """Write the attributes of a new study."""
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

    A process that is killed loses nothing; after a power cut the last seconds may be missing and are run again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


class _Creation(sqlite3.Connection):
    """SQLite settings during creation: one fsync at the end instead of a hundred.

    WAL mode is set at the start. Setting it later would write a rollback journal; if the process is killed, read-only
    processes cannot roll it back.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=OFF")


def _open(path: Path, *, create: bool = False) -> RDBStorage:
    """Optuna's storage on an SQLite file.

    Raises:
        RecordError: it is not a study database.
    """
    arguments = {"timeout": 30, "factory": _Creation if create else _Durable}
    with sql_errors(path), version_errors(path):
        return open_storage(address(path), engine_kwargs={"connect_args": arguments}, skip_table_creation=not create)


UNSAFE_CHARACTERS = frozenset("?#%{}")
"""Characters that the path of an SQLite database cannot contain: they have a meaning in its address."""


def address(path: Path) -> str:
    """The address of an SQLite file.

    Raises:
        RecordError: the path holds a character that such an address cannot.
    """
    if UNSAFE_CHARACTERS & set(str(path)):
        raise RecordError(f"the folder {path.parent} cannot hold a study: its path has one of ? # % {{ }}")
    return f"sqlite:///{path}"


def _require_sealed_schema(folder: Path, schema: int) -> None:
    """Finished trials without seals cannot be verified, and a study without them is not continued.

    Raises:
        RecordError: the record is of an older schema.
    """
    if schema < SEALED:
        raise RecordError(
            f"{folder.name} was recorded by an older version (schema {schema}), which this one reads but does not "
            "continue\n"
            "report or export it; to search further, give the study file a new name"
        )


def _require_same(folder: Path, recorded: Mapping[str, Any], study: Study, dataset: Mapping[str, Any]) -> None:
    changes = _differences(_comparable(recorded["study"]), _comparable(study.as_dict()))
    if recorded["dataset"]["digest"] != dataset["digest"]:
        found = "how an older version read it" if "class_names" not in recorded["dataset"] else "its content"
        changes.append(f"dataset {recorded['dataset']['digest'][:12]} -> {dataset['digest'][:12]} ({found})")
    if changes:
        raise StudyChanged(
            f"{folder.name} was started with other settings: {'; '.join(changes)}\n"
            "undo the change, or give the study file a new name,\n"
            f"or remove what was recorded: {folder}"
        )


def _require_growth(folder: Path, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that what may only grow does not shrink.

    With a smaller confirmation the verdict could be chosen among several, and trials that needed more time than a lower
    limit would be compared with others that were not given it.
    """
    before, after = ({**one["confirm"], "trial_seconds": one["trial_seconds"]} for one in (recorded, wanted))
    for key, value in after.items():
        if (value or math.inf) < (before[key] or math.inf):
            name = key if key == "trial_seconds" else f"confirm.{key}"
            raise StudyChanged(
                f"{name} of {folder.name} may grow, but not shrink: {before[key] or 'no limit'} -> {value}\n"
                "undo the change, or give the study file a new name"
            )


def _comparable(table: Mapping[str, Any]) -> dict[str, Any]:
    """What may not change; the data are compared by their digest, because a relative path depends on the folder."""
    return {key: value for key, value in table.items() if key not in (*GROWING, "question", "dataset")}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Field by field, as `space.learning_rate.high 0.01 -> 0.1`."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = _numbered(old.get(key)), _numbered(new.get(key))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key} {json.dumps(before)} -> {json.dumps(after)}")
    return found


def _numbered(value: Any) -> Any:
    """A list of tables as a table with their numbers from 1, so that they are compared key by key."""
    is_list_of_tables = isinstance(value, list) and all(isinstance(item, Mapping) for item in value)
    return {str(number): item for number, item in enumerate(value, start=1)} if is_list_of_tables else value
