"""What a person reads when MLflow fails: the cause, whole, and what to do. MLflow's own texts are behind every case."""

import base64
import socket
import sqlite3

import pytest
import requests
import sqlalchemy.exc
from answering_server import answering

from sweep.tracking.mlflow import client
from sweep.tracking.mlflow.causes import ADDRESS, LOGIN, LONGEST, explained
from sweep.tracking.mlflow.client import MlflowException, MlflowTracker
from sweep.tracking.tracker import TrackerError

NEEDED = '{"error_code": "INVALID_PARAMETER_VALUE", "message": "Active workspace is required. Configure a default"}'
DISABLED = (
    '{"error_code": "FEATURE_DISABLED", "message": "Workspace APIs are not available: workspaces are not enabled '
)
MISSING = """{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Workspace 'team' not found"}"""
DENIED = '{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}'
FILLED = "x" * 5000
ANSWERS = {
    "login": ((401, "Please log in"), "the server requires a login (HTTP 401: Please log in)", LOGIN),
    "permission": ((403, DENIED), "the login may not do this (HTTP 403: Permission denied)", LOGIN),
    "permission, a page": ((403, f"<html>{FILLED}"), "the login may not do this (HTTP 403)", LOGIN),
    "host": (
        (403, "Invalid Host header - possible DNS rebinding attack detected"),
        "the server does not accept this name of its host (HTTP 403: Invalid Host header - possible DNS rebinding"
        " attack detected)",
        "start the server with the name in --allowed-hosts",
    ),
    "not MLflow": ((404, "<html>not here"), "no MLflow is at this address (HTTP 404)", ADDRESS),
    "login page": (
        (200, f"<!doctype html>\n<title>Please\n log in</title>{FILLED}"),
        "a web page answers in place of MLflow: Please log in",
        f"log in there, or {ADDRESS}",
    ),
    "broken": ((500, "oops"), "the server answers HTTP 500", None),
    "gateway": ((502, "<html>\n<title>502 Bad Gateway</title>"), "the server answers HTTP 502", None),
    "busy": ((429, "later"), "the server answers HTTP 429", None),
    "workspace needed": ((400, NEEDED), "the server requires a workspace", "set MLFLOW_WORKSPACE to its name"),
    "no workspaces": ((501, DISABLED + 'on this server"}'), "the server has no workspaces", "unset MLFLOW_WORKSPACE"),
    "no such workspace": ((404, MISSING), "Workspace 'team' not found", "correct or unset MLFLOW_WORKSPACE"),
}


@pytest.fixture(scope="module")
def server():
    with answering() as server:
        yield server


def failure_of(uri):
    with pytest.raises(TrackerError) as failure:
        MlflowTracker(uri).check_connection()
    return str(failure.value), failure.value.fix


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_of_a_server_is_explained(server, what):
    server.answer, message, fix = ANSWERS[what]

    assert failure_of(server.address) == (message, fix)


def test_a_connection_that_fails_is_explained(server, monkeypatch):
    """Nobody listens, nobody answers, no such host, no https, no proxy."""
    monkeypatch.setattr(client, "CHECK_TIMEOUT_S", 1)
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        closed.bind(("127.0.0.1", 0))
        address = "http://127.0.0.1:{}".format

        assert failure_of(address(closed.getsockname()[1])) == ("Connection refused", None)
        assert failure_of(address(silent.getsockname()[1])) == ("no answer within 1 s", None)
        monkeypatch.setenv("http_proxy", address(closed.getsockname()[1]))
        fix = "correct HTTP_PROXY or HTTPS_PROXY, or name the host in NO_PROXY"
        assert failure_of("http://mlflow.invalid") == ("the proxy does not answer", fix)
        monkeypatch.delenv("http_proxy")
    message, fix = failure_of("http://mlflow.invalid:5000")
    assert message.startswith("the host mlflow.invalid was not found (")
    assert fix == "check the network, and the address in --tracking or SWEEP_TRACKING"
    message, fix = failure_of(server.address.replace("http", "https"))
    assert message == "the server does not speak https"
    assert fix == f"{ADDRESS}: https or http?"


