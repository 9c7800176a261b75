"""Write files so that a crash leaves the old file or the new one, never half of one.

The bytes go to a temporary file beside the target, reach the disk, and only then take the target's name.
Whatever ends in `PART` was being written when its process died; nothing reads it, and it may be deleted.
"""

import contextlib
import os
import secrets
import time
from pathlib import Path

PART = ".part"


def part_name(path: Path) -> Path:
    """A temporary name beside `path` that no other process or thread uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")


def fresh_part(path: Path) -> Path:
    """The temporary name of a file that one process at a time makes; what an earlier one left of it is removed.

    A database being made has companions, `-wal` and others, whose names begin with this one.
    """
    for leftover in path.parent.glob(f"{path.name}{PART}*"):
        leftover.unlink()
    return path.with_name(path.name + PART)


def lock_within(descriptor: int, seconds: float) -> bool:
    """Take the kernel's exclusive lock on an open file or folder; False if another process held it all that time."""
    import fcntl  # not on every system; nothing else here needs it

    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)


def sync_folder(folder: Path) -> None:
    """Make the names inside `folder` survive a power cut; without it a rename may be forgotten.

    Raises:
        OSError: The folder cannot be opened or synced.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Create `path` with `data` and wait until the bytes are on the disk.

    Raises:
        FileExistsError: `path` exists already.
        OSError: The bytes cannot be written; what was written of them stays.
    """
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step that a crash, a full disk or a second writer cannot tear.

    Args:
        path: The file; its folder exists.
        data: The whole new content.

    Raises:
        OSError: The disk is full, the folder is missing or not writable; `path` is as it was, and no
            temporary file stays.
    """
    part = part_name(path)
    try:
        write_synced(part, data)
        part.replace(path)
    except BaseException:
        # The first error is the one to report: a failing clean-up must not hide it.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
