"""A Dask cluster as a `Pool`: Dask transports jobs to workers, the pool decides which worker gets which job.

Every job is a Dask task that only one Dask worker may run. So Dask never moves it to another worker by itself: when
that worker is lost, the pool reports it, and the coordinator decides. Dask workers train with the same worker process
as on one machine (see `sweep/workers/dask_worker.py`).
"""

from __future__ import annotations

import contextlib
import itertools
import pkgutil
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from model.data.cache import read_card
from model.data.datasets import Source
from model.weights import WeightsError
from studies.record.folder import CHECKPOINT, WEIGHTS
from sweep.plural import counted
from sweep.workers import dask_worker
from sweep.workers.dask_admission import Admission, DaskWorker
from sweep.workers.dask_client import CONNECT_TIMEOUT_S, SchedulerConnection, unreachable
from sweep.workers.dask_files import checkpoint_of, keep_checkpoint, keep_weights
from sweep.workers.dask_run import DaskRun
from sweep.workers.messages import Message, MessageKind
from sweep.workers.pool import EnvironmentFailure, Event, Job

RECONNECT_TIMEOUT_S = 300.0
"""Longest wait for a scheduler that was connected before."""
CHECKPOINT_INTERVAL_S = 20.0
"""Interval between fetches of a job's checkpoint. With a lost worker, training since the last fetch is lost."""
MAX_TRANSFER_SHARE = 0.1
"""Fraction of the time for transfers of checkpoints, which all pass through the scheduler."""
SILENCE_TIMEOUT_S = 60.0
"""A worker that sends no message, not even a heartbeat, for this time loses its job, and gets no other for as long.

It is shorter than the coordinator's limit for a hanging training run, because a silent worker is a fault of the
cluster.
"""


