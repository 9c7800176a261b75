"""Atomic writes and file locks.

An atomic write puts the bytes into a temporary file beside the target, syncs it to the disk and renames it: after a
crash the target has the old or the new content. A file whose name ends in `PART` is incomplete: a process is writing
it, or died during the write. It is never read; the next write of the same target deletes those of dead processes.
"""

import contextlib
import errno
import glob
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PART = ".part"
"""Ending of the names of unfinished files."""
LOCK_RETRY_S = 0.05
"""Seconds between attempts to take a lock with a timeout."""


def part_name(path: Path) -> Path:
    """A temporary name beside `path` that no other process or thread uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")


def fresh_part(path: Path) -> Path:
    """The temporary name of a file that one process at a time writes; leftovers of earlier processes are removed.

    The leftovers of a database include files such as `-wal`, whose names begin with this one.
    """
    for leftover in path.parent.glob(f"{path.name}{PART}*"):
        leftover.unlink()
    return path.with_name(path.name + PART)


def remove_parts(folder: Path, name: str = "*") -> None:
    """Delete temporary files of writes that were killed; those of running writes are locked and stay.

    Without locks, as on Windows and some network file systems, nothing is deleted.

    Args:
        folder: Where the files are.
        name: Pattern (as in `Path.glob`) of the names of the files that were to be written.
    """
    for part in folder.glob(f".{name}.*{PART}"):
        with contextlib.suppress(OSError, ModuleNotFoundError), locked(part, shared=True, timeout_s=0):
            part.unlink()


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the kernel's lock (flock) on a file or folder; it is released when the process exits for any reason.

    The lock only excludes other holders. The file or folder can be read and written as usual, also by the
    holder, who opens `path` again to read or write it.

    Args:
        path: A folder, or a file. An exclusive lock creates a missing file; a shared one does not.
        shared: Whether other processes may hold a shared lock at the same time.
        timeout_s: Seconds to wait for another process; None waits without limit, 0 tries once.

    Raises:
        TimeoutError: Another process held the lock for `timeout_s`; its `filename` is `path`.
        OSError: The file cannot be opened or created.
    """
    writes = not shared and not path.is_dir()  # an exclusive lock over NFS needs a file opened for writing
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT if writes else os.O_RDONLY, 0o666)
    try:
        _take_lock(descriptor, path, shared, timeout_s)
        yield
    finally:
        os.close(descriptor)


def _take_lock(descriptor: int, path: Path, shared: bool, timeout_s: float | None) -> None:
    import fcntl  # missing on Windows, where the network can still be trained

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if timeout_s is None:
        fcntl.flock(descriptor, kind)
        return
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.EBUSY, "another process holds its lock", str(path)) from error
            time.sleep(LOCK_RETRY_S)


def sync_folder(folder: Path) -> None:
    """Sync the names in `folder` to the disk; otherwise a power failure may undo a rename.

    Raises:
        OSError: The folder cannot be opened or synced.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Create `path` with `data` and sync it to the disk.

    Raises:
        FileExistsError: `path` exists already.
        OSError: The bytes cannot be written; a partly written file is left.
    """
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically, also in case of a crash, a full disk or a second writer.

    Args:
        path: The file; its folder exists.
        data: The complete new content.

    Raises:
        OSError: The disk is full, the folder is missing or not writable; `path` is unchanged, and no
            temporary file is left.
    """
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to, which replaces `path` atomically at the end of the block.

    Temporary files of `path` that killed processes left are deleted first.

    Raises:
        OSError: As `write_atomic`. After this or any other error in the block, `path` is unchanged, and no temporary
            file is left.
    """
    remove_parts(path.parent, glob.escape(path.name))
    part, file = _new_part(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        # An error during the clean-up must not hide the first error.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _new_part(path: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file of `path`, locked until it is closed; see `remove_parts`."""
    while True:
        part = part_name(path)
        file = part.open("xb")
        with contextlib.suppress(OSError, ModuleNotFoundError):
            _take_lock(file.fileno(), part, shared=False, timeout_s=None)
        if part.exists():  # otherwise `remove_parts` of another process had the lock first
            return part, file
        file.close()
