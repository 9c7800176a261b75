from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from studies.record.folder import StudyFolder
from sweep.commands import ui
from sweep.tracking.mlflow import server as mlflow_app
from sweep.tracking.views import VIEW, charts

PLACE = {
    "tracking": "sqlite:////somewhere/mlflow.db",
    "experiment_id": "3",
    "run_id": "aa",
    "winner_run_id": "bb",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ui.HOST, 0))
        return int(probe.getsockname()[1])


def shown(home: Path, name: str = "digits", **changed: Any) -> Path:
    folder = home / name
    folder.mkdir()
    (folder / "study.db").touch()
    StudyFolder(folder).mlflow.write_text(json.dumps(PLACE | changed))
    return folder


def test_a_taken_port_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    said: list[str] = []
    with socket.socket() as taken:
        taken.bind((ui.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ui.UiError, match=rf"^port {port} is taken .*--port {port + 1}$"):
            ui.serve(tmp_path, None, port, None, say=said.append)

    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_links_lead_to_the_charts_and_contain_no_password(tmp_path: Path) -> None:
    links = ui.links(shown(tmp_path), "https://ann:secret@tracker:8080/")

    assert links == ui.Links(
        charts="https://tracker:8080/#/experiments/3/runs?workflowType=machine_learning"
        "&compareRunsMode=CHART&viewStateShareKey=learning-curves",
        winner="https://tracker:8080/#/experiments/3/runs/bb/model-metrics",
    )


@pytest.mark.parametrize(
    ("tracking", "workspace", "asked"),
    [
        ("https://tracker", "team a", "workspace=team%20a"),
        ("https://tracker", "default", ""),
        ("https://tracker", "", ""),
        ("sqlite:///mlflow.db", "team", ""),
        (None, "team", ""),
    ],
)
def test_links_name_the_workspace_of_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracking: str | None, workspace: str, asked: str
) -> None:
    """Without it the server looks for the experiment in its default workspace; the page that we serve has none."""
    monkeypatch.setenv("MLFLOW_WORKSPACE", workspace)

    links = ui.links(shown(tmp_path), ui.address_of(tracking), ui.workspace_of(tracking))

    assert links is not None
    assert links.winner is not None
    assert links.charts.endswith(f"=learning-curves{asked and '&' + asked}")
    assert links.winner.endswith(f"/model-metrics{asked and '?' + asked}")


def test_the_printed_links_name_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team")
    said: list[str] = []
    shown(tmp_path, "digits")

    ui.serve(tmp_path, "http://tracker:8080", 5000, None, say=said.append)

    assert [line.rpartition("workspace=")[2] for line in said] == ["team", "team"]


def test_there_are_no_links_before_the_first_sync(tmp_path: Path) -> None:
    assert ui.links(tmp_path, "http://127.0.0.1:5000") is None


def test_for_another_server_only_links_without_password_are_printed(tmp_path: Path) -> None:
    said: list[str] = []
    os.utime(shown(tmp_path, "mnist") / "study.db", (1, 1))
    shown(tmp_path, "digits", winner_run_id=None)

    ui.serve(tmp_path, "http://me:canary@tracker:8080", 5000, None, say=said.append)
    ui.serve(tmp_path, "http://me:canary@tracker:8080", 5000, "other", say=said.append)

    assert [line.split("?")[0] for line in said] == [
        "mnist: http://tracker:8080/#/experiments/3/runs",
        "mnist, the winner: http://tracker:8080/#/experiments/3/runs/bb/model-metrics",
        "digits: http://tracker:8080/#/experiments/3/runs",
        "no other has been sent to MLflow yet; the page is http://tracker:8080",
    ]


@pytest.mark.parametrize(("study", "opened"), [(None, "4"), ("digits", "4"), ("mnist", "3")])
def test_a_browser_opens_the_charts_of_the_study_or_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study: str | None, opened: str
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(ui.webbrowser, "open", lambda link: asked.append(link) or True)
    os.utime(shown(tmp_path, "mnist") / "study.db", (1, 1))
    shown(tmp_path, "digits", experiment_id="4")
    said: list[str] = []

    ui.serve(tmp_path, "http://tracker:8080", 5000, study, browser=True, say=said.append)

    assert asked == [f"http://tracker:8080/{charts(opened, VIEW)}"]
    assert said[-1] == f"opened {study or 'digits'} in the browser; use --no-browser to prevent this"


