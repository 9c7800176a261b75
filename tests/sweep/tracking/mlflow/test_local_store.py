"""MLflow's database in the home folder: whole or not there."""

import signal
import sqlite3
import subprocess
import sys

import pytest

from sweep.tracking.mlflow import server as mlflow_app
from sweep.tracking.mlflow.local_store import make_ready, path_of

# MLflow 3.17 still uses a loader that SQLAlchemy 2.1 deprecates, which we cannot change.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning")


KILLED = """
import os, signal, sys
from pathlib import Path
from mlflow.store.db import utils
from sweep.tracking.mlflow.local_store import make_ready
utils._verify_schema = lambda engine: os.kill(os.getpid(), signal.SIGKILL)
make_ready(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_the_database_appears_only_when_complete(tmp_path):
    """A process that is killed in between leaves the name free, or the empty file; the next one makes it."""
    path = tmp_path / "mlflow.db"
    path.touch()
    killed = subprocess.run([sys.executable, "-P", "-c", KILLED, str(path)], check=False)
    left = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    make_ready(path)

    assert killed.returncode == -signal.SIGKILL
    assert left["mlflow.db"] == 0
    assert max(left.values()) > 100_000
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    connection.close()
    assert {file.name for file in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


def test_a_damaged_database_is_reported_in_one_line(tmp_path, monkeypatch):
    """And leaves the file as it is."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"no database, and longer than the header of one" * 10)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{path}")
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", tmp_path.as_uri())
    monkeypatch.setattr(mlflow_app, "_end_with_parent", lambda: None)
    monkeypatch.setattr(mlflow_app, "_write_no_passwords", lambda address: None)
    with pytest.raises(SystemExit) as ended:
        mlflow_app.application()

    assert ended.value.code == f"MLflow cannot open sqlite:///{path}: file is not a database"
    assert path.read_bytes().startswith(b"no database")


def test_only_sqlite_files_are_created():
    """The address of a server or of another database has no path."""
    assert path_of("http://127.0.0.1:5000") is None
    assert path_of("postgresql+psycopg://me@host/mlflow") is None
    assert str(path_of("sqlite:////home/me/mlflow.db")) == "/home/me/mlflow.db"
