"""A job on a Dask cluster, as the pool knows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sweep.workers.pool import Job


@dataclass
class DaskRun:
    """A job that is running, or on its way to a worker.

    Attributes:
        job: the training.
        address: of the worker.
        token: identifies this run of the Dask task; None until its first message.
        received: how many of the numbered messages have arrived.
        last_message: `time.monotonic()` of the last message.
        fetched: `time.monotonic()` when its checkpoint was last requested.
        version: of the checkpoint that is here.
    """

    job: Job
    address: str
    token: str | None = None
    received: int = 0
    last_message: float = field(default_factory=time.monotonic)
    fetched: float = field(default_factory=time.monotonic)
    version: int = 0
