"""What a Dask worker runs for a sweep: `check` once, `work` for every job, `ask_stop` and `checkpoint` now and then.

`work` starts the very process that trains on one machine (`sweep/workers/worker.py`), in a scratch folder, and
passes on what it says. A word to the coordinator is an event of Dask: (key of the Dask task, this run of it, number,
line). Lines are
numbered, and the result repeats them all: one that was lost or doubled on the way is noticed and made good.
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
from studies.record.folder import CHECKPOINT, WEIGHTS
from sweep.workers.local import ONE_THREAD, LocalPool
from sweep.workers.messages import Message, MessageKind
from sweep.workers.pool import Job

TOPIC = "numpy-sweep"
"""Of our events; one for all sweeps, because a scheduler keeps the last events of every topic for ever."""
POLL_INTERVAL_S = 0.1
"""Between two checks whether the job is still wanted."""
HEARTBEAT_INTERVAL_S = 5.0
"""The training process sends one a second, too many for one scheduler to pass on."""
NUMBERED = (MessageKind.EPOCH, MessageKind.NOTE)
"""Kinds of messages that are numbered, and repeated with the result."""
RETURNED_FILES = (WEIGHTS, CHECKPOINT)
"""Sent back with the result, if they exist."""


@dataclass(frozen=True)
class _Run:
    """A job at work in this process.

    Attributes:
        stop: set once it is to end.
        folder: where it trains.
    """

    stop: threading.Event
    folder: Path


_RUNS: dict[str, _Run] = {}
"""By the key of their Dask tasks."""


def facts() -> dict[str, str]:
    """What `sweep.workers.fingerprint` finds in a process like those that train.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be asked.
    """
    command = [sys.executable, "-P", "-m", "sweep.workers.fingerprint"]
    found = subprocess.run(command, env={**os.environ, **ONE_THREAD}, check=True, capture_output=True, timeout=60)
    return dict(json.loads(found.stdout))


def check(dataset: str, digest: str) -> dict[str, Any]:
    """What must be known of a worker before it gets a job; the dataset is found, fetched or made here.

    It is kept below this worker's own home folder: SWEEP_HOME, or `runs` in the folder where it was started.

    Args:
        dataset: name or path, as the study has it.
        digest: of the coordinator's copy.

    Returns:
        `facts`; and `dataset`, the prepared folder, and its `digest`; or `trouble`, why there is none.
    """
    found: dict[str, Any] = {"facts": facts()}
    cache = Path(os.environ.get("SWEEP_HOME", "runs")).absolute() / "data"
    try:
        folder = datasets.prepared(digest, cache) or datasets.prepare(dataset, cache)
        return {**found, "dataset": str(folder), "digest": datasets.load(folder, 0).digest}
    except (datasets.DatasetError, OSError) as error:
        return {**found, "trouble": "; ".join(str(error).splitlines())}


def ask_stop(key: str) -> None:
    """Let the job of this key end after the epoch that runs."""
    if run := _RUNS.get(key):
        run.stop.set()


def checkpoint(key: str, known: int) -> tuple[str, int, bytes] | None:
    """What the job of this key saved last, unless it is known already.

    Args:
        key: of the Dask task.
        known: the version that the coordinator has; 0 for none.

    Returns:
        The key, the version (nanoseconds, as the file system has them) and the file; None where there is no other one.
    """
    if run := _RUNS.get(key):
        with contextlib.suppress(FileNotFoundError), (run.folder / CHECKPOINT).open("rb") as file:
            if (version := os.fstat(file.fileno()).st_mtime_ns) != known:
                return key, version, file.read()
    return None


def work(key: str, job: Job, kept: bytes | None) -> dict[str, Any] | None:
    """Train one job here, until it ends or nobody wants it any more.

    Args:
        key: of the Dask task that this is.
        job: `dataset` is a folder here; `folder` is not, and another one is used.
        kept: a checkpoint to continue from.

    Returns:
        `run`, as in the events; `lines`, all that were numbered; `last`, the line that ends the job; `files`, their
        contents by name. None when nobody wants it.
    """
    try:
        return _work(key, job, kept)
    except OSError as error:  # of the scratch folder; the training process tells its own
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
    """What the training process says, its last word included; ends without one when nobody wants it any more.

    The steps of its pulses are said again every HEARTBEAT_INTERVAL_S: of a training that hangs, the same number.
    """
    steps, told, asked = -1, time.monotonic(), False
    with _noted(key, Path(job.folder)) as stop, contextlib.closing(LocalPool(1, Path(job.folder).parent)) as process:
        process.start(job)
        while _is_wanted(worker, key):
            for event in process.events(POLL_INTERVAL_S):
                if event.message.kind is MessageKind.HEARTBEAT:
                    steps = event.message.content["step"]
                    continue
                yield event.message
                if event.message.kind.ends_job:
                    return
            if stop.is_set() and not asked:
                process.stop(job.id)
                asked = True
            if time.monotonic() - told > HEARTBEAT_INTERVAL_S:
                told = time.monotonic()
                yield Message(MessageKind.HEARTBEAT, {"step": steps})


@contextlib.contextmanager
def _noted(key: str, folder: Path) -> Iterator[threading.Event]:
    """As a run that can be asked to stop, and for its checkpoint."""
    _RUNS[key] = _Run(threading.Event(), folder)
    try:
        yield _RUNS[key].stop
    finally:
        del _RUNS[key]


def _is_wanted(worker: Worker, key: str) -> bool:
    """Whether anyone waits for this task: not once its coordinator ended or died, or the scheduler did."""
    task = worker.state.tasks.get(key)
    at_work = worker.status in (Status.running, Status.paused)
    return at_work and task is not None and task.state in ("executing", "long-running")
