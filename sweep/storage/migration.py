"""Brings a study database of an older version to today's tables.

It is done on a copy, whose content then takes the place of the old one in one transaction: whatever is killed when, the
database is of the old version or of the new one. A copy of the old one is kept beside it.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

from model.files import fresh_part
from studies.record.database import persist, readable, require_whole
from studies.record.reader import SCHEMA, seal, trial_seal
from sweep.failpoints import failpoint
from sweep.storage.database import TrialLog, address


def migrate(path: Path) -> Path | None:
    """Migrate a study database, if it is older than this program. The caller holds the study's lock.

    Returns:
        Where the old one is kept; None when there was nothing to do.

    Raises:
        RecordError: it is damaged.
    """
    part = fresh_part(path)
    require_whole(path)
    with _opened(path) as storage:
        versions = storage.get_all_versions()
        version, schema = storage.get_current_version(), _schema(storage)
        if schema is None or version not in versions:  # not ours, or newer: whoever opens it says so
            return None
        if version == storage.get_head_version() and schema >= SCHEMA:
            return None
    kept = path.with_name(f"{path.name}.schema-{schema}-{version}")
    _copy(path, part)
    part.replace(kept)
    _copy(path, part)
    with _opened(part) as storage:
        if version != storage.get_head_version():
            logging.disable(logging.INFO)  # Alembic's own setting of its log says two lines
            storage.upgrade()
            logging.disable(logging.NOTSET)
        if schema < SCHEMA:
            _seal(storage, part)
    failpoint("before_migration")
    _copy(part, path)
    failpoint("after_migration")
    part.unlink()
    return kept


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[RDBStorage]:
    """A storage of whatever version."""
    with readable(path):
        storage = RDBStorage(address(path), skip_compatibility_check=True, skip_table_creation=True)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _copy(source: Path, target: Path) -> None:
    """The content of one database into another, in one transaction."""
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _attributes(storage: RDBStorage) -> dict[str, Any]:
    return dict(storage.get_study_user_attrs(storage.get_study_id_from_name("search")))


def _schema(storage: RDBStorage) -> int | None:
    with contextlib.suppress(KeyError):
        return _attributes(storage).get("schema")
    return None


def _seal(storage: RDBStorage, path: Path) -> None:
    """From schema 1 to 2: a seal for every finished trial and for the study."""
    for name in ("search", "confirm"):
        log = TrialLog(storage, name, path, partial(persist, path))
        for trial in storage.get_all_trials(storage.get_study_id_from_name(name)):
            if trial.state.is_finished():
                log.add(trial._trial_id, {"seal": trial_seal(trial)})
    changed = _attributes(storage) | {"schema": SCHEMA}
    search = storage.get_study_id_from_name("search")
    for key, value in {**changed, "seal": seal(changed)}.items():
        storage.set_study_user_attr(search, key, value)
