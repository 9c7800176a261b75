"""The best objective so far, against trials and training time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.analysis.standing import UNFINISHED, final_value
from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord


@dataclass(frozen=True)
class Progress:
    """Finished trials in the order in which they finished; every array is (finished,).

    Attributes:
        number: trial numbers.
        outcome: how each ended.
        value: the objective of a completed trial, else NaN.
        best: the best value so far, NaN before the first completed trial.
        seconds: training time of all trials up to and including this one.
    """

    number: NDArray[np.int64]
    outcome: tuple[str, ...]
    value: Floats
    best: Floats
    seconds: Floats


def search_progress(record: SweepRecord) -> Progress:
    """Finished trials with the best value so far."""
    ended = [trial for trial in record.in_order() if trial.outcome not in UNFINISHED]
    value = np.array([final_value(trial) for trial in ended], dtype=np.float64)
    best = np.fmax.accumulate(value) if record.maximize else np.fmin.accumulate(value)
    return Progress(
        number=np.array([trial.number for trial in ended], dtype=np.int64),
        outcome=tuple(trial.outcome for trial in ended),
        value=value,
        best=best,
        seconds=np.cumsum([trial.seconds for trial in ended], dtype=np.float64),
    )
