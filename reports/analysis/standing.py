"""The progress of a search, its best trial so far, and the winner."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from studies.record.reader import SweepRecord, TrialRecord

BASELINE = 0  # trial 0 of every study is its baseline
UNFINISHED = ("running", "paused", "interrupted")


@dataclass(frozen=True)
class Standing:
    """The progress and the result of a search.

    Attributes:
        best: the best completed trial, or None.
        baseline: the completed trial 0, or None.
        gain: best minus baseline, oriented so that positive is better; None unless both exist.
        planned: number of trials in the study.
        finished: number of trials that have ended, with any outcome.
        unfinished: number of running or interrupted trials.
        complete: number of completed trials.
        confirmed: whether the winner was confirmed, which ends a search whose time was over before its last trial.
    """

    best: TrialRecord | None
    baseline: TrialRecord | None
    gain: float | None
    planned: int
    finished: int
    unfinished: int
    complete: int
    confirmed: bool

    @property
    def over(self) -> bool:
        """Whether the search has ended: nothing is unfinished, and all trials or the time are used up."""
        return not self.unfinished and (self.finished >= self.planned or self.confirmed)


def standing(record: SweepRecord) -> Standing:
    """The progress and the result of a search."""
    ranked = record.ranked()
    best = ranked[0] if ranked else None
    base = next((trial for trial in ranked if trial.number == BASELINE), None)
    unfinished = sum(trial.outcome in UNFINISHED for trial in record.trials)
    return Standing(
        best=best,
        baseline=base,
        gain=oriented(record, best, base),
        planned=record.planned,
        finished=len(record.trials) - unfinished,
        unfinished=unfinished,
        complete=len(ranked),
        confirmed=record.verdict is not None,
    )


def oriented(record: SweepRecord, trial: TrialRecord | None, reference: TrialRecord | None) -> float | None:
    """The difference of two objectives, positive if the first trial is better."""
    if trial is None or reference is None or trial.value is None or reference.value is None:
        return None
    return (trial.value - reference.value) * (1 if record.maximize else -1)


def winner(record: SweepRecord) -> TrialRecord | None:
    """The champion if there is a verdict, else the best completed trial."""
    if record.verdict:
        return next((t for t in record.trials if t.number == record.verdict["champion"]), None)
    return standing(record).best


def final_value(trial: TrialRecord) -> float:
    """The objective of a completed trial, else NaN."""
    return trial.value if trial.state == "complete" and trial.value is not None else math.nan


def last_finish(record: SweepRecord) -> datetime | None:
    """When the last trial, or the last repeat of one, finished."""
    return max((trial.finished for trial in (*record.trials, *record.confirm) if trial.finished), default=None)
