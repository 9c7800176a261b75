"""What runs in a worker process: reads jobs, trains, writes epochs; JSON lines both ways. Imports `model` only.

A job is one training (see `Job`). The worker does not wait for a verdict after an epoch: a `stop` may arrive while
the next one runs. When the pipe from the coordinator ends, the coordinator is dead, and the worker ends at once.

| line from the coordinator | |
|---|---|
| {"do": "train", ...Job} | train from the checkpoint, if there is one |
| {"do": "stop", "id": id} | save a checkpoint after the epoch that runs, and say `stopped` |

| line to the coordinator | |
|---|---|
| {"is": "epoch", "id", "epoch": {...}} | for every epoch, those of the checkpoint included |
| {"is": "done", "id", "weights_sha256", "confusion"} | all epochs run, weights.npz written |
| {"is": "stopped", "id"} | as asked |
| {"is": "failed", "id", "outcome", "reason"} | diverged, out of memory, or an error in the code |
| {"is": "note", "id", "text"} | something a person should know |
| {"is": "pulse", "id", "step"} | every second, how many steps were taken: tells a hang from a long epoch |
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
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from model import checkpoint, weights
from model.checkpoint import CheckpointError
from model.data import datasets
from model.data.datasets import Dataset
from model.epoch import Epoch, EpochSelection
from model.evaluation import predict
from model.files import locked
from model.hyperparameters import Hyperparameters
from model.training import Diverged, TrainingState, memory_needed, train
from sweep.failpoints import failpoint
from sweep.workers.pool import Job

PATIENCE = 10.0
"""Seconds to wait for another worker to leave a trial's folder."""
PULSE = 1.0
"""Seconds between two pulses."""
CHECKPOINT = "checkpoint.npz"
"""Of a trial that is not through, in its folder."""
CHECKPOINT_EVERY = float(os.environ.get("SWEEP_CHECKPOINT_EVERY", "2"))
"""Seconds; or 100 times what the last checkpoint cost, if that is more, so that they cost at most 1 % of the time.

The variable is for tests whose trials take less than two seconds.
"""


