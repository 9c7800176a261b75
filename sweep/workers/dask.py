"""A Dask cluster as a `Pool` of the coordinator: Dask carries jobs to workers, the coordinator says which to which.

Every job is a Dask task of its own that only one Dask worker may run, so Dask never runs it again elsewhere behind the
record's back: when that worker is gone, this is said, and the coordinator decides. Workers train as processes on this
machine do (see `sweep/workers/dask_worker.py`).
"""

from __future__ import annotations

import contextlib
import itertools
import pkgutil
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from model import weights
from model.data import datasets
from model.files import part_name, sync_folder, write_atomic, write_synced
from model.weights import WeightsError
from sweep.workers import dask_worker as cluster_worker
from sweep.workers.dask_client import SchedulerConnection
from sweep.workers.fingerprint import MUST_MATCH
from sweep.workers.pool import EnvironmentFailure, Event, Job
from sweep.workers.worker import CHECKPOINT

FIRST = 10.0
"""Seconds to connect for the first time."""
PATIENCE = 300.0
"""Seconds to wait for a scheduler that was there and is gone."""
KEEP = 20.0
"""Seconds between two fetches of a job's checkpoint: what it trained since the last one dies with its worker."""
SHARE = 0.1
"""Of the time, in which a checkpoint may be on its way: all of them pass through the scheduler."""
SILENCE = 60.0
"""Seconds after which a worker that says nothing of its job, not even a sign of life, loses it; and gets none so long.

Less than the coordinator's limit for a training that hangs: that it is silent is the cluster's fault.
"""


@dataclass
class _Worker:
    """A Dask worker.

    Attributes:
        number: counted from 0 as they appear.
        host, threads: where it is, and how many jobs it runs at once.
        dataset: the prepared folder there; None until it was found fit.
        refused: it gets no job.
        running: Dask says that it takes tasks.
        leaving: it said that it will end.
        missed: in how many looks it was not there.
        resting: until when, of `time.monotonic()`, it gets no job.
    """

    number: int
    host: str
    threads: int
    dataset: str | None = None
    refused: bool = False
    running: bool = True
    leaving: bool = False
    missed: int = 0
    resting: float = 0.0

    def is_ready(self) -> bool:
        """Whether it may get a job, if it has a thread for it."""
        fit = self.dataset is not None and not self.refused
        return fit and self.running and not self.leaving and time.monotonic() >= self.resting

    def __str__(self) -> str:
        return f"worker {self.number} ({self.host})"


@dataclass
class _Run:
    """A job at work, or on its way to a worker.

    Attributes:
        job: what is run.
        address: of the worker.
        token: names this run of the Dask task; None until the first word.
        heard: how many of the numbered lines were.
        last: `time.monotonic()` of the last word.
        kept: `time.monotonic()` when its checkpoint was last asked for, and the `version` that is here.
    """

    job: Job
    address: str
    token: str | None = None
    heard: int = 0
    last: float = field(default_factory=time.monotonic)
    kept: float = field(default_factory=time.monotonic)
    version: int = 0


