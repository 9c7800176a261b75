"""MLflow's database in the home folder: whole or not there."""

import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from sweep.tracking.mlflow import client
from sweep.tracking.mlflow import server as mlflow_app
from sweep.tracking.mlflow.local_store import ARTIFACTS, beside, make_ready, path_of

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
    assert {file.name for file in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock", "mlflow.db.users"}


def test_a_damaged_database_is_reported_with_its_address(tmp_path, monkeypatch):
    """And leaves the file as it is."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"no database, and longer than the header of one" * 10)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{path}")
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", tmp_path.as_uri())
    monkeypatch.setattr(mlflow_app, "_end_with_parent", lambda: None)
    monkeypatch.setattr(mlflow_app, "_write_no_passwords", lambda address: None)
    with pytest.raises(SystemExit) as ended:
        mlflow_app.application()

    first, second = ended.value.code.splitlines()
    assert first == f"MLflow cannot open sqlite:///{path}: file is not a database"
    assert second == "check the address in --tracking or SWEEP_TRACKING"
    assert path.read_bytes().startswith(b"no database")


def experiments(path, *commands):
    """Where the default experiment stands after these, read past MLflow."""
    with sqlite3.connect(path) as connection:
        for command in commands:
            connection.execute(command)
        row = connection.execute("SELECT lifecycle_stage FROM experiments WHERE experiment_id = 0").fetchone()
    connection.close()
    return row[0]


DELETE = "UPDATE experiments SET lifecycle_stage = 'deleted' WHERE experiment_id = 0"
ELSEWHERE = "UPDATE experiments SET artifact_location = 'file:///home/me/mlruns/0' WHERE experiment_id = 0"
EARLIER = "PRAGMA user_version = 0"
"""As a database is that an earlier version of this program made."""
USED = (
    "INSERT INTO runs (run_uuid, experiment_id, lifecycle_stage, status) VALUES ('0' || hex(randomblob(15)), 0,"
    " 'deleted', 'FINISHED')"
)


@pytest.fixture
def made(tmp_path, migrated):
    path = tmp_path / "mlflow.db"
    shutil.copy(migrated, path)
    make_ready(path)  # at its new place
    return path


def test_the_default_experiment_is_there_for_runs_of_the_user(made):
    """A run that names no experiment is one of it, and MLflow makes no other where it is deleted."""
    assert experiments(made) == "active"
    experiment = client.mlflow.MlflowClient(f"sqlite:///{made}").get_experiment("0")
    assert (experiment.name, experiment.lifecycle_stage) == ("Default", "active")
    assert experiment.artifact_location == f"{(made.parent / 'mlartifacts').as_uri()}/0"


def test_a_default_experiment_that_we_deleted_is_restored_once(made):
    """One that the user deletes afterwards stays deleted, also in a new database."""
    assert experiments(made, DELETE) == "deleted"
    make_ready(made)
    assert experiments(made) == "deleted"

    assert experiments(made, EARLIER) == "deleted"
    make_ready(made)
    assert experiments(made) == "active"

    assert experiments(made, DELETE) == "deleted"
    make_ready(made)
    assert experiments(made) == "deleted"


@pytest.mark.parametrize("theirs", [ELSEWHERE, USED], ids=["of another place", "with runs"])
def test_a_default_experiment_that_a_user_deleted_stays_deleted(made, theirs):
    experiments(made, theirs, DELETE, EARLIER)
    make_ready(made)

    assert experiments(made) == "deleted"


def test_only_sqlite_files_are_created():
    """The address of a server or of another database has no path."""
    assert path_of("http://127.0.0.1:5000") is None
    assert path_of("postgresql+psycopg://me@host/mlflow") is None
    assert str(path_of("sqlite:////home/me/mlflow.db")) == "/home/me/mlflow.db"


def addresses(database):
    """Where the experiments' artifacts are, by the database."""
    with sqlite3.connect(database) as connection:
        found = [row[0] for row in connection.execute("SELECT artifact_location FROM experiments ORDER BY 1")]
    connection.close()
    return found


@pytest.fixture
def mounted(tmp_path, migrated):
    """A home under two paths, and its database under both; an experiment's artifacts have the first one's address."""
    host, container = tmp_path / "host", tmp_path / "container"
    host.mkdir()
    container.symlink_to(host)
    paths = [home / "mlflow.db" for home in (host, container)]
    shutil.copy(migrated, paths[0])
    with sqlite3.connect(paths[0]) as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", ((host / ARTIFACTS / "digits").as_uri(),))
    connection.close()
    return paths


def test_addresses_stay_while_the_home_is_in_use_under_another_path(mounted):
    """And are moved by the next process once that one has ended."""
    on_host, in_container = mounted
    use = make_ready(on_host)
    before = addresses(on_host)

    other = make_ready(in_container)
    assert addresses(on_host) == before
    del use, other
    make_ready(in_container)

    assert addresses(on_host) == [(in_container.parent / ARTIFACTS / "digits").as_uri()] != before


def test_artifacts_are_looked_for_beside_the_database(mounted):
    on_host, in_container = mounted
    address = "file:///data/runs/mlartifacts/digits/0a/artifacts"

    assert beside(address, on_host) == f"{on_host.parent.as_uri()}/mlartifacts/digits/0a/artifacts"
    assert (
        beside(beside(address, on_host), in_container)
        == f"{in_container.parent.as_uri()}/mlartifacts/digits/0a/artifacts"
    )
    assert beside("s3://bucket/mlartifacts/0a", on_host) == "s3://bucket/mlartifacts/0a"
    assert beside("file:///elsewhere/0a/artifacts", on_host) == "file:///elsewhere/0a/artifacts"
