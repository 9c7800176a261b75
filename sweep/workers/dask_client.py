"""The connection to a Dask scheduler, made again whenever it breaks, by a thread of its own.

Whatever happens there becomes a message in a queue, for the one thread that decides:

| message | |
|---|---|
| ("up",) | connected; nothing of an earlier connection is left |
| ("down", reason) | not connected any more; all that was submitted is given up |
| ("workers", {address: identity}) | who is there, every LOOK seconds |
| ("leaving", address) | a worker said that it closes, or was retired |
| ("gone", address) | a worker is no longer there |
| ("word", (key, run, number, line)) | as `sweep.workers.dask_worker` says them |
| ("result", key, value) | of what was submitted |
| ("error", key, text) | instead of a result |
| (name, value) | what a `call` with this name returned; None where its worker did not answer |
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import dask.config
from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.versions import VersionMismatchWarning

from sweep.workers.dask_worker import TOPIC

CONNECT = 5.0
"""Seconds for one attempt to connect."""
RETRY = 1.0
"""Seconds between two attempts."""
LOOK = 1.0
"""Seconds between two looks at who is there."""
ANSWER = 30.0
"""Seconds to wait for an answer of scheduler or worker; Dask's own limit for a silent connection."""
CLOSE = 1.0
"""Seconds to take leave."""


class SchedulerConnection:
    """A connection that is kept up.

    Args:
        address: of the scheduler.
        inbox: where messages go.
    """

    def __init__(self, address: str, inbox: SimpleQueue[tuple[Any, ...]]) -> None:
        self._address = address
        self._tell = inbox.put
        self._client: Client | None = None
        self._futures: dict[str, Future[Any]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        _silence()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, key: str, worker: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Let this worker, and no other, run a function that is importable there."""
        self._loop.call_soon_threadsafe(self._submit, key, worker, function, arguments)

    def cancel(self, key: str) -> None:
        """Want a result no longer; nothing is said of it."""
        self._loop.call_soon_threadsafe(self._cancel, key)

    def call(self, worker: str, function: Callable[..., Any], *arguments: Any, name: str | None = None) -> None:
        """Let a worker run a short function at once, beside its tasks; with a name, what it returns is told."""
        self._loop.call_soon_threadsafe(self._call, worker, function, arguments, name)

    def close(self) -> None:
        """Take leave: the scheduler cancels what was submitted."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closed.set)
            self._thread.join(2 * CLOSE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._keep_up())
        self._loop.close()

    async def _keep_up(self) -> None:
        """Connect, stay until it breaks, and again."""
        was_up = True  # the first failure is told too
        while not self._closed.is_set():
            reason = "the connection broke"
            try:
                self._client = await self._connected()
                was_up = True
                await self._stay(self._client)
            except Exception as error:  # whatever Dask raises: there is no connection
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
            await self._leave()
            if self._closed.is_set():
                return
            if was_up:
                self._tell(("down", reason))
            was_up = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), RETRY)

    async def _connected(self) -> Client:
        client = await Client(self._address, asynchronous=True, set_as_default=False, timeout=CONNECT)
        client.subscribe_topic(TOPIC, lambda event: self._hear(event[1]))
        client.subscribe_topic("all", lambda event: self._notice(event[1]))
        self._tell(("up",))
        return client

    async def _stay(self, client: Client) -> None:
        """Look who is there until the connection breaks; one that Dask itself made again lacks our subscriptions."""
        known: set[str] = set()
        stream = client.scheduler_comm
        while client.status == "running" and client.scheduler_comm is stream and not self._closed.is_set():
            identity = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), ANSWER)
            for address in identity["workers"].keys() - known:  # a worker says on a topic of its own that it closes
                client.subscribe_topic(address, lambda event, address=address: self._notice(event[1], address))
            known = set(identity["workers"])
            self._tell(("workers", identity["workers"]))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), LOOK)

    def _hear(self, word: Sequence[Any]) -> None:
        if word[0] in self._futures:  # those of other sweeps pass by here too
            self._tell(("word", word))

    def _notice(self, event: dict[str, Any], address: str | None = None) -> None:
        action = event.get("action") if isinstance(event, dict) else None
        if action == "closing-worker" or (action == "remove-worker" and event["expected"]):
            self._tell(("leaving", address or event["worker"]))
        if action == "remove-worker" and not address:
            self._tell(("gone", event["worker"]))

    async def _leave(self) -> None:
        client, self._client = self._client, None
        self._futures.clear()
        for task in list(self._background):
            task.cancel()
        if client:
            with contextlib.suppress(Exception):  # it is gone, or will be when this process ends
                client.unsubscribe_topic("all")  # else the scheduler logs that it cannot tell us that we left
                await client.close(timeout=CLOSE)  # a task of asyncio.wait_for could be over before it began

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
        except (
            FutureCancelledError
        ):  # the connection broke, which is told for all at once; or someone cleared the cluster
            return
        except Exception as error:  # of Dask, or of the function: whoever submitted it decides
            message = "error", key, f"{type(error).__name__}: {error}".splitlines()[0].partition(". ")[0]
        if self._futures.pop(key, None):
            self._tell(message)

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
        with contextlib.suppress(Exception):  # the worker is silent or gone, which is noticed otherwise
            async with asyncio.timeout(ANSWER):
                answers = await client.run(function, *arguments, workers=[worker], on_error="ignore")
        if name:
            self._tell((name, answers.get(worker)))

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _silence() -> None:
    """What Dask logs is told by our messages; what it warns of, by the check of every worker."""
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore", VersionMismatchWarning)
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "2 GiB"})  # a checkpoint may be sent along