class DaskPool:
    """The workers of a Dask cluster, those that come later too.

    Args:
        address: of the scheduler, as tcp://host:8786.
        limit: most jobs at once.
        dataset: its name or path, as workers look for it.
        folder: the prepared copy here, which theirs must equal.
        say: takes a line that a person should read.

    Raises:
        EnvironmentFailure: nobody answers there.
    """

    def __init__(self, address: str, limit: int, dataset: str, folder: Path, say: Callable[[str], None]) -> None:
        self._address = address
        self._limit = limit
        self._dataset = dataset
        self._say = say
        self._session = f"sweep-{secrets.token_hex(8)}"
        self._numbers: dict[str, int] = {}
        self._workers: dict[str, _Worker] = {}
        self._checks: dict[str, str] = {}
        self._runs: dict[str, _Run] = {}
        self._keys = itertools.count()
        self._ready: list[Event] = []
        self._joined: list[_Worker] = []
        self._arithmetic: str | None = None
        self._refusal: str | None = None
        self._told_empty = False
        self._down: float | None = None
        self._fetching: float | None = None
        self._rested = 0.0
        self._inbox: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._link = SchedulerConnection(address, self._inbox)
        self._here = cluster_worker.facts()
        self._digest = datasets.load(folder, 0).digest
        self._connect()

    def _connect(self) -> None:
        try:
            kind, *reason = self._inbox.get(timeout=FIRST)
        except Empty:
            kind, *reason = "down", f"no answer within {FIRST:g} s"
        if kind != "up":
            self._link.close()
            raise EnvironmentFailure(_unreachable(self._address, *reason))

    @property
    def free(self) -> int:
        """How many more jobs can be started now."""
        return max(0, min(sum(self._room().values()), self._limit - len(self._runs)))

    @property
    def busy(self) -> list[str]:
        """Ids of the jobs that run."""
        return [run.job.id for run in self._runs.values()]

    def start(self, job: Job) -> int:
        """Send a job to the worker with most room, with its checkpoint if there is one; return the worker's number."""
        room = self._room()
        address = max(room, key=lambda address: room[address])
        worker, checkpoint = self._workers[address], Path(job.folder) / CHECKPOINT
        kept = checkpoint.read_bytes() if checkpoint.exists() else None
        key = f"{self._session}-{next(self._keys)}"
        self._runs[key] = _Run(job, address)
        there = replace(job, dataset=str(worker.dataset))
        self._link.submit(key, address, cluster_worker.work, key, there, kept)
        return worker.number

    def stop(self, job: str) -> None:
        """Ask for an end after the epoch that runs; `stopped` or `done` will be said."""
        for key, run in self._of(job):
            if run.token is None:  # it waits there for a thread, and could only hear it when it begins
                self._ready.append(self._lose(key, "stopped"))
            else:
                self._link.call(run.address, cluster_worker.ask_stop, key)

    def end(self, job: str) -> None:
        """End a job at once; nothing more is heard of it."""
        for key, _ in self._of(job):
            self._give_up(key)

    def events(self, timeout: float) -> Sequence[Event]:
        """What was said, waiting for at most `timeout` seconds for the first word.

        Raises:
            EnvironmentFailure: the scheduler has been gone for too long, or every worker is unfit.
        """
        found, self._ready = self._ready, []
        with contextlib.suppress(Empty):
            found += self._take(*self._inbox.get(timeout=0 if found else timeout))
            while True:
                found += self._take(*self._inbox.get_nowait())
        found += self._unheard()
        self._fetch()
        self._tell_joined()
        self._require_life()
        return found

    def kill(self) -> None:
        """Nothing to do: when this process ends, the scheduler cancels what it had asked for, and workers end it."""

    def close(self) -> None:
        """End all that runs, and forget it."""
        self._runs.clear()
        self._link.close()

    def _of(self, job: str) -> list[tuple[str, _Run]]:
        return [(key, run) for key, run in self._runs.items() if run.job.id == job]

    def _room(self) -> dict[str, int]:
        """How many more jobs each worker can take, by address."""
        taken = Counter(run.address for run in self._runs.values())
        return {
            address: max(0, worker.threads - taken[address])
            for address, worker in self._workers.items()
            if worker.is_ready()
        }

    def _give_up(self, key: str) -> _Run:
        """Want a job no longer: its worker ends it, and what it may still say is not heard."""
        self._link.cancel(key)
        return self._runs.pop(key)

    def _lose(self, key: str, kind: str, reason: str | None = None) -> Event:
        return self._event(self._give_up(key), {"is": kind, "reason": reason})

    def _event(self, run: _Run, message: dict[str, Any]) -> Event:
        return Event(run.job.id, self._numbers[run.address], message)

    # ------------------------------------------------------------------ what the link says

    def _take(self, kind: str, *content: Any) -> list[Event]:
        match kind:
            case "up":
                self._down = None
                self._say(f"the scheduler {self._address} is back")
            case "down":
                return self._is_down(*content)
            case "workers":
                return self._look(*content)
            case "leaving":
                self._leaves(*content)
            case "gone":
                return self._is_gone(*content)
            case "word":
                return self._hear(*content)
            case "checkpoint":
                self._fetched(*content)
            case "result" | "error" if content[0] in self._checks:
                self._checked(self._checks.pop(content[0]), kind, content[1])
            case "result" | "error" if content[0] in self._runs:
                return self._ended(content[0], kind, content[1])
        return []

    def _is_down(self, reason: str) -> list[Event]:
        """Give everything up; the coordinator runs it again, and blames nobody."""
        self._down = time.monotonic()
        self._workers.clear()
        self._checks.clear()
        self._fetching = None
        self._told_empty = False
        minutes = f"{PATIENCE / 60:g} minutes"
        self._say(f"the scheduler {self._address} is gone ({reason}); the sweep pauses, and waits {minutes} for it")
        return [self._lose(key, "lost") for key in list(self._runs)]

    def _look(self, there: Mapping[str, Mapping[str, Any]]) -> list[Event]:
        """Compare with who is there: check who came, and note who went unseen."""
        found: list[Event] = []
        for address, identity in there.items():
            if address not in self._workers:
                self._meet(address, identity)
            self._workers[address].missed = 0
            self._workers[address].running = identity["status"] == "running"
        for address in self._workers.keys() - there.keys():
            self._workers[address].missed += 1
            if self._workers[address].missed > 1:  # that it went is said too, perhaps a little later than this look
                found += self._is_gone(address)
        self._tell_empty()
        return found

    def _meet(self, address: str, identity: Mapping[str, Any]) -> None:
        number = self._numbers.setdefault(address, len(self._numbers))
        self._workers[address] = _Worker(number, identity["host"], identity["nthreads"])
        # A worker ends when it is sent a function that it cannot import, and others may be using it.
        self._ask(address, pkgutil.resolve_name, f"{cluster_worker.__name__}:check")

    def _ask(self, address: str, function: Callable[..., Any], *arguments: Any) -> None:
        key = f"{self._session}-check-{next(self._keys)}"
        self._checks[key] = address
        self._link.submit(key, address, function, *arguments)

    def _leaves(self, address: str) -> None:
        if worker := self._workers.get(address):
            worker.leaving = True

    def _is_gone(self, address: str) -> list[Event]:
        """Its jobs died with it, unless it had said that it would go."""
        if (worker := self._workers.pop(address, None)) is None:
            return []
        for key in [key for key, checked in self._checks.items() if checked == address]:
            self._link.cancel(key)
            del self._checks[key]
        keys = [key for key, run in self._runs.items() if run.address == address]
        kind, reason = ("lost", f"{worker} was closed") if worker.leaving else ("died", f"{worker} is gone")
        if not keys and worker.dataset:
            self._say(reason)
        return [self._lose(key, kind, reason) for key in keys]

    def _checked(self, address: str, kind: str, outcome: Any) -> None:
        worker = self._workers[address]
        if kind == "error":
            self._refuse(
                worker, f"{outcome}\nall workers and the scheduler have to run this project's Python: make cluster"
            )
        elif outcome is cluster_worker.check:
            self._ask(address, outcome, self._dataset, self._digest)
        elif trouble := self._unfit(outcome):
            self._refuse(worker, trouble)
        else:
            worker.dataset = outcome["dataset"]
            self._joined.append(worker)

    def _unfit(self, outcome: Mapping[str, Any]) -> str | None:
        """Why a worker gets no job; None when it is fit."""
        facts = outcome["facts"]
        for key, what in MUST_MATCH.items():
            if facts.get(key) != self._here[key]:
                return f"{what} there is {facts.get(key)}, here {self._here[key]}"
        if "trouble" in outcome:
            return str(outcome["trouble"])
        if outcome["digest"] != self._digest:
            name = Path(self._dataset).name
            return f"{name} there has the digest {outcome['digest'][:12]}, here {self._digest[:12]}"
        if self._arithmetic not in (None, facts["arithmetic"]):
            return "its processor computes other last bits than those of the workers that came first"
        if self._arithmetic is None and facts["arithmetic"] != self._here["arithmetic"]:
            self._say("the workers' processors compute other last bits than this machine: a replay here may differ")
        self._arithmetic = facts["arithmetic"]
        return None

    def _refuse(self, worker: _Worker, trouble: str) -> None:
        worker.refused = True
        self._refusal = f"{worker} gets no work: {trouble}"
        self._say("; ".join(self._refusal.splitlines()))

    def _hear(self, word: Sequence[Any]) -> list[Event]:
        """A line of a job, if it is the next one of the run that is known."""
        key, token, number, message = word
        if (run := self._runs.get(key)) is None:
            return []
        if run.token not in (None, token):  # Dask ran the task again by itself
            return [self._lose(key, "died", f"worker {self._numbers[run.address]} died and came back")]
        run.token, run.last = token, time.monotonic()
        if message["is"] in cluster_worker.NUMBERED:
            if number != run.heard:
                return []
            run.heard += 1
        return [self._event(run, message)]

    def _ended(self, key: str, kind: str, outcome: Any) -> list[Event]:
        run = self._give_up(key)
        if outcome is None:  # its worker closes, and we have not heard of it yet
            return [self._event(run, {"is": "lost", "reason": f"worker {self._numbers[run.address]} was closed"})]
        if kind == "error":  # Dask could not run it, or could not bring the result
            reason = f"worker {self._numbers[run.address]} failed: {outcome}"
            return [self._event(run, {"is": "died", "reason": reason})]
        unheard = outcome["lines"][run.heard if outcome["run"] == run.token else 0 :]
        last = self._last(run, outcome["last"], outcome["files"])
        return [self._event(run, message) for message in [*unheard, last]]

    def _last(self, run: _Run, message: dict[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
        """The last line of a job, once its files are here."""
        folder, worker = Path(run.job.folder), self._workers.get(run.address)
        folder.mkdir(parents=True, exist_ok=True)
        if message["is"] == "done":
            try:
                _write_weights(folder / "weights.npz", files["weights.npz"], message["weights_sha256"])
            except WeightsError as error:
                return {"is": "died", "reason": f"the weights came damaged: {error}"}
        elif content := files.get(CHECKPOINT):
            write_atomic(folder / CHECKPOINT, content)
        if message["is"] == "died":  # it was alone in a pool of its own there
            return {**message, "reason": message["reason"].replace("worker 0", f"worker {self._numbers[run.address]}")}
        if message["is"] == "failed" and message["outcome"] == "environment":  # of that machine; others may do
            if worker:
                self._refuse(worker, message["reason"])
            return {"is": "lost", "reason": message["reason"]}
        return message

    def _fetched(self, found: tuple[str, int, bytes] | None) -> None:
        """Keep a checkpoint, if its job still runs; what it is worth is seen by the training that continues from it."""
        if self._fetching is None:  # asked for before the scheduler was gone
            return
        now = time.monotonic()
        self._rested, self._fetching = now + (now - self._fetching) * (1 / SHARE - 1), None
        if found and (run := self._runs.get(found[0])):
            _, run.version, content = found
            folder = Path(run.job.folder)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / CHECKPOINT, content)

    # ------------------------------------------------------------------ what nobody says

    def _fetch(self) -> None:
        """Ask for the checkpoint that was longest not asked for; one at a time."""
        now = time.monotonic()
        if self._fetching is not None or now < self._rested:
            return
        due = [(run.kept, key) for key, run in self._runs.items() if run.token and now - run.kept > KEEP]
        if due:
            run = self._runs[key := min(due)[1]]
            self._fetching = run.kept = now
            self._link.call(run.address, cluster_worker.checkpoint, key, run.version, name="checkpoint")

    def _unheard(self) -> list[Event]:
        """Take jobs from workers that say nothing of them."""
        now, found = time.monotonic(), []
        for key, run in list(self._runs.items()):
            if now - run.last > SILENCE:
                worker = self._workers[run.address]
                worker.resting = now + SILENCE
                found.append(self._lose(key, "lost", f"{worker} has said nothing for {SILENCE:g} s"))
        return found

    def _tell_joined(self) -> None:
        if not self._joined:
            return
        numbers = ", ".join(str(worker.number) for worker in self._joined)
        hosts = ", ".join(sorted({worker.host for worker in self._joined}))
        room = min(self._limit, self.free + len(self._runs))
        many = "worker" if len(self._joined) == 1 else "workers"
        self._say(f"{many} {numbers} on {hosts} joined; {_counted(room, 'training')} at once")
        self._joined.clear()
        self._told_empty = False

    def _tell_empty(self) -> None:
        if not self._told_empty and all(worker.refused for worker in self._workers.values()):
            self._told_empty = True
            self._say(f"no worker is there; waiting for one, as from: dask worker {self._address}")

    def _require_life(self) -> None:
        if self._down is not None and time.monotonic() - self._down > PATIENCE:
            gone = f"the scheduler {self._address} has been gone for {PATIENCE / 60:g} minutes"
            raise EnvironmentFailure(f"{gone}\nnothing is lost; the same command continues")
        if self._arithmetic is None and self._workers and all(worker.refused for worker in self._workers.values()):
            raise EnvironmentFailure(f"no worker of the cluster is fit\n{self._refusal}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def probe(address: str) -> None:
    """Knock, so that a wrong address is told before anything begins; a scheduler that still starts gets FIRST seconds.

    Raises:
        EnvironmentFailure: nobody answers there.
    """
    place, end = urlsplit(address), time.monotonic() + FIRST
    while True:
        try:
            socket.create_connection((place.hostname or "", place.port or 0), FIRST).close()
            return
        except OSError as error:
            if not isinstance(error, ConnectionRefusedError) or time.monotonic() > end:
                raise EnvironmentFailure(_unreachable(address, str(error.strerror or error))) from error
        time.sleep(0.2)


def _unreachable(address: str, reason: str) -> str:
    port = address.rpartition(":")[2]
    return (
        f"no Dask scheduler can be reached at {address}: {reason}\n"
        f"start one with: dask scheduler --port {port}\nand workers with: dask worker {address}"
    )


def _write_weights(path: Path, data: bytes, digest: str) -> None:
    """Let weights take their name once they are the ones that were trained.

    Raises:
        WeightsError: they are not.
        OSError: they cannot be written.
    """
    part = part_name(path)
    try:
        write_synced(part, data)
        if weights.sha256(weights.load(part).theta) != digest:
            raise WeightsError("another SHA-256 than was said")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
