"""A canary password in MLflow's address must not appear in any output."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from empty_report import PROGRAM
from recorded import Recorded

from sweep.commands import ui
from sweep.entry import main

# MLflow 3.17 still uses a loader that SQLAlchemy 2.1 deprecates, which we cannot change.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning")

CANARY = "Kanarienvogel7"
SHAPES = {
    "field": "{scheme}://me:CANARY@{host}",
    "user only": "{scheme}://CANARY@{host}",
    "password only": "{scheme}://:CANARY@{host}/x",
    "encoded": "{scheme}://me:%40CANARY%2F%3A@{host}",
    "at": "{scheme}://me:a@CANARY@{host}",
    "tail": "{scheme}://me:CANARY@b@{host}",
    "slash": "{scheme}://me:12/CANARY@{host}",
    "colon": "{scheme}://me:a:CANARY@{host}",
    "question mark": "{scheme}://me:12?CANARY@{host}",
    "query": "{scheme}://{host}/?password=CANARY",
    "second query": "{scheme}://me@{host}/db?sslmode=require&sslpassword=CANARY",
    "token": "{scheme}://{host}/db?x=y&access_TOKEN=CANARY&z=CANARY",
}
NO_HTTP = {"slash", "question mark", "query", "second query", "token"}
"""Shapes that only a database's address can have."""
SAMPLE = ("field", "tail", "token")
"""The others are tried by CI."""
STUB = ("401", "403", "500", "echo", "html", "redirect")
MODES = (*STUB, "refuses", "unknown", "scheme", "port", "upper", "driver")
"""How a tracker fails, or its address does."""

# --- looking for it


