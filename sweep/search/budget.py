"""A budget in minutes: how the wall time of a run is divided between search, confirmation, final models and report.

The search gets what the rest does not need. What the rest needs is estimated from the measured epoch times of the best
trials so far, so that a loaded machine or slow settings leave less for the search. If there is too little time for
everything, it is given up in this order: repeats down to three, candidates down to one, repeats down to two (from two
differences hardly anything can be told), then the confirmation: final models of the best trial and of the baseline are
compared on the test set only. The same happens if the confirmation takes longer than estimated. There are as many final
models as the rest of the time allows, one of each at least. Without time for them the best trial is the champion as it
is, and the test set stays closed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path

from model.data.splits import VALIDATION_FRACTION
from studies.definition import Confirm

REPORT_S = 7.0
"""Time for the test set and the report on an idle core."""
REPORT_SHARE = 0.5
"""Share of the time that is kept for them at most."""
RUN_S = 0.3
"""Time of a training run besides its epochs: to start it, to write its weights and to record it."""
MARGIN = 1.2
"""Factor of estimated times: workers that wait for the longest run, and a load that grows."""
LARGEST_SHARE = 0.6
"""Share of the time that is kept for the confirmation at most; before anything is measured, it is kept."""
UNCONFIRMED = Confirm.model_construct(top=1, repeats=0)
"""Final models without a confirmation, which no study file can ask for."""
SMALLEST = Confirm(top=1, repeats=2)
"""The smallest confirmation."""
LEAST_CLOSING, MOST_CLOSING = 0.1, 0.4
"""Limits of the share of the search's time in which paused trials are promoted and no new ones are proposed."""


def _slowness() -> float:
    """How many times longer than on an idle core a process takes beside those that are running now.

    The mean over a minute still has processes that have ended, and the number at this moment is a single sample: the
    smaller one counts.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    with contextlib.suppress(OSError):  # only Linux has the file; this process is one of those that are running
        load = min(load, int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1)
    return max(1.0, (load + 1) / cores)


STACKED_SHARE = 0.5
"""The largest share of a trial of folds with as many rows that a training run without folds takes.

Five folds, whose networks are trained as a stack, took 2.0 to 3.8 times as long as one training: with 64 units and a
batch of 16, where the calls of NumPy cost most, and with 128 and 64 units and a batch of 128.
"""


def training_share(folds: int) -> float:
    """The share of a trial's time that a training run of the confirmation takes at most, which has no folds."""
    rows = (1 - VALIDATION_FRACTION) / (folds - 1) if folds > 1 else 1.0
    return max(rows, STACKED_SHARE)


@dataclass(frozen=True)
class Budget:
    """The wall time of a run.

    Attributes:
        start: of `time.monotonic()`.
        seconds: of wall time from then on.
        pool: of as many training runs at once as it has now; those of a cluster come and go.
        confirm: what the study asks for; None where nothing is to be confirmed.
        slowness: how many times longer than on an idle core the report takes, by the load of the machine at the start.
    """

    start: float
    seconds: float
    pool: Sized
    confirm: Confirm | None
    slowness: float = field(default_factory=_slowness)

    @property
    def end(self) -> float:
        """When everything has to end, of `time.monotonic()`."""
        return self.start + self.seconds

    @property
    def trainings_until(self) -> float:
        """When the last training run has to end, of `time.monotonic()`."""
        return self.end - min(REPORT_S * self.slowness, REPORT_SHARE * self.seconds)

    def search_until(self, trainings: Sequence[float]) -> float:
        """When the search has to end, of `time.monotonic()`.

        Args:
            trainings: seconds of a whole training of each candidate, the baseline last; empty if not known yet.
        """
        if self.confirm is None:
            return self.trainings_until
        most = LARGEST_SHARE * (self.trainings_until - self.start)
        return self.trainings_until - (self._largest(trainings, most)[1] if trainings else most)

    def proposals_until(self, trainings: Sequence[float]) -> float:
        """When the search has to propose its last new trial: what is paused then may still be promoted."""
        until = self.search_until(trainings)
        share = MARGIN * max(trainings, default=0.0) / max(until - self.start, 1e-9)
        return until - min(max(share, LEAST_CLOSING), MOST_CLOSING) * (until - self.start)

    def affordable(self, trainings: Sequence[float]) -> Confirm | None:
        """The largest confirmation for which the time is left; None if there is none.

        The smallest one, and final models without one, are tried without a margin: if the time of the confirmation runs
        out, that of the final models is left. The search ends when just the estimated time is left, so that with the
        margin its last second would decide.

        Args:
            trainings: as for `search_until`.
        """
        left = self.trainings_until - time.monotonic()
        found = self._largest(trainings, left)[0]
        if self.confirm is None or found not in (None, UNCONFIRMED):
            return found
        return next((plan for plan in (SMALLEST, UNCONFIRMED) if self._needed(plan, trainings) / MARGIN <= left), None)

    def final_models(self, trainings: Sequence[float]) -> int:
        """How many final models of champion and baseline each can be trained in the time that is left; one at least.

        Args:
            trainings: seconds of a training of each of them.
        """
        left = (self.trainings_until - time.monotonic()) / MARGIN
        pair = sum(seconds + RUN_S for seconds in trainings) / self._at_once
        return max(1, int(left / pair))

    def confirm_until(self, trainings: Sequence[float]) -> float:
        """When the confirmation has to end, of `time.monotonic()`, so that there is time for two final models.

        Args:
            trainings: as for `search_until`.
        """
        longest = max(trainings[:-1], default=trainings[-1])
        return self.trainings_until - self._needed(UNCONFIRMED, [longest, trainings[-1]])

    def _largest(self, trainings: Sequence[float], seconds: float) -> tuple[Confirm | None, float]:
        """The largest confirmation that fits into a time, and what it needs; None and 0 if none does."""
        sizes = ((plan, self._needed(plan, trainings)) for plan in self._plans())
        return next(((plan, needed) for plan, needed in sizes if needed <= seconds), (None, 0.0))

    def _plans(self) -> Iterator[Confirm]:
        """The confirmations, from the full one to the smallest."""
        if self.confirm is not None:
            fewest = min(self.confirm.repeats, 3)
            for repeats in range(self.confirm.repeats, fewest, -1):
                yield Confirm(top=self.confirm.top, repeats=repeats)
            for top in range(self.confirm.top, 0, -1):
                yield Confirm(top=top, repeats=fewest)
            yield SMALLEST
            yield UNCONFIRMED

    def _needed(self, plan: Confirm, trainings: Sequence[float]) -> float:
        """Seconds of wall time for screening, confirmation and two final models, if the slowest candidates win."""
        *candidates, baseline = (seconds + RUN_S for seconds in trainings)
        chosen = sorted(candidates[: plan.top])
        screening = chosen if len(chosen) > 1 else []
        confirm = [*chosen[-2:], baseline] * plan.repeats
        final = [*chosen[-1:], baseline]
        phases = (runs for runs in (screening, confirm, final) if runs)
        return MARGIN * sum(max(sum(runs) / self._at_once, max(runs)) for runs in phases)

    @property
    def _at_once(self) -> int:
        """Training runs at once; a cluster may have no worker now, but will."""
        return max(1, len(self.pool))
