"""A budget in minutes: how the wall time of a run is divided between search, confirmation, final models and report.

The search gets what the rest does not need. What the rest needs is estimated from the measured epoch times of the best
trials so far, so that a loaded machine or slow settings leave less for the search. If there is too little time for
everything, it is given up in this order: repeats down to two, then candidates down to one, then the confirmation as
a whole; the champion is then the best trial of the search, and the test set stays closed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from studies.definition import Confirm

REPORT_S = 7.0
"""Time for the test set and the report on an idle core."""
RUN_S = 0.3
"""Time of a training run besides its epochs: to start it, to write its weights and to record it."""
MARGIN = 1.2
"""Factor of estimated times: workers that wait for the longest run, and a load that grows."""
LARGEST_SHARE = 0.5
"""Share of the time that is kept for the confirmation at most; before anything is measured, it is kept."""
LEAST_CLOSING, MOST_CLOSING = 0.1, 0.4
"""Limits of the share of the search's time in which paused trials are promoted and no new ones are proposed."""


def _slowness() -> float:
    """How many times longer than on an idle core a process takes beside those that are running now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1.0, (os.getloadavg()[0] + 1) / cores)


@dataclass(frozen=True)
class Budget:
    """The wall time of a run.

    Attributes:
        start: of `time.monotonic()`.
        seconds: of wall time from then on.
        workers: training runs at once.
        confirm: what the study asks for; None where nothing is to be confirmed.
        slowness: how many times longer than on an idle core the report takes, by the load of the machine at the start.
    """

    start: float
    seconds: float
    workers: int
    confirm: Confirm | None
    slowness: float = field(default_factory=_slowness)

    @property
    def end(self) -> float:
        """When everything has to end, of `time.monotonic()`."""
        return self.start + self.seconds

    @property
    def trainings_until(self) -> float:
        """When the last training run has to end, of `time.monotonic()`."""
        return self.end - min(REPORT_S * self.slowness, LARGEST_SHARE * self.seconds)

    def search_until(self, trainings: Sequence[float]) -> float:
        """When the search has to end, of `time.monotonic()`.

        Args:
            trainings: seconds of a whole training of each candidate, the baseline last; empty if not known yet.
        """
        if self.confirm is None:
            return self.trainings_until
        most = LARGEST_SHARE * (self.trainings_until - self.start)
        needed = self._needed(self.confirm, trainings) if trainings else most
        return self.trainings_until - min(needed, most)

    def proposals_until(self, trainings: Sequence[float]) -> float:
        """When the search has to propose its last new trial: what is paused then may still be promoted."""
        until = self.search_until(trainings)
        share = MARGIN * max(trainings, default=0.0) / max(until - self.start, 1e-9)
        return until - min(max(share, LEAST_CLOSING), MOST_CLOSING) * (until - self.start)

    def affordable(self, trainings: Sequence[float]) -> Confirm | None:
        """The largest confirmation for which the time is left; None if there is none.

        Args:
            trainings: as for `search_until`.
        """
        left = self.trainings_until - time.monotonic()
        return next((plan for plan in self._plans() if self._needed(plan, trainings) <= left), None)

    def _plans(self) -> Iterator[Confirm]:
        """The confirmations from the full one to the smallest."""
        if self.confirm is not None:
            for repeats in range(self.confirm.repeats, 1, -1):
                yield Confirm(top=self.confirm.top, repeats=repeats)
            for top in range(self.confirm.top - 1, 0, -1):
                yield Confirm(top=top, repeats=2)

    def _needed(self, plan: Confirm, trainings: Sequence[float]) -> float:
        """Seconds of wall time for screening, confirmation and final models, if the slowest candidates win."""
        *candidates, baseline = (seconds + RUN_S for seconds in trainings)
        chosen = sorted(candidates[: plan.top])
        screening = chosen if len(chosen) > 1 else []
        confirm = [*chosen[-2:], baseline] * plan.repeats
        final = [*chosen[-1:], baseline] * plan.repeats
        phases = (runs for runs in (screening, confirm, final) if runs)
        return MARGIN * sum(max(sum(runs) / self.workers, max(runs)) for runs in phases)