SQL = "\n[SQL: INSERT INTO tags VALUES (?)]\n[parameters: ('x',)]\n(Background on this error at: https://sqlalche.me)"
TEXTS = {
    "locked": (
        f"(sqlite3.OperationalError) database is locked{SQL}",
        "database is locked: another process keeps",
        None,
    ),
    "full database": ("database or disk is full", "database or disk is full", "free some space on the disk"),
    "full disk": ("[Errno 28] No space left on device: '/a'", "No space left on device", "free some space on the disk"),
    "read-only": ("attempt to write a readonly database", "attempt to write a readonly database", "give this user"),
    "reset": (
        "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))",
        "the server clos",
        None,
    ),
    "upload": ("403 Client Error: Forbidden for url: http://a/b", "the login may not do this (HTTP 403)", LOGIN),
    "certificate": (
        "Max retries exceeded (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] "
        "certificate verify failed: self-signed certificate (_ssl.c:1006)')))",
        "the certificate of the server is not trusted (self-signed certificate)",
        "set MLFLOW_TRACKING_SERVER_CERT_PATH",
    ),
    "certificate file": (
        "Could not find a suitable TLS CA certificate bundle, invalid path: /a b.pem",
        "there is no file /a b.pem of certificates",
        "correct or unset MLFLOW_TRACKING_SERVER_CERT_PATH",
    ),
    "several hosts": (
        "Multiple connection attempts failed. All failures were:\n- host: 'db', port: 5432: refused\n- host: 'db2': no",
        "Multiple connection attempts failed. All failures were: - host: 'db', port: 5432: refused - host: 'db2': no",
        None,
    ),
    "driver": ("No module named 'MySQLdb'", "the Python package MySQLdb is not installed", "install it with pip"),
    "another database": ("file is not a database", "file is not a database", ADDRESS),
    "database's host": (
        f"(psycopg.OperationalError) failed to resolve host 'db.invalid': [Errno -2] Name or service not known{SQL}",
        "the host db.invalid was not found (Name or service not known)",
        "check the network",
    ),
    "database's password": (
        'connection failed: FATAL:  password authentication failed for user "me"\nconnection to server at "db"',
        'password authentication failed for user "me"',
        "correct the user and password",
    ),
    "unknown": (f"(psycopg.Error) server closed{SQL}", "(psycopg.Error) server closed", None),
    "password": ("no role for postgresql://me:geheim@host/db", "no role for postgresql://***@host/db", None),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_text_of_a_library_is_explained(what):
    """In one line, without the SQL."""
    text, message, fix = TEXTS[what]
    found = explained(MlflowException(text), "postgresql://me:geheim@host/db")

    assert str(found).startswith(message)
    assert "\n" not in str(found)
    assert "[SQL" not in str(found)
    assert (found.fix or "").startswith(fix or "")
    assert (found.fix is None) == (fix is None)


def test_a_long_text_keeps_both_ends():
    """Python's names come first, and often the cause last."""
    found = str(explained(requests.ConnectionError(f"begin {'x ' * 2000} the cause"), "http://a"))

    assert found.startswith("begin x x")
    assert found.endswith("x the cause")
    assert len(found) < LONGEST + 10
    assert str(explained(sqlite3.OperationalError(), "sqlite:///a")) == "OperationalError"


@pytest.mark.parametrize(
    ("revision", "message", "fix"),
    [
        (
            "75868b020152",
            "the database was made by an older MLflow (schema 75868b020152)",
            "`mlflow db upgrade sqlite:",
        ),
        ("ffffffffffff", "the database was made by a newer MLflow (schema ffffffffffff)", "start that MLflow's server"),
    ],
)
def test_a_database_of_another_mlflow_is_told_from_ours(tmp_path, migrated, revision, message, fix):
    """With the command that upgrades an older one, and never the advice to wait."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(migrated.read_bytes())
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()

    found, advice = failure_of(f"sqlite:///{path}")

    assert found == message
    assert fix in advice
    assert str(path) in advice or revision == "ffffffffffff"


def test_an_error_of_a_database_is_printed_once(tmp_path, migrated, capfd):
    """MLflow also logs it, with a traceback of fifty lines that holds the SQL."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(migrated.read_bytes())
    tracker = MlflowTracker(f"sqlite:///{path}")
    tracker.check_connection()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE experiments RENAME COLUMN name TO title")
    database.close()

    with pytest.raises(TrackerError, match=r"^\(sqlite3.OperationalError\) no such column: experiments.name$"):
        tracker.find_experiment("digits")
    assert capfd.readouterr().err == ""


def test_a_database_of_a_newer_mlflow_without_one_of_our_tables_is_told_from_ours(tmp_path, migrated):
    """Then MLflow tries to upgrade it, and alembic knows no way."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(migrated.read_bytes())
    with sqlite3.connect(path) as database:
        database.executescript("UPDATE alembic_version SET version_num = 'ffffffffffff'; DROP TABLE jobs;")
    database.close()

    assert failure_of(f"sqlite:///{path}")[0] == "the database was made by a newer MLflow (schema ffffffffffff)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "many"),
        ("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "fast"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "maybe"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(tmp_path, migrated, server, monkeypatch, name, value):
    """MLflow raises a ValueError, which would otherwise be an unexpected error with a traceback."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(migrated.read_bytes())
    monkeypatch.setenv(name, value)

    message, fix = failure_of(f"sqlite:///{path}" if "SQL" in name else server.address)

    assert name in message
    assert fix == f"correct or unset {name}"


def test_variables_that_contradict_each_other_are_named(tmp_path, migrated, server, monkeypatch):
    path = tmp_path / "mlflow.db"
    path.write_bytes(migrated.read_bytes())
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "3")
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/no such.pem")

    pool = "correct or unset MLFLOW_SQLALCHEMYSTORE_POOLCLASS and MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"
    tls = "correct or unset MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH"
    assert failure_of(f"sqlite:///{path}")[1] == pool
    assert failure_of(server.address)[1] == tls


