"""optuna-dashboard on a recorded study, read-only."""

import contextlib
import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys

import pytest

from studies.record import reader as records
from sweep.commands import dashboard, ui

extra = pytest.mark.skipif(importlib.util.find_spec("optuna_dashboard") is None, reason="needs the extra `dashboard`")


@pytest.fixture
def recorded(tiny, opened, searched):
    """The folder of a study of three trials, as a sweep leaves it."""
    study = tiny("trials=3")
    database = opened(study)
    searched(study, database, workers=1)
    database.close()
    return database.folder


@pytest.fixture
def served(recorded):
    """The folder and the port of a dashboard that runs on it."""
    with socket.socket() as probe:
        probe.bind((ui.HOST, 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "SWEEP_HOME": str(recorded.parent)}
    command = [sys.executable, "-P", "-m", "sweep", "dashboard", recorded.name, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout.readline() == f"tiny: http://127.0.0.1:{port}/dashboard/studies/1\n"
        yield recorded, port
        server.terminate()


def _ask(port, method, path, host=None, body=None):
    """Status and text of an answer."""
    connection = http.client.HTTPConnection(ui.HOST, port, timeout=20)
    try:
        connection.request(
            method, path, body, {"Host": host or f"{ui.HOST}:{port}", "Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.slow
@extra
def test_the_dashboard_is_read_only(served):
    """Requests to delete, rename, annotate or tell are refused, and the database is unchanged."""
    folder, port = served
    before = (folder / "study.db").read_bytes()
    changes = [
        ("DELETE", "/api/studies/1", None),
        ("POST", "/api/studies/1/rename", '{"study_name": "mine"}'),
        ("PUT", "/api/studies/1/note", '{"body": "a note", "version": 1}'),
        ("POST", "/api/trials/1/tell", '{"state": "Fail"}'),
        ("POST", "/api/studies", '{"study_name": "another", "directions": ["minimize"]}'),
    ]

    status, text = _ask(port, "GET", "/api/studies/1?after=0")
    answers = [_ask(port, method, path, body=body)[0] for method, path, body in changes]

    assert status == 200
    assert [trial["number"] for trial in json.loads(text)["trials"]] == [0, 1, 2]
    assert "<html" in _ask(port, "GET", "/dashboard/studies/1")[1].lower()
    assert answers == [405] * len(changes)
    assert _ask(port, "GET", "/api/studies", host="attacker.example")[0] == 403
    assert (folder / "study.db").read_bytes() == before
    assert len(records.read(folder).trials) == 3


@pytest.mark.slow
@extra
def test_the_storage_is_read_only(recorded):
    """The database is opened read-only."""
    before = (recorded / "study.db").read_bytes()
    said = []
    environment = {"REQUEST_METHOD": "DELETE", "PATH_INFO": "/api/studies/1", "wsgi.errors": sys.stderr}

    with contextlib.suppress(Exception):  # however it tells that it could not
        list(dashboard._dashboard(recorded)(environment, lambda status, *_: said.append(status)))

    assert (recorded / "study.db").read_bytes() == before
    assert [trial.number for trial in records.read(recorded).trials] == [0, 1, 2]
    assert not any(status.startswith("2") for status in said)


@pytest.mark.parametrize(
    "host", [None, "", "127.0.0.1", "localhost:1", "attacker.example:8080", "127.0.0.1:8080,attacker.example"]
)
def test_other_host_names_are_refused(host):
    """DNS rebinding is refused; so are requests with two host names."""
    said = []
    application = dashboard.guarded(lambda *_: pytest.fail("it was let through"), ["127.0.0.1:8080", "localhost:8080"])
    environment = {"REQUEST_METHOD": "GET"} | ({} if host is None else {"HTTP_HOST": host})

    body = b"".join(application(environment, lambda status, _: said.append(status)))

    assert (said, body) == (["403 Forbidden"], b"host name not allowed")


def test_a_missing_extra_is_reported_with_the_command_that_installs_it(recorded, monkeypatch, capsys):
    """Exit code 3, with two lines."""
    from sweep.entry import main

    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(SystemExit) as caught:
        main(["dashboard", recorded.name, "--home", str(recorded.parent)])
    told = capsys.readouterr().err

    assert caught.value.code == 3
    assert "make dashboard" in told
    assert "pip install --require-hashes -r requirements-dashboard.lock" in told
    assert len(told.strip().splitlines()) == 2
