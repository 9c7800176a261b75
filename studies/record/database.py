"""Where a study's record is, how it is opened for reading, and what can be wrong with that.

It is the file `study.db` in the study's folder; or a schema of its own in a PostgreSQL database, and then the folder's
`database.json` says which, without the password. Optuna's tables and the table `sweep_writer` lie in that schema, and
nothing else, so that several studies and MLflow share a database without meeting: Optuna and MLflow both have a table
`alembic_version`.

| key of `database.json` | content |
|---|---|
| `address` | of the database, without a password |
| `schema` | the study's |
| `uid` | the study's: the schema of another one is never taken for it |
| `made` | whether the schema was made; false for the moments before |
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, make_url

FILE, ADDRESS = "study.db", "database.json"
STORAGE = "SWEEP_STORAGE"
"""The variable that holds a database's address with its password; `sweep --storage` sets it too."""
WRITER = "sweep_writer"
"""The table of one row (uid, token, holder) that says whose the schema is and who wrote it last."""
OLDEST = 14
"""The oldest PostgreSQL that is not refused: the first whose connections can be kept from ending for being idle."""
PATIENCE = 120.0
"""Seconds that a server which has answered before is waited for."""
_PAUSE = 0.5
T = TypeVar("T")

_IN_THE_WAY = tuple(f"SQLITE_{name}" for name in ("FULL", "IOERR", "BUSY", "LOCKED", "READONLY", "CANTOPEN", "PERM"))
_DAMAGE = tuple(f"SQLITE_{name}" for name in ("CORRUPT", "NOTADB", "ERROR"))
"""How SQLite's names begin for errors that lie outside the content, and within it (a missing table is an ERROR).

https://www.sqlite.org/rescode.html
"""
_AWAY = ("08", "57P", "53300", "25006")
_SERVER_IN_THE_WAY = ("25", "28", "3D", "42501", "53", "54", "55", "57", "58")
_SERVER_DAMAGE = ("XX", "3F", "42P01", "42703", "42704")
"""How PostgreSQL's codes begin for a server that has gone (or stands by, or is full), for other errors that lie outside
the content, and for those within it.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""
_KEEPALIVE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "sweep",
}
"""A connection whose other end has vanished is noticed within half a minute."""
_SETTINGS = {"statement_timeout": "0", "lock_timeout": "0"}
_READING = {"default_transaction_read_only": "on", "default_transaction_isolation": "repeatable read"}
_WRITING = {
    "idle_session_timeout": "0",  # the lock is the connection's
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_HINTS = {
    "password": f"its password comes from {STORAGE}, PGPASSWORD or ~/.pgpass",
    'database "': "make it first: createdb NAME",
    "permission denied for database": "its owner lets the role in: GRANT CREATE ON DATABASE NAME TO ROLE",
    'role "': "make it first: createuser NAME",
}
_answered: set[URL] = set()

# When a server goes they would print statements and tracebacks: `persist` says it in a line.
for _name in ("optuna.storages._rdb.storage", "psycopg", "sqlalchemy.pool"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class RecordError(Exception):
    """The folder holds no study database that this version can read."""


class DatabaseUnavailable(Exception):
    """A study database cannot be read or written now: disk full, held by another process, server away."""


class ConnectionLost(Exception):
    """The connection to a server cannot be had now, and may be soon."""


@dataclass(frozen=True)
class Server:
    """A study's place in a PostgreSQL database.

    Attributes:
        url: the database's; with the password, where the environment has it.
        schema: the study's own.
        uid: the study's; None where it is read without its folder.
        made: whether the schema was made.
    """

    url: URL
    schema: str
    uid: str | None = None
    made: bool = True

    def __str__(self) -> str:
        return f"schema {self.schema} in {shown(self.url)}"

    @property
    def key(self) -> int:
        """Number of the advisory lock that the study's one writer holds: 64 bits, signed."""
        return int.from_bytes(hashlib.sha256(self.schema.encode()).digest()[:8], "big", signed=True)

    @property
    def quoted(self) -> str:
        """The schema's name in SQL; no study's name has a quotation mark."""
        return f'"{self.schema}"'


