"""A study on a PostgreSQL server: equal records, one writer, and outages."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from empty_report import PROGRAM
from optuna.distributions import FloatDistribution
from optuna.testing import pytest_storages
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState, create_trial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InternalError
from throwaway import PASSWORD, Postgres, binaries

from studies.record import database
from studies.record import reader as records
from studies.record.errors import DatabaseUnavailable, RecordError
from studies.record.location import locate
from studies.study_file import load
from sweep.commands.preparation import describe
from sweep.entry import main
from sweep.errors import StudyBusy, StudyChanged
from sweep.storage import database as storage
from sweep.tracking.doctor import examine
from sweep.tracking.mlflow.client import MlflowTracker
from sweep.tracking.reconcile import Mirror, MirrorError
from sweep.tracking.sync_result import last_result

pytestmark = [
    pytest.mark.slow,  # a server takes seconds to start
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL's initdb and pg_ctl are not installed"),
    # MLflow 3.17 still uses a loader that SQLAlchemy 2.1 deprecates, which we cannot change.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"),
]


@pytest.fixture(scope="session")
def server():
    """A server for all tests of this file."""
    postgres = Postgres()
    yield postgres
    postgres.remove()


@pytest.fixture
def postgres(server, monkeypatch):
    """The server without a study, named in the environment."""
    monkeypatch.setenv("SWEEP_STORAGE", server.address())
    yield server
    server.drop()


@pytest.fixture
def opened(opened, postgres):
    """The fixture of that name; what it opens is closed at the end, while the server is there."""
    databases = []

    def open_(study, home="runs"):
        databases.append(opened(study, home))
        return databases[-1]

    yield open_
    for one in databases:
        one.close()


def content(record):
    """What must be the same wherever it is recorded: everything but identities and times."""
    kept = ("number", "state", "outcome", "reason", "hyperparameters", "value", "selected_epoch", "weights_sha256")
    kept += ("validation_loss", "validation_accuracy", "confusion", "control", "role", "candidate", "seed_index")
    columns = [column for column in records.EPOCH_COLUMNS if column not in ("seconds", "time")]
    return [
        [*(getattr(trial, key) for key in kept), repr(trial.epochs[columns].tolist())]  # NaN equals nothing
        for trial in (*record.trials, *record.confirm)
    ]


# --- the same record


def test_the_record_is_the_same_as_in_a_file(postgres, tiny, opened, searched, monkeypatch):
    """Trials, epochs and hashes; Optuna's two studies keep their names, and all tables are in the schema."""
    study = tiny("trials=4", "generation=2", "pruner=median", "control=0.5")
    on_server = opened(study)
    searched(study, on_server)
    on_server.close()
    read = records.read(on_server.folder)
    monkeypatch.delenv("SWEEP_STORAGE")
    in_file = opened(study, home="file")
    searched(study, in_file)

    assert content(read) == content(records.read(in_file.folder))
    assert len(content(read)) == 4
    tables = postgres.in_sweeps("SELECT schemaname, tablename FROM pg_tables WHERE tableowner = 'me'")
    assert {schema for schema, _ in tables} == {"sweep_tiny"}
    assert postgres.in_sweeps("SELECT study_name FROM sweep_tiny.studies ORDER BY 1") == [("confirm",), ("search",)]


def test_the_folder_names_the_database_without_the_password(postgres, tiny, opened, monkeypatch):
    """With the password from the environment or libpq, the folder is enough to read the study."""
    folder = opened(tiny()).folder
    said = (folder / "database.json").read_text()
    monkeypatch.delenv("SWEEP_STORAGE")
    with pytest.raises(DatabaseUnavailable, match="no password supplied"):
        records.read(folder)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)

    assert PASSWORD not in said
    assert json.loads(said)["address"] == postgres.address(password=None)
    assert records.read(folder).name == "tiny"


def test_each_study_has_a_schema_of_its_own(postgres, tiny, opened):
    """Also for names that need quoting in SQL, and one that is too long for a schema."""
    names = ["tiny", "Tiny-2.b", f"{'x' * 60}a", f"{'x' * 60}b"]
    for name in names:
        opened(tiny().model_copy(update={"name": name})).close()

    read = [records.read(opened(tiny().model_copy(update={"name": name})).folder).name for name in names]
    assert read == names
    assert len(database.study_names(make_url(postgres.address()))) == 4


