"""The functions that a Dask worker runs for a sweep: `check` once, `work` for every job, `ask_stop` and `checkpoint`.

`work` starts the worker process that also trains on one machine (`sweep/workers/worker.py`), in a temporary folder, and
forwards its messages as Dask events: (key of the Dask task, identifier of this run of it, number, message). Epochs and
notes are numbered and repeated in the result, so that lost messages are recovered and duplicates are ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distributed import Worker, get_worker
from distributed.core import Status

from model.data import datasets
from model.data.cache import read_card
from model.data.datasets import Source
from studies.record.folder import CHECKPOINT, WEIGHTS
from sweep.workers.local import ONE_THREAD, LocalPool
from sweep.workers.messages import Message, MessageKind
from sweep.workers.pool import Job

TOPIC = "numpy-sweep"
"""Topic of the events; one for all sweeps, because a scheduler never deletes the last events of a topic."""
POLL_INTERVAL_S = 0.1
"""Interval between checks whether the job is still needed."""
HEARTBEAT_INTERVAL_S = 5.0
"""The training process sends one per second, which is too many for one scheduler to forward."""
NUMBERED = (MessageKind.EPOCH, MessageKind.NOTE)
"""Kinds of messages that are numbered, and repeated with the result."""
RETURNED_FILES = (WEIGHTS, CHECKPOINT)
"""Sent back with the result, if they exist."""


@dataclass(frozen=True)
class _Run:
    """A job that is running in this process.

    Attributes:
        stop: set to request its end.
        folder: its temporary folder.
    """

    stop: threading.Event
    folder: Path


_RUNS: dict[str, _Run] = {}
"""The running jobs, by the key of their Dask tasks."""


def facts() -> dict[str, str]:
    """The output of `sweep.workers.fingerprint` in a process like the training processes.

    Raises:
        OSError, subprocess.SubprocessError: the process fails.
    """
    command = [sys.executable, "-P", "-m", "sweep.workers.fingerprint"]
    found = subprocess.run(command, env={**os.environ, **ONE_THREAD}, check=True, capture_output=True, timeout=60)
    return dict(json.loads(found.stdout))


def check(source: Source, digest: str) -> dict[str, Any]:
    """Collect the facts about a worker that decide whether it gets jobs; prepares the dataset if needed.

    The dataset is stored in this worker's home folder: SWEEP_HOME, or `runs` in the folder where it was started.

    Args:
        source: of the dataset, as in the study.
        digest: of the coordinator's copy.

    Returns:
        `facts`, and either `dataset`, the prepared folder, and its `digest`, or `trouble`, why it is missing.
    """
    found: dict[str, Any] = {"facts": facts()}
    cache = Path(os.environ.get("SWEEP_HOME", "runs")).absolute() / "data"
    try:
        folder = datasets.prepared(digest, cache) or datasets.prepare(source, cache)
        return {**found, "dataset": str(folder), "digest": read_card(folder).digest}
    except (datasets.DatasetError, OSError) as error:
        return {**found, "trouble": "; ".join(str(error).splitlines())}


def ask_stop(key: str) -> None:
    """Stop the job of this key after its current epoch."""
    if run := _RUNS.get(key):
        run.stop.set()


def checkpoint(key: str, known: int) -> tuple[str, int, bytes] | None:
    """The last checkpoint of the job of this key, if it is newer than `known`.

    Args:
        key: of the Dask task.
        known: the version that the coordinator has; 0 for none.

    Returns:
        The key, the version (modification time in nanoseconds) and the file; None if there is no newer one.
    """
    if run := _RUNS.get(key):
        with contextlib.suppress(FileNotFoundError), (run.folder / CHECKPOINT).open("rb") as file:
            if (version := os.fstat(file.fileno()).st_mtime_ns) != known:
                return key, version, file.read()
    return None


def work(key: str, job: Job, kept: bytes | None) -> dict[str, Any] | None:
    """Train one job on this worker, until it ends or is no longer needed.

    Args:
        key: of this Dask task.
        job: `dataset` is a folder on this machine; `folder` is not and is replaced by a temporary one.
        kept: a checkpoint to continue from.

    Returns:
        `run`, as in the events; `lines`, all that were numbered; `last`, the line that ends the job; `files`, their
        contents by name. None if the job is no longer needed.
    """
    try:
        return _work(key, job, kept)
    except OSError as error:  # of the temporary folder; the training process reports its own errors
        reason = f"{error.strerror}: {error.filename}"
        last = Message(MessageKind.ENVIRONMENT_FAILURE, {"reason": reason}).as_dict()
        return {"run": None, "lines": [], "last": last, "files": {}}


def _work(key: str, job: Job, kept: bytes | None) -> dict[str, Any] | None:
    worker, run = get_worker(), secrets.token_hex(8)
    lines: list[dict[str, Any]] = []

    def report(message: Message) -> None:
        worker.log_event(TOPIC, [key, run, len(lines), message.as_dict()])

    with tempfile.TemporaryDirectory(prefix="job-", dir=worker.local_directory) as scratch:
        folder = Path(scratch) / "trial"
        folder.mkdir()
        if kept:
            (folder / CHECKPOINT).write_bytes(kept)
        report(Message(MessageKind.BEGAN))
        for message in _messages(worker, key, replace(job, folder=str(folder))):
            if message.kind in NUMBERED:
                report(message)
                lines.append(message.as_dict())
            elif not message.kind.ends_job:
                report(message)
            else:
                files = {name: (folder / name).read_bytes() for name in RETURNED_FILES if (folder / name).exists()}
                return {"run": run, "lines": lines, "last": message.as_dict(), "files": files}
    return None


def _messages(worker: Worker, key: str, job: Job) -> Iterator[Message]:
    """The messages of the training process up to its last; ends early if the job is no longer needed.

    Its last heartbeat is repeated every HEARTBEAT_INTERVAL_S; if the training process hangs, the step stays the same.
    """
    steps, last_sent, stop_requested = -1, time.monotonic(), False
    with (
        _registered(key, Path(job.folder)) as stop,
        contextlib.closing(LocalPool(1, Path(job.folder).parent)) as process,
    ):
        process.start(job)
        while _is_wanted(worker, key):
            for event in process.events(POLL_INTERVAL_S):
                if event.message.kind is MessageKind.HEARTBEAT:
                    steps = event.message.content["step"]
                    continue
                yield event.message
                if event.message.kind.ends_job:
                    return
            if stop.is_set() and not stop_requested:
                process.stop(job.id)
                stop_requested = True
            if time.monotonic() - last_sent > HEARTBEAT_INTERVAL_S:
                last_sent = time.monotonic()
                yield Message(MessageKind.HEARTBEAT, {"step": steps})


@contextlib.contextmanager
def _registered(key: str, folder: Path) -> Iterator[threading.Event]:
    """Register a run, so that it can be stopped and its checkpoint can be read."""
    _RUNS[key] = _Run(threading.Event(), folder)
    try:
        yield _RUNS[key].stop
    finally:
        del _RUNS[key]


def _is_wanted(worker: Worker, key: str) -> bool:
    """Whether this task is still needed: not after its coordinator or the scheduler has exited."""
    task = worker.state.tasks.get(key)
    is_running = worker.status in (Status.running, Status.paused)
    return is_running and task is not None and task.state in ("executing", "long-running")