Place = Path | Server

# --- where


def locate(folder: Path) -> Place:
    """Where the study in `folder` is recorded: what the folder says, else in the database that the environment names.

    Raises:
        RecordError: the folder's address cannot be read.
    """
    if (folder / FILE).exists():
        return folder / FILE
    try:
        found = json.loads((folder / ADDRESS).read_text())
        url = make_url(found["address"])
        place = Server(url, str(found["schema"]), str(found["uid"]), bool(found["made"]))
    except (FileNotFoundError, NotADirectoryError):
        elsewhere = named()
        return Server(elsewhere, schema_of(folder.name)) if elsewhere else folder / FILE
    except (ValueError, LookupError, TypeError, sqlalchemy.exc.ArgumentError) as error:
        raise RecordError(f"{folder / ADDRESS} cannot be read ({type(error).__name__})\nput a copy back") from error
    given = named()
    return Server(given, place.schema, place.uid, place.made) if given and same_database(given, url) else place


def named() -> URL | None:
    """The database that the environment names."""
    address = os.environ.get(STORAGE)
    return make_url(address) if address else None


def same_database(one: URL, other: URL) -> bool:
    """Whether two addresses name the same database, whoever asks for it."""
    return _database(one) == _database(other)


def _database(url: URL) -> tuple[object, ...]:
    return url.host or url.query.get("host"), url.port or url.query.get("port") or 5432, url.database


def shown(url: URL) -> str:
    """An address without its password."""
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    return bare.render_as_string(hide_password=False)


def schema_of(name: str) -> str:
    """The schema of a study: `sweep_<name>`, shortened where PostgreSQL would (at 63 letters, 5 of them kept free)."""
    if len(name) > 52:
        name = f"{name[:39]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f"sweep_{name}"


def recorded(home: Path) -> list[Path]:
    """Folders in which a study is recorded, here or on a server, by name."""
    return sorted({path.parent for name in (FILE, ADDRESS) for path in home.glob(f"*/{name}")})


def written(folder: Path) -> float:
    """When the record in `folder` was written last; of one on a server, when a sweep of it began last."""
    return max((folder / name).stat().st_mtime for name in (FILE, ADDRESS) if (folder / name).exists())


def names_at(url: URL) -> list[str]:
    """The studies that a database holds.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    query = "SELECT schemaname FROM pg_tables WHERE tablename = :table AND starts_with(schemaname, 'sweep_') ORDER BY 1"
    found = asked(Server(url, "public"), query, table=WRITER)
    return [str(row[0]).removeprefix("sweep_") for row in found]


# --- opening


def open_readonly(place: Place) -> optuna.storages.RDBStorage:
    """Open a study database so that nothing in it can be changed.

    Raises:
        RecordError: it is not a study database.
        DatabaseUnavailable: it cannot be reached.
    """
    kept: dict[str, Any] = {"poolclass": sqlalchemy.NullPool}
    address = f"sqlite:///file:{place}?mode=ro&uri=true"
    if isinstance(place, Server):
        kept["creator"] = lambda: connect(place)
        address = f"{place.url.drivername}://"
    with sql_errors(place), version_errors(place):
        return optuna.storages.RDBStorage(
            address, skip_table_creation=True, engine_kwargs={**kept, "pool_pre_ping": False}
        )


def connect(server: Server, settings: Mapping[str, str] = _READING) -> Any:
    """A connection of psycopg whose tables are the study's.

    A reader sees one state of the database throughout a transaction, as with SQLite: a trial without its seal, which is
    written in the same commit, would be taken for a damaged one.

    Raises:
        DatabaseUnavailable: the server is too old.
    """
    dialect = server.url.get_dialect()()
    arguments, options = dialect.create_connect_args(server.url)
    connection = dialect.import_dbapi().connect(*arguments, **{**_KEEPALIVE, **options})
    if connection.info.server_version < OLDEST * 10_000:
        version = connection.info.parameter_status("server_version")
        connection.close()
        raise DatabaseUnavailable(f"{shown(server.url)} is PostgreSQL {version}; {OLDEST} or newer is needed")
    pairs = [word for pair in {**_SETTINGS, "search_path": server.quoted, **settings}.items() for word in pair]
    connection.execute("SELECT " + ", ".join(["set_config(%s, %s, false)"] * (len(pairs) // 2)), pairs)
    connection.commit()
    _answered.add(server.url)
    return connection


def writing(server: Server) -> Any:
    """The same for the one who writes: a commit that was acknowledged is on the server's disk."""
    connection = connect(server, _WRITING)
    off = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    connection.execute(off)
    connection.commit()
    return connection


