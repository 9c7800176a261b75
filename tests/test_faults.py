"""Faults: simultaneous starts, a file-size limit, damaged files."""

import contextlib
import ctypes
import functools
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from empty_report import PROGRAM

from studies.record import reader as records
from sweep.commands.printed_command import command_here
from sweep.entry import main
from sweep.storage import database as storage

STUDY = """\
question = "Two at once?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
trials = 3

[baseline]
hidden_sizes = [16]
learning_rate = 0.003
batch_size = 32
epochs = 3

[space]
learning_rate = { low = 1e-3, high = 3e-2, log = true }
"""


def starter(folder):
    """Starts the sweep in a folder, without confirmation and MLflow; returns the process."""
    study = folder / "tiny.toml"
    study.write_text(STUDY)

    def start(home="home", *more, before=(), **options):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
        argv = [*before, *PROGRAM, "run", str(study), "--no-confirm", "--tracking", "none"]
        argv += ["--workers", "1", "--home", str(folder / home), *more]
        return subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    return start


@pytest.fixture
def started(tmp_path):
    """Starts the sweep in the folder of the test."""
    return starter(tmp_path)


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """The home folder of a complete sweep, to be copied."""
    folder = tmp_path_factory.mktemp("completed")
    assert starter(folder)().communicate(timeout=120)[1] == ""
    return folder / "home"


@pytest.mark.slow
def test_only_one_of_four_simultaneous_starts_runs(started, tmp_path):
    """In a new home folder: the others report the running process or find the study complete; exactly three trials."""
    processes = [started() for _ in range(4)]
    said = [process.communicate(timeout=120) for process in processes]
    codes = [process.returncode for process in processes]

    assert set(codes) <= {0, 2}
    assert 0 in codes
    for code, (_, errors) in zip(codes, said, strict=True):
        assert (code == 0) == (errors == "")
        if code == 2:
            assert re.search(r"tiny is already running \(pid \d+, since [\d: -]+ UTC\)", errors)
    record = records.read(tmp_path / "home" / "tiny")
    assert [trial.number for trial in record.trials] == [0, 1, 2]
    assert record.counts() == {"complete": 3}
    assert not storage.is_active(record.folder)


