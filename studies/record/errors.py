"""The exceptions for study databases, and the translation of errors of the drivers.

| error | meaning |
|---|---|
| `RecordError` | the content is not a valid study; a retry does not help |
| `DatabaseUnavailable` | disk full, locked, no permission, server not reachable; the content may be intact |
| `ConnectionLost` | the connection to a server is lost; the operation is retried |
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator

import sqlalchemy
from optuna.exceptions import StorageInternalError

from studies.record.folder import SERVER
from studies.record.server import STORAGE, Place, Server, without_password

_SQLITE_UNAVAILABLE = tuple(
    f"SQLITE_{name}" for name in ("FULL", "IOERR", "BUSY", "LOCKED", "READONLY", "CANTOPEN", "PERM")
)
_SQLITE_DAMAGED = tuple(f"SQLITE_{name}" for name in ("CORRUPT", "NOTADB", "ERROR"))
"""Prefixes of SQLite's error names. The first are errors of the environment, the second of damaged content.

https://www.sqlite.org/rescode.html
"""
_POSTGRES_DISCONNECTED = ("08", "57P", "53300", "25006")
_POSTGRES_UNAVAILABLE = ("25", "28", "3D", "42501", "53", "54", "55", "57", "58")
_POSTGRES_DAMAGED = ("XX", "3F", "42P01", "42703", "42704")
"""Prefixes of PostgreSQL's error codes: server stopped, on standby or without a free connection; other errors of the
environment; errors of the content.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""
_HINTS = {
    "password": f"its password comes from {STORAGE}, PGPASSWORD or ~/.pgpass",
    'database "': "create it first: createdb NAME",
    "permission denied for database": "its owner must allow it: GRANT CREATE ON DATABASE NAME TO ROLE",
    'role "': "create it first: createuser NAME",
}


class RecordError(Exception):
    """The folder has no study database that this version can read."""


class DatabaseUnavailable(Exception):
    """A study database cannot be read or written now: disk full, locked by another process, server not reachable."""


class ConnectionLost(Exception):
    """The connection to a server is lost and may soon be restored."""


@contextlib.contextmanager
def sql_errors(place: Place) -> Iterator[None]:
    """Translate the errors of SQLAlchemy and the drivers.

    Raises:
        RecordError: its content is not a valid study.
        DatabaseUnavailable: the disk, a lock, a permission or the network prevents access; the content may be intact.
    """
    try:
        yield
    except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, ImportError) as error:
        if isinstance(place, Server) and (known := _from_server(place, error)):
            raise known from error
        if isinstance(error, ImportError):
            raise
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, sqlite3.Error):
            cause = cause.__cause__
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith(_SQLITE_UNAVAILABLE):
            advice = "nothing is lost; run the same command again once there is space or access"
            raise DatabaseUnavailable(f"{place} cannot be used: {cause}\n{advice}") from error
        if name.startswith(_SQLITE_DAMAGED) or "Could not decode" in str(cause):
            raise damaged(place, str(cause)) from error
        raise


def _from_server(server: Server, error: Exception) -> Exception | None:
    """The translated error of a server; None if it is unknown."""
    if isinstance(error, ImportError):
        return DatabaseUnavailable(
            "PostgreSQL requires the package psycopg, which is not installed; install it with\n"
            "pip install --require-hashes -r requirements-postgres.lock"
        )
    found = [cause for cause in _causes(error) if isinstance(cause, sqlalchemy.exc.DBAPIError)]
    state = _state(found[-1]) if found else ""
    if is_lost(error) or state.startswith(_POSTGRES_UNAVAILABLE) or (found and not state):
        return unavailable(server, error)
    if state.startswith(_POSTGRES_DAMAGED):
        return damaged(server, reason(error))
    return None


@contextlib.contextmanager
def readable(place: Place) -> Iterator[None]:
    """Translate errors while content is read: a value that cannot be decoded is damage.

    Raises:
        RecordError, DatabaseUnavailable: as in `sql_errors`, and for values that cannot be decoded.
    """
    try:
        with sql_errors(place):
            yield
    except (LookupError, ValueError, TypeError) as error:
        raise damaged(place, f"{type(error).__name__} {error}") from error


@contextlib.contextmanager
def version_errors(place: Place) -> Iterator[None]:
    """Translate Optuna's error for tables of another version.

    Raises:
        RecordError: the tables are of another version of Optuna.
    """
    try:
        yield
    except RuntimeError as error:
        older = "storage upgrade" in str(error)
        advice = "use the version of this program that wrote it" if older else "update this program"
        raise RecordError(f"{place} was written with another version of Optuna\n{advice}") from error


def damaged(place: Place, what: str) -> RecordError:
    """The error for a database whose content was changed or is corrupt."""
    if isinstance(place, Server):
        advice = f"restore a backup of the schema; or drop it, remove the study's {SERVER}, and start the study again"
        return RecordError(f"{place} is damaged: {what[:200]}\n{advice}")
    return RecordError(
        f"{place} is damaged: {what[:200]}\n"
        f"restore it from a backup; or remove {place.parent}, and start the study again"
    )


def unavailable(server: Server, error: BaseException) -> DatabaseUnavailable:
    """The error for a server that cannot be used now."""
    why = reason(error)
    default = f"is the server running? its address comes from --storage, {STORAGE} or the study's {SERVER}"
    hint = next((hint for word, hint in _HINTS.items() if word in why), default)
    return DatabaseUnavailable(
        f"{without_password(server.url)} cannot be used: {why}\n{hint}\n"
        "nothing is lost; run the same command again once it is available"
    )


def is_lost(error: BaseException) -> bool:
    """Whether an error means that the connection to the server is lost."""
    for cause in _causes(error):
        if isinstance(cause, ConnectionLost):
            return True
        if isinstance(cause, sqlalchemy.exc.DBAPIError):
            state = _state(cause)
            network = state == "" and isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
            if cause.connection_invalidated or network or state.startswith(_POSTGRES_DISCONNECTED):
                return not isinstance(cause.orig, sqlite3.Error)
    return False


def reason(error: BaseException) -> str:
    """The message of the server or the driver, in one line of at most 200 characters."""
    found = [cause for cause in _causes(error) if isinstance(cause, sqlalchemy.exc.DBAPIError)]
    said = (str(found[-1].orig if found else error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^(connection (failed|is bad): )?(connection to server .*? failed: )?(FATAL:\s+)?", "", said)[:200]


def _causes(error: BaseException) -> list[BaseException]:
    """The error and the chain of its causes."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) and cause not in found:
        found.append(cause)
    return found


def _state(error: sqlalchemy.exc.DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""
