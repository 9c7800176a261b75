"""A study's database on a PostgreSQL server, for its one writer: locking, reconnecting, schema creation.

Everything is written through one connection, which takes an advisory lock when it is opened. So nothing can be written
without the lock. When a new connection gets the lock, the server has closed the lost one, and its last commit has
either succeeded or failed. So it is safe to check whether a write succeeded, and to repeat it if not.

While this process is disconnected, another sweep could take the lock and release it. Every sweep that takes the lock
therefore writes a token to the table `sweep_writer`; one that reconnects and finds another token ends without writing.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.pool import QueuePool

from model.files import write_atomic
from studies.record.database import WRITER, connect_to_write, open_readonly, reconnecting
from studies.record.errors import ConnectionLost, DatabaseUnavailable, RecordError, damaged, sql_errors
from studies.record.folder import StudyFolder
from studies.record.location import locate
from studies.record.server import Server, environment_url, same_database, without_password
from sweep.errors import StudyBusy, StudyChanged
from sweep.failpoints import failpoint

LOCK_TIMEOUT_S = 2.0
"""Longest wait for the lock: a killed sweep holds it until the server closes the connection."""
_TABLE = f"CREATE TABLE {WRITER} (uid text NOT NULL, token text NOT NULL, holder text NOT NULL)"
T = TypeVar("T")


def server_for(folder: Path) -> Server:
    """The schema in which the study in `folder` is recorded, or will be.

    Raises:
        StudyChanged: it is recorded in another database than the given one.
    """
    given, place = environment_url(), locate(folder)
    if isinstance(place, Server) and (given is None or same_database(given, place.url)):
        return place if place.uid else replace(place, uid=secrets.token_hex(16), made=False)
    moved = f"; or, if its server has moved, edit {StudyFolder(folder).server}" if isinstance(place, Server) else ""
    raise StudyChanged(
        f"{folder.name} is recorded in {place}, not in {without_password(given) if given else 'a database'}\n"
        f"omit --storage and SWEEP_STORAGE{moved};\nor give the study file a new name"
    )


class Connection:
    """The connection of the writer, reopened after every outage.

    Attributes:
        server: the schema of the study.
        notify, stopped: of `reconnecting`: takes a line about an outage, and whether to stop waiting.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.notify: Callable[[str], None] = lambda _: None
        self.stopped: Callable[[], bool] = lambda: False
        self._token, self._held = secrets.token_hex(16), False
        self._pool = QueuePool(self._connect, pool_size=1, max_overflow=0, timeout=5)
        with sql_errors(server):
            self._engine = sqlalchemy.create_engine(_bare(server), pool=self._pool)

    def persist(self, work: Callable[[bool], T]) -> T:
        """`studies.record.database.reconnecting`, with translated errors.

        Raises:
            DatabaseUnavailable: the server was unreachable for too long, or another sweep took over the study.
        """
        with sql_errors(self.server):
            return reconnecting(self.server, work, self.notify, self.stopped)

    def storage(self) -> RDBStorage:
        """Optuna's storage on this connection.

        Raises:
            RecordError: the tables are of another version of Optuna.
        """
        self.persist(lambda _: open_readonly(self.server))  # the version check needs two connections at once
        bare, pool = _bare(self.server), {"pool": self._pool}
        return self.persist(lambda _: RDBStorage(bare, pool, skip_compatibility_check=True, skip_table_creation=True))

    def close(self) -> None:
        """Close the connection, which releases the lock."""
        self._engine.dispose()

    def make_ready(self, folder: Path, fill: Callable[[RDBStorage, str], None]) -> None:
        """Take the lock, and create the study's schema if there is none.

        `database.json` is written before and after: an interrupted creation is repeated, and a schema that was
        created and has disappeared is an error.

        Args:
            folder: the study's.
            fill: writes the attributes of a new study, with this uid, into an empty storage.

        Raises:
            StudyBusy: another process holds the lock.
            StudyChanged: the schema is that of another folder's study.
            RecordError: the schema has disappeared.
        """
        assert self.server.uid is not None
        uid = self.persist(lambda _: self._uid())
        if uid is None:
            if self.server.made:
                raise damaged(self.server, "the study that was started there has disappeared")
            _write_location(folder, self.server)
            self._make(fill, self.server.uid)
        elif uid != self.server.uid:
            raise StudyChanged(
                f"{self.server} is a study of that name from another folder\n"
                f"continue it there, or copy that folder to {folder};\nor give the study file a new name"
            )
        self.server = replace(self.server, made=True)
        _write_location(folder, self.server)

    def _connect(self) -> Any:
        """A connection that holds the lock.

        Raises:
            StudyBusy: another process holds it when the first connection is opened.
            ConnectionLost: the lost connection still holds it.
            DatabaseUnavailable: another sweep holds it, or has held it.
        """
        connection = connect_to_write(self.server)
        try:
            self._lock(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _lock(self, connection: Any) -> None:
        end = time.monotonic() + (0 if self._held else LOCK_TIMEOUT_S)
        while not connection.execute("SELECT pg_try_advisory_lock(%s)", [self.server.key]).fetchone()[0]:
            connection.commit()
            if time.monotonic() > end:
                raise self._busy(connection)
            time.sleep(0.1)
        table = f"{self.server.quoted}.{WRITER}"
        if connection.execute("SELECT to_regclass(%s)", [table]).fetchone()[0]:
            if self._held:
                if self._row(connection)[0] != self._token:
                    raise _taken(self.server)
            else:
                change = f"UPDATE {table} SET token = %s, holder = %s WHERE uid = %s"
                connection.execute(change, [self._token, _holder(), self.server.uid])
        connection.commit()
        self._held = True

    def _busy(self, connection: Any) -> Exception:
        token, holder = self._row(connection)
        if self._held:
            return (
                ConnectionLost("the lost connection still holds the lock")
                if token == self._token
                else _taken(self.server)
            )
        return StudyBusy(f"the study in {self.server} is already running ({holder})\nwait for it, or stop it first")

    def _row(self, connection: Any) -> tuple[str, str]:
        """Token and holder of the process that took the lock last; this process during creation of the schema."""
        table = f"{self.server.quoted}.{WRITER}"
        if not connection.execute("SELECT to_regclass(%s)", [table]).fetchone()[0]:
            return self._token, "another process"
        token, holder = connection.execute(f"SELECT token, holder FROM {table}").fetchone()
        return str(token), str(holder)

    def _uid(self) -> str | None:
        """The uid in the schema; None if there is no schema.

        Raises:
            RecordError: the schema belongs to something else.
        """
        table = f"{self.server.quoted}.{WRITER}"
        with self._engine.connect() as connection:
            if connection.execute(sqlalchemy.text("SELECT to_regclass(:table)"), {"table": table}).scalar():
                return str(connection.execute(sqlalchemy.text(f"SELECT uid FROM {table}")).scalar())
            there = sqlalchemy.text("SELECT 1 FROM pg_namespace WHERE nspname = :schema")
            if connection.execute(there, {"schema": self.server.schema}).scalar():
                raise RecordError(f"{self.server} belongs to another program\ngive the study file a new name")
        return None

    def _make(self, fill: Callable[[RDBStorage, str], None], uid: str) -> None:
        """Create the schema under a temporary name and rename it, so that it is never incomplete."""
        part = replace(self.server, schema=f"part_{self.server.schema}")

        def run(engine: sqlalchemy.Engine, *statements: str, **values: str) -> None:
            with engine.begin() as connection:
                for statement in statements:
                    connection.execute(sqlalchemy.text(statement), values)

        def make(again: bool) -> None:
            if again and self._uid() == uid:
                return
            # Optuna opens some thirty connections one after the other, and never more than two at once.
            pool = QueuePool(lambda: connect_to_write(part), pool_size=2, max_overflow=0, timeout=5)
            engine = sqlalchemy.create_engine(_bare(part), pool=pool)
            try:
                run(engine, f"DROP SCHEMA IF EXISTS {part.quoted} CASCADE", f"CREATE SCHEMA {part.quoted}", _TABLE)
                fill(RDBStorage(_bare(part), {"pool": pool}, skip_compatibility_check=True), uid)
                row = {"uid": uid, "token": self._token, "holder": _holder()}
                run(engine, f"INSERT INTO {WRITER} VALUES (:uid, :token, :holder)", **row)
            finally:
                engine.dispose()
            failpoint("before_database")
            run(self._engine, f"ALTER SCHEMA {part.quoted} RENAME TO {self.server.quoted}")
            failpoint("after_database")

        self.persist(make)


def _bare(server: Server) -> str:
    """An address with only the driver: connections are opened by `studies.record.database.connect`."""
    return f"{server.url.drivername}://"


def _holder() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _taken(server: Server) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"another sweep took over {server} while the server was unreachable; this one wrote nothing after that"
    )


def _write_location(folder: Path, server: Server) -> None:
    """Write `database.json`."""
    content = {"address": without_password(server.url), "schema": server.schema, "uid": server.uid, "made": server.made}
    write_atomic(StudyFolder(folder).server, (json.dumps(content, indent=2) + "\n").encode())
