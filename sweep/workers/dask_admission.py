"""The pool's state of a Dask worker, and the check whether it may get jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.workers import dask_worker
from sweep.workers.fingerprint import MUST_MATCH


@dataclass
class DaskWorker:
    """A Dask worker.

    Attributes:
        number: counted from 0 as workers appear.
        host, threads: its machine, and the number of jobs it runs at once.
        dataset: the prepared folder there; None until the worker has passed its check.
        refused: it failed its check, or could not use its files, and gets no jobs.
        running: its status at the scheduler is `running`.
        leaving: it announced that it will close.
        missed: how many times in a row the scheduler did not list it.
        rests_until: `time.monotonic()` before which it gets no jobs.
    """

    number: int
    host: str
    threads: int
    dataset: str | None = None
    refused: bool = False
    running: bool = True
    leaving: bool = False
    missed: int = 0
    rests_until: float = 0.0

    def is_ready(self) -> bool:
        """Whether it may get a job, if it has a free thread."""
        fit = self.dataset is not None and not self.refused
        return fit and self.running and not self.leaving and time.monotonic() >= self.rests_until

    def __str__(self) -> str:
        return f"worker {self.number} ({self.host})"


class Admission:
    """Compare workers with the coordinator and with each other.

    Args:
        dataset: its name or path in the study.
        digest: of the coordinator's prepared copy.
        notify: prints a line for the user.
    """

    def __init__(self, dataset: str, digest: str, notify: Callable[[str], None]) -> None:
        self._dataset = dataset
        self._digest = digest
        self._notify = notify
        self._here = dask_worker.facts()
        self._arithmetic: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no worker has been admitted so far."""
        return self._arithmetic is None

    def objection(self, outcome: Mapping[str, Any]) -> str | None:
        """Why a worker gets no jobs; None admits it.

        Args:
            outcome: the result of `dask_worker.check` on that worker.
        """
        facts = outcome["facts"]
        for key, what in MUST_MATCH.items():
            if facts.get(key) != self._here[key]:
                return f"{what} is {facts.get(key)} there, {self._here[key]} here"
        if "trouble" in outcome:
            return str(outcome["trouble"])
        if outcome["digest"] != self._digest:
            name = Path(self._dataset).name
            return f"the digest of {name} is {outcome['digest'][:12]} there, {self._digest[:12]} here"
        if self._arithmetic not in (None, facts["arithmetic"]):
            return "its floating-point results differ from those of the workers that joined before"
        if self._arithmetic is None and facts["arithmetic"] != self._here["arithmetic"]:
            self._notify("the workers' floating-point results differ from this machine's: a replay here may differ")
        self._arithmetic = facts["arithmetic"]
        return None