def asked(server: Server, query: str, **values: object) -> list[Any]:
    """The rows of one question.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
    """

    def ask(again: bool) -> list[Any]:
        with sql_errors(server):
            engine = sqlalchemy.create_engine(
                f"{server.url.drivername}://", creator=lambda: connect(server), poolclass=sqlalchemy.NullPool
            )
            with engine.connect() as connection:
                return list(connection.execute(sqlalchemy.text(query), values))

    return persist(server, ask)


def is_locked(server: Server) -> bool:
    """Whether a process, wherever it is, is at work on the study.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
    """
    query = (
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (classid::bigint << 32 | objid::bigint) = :key"
    )
    return bool(asked(server, query, key=server.key))


def stamp(place: Place) -> tuple[object, ...]:
    """Changes whenever an epoch, a trial's end or a verdict was written."""
    if isinstance(place, Server):
        query = (
            "SELECT (SELECT max(trial_user_attribute_id) FROM trial_user_attributes),"
            " (SELECT string_agg(value_json, ' ' ORDER BY study_id) FROM study_user_attributes WHERE key = 'seal')"
        )
        return tuple(asked(place, query)[0])
    return (*file_stamp(place), *file_stamp(place.with_name(f"{place.name}-wal")))


def file_stamp(path: Path) -> tuple[int, int]:
    """Time and size of a file, zeros without one."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


# --- when the server goes


def persist(
    place: Place,
    work: Callable[[bool], T],
    say: Callable[[str], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> T:
    """What `work` returns, called with False; and with True once more whenever the connection was lost meanwhile.

    A server that never answered this process is not waited for: its address may be wrong.

    Args:
        place: a file's work is done once.
        work: called with True it may have been done before, when the answer to a commit was lost.
        say: told that the server has gone, and that it is back.
        stopped: asked, while it is waited for, whether to give up.

    Raises:
        DatabaseUnavailable: the server did not come back in time, or `stopped` said so.
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
                say(f"the database server is away ({reason(error)}); it is waited for, {PATIENCE:.0f} s at most")
            if stopped() or now - since > PATIENCE:
                raise trouble(place, error) from error
            time.sleep(min(_PAUSE, 0.05 + now - since))  # a connection that was ended can be had again at once
        else:
            if since is not None:
                say(f"the database server is back after {time.monotonic() - since:.0f} s")
            return found