def test_a_damaged_record_is_detected(postgres, tiny, opened, searched):
    """By the checksums, as in a file."""
    study = tiny("trials=1")
    recorded = opened(study)
    searched(study, recorded)
    recorded.close()
    postgres.in_sweeps("UPDATE sweep_tiny.trial_values SET value = value + 1")

    with pytest.raises(
        RecordError, match=r"damaged: trial 0 was changed since it was written\nrestore a backup of the schema"
    ):
        records.read(recorded.folder)


def test_readers_are_read_only(postgres, tiny, opened):
    """As used by optuna-dashboard."""
    folder = opened(tiny()).folder
    engine = database.open_readonly(locate(folder)).engine
    with engine.connect() as connection, pytest.raises(InternalError, match="read-only transaction"):
        connection.exec_driver_sql("DELETE FROM studies")


@pytest.fixture(scope="class")
def shared(server, digits_folder, tmp_path_factory):
    """The writer's storage, for all tests of a class: its tables take a second to create."""
    study, folder = load("digits"), tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_STORAGE", server.address())
        recorded = storage.open_study(folder, study, describe(digits_folder, study), {"command": "sweep run"})
    yield recorded._storage
    recorded.close()
    server.drop()


SETUP = pytest_storages._setup_studies


class TestOptunasOwn(StorageTestCase):
    """What Optuna asks of a storage, asked of the writer's.

    With at most 3 studies of 7 trials: its own tests write up to 100 trials, a second of this server for every 20.
    """

    @pytest.fixture
    def storage(self, shared, monkeypatch):
        monkeypatch.setattr(
            pytest_storages,
            "_setup_studies",
            lambda storage, n_study, n_trial, **more: SETUP(storage, min(n_study, 3), min(n_trial, 7), **more),
        )
        for study in shared.get_all_studies():
            shared.delete_study(study._study_id)
        return shared

    def test_pickle_storage(self):
        """The writer has a single connection."""

    def test_study_user_attrs_concurrent_write(self):
        """There is one writer."""

    def test_study_system_attrs_concurrent_write(self):
        """There is one writer."""


# --- whose it is


def test_another_folder_is_refused(postgres, tiny, opened):
    """With the same name in the same database; the record is unchanged."""
    first = opened(tiny())
    first.close()
    before = postgres.in_sweeps("SELECT * FROM sweep_tiny.sweep_writer")
    with pytest.raises(StudyChanged, match="is a study of that name from another folder") as caught:
        opened(tiny(), home="second")

    assert str(caught.value).count("\n") == 2
    assert postgres.in_sweeps("SELECT * FROM sweep_tiny.sweep_writer") == before
    opened(tiny())


def test_a_folder_that_names_another_study_is_refused(postgres, tiny, opened):
    """By writer and reader: the schema was dropped and created again from another folder."""
    first = opened(tiny())
    folder = first.folder
    first.close()
    postgres.drop()
    opened(tiny(), home="second").close()

    with pytest.raises(StudyChanged):
        opened(tiny())
    with pytest.raises(RecordError, match="contains another study"):
        records.read(folder)


def test_a_schema_that_has_disappeared_is_an_error(postgres, tiny, opened):
    """It is not created again silently."""
    first = opened(tiny())
    folder = first.folder
    first.close()
    postgres.drop()

    with pytest.raises(RecordError, match="is damaged: the study that was started there has disappeared"):
        opened(tiny())
    with pytest.raises(RecordError, match="is damaged"):
        records.read(folder)


def test_a_schema_of_something_else_is_refused(postgres, tiny, opened):
    postgres.in_sweeps("CREATE SCHEMA sweep_tiny AUTHORIZATION me")

    with pytest.raises(RecordError, match="belongs to another program"):
        opened(tiny())


def test_a_study_cannot_change_its_location(postgres, tiny, opened, monkeypatch):
    """One in a file is not continued on a server, nor one on a server in another database."""
    opened(tiny())
    monkeypatch.setenv("SWEEP_STORAGE", postgres.address("postgres"))
    with pytest.raises(StudyChanged, match=r"sweep_tiny in .*/sweeps, not in .*/postgres\n.*\n.*new name"):
        opened(tiny())
    monkeypatch.delenv("SWEEP_STORAGE")
    opened(tiny(), home="file")
    monkeypatch.setenv("SWEEP_STORAGE", postgres.address())
    with pytest.raises(StudyChanged, match=r"study.db, not in .*/sweeps"):
        opened(tiny(), home="file")


