"""A study's database on a PostgreSQL server, for its one writer: the lock, the coming back, the making.

All is written through one connection, which holds an advisory lock from the moment it is made. So nothing can be
written without the lock; and when a new connection has it, the one that was lost is dead on the server too, and what
it was committing is either there or will never be. That is what makes it sound to look whether a write was done, and
else to do it again.

The lock could pass to another sweep and come back while we are away. Every sweep that takes it therefore leaves a
token in the table `sweep_writer`, and one that comes back and finds another's ends before it writes.
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
from sqlalchemy.pool import NullPool, QueuePool

from model.files import write_atomic
from studies.record.database import (
    ADDRESS,
    WRITER,
    ConnectionLost,
    DatabaseUnavailable,
    RecordError,
    Server,
    damaged,
    locate,
    named,
    open_readonly,
    persist,
    same_database,
    shown,
    sql_errors,
    writing,
)
from sweep.failpoints import failpoint
from sweep.storage.database import StudyBusy, StudyChanged

BUSY = 2.0
"""Seconds to try for the lock: a sweep that was killed holds it until the server notices."""
_TABLE = f"CREATE TABLE {WRITER} (uid text NOT NULL, token text NOT NULL, holder text NOT NULL)"
T = TypeVar("T")


def server_for(folder: Path) -> Server:
    """Where on a server the study in `folder` is recorded, or is to be.

    Raises:
        StudyChanged: it is recorded elsewhere than in the database that was asked for.
    """
    asked, place = named(), locate(folder)
    if isinstance(place, Server) and (asked is None or same_database(asked, place.url)):
        return place if place.uid else replace(place, uid=secrets.token_hex(16), made=False)
    moved = f"; or, if its server has moved, correct {folder / ADDRESS}" if isinstance(place, Server) else ""
    raise StudyChanged(
        f"{folder.name} is recorded in {place}, not in {shown(asked) if asked else 'a database'}\n"
        f"leave --storage and SWEEP_STORAGE out{moved};\nor give the study file a new name"
    )


class Link:
    """The writer's one connection, made anew after every outage.

    Attributes:
        server: where the study is.
        say, stopped: of `persist`: what is told of an outage, and whether to give up waiting.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.say: Callable[[str], None] = lambda _: None
        self.stopped: Callable[[], bool] = lambda: False
        self._token, self._held = secrets.token_hex(16), False
        self._pool = QueuePool(self._connect, pool_size=1, max_overflow=0, timeout=5)
        with sql_errors(server):
            self._engine = sqlalchemy.create_engine(_bare(server), pool=self._pool)

    def persist(self, work: Callable[[bool], T]) -> T:
        """`studies.record.database.persist`, with what goes wrong said in our words.

        Raises:
            DatabaseUnavailable: the server is away for too long, or another sweep took the study over meanwhile.
        """
        with sql_errors(self.server):
            return persist(self.server, work, self.say, self.stopped)

    def storage(self) -> RDBStorage:
        """Optuna's storage, on this connection too.

        Raises:
            RecordError: the tables are of another version of Optuna.
        """
        self.persist(lambda _: open_readonly(self.server))  # the look at versions takes two connections at once
        bare, pool = _bare(self.server), {"pool": self._pool}
        return self.persist(lambda _: RDBStorage(bare, pool, skip_compatibility_check=True, skip_table_creation=True))

    def close(self) -> None:
        """Close the connection, which frees the lock."""
        self._engine.dispose()

    def make_ready(self, folder: Path, fill: Callable[[RDBStorage, str], None]) -> None:
        """Take the lock, and make the study's schema unless it is there.

        The folder is told before and after: what a kill leaves half-made is begun anew, what was made and is gone
        is missed.

        Args:
            folder: the study's.
            fill: writes what is known of a study into an empty storage, given its uid.

        Raises:
            StudyBusy: another process holds the lock.
            StudyChanged: the schema is that of another folder's study.
            RecordError: the schema is gone.
        """
        assert self.server.uid is not None
        uid = self.persist(lambda _: self._uid())
        if uid is None:
            if self.server.made:
                raise damaged(self.server, "the study that was begun there is gone")
            _note(folder, self.server)
            self._make(fill, self.server.uid)
        elif uid != self.server.uid:
            raise StudyChanged(
                f"{self.server} is a study of that name which another folder began\n"
                f"continue it there, or copy that folder to {folder};\nor give the study file a new name"
            )
        self.server = replace(self.server, made=True)
        _note(folder, self.server)

    def _connect(self) -> Any:
        """A connection that holds the lock.

        Raises:
            StudyBusy: the first one cannot have it.
            ConnectionLost: it is still held by the one that was lost.
            DatabaseUnavailable: another sweep has it, or had it.
        """
        connection = writing(self.server)
        try:
            self._lock(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _lock(self, connection: Any) -> None:
        end = time.monotonic() + (0 if self._held else BUSY)
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
        """Token and holder of whoever took the lock last; while the schema is being made, our own."""
        table = f"{self.server.quoted}.{WRITER}"
        if not connection.execute("SELECT to_regclass(%s)", [table]).fetchone()[0]:
            return self._token, "another process"
        token, holder = connection.execute(f"SELECT token, holder FROM {table}").fetchone()
        return str(token), str(holder)

    def _uid(self) -> str | None:
        """The uid in the schema; None where there is no schema.

        Raises:
            RecordError: the schema is something else's.
        """
        table = f"{self.server.quoted}.{WRITER}"
        with self._engine.connect() as connection:
            if connection.execute(sqlalchemy.text("SELECT to_regclass(:table)"), {"table": table}).scalar():
                return str(connection.execute(sqlalchemy.text(f"SELECT uid FROM {table}")).scalar())
            there = sqlalchemy.text("SELECT 1 FROM pg_namespace WHERE nspname = :schema")
            if connection.execute(there, {"schema": self.server.schema}).scalar():
                raise RecordError(f"{self.server} is something else's\ngive the study file a new name")
        return None

    def _make(self, fill: Callable[[RDBStorage, str], None], uid: str) -> None:
        """Make the schema under another name and rename it: it exists complete or not at all."""
        part = replace(self.server, schema=f"part_{self.server.schema}")
        options: dict[str, Any] = {"creator": lambda: writing(part), "poolclass": NullPool}

        def run(engine: sqlalchemy.Engine, *statements: str, **values: str) -> None:
            with engine.begin() as connection:
                for statement in statements:
                    connection.execute(sqlalchemy.text(statement), values)

        def make(again: bool) -> None:
            if again and self._uid() == uid:
                return
            engine = sqlalchemy.create_engine(_bare(part), **options)
            run(engine, f"DROP SCHEMA IF EXISTS {part.quoted} CASCADE", f"CREATE SCHEMA {part.quoted}", _TABLE)
            fill(RDBStorage(_bare(part), dict(options)), uid)
            row = {"uid": uid, "token": self._token, "holder": _holder()}
            run(engine, f"INSERT INTO {WRITER} VALUES (:uid, :token, :holder)", **row)
            failpoint("before_database")
            run(self._engine, f"ALTER SCHEMA {part.quoted} RENAME TO {self.server.quoted}")
            failpoint("after_database")

        self.persist(make)


def _bare(server: Server) -> str:
    """An address of which only the driver is read: the connections are made by `studies.record.database.connect`."""
    return f"{server.url.drivername}://"


def _holder() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _taken(server: Server) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"another sweep took over {server} while the server was away; nothing was written after that"
    )


def _note(folder: Path, server: Server) -> None:
    """Leave word in the study's folder of where its record is."""
    content = {"address": shown(server.url), "schema": server.schema, "uid": server.uid, "made": server.made}
    write_atomic(folder / ADDRESS, (json.dumps(content, indent=2) + "\n").encode())
