"""The connection to a Dask scheduler, in a thread that reconnects whenever the connection is lost.

All events are put into a queue, which the pool reads:

| message | |
|---|---|
| ("up",) | connected; all state of an earlier connection is gone |
| ("down", reason) | disconnected; all submitted tasks are cancelled |
| ("workers", {address: identity}) | the workers, every WORKERS_INTERVAL_S |
| ("leaving", address) | a worker announced that it closes, or was retired |
| ("gone", address) | a worker was removed |
| ("message", (key, run, number, content)) | as `sweep.workers.dask_worker` sends them |
| ("result", key, value) | of a submitted task |
| ("error", key, text) | instead of a result |
| (name, value) | the result of a `call` with this name; None if its worker did not respond |
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import dask.config
from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.versions import VersionMismatchWarning

from sweep.workers.dask_worker import TOPIC
from sweep.workers.pool import EnvironmentFailure

CONNECT_TIMEOUT_S = 10.0
"""Limit for the first connection to the scheduler."""
ATTEMPT_TIMEOUT_S = 5.0
"""Limit for one attempt to connect."""
RETRY_INTERVAL_S = 1.0
"""Interval between attempts to connect."""
WORKERS_INTERVAL_S = 1.0
"""Interval between requests for the list of workers."""
ANSWER_TIMEOUT_S = 30.0
"""Limit for a response of the scheduler or a worker; equals Dask's limit for a silent connection."""
DISCONNECT_TIMEOUT_S = 1.0


class SchedulerConnection:
    """A connection that reconnects automatically.

    Args:
        address: of the scheduler.
        inbox: receives the entries.
    """

    def __init__(self, address: str, inbox: SimpleQueue[tuple[Any, ...]]) -> None:
        self._address = address
        self._put = inbox.put
        self._client: Client | None = None
        self._futures: dict[str, Future[Any]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        _silence_dask()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, key: str, worker: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function on this worker only; the worker must be able to import it."""
        self._loop.call_soon_threadsafe(self._submit, key, worker, function, arguments)

    def cancel(self, key: str) -> None:
        """Cancel a task; no entry about it follows."""
        self._loop.call_soon_threadsafe(self._cancel, key)

    def call(self, worker: str, function: Callable[..., Any], *arguments: Any, name: str | None = None) -> None:
        """Run a short function on a worker at once, beside its tasks; with a name, its result becomes an entry."""
        self._loop.call_soon_threadsafe(self._call, worker, function, arguments, name)

    def close(self) -> None:
        """Disconnect: the scheduler cancels all submitted tasks."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closed.set)
            self._thread.join(2 * DISCONNECT_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run_forever())
        self._loop.close()

    async def _run_forever(self) -> None:
        """Connect, wait until the connection is lost, and reconnect."""
        was_up = True  # so that the first failure is also reported
        while not self._closed.is_set():
            reason = "the connection was lost"
            try:
                self._client = await self._connect()
                was_up = True
                await self._watch_workers(self._client)
            except Exception as error:  # any error of Dask means that there is no connection
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
            await self._disconnect()
            if self._closed.is_set():
                return
            if was_up:
                self._put(("down", reason))
            was_up = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), RETRY_INTERVAL_S)

    async def _connect(self) -> Client:
        client = await Client(self._address, asynchronous=True, set_as_default=False, timeout=ATTEMPT_TIMEOUT_S)
        client.subscribe_topic(TOPIC, lambda event: self._receive(event[1]))
        client.subscribe_topic("all", lambda event: self._notice(event[1]))
        self._put(("up",))
        return client

    async def _watch_workers(self, client: Client) -> None:
        """List the workers until the connection is lost. If Dask reconnects by itself, subscriptions are lost."""
        known: set[str] = set()
        stream = client.scheduler_comm
        while client.status == "running" and client.scheduler_comm is stream and not self._closed.is_set():
            identity = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), ANSWER_TIMEOUT_S)
            for address in identity["workers"].keys() - known:  # the topic on which it announces that it closes
                client.subscribe_topic(address, lambda event, address=address: self._notice(event[1], address))
            known = set(identity["workers"])
            self._put(("workers", identity["workers"]))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), WORKERS_INTERVAL_S)

    def _receive(self, message: Sequence[Any]) -> None:
        if message[0] in self._futures:  # other sweeps use the same topic
            self._put(("message", message))

    def _notice(self, event: dict[str, Any], address: str | None = None) -> None:
        action = event.get("action") if isinstance(event, dict) else None
        if action == "closing-worker" or (action == "remove-worker" and event["expected"]):
            self._put(("leaving", address or event["worker"]))
        if action == "remove-worker" and not address:
            self._put(("gone", event["worker"]))

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._futures.clear()
        for task in list(self._background):
            task.cancel()
        if client:
            with contextlib.suppress(Exception):  # it is disconnected, or will be when this process exits
                client.unsubscribe_topic("all")  # otherwise the scheduler logs an error
                await client.close(timeout=DISCONNECT_TIMEOUT_S)

    def _submit(self, key: str, worker: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if self._client:
            future = self._client.submit(
                function, *arguments, key=key, workers=[worker], allow_other_workers=False, pure=False
            )
            self._futures[key] = future
            self._spawn(self._result(key, future))

    async def _result(self, key: str, future: Future[Any]) -> None:
        try:
            message = "result", key, await future
        except FutureCancelledError:  # the connection was lost, which is reported once; or someone cleared the cluster
            return
        except Exception as error:  # of Dask, or of the function: the caller decides
            message = "error", key, f"{type(error).__name__}: {error}".splitlines()[0].partition(". ")[0]
        if self._futures.pop(key, None):
            self._put(message)

    def _cancel(self, key: str) -> None:
        if future := self._futures.pop(key, None):
            future.release()

    def _call(self, worker: str, function: Callable[..., Any], arguments: tuple[Any, ...], name: str | None) -> None:
        if self._client:
            self._spawn(self._answer(self._client, worker, function, arguments, name))

    async def _answer(
        self, client: Client, worker: str, function: Callable[..., Any], arguments: tuple[Any, ...], name: str | None
    ) -> None:
        answers = {}
        with contextlib.suppress(Exception):  # a silent or lost worker is detected elsewhere
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answers = await client.run(function, *arguments, workers=[worker], on_error="ignore")
        if name:
            self._put((name, answers.get(worker)))

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _silence_dask() -> None:
    """Silence Dask's log and version warnings: the checks and messages of the pool report the same."""
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore", VersionMismatchWarning)
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "2 GiB"})  # a job may include a checkpoint


def probe(address: str) -> None:
    """Check that a scheduler accepts connections.

    Waits up to CONNECT_TIMEOUT_S for one that is still starting.

    Raises:
        EnvironmentFailure: nothing accepts connections at the address.
    """
    place, end = urlsplit(address), time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        try:
            socket.create_connection((place.hostname or "", place.port or 0), CONNECT_TIMEOUT_S).close()
            return
        except OSError as error:
            if not isinstance(error, ConnectionRefusedError) or time.monotonic() > end:
                raise EnvironmentFailure(unreachable(address, str(error.strerror or error))) from error
        time.sleep(0.2)


def unreachable(address: str, reason: str) -> str:
    """The error message if no scheduler responds at an address."""
    port = address.rpartition(":")[2]
    return (
        f"no Dask scheduler can be reached at {address}: {reason}\n"
        f"start one with: dask scheduler --port {port}\nand workers with: dask worker {address}"
    )
