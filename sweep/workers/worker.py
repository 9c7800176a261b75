"""The worker process: it reads jobs, trains and reports epochs. Imports `model` and the standard library only.

Lines in both directions are JSON objects. The worker does not wait for a decision after an epoch: a `stop` may arrive
during the next one. When the pipe from the coordinator is closed, the coordinator has exited, and so does the worker.

| line from the coordinator | |
|---|---|
| {"command": "train", ...Job} | train, from the checkpoint if there is one, to the job's pause or end |
| {"command": "stop", "id": id} | after the current epoch, save a checkpoint and report `stopped` |

A line to the coordinator is a message (see `sweep/workers/messages.py`) with the id of its job added.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import traceback
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from model import checkpoint, weights
from model.checkpoint import CheckpointError
from model.data import datasets
from model.data.datasets import Dataset
from model.epoch import Epoch
from model.epoch_selection import EpochSelection
from model.files import locked
from model.folds import Folds, memory_of
from model.hyperparameters import Hyperparameters
from model.training import Diverged
from studies.record.folder import TrialFolder
from studies.record.outcome import Outcome
from sweep.failpoints import failpoint
from sweep.workers.messages import Message, MessageKind
from sweep.workers.pool import Job

LOCK_TIMEOUT_S = 10.0
"""Longest wait for another worker to release the lock of a trial's folder."""
HEARTBEAT_INTERVAL_S = 1.0
CHECKPOINT_INTERVAL_S = float(os.environ.get("SWEEP_CHECKPOINT_EVERY", "2"))
"""At least 100 times the time of the last checkpoint, so that checkpoints take at most 1 % of the time.

The variable is for tests with trials shorter than two seconds.
"""


