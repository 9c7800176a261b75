"""Connections to a study database: opening it read-only, querying it, reconnecting to a server."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from sqlalchemy.engine import URL

from studies.record.errors import DatabaseUnavailable, damaged, is_lost, reason, sql_errors, unavailable, version_errors
from studies.record.server import Place, Server, without_password

WRITER = "sweep_writer"
"""The table with one row: the uid of the study, and token and holder of the last writer."""
OLDEST_POSTGRES = 14
"""The oldest supported major version: the first in which idle connections can be kept open."""
RECONNECT_TIMEOUT_S = 120.0
"""Longest wait for a server that has responded before."""
RETRY_INTERVAL_S = 0.5
T = TypeVar("T")

_KEEPALIVE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "sweep",
}
"""libpq's options: a dead connection is detected within half a minute."""
_SETTINGS = {"statement_timeout": "0", "lock_timeout": "0"}
_READING = {"default_transaction_read_only": "on", "default_transaction_isolation": "repeatable read"}
_WRITING = {
    "idle_session_timeout": "0",  # the connection holds the lock
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_answered: set[URL] = set()
"""Servers that have responded to this process."""
_accepted_versions: set[str] = set()
"""Versions of the schema that Optuna accepted in this process."""

# During an outage they would print statements and tracebacks; `reconnecting` reports it in one line.
for _name in ("optuna.storages._rdb.storage", "psycopg", "sqlalchemy.pool"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def study_names(url: URL) -> list[str]:
    """Names of the studies in a PostgreSQL database.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    sql = "SELECT schemaname FROM pg_tables WHERE tablename = :table AND starts_with(schemaname, 'sweep_') ORDER BY 1"
    found = query(Server(url, "public"), sql, table=WRITER)
    return [str(row[0]).removeprefix("sweep_") for row in found]


def open_storage(address: str, **options: Any) -> optuna.storages.RDBStorage:
    """Optuna's storage on a database whose schema it accepts.

    Optuna's own check loads all of its migration scripts at every call, 90 ms on a slow core. It is left out for
    a schema version that it accepted before in this process.

    Args:
        address: SQLAlchemy's address.
        options: of `RDBStorage`.

    Raises:
        RuntimeError: the schema is of another version of Optuna.
        SQLAlchemyError: the database cannot be opened or is none of Optuna's.
    """
    if _accepted_versions:
        storage = optuna.storages.RDBStorage(address, skip_compatibility_check=True, **options)
        if storage.get_current_version() in _accepted_versions:
            return storage
    storage = optuna.storages.RDBStorage(address, **options)
    _accepted_versions.add(storage.get_current_version())
    return storage


def open_readonly(place: Place) -> optuna.storages.RDBStorage:
    """Open a study database read-only.

    Raises:
        RecordError: it is not a study database.
        DatabaseUnavailable: it cannot be reached.
    """
    options: dict[str, Any] = {"poolclass": sqlalchemy.NullPool}
    address = f"sqlite:///file:{place}?mode=ro&uri=true"
    if isinstance(place, Server):
        options["creator"] = lambda: connect(place)
        address = f"{place.url.drivername}://"
    with sql_errors(place), version_errors(place):
        return open_storage(address, skip_table_creation=True, engine_kwargs={**options, "pool_pre_ping": False})


def connect(server: Server, settings: Mapping[str, str] = _READING) -> Any:
    """A psycopg connection to the study's schema.

    A reader has a consistent snapshot throughout a transaction, as with SQLite. Otherwise it could see a trial
    without its seal, which is written in the same commit, and report damage.

    Raises:
        DatabaseUnavailable: the server is too old.
    """
    dialect = server.url.get_dialect()()
    arguments, options = dialect.create_connect_args(server.url)
    connection = dialect.import_dbapi().connect(*arguments, **{**_KEEPALIVE, **options})
    if connection.info.server_version < OLDEST_POSTGRES * 10_000:
        version = connection.info.parameter_status("server_version")
        connection.close()
        address = without_password(server.url)
        raise DatabaseUnavailable(f"{address} is PostgreSQL {version}; {OLDEST_POSTGRES} or newer is required")
    pairs = [word for pair in {**_SETTINGS, "search_path": server.quoted, **settings}.items() for word in pair]
    connection.execute("SELECT " + ", ".join(["set_config(%s, %s, false)"] * (len(pairs) // 2)), pairs)
    connection.commit()
    _answered.add(server.url)
    return connection


def connect_to_write(server: Server) -> Any:
    """As `connect`, for the writer: an acknowledged commit is on the server's disk."""
    connection = connect(server, _WRITING)
    sql = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    connection.execute(sql)
    connection.commit()
    return connection


def query(server: Server, sql: str, **values: object) -> list[Any]:
    """The rows of one query.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
    """

    def run(again: bool) -> list[Any]:
        with sql_errors(server):
            engine = sqlalchemy.create_engine(
                f"{server.url.drivername}://", creator=lambda: connect(server), poolclass=sqlalchemy.NullPool
            )
            with engine.connect() as connection:
                return list(connection.execute(sqlalchemy.text(sql), values))

    return reconnecting(server, run)


def is_locked(server: Server) -> bool:
    """Whether a process on any machine is running the study.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
    """
    sql = (
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (classid::bigint << 32 | objid::bigint) = :key"
    )
    return bool(query(server, sql, key=server.key))


def stamp(place: Place) -> tuple[object, ...]:
    """A value that changes whenever an epoch, the end of a trial or a verdict was written."""
    if isinstance(place, Server):
        sql = (
            "SELECT (SELECT max(trial_user_attribute_id) FROM trial_user_attributes),"
            " (SELECT string_agg(value_json, ' ' ORDER BY study_id) FROM study_user_attributes WHERE key = 'seal')"
        )
        return tuple(query(place, sql)[0])
    return (*file_stamp(place), *file_stamp(place.with_name(f"{place.name}-wal")))


def file_stamp(path: Path) -> tuple[int, int]:
    """Modification time in nanoseconds and size in bytes of a file; zeros if there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def reconnecting(
    place: Place,
    work: Callable[[bool], T],
    notify: Callable[[str], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> T:
    """Call `work(False)` and return its result; after a lost connection call `work(True)`, until it succeeds.

    There is no wait for a server that has never responded to this process: its address may be wrong.

    Args:
        place: for a file, `work` is called once.
        work: called with True if an earlier call may have succeeded, because only the response was lost.
        notify: prints a line when the connection is lost and when it is restored.
        stopped: checked during the wait; True ends it.

    Raises:
        DatabaseUnavailable: the server was not available again in time, or `stopped` returned True.
    """
    if not isinstance(place, Server):
        return work(False)
    since = None
    while True:
        try:
            found = work(since is not None)
        except Exception as error:
            if place.url not in _answered or not is_lost(error):
                raise
            now = time.monotonic()
            if since is None:
                since = now
                notify(f"lost the database server ({reason(error)}); waiting up to {RECONNECT_TIMEOUT_S:.0f} s for it")
            if stopped() or now - since > RECONNECT_TIMEOUT_S:
                raise unavailable(place, error) from error
            time.sleep(min(RETRY_INTERVAL_S, 0.05 + now - since))  # most lost connections can be restored at once
        else:
            if since is not None:
                notify(f"reconnected to the database server after {time.monotonic() - since:.0f} s")
            return found


def require_whole(path: Path) -> None:
    """Check that a file is an SQLite database with consistent pages.

    Raises:
        RecordError: it is not.
        DatabaseUnavailable: it cannot be read.
    """
    with sql_errors(path):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found.splitlines()[-1])