@pytest.mark.parametrize("name", ["SERVER", "CLIENT"])
def test_a_file_of_certificates_that_is_missing_is_named(server, monkeypatch, name):
    monkeypatch.setenv(f"MLFLOW_TRACKING_{name}_CERT_PATH", "/no such.pem")
    message, fix = failure_of(server.address.replace("http", "https"))

    assert message == "there is no file /no such.pem of certificates"
    assert fix.startswith(f"correct or unset MLFLOW_TRACKING_{name}_CERT_PATH")


@pytest.mark.parametrize("token", ["geheim\n", "ge\nheim"])
def test_a_token_that_cannot_be_sent_is_not_shown(server, monkeypatch, token):
    """The text of requests quotes the whole header."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    message, fix = failure_of(server.address)

    assert message == "the login has a space or a line break, and cannot be sent"
    assert fix.startswith("correct MLFLOW_TRACKING_TOKEN")


def test_a_login_that_the_server_repeats_is_not_shown(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "geheim")
    server.answer = (401, "not geheim")
    assert failure_of(server.address)[0] == "the server requires a login (HTTP 401: not ***)"

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a@b/%25")
    server.answer = (401, f"Basic {base64.b64encode(b'me:a@b/%25').decode()} of a@b/%25")
    assert failure_of(server.address)[0] == "the server requires a login (HTTP 401: Basic *** of ***)"


def test_another_mistake_is_not_taken_for_one_of_a_variable(monkeypatch):
    monkeypatch.setattr(client, "check_database", lambda uri: int("many"))

    with pytest.raises(ValueError, match="many"):
        MlflowTracker("http://127.0.0.1").check_connection()
    assert explained(sqlalchemy.exc.ArgumentError("MLFLOW_NO_SUCH"), "x").fix is None