class Inbox:
    """The lines from the coordinator, read by a thread so that a stop is received during an epoch."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._stopped: set[str] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Job:
        """The next job; waits for it."""
        return self._jobs.get()

    def stopped(self, job: Job) -> bool:
        """Whether the coordinator has requested a stop of this job."""
        return job.id in self._stopped

    def _read(self) -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if request.pop("command") == "train":
                job = Job(**request)
                self._stopped.discard(job.id)
                self._jobs.put(job)
            else:
                self._stopped.add(request["id"])
        os._exit(0)  # the coordinator has exited; partly written files still have temporary names


_OUTPUT_LOCK = threading.Lock()
"""Held while a line is written: heartbeats are sent by another thread."""


def send(job: Job, kind: MessageKind, **content: object) -> None:
    """Write one message to the coordinator."""
    with _OUTPUT_LOCK:
        print(json.dumps({"id": job.id, **Message(kind, content).as_dict()}), flush=True)  # noqa: T201 (the pipe)


@contextlib.contextmanager
def heartbeat(job: Job, folds: Folds) -> Iterator[None]:
    """Report the number of steps every HEARTBEAT_INTERVAL_S; it stays the same while a step hangs."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_INTERVAL_S):
            send(job, MessageKind.HEARTBEAT, step=folds.state.optimizer.t)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Train one job after the other until the pipe is closed."""
    inbox = Inbox()
    while True:
        job = inbox.next()
        try:
            run(job, inbox)
        except Diverged as error:
            send(job, MessageKind.FAILED, outcome=Outcome.DIVERGED, reason=str(error))
        except MemoryError as error:
            send(job, MessageKind.FAILED, outcome=Outcome.OUT_OF_MEMORY, reason=f"out of memory: {error}")
        except datasets.DatasetError as error:
            send(job, MessageKind.ENVIRONMENT_FAILURE, reason=str(error).splitlines()[0])
        except OSError as error:
            send(job, MessageKind.ENVIRONMENT_FAILURE, reason=f"{error.strerror}: {error.filename or job.folder}")
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}{_location(error)}"
            send(job, MessageKind.FAILED, outcome=Outcome.FAILED, reason=reason)


def run(job: Job, inbox: Inbox) -> None:
    """Train one job to its end, or until the coordinator stops it.

    Raises:
        Diverged: the loss is no longer finite.
        MemoryError: the training does not fit into memory.
        DatasetError, OSError: files cannot be used, or another process works in the trial's folder.
    """
    folder = TrialFolder(Path(job.folder))
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path, timeout_s=LOCK_TIMEOUT_S):  # the worker of a killed coordinator may still write to it
        _run(job, inbox, folder)


def _run(job: Job, inbox: Inbox, folder: TrialFolder) -> None:
    folds = _folds(job, folder)
    for epoch in folds.epochs:
        send(job, MessageKind.EPOCH, epoch={"index": epoch.index, **epoch.row()})
    with heartbeat(job, folds):
        stopped = _train_until_stopped(job, folds, folder, inbox)
    is_last = job.pause_after is None and len(folds.epochs) >= (job.stop_after or job.hyperparameters["epochs"])
    if not is_last and (stopped or job.pause_after is not None):
        failpoint("before_last_checkpoint")
        checkpoint.save(folds.state, folder.checkpoint)
        send(job, MessageKind.PAUSED if len(folds.epochs) == job.pause_after else MessageKind.STOPPED)
        return
    send(job, MessageKind.DONE, **_finish(job, folds, folder))


@lru_cache(maxsize=1)
def _datasets(folder: str, split_seed: int | None, folds: int) -> tuple[Dataset, ...]:
    """The dataset of a job, as each fold splits it; the next job of this worker most likely has the same."""
    return datasets.load_folds(Path(folder), split_seed, folds)


def _train_until_stopped(job: Job, folds: Folds, folder: TrialFolder, inbox: Inbox) -> bool:
    """Report every epoch; return whether the job was stopped before its last."""
    for epoch in _train(job, folds, folder):
        send(job, MessageKind.EPOCH, epoch={"index": epoch.index, **epoch.row()})
        if inbox.stopped(job):
            return True
    return False


def _folds(job: Job, folder: TrialFolder) -> Folds:
    """The trainings from the checkpoint if there is one; a damaged one is renamed and the trial starts again."""
    data = _datasets(job.dataset, None if job.whole else job.split_seed, job.folds)
    settings = Hyperparameters(**job.hyperparameters)
    needed, available = memory_of(settings, data), memory_available()
    if needed > available:
        raise MemoryError(f"the training needs about {needed >> 20:,} MiB, {available >> 20:,} MiB are available")
    folds = Folds.of(settings, data, job.seed, EpochSelection(job.objective, job.epoch))
    if folder.checkpoint.exists():
        try:
            checkpoint.restore(folds.state, folder.checkpoint)
        except CheckpointError as error:
            folder.checkpoint.replace(folder.damaged_checkpoint)
            send(job, MessageKind.NOTE, text=f"{error}; it was renamed, and the trial starts again")
    return folds


def _train(job: Job, folds: Folds, folder: TrialFolder) -> Iterator[Epoch]:
    """Train, and save checkpoints at intervals."""
    saved, cost = perf_counter(), 0.0
    for epoch in folds.train(job.pause_after or job.stop_after):
        if perf_counter() - saved > max(CHECKPOINT_INTERVAL_S, 100 * cost):
            started = perf_counter()
            failpoint("before_checkpoint")
            checkpoint.save(folds.state, folder.checkpoint)
            failpoint("after_checkpoint")
            saved = perf_counter()
            cost = saved - started
        yield epoch


def _finish(job: Job, folds: Folds, folder: TrialFolder) -> dict[str, Any]:
    """Write the weights of the selected epoch; return their hash and, if it was validated, the confusion matrix.

    The weights are those of fold 0, the confusion matrix is the sum over all folds.
    """
    failpoint("before_weights")
    digest = weights.save(folder.weights, folds.classifier())
    failpoint("after_weights")
    return {"weights_sha256": digest, "confusion": None if job.whole else folds.confusion().tolist()}


def memory_available() -> int:
    """Bytes that this process can still allocate: the minimum over the system, its cgroup and its own limit.

    On systems that report none of them, the largest possible number.
    """
    found = [sys.maxsize]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) << 10)
    with contextlib.suppress(OSError, ValueError):  # "max" is not a number: no limit
        group = Path("/sys/fs/cgroup")
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        with contextlib.suppress(OSError):
            limit -= int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        found.append(limit)
    return max(0, min(found))


def _location(error: BaseException) -> str:
    """The location of an error, as ` (file.py:12)`."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


if __name__ == "__main__":
    main()