@pytest.mark.slow
@pytest.mark.parametrize("kib", [4, 64, 250])
def test_a_file_size_limit_is_reported_and_survived(started, tmp_path, kib):
    """With `ulimit -f`: exit code 3, at most three lines, no traceback; without it the sweep resumes."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kib << 10, kib << 10))

    process = started(preexec_fn=limited)
    output, errors = process.communicate(timeout=120)

    assert process.returncode == 3, output + errors
    assert 1 <= len(errors.strip().splitlines()) <= 3
    assert errors.startswith("sweep: ")
    assert "Traceback" not in errors
    process = started()
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert records.read(tmp_path / "home" / "tiny").counts() == {"complete": 3}
    assert not [path for path in (tmp_path / "home").rglob("*") if path.name.endswith(".part")]


LONG = ["--set", "baseline.epochs=10000"]
HUGE = ["--set", "baseline.hidden_sizes=[8192, 8192]", "--set", "baseline.epochs=1000"]
"""An epoch takes some ten seconds."""


def at_work(process, folder, when):
    """Wait until `when(record)`, or the process ends."""
    while process.poll() is None:
        try:
            if when(records.read(folder, active=True)):
                return
        except records.RecordError:  # not begun
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_within_five_seconds(started, tmp_path, number):
    """With 128 plus its number, a checkpoint, and the command to resume."""
    process = started("home", *LONG)
    folder = tmp_path / "home" / "tiny"
    at_work(process, folder, lambda record: record.trials and len(record.trials[0].epochs))
    process.send_signal(number)
    sent = time.monotonic()
    output, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (128 + number, "")
    assert time.monotonic() - sent < 5
    assert f"stopped; nothing is lost, continue with: sweep run {tmp_path / 'tiny.toml'}" in output
    assert (folder / "trials/0000/checkpoint.npz").exists()
    assert records.read(folder).counts() == {"interrupted": 1}


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(started, tmp_path):
    """During an epoch of ten seconds: within half a second, and no worker is left."""
    process = started("home", *HUGE)
    folder = tmp_path / "home" / "tiny"
    at_work(process, folder, lambda record: record.trials)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=60)  # the pipe's end: its workers hold it as long as they live

    assert (process.returncode, errors) == (130, "")
    assert time.monotonic() - sent < 0.5
    assert records.read(folder).counts() == {"interrupted": 1}


@pytest.mark.slow
def test_a_home_that_is_not_a_folder_is_reported(started, tmp_path):
    """Exit code 3, two lines."""
    (tmp_path / "file").touch()
    process = started("file/home")
    output, errors = process.communicate(timeout=60)

    assert (process.returncode, output) == (3, "")
    assert f"sweep: the home folder {tmp_path / 'file/home'} cannot be written: Not a directory" in errors
    assert "choose another one with --home DIR or SWEEP_HOME" in errors


@pytest.mark.parametrize("character", "?#%{")
def test_a_home_with_an_unsupported_path_is_reported(tmp_path, character, capsys):
    """Before anything is written there."""
    with pytest.raises(SystemExit) as caught:
        main(["run", "digits", "--tracking", "none", "--home", str(tmp_path / f"a{character}b")])
    output, errors = capsys.readouterr()

    assert (caught.value.code, output) == (3, "")
    assert errors.startswith(
        f"sweep: the path of the home folder {tmp_path / f'a{character}b'} contains a {character}, which"
    )
    assert "choose another one with --home DIR or SWEEP_HOME" in errors
    assert not list(tmp_path.glob("a*"))


def without_privilege():
    """In a child: take from root what lets it write where nobody may (CAP_DAC_OVERRIDE, by PR_CAPBSET_DROP)."""
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(24, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_home_is_reported(started, completed, tmp_path, begun):
    """Before anything is done, also for an existing study, which can still be read."""
    home = tmp_path / "home"
    if begun:
        shutil.copytree(completed, home)
    else:
        home.mkdir()
    for path in [home, *home.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    process = started(preexec_fn=without_privilege)
    output, errors = process.communicate(timeout=60)

    assert (process.returncode, output) == (3, "")
    assert errors.startswith(f"sweep: the home folder {home} cannot be written: Permission denied\n")
    if begun:
        assert records.read(home / "tiny").counts() == {"complete": 3}
    for path in [home, *home.rglob("*")]:
        path.chmod(0o755)


@pytest.mark.slow
def test_a_damaged_database_is_reported_and_not_changed(started, completed, tmp_path):
    """Exit code 5; the file is unchanged, and the sweep completes after a copy is restored."""
    shutil.copytree(completed, tmp_path / "home")
    path = tmp_path / "home" / "tiny" / "study.db"
    whole = path.read_bytes()
    place = whole.index(b'"validation_accuracy": ') + 24
    hurt = bytearray(whole)
    hurt[place] ^= 1
    path.write_bytes(hurt)
    process = started()
    output, errors = process.communicate(timeout=60)

    assert (process.returncode, output) == (5, ""), errors
    assert errors.startswith(f"sweep: {path} is damaged: ")
    assert len(errors.strip().splitlines()) <= 3
    assert path.read_bytes() == hurt
    path.write_bytes(whole)
    assert started().communicate(timeout=60)[1] == ""


@contextlib.contextmanager
def no_tracker(kind):
    """The address of an MLflow server that refuses every connection, or takes it and never answers."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        if kind == "hanging":
            place.listen(100)
        yield f"http://127.0.0.1:{place.getsockname()[1]}"


STRACE = ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "500", "-e", "trace=connect,execve", "-o"]


