"""Start MLflow's web server for the recorded sweeps, on this machine only, and print links to the charts.

MLflow opens an experiment on an empty page for language-model traces; the links printed here lead to the charts of
all trials, best first. This module does not import mlflow: `sweep run` prints the same links at its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from studies.record.folder import Home, StudyFolder
from studies.record.location import last_written
from sweep.passwords import HIDDEN, without_passwords
from sweep.tracking.mlflow.environment import OURS
from sweep.tracking.mlflow.local_store import ARTIFACTS
from sweep.tracking.views import VIEW, charts

HOST = "127.0.0.1"
PORT = 5000
STARTUP_TIMEOUT_S = 60.0  # the server takes about 10 s on two idle cores


class UiError(Exception):
    """A page cannot be shown."""


@dataclass(frozen=True)
class Links:
    """URLs of one study in MLflow.

    Attributes:
        charts: the learning curves of the trials side by side, best first.
        winner: the charts of the champion, or of the best trial until there is one; None before a trial is complete.
    """

    charts: str
    winner: str | None


def links(folder: Path, address: str, workspace: str = "") -> Links | None:
    """The links to the study in `folder`, or None if it was never sent to MLflow.

    Args:
        folder: the study's folder.
        address: of the MLflow server, such as `http://127.0.0.1:5000`; a password in it is removed.
        workspace: of that server, which holds the study; empty for the one that it shows without being asked.
    """
    try:
        place = json.loads(StudyFolder(folder).mlflow.read_text())
    except FileNotFoundError:
        return None
    base, experiment, winner = _without_user(address).rstrip("/"), place["experiment_id"], place["winner_run_id"]
    asked = f"workspace={quote(workspace, safe='')}" if workspace else ""
    return Links(
        charts=f"{base}/{charts(experiment, place.get('view', VIEW))}{asked and '&' + asked}",
        winner=f"{base}/#/experiments/{experiment}/runs/{winner}/model-metrics{asked and '?' + asked}"
        if winner
        else None,
    )


def workspace_of(tracking: str | None) -> str:
    """The workspace of a server that MLFLOW_WORKSPACE names, as MLflow reads it; our own page has none."""
    name = os.environ.get("MLFLOW_WORKSPACE", "").strip()
    return name if name != "default" and tracking and tracking == address_of(tracking) else ""


def _without_user(address: str) -> str:
    """The address without user and password: the browser prompts for them."""
    return without_passwords(address).replace(f"{HIDDEN}@", "")


def address_of(tracking: str | None) -> str:
    """The address of MLflow: the given server, or this machine, where `sweep ui` serves on its default port."""
    return tracking if tracking and tracking.startswith(("http://", "https://")) else f"http://{HOST}:{PORT}"


def on_desktop() -> bool:
    """Whether a browser opened here would be visible to the user."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def serve(
    home: Path,
    tracking: str | None,
    port: int,
    study: str | None,
    *,
    browser: bool = False,
    say: Callable[[str], None] | None = None,
) -> None:
    """Start MLflow's server, print the links, and wait until Ctrl-C or SIGTERM.

    Args:
        home: the folder that holds the studies and, unless `tracking` is given, `mlflow.db`.
        tracking: MLflow's tracking URI; for an http server only the links are printed.
        port: to listen on, on 127.0.0.1.
        study: print the links of this study only; of all studies if None.
        browser: also open the charts of that study, or of the newest one.
        say: prints a line; to standard output if None.

    Raises:
        UiError: the port is taken, or the server does not respond within a minute.
    """
    say = say or _print
    if tracking and address_of(tracking) == tracking:
        return _show(home, study, tracking, browser, say, workspace_of(tracking))
    refuse_taken(port)
    with (
        _stop_on_sigterm(),
        contextlib.suppress(KeyboardInterrupt),
        _server(home.absolute(), tracking, port) as server,
    ):
        try:
            say("starting MLflow (about 10 s) ...")
            _await_health(server, port)
        except KeyboardInterrupt:
            server.kill()  # it would handle a softer signal only after its start, in ten seconds
            raise
        _show(home, study, f"http://{HOST}:{port}", browser, say)
        say("Ctrl-C ends it")
        server.wait()
    if server.returncode not in (0, -signal.SIGTERM, -signal.SIGKILL, None):
        raise UiError(f"MLflow ended with code {server.returncode}; run it again, or see the lines above")
    return None


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _show(
    home: Path, study: str | None, address: str, browser: bool, say: Callable[[str], None], workspace: str = ""
) -> None:
    """Print the links, the newest study's last; open that one in the browser."""
    folders = (
        [home / Path(study).stem]
        if study
        else sorted([folder.path for folder in Home(home).recorded()], key=last_written)
    )
    found = {folder.name: place for folder in folders if (place := links(folder, address, workspace))}
    for name, place in found.items():
        say(f"{name}: {place.charts}")
        if place.winner:
            say(f"{name}, the winner: {place.winner}")
    if not found:
        name, page = "sweep" if study is None else study, _without_user(address)
        say(f"no {name} has been sent to MLflow yet; the page is {page}")
    elif browser and webbrowser.open(list(found.values())[-1].charts):
        say(f"opened {list(found)[-1]} in the browser; use --no-browser to prevent this")


def refuse_taken(port: int) -> None:
    """Check that the port is free.

    Raises:
        UiError: it is not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like uvicorn, treat a port in TIME_WAIT as free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UiError(f"port {port} is taken ({error.strerror}); use another one: --port {port + 1}") from error


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that the server is stopped too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _server(home: Path, tracking: str | None, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server in a session of its own, so that Ctrl-C reaches only this process; then stop its process group."""
    options = ["--host", HOST, "--port", str(port), "--workers", "1", "--log-level", "warning", "--no-access-log"]
    options += ["--http", "h11"]  # the same HTTP parser, whatever else is installed
    options += ["--timeout-graceful-shutdown", "2"]  # browsers never close idle connections
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "uvicorn", "--factory", "sweep.tracking.mlflow.server:application", *options],
        env=os.environ | environment(home, tracking, port),
        stdin=subprocess.PIPE,  # its end of file tells the server that this process exited
        start_new_session=True,
    )
    try:
        yield server
    finally:
        _end(server)


def environment(home: Path, tracking: str | None, port: int) -> dict[str, str]:
    """The server's configuration as environment variables: every user of the machine can read arguments.

    Args:
        home: the absolute path of the home folder.
        tracking: a database URI, or None for `mlflow.db` in the home.
        port: the port to listen on, which is part of the allowed host names.
    """
    return OURS | {
        "MLFLOW_BACKEND_STORE_URI": tracking or f"sqlite:///{home / 'mlflow.db'}",
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": (home / ARTIFACTS).as_uri(),
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{HOST}:{port},localhost:{port}",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # otherwise 8 more processes
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
        "MLFLOW_MODEL_CATALOG_URI": "",  # otherwise fetched from the network
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_WORKSPACE": "",  # of another server
    }


def _await_health(server: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + STARTUP_TIMEOUT_S
    while time.monotonic() < end:
        if server.poll() is not None:
            raise UiError(f"MLflow ended with code {server.returncode} before it answered; see the lines above")
        if _healthy(port):
            return
        time.sleep(0.2)
    raise UiError(f"MLflow did not answer on port {port} within {STARTUP_TIMEOUT_S:.0f} s; try again under less load")


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """Terminate the server's process group; kill it after 5 s."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, request)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=5)
            break
    if server.stdin:
        server.stdin.close()
