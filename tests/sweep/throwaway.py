"""A throw-away PostgreSQL server on a free port of the loopback, for tests of what is recorded on one."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "Kanarienvogel7"


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl: of PATH, or where Debian keeps them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


class Postgres:
    """A cluster with the role `me`, who has a password and owns the database `sweeps`.

    Without fsync: a server that is stopped at once loses nothing by that, only a machine that is.
    """

    def __init__(self) -> None:
        self.bin = binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has at most 107 letters
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to be root's
            nobody = pwd.getpwnam("nobody")
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            self.port = place.getsockname()[1]
        self._run("initdb", "--auth-local=trust", "--auth-host=scram-sha-256", "--username=admin", "--no-sync")
        self.start()
        self.execute(f"CREATE ROLE me LOGIN PASSWORD '{PASSWORD}'")
        self.execute("CREATE DATABASE sweeps OWNER me")

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.bin / program), *words, "-D", str(self.folder / "data")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **self.user)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=50"
        self._run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; at once, as if it had crashed, unless `mode` says otherwise."""
        self._run("pg_ctl", "stop", "-w", "-m", mode)

    def address(self, database: str = "sweeps", password: str | None = PASSWORD) -> str:
        """The database's address."""
        return f"postgresql+psycopg://me{f':{password}' if password else ''}@127.0.0.1:{self.port}/{database}"

    def execute(self, query: str, *values: object, database: str = "postgres") -> list[Any]:
        """Do something as the server's owner; the rows that it gives."""
        with psycopg.connect(
            host=str(self.folder), port=self.port, user="admin", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def in_sweeps(self, query: str, *values: object) -> list[Any]:
        """The same in the database of the sweeps."""
        return self.execute(query, *values, database="sweeps")

    def terminate(self) -> int:
        """End every connection of `me`; how many there were."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'me'"
        return len(self.execute(query))

    def drop(self) -> None:
        """Remove every study and everything of MLflow's."""
        query = "SELECT nspname FROM pg_namespace WHERE nspowner = 'me'::regrole"
        for (schema,) in self.in_sweeps(query):
            self.in_sweeps(f'DROP SCHEMA "{schema}" CASCADE')

    def remove(self) -> None:
        """Stop it and remove all of it."""
        pid = self.folder / "data" / "postmaster.pid"
        if pid.exists():
            number = int(pid.read_text().splitlines()[0])
            os.kill(number, signal.SIGQUIT)
            while pid.exists():
                time.sleep(0.02)
        shutil.rmtree(self.folder)