def _causes(error: BaseException) -> list[BaseException]:
    """The error, what brought it about, and so on."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) and cause not in found:
        found.append(cause)
    return found


def is_lost(error: BaseException) -> bool:
    """Whether an error says that the server has gone, for a while perhaps."""
    for cause in _causes(error):
        if isinstance(cause, ConnectionLost):
            return True
        if isinstance(cause, sqlalchemy.exc.DBAPIError):
            state = _state(cause)
            nowhere = state == "" and isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
            if cause.connection_invalidated or nowhere or state.startswith(_AWAY):
                return not isinstance(cause.orig, sqlite3.Error)
    return False


def _state(error: sqlalchemy.exc.DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def reason(error: BaseException) -> str:
    """What the server, or the way to it, said, in a line."""
    found = [cause for cause in _causes(error) if isinstance(cause, sqlalchemy.exc.DBAPIError)]
    said = (str(found[-1].orig if found else error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^(connection (failed|is bad): )?(connection to server .*? failed: )?(FATAL:\s+)?", "", said)[:200]


def trouble(server: Server, error: BaseException) -> DatabaseUnavailable:
    """The error for a server that cannot be used now."""
    why = reason(error)
    default = f"is it running there? its address is that of --storage, {STORAGE} or the study's {ADDRESS}"
    hint = next((hint for word, hint in _HINTS.items() if word in why), default)
    return DatabaseUnavailable(
        f"{shown(server.url)} cannot be used: {why}\n{hint}\nnothing is lost; the same command goes on once it can be"
    )


# --- what can be wrong


def require_whole(path: Path) -> None:
    """Make sure that a study database is a database, and that its pages fit together.

    Raises:
        RecordError: they do not.
        DatabaseUnavailable: that cannot be seen.
    """
    with sql_errors(path):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found.splitlines()[-1])


@contextlib.contextmanager
def sql_errors(place: Place) -> Iterator[None]:
    """Say in our words what goes wrong with a study database.

    Raises:
        RecordError: its content is not what a study's is.
        DatabaseUnavailable: the disk, a lock, a permission or the network prevents access; the content may be intact.
    """
    try:
        yield
    except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, ImportError) as error:
        if isinstance(place, Server) and (known := _of_server(place, error)):
            raise known from error
        if isinstance(error, ImportError):
            raise
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, sqlite3.Error):
            cause = cause.__cause__
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith(_IN_THE_WAY):
            way = "nothing is lost; the same command goes on once there is room or access"
            raise DatabaseUnavailable(f"{place} cannot be used: {cause}\n{way}") from error
        if name.startswith(_DAMAGE) or "Could not decode" in str(cause):
            raise damaged(place, str(cause)) from error
        raise


def _of_server(server: Server, error: Exception) -> Exception | None:
    """What an error of a server means; None where that is not known."""
    if isinstance(error, ImportError):
        return DatabaseUnavailable(
            "psycopg, which speaks with PostgreSQL, is an extra, and not installed; it is with\n"
            "pip install --require-hashes -r requirements-postgres.lock"
        )
    found = [cause for cause in _causes(error) if isinstance(cause, sqlalchemy.exc.DBAPIError)]
    state = _state(found[-1]) if found else ""
    if is_lost(error) or state.startswith(_SERVER_IN_THE_WAY) or (found and not state):
        return trouble(server, error)
    if state.startswith(_SERVER_DAMAGE):
        return damaged(server, reason(error))
    return None


@contextlib.contextmanager
def readable(place: Place) -> Iterator[None]:
    """What goes wrong in here while a study database is read is damage within its cells.

    Raises:
        RecordError, DatabaseUnavailable: as `sql_errors` does, and for the errors that a changed byte brings about.
    """
    try:
        with sql_errors(place):
            yield
    except (LookupError, ValueError, TypeError) as error:
        raise damaged(place, f"{type(error).__name__} {error}") from error


def damaged(place: Place, what: str) -> RecordError:
    """The error for a database that something else than this program has changed."""
    if isinstance(place, Server):
        way = f"put a backup of the schema back; or drop it and remove the study's {ADDRESS}, and the study begins anew"
        return RecordError(f"{place} is damaged: {what[:200]}\n{way}")
    return RecordError(
        f"{place} is damaged: {what[:200]}\nput a copy of it back; or remove {place.parent}, and the study begins anew"
    )


@contextlib.contextmanager
def version_errors(place: Place) -> Iterator[None]:
    """Say in our words that tables are of another version of Optuna.

    Raises:
        RecordError: they are.
    """
    try:
        yield
    except RuntimeError as error:
        older = "continue it with sweep run, which migrates it and keeps a copy"
        if isinstance(place, Server):
            older = "use the version of this program that wrote it"
        way = older if "storage upgrade" in str(error) else "update this program"
        raise RecordError(f"{place} was written with another version of Optuna\n{way}") from error
