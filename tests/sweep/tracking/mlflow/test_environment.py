"""What a person has set for MLflow's sake or for a proxy: it changes nothing, or the message names it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
import requests
from answering_server import answering
from recorded import finished

from studies.record.folder import RESERVED
from sweep.commands import ui

pytestmark = pytest.mark.slow

PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
VARIABLES = {
    # Of the user's own runs.
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "MLFLOW_REGISTRY_URI": "databricks-uc",
    "MLFLOW_RUN_ID": "0123456789abcdef0123456789abcdef",
    "MLFLOW_EXPERIMENT_ID": "77",
    "MLFLOW_EXPERIMENT_NAME": "mine",
    "MLFLOW_ACTIVE_MODEL_ID": "m-0123",
    "_MLFLOW_ACTIVE_MODEL_ID": "m-0123",
    "MLFLOW_RUN_CONTEXT": '{"mine": "1"}',
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
    "MLFLOW_LOCK_MODEL_DEPENDENCIES": "true",
    "MLFLOW_REQUIREMENTS_INFERENCE_RAISE_ERRORS": "true",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "true",
    "MLFLOW_LOG_MODEL_COMPRESSION": "gzip",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "true",
    "MLFLOW_TRACING_DESTINATION": "55",
    "MLFLOW_LOGGING_LEVEL": "DEBUG",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    # Of the user's server, and of the way to it.
    "MLFLOW_BACKEND_STORE_URI": "sqlite:////dev/null/mlflow.db",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://nowhere",
    "MLFLOW_ARTIFACTS_DESTINATION": "s3://nowhere",
    "MLFLOW_READ_REPLICA_BACKEND_STORE_URI": "sqlite:////dev/null/replica.db",
    "MLFLOW_WORKSPACE_STORE_URI": "sqlite:////dev/null/workspaces.db",
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "MLFLOW_WORKSPACE": "team",
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": "geheim",
    "MLFLOW_TRACKING_TOKEN": "geheim",
    "MLFLOW_TRACKING_AUTH": "no-such-plugin",
    "MLFLOW_TRACKING_INSECURE_TLS": "true",
    "MLFLOW_TRACKING_SERVER_CERT_PATH": "/nowhere.pem",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3600",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "9",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "http://mlflow.example",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true",
    "MLFLOW_DISABLE_TELEMETRY": "false",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
}
"""Set all at once; each of them was found to matter, or looks as if it did."""
CREDENTIALS = "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = geheim\n"
"""As `mlflow login` writes it."""


def environment(**values):
    """The environment of a process without settings of ours or of MLflow's, and with these."""
    prefixes = ("SWEEP_", "MLFLOW_", "no_proxy", "NO_PROXY", *PROXIES)
    return {key: value for key, value in os.environ.items() if not key.startswith(prefixes)} | values


