"""The pool's state of a job on a Dask cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sweep.workers.pool import Job


@dataclass
class DaskRun:
    """A job that is running or being sent to a worker.

    Attributes:
        job: the job.
        address: of the worker.
        token: identifies this run of the Dask task; None until its first message.
        received: number of numbered messages received.
        last_message: `time.monotonic()` of the last message.
        fetched: `time.monotonic()` when its checkpoint was last requested.
        version: version of the coordinator's copy of the checkpoint.
    """

    job: Job
    address: str
    token: str | None = None
    received: int = 0
    last_message: float = field(default_factory=time.monotonic)
    fetched: float = field(default_factory=time.monotonic)
    version: int = 0
