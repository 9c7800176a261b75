"""Locks and atomic writes."""

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.files import locked

HOLD = """
import sys, time
from pathlib import Path
from model.files import locked

with locked(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""


class Holder:
    """A process that holds a lock until it is killed."""

    def __init__(self, path: Path, kind: str) -> None:
        command = [sys.executable, "-c", HOLD, str(path), kind]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def holder():
    started = []

    def start(path: Path, kind: str = "exclusive") -> Holder:
        started.append(Holder(path, kind))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_second_process_waits_until_the_first_is_killed(tmp_path, holder, kind):
    path = tmp_path if kind == "folder" else tmp_path / "lock"
    first = holder(path)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="another process holds its lock") as caught, locked(path, timeout_s=0.2):
        pass
    assert caught.value.filename == str(path)
    assert 0.2 <= time.monotonic() - began < 2

    first.kill()
    with locked(path, timeout_s=0):
        pass


def _append(path: Path, letter: str) -> None:
    for _ in range(50):
        with locked(path):
            path.write_text(path.read_text() + letter)


def test_two_processes_exclude_each_other(tmp_path):
    """Each appends to the file by read and write; without the lock, updates would be lost."""
    path = tmp_path / "ledger"
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes = [context.Process(target=_append, args=(path, letter)) for letter in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert sorted(path.read_text()) == ["a"] * 50 + ["b"] * 50


def test_shared_locks_exclude_only_exclusive_ones(tmp_path, holder):
    path = tmp_path / "lock"
    path.touch()
    holder(path, "shared")

    with locked(path, shared=True, timeout_s=0):
        pass
    with pytest.raises(TimeoutError), locked(path, timeout_s=0):
        pass


def test_a_shared_lock_creates_no_file(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "lock", shared=True, timeout_s=0):
        pass

    assert not list(tmp_path.iterdir())