CREATE = """
import sys
from pathlib import Path
from studies.study_file import load
from sweep.storage import database as storage
storage.open_study(Path(sys.argv[1]), load(sys.argv[2]), {"digest": "0" * 64, "classes": 10}, {})
"""


@pytest.mark.parametrize("name", ["before_database", "after_database"])
def test_a_kill_during_creation_never_leaves_an_incomplete_schema(postgres, study_file, tmp_path, name):
    """The next start creates it with the same uid."""
    folder, token = tmp_path / "tiny", tmp_path / "token"
    folder.mkdir()
    token.touch()
    command = [sys.executable, "-P", "-c", CREATE, str(folder), str(study_file)]
    died = subprocess.run(command, env={**os.environ, "SWEEP_FAILPOINT": f"{name}@{token}"}, check=False)
    promised = json.loads((folder / "database.json").read_text())

    assert died.returncode == -signal.SIGKILL
    assert bool(postgres.in_sweeps("SELECT 1 FROM pg_namespace WHERE nspname = 'sweep_tiny'")) == ("after" in name)
    subprocess.run(command, check=True)
    assert json.loads((folder / "database.json").read_text()) == {**promised, "made": True}
    assert records.read(folder).uid == promised["uid"]
    assert postgres.in_sweeps("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'part%'") == []


# --- one writer


def test_the_lock_is_held_on_the_server(postgres, tiny, opened, monkeypatch):
    """A second writer gets the holder's name; `is_active` is true on any machine until the lock is released."""
    first = opened(tiny())
    elsewhere = first.folder.parent / "elsewhere" / "tiny"
    monkeypatch.setattr("sweep.storage.postgres.LOCK_TIMEOUT_S", 0.0)

    assert storage.is_active(first.folder)
    assert storage.is_active(elsewhere)
    with pytest.raises(StudyBusy, match=rf"already running \(pid {os.getpid()} on \S+, since 20"):
        opened(tiny())
    first.close()
    assert not storage.is_active(first.folder)
    opened(tiny()).close()


def test_a_sweep_that_lost_the_lock_to_another_writes_nothing_more(postgres, tiny, opened):
    """Whether the other sweep still runs or has finished; detected by the token."""
    first = opened(tiny())
    postgres.terminate()
    second = opened(tiny())
    with pytest.raises(DatabaseUnavailable, match="another sweep took over"):
        first.record("verdict", {"champion": 1})
    second.close()
    with pytest.raises(DatabaseUnavailable, match="another sweep took over"):
        first.record("verdict", {"champion": 1})

    assert "verdict" not in opened(tiny()).attributes()


def test_it_waits_for_its_own_lost_connection(postgres, tiny, opened):
    """The server may detect a lost connection later than the client, and holds the lock until then."""
    recorded, said = opened(tiny()), []
    recorded.attend(said.append, lambda: False)
    lost = recorded._connection._pool.connect()
    lost.detach()  # the pool knows nothing of it any more
    threading.Timer(0.7, postgres.terminate).start()
    recorded.record("verdict", {"champion": 1})
    lost.close()

    assert said[0].startswith("lost the database server (the lost connection still holds the lock)")


# --- the server goes and comes

NUMBERS = {"train_loss": 0.1234567890123, "seconds": 0.5}


def begun(recorded):
    template = create_trial(
        state=TrialState.RUNNING,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        user_attrs={"hyperparameters": {"learning_rate": 0.1}},
    )
    return recorded.search.begin(template)._trial_id


WRITES = {
    "begin": lambda recorded, _: begun(recorded),
    "attribute": lambda recorded, trial: recorded.search.attribute(trial, "attempt", 2),
    "add": lambda recorded, trial: recorded.search.add(trial, {"a": 1, "b": [2.5]}),
    "epoch": lambda recorded, trial: recorded.search.epoch(trial, 0, NUMBERS, 0.25),
    "epoch without a value": lambda recorded, trial: recorded.confirm.epoch(trial, 0, NUMBERS, None),
    "finish": lambda recorded, trial: recorded.search.finish(
        trial, TrialState.COMPLETE, 0.25, {"outcome": "complete", "result": {"value": 0.25}}, {"rung": 1}
    ),
    "record": lambda recorded, _: recorded.record("verdict", {"champion": 1}),
}