class Inbox:
    """The lines from the coordinator, read by a thread, so that a stop is seen while an epoch runs."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._stopped: set[str] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Job:
        """The next job; waits for it."""
        return self._jobs.get()

    def stopped(self, job: Job) -> bool:
        """Whether the coordinator no longer wants this job."""
        return job.id in self._stopped

    def _read(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if message.pop("do") == "train":
                job = Job(**message)
                self._stopped.discard(job.id)
                self._jobs.put(job)
            else:
                self._stopped.add(message["id"])
        os._exit(0)  # the coordinator is gone; whatever is being written is written to a temporary name


_SPEAKING = threading.Lock()
"""Held while a line is written: the pulse speaks from a thread of its own."""


def say(kind: str, job: Job, **content: object) -> None:
    """Write one line to the coordinator."""
    with _SPEAKING:
        print(json.dumps({"is": kind, "id": job.id, **content}), flush=True)  # noqa: T201 (the pipe is stdout)


@contextlib.contextmanager
def pulse(job: Job, state: TrainingState) -> Iterator[None]:
    """Say every PULSE seconds how many steps were taken; a step that never ends says the same number."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(PULSE):
            say("pulse", job, step=state.optimizer.t)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Train whatever comes, until the pipe ends."""
    inbox = Inbox()
    while True:
        job = inbox.next()
        try:
            run(job, inbox)
        except Diverged as error:
            say("failed", job, outcome="diverged", reason=str(error))
        except MemoryError as error:
            say("failed", job, outcome="out of memory", reason=f"out of memory: {error}")
        except datasets.DatasetError as error:
            say("failed", job, outcome="environment", reason=str(error).splitlines()[0])
        except OSError as error:
            say("failed", job, outcome="environment", reason=f"{error.strerror}: {error.filename or job.folder}")
        except Exception as error:
            traceback.print_exc()
            say("failed", job, outcome="failed", reason=f"{type(error).__name__}: {error}{_place(error)}")


def run(job: Job, inbox: Inbox) -> None:
    """Train one job to its end, or until it is no longer wanted.

    Raises:
        Diverged, MemoryError, OSError: as they come; the caller reports them.
    """
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, timeout_s=PATIENCE):  # the worker of a killed coordinator may still be writing in it
        _run(job, inbox, folder)


def _run(job: Job, inbox: Inbox, folder: Path) -> None:
    data = datasets.load(Path(job.dataset), job.split_seed)
    state = _state(job, data, folder / CHECKPOINT)
    for epoch in state.epochs:
        say("epoch", job, epoch={"index": epoch.index, **epoch.row()})
    with pulse(job, state):
        stopped = _follow(job, state, data, inbox)
    if stopped:
        checkpoint.save(state, folder / CHECKPOINT)
        say("stopped", job)
        return
    say("done", job, **_finish(job, state, data))


def _follow(job: Job, state: TrainingState, data: Dataset, inbox: Inbox) -> bool:
    """Say every epoch; whether the job was stopped before its last."""
    for epoch in _train(job, state, data):
        say("epoch", job, epoch={"index": epoch.index, **epoch.row()})
        if inbox.stopped(job):
            return True
    return False


def _state(job: Job, data: Dataset, path: Path) -> TrainingState:
    """Continued from the checkpoint where there is one; a damaged one is set aside."""
    settings = Hyperparameters(**job.hyperparameters)
    need, room = memory_needed(settings, data.features, data.classes), memory_available()
    if need > room:
        raise MemoryError(f"the training needs about {need >> 20:,} MiB, {room >> 20:,} MiB are available")
    selection = EpochSelection(job.objective, job.epoch)
    state = TrainingState.fresh(settings, data.features, data.classes, job.seed, selection, scale=data.scale)
    if path.exists():
        try:
            checkpoint.restore(state, path)
        except CheckpointError as error:
            path.replace(path.with_suffix(".damaged"))
            say("note", job, text=f"{error}; set aside, the trial starts again")
    return state


def _train(job: Job, state: TrainingState, data: Dataset) -> Iterator[Epoch]:
    """The epochs, with a checkpoint now and then."""
    learn, judge = (data.train_and_validation, None) if job.whole else (data.train, data.validation)
    saved, cost = perf_counter(), 0.0
    for epoch in train(state, learn, judge, job.stop_after):
        if perf_counter() - saved > max(CHECKPOINT_EVERY, 100 * cost):
            started = perf_counter()
            failpoint("before_checkpoint")
            checkpoint.save(state, Path(job.folder) / CHECKPOINT)
            failpoint("after_checkpoint")
            saved = perf_counter()
            cost = saved - started
        yield epoch


def _finish(job: Job, state: TrainingState, data: Dataset) -> dict[str, Any]:
    """Write the weights of the selected epoch; return their hash and, if it was validated, the confusion matrix."""
    failpoint("before_weights")
    network = state.selected_network()
    digest = weights.save(Path(job.folder) / "weights.npz", network)
    failpoint("after_weights")
    if job.whole:
        return {"weights_sha256": digest, "confusion": None}
    return {"weights_sha256": digest, "confusion": predict(network, data.validation).confusion.tolist()}


def memory_available() -> int:
    """Bytes that this process may still take: what the system, its control group and its own limit leave.

    On systems that do not tell, the largest number there is.
    """
    found = [sys.maxsize]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) << 10)
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        group = Path("/sys/fs/cgroup")
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        with contextlib.suppress(OSError):
            limit -= int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        found.append(limit)
    return max(0, min(found))


def _place(error: BaseException) -> str:
    """Where an error came from, as ` (file.py:12)`."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


if __name__ == "__main__":
    main()
