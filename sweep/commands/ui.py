"""Starts MLflow's web page on the recorded sweeps, on this machine only, and prints the links worth opening.

MLflow opens an experiment on an empty page for language-model traces; the links printed here lead to the charts of
all trials, best first. This file never imports mlflow: `sweep run` prints the same links at its end.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.record.folder import Home
from studies.record.location import last_written
from studies.record.reader import SweepRecord
from sweep.passwords import HIDDEN, without_passwords
from sweep.tracking.mlflow.local_store import ARTIFACTS

HOST = "127.0.0.1"
PORT = 5000
PLACE = "mlflow.json"  # written by sweep/tracking/reconcile.py into the study's folder
PATIENCE = 60.0  # seconds for the server to answer; about 10 on two idle cores


class UiError(Exception):
    """A page cannot be shown."""


@dataclass(frozen=True)
class Links:
    """Addresses of one study in the MLflow page.

    Attributes:
        charts: the learning curves of the trials side by side, best first.
        winner: the charts of the champion, or of the best trial while there is none; None before one is complete.
    """

    charts: str
    winner: str | None


CURVES = ("validation_loss", "validation_accuracy", "train_loss", "train_accuracy")
VIEW, TABLE = "learning-curves", "trials"
"""Keys of the two views in the address, and of the experiment's tags that hold them."""
_SECTION = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
_CURVES_SECTION = {**_SECTION, "uuid": "curves", "name": "Learning curves", "columns": 2, "cardHeight": 280}
_REST_SECTION = {**_SECTION, "uuid": "rest", "name": "Model metrics", "isGenerated": True}


def views(record: SweepRecord, study_run: str) -> dict[str, str]:
    """The states of MLflow's page that are worth a link, by their keys, as MLflow keeps a shared view.

    Left to itself the page draws a chart for every metric in the order of the alphabet, bars of single numbers first,
    confirm runs among the trials, and a table without a metric. The fields are those of MLflow 3.17's own
    `mlflow.sharedViewState` tags; a page that does not know one ignores it.

    Args:
        record: the study.
        study_run: id of its run, which stands above those of its trials in the table.
    """
    table = {**_view(record, ("confirm", "final")), "runsPinned": [study_run]}
    states = {VIEW: _view(record, ("study", "confirm", "final")), TABLE: table}
    return {key: json.dumps(state, separators=(",", ":")) for key, state in states.items()}


def _view(record: SweepRecord, hidden: Sequence[str]) -> dict[str, object]:
    """The best trials first, without the runs of the `hidden` roles."""
    searched = list(record.study["space"])
    settings = {**_SECTION, "uuid": "settings", "name": "Settings against the objective", "columns": 1}
    return {
        "searchFilter": " and ".join(f"tags.role != '{role}'" for role in hidden),
        "orderByKey": "metrics.`objective`",
        "orderByAsc": not record.maximize,
        "runsHiddenMode": "FIRST_10_RUNS",
        "selectedColumns": [
            "tags.`outcome`",
            "metrics.`objective`",
            "metrics.`best_epoch`",
            *(f"params.`{key}`" for key in searched),
        ],
        "compareRunCharts": [
            *(_line(metric) for metric in CURVES),
            _parallel([key for key in searched if _drawable(record, key)]),
        ],
        "compareRunSections": [_CURVES_SECTION, settings, _REST_SECTION],
        "isAccordionReordered": True,
    }