@pytest.fixture(scope="module")
def rows_by_write():
    """The tables after a write without a disturbance, by the write: its three moments are compared with the same."""
    return {}


@pytest.fixture
def undisturbed(postgres, tiny, opened, rows_by_write):
    """The tables after a write of an undisturbed study."""

    def find(name):
        if name not in rows_by_write:
            postgres.drop()
            recorded = opened(tiny(), home="undisturbed")
            WRITES[name](recorded, begun(recorded))
            rows_by_write[name] = rows(postgres)
        return rows_by_write[name]

    return find


@pytest.mark.parametrize(
    "moment", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("idle", "before")), "after"]
)
@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_done_once_despite_a_lost_connection(postgres, tiny, opened, undisturbed, monkeypatch, name, moment):
    """Terminated before a write, before its commit, and after its commit but before the response."""
    recorded = opened(tiny())
    trial, said = begun(recorded), []
    recorded.attend(said.append, lambda: False)
    dialect, lost = recorded._storage.engine.dialect, []
    commit = dialect.do_commit

    def committed(connection):
        if moment == "after" and not lost:
            commit(connection)
        if not lost:
            lost.append(postgres.terminate())
            connection.execute("SELECT 1")
        commit(connection)

    if moment == "idle":
        lost.append(postgres.terminate())
    else:
        monkeypatch.setattr(dialect, "do_commit", committed)
    WRITES[name](recorded, trial)
    monkeypatch.setattr(dialect, "do_commit", commit)

    assert lost == [1]
    assert len(said) == 2
    assert said[0].startswith("lost the database server (")
    assert said[1].startswith("reconnected to the database server after ")
    found = rows(postgres)
    recorded.close()
    assert found == undisturbed(name)


def rows(postgres):
    """All of a study's tables but the moments in them; trials by their numbers, for ids may leave gaps."""
    trial = "(SELECT study_id * 1000 + number FROM sweep_tiny.trials WHERE trial_id = one.trial_id)"
    return {
        table: sorted(map(str, postgres.in_sweeps(f"SELECT {columns} FROM sweep_tiny.{table} AS one")))
        for table, columns in {
            "trials": "number, state, study_id, datetime_complete IS NULL",
            "trial_params": f"{trial}, param_name, param_value",
            "trial_values": f"{trial}, value",
            "trial_intermediate_values": f"{trial}, step, intermediate_value",
            "trial_user_attributes": f"{trial}, key, regexp_replace(value_json, '\"time\": [0-9.]+', '')",
            "trial_system_attributes": f"{trial}, key, value_json",
            "study_user_attributes": "study_id, key, length(value_json)",
        }.items()
    }


def test_a_long_outage_ends_the_sweep(server, postgres, tiny, opened, monkeypatch):
    """With three lines, also for a reader. The write is rolled back and can be repeated later."""
    recorded = opened(tiny())
    trial = begun(recorded)
    monkeypatch.setattr("studies.record.database.RECONNECT_TIMEOUT_S", 1.0)
    server.stop()
    try:
        with pytest.raises(
            DatabaseUnavailable,
            match=r"cannot be used: .*\n.*\nnothing is lost; run the same command again",
        ):
            recorded.search.epoch(trial, 0, NUMBERS, 0.25)
        with pytest.raises(DatabaseUnavailable, match="cannot be used"):
            records.read(recorded.folder)
    finally:
        server.start()
    recorded.search.epoch(trial, 0, NUMBERS, 0.25)

    assert len(records.read(recorded.folder).trials[0].epochs) == 1


def test_a_reader_waits_for_a_server_that_has_responded(server, postgres, tiny, opened):
    """It keeps the trials it has already read."""
    recorded = opened(tiny())
    reader = records.Reader(recorded.folder)
    reader.read()
    server.stop()
    threading.Timer(1.0, server.start).start()

    assert reader.read().name == "tiny"


STUDY = """\
question = "Does it matter that the server goes?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
trials = 4
generation = 2
[baseline]
hidden_sizes = [64]
learning_rate = 0.003
epochs = 40
[space]
learning_rate = { low = 1e-3, high = 3e-2, log = true }
[confirm]
top = 1
repeats = 2
"""


