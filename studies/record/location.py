"""The location of a record: a file, or a schema of a PostgreSQL database.

The file is `study.db` in the study's folder. For a PostgreSQL database the folder's `database.json` holds the address,
without the password. Each study has its own schema, with Optuna's tables and the table `sweep_writer`. So several
studies and MLflow can share a database: Optuna and MLflow both have a table `alembic_version`.

| key of `database.json` | content |
|---|---|
| `address` | of the database, without a password |
| `schema` | the study's |
| `uid` | the study's; a schema with another uid is refused |
| `made` | whether the schema was created; false while it is being created |
"""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from studies.record.errors import RecordError
from studies.record.folder import StudyFolder
from studies.record.server import Place, Server, environment_url, same_database, schema_name


def locate(folder: Path) -> Place:
    """The location of the record of `folder`: that in the folder, else the database in the environment.

    Raises:
        RecordError: `database.json` cannot be read.
    """
    paths = StudyFolder(folder)
    if paths.database.exists():
        return paths.database
    try:
        found = json.loads(paths.server.read_text())
        url = make_url(found["address"])
        place = Server(url, str(found["schema"]), str(found["uid"]), bool(found["made"]))
    except (FileNotFoundError, NotADirectoryError):
        default = environment_url()
        return Server(default, schema_name(folder.name)) if default else paths.database
    except (ValueError, LookupError, TypeError, ArgumentError) as error:
        raise RecordError(
            f"{paths.server} cannot be read ({type(error).__name__})\nrestore it from a backup"
        ) from error
    given = environment_url()
    return Server(given, place.schema, place.uid, place.made) if given and same_database(given, url) else place


def last_written(folder: Path) -> float:
    """When the record in `folder` was last written, Unix time; for one on a server, when a sweep of it last started."""
    paths = StudyFolder(folder)
    return max(path.stat().st_mtime for path in (paths.database, paths.server) if path.exists())
