"""Worker processes on this machine, as a `Pool`."""

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

from sweep.workers.messages import Message, MessageKind
from sweep.workers.pool import Event, Job

ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
"""Two training processes with one thread each are faster than one with two: these products hardly scale."""


@dataclass
class _Worker:
    """A process and its job, if it has one."""

    process: subprocess.Popen[bytes]
    job: str | None = None
    unread: bytes = field(default=b"", repr=False)


class LocalPool:
    """A fixed number of worker processes, each started when it is first needed.

    Args:
        count: number of jobs that run at once.
        folder: for the workers' error output, whose last line is part of the reason when one dies.
    """

    def __init__(self, count: int, folder: Path) -> None:
        self._slots: list[_Worker | None] = [None] * count
        self._folder = folder
        self._selector = selectors.DefaultSelector()

    def __len__(self) -> int:
        """Number of jobs that can run at once."""
        return len(self._slots)

    @property
    def free(self) -> int:
        """Number of jobs that can be started now."""
        return sum(slot is None or slot.job is None for slot in self._slots)

    @property
    def busy(self) -> list[str]:
        """Ids of the jobs that are running."""
        return [slot.job for slot in self._slots if slot and slot.job]

    def start(self, job: Job) -> int:
        """Give a job to a free worker and return the worker's number."""
        number = next(i for i, slot in enumerate(self._slots) if slot is None or slot.job is None)
        worker = self._slots[number] or self._spawn(number)
        worker.job = job.id
        self._send(worker, {"command": "train", **asdict(job)})
        return number

    def stop(self, job: str) -> None:
        """Stop a job after its current epoch. `STOPPED` follows, or `DONE` if that epoch was the last."""
        for worker in self._slots:
            if worker and worker.job == job:
                self._send(worker, {"command": "stop", "id": job})

    def end(self, job: str) -> None:
        """Kill the worker of this job. No message about it follows."""
        for number, worker in enumerate(self._slots):
            if worker and worker.job == job:
                _kill(worker)
                self._remove(number, worker)

    def events(self, timeout: float) -> list[Event]:
        """All events since the last call; waits up to `timeout` seconds if there are none."""
        found: list[Event] = []
        for key, _ in self._selector.select(timeout):
            found += self._read(key.data)
        return found

    def close(self) -> None:
        """Kill all workers and release their pipes."""
        self.kill()
        for number, worker in enumerate(self._slots):
            if worker:
                self._remove(number, worker)

    def kill(self) -> None:
        """Kill all workers. May be called from a signal handler at any moment."""
        for worker in self._slots:
            if worker:
                _kill(worker)

    def _spawn(self, number: int) -> _Worker:
        command = [sys.executable, "-P", "-m", "sweep.workers.worker"]  # -P: no file in this folder shadows a module
        with self._log(number).open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # the coordinator handles Ctrl-C in the terminal
            )
        worker = self._slots[number] = _Worker(process)
        self._selector.register(_output(worker), selectors.EVENT_READ, number)
        return worker

    def _send(self, worker: _Worker, request: dict[str, Any]) -> None:
        assert worker.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `_read` notices that it died
            worker.process.stdin.write(json.dumps(request).encode() + b"\n")
            worker.process.stdin.flush()

    def _read(self, number: int) -> list[Event]:
        worker = self._slots[number]
        assert worker is not None
        chunk = os.read(_output(worker), 1 << 16)
        if not chunk:
            return self._died(number, worker)
        *lines, worker.unread = (worker.unread + chunk).split(b"\n")
        return [self._event(number, worker, line) for line in lines]

    def _event(self, number: int, worker: _Worker, line: bytes) -> Event:
        content = json.loads(line)
        job, message = content.pop("id"), Message.from_dict(content)
        if message.kind.ends_job:
            worker.job = None
        return Event(job, number, message)

    def _died(self, number: int, worker: _Worker) -> list[Event]:
        job = worker.job
        self._remove(number, worker)
        code = worker.process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        reason = f"worker {number} died ({how}){self._last_error(number)}"
        return [Event(job, number, Message(MessageKind.DIED, {"reason": reason}))] if job else []

    def _remove(self, number: int, worker: _Worker) -> None:
        self._selector.unregister(_output(worker))
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        worker.process.wait()
        self._slots[number] = None

    def _log(self, number: int) -> Path:
        return self._folder / f"worker-{number}.log"

    def _last_error(self, number: int) -> str:
        lines = [line.strip() for line in self._log(number).read_text(errors="replace").split("\n") if line.strip()]
        return f": {lines[-1][:200]}" if lines else ""


def _kill(worker: _Worker) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)


def _output(worker: _Worker) -> int:
    assert worker.process.stdout is not None
    return worker.process.stdout.fileno()


def cores() -> int:
    """Number of cores this process may use; a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
