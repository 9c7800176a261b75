"""MLflow's database in the home folder: made whole before anyone sees it, and right after the folder was moved.

The mirror and the page both begin here. Left alone, MLflow makes its tables in place, and a database that was killed
in between is never accepted again; and MLflow stores the full path of every artifact.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path

import sqlalchemy

from model.files import fresh_part, locked

logger = logging.getLogger(__name__)

ARTIFACTS = "mlartifacts"
"""The folder beside the database that holds all artifacts."""
_ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "model_versions": ("source", "storage_location"),
}
"""Where MLflow 3.17's tables hold addresses of artifacts."""


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


def make_ready(database: Path) -> None:
    """Make the database unless it is there, let its addresses point beside it, and switch it to WAL (the mode stays).

    Raises:
        OSError, sqlite3.Error: it cannot be written, or is something else.
    """
    with locked(database.with_name(database.name + ".lock")):  # two processes at once would both make it
        if relocate(database):
            logger.warning("the home folder was moved: MLflow's artifacts are now looked for in %s", database.parent)
        if not database.exists() or not database.stat().st_size:
            _make(database)
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _make(database: Path) -> None:
    """Make MLflow's tables under another name, and give them theirs when all are there."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # seconds, and only the first time

    part = fresh_part(database)
    store = SqlAlchemyStore(f"sqlite:///{part}", (database.parent / ARTIFACTS).as_uri())
    store.delete_experiment("0")  # MLflow's own, which would stand empty among the studies
    store.engine.dispose()
    part.replace(database)


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