@pytest.fixture
def started(tmp_path):
    """Starts `sweep run` in a process of its own."""
    study = tmp_path / "tiny.toml"
    study.write_text(STUDY)
    running = []

    def start(home, *more, **variables):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")} | variables
        command = [*PROGRAM, "run", str(study), "--home", str(tmp_path / home), *more]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen([*command, "--workers", "2"], env=environment, **pipes))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def epochs(postgres):
    """How many epochs the study has."""
    if not postgres.in_sweeps("SELECT to_regclass('sweep_tiny.trials')")[0][0]:
        return 0
    return postgres.in_sweeps("SELECT count(*) FROM sweep_tiny.trial_user_attributes WHERE key LIKE 'epoch.%'")[0][0]


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_server_crashes_do_not_change_the_record(server, postgres, started, tmp_path):
    """Stopped at once and started again, several times, and every connection ended between: the record is the one of an
    undisturbed sweep in a file, MLflow's is equal to it, and all that is said of it are lines of the progress.
    """
    process = started("home", SWEEP_STORAGE=postgres.address())
    for target in (1, 60, 120):
        wait_for(lambda target=target: epochs(postgres) >= target or process.poll() is not None)
        postgres.terminate()
        wait_for(lambda target=target: epochs(postgres) >= target + 15 or process.poll() is not None)
        server.stop()
        time.sleep(0.3)
        server.start()
    output, errors = process.communicate(timeout=120)
    undisturbed = started("file", "--tracking", "none")
    undisturbed.communicate(timeout=120)
    folder = tmp_path / "home" / "tiny"
    record = records.read(folder)

    assert (process.returncode, errors) == (0, ""), output
    assert output.count("lost the database server") >= 4
    assert output.count("reconnected to the database server") == output.count("lost the database server")
    assert content(record) == content(records.read(tmp_path / "file" / "tiny"))
    assert record.verdict["champion"] == records.read(tmp_path / "file" / "tiny").verdict["champion"]
    assert last_result(folder / "mirror.log").sent["runs_created"] > 0
    tracker = MlflowTracker(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")
    assert examine(folder, tracker, active=False, fix=False) == ([], [])


def test_a_sweep_can_be_stopped_during_an_outage(server, postgres, started, tmp_path):
    """Within seconds and with the signal's exit code; it can be resumed."""
    process = started("home", "--tracking", "none", "--no-confirm", SWEEP_STORAGE=postgres.address())
    wait_for(lambda: epochs(postgres))
    server.stop()
    try:
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        output, errors = process.communicate(timeout=30)
    finally:
        server.start()

    assert (process.returncode, errors) == (130, ""), output
    assert time.monotonic() - sent < 5
    assert "stopped; nothing is lost, continue with: " in output
    again = started("home", "--tracking", "none", "--no-confirm", PGPASSWORD=PASSWORD)
    assert again.communicate(timeout=120)[1] == ""
    assert len(records.read(tmp_path / "home" / "tiny").trials) == 4


# --- on the command line


def ended(capfd, *words):
    """Code, output and errors of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return (end.value.code, *capfd.readouterr())


def refusing():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


ERRORS = {
    "unreachable": (3, "Connection refused", "is the server running?"),
    "wrong password": (3, "password authentication failed", "PGPASSWORD or ~/.pgpass"),
    "no database": (3, 'database "none" does not exist', "createdb"),
    "no role": (3, "authentication failed", "PGPASSWORD"),
    "mysql": (2, "begins with postgresql+psycopg://", "--storage or SWEEP_STORAGE"),
    "sqlite": (2, "begins with postgresql+psycopg://", "a file in its folder"),
    "no name": (2, "HOST/DATABASE", "--storage or SWEEP_STORAGE"),
    "in the query": (2, "before the @", "--storage or SWEEP_STORAGE"),
    "unknown setting": (3, "invalid connection option", "nothing is lost"),
}


@pytest.mark.parametrize("verb", ["run", "status"])
@pytest.mark.parametrize("name", ERRORS)
def test_a_wrong_address_is_reported(postgres, study_file, tmp_path, capfd, monkeypatch, name, verb):
    """In at most three lines, with the right exit code, and without the password."""
    monkeypatch.delenv("SWEEP_STORAGE")
    whole = postgres.address()
    address = {
        "unreachable": whole.replace(str(postgres.port), str(refusing())),
        "wrong password": postgres.address(password=f"{PASSWORD}x"),
        "no database": postgres.address("none"),
        "no role": whole.replace("//me:", "//you:"),
        "mysql": whole.replace("postgresql+psycopg", "mysql"),
        "sqlite": f"sqlite:///{tmp_path}/study.db",
        "no name": whole.removesuffix("/sweeps"),
        "in the query": f"{postgres.address(password=None)}?password={PASSWORD}",
        "unknown setting": f"{whole}?canary=1",
    }[name]
    monkeypatch.setenv("SWEEP_STORAGE", address)
    more = ["--tracking", "none"] if verb == "run" else []
    what = study_file if verb == "run" else "tiny"
    code, output, errors = ended(capfd, verb, what, "--home", tmp_path / "home", *more)

    assert (code, output) == (ERRORS[name][0], "")
    assert all(told in errors for told in ERRORS[name][1:]), errors
    assert errors.startswith("sweep: ")
    assert errors.count("\n") <= 3
    assert PASSWORD not in errors


def test_a_missing_driver_is_reported(postgres, tmp_path, capfd, monkeypatch):
    """The message has the command that installs it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    code, _, errors = ended(capfd, "status", "tiny", "--home", tmp_path)

    assert code == 3
    assert "pip install --require-hashes -r requirements-postgres.lock" in errors
    assert errors.count("\n") <= 3


def test_an_unreachable_mlflow_database_does_not_delay_the_mirror(postgres, tiny, opened, monkeypatch):
    """MLflow itself would retry ten times with exponential backoff."""
    folder, address = opened(tiny()).folder, postgres.address().replace(str(postgres.port), str(refusing()))
    monkeypatch.setattr("mlflow.store.db.utils.time.sleep", lambda seconds: pytest.fail(f"it waits for {seconds} s"))
    for check_first in (True, False):
        with pytest.raises(MirrorError, match="onnection refused"):
            Mirror(folder, MlflowTracker(address), check_first=check_first).sync(active=True)


def test_an_old_server_is_refused(postgres, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("studies.record.database.OLDEST_POSTGRES", 99)
    code, _, errors = ended(capfd, "status", "tiny", "--home", tmp_path)

    assert code == 3
    assert "99 or newer is required" in errors


def test_a_role_without_the_right_to_create_is_reported(postgres, tiny, opened):
    postgres.in_sweeps("ALTER DATABASE sweeps OWNER TO admin")
    try:
        with pytest.raises(
            DatabaseUnavailable, match=r"permission denied for database sweeps\n.*GRANT CREATE ON DATABASE"
        ):
            opened(tiny())
    finally:
        postgres.in_sweeps("ALTER DATABASE sweeps OWNER TO me")


def test_every_command_works_on_a_server(postgres, started, tmp_path, capfd, monkeypatch):
    """With its folder; reading commands also without it. The password is in no file."""
    output, errors = started("home", "--set", "baseline.epochs=4", SWEEP_STORAGE=postgres.address()).communicate(
        timeout=120
    )
    assert errors == ""
    monkeypatch.delenv("SWEEP_STORAGE")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    home, tracking = ["--home", tmp_path / "home"], ["--tracking", postgres.address()]
    said = {}
    with monkeypatch.context() as undrawn:  # the report is drawn once, without the folder
        undrawn.setattr("reports.pdf.write", lambda record, out, *rest, **options: out.touch())
        for words in (
            ["status", "tiny"], ["status"], ["studies"], ["report", "tiny"], ["replay", "tiny", "2"],
            ["export", "tiny", "--out", tmp_path / "csv"],
            ["sync"], ["doctor"], ["sync", "tiny", *tracking], ["doctor", "tiny", *tracking],
        ):  # fmt: skip
            code, said[" ".join(map(str, words[:2]))], errors = ended(capfd, *words, *home)
            assert (code, errors) == (0, ""), words
    assert said["status tiny"] == said["status"]
    assert "4 of 4 trials done" in said["status"]
    assert "no differences" in said["doctor"]
    assert "created" in said["sync tiny"]
    assert not (tmp_path / "mlruns").exists()
    monkeypatch.setenv("SWEEP_STORAGE", postgres.address())
    away = ["--home", tmp_path / "away"]
    assert ended(capfd, "status", "tiny", *away) == (0, said["status"], "")
    assert "recorded in schema sweep_tiny in" in ended(capfd, "studies", *away)[1]
    assert ended(capfd, "report", "tiny", *away)[0] == 0
    assert ended(capfd, "export", "tiny", "--out", "-", *away)[0] == 0
    assert ended(capfd, "sync", "tiny", *away)[0] == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()] == []
    assert PASSWORD not in output
