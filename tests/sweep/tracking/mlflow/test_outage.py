"""MLflow's server fails in every way; afterwards its database is the record, point for point."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import math
import os
import random
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import forked_sweep
import pytest
from recorded import STUDY, Recorded, expected_runs, grown, growth, replace_pictures

from studies.record.reader import read
from sweep.commands import ui
from sweep.tracking.expected_runs import Run, file_digests
from sweep.tracking.follow import follow
from sweep.tracking.mlflow import client
from sweep.tracking.mlflow.client import MlflowTracker
from sweep.tracking.mlflow.local_store import make_ready
from sweep.tracking.reconcile import MirrorError, sync
from sweep.tracking.study_run import STUDY_KEY
from sweep.tracking.tracker import Point

pytestmark = [
    pytest.mark.slow,  # tests/sweep/tracking/test_reconcile.py has outages of a tracker in memory
    # MLflow 3.17 still uses a loader that SQLAlchemy 2.1 deprecates, which we cannot change.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"),
]

PAGE = b"<!doctype html><title>Please log in</title>"
MODES = ("refuse", "hang", "429", "html", "lose")
LASTS = {"middle": 3, "end": 1000}
"""So many requests an outage lasts: the first fails what was under way, the others the attempts to begin anew."""
INSIDE = 4
"""So many requests are answered before it, so that it does not always fall on the first request of a pass."""

Fails = Callable[[str, str, bytes], str | None]
"""How a request with this method, path and body is to fail; None if it is not."""


def never(method: str, path: str, body: bytes) -> None:
    """A tracker that is well."""


class Tracker(ThreadingHTTPServer):
    """Stands in front of MLflow's server, and fails as it is told."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: int) -> None:
        super().__init__((ui.HOST, 0), Request)
        self.upstream, self.lock, self.well = upstream, threading.Lock(), threading.Event()
        self.fails: Fails = never
        self.failed: list[str] = []

    @property
    def address(self) -> str:
        return f"http://{ui.HOST}:{self.server_port}"

    def be_well(self) -> None:
        self.fails = never
        self.well.set()

    def outage(self, mode: str, after: int, lasts: int) -> None:
        """Answer so many requests more, fail the next few, and be well again."""
        modes = chain(repeat(None, after), repeat(mode, lasts))
        self.failed = []
        self.well.clear()
        self.fails = lambda method, path, body: next(modes, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that lost its patience has hung up; that is what is tested."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Request(BaseHTTPRequestHandler):
    """One request: passed on, or not."""

    server: Tracker

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            mode = self.server.fails(self.command, self.path, body)
            if mode:
                self.server.failed.append(f"{mode} {self.command} {self.path.partition('?')[0]}")
        match mode:
            case None:
                self.say(*self.forward(body))
            case "refuse":
                self.reset()
            case "hang":
                self.server.well.wait(60)
                self.reset()
            case "lose":
                self.forward(body)
                self.reset()
            case "html":
                self.say(200, {"Content-Type": "text/html"}, PAGE)
            case status:
                self.say(int(status), {"Retry-After": "86400"}, b"later")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
        with contextlib.closing(http.client.HTTPConnection(ui.HOST, self.server.upstream, timeout=60)) as upstream:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            return answer.status, {"Content-Type": answer.headers.get("Content-Type", "")}, answer.read()

    def say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """Close the connection so that the other side reads an error and no end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        if self.connection.fileno() >= 0:
            super().finish()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the tests say what failed."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ui.HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its database and its artifacts."""
    return tmp_path_factory.mktemp("tracker")


@pytest.fixture(scope="module")
def tracker(place: Path, migrated: Path) -> Iterator[Tracker]:
    """MLflow's real server, which takes artifacts over HTTP too, and the failing one in front of it."""
    shutil.copy(migrated, place)
    port = free_port()
    environment = os.environ | ui.environment(place, None, port)
    environment |= {
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (place / "kept").as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    argv = [sys.executable, "-P", "-m", "uvicorn", "--factory", "sweep.tracking.mlflow.server:application"]
    argv += ["--host", ui.HOST, "--port", str(port), "--log-level", "warning", "--no-access-log"]
    server = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, start_new_session=True)
    try:
        ui._await_health(server, port)
        with Tracker(port) as front:
            threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            yield front
            front.be_well()
            front.shutdown()
    finally:
        ui._end(server)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.tracking.follow.POLL_S", 0.01)
    monkeypatch.setattr("sweep.tracking.follow.RETRY_S", 0.01)
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_S", 3)
    monkeypatch.setattr(client, "CHECK_TIMEOUT_S", 1)
    replace_pictures(monkeypatch)


def recorded(folder: Path) -> Any:
    """A study of this name with nothing in it yet."""
    return Recorded(folder, STUDY | {"name": folder.name, "trials": 3})


class Sweep:
    """Grows the study whenever the mirror asks whether it is at work, and breaks the tracker at the right moment."""

    def __init__(self, folder: Path, tracker: Tracker, mode: str, when: str) -> None:
        self.growing, self.tracker = recorded(folder), tracker
        self.left = growth(self.growing)
        self.breaks = {"middle": len(self.left) // 2, "end": 1}[when]
        self.begin = lambda: tracker.outage(mode, INSIDE, LASTS[when])
        self.failures = 1 if when == "end" else LASTS[when]

    def is_active(self) -> bool:
        """Until it is fully grown and the tracker is well again, which at the end it is not."""
        if not self.left and len(self.tracker.failed) >= self.failures:
            return False
        if len(self.left) == self.breaks:
            self.begin()
            self.breaks = -1
        if self.left:
            self.left.pop(0)()
        return True


def held(place: Path, folder: Path) -> tuple[dict[str, list[str]], dict[str, Run]]:
    """Identities of MLflow's runs of a study by key, deleted ones included, and the runs of the record."""
    record = read(folder)
    wanted = {run.key: run for run in expected_runs(record)}
    found: dict[str, list[str]] = {}
    for key, run_id in rows(
        place,
        "SELECT k.value, k.run_uuid FROM tags k JOIN tags s ON s.run_uuid = k.run_uuid "
        f"WHERE k.key = 'sweep.key' AND s.key = 'sweep.study' AND s.value = '{record.uid}/{folder.name}'",
    ):
        found.setdefault(key, []).append(run_id)
    return found, wanted


def rows(place: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(place / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def differences(place: Path, folder: Path) -> tuple[int, int, int]:
    """Points of the record, how many of them MLflow lacks, how many it has that are not (or not so often) there.

    Everything else must be equal. The single numbers of the study's own run change with it: their history is no
    curve, and only the last value counts.
    """
    found, wanted = held(place, folder)
    assert {key: len(ids) for key, ids in found.items()} == dict.fromkeys(wanted, 1)
    points, lost, doubled = 0, 0, 0
    for key, run in wanted.items():
        (run_id,) = found[key]
        of_study = key == STUDY_KEY
        there = Counter(
            (name, step, at, None if is_nan else value)
            for name, step, at, value, is_nan in rows(
                place, f"SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = '{run_id}'"
            )
            if not of_study or name == "best_so_far"
        )
        record = Counter(_plain(point) for point in (*run.curves, *(() if of_study else run.scalars)))
        points, lost, doubled = (
            points + record.total(),
            lost + (record - there).total(),
            doubled + (there - record).total(),
        )
        _equal_but_for_points(place, run_id, run)
    return points, lost, doubled


def _plain(point: Point) -> tuple[str, int, int, float | None]:
    return point.key, point.step, point.time, None if math.isnan(point.value) else point.value


def _equal_but_for_points(place: Path, run_id: str, run: Run) -> None:
    """Name, state, params, last values, files."""
    ((name, status, stage, uri),) = rows(
        place, f"SELECT name, status, lifecycle_stage, artifact_uri FROM runs WHERE run_uuid = '{run_id}'"
    )
    assert (name, status, stage) == (run.name, run.status, "active")
    assert dict(rows(place, f"SELECT key, value FROM params WHERE run_uuid = '{run_id}'")) == run.params
    latest = dict(rows(place, f"SELECT key, value FROM latest_metrics WHERE run_uuid = '{run_id}' AND NOT is_nan"))
    assert latest.items() >= {point.key: point.value for point in run.scalars if not math.isnan(point.value)}.items()
    local = uri.startswith("file://")
    folder = (
        Path(unquote(uri.removeprefix("file://"))) if local else place / "kept" / uri.removeprefix("mlflow-artifacts:/")
    )
    kept = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*") if path.is_file()}
    assert kept == file_digests(run.files)
    ((datasets,),) = rows(place, f"SELECT COUNT(*) FROM inputs WHERE destination_id = '{run_id}'")
    assert datasets == 1


def registered(place: Path, folder: Path) -> list[Any]:
    """Versions of the study's model, the aliases that point at them, and whether they have the champion's weights."""
    found = rows(
        place,
        "SELECT v.version, a.alias, v.source FROM model_versions v LEFT JOIN registered_model_aliases a "
        f"ON a.name = v.name AND a.version = v.version WHERE v.name = 'sweep-{folder.name}'",
    )
    kept = [place / "kept" / source.removeprefix("mlflow-artifacts:/") for _, _, source in found]
    weights = [(path / "artifacts" / "champion.npz").read_bytes() for path in kept if (path / "MLmodel").is_file()]
    return [
        (*row[:2], held == (folder / "champion.npz").read_bytes()) for row, held in zip(found, weights, strict=True)
    ]


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(("mode", "when"), [*((mode, "middle") for mode in MODES), ("refuse", "end")])
def test_an_outage_loses_and_doubles_nothing(
    tmp_path: Path, place: Path, tracker: Tracker, mode: str, when: str
) -> None:
    """Of a study that grows while it is mirrored; one more sync after the outage makes the two equal."""
    sweep = Sweep(tmp_path / f"{mode}-{when}", tracker, mode, when)
    folder = sweep.growing.folder

    with contextlib.ExitStack() as stack:
        if when == "end":
            stack.enter_context(pytest.raises(MirrorError, match=r"runs \(\d+ metric values\) unsent"))
        follow(folder, MlflowTracker(tracker.address), sweep.is_active)
    sweep.growing.close()
    assert tracker.failed != []
    tracker.be_well()
    sync(folder, MlflowTracker(tracker.address), active=False)

    points, lost, doubled = differences(place, folder)
    assert points >= 600
    assert (lost, doubled) == (0, 0)
    assert registered(place, folder) == [(1, "champion", True)]
    assert not sync(folder, MlflowTracker(tracker.address), active=False)


def first_time(mode: str, methods: tuple[str, ...]) -> Fails:
    """Fails every request with one of these methods when it comes for the first time; a file's is known by its path."""
    seen: set[tuple[str, str, bytes]] = set()

    def fails(method: str, path: str, body: bytes) -> str | None:
        request = (method, path, b"" if method == "PUT" else body)  # a model stored again has another id inside
        new = request not in seen
        seen.add(request)
        return mode if new and method in methods else None

    return fails


def failing_syncs(folder: Path, address: str) -> int:
    """How often a sync fails before one succeeds."""
    for number in range(150):
        with contextlib.suppress(MirrorError):
            sync(folder, MlflowTracker(address), active=False)
            return number
    raise AssertionError("150 syncs got nowhere")


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(("mode", "methods"), [("lose", ("POST", "PUT", "PATCH", "DELETE")), ("html", ("PUT",))])
def test_every_changing_request_may_fail_once(
    tmp_path: Path, place: Path, tracker: Tracker, mode: str, methods: tuple[str, ...]
) -> None:
    """It is done and its answer lost, or it is not done and a web page says that all is well."""
    growing = recorded(tmp_path / f"every-{mode}")
    growing.add("complete", 160)
    growing.add("pruned", 20)
    growing.judge(champion=0)
    folder = growing.close()
    tracker.failed = []
    tracker.fails = first_time(mode, methods)
    failures = failing_syncs(folder, tracker.address)
    tracker.be_well()

    assert failures > 6
    assert len(tracker.failed) > 20
    assert differences(place, folder)[1:] == (0, 0)
    assert registered(place, folder) == [(1, "champion", True)]


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("seed", [1])
def test_a_killed_mirror_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    """While it makes MLflow's database, and at two moments of its work with one."""
    folder, dice, history = grown(tmp_path / "killed"), random.Random(seed), []
    for is_first in (True, False, False):
        process, lock = forked_sweep.start("sync", "killed", "--home", str(tmp_path)), folder / "mirror.lock"
        before = lock.read_text() if lock.exists() else ""
        while process.is_alive() and not (lock.exists() and lock.read_text() not in ("", before)):
            time.sleep(0.005)
        moment = dice.uniform(0, 1)
        time.sleep(moment)
        process.kill()
        history.append(f"killed {moment:.2f} s after its turn began; it said: {process.said()}")
        if is_first:
            make_ready(tmp_path / "mlflow.db")  # otherwise the next two are killed while they make it, too
    history.append(forked_sweep.start("sync", "killed", "--home", str(tmp_path)).said())

    assert history[-1].startswith(
        ("killed: created", "killed: updated", "killed: sent", "killed: MLflow is already up to date")
    ), history
    points, *wrong = differences(tmp_path, folder)
    assert points > 1000
    assert wrong == [0, 0], history
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.usefixtures("without_pictures")
def test_a_second_sync_waits_for_the_first(tmp_path: Path) -> None:
    """And then finds that everything is there."""
    folder = grown(tmp_path / "both")
    both = [forked_sweep.start("sync", "both", "--home", str(tmp_path)) for _ in range(2)]
    said = sorted(process.said() for process in both)

    assert said[0] == "both: MLflow is already up to date\n"
    assert said[1].startswith("both: created 7 runs; sent")
    assert differences(tmp_path, folder)[1:] == (0, 0)