def run_charts() -> dict[str, object]:
    """The state of the page with one run's charts: its curves first. `best_so_far` is the study's own."""
    return {
        "compareRunCharts": [_line(metric) for metric in (*CURVES, "best_so_far")],
        "compareRunSections": [_CURVES_SECTION, _REST_SECTION],
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _line(metric: str) -> dict[str, object]:
    """A chart of one metric over the epochs; `isGenerated` keeps the page from adding its own for the same metric."""
    return {
        "uuid": metric,
        "type": "LINE",
        "runsCountToCompare": 10,
        "metricSectionId": "curves",
        "deleted": False,
        "isGenerated": True,
        "displayName": metric,
        "metricKey": metric,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "log" if metric.endswith("loss") else "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _drawable(record: SweepRecord, key: str) -> bool:
    """Whether a setting can be an axis.

    Layer sizes cannot: where most are one number, as `64`, the page silently leaves out every trial with two, as
    `128-64`, and the winner may be among them.
    """
    return not isinstance(record.study["baseline"].get(key), (list, tuple))


def _parallel(searched: Sequence[str]) -> dict[str, object]:
    """Every trial that has an objective as a line through its settings to it."""
    return {
        "uuid": "parallel",
        "type": "PARALLEL",
        "runsCountToCompare": 10,
        "metricSectionId": "settings",
        "deleted": False,
        "isGenerated": False,
        "selectedParams": list(searched),
        "selectedMetrics": ["best_epoch", "objective"],  # two, because a chart of one axis is refused
        "showAllRuns": True,
    }


def charts(experiment_id: str) -> str:
    """Where the page shows the learning curves of a study side by side, without the server's address."""
    asked = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={VIEW}"
    return f"#/experiments/{experiment_id}/runs?{asked}"


def links(folder: Path, address: str) -> Links | None:
    """Where the study in `folder` is shown, or None if it was never sent to MLflow.

    Args:
        folder: the study's folder.
        address: of the MLflow server, such as `http://127.0.0.1:5000`; a password in it is left out.
    """
    try:
        place = json.loads((folder / PLACE).read_text())
    except FileNotFoundError:
        return None
    base, experiment, winner = _without_user(address).rstrip("/"), place["experiment_id"], place["winner_run_id"]
    return Links(
        charts=f"{base}/{charts(experiment)}",
        winner=f"{base}/#/experiments/{experiment}/runs/{winner}/model-metrics" if winner else None,
    )


def _without_user(address: str) -> str:
    """The address without user and password: a browser asks for them itself."""
    return without_passwords(address).replace(f"{HIDDEN}@", "")


def address_of(tracking: str | None) -> str:
    """Where the page is: at an MLflow server elsewhere, or here while `sweep ui` runs on its usual port."""
    return tracking if tracking and tracking.startswith(("http://", "https://")) else f"http://{HOST}:{PORT}"


def on_desktop() -> bool:
    """Whether a browser opened here would be seen by the person who typed the command."""
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
    """Start MLflow's page, print where to look, and stay until Ctrl-C or SIGTERM.

    Args:
        home: the folder that holds the studies and, unless `tracking` says otherwise, `mlflow.db`.
        tracking: MLflow's tracking URI; of an http server only the links are printed.
        port: to listen on, on 127.0.0.1.
        study: print the links of this study only; of all studies if None.
        browser: also open the charts of that study, or of the newest one.
        say: where the lines go; standard output if None.

    Raises:
        UiError: the port is taken, or the server does not answer within a minute.
    """
    say = say or _print
    if tracking and address_of(tracking) == tracking:
        return _show(home, study, tracking, browser, say)
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
            server.kill()  # it would answer a signal once it is up, in ten seconds
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


def _show(home: Path, study: str | None, address: str, browser: bool, say: Callable[[str], None]) -> None:
    """Print the links, the newest study's last, where the eye is; open that one."""
    folders = (
        [home / Path(study).stem]
        if study
        else sorted([folder.path for folder in Home(home).recorded()], key=last_written)
    )
    found = {folder.name: place for folder in folders if (place := links(folder, address))}
    for name, place in found.items():
        say(f"{name}: {place.charts}")
        if place.winner:
            say(f"{name}, the winner: {place.winner}")
    if not found:
        name, page = "sweep" if study is None else study, _without_user(address)
        say(f"no {name} has been sent to MLflow yet; the page is {page}")
    elif browser and webbrowser.open(list(found.values())[-1].charts):
        say(f"opened {list(found)[-1]} in the browser; --no-browser leaves that out")


def refuse_taken(port: int) -> None:
    """Make sure that the port is free.

    Raises:
        UiError: it is not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free for uvicorn too
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UiError(f"port {port} is taken ({error.strerror}); use another one: --port {port + 1}") from error


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end us the way Ctrl-C does, so that the server is taken along."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _server(home: Path, tracking: str | None, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The server in a session of its own, so that Ctrl-C reaches only us; ended with everything it started."""
    options = ["--host", HOST, "--port", str(port), "--workers", "1", "--log-level", "warning", "--no-access-log"]
    options += ["--http", "h11"]  # requests are read in one way, whatever else is installed
    options += ["--timeout-graceful-shutdown", "2"]  # a browser keeps its connections open for ever
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "uvicorn", "--factory", "sweep.tracking.mlflow.server:application", *options],
        env=os.environ | environment(home, tracking, port),
        stdin=subprocess.PIPE,  # its end tells the server that we are gone
        start_new_session=True,
    )
    try:
        yield server
    finally:
        _end(server)


def environment(home: Path, tracking: str | None, port: int) -> dict[str, str]:
    """What the server is told, by environment and never by argument: arguments are seen by every user of the machine.

    Args:
        home: absolute.
        tracking: a database URI, or None for `mlflow.db` in the home.
        port: that it will listen on; part of the only host names that it answers to.
    """
    return {
        "MLFLOW_BACKEND_STORE_URI": tracking or f"sqlite:///{home / 'mlflow.db'}",
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": (home / ARTIFACTS).as_uri(),
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{HOST}:{port},localhost:{port}",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # otherwise 8 more processes
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
        "MLFLOW_MODEL_CATALOG_URI": "",  # otherwise fetched from the network
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }


def _await_health(server: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            raise UiError(f"MLflow ended with code {server.returncode} before it answered; see the lines above")
        if _healthy(port):
            return
        time.sleep(0.2)
    raise UiError(
        f"MLflow did not answer on port {port} within {PATIENCE:.0f} s; try again when the machine is less busy"
    )


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ask the server's whole process group to end; insist after 5 s."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, request)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=5)
            break
    if server.stdin:
        server.stdin.close()
