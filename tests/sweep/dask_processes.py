"""A Dask scheduler and workers as processes on this machine, which the cluster's tests start, kill and start again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil


def free_port():
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def within(seconds, holds):
    """What `holds` returns, once that is true or so many seconds are over."""
    deadline = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def training(worker):
    """Ids of the processes that train below a Dask worker."""
    found = []
    for children in Path(f"/proc/{worker.pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread or a child that just ended
            pids = children.read_text().split()
            found += [int(pid) for pid in pids if b"sweep.workers.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


def listening(process):
    """The ports on which a process waits for connections."""
    found = psutil.Process(process.pid).net_connections("tcp")
    return {connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN}


QUIET = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
}
"""Variables without which an idle Dask worker takes 5 % of a core instead of 1 %, for a profile that nobody reads."""


class DaskProcesses:
    """A scheduler, and workers of one thread without nannies, none of which is started yet.

    Args:
        folder: where they log, and where the workers' home folder is.
        protocol: tcp or tls.
        options: for all of them.
    """

    def __init__(self, folder, protocol="tcp", options=()):
        self.folder, self.options, self.started = folder, options, 0
        self.address = f"{protocol}://127.0.0.1:{free_port()}"
        self.scheduler, self.workers = None, []

    def start_scheduler(self):
        host, _, port = self.address.rpartition(":")
        self.scheduler = self._start("scheduler", "--host", host, "--port", port)

    def start_worker(self, **environment):
        """Start one, with variables of its own."""
        # Without a scheduler for a minute it gives up: nothing outlives a test that was killed.
        options = ["--nthreads", "1", "--no-nanny", "--death-timeout", "60"]
        self.workers.append(self._start("worker", self.address, *options, **environment))
        return self.workers[-1]

    def alive(self):
        """The workers that run."""
        return [worker for worker in self.workers if worker.poll() is None]

    def at_work(self):
        """A worker that trains, once there is one."""
        return within(30, lambda: next((worker for worker in self.alive() if training(worker)), None))

    def at(self, address):
        """The worker that listens there."""
        port = int(address.rpartition(":")[2])
        return next(worker for worker in self.alive() if port in listening(worker))

    def close(self):
        """Kill all."""
        for process in filter(None, [*self.workers, self.scheduler]):
            process.kill()
            process.wait()

    def _start(self, what, *arguments, **environment):
        self.started += 1
        with (self.folder / f"{self.started}-{what}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "dask", what, *arguments, "--no-dashboard", *self.options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **QUIET, "SWEEP_HOME": str(self.folder / "home"), **environment},
            )


@contextlib.contextmanager
def frozen(process):
    """Stopped by SIGSTOP meanwhile."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