def needles() -> list[bytes]:
    """The canary as text, in PDF's and Windows' two-byte letters, in hexadecimals, percent-encoded and in base64."""
    word = CANARY.encode()
    hexadecimal = word.hex()
    percent = "".join(f"%{byte:02x}" for byte in word)
    found = [word, CANARY.encode("utf-16-be"), CANARY.encode("utf-16-le"), hexadecimal.encode(), percent.encode()]
    for shift in range(3):  # three ways to fall into base64's groups of three; the first and last group are mixed ones
        inner = base64.b64encode(b"x" * shift + word)[4 * (shift > 0) : 4 * ((shift + len(word)) // 3)]
        found.append(inner)
    return [needle.lower() for needle in found]


def unpacked(content: bytes) -> Iterator[bytes]:
    """The bytes, and what is packed in them: gzip, zip, and in a PDF every stream and the letters it draws."""
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield from unpacked(gzip.decompress(content))
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield from unpacked(archive.read(name))
    if content.startswith(b"%PDF"):
        for stream in re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
            with contextlib.suppress(zlib.error):
                drawn = zlib.decompressobj().decompress(stream)
                yield drawn
                yield b"".join(re.findall(rb"\(((?:\\.|[^\\)])*)\)", drawn))  # kerning cuts words into pieces
    if content.startswith(b"SQLite format 3"):  # a value longer than a page is cut into pieces, too
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(_without_wal(content))
            yield "\n".join(database.iterdump()).encode()


def _without_wal(content: bytes) -> bytes:
    """A database in memory cannot be in WAL mode; bytes 18 and 19 say whether it is."""
    return content[:18] + b"\x01\x01" + content[20:]


def leaks(place: Path, *said: str) -> list[str]:
    """Where the canary is: files below a folder by name or content, and texts by number."""
    found = [f"name {path.relative_to(place)}" for path in place.rglob("*") if CANARY.lower() in path.name.lower()]
    files = [path for path in place.rglob("*") if path.is_file()]
    contents = [(str(path.relative_to(place)), path.read_bytes()) for path in files]
    contents += [(f"text {number}", text.encode()) for number, text in enumerate(said)]
    for name, content in contents:
        parts = [part.lower() for part in unpacked(content)]
        found += [f"{name}: {needle!r}" for needle in needles() if any(needle in part for part in parts)]
    return found


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        CANARY.upper(),
        f"http://me:{CANARY}@host",
        *(base64.b64encode(f"{'x' * shift}{CANARY}:tail".encode()).decode() for shift in range(5)),
        "".join(f"%{byte:02X}" for byte in CANARY.encode()),
        CANARY.encode().hex(),
    ],
)
def test_the_leak_search_finds_every_encoding(tmp_path: Path, text: str) -> None:
    pieces = " ".join(f"({letter}) 12" for letter in text)
    stream = zlib.compress(f"BT [{pieces}] TJ ET".encode())
    (tmp_path / "one.pdf").write_bytes(b"%PDF-1.4\n1 0 obj\nstream\n" + stream + b"\nendstream")
    (tmp_path / "two.gz").write_bytes(gzip.compress(f"a {text} b".encode()))
    with zipfile.ZipFile(tmp_path / "three.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", text)
    with contextlib.closing(sqlite3.connect(tmp_path / "four.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (x)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("INSERT INTO t VALUES (?)", [text])
        found = leaks(tmp_path, text)

    assert {name.partition(":")[0] for name in found} == {"one.pdf", "two.gz", "three.npz", "four.db-wal", "text 0"}
    assert {name.partition(":")[0] for name in leaks(tmp_path)} >= {"four.db"}


# --- trackers that fail


class Answer(BaseHTTPRequestHandler):
    """One request, failed in the mode of the stub; `echo` repeats all that it was sent."""

    server: Stub

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.authorized.append(self.headers.get("Authorization", ""))
        mode = self.server.mode
        status = {"html": 200, "echo": 400, "redirect": 302}.get(mode) or int(mode)
        body = f"{self.requestline}\n{self.headers}" if mode == "echo" else f"<html>{mode}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body.encode())))
        if mode == "redirect":
            self.send_header("Location", f"http://127.0.0.1:9{self.path}")
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = do_PUT = do_PATCH = answer

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


class Stub(ThreadingHTTPServer):
    """A tracker that fails every request in the same mode."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((ui.HOST, 0), Answer)
        self.mode = "401"
        self.authorized: list[str] = []


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with Stub() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def address(shape: str, mode: str, stub: Stub) -> str:
    scheme = {"scheme": "ftp", "upper": "HTTP", "driver": "postgresql"}.get(mode, "http")
    refusing = "127.0.0.1:9"
    hosts = {"port": "host:port", "unknown": "nohost.invalid", **dict.fromkeys(STUB, f"127.0.0.1:{stub.server_port}")}
    return SHAPES[shape].format(scheme=scheme, host=hosts.get(mode, refusing)).replace("CANARY", CANARY)


def code(shape: str, mode: str) -> int:
    """2 for what is no address: then nothing of it is tried; 3 for what fails."""
    ambiguous = {"at", "tail"} if mode == "driver" else {"at", "tail", *NO_HTTP}
    return 2 if shape in ambiguous or mode in ("scheme", "port") else 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [pytest.param(shape, marks=() if shape in SAMPLE else pytest.mark.slow) for shape in SHAPES]
)
def test_failures_do_not_leak_the_password(
    shape: str, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every failure mode, with the address as a variable and as an argument, with and without traceback."""
    monkeypatch.setattr(os, "nice", lambda _: 0)
    recorded = Recorded(tmp_path / "digits")
    recorded.add("complete", 2)
    recorded.close()
    said: list[str] = []
    codes = {}

    def ended(*words: str) -> object:
        with pytest.raises(SystemExit) as end:
            main([*words, "--home", str(tmp_path)])
        said.extend(capfd.readouterr())
        return end.value.code

    for mode in MODES:
        stub.mode, tracking = mode, address(shape, mode, stub)
        with monkeypatch.context() as variable:
            variable.setenv("SWEEP_TRACKING", tracking)
            codes[mode] = [ended("sync", "digits", "--debug"), ended("sync", "digits", "--follow")]
        codes[mode] += [ended("doctor", "digits", f"--tracking={tracking}"), ended("sync", "--tracking", tracking)]

    assert codes == {mode: [code(shape, mode)] * 4 for mode in MODES}
    assert leaks(tmp_path, *said) == []
    assert len([text for text in said if text.strip()]) == 4 * len(MODES)


@pytest.mark.slow
def test_a_damaged_record_does_not_leak_the_password(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Recorded(tmp_path / "digits").close()
    (folder / "study.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    monkeypatch.setenv("SWEEP_TRACKING", address("field", "401", stub))

    with pytest.raises(SystemExit) as end:
        main(["sync", "digits", "--debug", "--home", str(tmp_path)])

    said = capfd.readouterr().err
    assert end.value.code == 5, said
    (folder / "study.db").unlink()  # no database any more that could be searched
    assert leaks(tmp_path, said) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SWEEP_TRACKING", f"http://me:{CANARY}@host"),
        ("SWEEP_STORAGE", f"postgresql://me:{CANARY}@host/db"),
        ("MLFLOW_TRACKING_TOKEN", f"{CANARY}\n"),
        ("MLFLOW_TRACKING_PASSWORD", CANARY),
    ],
)
def test_an_unexpected_error_is_printed_without_the_password(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a traceback, also without --debug, and exit code 1."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError(f"of http://me:{CANARY}@host, where {CANARY} is no number")

    monkeypatch.setattr("studies.record.folder.Home.recorded", fail)
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as end:
        main(["studies", "--home", str(tmp_path)])

    said = capfd.readouterr().err
    assert end.value.code == 1
    assert "Traceback" in said
    assert said.endswith("ZeroDivisionError: of http://***@host, where *** is no number\n")
    assert leaks(tmp_path, said) == []


@pytest.mark.slow
def test_the_password_is_sent_to_the_tracking_server(
    stub: Stub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recorded = Recorded(tmp_path / "digits")
    recorded.close()
    stub.mode, stub.authorized = "401", []

    with pytest.raises(SystemExit):
        main(["sync", "--home", str(tmp_path), "--tracking", address("encoded", "401", stub)])

    header = "Basic " + base64.b64encode(f"me:@{CANARY}/:".encode()).decode()
    assert set(stub.authorized) == {header}
    assert "401" in capfd.readouterr().err


# --- whole sweeps, and the list of processes

STUDY = """\
question = "Which learning rate?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
trials = 2

[baseline]
hidden_sizes = [8]
learning_rate = 0.003
epochs = 2

[space]
learning_rate = { low = 1e-3, high = 3e-2, log = true }

[confirm]
top = 1
repeats = 2
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ui.HOST, 0))
        return int(probe.getsockname()[1])


class Watch(threading.Thread):
    """Looks at the arguments of every process again and again, and keeps those that have the canary.

    Not the numbers of the processes: one that was just forked has its parent's arguments until it executes its own.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.looks, self.found, self.over = 0, set[bytes](), threading.Event()

    def run(self) -> None:
        wanted = needles()
        while not self.over.wait(0.04):  # a look takes 4 ms of a core, and the start of Python 80
            self.looks += 1
            for process in filter(lambda path: path.name.isdigit(), Path("/proc").iterdir()):
                with contextlib.suppress(OSError):
                    arguments = (process / "cmdline").read_bytes()
                    if any(needle in arguments.lower() for needle in wanted):
                        self.found.add(arguments)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


WITH_REPORT = (sys.executable, "-P", "-m", "sweep")


def started(folder: Path, tracking: str | None, *words: str, program: Sequence[str]) -> subprocess.Popen[str]:
    """`sweep run` of a small study, with the address in the environment or among the words."""
    (folder / "tiny.toml").write_text(STUDY)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
    environment |= {"SWEEP_HOME": str(folder / "home")} | ({"SWEEP_TRACKING": tracking} if tracking else {})
    argv = [*program, "run", str(folder / "tiny.toml"), "--workers", "1", *words]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_sweep_with_a_failing_tracker_does_not_leak_the_password(stub: Stub, tmp_path: Path) -> None:
    """Record, logs, weights, champion, report, terminal, processes."""
    stub.mode = "echo"
    with Watch() as watch:
        process = started(tmp_path, address("field", "echo", stub), program=WITH_REPORT)
        said = process.communicate(timeout=120)

    assert process.returncode == 0, said
    assert "try again with: sweep sync tiny" in said[0]
    folder = tmp_path / "home" / "tiny"
    assert {"study.db", "mirror.log", "report.pdf", "champion.npz"} <= {path.name for path in folder.iterdir()}
    assert "Could not sync tiny to http" in (folder / "mirror.log").read_text()
    assert leaks(tmp_path, *said) == []
    assert watch.looks > 20
    assert watch.found == set()


@pytest.mark.slow
def test_a_stopped_sweep_prints_a_command_without_the_password(stub: Stub, tmp_path: Path) -> None:
    """As an argument it is visible in the process list, but only of the process that got it."""
    stub.mode = "401"
    tracking = address("encoded", "401", stub)
    with Watch() as watch:
        words = ("--set", "baseline.epochs=9000", "--tracking", tracking)
        process = started(tmp_path, None, *words, program=PROGRAM)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and "Could not sync tiny" not in log(tmp_path):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)

    assert "Could not sync tiny" in log(tmp_path)
    assert process.returncode == 130, said
    line, remark = said[0].strip().splitlines()[-2:]
    assert line.startswith("stopped; nothing is lost, continue with: sweep run ")
    assert f" --tracking 'http://***@127.0.0.1:{stub.server_port}' --home " in line
    assert "SWEEP_TRACKING" in remark
    assert leaks(tmp_path, *said) == []
    assert watch.found == {"".join(f"{word}\0" for word in process.args).encode()}


def log(folder: Path) -> str:
    path = folder / "home" / "tiny" / "mirror.log"
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_a_working_tracker_does_not_receive_the_password_as_data(tmp_path: Path, migrated: Path) -> None:
    """A server without authentication stores every run, artifact and model of a sweep, and the canary nowhere."""
    place, port = tmp_path / "place", free_port()
    place.mkdir()
    shutil.copy(migrated, place)
    with ui._server(place, None, port) as server, Watch() as watch:
        ui._await_health(server, port)
        process = started(tmp_path, f"http://me:{CANARY}@{ui.HOST}:{port}", program=PROGRAM)
        said = process.communicate(timeout=120)

    assert "all trials side by side: http://127.0.0.1:" in said[0], said
    with contextlib.closing(sqlite3.connect(place / "mlflow.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM runs").fetchone()[0] > 5
        assert database.execute("SELECT COUNT(*) FROM model_versions").fetchone() == (1,)
    assert leaks(tmp_path, *said) == []
    assert watch.found == set()


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["", "?password=CANARY", "?sslpassword=CANARY"])
def test_a_database_that_cannot_be_opened_does_not_leak_its_password(tail: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "SWEEP_TRACKING": f"postgresql://me:CANARY@127.0.0.1:9/db{tail}".replace("CANARY", CANARY)
    }
    argv = [sys.executable, "-P", "-m", "sweep", "ui", "--debug", "--home", str(tmp_path), "--port", str(free_port())]
    with Watch() as watch:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)

    assert (done.returncode, "MLflow cannot open " in done.stderr) == (3, True), done.stderr
    assert leaks(tmp_path, done.stdout, done.stderr) == []
    assert watch.found == set()
