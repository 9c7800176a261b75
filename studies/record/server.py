"""A PostgreSQL database, and the schema in it that holds one study."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url

STORAGE = "SWEEP_STORAGE"
"""The environment variable for a database's address with its password; `sweep --storage` also sets it."""


@dataclass(frozen=True)
class Server:
    """The schema of a study in a PostgreSQL database.

    Attributes:
        url: the database's address; with the password if the environment has it.
        schema: the study's schema.
        uid: the study's; None if it is read without its folder.
        made: whether the schema was created.
    """

    url: URL
    schema: str
    uid: str | None = None
    made: bool = True

    def __str__(self) -> str:
        return f"schema {self.schema} in {without_password(self.url)}"

    @property
    def key(self) -> int:
        """Number of the advisory lock that the study's writer holds: 64 bits, signed."""
        return int.from_bytes(hashlib.sha256(self.schema.encode()).digest()[:8], "big", signed=True)

    @property
    def quoted(self) -> str:
        """The schema's name in SQL; the name of a study contains no quotation mark."""
        return f'"{self.schema}"'


Place = Path | Server
"""The location of a record: a file or a schema."""


def environment_url() -> URL | None:
    """The database address in SWEEP_STORAGE; None if it is not set."""
    address = os.environ.get(STORAGE)
    return make_url(address) if address else None


def same_database(one: URL, other: URL) -> bool:
    """Whether two addresses refer to the same database; user and password are ignored."""
    return _database(one) == _database(other)


def _database(url: URL) -> tuple[object, ...]:
    return url.host or url.query.get("host"), url.port or url.query.get("port") or 5432, url.database


def without_password(url: URL) -> str:
    """An address without a password or a placeholder for one, so that it can be used."""
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    return bare.render_as_string(hide_password=False)


def schema_name(study: str) -> str:
    """The schema of a study: `sweep_<name>`, shortened to 58 of the 63 bytes that PostgreSQL allows."""
    if len(study) > 52:
        study = f"{study[:39]}_{hashlib.sha256(study.encode()).hexdigest()[:12]}"
    return f"sweep_{study}"