class DaskPool:
    """The workers of a Dask cluster, including those that join later.

    Args:
        address: of the scheduler, as tcp://host:8786.
        limit: maximal number of jobs at once.
        source: of the dataset, which workers use to find their own copy.
        folder: the coordinator's prepared copy; the workers' copies must equal it.
        notify: prints a line for the user.

    Raises:
        EnvironmentFailure: no scheduler responds at the address.
    """

    def __init__(self, address: str, limit: int, source: Source, folder: Path, notify: Callable[[str], None]) -> None:
        self._address = address
        self._limit = limit
        self._source = source
        self._notify = notify
        self._session = f"sweep-{secrets.token_hex(8)}"
        self._numbers: dict[str, int] = {}
        self._workers: dict[str, DaskWorker] = {}
        self._checks: dict[str, str] = {}
        self._runs: dict[str, DaskRun] = {}
        self._keys = itertools.count()
        self._ready: list[Event] = []
        self._joined: list[DaskWorker] = []
        self._refusal: str | None = None
        self._reported_empty = False
        self._down: float | None = None
        self._fetching: float | None = None
        self._next_fetch = 0.0
        self._inbox: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._connection = SchedulerConnection(address, self._inbox)
        self._digest = read_card(folder).digest
        self._admission = Admission(source.name, self._digest, notify)
        self._connect()

    def _connect(self) -> None:
        try:
            kind, *reason = self._inbox.get(timeout=CONNECT_TIMEOUT_S)
        except Empty:
            kind, *reason = "down", f"no answer within {CONNECT_TIMEOUT_S:g} s"
        if kind != "up":
            self._connection.close()
            raise EnvironmentFailure(unreachable(self._address, *reason))

    def __len__(self) -> int:
        """Number of jobs that can run at once."""
        return self.free + len(self._runs)

    @property
    def free(self) -> int:
        """Number of jobs that can be started now."""
        return max(0, min(sum(self._room().values()), self._limit - len(self._runs)))

    @property
    def busy(self) -> list[str]:
        """Ids of the jobs that are running."""
        return [run.job.id for run in self._runs.values()]

    def start(self, job: Job) -> int:
        """Send a job, with its checkpoint if there is one, to the worker with most free threads; return its number."""
        room = self._room()
        address = max(room, key=lambda address: room[address])
        worker = self._workers[address]
        key = f"{self._session}-{next(self._keys)}"
        self._runs[key] = DaskRun(job, address)
        there = replace(job, dataset=str(worker.dataset))
        self._connection.submit(key, address, dask_worker.work, key, there, checkpoint_of(job))
        return worker.number

    def stop(self, job: str) -> None:
        """Stop a job after its current epoch. `STOPPED` follows, or `DONE` if that epoch was the last."""
        for key, run in self._of(job):
            if run.token is None:  # it is waiting for a thread, and can only be stopped once it has started
                self._ready.append(self._lose(key, MessageKind.STOPPED))
            else:
                self._connection.call(run.address, dask_worker.ask_stop, key)

    def end(self, job: str) -> None:
        """End a job at once. No message about it follows."""
        for key, _ in self._of(job):
            self._give_up(key)

    def events(self, timeout: float) -> Sequence[Event]:
        """All events since the last call; waits up to `timeout` seconds if there are none.

        Raises:
            EnvironmentFailure: the scheduler has been unreachable for too long, or all workers were refused.
        """
        found, self._ready = self._ready, []
        with contextlib.suppress(Empty):
            found += self._take(*self._inbox.get(timeout=0 if found else timeout))
            while True:
                found += self._take(*self._inbox.get_nowait())
        found += self._take_from_silent_workers()
        self._fetch()
        self._report_joined()
        self._require_workers()
        return found

    def kill(self) -> None:
        """Do nothing: when this process exits, the scheduler cancels its tasks, and the workers end them."""

    def close(self) -> None:
        """End all jobs and disconnect."""
        self._runs.clear()
        self._connection.close()

    def _of(self, job: str) -> list[tuple[str, DaskRun]]:
        return [(key, run) for key, run in self._runs.items() if run.job.id == job]

    def _room(self) -> dict[str, int]:
        """Number of jobs that each worker can take, by address."""
        taken = Counter(run.address for run in self._runs.values())
        return {
            address: max(0, worker.threads - taken[address])
            for address, worker in self._workers.items()
            if worker.is_ready()
        }

    def _give_up(self, key: str) -> DaskRun:
        """Cancel a job: its worker ends it, and further messages are ignored."""
        self._connection.cancel(key)
        return self._runs.pop(key)

    def _lose(self, key: str, kind: MessageKind, reason: str | None = None) -> Event:
        return self._event(self._give_up(key), Message(kind, {"reason": reason}))

    def _event(self, run: DaskRun, message: Message) -> Event:
        return Event(run.job.id, self._numbers[run.address], message)

    # ------------------------------------------------------------------ messages of the connection

    def _take(self, kind: str, *content: Any) -> list[Event]:
        match kind:
            case "up":
                self._down = None
                self._notify(f"the scheduler {self._address} is back")
            case "down":
                return self._is_down(*content)
            case "workers":
                return self._compare(*content)
            case "leaving":
                self._mark_leaving(*content)
            case "gone":
                return self._is_gone(*content)
            case "message":
                return self._receive(*content)
            case "checkpoint":
                self._fetched(*content)
            case "result" | "error" if content[0] in self._checks:
                self._checked(self._checks.pop(content[0]), kind, content[1])
            case "result" | "error" if content[0] in self._runs:
                return self._ended(content[0], kind, content[1])
        return []

    def _is_down(self, reason: str) -> list[Event]:
        """Cancel all jobs. The coordinator runs them again, and counts no deaths."""
        self._down = time.monotonic()
        self._workers.clear()
        self._checks.clear()
        self._fetching = None
        self._reported_empty = False
        minutes = f"{RECONNECT_TIMEOUT_S / 60:g} minutes"
        self._notify(f"lost the scheduler {self._address} ({reason}); waiting up to {minutes} for it")
        return [self._lose(key, MessageKind.LOST) for key in list(self._runs)]

    def _compare(self, there: Mapping[str, Mapping[str, Any]]) -> list[Event]:
        """Compare with the scheduler's list of workers: check new ones, and report missing ones."""
        found: list[Event] = []
        for address, identity in there.items():
            if address not in self._workers:
                self._add_worker(address, identity)
            self._workers[address].missed = 0
            self._workers[address].running = identity["status"] == "running"
        for address in self._workers.keys() - there.keys():
            self._workers[address].missed += 1
            if self._workers[address].missed > 1:  # its removal is also reported, but maybe later than this list
                found += self._is_gone(address)
        self._report_empty()
        return found

    def _add_worker(self, address: str, identity: Mapping[str, Any]) -> None:
        number = self._numbers.setdefault(address, len(self._numbers))
        self._workers[address] = DaskWorker(number, identity["host"], identity["nthreads"])
        # By name: a worker exits when it is sent a function it cannot import, and other sweeps may be using it.
        self._ask(address, pkgutil.resolve_name, f"{dask_worker.__name__}:check")

    def _ask(self, address: str, function: Callable[..., Any], *arguments: Any) -> None:
        key = f"{self._session}-check-{next(self._keys)}"
        self._checks[key] = address
        self._connection.submit(key, address, function, *arguments)

    def _mark_leaving(self, address: str) -> None:
        if worker := self._workers.get(address):
            worker.leaving = True

    def _is_gone(self, address: str) -> list[Event]:
        """Handle the loss of a worker: its jobs count as died, unless it had announced that it would close."""
        if (worker := self._workers.pop(address, None)) is None:
            return []
        for key in [key for key, checked in self._checks.items() if checked == address]:
            self._connection.cancel(key)
            del self._checks[key]
        keys = [key for key, run in self._runs.items() if run.address == address]
        kind = MessageKind.LOST if worker.leaving else MessageKind.DIED
        reason = f"{worker} was closed" if worker.leaving else f"{worker} was lost"
        if not keys and worker.dataset:
            self._notify(reason)
        return [self._lose(key, kind, reason) for key in keys]

    def _checked(self, address: str, kind: str, outcome: Any) -> None:
        worker = self._workers[address]
        if kind == "error":
            self._refuse(
                worker, f"{outcome}\nworkers and scheduler must run in this project's environment: make cluster"
            )
        elif outcome is dask_worker.check:
            self._ask(address, outcome, self._source, self._digest)
        elif objection := self._admission.objection(outcome):
            self._refuse(worker, objection)
        else:
            worker.dataset = outcome["dataset"]
            self._joined.append(worker)

    def _refuse(self, worker: DaskWorker, reason: str) -> None:
        worker.refused = True
        self._refusal = f"{worker} gets no work: {reason}"
        self._notify("; ".join(self._refusal.splitlines()))

    def _receive(self, numbered: Sequence[Any]) -> list[Event]:
        """A message of a job, if it is the next one of the current run."""
        key, token, number, plain = numbered
        message = Message.from_dict(plain)
        if (run := self._runs.get(key)) is None:
            return []
        if run.token not in (None, token):  # Dask restarted the task by itself
            return [self._lose(key, MessageKind.DIED, f"worker {self._numbers[run.address]} died and was restarted")]
        run.token, run.last_message = token, time.monotonic()
        if message.kind in dask_worker.NUMBERED:
            if number != run.received:
                return []
            run.received += 1
        return [self._event(run, message)]

    def _ended(self, key: str, kind: str, outcome: Any) -> list[Event]:
        run = self._give_up(key)
        if outcome is None:  # its worker is closing, which is not reported yet
            return [
                self._event(
                    run, Message(MessageKind.LOST, {"reason": f"worker {self._numbers[run.address]} was closed"})
                )
            ]
        if kind == "error":  # Dask could not run it, or could not return the result
            reason = f"worker {self._numbers[run.address]} failed: {outcome}"
            return [self._event(run, Message(MessageKind.DIED, {"reason": reason}))]
        missing = outcome["lines"][run.received if outcome["run"] == run.token else 0 :]
        last = self._last(run, Message.from_dict(outcome["last"]), outcome["files"])
        return [self._event(run, message) for message in [*map(Message.from_dict, missing), last]]

    def _last(self, run: DaskRun, message: Message, files: Mapping[str, bytes]) -> Message:
        """The last message of a job, once its files are here."""
        if message.kind is MessageKind.DONE:
            try:
                keep_weights(run.job, files[WEIGHTS], message.content["weights_sha256"])
            except WeightsError as error:
                return Message(MessageKind.DIED, {"reason": f"the weights were damaged in transfer: {error}"})
        elif content := files.get(CHECKPOINT):
            keep_checkpoint(run.job, content)
        if message.kind is MessageKind.DIED:  # it was worker 0 of the pool on that machine
            number = self._numbers[run.address]
            return Message(message.kind, {"reason": message.content["reason"].replace("worker 0", f"worker {number}")})
        if message.kind is MessageKind.ENVIRONMENT_FAILURE:  # of that machine only
            if worker := self._workers.get(run.address):
                self._refuse(worker, message.content["reason"])
            return Message(MessageKind.LOST, message.content)
        return message

    def _fetched(self, found: tuple[str, int, bytes] | None) -> None:
        """Write a checkpoint that has arrived, if its job is still running."""
        if self._fetching is None:  # requested before the scheduler was lost
            return
        now = time.monotonic()
        self._next_fetch, self._fetching = now + (now - self._fetching) * (1 / MAX_TRANSFER_SHARE - 1), None
        if found and (run := self._runs.get(found[0])):
            _, run.version, content = found
            keep_checkpoint(run.job, content)

    # ------------------------------------------------------------------ checks on a timer

    def _fetch(self) -> None:
        """Request the checkpoint that was fetched least recently; one at a time."""
        now = time.monotonic()
        if self._fetching is not None or now < self._next_fetch:
            return
        due = [
            (run.fetched, key)
            for key, run in self._runs.items()
            if run.token and now - run.fetched > CHECKPOINT_INTERVAL_S
        ]
        if due:
            run = self._runs[key := min(due)[1]]
            self._fetching = run.fetched = now
            self._connection.call(run.address, dask_worker.checkpoint, key, run.version, name="checkpoint")

    def _take_from_silent_workers(self) -> list[Event]:
        """Take jobs from workers that send no messages about them."""
        now, found = time.monotonic(), []
        for key, run in list(self._runs.items()):
            if now - run.last_message > SILENCE_TIMEOUT_S:
                worker = self._workers[run.address]
                worker.rests_until = now + SILENCE_TIMEOUT_S
                found.append(self._lose(key, MessageKind.LOST, f"{worker} sent no message for {SILENCE_TIMEOUT_S:g} s"))
        return found

    def _report_joined(self) -> None:
        if not self._joined:
            return
        numbers = ", ".join(str(worker.number) for worker in self._joined)
        hosts = ", ".join(sorted({worker.host for worker in self._joined}))
        room = min(self._limit, self.free + len(self._runs))
        many = "worker" if len(self._joined) == 1 else "workers"
        self._notify(f"{many} {numbers} on {hosts} joined; {counted(room, 'training')} at once")
        self._joined.clear()
        self._reported_empty = False

    def _report_empty(self) -> None:
        if not self._reported_empty and all(worker.refused for worker in self._workers.values()):
            self._reported_empty = True
            self._notify(f"no workers; waiting for one, start it with: dask worker {self._address}")

    def _require_workers(self) -> None:
        if self._down is not None and time.monotonic() - self._down > RECONNECT_TIMEOUT_S:
            gone = f"the scheduler {self._address} was unreachable for {RECONNECT_TIMEOUT_S / 60:g} minutes"
            raise EnvironmentFailure(f"{gone}\nnothing is lost; run the same command again to resume")
        if self._admission.is_empty and self._workers and all(worker.refused for worker in self._workers.values()):
            raise EnvironmentFailure(f"no worker of the cluster can be used\n{self._refusal}")