@dataclass(frozen=True)
class Run:
    """A sweep without a tracker: its exit code, the address, what it printed, when each line came and when it ended."""

    code: int
    address: str
    lines: list[tuple[float, str]]
    errors: str
    ended: float
    folder: Path


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    """Runs a sweep without a tracker, once for each kind; a hanging one under strace, if it is installed."""

    @functools.cache
    def run(kind):
        folder = tmp_path_factory.mktemp(kind)
        watched = [*STRACE, str(folder / "calls")] if kind == "hanging" and shutil.which("strace") else []
        with no_tracker(kind) as address:
            process = starter(folder)("home", "--tracking", address, before=watched)
            lines = [(time.monotonic(), line) for line in process.stdout]
            errors = process.communicate(timeout=60)[1]
            return Run(process.returncode, address, lines, errors, time.monotonic(), folder)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refusing", "hanging"])
def test_an_unreachable_tracker_is_reported_and_does_not_delay_the_sweep(untracked, kind):
    """Exit code 0, the number of unsent values, and the command to send them; the sweep ends within seconds."""
    run = untracked(kind)

    assert (run.code, run.errors) == (0, "")
    said = "".join(line for _, line in run.lines)
    record = records.read(run.folder / "home" / "tiny")
    assert record.counts() == {"complete": 3}
    reason = {"refusing": "Connection refused", "hanging": "no answer within 2 s"}[kind]
    assert f"Could not sync tiny: {reason}\n{_unsent(record)}" in said
    assert f"try again with: sweep sync tiny --home {run.folder / 'home'} --tracking {run.address}\n" in said
    (concluded,) = [at for at, line in run.lines if line.startswith("best complete trial: ")]
    assert run.ended - concluded < 30  # it waits 5 s for the mirror; on a busy machine its processes end later


def _unsent(record):
    """All of it: a run a trial; nine curves, the trial's number, six results, and two of them as logarithms."""
    values = sum(9 * len(trial.epochs) + 9 for trial in record.trials)
    return f"{len(record.trials)} runs ({values} metric values) unsent"


REMARK = "(*** is the password; the variable SWEEP_TRACKING takes the address too, unseen by others)"


@pytest.mark.parametrize(
    ("home", "tracking", "words", "command"),
    [
        ("runs", None, ["sync", "tiny"], "sweep sync tiny"),
        ("my runs", "none", ["sync", "tiny"], "sweep sync tiny --home 'my runs'"),
        ("runs", "http://me", ["sync", "tiny"], "sweep sync tiny --tracking http://me"),
        ("runs", "http://me:canary@host", ["ui", "tiny"], f"sweep ui tiny --tracking 'http://***@host'\n{REMARK}"),
        ("x", "none", ["run", "--tracking", "none", "--home=x"], "sweep run --tracking none --home=x"),
        ("x", "http://known", ["run", "tiny.toml"], "sweep run tiny.toml --home x"),
    ],
)
def test_a_printed_command_has_the_same_home_and_tracking(monkeypatch, home, tracking, words, command):
    """Unless the command line has them already, or they are the defaults."""
    monkeypatch.setenv("SWEEP_TRACKING", "http://known")
    assert command_here(Path(home), tracking, *words) == command


def test_a_printed_command_has_the_path_of_the_program(monkeypatch, tmp_path):
    """After `make sweep` it is in .venv/bin, which is not in PATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv/bin/sweep")])
    monkeypatch.setenv("PATH", str(tmp_path))

    assert command_here(Path("runs"), None, "run", "tiny.toml") == ".venv/bin/sweep run tiny.toml"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_only_the_mirror_connects_to_the_tracker(untracked):
    """Checks every connection attempt of all processes while the tracker hangs."""
    run = untracked("hanging")

    assert run.errors == ""
    made = [line.partition(" ") for line in (run.folder / "calls").read_text().splitlines()]
    programs = {pid: call for pid, _, call in made if call.lstrip().startswith("execve(")}
    knocks = {pid for pid, _, call in made if f"sin_port=htons({run.address.rpartition(':')[2]})" in call}
    (mirror,) = [pid for pid, call in programs.items() if '"sync"' in call]
    assert any('"run"' in call for call in programs.values())
    assert knocks == {mirror}