def sweep(*words, **values):
    argv = [sys.executable, "-P", "-m", "sweep", *words]
    return subprocess.run(argv, env=environment(**values), capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def home(tmp_path_factory, migrated):
    """A finished study and a database of MLflow's that has none of it."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(migrated, home / "mlflow.db")
    finished(home / "digits").close()
    return home


def test_variables_of_mlflow_change_nothing_that_is_sent_or_shown(home, tmp_path, monkeypatch):
    """A sync sends everything, doctor finds no difference, and the page shows the study. No trace stays."""
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(CREDENTIALS)
    (tmp_path / "mlruns").mkdir()  # as MLflow's file store leaves it
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    sent = sweep("sync", "digits", "--home", str(home), **VARIABLES)
    compared = sweep("doctor", "digits", "--home", str(home), **VARIABLES)

    assert sent.returncode == 0, sent.stderr
    assert sent.stdout.startswith("digits: created 18 runs; ")
    assert (compared.returncode, compared.stdout) == (0, "digits: no differences\n"), compared.stderr
    with served(home, **VARIABLES) as address:
        found = search(address)
    assert {"digits", "Default"} == {experiment["name"] for experiment in found["experiments"]}
    assert {path.name for path in home.iterdir()} <= RESERVED | {"digits"}
    assert [path.name for path in (tmp_path / "mlruns").iterdir()] == []
    assert b"geheim" not in b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


LOG = """
import sys
from sweep.tracking.mlflow.client import MlflowTracker
MlflowTracker(sys.argv[1]).log("run", [], {}, {"a": "b"})
"""


def test_what_a_server_refuses_is_an_error_also_where_logging_is_asynchronous():
    """MLflow would send it in another thread, and the run would count as sent."""
    with answering() as server:
        server.answer = (403, "no")
        argv = [sys.executable, "-P", "-c", LOG, server.address]
        failed = subprocess.run(
            argv, env=environment(MLFLOW_ENABLE_ASYNC_LOGGING="true"), capture_output=True, text=True, timeout=120
        )

    assert failed.returncode == 1
    assert failed.stderr.endswith("TrackerError: the login may not do this (HTTP 403: no)\n")


def free_port():
    with socket.socket() as probe:
        probe.bind((ui.HOST, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def served(home, **values):
    """`sweep ui` for this home folder; the address of its page."""
    port = free_port()
    argv = [sys.executable, "-P", "-m", "sweep", "ui", "--home", str(home), "--port", str(port)]
    with subprocess.Popen(argv, env=environment(**values), stdout=subprocess.PIPE, text=True) as page:
        try:
            while "Ctrl-C" not in (line := page.stdout.readline()):
                assert line, "it ended"
            yield f"http://{ui.HOST}:{port}"
        finally:
            page.send_signal(signal.SIGTERM)
            page.wait(timeout=15)


def search(address):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{address}/api/2.0/mlflow/experiments/search?max_results=100", timeout=30) as answer:
        return json.load(answer)


@contextlib.contextmanager
def workspaces(folder):
    """The address of MLflow's own server, whose database has workspaces."""
    port, options = free_port(), ["--workers", "1", "--artifacts-destination", str(folder / "kept")]
    argv = [sys.executable, "-P", "-m", "mlflow", "server", "--enable-workspaces", "--host", ui.HOST, *options]
    argv += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(argv, env=environment(**quiet), stdout=log, stderr=log, start_new_session=True)
    try:
        ui._await_health(server, port)
        yield f"http://{ui.HOST}:{port}"
    finally:
        ui._end(server)


def test_a_study_goes_to_the_workspace_of_the_environment(tmp_path):
    """And to the server's default one without the variable; a wrong one is named in the last line of the error."""
    finished(tmp_path / "home" / "digits").close()
    with workspaces(tmp_path) as address:

        def sync(**values):
            words = ("sync", "digits", "--home", str(tmp_path / "home"))
            return sweep(*words, SWEEP_TRACKING=address, **values)

        wrong = sync(MLFLOW_WORKSPACE="team")
        made = requests.post(f"{address}/api/3.0/mlflow/workspaces", json={"name": "team"}, timeout=30)
        right, default = sync(MLFLOW_WORKSPACE="team"), sync()
        found = requests.get(
            f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=digits",
            headers={"X-MLFLOW-WORKSPACE": "team"},
            timeout=30,
        )

    assert wrong.returncode == 3
    first, _, last = wrong.stderr.splitlines()[-3:]
    assert first == f"sweep: Could not sync digits to {address}: Workspace 'team' not found"
    assert last == "correct or unset MLFLOW_WORKSPACE; then run `sweep sync digits`"
    assert made.ok
    assert right.stdout.startswith("digits: created 18 runs; ")
    assert default.stdout.startswith("digits: created 18 runs; ")
    assert found.json()["experiment"]["name"] == "digits"


OLDER = """
import sys
import sqlalchemy
from alembic import command
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base

engine = sqlalchemy.create_engine(sys.argv[1])
Base.metadata.create_all(engine)
config = utils._get_alembic_config(sys.argv[1])
with engine.begin() as config.attributes["connection"]:
    command.upgrade(config, sys.argv[2])
"""


def test_a_database_of_an_older_mlflow_is_upgraded_as_it_is_opened(tmp_path):
    """Of MLflow 2, whose tables are fewer; where they are as many, an error names the command."""
    revision = "0584bdc529eb"
    finished(tmp_path / "digits").close()
    argv = [sys.executable, "-P", "-c", OLDER, f"sqlite:///{tmp_path / 'mlflow.db'}", revision]
    subprocess.run(argv, env=environment(), check=True, capture_output=True, timeout=120)

    sent = sweep("sync", "digits", "--home", str(tmp_path))
    compared = sweep("doctor", "digits", "--home", str(tmp_path))

    assert sent.returncode == 0, sent.stderr
    assert sent.stdout.startswith("digits: created 18 runs; ")
    assert compared.stdout == "digits: no differences\n"


def test_a_server_without_workspaces_says_which_variable_to_unset(home):
    with served(home) as page:
        failed = sweep("sync", "digits", "--home", str(home), SWEEP_TRACKING=page, MLFLOW_WORKSPACE="team")

    assert failed.returncode == 3
    assert failed.stderr.startswith("sweep: Could not sync digits to http://127.0.0.1:")
    assert failed.stderr.splitlines()[0].endswith(": the server has no workspaces")
    assert failed.stderr.splitlines()[-1] == "unset MLFLOW_WORKSPACE; then run `sweep sync digits`"


def test_no_proxy_is_asked_for_this_machine(home):
    """Nor does it learn the token that is sent along. By name: numbers are known to most programs as local."""
    host = "localhost"
    with answering() as tracker, answering() as proxy:
        tracker.answer = (401, "no")
        address = tracker.address.replace("127.0.0.1", host)
        proxies = dict.fromkeys(PROXIES, proxy.address)
        for command in ("sync", "doctor"):
            failed = sweep(command, "digits", "--home", str(home), SWEEP_TRACKING=address, **proxies)
            assert failed.returncode == 3
            assert "the server requires a login (HTTP 401: no)" in failed.stderr
        with served(home, **proxies) as page:
            assert search(page)["experiments"] != []

    assert len(tracker.asked) >= 2
    assert proxy.asked == []


STUDY = """\
question = "Which learning rate?"
dataset = "digits"
folds = 1
trials = 1

[baseline]
hidden_sizes = [8]
epochs = 1

[space]
learning_rate = { low = 1e-3, high = 3e-2, log = true }
"""
RUN = """\
import sys
import sweep
sweep.run(sys.argv[1], home=sys.argv[2], workers=1, confirm=False)
"""


def test_a_sweep_in_python_asks_no_proxy_either(tmp_path):
    """The process that sends its runs is one of ours; the user's own keeps its environment, and other hosts a proxy."""
    study = tmp_path / "tiny.toml"
    study.write_text(STUDY)
    with answering() as tracker, answering() as proxy:
        tracker.answer = (503, "later")
        argv = [sys.executable, "-c", RUN + "import os; assert 'NO_PROXY' not in os.environ", str(study), str(tmp_path)]
        variables = {"SWEEP_TRACKING": tracker.address, **dict.fromkeys(PROXIES, proxy.address)}
        ran = subprocess.run(argv, env=environment(**variables), capture_output=True, text=True, timeout=180)

        assert ran.returncode == 0, ran.stderr
        assert "Could not sync tiny: the server answers HTTP 503\n" in ran.stdout
        assert tracker.asked != []
        assert proxy.asked == []
        asked = sweep(
            "sync", "tiny", "--home", str(tmp_path), SWEEP_TRACKING="http://mlflow.invalid", http_proxy=proxy.address
        )
    assert proxy.asked != []
    assert asked.returncode == 3
