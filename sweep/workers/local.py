"""Worker processes on this machine, as a `Pool` of the coordinator."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sweep.workers.pool import Event, Job

ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
"""Two trainings of one thread each beat one of two: products of these shapes hardly gain from a second thread."""


@dataclass
class _Worker:
    """A process and the job it is at, if any."""

    process: subprocess.Popen[bytes]
    job: str | None = None
    unread: bytes = field(default=b"", repr=False)


class LocalPool:
    """A fixed number of worker processes, each started when it is first needed.

    Args:
        count: how many jobs run at once.
        folder: where each worker's error output goes, for the reason of a death.
    """

    def __init__(self, count: int, folder: Path) -> None:
        self._slots: list[_Worker | None] = [None] * count
        self._folder = folder
        self._selector = selectors.DefaultSelector()

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def free(self) -> int:
        """How many more jobs can be started now."""
        return sum(slot is None or slot.job is None for slot in self._slots)

    @property
    def busy(self) -> list[str]:
        """Ids of the jobs that run."""
        return [slot.job for slot in self._slots if slot and slot.job]

    def start(self, job: Job) -> int:
        """Give a job to a free worker, and return that worker's number."""
        number = next(i for i, slot in enumerate(self._slots) if slot is None or slot.job is None)
        worker = self._slots[number] or self._spawn(number)
        worker.job = job.id
        self._send(worker, {"do": "train", **asdict(job)})
        return number

    def stop(self, job: str) -> None:
        """Ask for an end after the epoch that runs; `stopped` or `done` will be said."""
        for worker in self._slots:
            if worker and worker.job == job:
                self._send(worker, {"do": "stop", "id": job})

    def end(self, job: str) -> None:
        """Kill the worker that is at this job; nothing more is heard of it."""
        for number, worker in enumerate(self._slots):
            if worker and worker.job == job:
                _kill(worker)
                self._bury(number, worker)

    def events(self, timeout: float) -> list[Event]:
        """What the workers said, waiting for at most `timeout` seconds for the first word."""
        found: list[Event] = []
        for key, _ in self._selector.select(timeout):
            found += self._read(key.data)
        return found

    def close(self) -> None:
        """End all processes and forget them."""
        self.kill()
        for number, worker in enumerate(self._slots):
            if worker:
                self._bury(number, worker)

    def kill(self) -> None:
        """Kill all processes; may be called from a signal handler, at any moment."""
        for worker in self._slots:
            if worker:
                _kill(worker)

    def _spawn(self, number: int) -> _Worker:
        with (self._folder / f"worker-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "sweep.workers.worker",
                ],  # -P: no file here shadows a module
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # Ctrl-C in the terminal is the coordinator's to handle
            )
        worker = self._slots[number] = _Worker(process)
        self._selector.register(_out(worker), selectors.EVENT_READ, number)
        return worker

    def _send(self, worker: _Worker, message: dict[str, Any]) -> None:
        assert worker.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its death is noticed where its lines are read
            worker.process.stdin.write(json.dumps(message).encode() + b"\n")
            worker.process.stdin.flush()

    def _read(self, number: int) -> list[Event]:
        worker = self._slots[number]
        assert worker is not None
        chunk = os.read(_out(worker), 1 << 16)
        if not chunk:
            return self._died(number, worker)
        *lines, worker.unread = (worker.unread + chunk).split(b"\n")
        return [self._event(number, worker, json.loads(line)) for line in lines]

    def _event(self, number: int, worker: _Worker, message: dict[str, Any]) -> Event:
        if message["is"] in ("done", "stopped", "failed"):
            worker.job = None
        return Event(message.pop("id"), number, message)

    def _died(self, number: int, worker: _Worker) -> list[Event]:
        job = worker.job
        self._bury(number, worker)
        code = worker.process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        reason = f"worker {number} died ({how}){self._last_words(number)}"
        return [Event(job, number, {"is": "died", "reason": reason})] if job else []

    def _bury(self, number: int, worker: _Worker) -> None:
        self._selector.unregister(_out(worker))
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        worker.process.wait()
        self._slots[number] = None

    def _last_words(self, number: int) -> str:
        lines = (self._folder / f"worker-{number}.log").read_text(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f": {said[-1][:200]}" if said else ""


def _kill(worker: _Worker) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)


def _out(worker: _Worker) -> int:
    assert worker.process.stdout is not None
    return worker.process.stdout.fileno()