@pytest.mark.parametrize(
    ("platform", "terminal", "environment", "desktop"),
    [
        ("linux", True, {"DISPLAY": ":0"}, True),
        ("linux", True, {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", True, {}, False),
        ("linux", True, {"DISPLAY": ""}, False),
        ("linux", False, {"DISPLAY": ":0"}, False),
        ("linux", True, {"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "1 2 3 4"}, False),
        ("darwin", True, {}, True),
        ("darwin", False, {}, False),
        ("win32", True, {}, True),
    ],
)
def test_a_browser_is_opened_only_on_a_desktop(
    monkeypatch: pytest.MonkeyPatch, platform: str, terminal: bool, environment: dict[str, str], desktop: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ui.sys, "platform", platform)
    monkeypatch.setattr(ui.sys.stdout, "isatty", lambda: terminal)

    assert ui.on_desktop() is desktop


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b""],
        [b"127.0.0.1"],
        [b"127.0.0.1:5001"],
        [b"127.0.0.1.:5000"],
        [b"0.0.0.0:5000"],
        [b"[::1]:5000"],
        [b"10.attacker.example"],
        [b"192.168.attacker.example:5000"],
        [b"127.0.0.1:5000.attacker.example"],
        [b"attacker.example", b"127.0.0.1:5000"],
        [b"127.0.0.1:5000", b"127.0.0.1:5000"],
    ],
)
def test_other_host_names_are_refused(hosts: list[bytes]) -> None:
    assert request("/health", hosts) == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/health", 299),
        ("/ajax-api/2.0/mlflow/runs/search", 299),
        ("/ajax-api/3.0/mlflow/assistant/config", 404),
        ("/ajax-api/3.0/mlflow/Assistant/message", 404),
        ("/prefix/ajax-api/3.0/mlflow/assistant", 404),
    ],
)
def test_the_assistant_is_not_offered(path: str, status: int) -> None:
    assert request(path, [b"127.0.0.1:5000"]) == status


def request(path: str, hosts: list[bytes]) -> int:
    """The status of the guarded application's answer; 299 where the question got through to what it guards."""
    sent: list[dict[str, Any]] = []

    async def behind(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> None: ...

    app = mlflow_app.guarded(behind, ["127.0.0.1:5000", "localhost:5000"], b"<html>")
    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", host) for host in hosts]}
    asyncio.run(app(scope, receive, send))
    return int(sent[0]["status"])


def test_the_server_logs_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even through uvicorn's handler, which is created before the address is known."""
    terminal = io.StringIO()
    logger, handler = logging.getLogger("uvicorn"), logging.StreamHandler(terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(logger, "handlers", [handler])

    mlflow_app._write_no_passwords("postgresql://me:canary@host/db")
    logger.error("no postgresql://me:canary@host/db")
    sys.stderr.write("canary is wrong\n")

    assert terminal.getvalue() == "no postgresql://***@host/db\n*** is wrong\n"


def test_the_page_has_defaults_before_its_own_script() -> None:
    page = mlflow_app.with_defaults("<html><head><script src='main.js'></script></head></html>").decode()
    ahead = page[: page.index("main.js")]

    assert "mlflow.workflowType_v1" in ahead
    assert '"facets": ["searchFilter", "orderByKey"' in ahead
    assert 'addEventListener("popstate"' in ahead  # ahead of MLflow's own listener


@pytest.mark.slow
def test_the_server_exits_when_its_launcher_is_killed(tmp_path: Path, migrated: Path) -> None:
    """tests/sweep/tracking/mlflow/test_server.py ends one by a signal."""
    shutil.copy(migrated, tmp_path)
    port = free_port()
    launch = (
        "from pathlib import Path; from sweep.commands.ui import serve;"
        f" serve(Path({str(tmp_path)!r}), None, {port}, None)"
    )
    with subprocess.Popen([sys.executable, "-c", launch], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        for _ in range(3):
            launcher.stdout.readline()
        (server,) = _children(launcher.pid)
        launcher.kill()

    end = time.monotonic() + 10
    while time.monotonic() < end and Path(f"/proc/{server}").exists():
        time.sleep(0.1)
    assert not Path(f"/proc/{server}").exists()


@pytest.mark.slow
def test_a_signal_during_startup_ends_it_at_once(tmp_path: Path) -> None:
    """SIGTERM, which is handled like Ctrl-C; background jobs of a shell ignore SIGINT."""
    launch = [sys.executable, "-P", "-m", "sweep", "ui", "--home", str(tmp_path), "--port", str(free_port())]
    launcher = subprocess.Popen(launch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert launcher.stdout is not None
        launcher.stdout.readline()
        launcher.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        _, errors = launcher.communicate(timeout=30)
    finally:
        launcher.kill()

    assert (launcher.returncode, errors) == (0, "")
    assert time.monotonic() - sent < 3


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
