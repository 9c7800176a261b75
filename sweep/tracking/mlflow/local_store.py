"""MLflow's database in the home folder: made whole before anyone sees it, and right after the folder was moved.

The mirror and the page both begin here. Left alone, MLflow makes its tables in place, and a database that was killed
in between is never accepted again; and MLflow stores the full path of every artifact.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
from pathlib import Path

import sqlalchemy

from model.files import fresh_part, locked

logger = logging.getLogger(__name__)

ARTIFACTS = "mlartifacts"
"""The folder beside the database that holds all artifacts."""
USERS = ".users"
"""End of the name of the file beside the database on which its users hold a lock."""
_ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Where MLflow 3.17's tables hold addresses of artifacts."""
_KEEPS_DEFAULT = 1
"""`PRAGMA user_version`, which MLflow leaves at 0, of a database whose default experiment is as the user left it."""


def path_of(tracking: str) -> Path | None:
    """The SQLite file behind MLflow's tracking URI, absolute; None for a server or another database."""
    return Path(tracking.removeprefix("sqlite:///")).absolute() if tracking.startswith("sqlite:///") else None


def check_database(tracking: str) -> None:
    """Connect to a database server once before MLflow does, which retries for 100 s before it reports an error.

    Raises:
        sqlalchemy.exc.SQLAlchemyError, ImportError: it cannot be opened.
    """
    if tracking.startswith(("http://", "https://", "sqlite:")):
        return
    limit = {"connect_timeout": 2} if tracking.startswith("postgresql") else {}
    sqlalchemy.create_engine(tracking, poolclass=sqlalchemy.NullPool, connect_args=limit).connect().close()


def artifacts_of(tracking: str, folder: Path) -> str | None:
    """Where a study's artifacts go; None for a server, which decides itself.

    Beside MLflow's SQLite file; of a database elsewhere into the home folder, for MLflow would put them below whatever
    folder a command is called in.

    Args:
        tracking: MLflow's tracking URI.
        folder: the study's.
    """
    if tracking.startswith(("http://", "https://")):
        return None
    home = path.parent if (path := path_of(tracking)) else folder.absolute().parent
    return (home / ARTIFACTS / folder.name).as_uri()


class Use:
    """A process's use of a database: a shared lock on a file beside it, until it is closed or the process ends.

    Whoever has it may rely on the addresses of artifacts: they are changed only while nobody else uses the database.
    """

    def __init__(self, database: Path) -> None:
        self._descriptor = -1
        self._descriptor = os.open(database.with_name(database.name + USERS), os.O_RDWR | os.O_CREAT, 0o666)

    def is_only(self) -> bool:
        """Whether no other process uses the database; then none can begin to until `share`."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self) -> None:
        """Let others use it too; they may not move the artifacts any more."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def make_ready(database: Path) -> Use:
    """Make the database unless it is there, let its addresses point beside it, and switch it to WAL (the mode stays).

    A home folder may be seen under two paths at once, such as a container's mount and the host's. Then the addresses
    stay those of who came first, and the others look beside the database, see `beside`.

    Returns:
        What keeps the addresses as they are, as long as it is held.

    Raises:
        OSError, sqlite3.Error: it cannot be written, or is something else.
    """
    with locked(database.with_name(database.name + ".lock")):  # two processes at once would both make it
        use = Use(database)
        if use.is_only() and relocate(database):
            logger.warning("the home folder was moved: MLflow's artifacts are now looked for in %s", database.parent)
        use.share()
        if not database.exists() or not database.stat().st_size:
            _make(database)
        _restore_default_experiment(database)
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    return use


def beside(address: str, database: Path) -> str:
    """The address of an artifact in the folder beside the database, under whatever path another process stored it."""
    before, marker, rest = address.rpartition(f"/{ARTIFACTS}/")
    return f"{(database.parent / ARTIFACTS).as_uri()}/{rest}" if marker and before.startswith("file://") else address


def _make(database: Path) -> None:
    """Make MLflow's tables under another name, and give them theirs when all are there."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # seconds, and only the first time

    part = fresh_part(database)
    store = SqlAlchemyStore(f"sqlite:///{part}", (database.parent / ARTIFACTS).as_uri())
    store.engine.dispose()
    part.replace(database)


def _restore_default_experiment(database: Path) -> None:
    """Restore MLflow's default experiment, once, where an earlier version of this program deleted it.

    MLflow creates no other, so that `mlflow.start_run()` fails without it. One that a user deletes later stays deleted.
    """
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version or not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "UPDATE experiments SET lifecycle_stage = 'active' WHERE experiment_id = 0 AND artifact_location LIKE ?"
            " AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment_id = 0)",
            (f"file://%/{ARTIFACTS}/0",),  # as we made it
        )
        connection.execute(f"PRAGMA user_version = {_KEEPS_DEFAULT}")
        connection.commit()


def relocate(database: Path) -> bool:
    """Let every address of an artifact point into the folder beside the database, in one commit.

    Args:
        database: MLflow's SQLite database; without one there is nothing to do.

    Returns:
        Whether there were addresses of another place.
    """
    if not database.is_file():
        return False
    here = (database.absolute().parent / ARTIFACTS).as_uri()
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'model_versions'").fetchone():
            return False  # MLflow has not made its tables yet
        locations = [row[0] for row in connection.execute("SELECT artifact_location FROM experiments")]
        ours = {location.rpartition("/")[0] for location in locations if location.startswith("file://")}
        elsewhere = {place for place in ours if place.endswith(f"/{ARTIFACTS}")} - {here}
        for place in elsewhere:
            for table, columns in _ADDRESSES.items():
                for column in columns:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (here, len(place) + 1, len(place) + 1, f"{place}/"),
                    )
        connection.commit()
    return bool(elsewhere)
