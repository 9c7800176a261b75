"""Follows a home folder that was moved or copied: MLflow keeps the full path of every artifact in its database."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

ARTIFACTS = "mlartifacts"
"""The folder beside the database that holds all artifacts."""
_ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "model_versions": ("source", "storage_location"),
}
"""Where MLflow 3.17's tables hold addresses of artifacts."""


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
