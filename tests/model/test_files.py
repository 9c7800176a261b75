"""Locks and atomic writes."""

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.files import PART, locked, remove_parts, replacing, write_atomic

HOLD = """
import sys, time
from pathlib import Path
from model.files import PART, locked, remove_parts, replacing, write_atomic

with locked(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""
WRITE = """
import sys, time
from pathlib import Path
from model.files import replacing

with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("held", flush=True)
    time.sleep(60)
"""


class Holder:
    """A process that holds a lock, or the temporary file of a write, until it is killed."""

    def __init__(self, path: Path, kind: str) -> None:
        command = [sys.executable, "-c", WRITE if kind == "write" else HOLD, str(path), kind]
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


@pytest.mark.parametrize("name", ["next.toml", "a[1].csv", ".hidden"])
def test_a_write_removes_the_temporary_file_of_a_killed_one(tmp_path, holder, name):
    path = tmp_path / name
    holder(path, "write").kill()
    assert [left.suffix for left in tmp_path.iterdir()] == [PART]

    write_atomic(path, b"whole")
    assert [(left.name, left.read_bytes()) for left in tmp_path.iterdir()] == [(name, b"whole")]


def test_the_temporary_file_of_a_running_write_stays(tmp_path, holder):
    """Two processes may write the same file at once; the later one to end counts."""
    path = tmp_path / "report.pdf"
    first = holder(path, "write")
    write_atomic(path, b"second")
    remove_parts(tmp_path)
    assert sorted(left.read_bytes() for left in tmp_path.iterdir()) == [b"half", b"second"]

    first.kill()
    remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_files_of_other_targets_stay(tmp_path):
    """Also those of a name that a pattern would match."""
    for name in ("b.csv", "a1.csv"):
        (tmp_path / f".{name}.0123{PART}").touch()
    write_atomic(tmp_path / "a[1].csv", b"")

    assert {left.name for left in tmp_path.iterdir()} == {"a[1].csv", f".b.csv.0123{PART}", f".a1.csv.0123{PART}"}


def test_a_temporary_file_removed_before_it_was_locked_is_replaced_by_another(tmp_path, monkeypatch):
    """Between its creation and its lock, another process may take it for that of a dead one."""
    removed = []

    def remove_first(descriptor: int, part: Path, **options: object) -> None:
        if not removed:
            removed.append(part)
            part.unlink()

    monkeypatch.setattr("model.files._take_lock", remove_first)
    with replacing(tmp_path / "file") as file:
        file.write(b"whole")

    assert removed
    assert (tmp_path / "file").read_bytes() == b"whole"
